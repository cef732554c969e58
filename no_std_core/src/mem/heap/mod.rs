//! Owned memory (feature `alloc`): what grows up to a limit. Without the feature [`no_heap`](super) has the same names.

mod buffer_pool;
mod bytes;
mod free_rows;
mod lazy_box;
mod slots;

use super::index::HashIndex;
use super::{Chained, Pool, Slots};

pub(crate) use alloc::vec::Vec as GrowingList;

pub(crate) use buffer_pool::SharedBytes;
pub(crate) use buffer_pool::SpareBuffers;
pub(crate) use bytes::OWNED_BLOB;
pub(super) use bytes::OwnedBytes;
pub(super) use free_rows::FreeRows;
pub(crate) use free_rows::free_list_bytes;
pub(crate) use lazy_box::LazyBox;
pub(super) use slots::OwnedSlots;

/// Whether memory can be owned: whoever asks keeps what only a server needs out of an image for a microcontroller.
pub(crate) const OWNED: bool = true;

/// So many entries and what hangs at them are more than the caches of a processor have for them: with levels of topics and their
/// subscriptions some 7 MB. Tests are to see what is done with so many, with few.
const VAST: u32 = if cfg!(debug_assertions) { 4 } else { 60_000 };

impl<T: Default> Slots<'_, T> {
    /// An empty table that grows up to `limit` entries.
    pub fn owned(limit: usize) -> Self {
        Self::in_owned(OwnedSlots::new(limit))
    }
}

impl<T: Default> Pool<'_, T> {
    /// A pool that owns its memory and grows up to `limit` entries.
    pub(crate) fn owned(limit: usize) -> Self {
        Self::new(Slots::owned(limit))
    }
}

impl<T: Chained<L> + Default, L> HashIndex<'_, T, L> {
    /// An index that owns its buckets, made for `limit` entries.
    pub(crate) fn owned(limit: usize) -> Self {
        Self::new(Slots::owned(limit))
    }

    /// Whether there is no entry.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The most entries that a look-up may have to pass.
    pub(crate) fn longest_chain(&self, pool: &Pool<'_, T>) -> usize {
        let length = |bucket| core::iter::successors(self.bucket(bucket), |entry| pool[*entry].chain()).count();
        (0..self.count as usize).map(length).max().unwrap_or(0)
    }

    /// Whether there is so much in it that a look-up mostly waits for memory.
    #[inline]
    pub(crate) fn is_vast(&self) -> bool {
        self.len >= VAST
    }
}
