//! The broker's time goes on across restarts, by as much as the gateway was down.

use std::time::{SystemTime, UNIX_EPOCH};

/// The time of day.
#[derive(Clone, Copy, Debug)]
pub struct WallClock;

impl WallClock {
    /// Milliseconds since 1970.
    pub fn now_ms() -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
    }
}

/// When this was written: a clock that shows an earlier time was never set.
const BEGINNING_OF_2025_MS: u64 = 1_735_689_600_000;

/// At which instant to go on, if the store was written last at `instant_ms` and `wall_ms`, and the time of day is `now_ms`.
///
/// A clock that was not set, then or now, or that went back meanwhile, tells nothing: then no time has passed, and what
/// would expire lives longer.
pub fn resume(instant_ms: u64, wall_ms: u64, now_ms: u64) -> u64 {
    let down = if wall_ms < BEGINNING_OF_2025_MS { 0 } else { now_ms.saturating_sub(wall_ms) };
    instant_ms.saturating_add(down)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_by_what_the_gateway_was_down() {
        let day = BEGINNING_OF_2025_MS + 86_400_000;
        assert_eq!(resume(5_000, day, day + 3_000), 8_000);
        assert_eq!(resume(5_000, day, day), 5_000);
    }

    #[test]
    fn a_clock_that_is_unset_or_went_back_adds_nothing() {
        let day = BEGINNING_OF_2025_MS + 86_400_000;
        assert_eq!(resume(5_000, day, day - 1), 5_000);
        assert_eq!(resume(5_000, day, 0), 5_000);
        assert_eq!(resume(5_000, 0, day), 5_000);
        assert_eq!(resume(5_000, 86_400_000, day), 5_000);
        assert_eq!(resume(u64::MAX, day, day + 1), u64::MAX);
    }
}
