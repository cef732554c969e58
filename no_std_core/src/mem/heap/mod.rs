//! Owned memory (feature `alloc`): what grows up to a limit. Without the feature [`no_heap`](super) has the same names.

mod account;
mod buffer_pool;
mod bytes;
mod ceiling;
mod free_rows;
mod lazy_box;
mod owned_only;
mod queue_index;
mod slots;

use super::Slots;

pub(crate) use alloc::collections::BTreeMap as GrowingMap;
pub(crate) use alloc::vec::Vec as GrowingList;

pub(crate) use account::{Claim, MemoryAccount, MemoryCredit, allocated};
pub(crate) use buffer_pool::SharedBytes;
pub(crate) use buffer_pool::SpareBuffers;
pub(crate) use bytes::OWNED_BLOB;
pub(super) use bytes::OwnedBytes;
pub use ceiling::{MemoryCeiling, MemoryClaim, MemoryUse};
pub(super) use free_rows::FreeRows;
pub(crate) use free_rows::free_list_bytes;
pub(crate) use lazy_box::LazyBox;
pub(crate) use owned_only::OwnedOnly;
pub(crate) use queue_index::QueueIndex;
pub(super) use slots::OwnedSlots;

/// Whether memory can be owned: whoever asks keeps what only a server needs out of an image for a microcontroller.
pub(crate) const OWNED: bool = true;

/// Takes entries that are gone out of a list of things that wait, once they may be half of it: when the list has twice as many entries as there
/// are `things`, each of which stands in the list once at most. Returns how many entries were looked at.
pub(crate) fn forget_gone<T>(waiting: &mut GrowingList<T>, things: usize, is_there: impl FnMut(&T) -> bool) -> usize {
    let looked_at = waiting.len();
    if looked_at < things.saturating_mul(2) {
        return 0;
    }
    waiting.retain(is_there);
    looked_at
}

/// Makes sure that there is a place for one more, as far as the allocator gives it: a list that is claimed with a table must not
/// double.
#[inline]
pub(crate) fn reserve_an_eighth<T>(list: &mut GrowingList<T>) {
    if list.len() == list.capacity() {
        // If it is refused, whoever pushes tries again.
        let _ = list.try_reserve_exact((list.len() / 8).saturating_add(64));
    }
}

impl<T: Default> Slots<'_, T> {
    /// An empty table that grows up to `limit` entries.
    pub fn owned(limit: usize) -> Self {
        Self::in_owned(OwnedSlots::new(limit))
    }
}
