//! What of siblings is recorded, and restored.

use crate::engine::messages::Message;
use crate::mem::Handle;
use crate::topic::TopicName;

/// A message that is recorded until it is safe with a sibling.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TransitParts<'a> {
    pub(crate) sibling: u16,
    /// Its place among all messages that were recorded for that sibling.
    pub(crate) sequence: u64,
    pub(crate) message: Handle<Message>,
    pub(crate) publisher_key: u32,
    /// The shared subscription that it is for alone; empty for all other messages.
    pub(crate) group: &'a str,
}

/// What siblings have recorded here, and take back after a restart.
pub(crate) trait SiblingRecords {
    // ---- restoring

    /// All is restored: siblings hear of it.
    #[inline]
    fn greet_siblings(&mut self) {}

    /// A message with this stamp was restored.
    #[inline]
    fn stamp_was_restored(&mut self, _stamp: u64) {}

    /// A message without payload was restored as the retained one of its topic: it notes that a retained message was removed. Gives
    /// whether the note is of use.
    #[inline]
    fn restore_removal(&mut self, _topic: TopicName<'_>, _message: Handle<Message>) -> bool {
        false
    }

    /// Restores a message on its way to a sibling; gives whether that can be done.
    #[inline]
    fn restore_transit(&mut self, _slot: usize, _transit: TransitParts<'_>) -> bool {
        false
    }

    /// Restores how far a sibling's messages were taken, and how far ours were recorded for it; gives whether that can
    /// be done.
    #[inline]
    fn restore_progress(&mut self, _sibling: usize, _taken: u64, _sent: u64) -> bool {
        false
    }

    // ---- records

    /// The message on its way in this slot.
    #[inline]
    fn transit(&self, _slot: usize) -> Option<TransitParts<'_>> {
        None
    }

    /// Slots of messages on their way, used or used before.
    #[inline]
    fn transit_slots(&self) -> usize {
        0
    }

    /// Whether the message on its way in this slot is with the sibling before it is recorded here.
    #[inline]
    fn goes_unrecorded(&self, _transit: &TransitParts<'_>) -> bool {
        false
    }

    /// How far a sibling's messages were taken, and ours recorded for it; `None`: nothing yet.
    #[inline]
    fn progress(&self, _sibling: usize) -> Option<(u64, u64)> {
        None
    }

    // ---- batches

    /// Another batch is safe: siblings get what waited for it.
    #[inline]
    fn batch_is_safe(&mut self) {}
}
