//! The broker's time. After a restart the clock goes on from the last time in the store, advanced by the time that the gateway
//! was down. While the gateway runs, the time of day has no influence on the broker's time.

use goldcrest_core::Instant;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The monotonic clock of the gateway, in whole milliseconds. With a store the clock goes on where it was before a restart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: std::time::Instant,
    /// The time that the clock showed at `origin`, in milliseconds.
    start_ms: u64,
}

impl Clock {
    pub(crate) fn start_at(start_ms: u64) -> Self {
        Self { origin: std::time::Instant::now(), start_ms }
    }

    pub(crate) fn now(self) -> Instant {
        let elapsed = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        Instant::from_millis(self.start_ms.saturating_add(elapsed))
    }

    /// The moment of `instant` on the system's monotonic clock; `None` if `instant` never comes.
    pub(crate) fn at(self, instant: Instant) -> Option<std::time::Instant> {
        let after_start = instant.as_millis().saturating_sub(self.start_ms);
        self.origin.checked_add(std::time::Duration::from_millis(after_start))
    }
}

/// The time of day.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WallClock;

impl WallClock {
    /// Milliseconds since 1970; 0 for any earlier time.
    pub(crate) fn now_ms() -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
    }
}

/// A time before this code was written: a clock that shows an earlier time has not been set.
const BEGINNING_OF_2025_MS: u64 = 1_735_689_600_000;

/// Why the time of day does not tell how long the gateway was down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClockError {
    /// The machine's clock was not set when the store was last written.
    NotSetThen,
    /// The machine's clock is behind the last write by so much: it is not set now, or it was wrong then.
    WentBack(Duration),
    /// The gateway would have been down for so long, which is longer than it can ever be.
    TooLong(Duration),
}

impl fmt::Display for ClockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAY_S: u64 = 24 * 60 * 60;
        match self {
            Self::NotSetThen => write!(f, "it was not set when the store was written last"),
            Self::WentBack(by) => write!(f, "it is {by:.0?} behind what it was when the store was written last"),
            Self::TooLong(down) => write!(
                f,
                "the gateway would have been down for {} days, more than longest_downtime_days in [store]",
                down.as_secs() / DAY_S
            ),
        }
    }
}

/// For how long the gateway was down, if the store was last written at `wall_ms`, the time of day is `now_ms`, and the gateway
/// is never down for longer than `longest`.
///
/// # Errors
/// The clock is or was wrong by an unknown amount. Then no time should count as passed, so that nothing expires too early.
pub(crate) fn downtime(wall_ms: u64, now_ms: u64, longest: Duration) -> Result<Duration, ClockError> {
    if wall_ms < BEGINNING_OF_2025_MS {
        return Err(ClockError::NotSetThen);
    }
    if now_ms < wall_ms {
        return Err(ClockError::WentBack(Duration::from_millis(wall_ms - now_ms)));
    }
    let down = Duration::from_millis(now_ms - wall_ms);
    if down > longest { Err(ClockError::TooLong(down)) } else { Ok(down) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    const THEN: u64 = BEGINNING_OF_2025_MS + 1_000_000_000;

    fn after(passed: Duration) -> Result<Duration, ClockError> {
        downtime(THEN, THEN + passed.as_millis() as u64, YEAR)
    }

    #[test]
    fn the_downtime_is_the_time_since_the_last_write() {
        for passed in [Duration::ZERO, Duration::from_millis(3), DAY, YEAR] {
            assert_eq!(after(passed), Ok(passed));
        }
    }

    #[test]
    fn a_clock_that_is_unset_or_went_back_gives_no_downtime() {
        let back = Duration::from_millis(1);
        assert_eq!(downtime(THEN, THEN - 1, YEAR), Err(ClockError::WentBack(back)));
        assert_eq!(downtime(THEN, 0, YEAR), Err(ClockError::WentBack(Duration::from_millis(THEN))));
        assert_eq!(downtime(0, THEN, Duration::MAX), Err(ClockError::NotSetThen));
        assert_eq!(downtime(86_400_000, 86_500_000, YEAR), Err(ClockError::NotSetThen));
    }

    #[test]
    fn a_clock_that_is_years_ahead_gives_no_downtime() {
        let tick = Duration::from_millis(1);
        assert_eq!(after(YEAR + tick), Err(ClockError::TooLong(YEAR + tick)));
        assert_eq!(downtime(THEN, u64::MAX, Duration::MAX).map_err(drop), Ok(Duration::from_millis(u64::MAX - THEN)));
        assert_eq!(downtime(THEN, THEN + 1, Duration::ZERO), Err(ClockError::TooLong(tick)));
    }
}
