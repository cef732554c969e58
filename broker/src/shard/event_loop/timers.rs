//! When the core's timers may act.
//!
//! After a process was stopped, or its machine paused, all timers that came due meanwhile fire first. What clients have sent meanwhile lies in
//! sockets that nobody has read, and clients that came back wait to be accepted. So a timer that is due waits for a moment, in which the
//! runtime asks the system for events; a timer that is late waits for as long as it takes to accept all clients that wait.

use super::EventLoop;
use goldcrest_core::Instant;

/// For so long the runtime sleeps, and so asks the system.
const LOOK_MS: u64 = 10;

/// A shard that looks at a timer so late did not run meanwhile.
const LATE_MS: u64 = 100;

/// Time to accept those who wait, to read their CONNECT, and to send them home.
const GRACE_MS: u64 = 2_000;

/// After so many pauses in a row timers act all the same: on a machine that is always late there are only pauses.
const MOST_PAUSES: u8 = 4;

pub(super) struct Timers {
    /// Timers that were due by then have waited. To act on all of them may take several turns.
    judged: Instant,
    waiting: Option<Waiting>,
}

/// Timers are due, and wait.
#[derive(Clone, Copy)]
struct Waiting {
    until: Instant,
    pauses: u8,
}

impl Timers {
    /// Timers that came due before a restart wait for nothing.
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

    /// When the shard has to look again for a timer that is due then.
    pub(super) fn wake_at(&self, due: Instant) -> Instant {
        self.waiting.map_or(due, |waiting| due.max(waiting.until))
    }
}

impl EventLoop {
    /// Tells the core, when a turn begins, if there was a pause before.
    pub(super) fn note_pause(&mut self, now: Instant) {
        if self.timers.look(now, self.broker.poll_timeout()) {
            tracing::debug!(shard = self.shard, "timers are late: clients are heard before they run_due_timers");
            self.broker.handle_pause();
        }
    }

    /// Has the core act on timers that are due and need not wait.
    pub(super) fn run_due_timers(&mut self, now: Instant) {
        if self.broker.poll_timeout().is_none_or(|due| due > now) {
            return;
        }
        match self.timers.waiting {
            Some(waiting) if waiting.until > now => return,
            // What has arrived by now is taken, whether the runtime has come to it or not.
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
    fn a_timer_waits_for_a_look_and_a_late_one_for_more() {
        let mut timers = Timers::new(at(0));
        assert!(!timers.look(at(500), Some(at(1_000))));
        assert_eq!(timers.wake_at(at(1_000)), at(1_000));
        assert!(!timers.look(at(1_001), Some(at(1_000))));
        assert_eq!(timers.wake_at(at(1_000)), at(1_001 + LOOK_MS));
        assert!(!timers.look(at(1_005), Some(at(1_000))), "it waits already");
        assert_eq!(timers.wake_at(at(1_000)), at(1_001 + LOOK_MS));
        // Stopped while it waited.
        assert!(timers.look(at(9_000), Some(at(1_000))));
        assert_eq!(timers.wake_at(at(1_000)), at(9_000 + GRACE_MS));
        assert!(!timers.look(at(9_500), Some(at(1_000))));
    }

    #[test]
    fn a_machine_that_is_always_late_has_its_timers_all_the_same() {
        let mut timers = Timers::new(at(0));
        let pauses = (1..100).filter(|event_loop| timers.look(at(10_000 * event_loop), Some(at(1))));
        assert_eq!(pauses.count(), usize::from(MOST_PAUSES));
        assert!(timers.wake_at(at(1)) < at(100_000));
    }

    #[test]
    fn what_was_due_before_the_start_waits_for_nothing() {
        let mut timers = Timers::new(at(50_000));
        assert!(!timers.look(at(60_000), Some(at(1_000))));
        assert_eq!(timers.wake_at(at(1_000)), at(1_000));
    }
}
