//! Functions of tables that own their memory.

use super::Slots;
use super::heap::{MemoryAccount, OwnedSlots};
#[cfg(test)]
use super::{Chained, HashIndex, Pool};

impl<T: Default> Slots<'_, T> {
    /// An empty table that grows up to `limit` entries.
    pub fn owned(limit: usize) -> Self {
        Self::in_owned(OwnedSlots::new(limit))
    }

    /// From now on a table that owns its memory claims it from `account`. The table must not have grown yet.
    pub(crate) fn set_account(&mut self, account: MemoryAccount) {
        if let Some(slots) = self.as_owned_mut() {
            slots.set_account(account);
        }
    }

    /// Each entry takes so many more bytes elsewhere on the heap. A table that owns its memory claims these with the place of the entry. The table
    /// must not have grown yet.
    pub(crate) fn add_beside(&mut self, bytes: usize) {
        if let Some(slots) = self.as_owned_mut() {
            slots.add_beside(bytes);
        }
    }

    /// Each place takes so many more bytes in lists and tables elsewhere, which do not shrink with this table. Their claim lasts as long as these.
    pub(crate) fn add_lasting(&mut self, bytes: usize) {
        if let Some(slots) = self.as_owned_mut() {
            slots.add_lasting(bytes);
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
