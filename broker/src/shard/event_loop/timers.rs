//! Decides when the core's timers may fire.
//!
//! After a process was stopped, or its machine paused, all timers that came due meanwhile would fire first. But bytes that clients sent
//! meanwhile are still unread in their sockets, and clients that came back wait to be accepted. So a due timer waits for a moment, in which
//! the runtime asks the system for events. A late timer waits long enough for all these clients to be accepted.

use super::EventLoop;
use goldcrest_core::Instant;

/// How long a due timer waits: the runtime sleeps meanwhile, and so asks the system for events.
const LOOK_MS: u64 = 10;

/// If a shard looks at a due timer so late, its thread did not run meanwhile.
const LATE_MS: u64 = 100;

/// Time for the shards to accept the clients that wait, to read their CONNECT, and to hand them to their home shards.
const GRACE_MS: u64 = 2_000;

/// After so many pauses in a row timers fire all the same: on a machine that is always late no turn is without a pause.
const MOST_PAUSES: u8 = 4;

pub(super) struct Timers {
    /// Timers that came due at or before this time need not wait any more. Acting on all of them may take several turns.
    judged: Instant,
    waiting: Option<Waiting>,
}

/// The timers that are due, and for which the shard waits.
#[derive(Clone, Copy)]
struct Waiting {
    until: Instant,
    pauses: u8,
}

impl Timers {
    /// Timers that came due before a restart do not wait.
    pub(super) fn new(start: Instant) -> Self {
        Self { judged: start, waiting: None }
    }

    /// Looks at the earliest timer when a turn begins. Returns whether there was a pause.
    fn look(&mut self, now: Instant, due: Option<Instant>) -> bool {
        let Some(due) = due.filter(|due| *due <= now && *due > self.judged) else {
            self.waiting = None;
            return false;
        };
        let (expected, pauses) = self.waiting.map_or((due, 0), |waiting| (waiting.until, waiting.pauses));
        if now.millis_since(expected) >= LATE_MS && pauses < MOST_PAUSES {
            self.waiting = Some(Waiting { until: now.plus_millis(GRACE_MS), pauses: pauses + 1 });
            return true;
        }
        self.waiting.get_or_insert(Waiting { until: now.plus_millis(LOOK_MS), pauses });
        false
    }

    /// When the shard has to look again at a timer that comes due at `due`.
    pub(super) fn wake_at(&self, due: Instant) -> Instant {
        self.waiting.map_or(due, |waiting| due.max(waiting.until))
    }
}

impl EventLoop {
    /// Called when a turn begins: tells the core if the process was stopped before this turn.
    pub(super) fn note_pause(&mut self, now: Instant) {
        if self.timers.look(now, self.broker.poll_timeout()) {
            tracing::debug!(shard = self.shard, "timers are late: clients are heard before the timers act");
            self.broker.handle_pause();
        }
    }

    /// Makes the core act on timers that are due and need not wait.
    pub(super) fn run_due_timers(&mut self, now: Instant) {
        if self.broker.poll_timeout().is_none_or(|due| due > now) {
            return;
        }
        match self.timers.waiting {
            Some(waiting) if waiting.until > now => return,
            // The bytes that have arrived by now are read first, whether or not the runtime knows of them.
            Some(Waiting { pauses: 1.., .. }) => self.receive_all(),
            _ => {}
        }
        self.timers = Timers { judged: now, waiting: None };
        self.broker.handle_timeout(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn a_due_timer_waits_for_a_moment_and_a_late_timer_for_longer() {
        let mut timers = Timers::new(at(0));
        assert!(!timers.look(at(500), Some(at(1_000))));
        assert_eq!(timers.wake_at(at(1_000)), at(1_000));
        assert!(!timers.look(at(1_001), Some(at(1_000))));
        assert_eq!(timers.wake_at(at(1_000)), at(1_001 + LOOK_MS));
        assert!(!timers.look(at(1_005), Some(at(1_000))), "it waits already");
        assert_eq!(timers.wake_at(at(1_000)), at(1_001 + LOOK_MS));
        // The process was stopped while the timer waited.
        assert!(timers.look(at(9_000), Some(at(1_000))));
        assert_eq!(timers.wake_at(at(1_000)), at(9_000 + GRACE_MS));
        assert!(!timers.look(at(9_500), Some(at(1_000))));
    }

    #[test]
    fn timers_fire_even_if_every_turn_is_late() {
        let mut timers = Timers::new(at(0));
        let pauses = (1..100).filter(|event_loop| timers.look(at(10_000 * event_loop), Some(at(1))));
        assert_eq!(pauses.count(), usize::from(MOST_PAUSES));
        assert!(timers.wake_at(at(1)) < at(100_000));
    }

    #[test]
    fn timers_that_came_due_before_the_start_do_not_wait() {
        let mut timers = Timers::new(at(50_000));
        assert!(!timers.look(at(60_000), Some(at(1_000))));
        assert_eq!(timers.wake_at(at(1_000)), at(1_000));
    }
}
