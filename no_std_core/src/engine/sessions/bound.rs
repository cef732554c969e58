//! The bound on one queue.

use super::{Outbound, Session};
use crate::config::Limits;

/// How much may wait in one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) messages: u32,
    pub(crate) bytes: u32,
}

impl Bound {
    pub(crate) fn of_session(limits: &Limits, session: &Session) -> Self {
        let granted = &session.lost.get().granted;
        Self { messages: granted.queued_messages(limits), bytes: granted.queued_bytes(limits) }
    }

    /// Whether `queue` takes one more message of `cost` bytes.
    #[cfg_attr(not(feature = "alloc"), inline(never))]
    pub(crate) fn has_room(self, queue: &Outbound, cost: u32) -> bool {
        queue.queued() < self.messages as usize
            && queue.queued_bytes().checked_add(cost).is_some_and(|bytes| bytes <= self.bytes)
    }

    /// The same once `gone` has left the queue.
    pub(crate) fn has_room_without(self, queue: &Outbound, gone: Self, cost: u32) -> bool {
        queue.queued().saturating_sub(gone.messages as usize) < self.messages as usize
            && queue.queued_bytes().saturating_sub(gone.bytes).saturating_add(cost) <= self.bytes
    }

    /// Whether an empty queue has room for so many bytes.
    pub(crate) fn is_possible(self, cost: u32) -> bool {
        cost <= self.bytes && self.messages > 0
    }

    /// What both allow.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { messages: self.messages.min(other.messages), bytes: self.bytes.min(other.bytes) }
    }

    pub(crate) fn is_exceeded(self, queue: &Outbound) -> bool {
        queue.queued() > self.messages as usize || queue.queued_bytes() > self.bytes
    }

    /// This bound, or what `queue` has already where it was allowed to grow to `durable`: so no more is dropped from it than
    /// makes room for a new message.
    pub(crate) fn or_as_before(self, durable: Self, queue: &Outbound) -> Self {
        let queued = u32::try_from(queue.queued()).unwrap_or(u32::MAX);
        Self {
            messages: self.messages.max(queued.min(durable.messages)),
            bytes: self.bytes.max(queue.queued_bytes().min(durable.bytes)),
        }
    }
}
