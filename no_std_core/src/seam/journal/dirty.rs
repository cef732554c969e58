//! Which slots of a table have changed since they were recorded last, and of which slots the store has a record.

use super::JournalMemory;
use crate::mem::{GrowingList, OWNED, Slots, one_more, reserve_an_eighth};
use crate::seam::kind::Kind;

/// The store has a record of the slot.
pub(super) const STORED: u8 = 1;
/// What is in the slot has changed since it was recorded last.
pub(super) const DIRTY: u8 = 2;

/// How many kinds have a table: all but the counters. The kinds for other shards have one only in owned memory.
const TABLES: usize = if OWNED { Kind::Sibling as usize } else { Kind::Receipt as usize };

/// The marks of all tables.
#[derive(Debug)]
pub(super) struct Dirty<'m> {
    /// The tables, indexed by [`Kind::place`].
    tables: [DirtySlots<'m>; TABLES],
    /// The marks of the counters, which are all in one slot.
    counters: u8,
}

impl<'m> Dirty<'m> {
    pub(super) fn new(memory: JournalMemory<'m>) -> Self {
        Self {
            tables: [
                DirtySlots::new(memory.sessions),
                DirtySlots::new(memory.groups),
                DirtySlots::new(memory.subscriptions),
                DirtySlots::new(memory.messages),
                DirtySlots::new(memory.retained),
                DirtySlots::new(memory.deliveries),
                DirtySlots::new(memory.receipts),
                #[cfg(feature = "alloc")]
                DirtySlots::new(Slots::owned(super::MAX_TRANSITS)),
                #[cfg(feature = "alloc")]
                DirtySlots::new(Slots::owned(usize::from(u16::MAX))),
            ],
            counters: 0,
        }
    }

    /// Sets a bit of a slot. Returns whether that made the slot dirty.
    pub(super) fn set(&mut self, kind: Kind, slot: usize, bit: u8) -> bool {
        match self.table_mut(kind) {
            Some(table) => table.set(slot, bit),
            None => {
                let is_new = self.counters & bit == 0;
                self.counters |= bit;
                is_new
            }
        }
    }

    /// Whether the table of `kind` has this slot.
    pub(super) fn has(&self, kind: Kind, slot: usize) -> bool {
        match self.table(kind) {
            Some(table) => slot < table.bits.limit(),
            None => kind == Kind::Counters && slot == 0,
        }
    }

    /// [`STORED`] and [`DIRTY`] of a slot.
    pub(super) fn bits(&self, kind: Kind, slot: u32) -> u8 {
        match self.table(kind) {
            Some(table) => table.get(slot),
            None if kind == Kind::Counters => self.counters,
            None => 0,
        }
    }

    /// The slot was recorded: it keeps the bits in `left`.
    pub(super) fn clean(&mut self, kind: Kind, slot: u32, left: u8) {
        match self.table_mut(kind) {
            Some(table) => table.clean(slot, left),
            None => self.counters = left,
        }
    }

    /// Any dirty slot, in the order of kinds.
    pub(super) fn next(&mut self) -> Option<(Kind, u32)> {
        Kind::ALL.iter().find_map(|kind| match kind {
            Kind::Counters => (self.counters & DIRTY != 0).then_some((*kind, 0)),
            _ => Some((*kind, self.table_mut(*kind)?.next()?)),
        })
    }

    #[inline]
    pub(super) fn table(&self, kind: Kind) -> Option<&DirtySlots<'m>> {
        self.tables.get(kind.place())
    }

    #[inline]
    pub(super) fn table_mut(&mut self, kind: Kind) -> Option<&mut DirtySlots<'m>> {
        self.tables.get_mut(kind.place())
    }
}

/// The marks of one table.
#[derive(Debug)]
pub(super) struct DirtySlots<'m> {
    /// [`STORED`] and [`DIRTY`] of each slot.
    bits: Slots<'m, u8>,
    /// How many slots are dirty.
    count: u32,
    /// In borrowed memory, where the tables are short, the search for dirty slots begins at this slot and goes all around.
    at: u32,
    /// The dirty slots; in owned memory only.
    list: GrowingList<u32>,
}

impl<'m> DirtySlots<'m> {
    fn new(mut bits: Slots<'m, u8>) -> Self {
        bits.as_mut_slice().fill(0);
        Self { bits, count: 0, at: 0, list: GrowingList::default() }
    }

    /// How many slots are dirty.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// The dirty slots, in owned memory; in borrowed memory there is no list.
    pub(super) fn list(&self) -> Option<&[u32]> {
        self.bits.is_owned().then_some(&*self.list)
    }

    fn get(&self, slot: u32) -> u8 {
        self.bits.as_slice().get(slot as usize).copied().unwrap_or(0)
    }

    fn set(&mut self, slot: usize, bit: u8) -> bool {
        let there = self.bits.grow_to(slot.saturating_add(1));
        debug_assert!(there, "there is a byte for each slot");
        let Some(bits) = self.bits.as_mut_slice().get_mut(slot) else { return false };
        let is_new = bit == DIRTY && *bits & DIRTY == 0;
        *bits |= bit;
        if is_new {
            self.count = one_more(self.count);
            if self.bits.is_owned() {
                reserve_an_eighth(&mut self.list);
                self.list.push(slot as u32);
            }
        }
        is_new
    }

    fn clean(&mut self, slot: u32, left: u8) {
        let Some(bits) = self.bits.as_mut_slice().get_mut(slot as usize) else { return };
        if *bits & DIRTY != 0 {
            self.count = self.count.saturating_sub(1);
            if self.list.last() == Some(&slot) {
                self.list.pop();
            }
        }
        *bits = left;
    }

    /// The slot at a place of the list is no longer dirty. The last slot of the list takes its place.
    pub(super) fn forget(&mut self, place: usize) {
        let Some(last) = self.list.len().checked_sub(1).filter(|last| place <= *last) else { return };
        self.list.swap(place, last);
        let Some(slot) = self.list.pop() else { return };
        self.count = self.count.saturating_sub(1);
        if let Some(bits) = self.bits.as_mut_slice().get_mut(slot as usize) {
            *bits &= !DIRTY;
        }
    }

    fn next(&mut self) -> Option<u32> {
        if self.count == 0 {
            return None;
        }
        if self.bits.is_owned() {
            return self.list.last().copied();
        }
        let (before, from) = self.bits.as_slice().split_at_checked(self.at as usize)?;
        let is_dirty = |bits: &u8| bits & DIRTY != 0;
        let found = from.iter().position(is_dirty).map(|place| place.saturating_add(before.len()));
        self.at = found.or_else(|| before.iter().position(is_dirty))? as u32;
        Some(self.at)
    }
}
