//! A place of a pool, and its link, which says whether the place has an entry.

use super::handle::{CHECKED, LAST_GENERATION};

/// One place of a pool: firmware declares an array of these.
#[derive(Clone, Copy, Debug)]
pub struct PoolSlot<T> {
    /// `T::default()` while the slot is free.
    pub(super) value: T,
    pub(super) link: SlotLink,
}

impl<T> PoolSlot<T> {
    /// A free place with the value `empty`, which must equal `T::default()`.
    pub const fn vacant(empty: T) -> Self {
        Self { value: empty, link: SlotLink::NEVER_USED }
    }
}

impl<T: Default> Default for PoolSlot<T> {
    fn default() -> Self {
        Self::vacant(T::default())
    }
}

/// Whether a place has an entry. If not, which free place is next in the list of free places. If handles are checked
/// ([`CHECKED`]), the link also counts the entries that the place had.
///
/// ```text
/// not checked   all bits set: live; else the index of the next free place plus one, 0 for none
/// checked       bit 31: live      bit 30: no generation, but 30 bits for the next free place
///               bits 20 to 29: the generation of the entry, or of the last one      bits 0 to 19: the next free place
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SlotLink(u32);

const LIVE: u32 = if CHECKED { 1 << 31 } else { u32::MAX };
const LARGE: u32 = 1 << 30;
const GENERATION_SHIFT: u32 = 20;
const NEXT_MASK: u32 = (1 << GENERATION_SHIFT) - 1;

impl SlotLink {
    /// The link of a place without an entry. All its bits are 0: memory that a firmware declares then takes no flash.
    pub(super) const NEVER_USED: Self = Self(0);

    /// The link of a place that has an entry, as it may be left in memory that was used before.
    #[cfg(test)]
    pub(super) const USED: Self = Self(LIVE);

    #[inline(always)]
    pub(super) const fn is_live(self) -> bool {
        if CHECKED { self.0 & LIVE != 0 } else { self.0 == LIVE }
    }

    /// The link of this place, once it has an entry.
    #[inline(always)]
    pub(super) const fn with_entry(self) -> Self {
        if !CHECKED {
            return Self(LIVE);
        }
        // The first generation follows the last one: 0 would mean that the generation is not known.
        let generation = (self.generation() % LAST_GENERATION).wrapping_add(1);
        Self(LIVE | generation << GENERATION_SHIFT)
    }

    /// The link of this place, once its entry is removed. `next` is the index of the next free place plus one, or 0.
    #[inline(always)]
    pub(super) const fn without_entry(self, next: u32) -> Self {
        match CHECKED {
            false => Self(next),
            true if next <= NEXT_MASK => Self(self.generation() << GENERATION_SHIFT | next),
            true => Self(LARGE | next & (LARGE - 1)),
        }
    }

    /// For a place without an entry: the index of the next free place plus one, or 0.
    #[inline(always)]
    pub(super) const fn next(self) -> u32 {
        match CHECKED {
            false => self.0,
            true if self.0 & LARGE == 0 => self.0 & NEXT_MASK,
            true => self.0 & (LARGE - 1),
        }
    }

    /// The generation of the present entry, or of the last one.
    #[inline(always)]
    pub(super) const fn generation(self) -> u32 {
        if CHECKED && self.0 & LARGE == 0 { self.0 >> GENERATION_SHIFT & LAST_GENERATION } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_tells_the_next_free_place_and_counts_the_entries() {
        let mut link = SlotLink::NEVER_USED;
        assert!(!link.is_live() && link.next() == 0);
        for round in 0..3 * LAST_GENERATION {
            link = link.with_entry();
            assert!(link.is_live());
            assert_eq!(link.generation(), if CHECKED { round % LAST_GENERATION + 1 } else { 0 });
            let next = [0, 1, round, NEXT_MASK][round as usize % 4];
            link = link.without_entry(next);
            assert_eq!((link.is_live(), link.next()), (false, next));
        }
        let far = link.without_entry(NEXT_MASK + 7);
        assert_eq!((far.is_live(), far.next()), (false, NEXT_MASK + 7));
        assert!(far.with_entry().is_live());
    }
}
