//! What may be promised to be recorded: `durable/`.

use crate::codec::{Publish, Will};
use crate::engine::connections::Connection;
use crate::engine::messages::Message;
use crate::mem::Handle;

/// The credit that the store has granted for records. Without an account there is no bound. Asked of the engine.
pub(crate) trait Credit {
    /// Whether a message can be taken now: there is credit for it, it needs none, or it is to be refused. If not, the
    /// connection is woken when that may have changed.
    #[inline]
    fn has_credit_for(&mut self, _handle: Handle<Connection>, _publish: &Publish<'_>) -> bool {
        true
    }

    /// The same for the Will of a CONNECT, which this broker alone records.
    #[inline]
    fn has_credit_for_will(&mut self, _handle: Handle<Connection>, _will: &Will<'_>) -> bool {
        true
    }

    /// A message goes to a sibling, and with it the credit for what will be recorded of it there.
    #[inline]
    fn pass_credit(&mut self, _message: Handle<Message>) {}

    /// A message with a body of so many bytes came from a sibling, with the credit for what is recorded of it.
    #[inline]
    fn take_credit(&mut self, _body: usize) {}

    /// Those that wait for credit try again.
    #[inline]
    fn wake_for_credit(&mut self) {}
}
