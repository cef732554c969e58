//! Removes retained messages whose Message Expiry Interval has ended, because they are sent to nobody any more.
//!
//! A round looks at all stored messages, a few at each time-out. It begins when the first retained message has expired, and
//! never soon after another round, however many messages expire one by one. So rounds cost little, and an expired message is
//! removed soon.

use crate::engine::Engine;
use crate::engine::messages::Message;
use crate::engine::router::Retained;
use crate::mem::Handle;
use crate::time::Instant;

/// How many messages are looked at in one step.
const AT_ONCE: usize = 1_024;
/// Milliseconds between two steps.
const STEP_MS: u64 = 10;
/// Milliseconds between two rounds.
const PAUSE_MS: u64 = 1_000;

/// The progress of the present round.
#[derive(Debug)]
pub(crate) struct Sweep {
    /// The slot to look at next; 0 between two rounds.
    slot: usize,
    /// No step is due before this moment.
    not_before: Instant,
    /// When the first retained message expires, of those that this round has left and those that came since.
    earliest: Instant,
}

impl Sweep {
    pub(crate) const NEW: Self = Self { slot: 0, not_before: Instant::from_millis(0), earliest: Instant::NEVER };

    /// When the next step is due; [`Instant::NEVER`] if nothing expires.
    pub(crate) fn due(&self) -> Instant {
        if self.slot > 0 { self.not_before } else { self.not_before.max(self.earliest) }
    }
}

impl Engine<'_> {
    /// `message` has become a retained message.
    #[inline]
    pub(crate) fn expect_expiry(&mut self, message: Handle<Message>) {
        self.sweep.earliest = self.sweep.earliest.min(self.messages.get(message).expires);
    }

    /// Removes retained messages that have expired, if the next step is due.
    pub(crate) fn sweep_retained(&mut self, now: Instant) {
        if self.sweep.due() > now {
            return;
        }
        if self.sweep.slot == 0 {
            self.sweep.earliest = Instant::NEVER;
        }
        let slots = self.messages.slots();
        let end = self.sweep.slot.saturating_add(AT_ONCE).min(slots);
        for slot in self.sweep.slot..end {
            let message = Handle::from_index(slot);
            match self.messages.live(message) {
                Some(stored) if !(stored.retain() || stored.is_kept()) => {}
                Some(stored) if stored.has_expired(now) => self.unretain_expired(message),
                Some(_) => self.expect_expiry(message),
                None => {}
            }
        }
        let is_over = end == slots;
        self.sweep.slot = if is_over { 0 } else { end };
        self.sweep.not_before = now.plus_millis(if is_over { PAUSE_MS } else { STEP_MS });
    }

    /// Removes an expired message, if it is the retained message of its topic.
    pub(crate) fn unretain_expired(&mut self, message: Handle<Message>) {
        self.with_topic(message, |broker, topic| {
            if broker.router.retained_at(topic) == Some(Retained(message.cast())) {
                broker.unretain(topic);
            }
        });
    }
}
