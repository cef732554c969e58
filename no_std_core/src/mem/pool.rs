//! A slab with a list of its free places.

use core::ops::{Index, IndexMut};

use super::free_list::FreeList;
use super::handle::{CHECKED, MOST_PLACES};
use super::heap::Claim;
use super::link::{PoolSlot, SlotLink};
use super::{Handle, OWNED, Slots, one_less, one_more};

/// Entries of one type, found by [`Handle`], inserted and removed in O(1).
///
/// Indexing with a handle whose entry was removed is a bug of the caller. If handles are checked, an assertion fails, even if
/// another entry has the place since; see [`mem`](super). Otherwise the result is the entry that has the place, or a spare entry
/// that belongs to nobody.
#[derive(Debug)]
pub(crate) struct Pool<'m, T> {
    slots: Slots<'m, PoolSlot<T>>,
    /// The entry for a handle beyond the pool.
    spare: T,
    free: FreeList,
    /// How many slots were ever used. The slots behind them are not in `free`.
    fresh: u32,
    len: u32,
}

impl<'m, T: Default> Pool<'m, T> {
    /// An empty pool in `slots`, whatever their contents are.
    pub(crate) fn new(slots: Slots<'m, PoolSlot<T>>) -> Self {
        let free = FreeList::of(&slots);
        Self { slots, spare: T::default(), free, fresh: 0, len: 0 }
    }

    /// The number of live entries.
    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is no live entry.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The most entries that the pool can have.
    pub(crate) fn limit(&self) -> usize {
        let places = self.slots.limit();
        // A slot has more than four bytes, so an address space of 32 bits never has too many.
        if cfg!(target_pointer_width = "64") || CHECKED { places.min(MOST_PLACES) } else { places }
    }

    /// How many more entries there is room for.
    pub(crate) fn available(&self) -> usize {
        debug_assert!(self.len() <= self.limit(), "more entries than places");
        self.limit().wrapping_sub(self.len())
    }

    /// Whether [`Pool::insert`] would refuse.
    pub(crate) fn is_full(&self) -> bool {
        self.available() == 0
    }

    /// Whether one more entry has a place while `reserved` places, or an eighth of all places if that is less, stay free. Owned memory grows for
    /// that now, if the ceiling allows it. The place stays free until an entry is inserted.
    #[inline]
    pub(crate) fn has_room(&mut self, reserved: usize) -> bool {
        if !OWNED {
            return self.available() > reserved;
        }
        if reserved == 0 && self.len < self.fresh {
            return true;
        }
        let places = self.slots.places();
        let wanted = self.len().saturating_add(1).saturating_add(reserved.min(places / 8));
        if wanted <= places && self.available() > reserved { true } else { self.find_room(wanted, reserved) }
    }

    #[cold]
    fn find_room(&mut self, wanted: usize, reserved: usize) -> bool {
        self.available() > reserved && self.reserve(wanted, Claim::Ordinary)
    }

    /// Whether there is memory for `len` entries in all. Owned memory grows for that now, if the ceiling allows it.
    pub(crate) fn reserve(&mut self, len: usize, claim: Claim) -> bool {
        len <= self.limit() && self.slots.reserve(len, claim)
    }

    /// How many entries there is memory for.
    pub(crate) fn places(&self) -> usize {
        self.slots.places()
    }

    /// How many more bytes may be claimed for the use that the pool's memory is claimed for.
    pub(crate) fn available_bytes(&self) -> usize {
        self.slots.available_bytes()
    }

    /// Whether a client may hold `holds` bytes of the use that the pool's memory is claimed for, by its share.
    pub(crate) fn is_in_share(&self, holds: usize) -> bool {
        self.slots.is_in_share(holds)
    }

    /// Adds `value` to the pool. `None`, and `value` is dropped, if the pool is full.
    pub(crate) fn insert(&mut self, value: T) -> Option<Handle<T>> {
        let handle = self.take_place()?;
        self[handle] = value;
        Some(handle)
    }

    /// Adds an empty entry to the pool, to be filled in place, so that large entries are not copied. `None` if the pool is full.
    pub(crate) fn insert_empty(&mut self) -> Option<Handle<T>> {
        let handle = self.take_place()?;
        self[handle] = T::default();
        Some(handle)
    }

    /// Makes a free place live, and keeps its value.
    fn take_place(&mut self) -> Option<Handle<T>> {
        let index = match self.free.take(&self.slots) {
            Some(index) => index,
            None => self.fresh_place()?,
        };
        self.fill(index)
    }

    /// Makes the free place `index` live.
    fn fill(&mut self, index: usize) -> Option<Handle<T>> {
        let slot = self.slots.as_mut_slice().get_mut(index)?;
        slot.link = slot.link.with_entry();
        self.len = one_more(self.len);
        Some(Handle::new(index, slot.link.generation()))
    }

