//! Shares in owned memory: the bounds of queues and of retained messages follow from the memory that is free.

use super::REPLIES;
use crate::config::Limits;
use crate::engine::Engine;
use crate::engine::router::Retained;
use crate::engine::sessions::{Bound, Outbound};
use crate::mem::heap::MemoryAccount;
use crate::topic::TopicName;

/// The bounds of queues are set anew after so many messages.
const LOOKS: u64 = 16;

/// The configured limits, with the bounds that queues have as memory gets short.
#[derive(Debug)]
pub(crate) struct LimitsInForce {
    limits: Limits,
    /// The bounds of queues are set anew when so many messages were handed out since the start.
    looks_at: u64,
    /// How many Sessions have ended and how many UNSUBSCRIBEs have come, as far as this counter goes before it starts again.
    removals: u8,
}

impl LimitsInForce {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { limits: *limits, looks_at: 0, removals: 0 }
    }

    /// The limits in force, which were made of `configured`.
    #[inline(always)]
    pub(crate) fn limits<'a>(&'a self, _configured: &'a Limits) -> &'a Limits {
        &self.limits
    }
}

impl Engine<'_> {
    /// How much may wait in one queue: the share of a queue in the memory that is free.
    pub(crate) fn fair_bound(&self) -> Bound {
        let (messages, bytes) = self.messages.share_of_queue();
        Bound { messages: bounded(messages), bytes: bounded(bytes) }
    }

    /// The same, but no less than what waits in `queue` now, for a policy that drops one message for another.
    pub(crate) fn fair_bound_for(&self, queue: &Outbound) -> Bound {
        let fair = self.fair_bound();
        Bound { messages: fair.messages.max(bounded(queue.queued())), bytes: fair.bytes.max(queue.queued_bytes()) }
    }

    /// A client that accepts `window` messages at once may have so many in flight by the memory that is free now.
    #[cold]
    pub(crate) fn window_in_share(&self, window: u16) -> u16 {
        window.min(self.messages.share_in_flight(self.fair_bound().bytes))
    }

    /// Called before a message is handed out. Sets the bounds of queues anew if [`LOOKS`] messages were handed out since the last time.
    #[inline]
    pub(crate) fn look_at_memory(&mut self) {
        if self.routed >= self.in_force.looks_at {
            self.look_at_memory_now();
        }
    }

    /// Sets the bounds of queues by the memory that is free now.
    #[cold]
    pub(crate) fn look_at_memory_now(&mut self) {
        let (limits, fair) = (self.config.limits, self.fair_bound());
        let is_bounded = self.messages.bytes.account().is_some_and(MemoryAccount::is_bounded);
        self.in_force.looks_at = if is_bounded { self.routed.saturating_add(LOOKS) } else { u64::MAX };
        let (queued_messages, queued_bytes) =
            (limits.queued_messages.min(fair.messages), limits.queued_bytes.min(fair.bytes));
        let inflight = limits.inflight.min(self.messages.share_in_flight(fair.bytes));
        if is_bounded {
            self.give_back_memory();
        }
        self.in_force.limits = Limits { queued_messages, queued_bytes, inflight, ..limits };
    }

    /// Called after the end of a Session or of subscriptions: so memory is given back also where no message is handed out.
    #[inline]
    pub(crate) fn look_after_removal(&mut self) {
        self.in_force.removals = self.in_force.removals.wrapping_add(1);
        if u64::from(self.in_force.removals).is_multiple_of(LOOKS)
            && self.messages.bytes.account().is_some_and(MemoryAccount::is_bounded)
        {
            self.give_back_memory();
        }
    }

    /// Tables that are far larger than what is left in them give memory back.
    fn give_back_memory(&mut self) {
        let (connections, sessions) = (self.connections.len(), self.sessions.len());
        self.connections.give_back(0);
        self.sessions.give_back(0);
        // Each connection owns some places for replies, and each connection and each Session has a place for its timer.
        self.owed.give_back(connections.saturating_mul(REPLIES));
        self.timers.give_back(connections.saturating_add(sessions));
        self.messages.pool.give_back(0);
        self.messages.deliveries.give_back(0);
        self.messages.bytes.give_back();
        self.receipts.pool.give_back(0);
        self.aliases.give_back();
        self.replays.give_back(0);
        self.group_queues.give_back(0);
        self.router.give_back();
    }

    /// Whether one more message may be retained for this topic, of which `cost` says how many bytes it takes.
    pub(crate) fn has_share_for_retained(&self, topic: TopicName<'_>, cost: impl FnOnce() -> u32) -> bool {
        if !self.messages.bytes.account().is_some_and(MemoryAccount::is_bounded) {
            return true;
        }
        let replaced = self.router.retained_at(topic).map(|Retained(old)| old.cast());
        self.messages.has_share_for_retained(replaced, cost(), self.config.shard.count)
    }
}

fn bounded(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
