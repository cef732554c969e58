//! When a service that does not answer is left alone.

use std::time::{Duration, Instant};

/// So many failures in a row open the breaker.
const MOST_FAILURES: u32 = 5;
/// For so long nothing is asked then.
const OPEN: Duration = Duration::from_secs(10);

/// A circuit breaker: while the service does not answer, clients are refused at once instead of after the time limit, and a service that comes back
/// does not meet all of them at the same moment.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    state: BreakerState,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum BreakerState {
    #[default]
    Closed,
    OpenUntil(Instant),
    /// One question is under way to see whether the service is back. If its answer is lost, another may be asked at this moment.
    ProbingUntil(Instant),
}

impl Breaker {
    /// Whether the service may be asked now. The caller then asks, and tells what came of it.
    pub(super) fn may_ask(&mut self, now: Instant) -> bool {
        match self.state {
            BreakerState::Closed => true,
            BreakerState::OpenUntil(until) | BreakerState::ProbingUntil(until) if now >= until => {
                self.state = BreakerState::ProbingUntil(now + OPEN);
                true
            }
            _ => false,
        }
    }

    /// The service has answered. Returns whether the breaker was open.
    pub(super) fn answered(&mut self) -> bool {
        self.failures = 0;
        std::mem::take(&mut self.state) != BreakerState::Closed
    }

    /// The service has not answered. Returns whether that opens the breaker for the first time.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        match self.state {
            BreakerState::Closed if self.failures < MOST_FAILURES => false,
            // Questions that were asked before the breaker opened may fail after that.
            BreakerState::OpenUntil(_) => false,
            before => {
                self.state = BreakerState::OpenUntil(now + OPEN);
                before == BreakerState::Closed
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A breaker that has just opened, and the moment.
    fn opened() -> (Breaker, Instant) {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for failure in 1..=MOST_FAILURES {
            assert!(breaker.may_ask(now));
            assert_eq!(breaker.failed(now), failure == MOST_FAILURES);
        }
        (breaker, now)
    }

    #[test]
    fn five_failures_in_a_row_open_it_for_ten_seconds() {
        let (mut breaker, now) = opened();
        assert!(!breaker.may_ask(now) && !breaker.may_ask(now + OPEN - Duration::from_millis(1)));
        assert!(!breaker.failed(now), "a late failure");
        assert!(breaker.may_ask(now + OPEN));
    }

    #[test]
    fn an_answer_between_failures_keeps_it_closed() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..3 {
            for _ in 1..MOST_FAILURES {
                assert!(!breaker.failed(now));
            }
            assert!(!breaker.answered());
        }
        assert!(breaker.may_ask(now));
    }

    #[test]
    fn one_probe_closes_it_or_opens_it_again() {
        let (mut breaker, now) = opened();
        let later = now + OPEN;
        assert!(breaker.may_ask(later) && !breaker.may_ask(later), "one alone");
        assert!(!breaker.failed(later), "the log has it already");
        assert!(!breaker.may_ask(later + OPEN / 2));
        assert!(breaker.may_ask(later + OPEN));
        assert!(breaker.answered());
        assert!(breaker.may_ask(later + OPEN) && breaker.may_ask(later + OPEN));
    }

    #[test]
    fn a_probe_whose_answer_is_lost_is_followed_by_another() {
        let (mut breaker, now) = opened();
        assert!(breaker.may_ask(now + OPEN) && !breaker.may_ask(now + OPEN));
        assert!(breaker.may_ask(now + OPEN + OPEN));
    }
}
