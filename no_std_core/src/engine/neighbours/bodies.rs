//! Bodies of messages that may be in the store alone: `paging/`. What messages ask of it is [`Residency`](crate::engine::messages::Residency).

use crate::engine::connections::{Connection, Sending};
use crate::engine::messages::Message;
use crate::mem::Handle;

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
