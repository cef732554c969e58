//! What the engine asks of `paging/`: bodies of messages may be in the store alone. What the module `messages` asks is
//! [`Residency`](crate::engine::messages::Residency).

use crate::engine::connections::{Connection, Sending};
use crate::engine::messages::Message;
use crate::mem::Handle;

/// What paging does for connections and for the store. The engine implements this trait.
pub(crate) trait Paged {
    /// Whether the rest of a partly transmitted packet can't be transmitted now, because its body was evicted meanwhile. Then the
    /// connection waits, or is dead.
    #[inline]
    fn is_interrupted(&mut self, _handle: Handle<Connection>, _begun: Sending) -> bool {
        false
    }

    /// Whether the partly transmitted packet of a connection can go on; `None` if there is no such packet.
    #[inline]
    fn may_resume(&self, _handle: Handle<Connection>) -> Option<bool> {
        None
    }

    /// Another batch is safe, and so are the bodies in that batch.
    #[inline]
    fn bodies_are_safe(&mut self) {}

    /// Marks the connections as ready for which bodies have come.
    #[inline]
    fn wake_for_bodies(&mut self) {}

    /// Restores a message to its slot without its body, if the body is to stay in the store. Nothing holds a reference to the message yet.
    /// `None` if the body is to be restored too.
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
