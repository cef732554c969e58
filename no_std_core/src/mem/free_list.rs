//! The free places of a pool.

use super::Slots;
use super::heap::FreeRows;
use super::link::PoolSlot;

/// The free places among those that were used before.
#[derive(Debug)]
#[allow(dead_code, reason = "nobody makes owned memory without the feature alloc")]
pub(super) enum FreeList {
    /// The free places of borrowed memory: a list through the places themselves. The number is the index of the first free
    /// place plus one, or 0 if there is none. The place that was freed last is used first.
    Linked(u32),
    /// The free places of owned memory.
    Rows(FreeRows),
}

impl FreeList {
    /// Remembers which places of `slots` are free, once there are any.
    pub(super) fn of<T: Default>(slots: &Slots<'_, PoolSlot<T>>) -> Self {
        slots.as_owned().map_or(Self::Linked(0), |slots| Self::Rows(slots.free_rows()))
    }

    /// Takes a free place of `slots`, and returns its index.
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

    /// Frees the place `index`, whose slot is `slot`.
    #[inline(always)]
    pub(super) fn put<T>(&mut self, index: usize, slot: &mut PoolSlot<T>) {
        match self {
            Self::Linked(first) => {
                slot.link = slot.link.without_entry(*first);
                // No pool is so long that this sum is too large.
                *first = (index as u32).saturating_add(1);
            }
            Self::Rows(rows) => {
                slot.link = slot.link.without_entry(0);
                rows.put(index);
            }
        }
    }

    /// Reserves memory to remember which of the first `places` places are free. False if the allocator refuses.
    pub(super) fn grow_to(&mut self, places: usize) -> bool {
        match self {
            Self::Linked(_) => true,
            Self::Rows(rows) => rows.grow_to(places),
        }
    }

    /// The free places of owned memory.
    pub(super) fn rows_mut(&mut self) -> Option<&mut FreeRows> {
        match self {
            Self::Linked(_) => None,
            Self::Rows(rows) => Some(rows),
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
