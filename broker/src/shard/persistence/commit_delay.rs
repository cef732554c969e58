//! Decides when a batch goes to the store: at once, or a little later, if its records may turn out not to be needed.
//!
//! A message needs no record if all its receivers acknowledge it before its batch is handed in. So if clients are faster than the store,
//! waiting for their acknowledgements pays off. A batch waits for as long as the store took for recent batches, and a millisecond or two
//! more, because timers are no more exact. So no client waits more than twice as long as for the store alone. If a wait was in vain, the
//! next batch does not wait; if the next wait is in vain too, the next two batches don't, then the next four, and so on.
//!
//! Records that only say that something is over wait longer, for a sync that other records need.

use goldcrest_core::CommitUrgency;
use std::time::{Duration, Instant};

/// When the records have so many bytes, they are handed in, whatever they say.
pub(crate) const ENOUGH: u64 = 64 * 1024;

/// Records that no client waits for are handed in after so long. A crash before that loses these records: messages with QoS 1 are sent
/// again then.
const CLEAN_UP: Duration = Duration::from_millis(20);

/// The longest time that counts for a batch: a store that took longer perhaps hung.
const MOST: Duration = Duration::from_millis(50);

/// After waits in vain, at most so many batches in a row don't wait.
const MOST_SKIPPED: u32 = 256;

/// Decides how long the next batch of a shard waits.
pub(crate) struct CommitDelay {
    /// How long the store took for recent batches; zero until the first batch is done.
    usual: Duration,
    /// Since when records that no client waits for are waiting.
    idle_since: Option<Instant>,
    /// Since when a batch that a client waits for is waiting.
    brief_since: Option<Instant>,
    /// How many of the next batches are not to wait.
    skipped: u32,
    /// How many batches are not to wait after the next wait in vain.
    penalty: u32,
}

impl CommitDelay {
    pub(crate) fn new() -> Self {
        Self { usual: Duration::ZERO, idle_since: None, brief_since: None, skipped: 0, penalty: 1 }
    }

    /// Notes how long the store took for a batch.
    pub(crate) fn note(&mut self, took: Duration) {
        let took = took.min(MOST);
        self.usual = if self.usual.is_zero() { took } else { (self.usual * 7 + took) / 8 };
    }

    /// For how long the present records, which have this urgency, may wait from now on; `None` if they are to be handed in.
    pub(crate) fn wait(&mut self, now: Instant, urgency: CommitUrgency) -> Option<Duration> {
        let rest = match urgency {
            CommitUrgency::Lasting => Duration::ZERO,
            CommitUrgency::Clear | CommitUrgency::Settled => {
                if let Some(since) = self.brief_since.take() {
                    self.learn(now - since < self.usual);
                }
                CLEAN_UP.saturating_sub(now - *self.idle_since.get_or_insert(now))
            }
            CommitUrgency::Brief if self.skipped > 0 => {
                self.skipped -= 1;
                Duration::ZERO
            }
            CommitUrgency::Brief => {
                let rest = self.usual.saturating_sub(now - *self.brief_since.get_or_insert(now));
                if rest.is_zero() {
                    self.learn(false);
                }
                rest
            }
        };
        if rest.is_zero() {
            self.end();
            return None;
        }
        Some(rest)
    }

    /// Notes that no records are waiting any more.
    pub(crate) fn end(&mut self) {
        (self.idle_since, self.brief_since) = (None, None);
    }

    fn learn(&mut self, it_paid: bool) {
        if it_paid {
            self.penalty = 1;
        } else {
            self.skipped = self.penalty;
            self.penalty = (self.penalty * 2).min(MOST_SKIPPED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: Duration = Duration::from_millis(5);
    const MILLI: Duration = Duration::from_millis(1);

    fn commit_delay() -> (CommitDelay, Instant) {
        let mut commit_delay = CommitDelay::new();
        commit_delay.note(STORE);
        (commit_delay, Instant::now())
    }

    #[test]
    fn a_batch_waits_for_acknowledgements_for_as_long_as_the_store_takes() {
        let (mut commit_delay, now) = commit_delay();
        assert_eq!(commit_delay.wait(now, CommitUrgency::Brief), Some(STORE));
        assert_eq!(commit_delay.wait(now + MILLI, CommitUrgency::Brief), Some(STORE - MILLI));
        assert_eq!(commit_delay.wait(now + STORE, CommitUrgency::Brief), None);
    }

    #[test]
    fn no_batch_waits_before_it_is_known_how_long_the_store_takes() {
        assert_eq!(CommitDelay::new().wait(Instant::now(), CommitUrgency::Brief), None);
    }

    #[test]
    fn records_that_will_not_cancel_out_are_handed_in_at_once() {
        let (mut commit_delay, now) = commit_delay();
        assert_eq!(commit_delay.wait(now, CommitUrgency::Lasting), None);
    }

    /// Runs so many batches for which no acknowledgement comes in time. Returns how many of them waited.
    fn waited_in_vain(commit_delay: &mut CommitDelay, now: &mut Instant, batches: u32) -> u32 {
        let waits = (0..batches).filter(|_| {
            let waits = commit_delay.wait(*now, CommitUrgency::Brief).is_some();
            *now += STORE;
            assert!(!waits || commit_delay.wait(*now, CommitUrgency::Brief).is_none());
            waits
        });
        waits.count() as u32
    }

    #[test]
    fn batches_wait_less_and_less_often_for_slow_clients() {
        let (mut commit_delay, mut now) = commit_delay();
        assert_eq!(waited_in_vain(&mut commit_delay, &mut now, 1 + 2 + 3 + 5), 4);
        assert!(waited_in_vain(&mut commit_delay, &mut now, 10_000) < 50);
        // Now and then a batch waits, in case clients have become faster. If they have, everything is as at the beginning.
        while commit_delay.wait(now, CommitUrgency::Brief).is_none() {}
        now += MILLI;
        assert!(commit_delay.wait(now, CommitUrgency::Settled).is_some());
        commit_delay.end();
        assert_eq!(waited_in_vain(&mut commit_delay, &mut now, 1 + 2 + 3 + 5), 4);
    }

    /// If an acknowledgement comes later than the store would have been done, the wait was in vain.
    #[test]
    fn a_wait_counts_as_in_vain_if_the_store_would_have_been_faster() {
        let (mut commit_delay, now) = commit_delay();
        commit_delay.wait(now, CommitUrgency::Brief);
        commit_delay.wait(now + 2 * STORE, CommitUrgency::Clear);
        commit_delay.end();
        assert_eq!(commit_delay.wait(now + 2 * STORE, CommitUrgency::Brief), None);
    }

    #[test]
    fn records_that_no_client_waits_for_wait_longer_but_not_for_ever() {
        let (mut commit_delay, now) = commit_delay();
        assert_eq!(commit_delay.wait(now, CommitUrgency::Clear), Some(CLEAN_UP));
        assert_eq!(commit_delay.wait(now + MILLI, CommitUrgency::Brief), Some(STORE));
        assert_eq!(commit_delay.wait(now + 2 * MILLI, CommitUrgency::Settled), Some(CLEAN_UP - 2 * MILLI));
        assert_eq!(commit_delay.wait(now + CLEAN_UP, CommitUrgency::Clear), None);
    }

    #[test]
    fn batches_do_not_wait_long_after_the_store_hung_once() {
        let (mut commit_delay, now) = commit_delay();
        commit_delay.note(Duration::from_secs(100));
        assert!(commit_delay.wait(now, CommitUrgency::Brief).is_some_and(|wait| wait < 3 * STORE));
    }
}
