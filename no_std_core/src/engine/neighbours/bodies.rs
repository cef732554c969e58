//! Bodies of messages that may be in the store alone: `paging/`.

use core::fmt::Debug;

use crate::engine::connections::{Connection, Sending};
use crate::engine::messages::{Delivery, Message};
use crate::mem::Handle;
use crate::seam::journal::Batch;

/// Which types of paging stand in the types of the engine.
pub(crate) trait PagingState {
    /// What paging keeps for all messages.
    type OfMessages: Debug + Default;
}

/// Bodies in the store: the state of [`Residency`].
pub(crate) enum Paging {}

/// Where the body of a message is. Asked of `Messages`.
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

    /// Whether that body was requested and has not come. One that came and was evicted again has to be requested anew.
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

    /// A record of the message in that slot is in this batch.
    #[inline]
    fn message_was_recorded(&mut self, _slot: u32, _batch: Batch) {}

    /// A message has gone that had flags beside those of the engine.
    #[inline]
    fn message_has_gone(&mut self, _message: &Message) {}

    /// All records are taken back.
    #[inline]
    fn all_are_restored(&mut self) {}

    /// Whether there is a message in the slot that has no body in memory.
    #[inline]
    fn is_evicted_at(&self, _slot: u32) -> bool {
        false
    }

    /// How many bytes of memory bodies may take that the store has too; 0: all bodies stay in memory.
    #[inline]
    fn set_body_budget(&mut self, _bytes: usize) {}

    /// How many messages have no body in memory.
    #[inline]
    fn evicted(&self) -> usize {
        0
    }
}

/// What paging does with connections and with the store. Asked of the engine.
pub(crate) trait Paged {
    /// Whether the rest of a packet that was begun can't be transmitted now, as its body was evicted meanwhile. The
    /// connection is waiting then, or dead.
    #[inline]
    fn is_interrupted(&mut self, _handle: Handle<Connection>, _begun: Sending) -> bool {
        false
    }

    /// Whether such a packet may go on; `None` if none was begun.
    #[inline]
    fn may_resume(&self, _handle: Handle<Connection>) -> Option<bool> {
        None
    }

    /// Another batch is safe, and so are the bodies in it.
    #[inline]
    fn bodies_are_safe(&mut self) {}

    /// Names the connections for which bodies have come.
    #[inline]
    fn wake_for_bodies(&mut self) {}

    /// Puts a message back into its slot after a restart, held by nobody, if its body is to stay in the store; `None` if the body is to be
    /// restored too.
    #[inline]
    fn restore_without_body(
        &mut self,
        _slot: usize,
        _draft: &Message,
        _body: &[u8],
    ) -> Option<Option<Handle<Message>>> {
        None
    }
}
