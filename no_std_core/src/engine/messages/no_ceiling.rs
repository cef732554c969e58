//! Where memory is borrowed it was taken before: there is no ceiling.

use super::{Message, Messages};
use crate::mem::Handle;

/// Nothing is known of the memory of messages.
#[derive(Debug, Default)]
pub(super) struct MessageMemory;

impl Messages<'_> {
    /// Whether a published message with a body of `len` bytes leaves the reserve untouched.
    #[inline]
    pub(crate) fn has_room(&mut self, len: usize) -> bool {
        self.is_within_limits(1, len)
    }

    #[inline(always)]
    pub(super) fn has_memory_for_will(&mut self, _len: usize) -> bool {
        true
    }

    #[inline(always)]
    pub(crate) fn count_retained(&mut self, _message: Handle<Message>) {}

    #[inline(always)]
    pub(crate) fn discount_retained(&mut self, _message: Handle<Message>) {}
}
