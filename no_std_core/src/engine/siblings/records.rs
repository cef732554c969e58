//! The records that a shard keeps about messages to and from the other shards of its gateway, its siblings.

use crate::engine::messages::Message;
use crate::mem::Handle;

/// A message to another shard, which is recorded here until it is safe there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TransitParts<'a> {
    pub(crate) sibling: u16,
    /// Its sequence number among all messages that were recorded for that shard.
    pub(crate) sequence: u64,
    pub(crate) message: Handle<Message>,
    pub(crate) publisher_key: u32,
    /// The shared subscription to which the message is limited; empty if it is for all subscribers.
    pub(crate) group: &'a str,
}

/// What is recorded here about other shards, and restored after a restart.
pub(crate) trait SiblingRecords {
    // ---- restoring

    /// All records are restored: greets the other shards.
    #[inline]
    fn greet_siblings(&mut self) {}

    /// A message with this stamp was restored.
    #[inline]
    fn stamp_was_restored(&mut self, _stamp: u64) {}

    /// Restores a message on its way to another shard. Returns whether the record makes sense.
    #[inline]
    fn restore_transit(&mut self, _slot: usize, _transit: TransitParts<'_>) -> bool {
        false
    }

    /// Restores the sequence numbers of the last message from another shard that was received, and of the last message to it.
    /// Returns whether they make sense.
    #[inline]
    fn restore_progress(&mut self, _sibling: usize, _taken: u64, _sent: u64) -> bool {
        false
    }

    // ---- records

    /// The message to another shard in this slot.
    #[inline]
    fn transit(&self, _slot: usize) -> Option<TransitParts<'_>> {
        None
    }

    /// The number of slots for messages to other shards, used now or before.
    #[inline]
    fn transit_slots(&self) -> usize {
        0
    }

    /// Whether the message in this slot reaches the other shard before it is recorded here.
    #[inline]
    fn goes_unrecorded(&self, _transit: &TransitParts<'_>) -> bool {
        false
    }

    /// The sequence numbers of the last message from another shard that was received, and of the last message to it; `None` if
    /// there were none.
    #[inline]
    fn progress(&self, _sibling: usize) -> Option<(u64, u64)> {
        None
    }

    // ---- batches

    /// Another batch is safe: other shards get the messages that waited for this batch.
    #[inline]
    fn batch_is_safe(&mut self) {}
}
