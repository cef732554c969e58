//! Owned memory (feature `alloc`), which grows up to a limit. Without the feature `none.rs` stands for this folder.

mod account;
mod buffer_pool;
mod ceiling;
mod free_rows;
mod lazy_box;
mod owned_only;
mod patience;
mod queue_index;
mod slots;

pub(crate) use alloc::collections::BTreeMap as GrowingMap;
pub(crate) use alloc::vec::Vec as GrowingList;

pub(crate) use account::{Claim, MemoryAccount, MemoryCredit, allocated};
pub(super) use buffer_pool::{BufferPool, HeapBuffer};
pub(crate) use buffer_pool::{SharedBytes, SpareBuffers};
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
