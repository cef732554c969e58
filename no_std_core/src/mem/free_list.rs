//! The free places of a pool.

use super::Slots;
use super::backing::FreeRows;
use super::link::PoolSlot;

/// The free places among those that were used before.
#[derive(Debug)]
#[allow(dead_code, reason = "nobody makes owned memory without the feature alloc")]
pub(super) enum FreeList {
    /// Of borrowed memory: a list through the places themselves. The number is the index of its first place plus one, or 0.
    /// The place given back last is used first.
    Linked(u32),
    /// Of owned memory.
    Rows(FreeRows),
}

impl FreeList {
    /// Remembers which places of `slots` are free, once there are any.
    pub(super) fn of<T: Default>(slots: &Slots<'_, PoolSlot<T>>) -> Self {
        slots.as_owned().map_or(Self::Linked(0), |slots| Self::Rows(slots.free_rows()))
    }

    /// A free place of `slots`, which is not free any more.
    #[inline(always)]
    pub(super) fn take<T: Default>(&mut self, slots: &Slots<'_, PoolSlot<T>>) -> Option<usize> {
        match self {
            Self::Linked(first) => {
                let index = first.checked_sub(1)? as usize;
                *first = slots.as_slice().get(index)?.link.next();
                Some(index)
            }
            Self::Rows(rows) => rows.take(),
        }
    }

    /// The place `index`, which is `slot`, is free from now on.
    #[inline(always)]
    pub(super) fn put<T>(&mut self, index: usize, slot: &mut PoolSlot<T>) {
        match self {
            Self::Linked(first) => {
                slot.link = slot.link.without_entry(*first);
                // No pool has so many places that this is too large.
                *first = (index as u32).saturating_add(1);
            }
            Self::Rows(rows) => {
                slot.link = slot.link.without_entry(0);
                rows.put(index);
            }
        }
    }

    /// Makes room to remember the first `places` places. False if the allocator refuses.
    pub(super) fn grow_to(&mut self, places: usize) -> bool {
        match self {
            Self::Linked(_) => true,
            Self::Rows(rows) => rows.grow_to(places),
        }
    }

    /// Forgets all free places.
    pub(super) fn clear(&mut self) {
        match self {
            Self::Linked(first) => *first = 0,
            Self::Rows(rows) => rows.clear(),
        }
    }
}