    /// Takes a place that was never used.
    // For a server this function must not be inlined, because most places were used before. Without `alloc` a call would cost more
    // flash.
    #[cfg_attr(feature = "alloc", inline(never))]
    fn fresh_place(&mut self) -> Option<usize> {
        let index = self.fresh as usize;
        if index >= self.limit() {
            return None;
        }
        let fresh = one_more(self.fresh);
        if !self.grow_to(fresh as usize) {
            return None;
        }
        self.fresh = fresh;
        Some(index)
    }

    fn grow_to(&mut self, len: usize) -> bool {
        self.free.grow_to(len) && self.slots.grow_to(len)
    }

    /// After a restart: puts `value` into the place `index`. `None`, and `value` is dropped, if the place has an entry or is beyond
    /// the limit. After the last call the caller has to call [`Pool::end_restoring`].
    pub(crate) fn restore(&mut self, index: usize, value: T) -> Option<Handle<T>> {
        let handle = self.claim(index)?;
        self[handle] = value;
        Some(handle)
    }

    /// As [`Pool::restore`], for an empty entry that is filled in place.
    pub(crate) fn restore_empty(&mut self, index: usize) -> Option<Handle<T>> {
        let handle = self.claim(index)?;
        self[handle] = T::default();
        Some(handle)
    }

    /// Makes the place `index` live, and keeps its value.
    fn claim(&mut self, index: usize) -> Option<Handle<T>> {
        if index >= self.limit() || self.at(index).is_some() {
            return None;
        }
        let end = one_more(index as u32);
        if !self.grow_to(end as usize) {
            return None;
        }
        if let Some(between) = self.slots.as_mut_slice().get_mut(self.fresh as usize..index) {
            for slot in between {
                slot.link = SlotLink::NEVER_USED;
            }
            self.fresh = end;
        }
        self.fill(index)
    }

    /// Finds all free places. The first ones are used first.
    pub(crate) fn end_restoring(&mut self) {
        self.free.clear();
        for index in (0..self.fresh as usize).rev() {
            if let Some(slot) = self.slots.as_mut_slice().get_mut(index)
                && !slot.link.is_live()
            {
                self.free.put(index, slot);
            }
        }
    }

    /// Removes an entry, and returns it.
    pub(crate) fn remove(&mut self, handle: Handle<T>) -> T {
        let index = handle.index();
        let used = index < self.fresh as usize;
        match self.slots.as_mut_slice().get_mut(index) {
            Some(slot) if used && slot.link.is_live() => {
                check(handle, slot.link);
                self.free.put(index, slot);
                self.len = one_less(self.len);
                core::mem::take(&mut slot.value)
            }
            _ => {
                debug_assert!(false, "removed an entry that is not there: {handle:?}");
                T::default()
            }
        }
    }

    /// Gives memory back that the table took for entries which are gone: all of it if the table is empty, or else some places at the end if it has
    /// been far larger than its contents for several calls. At least `least` places stay. The call is cheap, and is to be made now and then.
    /// Returns whether there are fewer places now.
    #[inline]
    pub(crate) fn give_back(&mut self, least: usize) -> bool {
        self.fresh > KEPT_EMPTY && self.give_back_some(least)
    }

    fn give_back_some(&mut self, least: usize) -> bool {
        if self.len == 0 && least == 0 {
            let is_owned = self.slots.give_back();
            if is_owned {
                self.free = FreeList::of(&self.slots);
                self.fresh = 0;
            }
            return is_owned;
        }
        let (end, is_too_large) = (self.fresh as usize, self.len < self.fresh / TOO_LARGE);
        let Some(rows) = self.free.rows_mut().and_then(|rows| rows.look(is_too_large).then_some(rows)) else {
            return false;
        };
        let new = rows.end_without_free(end, AT_ONCE).max(KEPT_EMPTY as usize).max(least);
        if new >= end {
            rows.fill_from_begin();
            return false;
        }
        rows.truncate(new);
        self.slots.truncate(new);
        self.fresh = new as u32;
        true
    }

    /// How many slots are used or were used before: the index of each live entry is below this number.
    pub(crate) fn slots(&self) -> usize {
        self.slots.as_slice().len()
    }

    /// Whether `handle` refers to a live entry. Even here it is a bug if the handle outlived its entry, because another entry may
    /// have the place: if handles are checked, an assertion fails. For an index use [`Pool::at`].
    pub(crate) fn is_live(&self, handle: Handle<T>) -> bool {
        match self.link_of(handle.index()) {
            Some(link) => {
                check(handle, link);
                true
            }
            None => false,
        }
    }

    /// The handle of the live entry at `index`.
    pub(crate) fn at(&self, index: usize) -> Option<Handle<T>> {
        self.link_of(index).map(|link| Handle::new(index, link.generation()))
    }

