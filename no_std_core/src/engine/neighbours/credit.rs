//! What the engine asks of `durable/`: whether it may promise to record a message.

use crate::codec::{Publish, Will};
use crate::engine::connections::Connection;
use crate::engine::messages::Message;
use crate::mem::Handle;

/// The credit that the store has granted for records. Without an account there is no bound. The engine implements this
/// trait.
pub(crate) trait Credit {
    /// Whether a message can be handled now: there is credit for it, or it needs none, or it is to be refused. If not,
    /// the connection is woken when that may have changed.
    #[inline]
    fn has_credit_for(&mut self, _handle: Handle<Connection>, _publish: &Publish<'_>) -> bool {
        true
    }

    /// Whether the Will of a CONNECT can be handled now: only this broker records it.
    #[inline]
    fn has_credit_for_will(&mut self, _handle: Handle<Connection>, _will: &Will<'_>) -> bool {
        true
    }

    /// A message goes to another shard, and with it the credit for its records there.
    #[inline]
    fn pass_credit(&mut self, _message: Handle<Message>) {}

    /// A message with a body of so many bytes came from another shard, with the credit for its records.
    #[inline]
    fn take_credit(&mut self, _body: usize) {}

    /// Wakes the connections that wait for credit.
    #[inline]
    fn wake_for_credit(&mut self) {}
}
