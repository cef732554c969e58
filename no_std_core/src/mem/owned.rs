//! What tables do only in memory of their own.

use super::Slots;
use super::heap::{MemoryAccount, OwnedSlots};
#[cfg(test)]
use super::{Chained, HashIndex, Pool};

impl<T: Default> Slots<'_, T> {
    /// An empty table that grows up to `limit` entries.
    pub fn owned(limit: usize) -> Self {
        Self::in_owned(OwnedSlots::new(limit))
    }

    /// Owned memory claims from this account. The table must not have grown yet.
    pub(crate) fn set_account(&mut self, account: MemoryAccount) {
        if let Some(slots) = self.as_owned_mut() {
            slots.set_account(account);
        }
    }

    /// So many more bytes hang at each entry, and are claimed with it in owned memory. The table must not have grown yet.
    pub(crate) fn add_beside(&mut self, bytes: usize) {
        if let Some(slots) = self.as_owned_mut() {
            slots.add_beside(bytes);
        }
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