    /// The link of the place `index`, if it has an entry.
    #[inline(always)]
    fn link_of(&self, index: usize) -> Option<SlotLink> {
        let slot = self.slots.as_slice().get(index).filter(|_| index < self.fresh as usize);
        slot.map(|slot| slot.link).filter(|link| link.is_live())
    }

    /// The live entries, in the order of their places.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Handle<T>, &T)> {
        self.iter_from(0)
    }

    /// The live entries with an index of at least `from`.
    pub(crate) fn iter_from(&self, from: usize) -> impl Iterator<Item = (Handle<T>, &T)> {
        let used = self.slots.as_slice().iter().take(self.fresh as usize).enumerate().skip(from);
        used.filter(|(_, slot)| slot.link.is_live())
            .map(|(index, slot)| (Handle::new(index, slot.link.generation()), &slot.value))
    }
}

/// A table that has had more entries than so many gives its memory back when it is empty.
const KEPT_EMPTY: u32 = if cfg!(debug_assertions) { 512 } else { 16_384 };

/// A table with so many times more places than entries is far too large.
const TOO_LARGE: u32 = 4;
/// A table gives back about so many places at once, so that no call takes long.
const AT_ONCE: usize = 16_384;

/// If handles are checked, stops unless `handle` was made for the entry in its place, whose link is `link`.
#[inline(always)]
fn check<T>(handle: Handle<T>, link: SlotLink) {
    if CHECKED {
        assert!(link.is_live(), "no entry is there: {handle:?}");
        let (expected, found) = (handle.generation(), link.generation());
        assert!(expected == 0 || expected == found, "another entry is there: {handle:?}");
    }
}

// The code indexes pools in some 700 places. For a server each of them is to be fast; without `alloc` each is to be small.
impl<T: Default> Index<Handle<T>> for Pool<'_, T> {
    type Output = T;

    #[cfg_attr(feature = "alloc", inline(always))]
    #[cfg_attr(not(feature = "alloc"), inline(never))]
    fn index(&self, handle: Handle<T>) -> &T {
        match self.slots.as_slice().get(handle.index()) {
            Some(slot) => {
                check(handle, slot.link);
                &slot.value
            }
            None => {
                debug_assert!(false, "there is no such place: {handle:?}");
                &self.spare
            }
        }
    }
}

