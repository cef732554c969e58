//! Owned memory (feature `alloc`): what grows up to a limit. Without the feature [`no_heap`](super) has the same names.

mod buffer_pool;
mod bytes;
mod free_rows;
mod lazy_box;
mod owned_only;
mod queue_index;
mod slots;

use super::index::HashIndex;
use super::{Chained, Pool, Slots};

pub(crate) use alloc::collections::BTreeMap as GrowingMap;
pub(crate) use alloc::vec::Vec as GrowingList;

pub(crate) use buffer_pool::SharedBytes;
pub(crate) use buffer_pool::SpareBuffers;
pub(crate) use bytes::OWNED_BLOB;
pub(super) use bytes::OwnedBytes;
pub(super) use free_rows::FreeRows;
pub(crate) use free_rows::free_list_bytes;
pub(crate) use lazy_box::LazyBox;
pub(crate) use owned_only::OwnedOnly;
pub(crate) use queue_index::QueueIndex;
pub(super) use slots::OwnedSlots;

/// Whether memory can be owned: whoever asks keeps what only a server needs out of an image for a microcontroller.
pub(crate) const OWNED: bool = true;

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
}
