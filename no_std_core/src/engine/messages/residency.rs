//! What the module `messages` asks of `paging/`: the body of a message may be in the store alone.

use crate::engine::messages::{Delivery, Message};
use crate::mem::Handle;
use crate::seam::journal::Batch;

/// Where the body of a message is. `Messages` implements this trait.
pub(crate) trait Residency {
    /// Whether a message has no body in memory.
    #[inline]
    fn is_evicted(&self, _message: Handle<Message>) -> bool {
        false
    }

    /// Whether a message has no body in memory, and none can be read from the store.
    #[inline]
    fn is_unreadable(&self, _message: Handle<Message>) -> bool {
        false
    }

    /// Whether a delivery can't be transmitted before the body of its message is fetched.
    #[inline]
    fn lacks_body(&self, _delivery: Handle<Delivery>) -> bool {
        false
    }

    /// Whether the body was requested and has not come. If a body came and was evicted again, it has to be requested
    /// anew.
    #[inline]
    fn awaits_body(&self, _delivery: Handle<Delivery>) -> bool {
        false
    }

    /// Requests the body of a message, if it has none in memory.
    #[inline]
    fn request_body(&mut self, _message: Handle<Message>) {}

    /// Requests the body of the first delivery, and those of up to `most` deliveries behind it in its list.
    #[inline]
    fn request_bodies(&mut self, _first: Handle<Delivery>, _most: u16) {}

    /// A message was restored with its body.
    #[inline]
    fn message_was_restored(&mut self, _message: Handle<Message>) {}

    /// A record of the message in slot `_slot` is in this batch.
    #[inline]
    fn message_was_recorded(&mut self, _slot: u32, _batch: Batch) {}

    /// A message was removed that had flags of `paging/`.
    #[inline]
    fn message_has_gone(&mut self, _message: &Message) {}

    /// All records are restored.
    #[inline]
    fn all_are_restored(&mut self) {}

    /// Whether the slot has a message without a body in memory.
    #[inline]
    fn is_evicted_at(&self, _slot: u32) -> bool {
        false
    }

    /// Sets how many bytes of memory the bodies may use that are in the store too; 0: all bodies stay in memory.
    #[inline]
    fn set_body_budget(&mut self, _bytes: usize) {}

    /// How many messages have no body in memory.
    #[inline]
    fn evicted(&self) -> usize {
        0
    }
}