impl<T: Default> IndexMut<Handle<T>> for Pool<'_, T> {
    #[cfg_attr(feature = "alloc", inline(always))]
    #[cfg_attr(not(feature = "alloc"), inline(never))]
    fn index_mut(&mut self, handle: Handle<T>) -> &mut T {
        match self.slots.as_mut_slice().get_mut(handle.index()) {
            Some(slot) => {
                check(handle, slot.link);
                &mut slot.value
            }
            None => {
                debug_assert!(false, "there is no such place: {handle:?}");
                // Without `alloc` this is the same code as that of `index`, so the linker keeps it once.
                if cfg!(feature = "alloc") {
                    self.spare = T::default();
                }
                &mut self.spare
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::testing::{Random, with_slots};
    use super::*;

    #[test]
    fn a_pool_behaves_like_a_map_and_fills_to_its_limit() {
        with_slots(50, |slots| {
            let mut pool = Pool::new(slots);
            let mut model = BTreeMap::new();
            let mut random = Random::new(1);
            for step in 0..20_000u32 {
                // Phases that mostly insert alternate with phases that mostly remove.
                let fill = if (step / 500) % 2 == 0 { 70 } else { 30 };
                if random.below(100) < fill {
                    match pool.insert(step) {
                        Some(handle) => assert_eq!(model.insert(handle, step), None, "a live place was given away"),
                        None => assert_eq!(model.len(), 50),
                    }
                } else if let Some(handle) = random.choose(model.keys()).copied() {
                    assert_eq!(pool.remove(handle), model.remove(&handle).unwrap());
                    assert!(!pool.is_live(handle));
                }
                assert_eq!((pool.len(), pool.available()), (model.len(), 50 - model.len()));
                assert_eq!(pool.is_full(), model.len() == 50);
            }
            for (handle, value) in &model {
                assert_eq!(pool[*handle], *value);
            }
            assert!(pool.iter().eq(model.iter().map(|(handle, value)| (*handle, value))));
        });
    }

    #[test]
    fn in_borrowed_memory_the_place_freed_last_is_used_first() {
        let mut memory = [PoolSlot::default(); 4];
        let mut pool = Pool::new(Slots::borrowed(&mut memory));
        let handles = [1u32, 2, 3].map(|value| pool.insert(value).unwrap());
        pool.remove(handles[0]);
        pool.remove(handles[2]);
        assert_eq!(pool.insert(0), Some(handles[2]));
        assert_eq!(pool.insert(0), Some(handles[0]));
    }

    #[test]
    fn a_pool_works_in_memory_that_was_used_before() {
        let mut memory = [PoolSlot { value: 7u32, link: SlotLink::USED }; 3];
        let mut pool = Pool::new(Slots::borrowed(&mut memory));
        assert_eq!(pool.iter().count(), 0);
        assert!(!pool.is_live(Handle::from_index(1)));
        let handle = pool.insert(1).unwrap();
        assert_eq!((pool[handle], pool.len()), (1, 1));
        assert!(pool.insert(2).is_some() && pool.insert(3).is_some() && pool.insert(4).is_none());
    }

    #[test]
    fn restored_entries_have_their_old_places_and_all_other_places_are_free() {
        with_slots(9, |slots| {
            let mut pool = Pool::new(slots);
            assert_eq!(pool.insert(1u32), Some(Handle::from_index(0)));
            for index in [6, 2, 3] {
                assert_eq!(pool.restore(index, index as u32), Some(Handle::from_index(index)));
            }
            assert_eq!(pool.restore(3, 30), None);
            assert_eq!(pool.restore(9, 90), None);
            assert_eq!(pool.restore(usize::MAX, 90), None);
            pool.end_restoring();
            assert!(!pool.is_live(Handle::from_index(5)));
            assert_eq!((pool.len(), pool.iter().map(|(_, value)| *value).sum::<u32>()), (4, 1 + 6 + 2 + 3));
            let new: std::vec::Vec<_> = core::iter::from_fn(|| pool.insert(7)).map(Handle::index).collect();
            assert_eq!(new, [1, 4, 5, 7, 8]);
            pool.remove(Handle::from_index(2));
            assert_eq!(pool.insert(8), Some(Handle::from_index(2)));
        });
    }

    #[cfg(feature = "alloc")]
    #[test]
    fn a_pool_that_gives_memory_back_keeps_its_entries() {
        let mut pool = Pool::owned(usize::MAX);
        let mut model = BTreeMap::new();
        let mut random = Random::new(2);
        let (mut shrunk, mut most) = (0, 0);
        for step in 0..60_000u32 {
            // Floods of entries come, and almost all of them go again.
            let fill = if (step / 5_000) % 2 == 0 { 80 } else { 10 };
            if random.below(100) < fill {
                let handle = pool.insert(step).unwrap();
                assert_eq!(model.insert(handle, step), None, "a live place was given away");
            } else if let Some(handle) = random.choose(model.keys()).copied() {
                assert_eq!(pool.remove(handle), model.remove(&handle).unwrap());
            }
            if step % 16 == 0 {
                let least = random.below(700);
                let before = pool.slots();
                shrunk += u32::from(pool.give_back(least));
                assert!(pool.slots() >= before.min(least), "{} {before} {least}", pool.slots());
            }
            most = most.max(pool.slots());
        }
        assert!(shrunk > 3 && most > 2_000, "{shrunk} {most}");
        assert!(pool.iter().eq(model.iter().map(|(handle, value)| (*handle, value))));
        model.into_keys().for_each(|handle| _ = pool.remove(handle));
        pool.give_back(0);
        assert!(pool.places() <= KEPT_EMPTY as usize * 9 / 8, "{}", pool.places());
        assert!(pool.insert(1).is_some());
    }

    #[test]
    fn a_pool_without_memory_is_full() {
        let mut pool = Pool::<u8>::new(Slots::borrowed(&mut []));
        assert!(pool.is_full() && pool.insert(1).is_none());
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "removed an entry that is not there")]
    fn removing_a_removed_entry_again_changes_nothing() {
        let mut memory = [PoolSlot::default(); 2];
        let mut pool = Pool::new(Slots::borrowed(&mut memory));
        let handle = pool.insert(5u8).unwrap();
        pool.remove(handle);
        pool.remove(handle);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "no entry is there")]
    fn a_stale_handle_is_noticed_in_debug_builds() {
        let mut memory = [PoolSlot::default(); 2];
        let mut pool = Pool::new(Slots::borrowed(&mut memory));
        let handle = pool.insert(5u8).unwrap();
        pool.remove(handle);
        let _ = pool[handle];
    }

    /// Another entry has the place of a removed one: a handle that was kept by mistake must not read it.
    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "another entry is there")]
    fn a_stale_handle_is_noticed_even_if_its_place_is_used_again() {
        let mut memory = [PoolSlot::default(); 2];
        let mut pool = Pool::new(Slots::borrowed(&mut memory));
        let handle = pool.insert(5u8).unwrap();
        pool.remove(handle);
        assert_eq!(pool.insert(6u8), Some(handle), "the same place");
        let _ = pool[handle];
    }
}
