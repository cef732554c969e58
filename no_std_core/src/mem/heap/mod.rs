//! Owned memory (feature `alloc`), which grows up to a limit. Without the feature [`no_heap`](super) has the same names.

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
#[cfg(test)]
use super::index::HashIndex;
#[cfg(test)]
use super::{Chained, Pool};

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

/// Whether memory can be owned. A condition on this constant keeps code that only a server needs out of an image for a microcontroller.
pub(crate) const OWNED: bool = true;

/// Removes entries for which `is_there` is false from a list of waiting things. Does so only once half of the entries may be gone: each of
/// the `things` is in the list at most once, and the list has twice as many entries. Returns how many entries were looked at.
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

#[cfg(test)]
impl<T: Default> Pool<'_, T> {
    /// A pool that owns its memory and grows up to `limit` entries.
    pub(crate) fn owned(limit: usize) -> Self {
        Self::new(Slots::owned(limit))
    }
}

#[cfg(test)]
impl<T: Chained<L> + Default, L> HashIndex<'_, T, L> {
    /// An index that owns its buckets, for `limit` entries.
    pub(crate) fn owned(limit: usize) -> Self {
        Self::new(Slots::owned(limit))
    }
}
