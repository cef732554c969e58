//! Handles: typed indices of entries in a pool.

use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::marker::PhantomData;
use core::num::NonZeroU32;

/// Whether handles are checked: a handle then also has the generation of its entry, which counts the entries that this place
/// of the pool had. So a handle that outlived its entry is noticed even if the place has another entry. Handles are checked
/// in debug builds, hence in all tests and fuzzers, and in a release build with `--cfg goldcrest_check_handles`. See the
/// [module](super) for what this proves.
pub(super) const CHECKED: bool = cfg!(any(debug_assertions, goldcrest_check_handles));

/// The bits of a handle's number for the index plus one, if handles are checked and the index fits.
const INDEX_BITS: u32 = 20;
/// The bits of a handle's number for the generation.
const GENERATION_BITS: u32 = 10;
const INDEX_MASK: u32 = (1 << INDEX_BITS) - 1;
/// The largest generation.
pub(super) const LAST_GENERATION: u32 = (1 << GENERATION_BITS) - 1;
/// If handles are checked: the bit that marks a number without a generation, whose other bits are the index plus one.
const LARGE: u32 = 1 << (INDEX_BITS + GENERATION_BITS);
/// The largest index plus one. If handles are checked, bit 31 is free for a flag beside the handle.
const LAST: u32 = if CHECKED { LARGE - 1 } else { u32::MAX };
/// The most places of a pool.
pub(super) const MOST_PLACES: usize = LAST as usize - 1;

/// The place of an entry of type `T` in its pool.
///
/// A handle has four bytes, also inside an `Option`. It is valid until its entry is removed; afterwards the place may have
/// another entry. Two handles are equal if their places are equal, so both must be valid when they are compared.
pub struct Handle<T> {
    /// The index plus one. If handles are checked, the bits above are the generation of the entry; 0: it is not known.
    number: NonZeroU32,
    of: PhantomData<fn() -> T>,
}

impl<T> Handle<T> {
    /// The index in the pool.
    #[inline(always)]
    pub const fn index(self) -> usize {
        // The result of `place()` is never 0.
        self.place().wrapping_sub(1) as usize
    }

    /// A handle of the entry that is at `index`, whatever its generation. An index that is too large becomes the largest
    /// index, which no pool has.
    pub const fn from_index(index: usize) -> Self {
        Self::new(index, 0)
    }

    /// The handle of the entry of this generation at `index`.
    #[inline(always)]
    pub(super) const fn new(index: usize, generation: u32) -> Self {
        let place = if index < LAST as usize { (index as u32).wrapping_add(1) } else { LAST };
        let number = match CHECKED {
            false => place,
            true if place <= INDEX_MASK => place | (generation & LAST_GENERATION) << INDEX_BITS,
            true => place | LARGE,
        };
        Self { number: NonZeroU32::MIN.saturating_add(number.wrapping_sub(1)), of: PhantomData }
    }

    /// The index plus one.
    #[inline(always)]
    pub(crate) const fn place(self) -> u32 {
        let number = self.number.get();
        match CHECKED {
            false => number,
            true if number & LARGE == 0 => number & INDEX_MASK,
            true => number & (LARGE - 1),
        }
    }

    /// The generation of the entry for which the handle was made; 0: it is not known.
    #[inline(always)]
    pub(super) const fn generation(self) -> u32 {
        let number = self.number.get();
        if CHECKED && number & LARGE == 0 { number >> INDEX_BITS & LAST_GENERATION } else { 0 }
    }

    /// The handle as a number other than 0; see [`Handle::from_tag`].
    pub(crate) const fn tag(self) -> u32 {
        self.number.get()
    }

    /// The handle with this [`tag`](Handle::tag); `None` for 0.
    pub(crate) const fn from_tag(tag: u32) -> Option<Self> {
        match NonZeroU32::new(tag) {
            Some(number) => Some(Self { number, of: PhantomData }),
            None => None,
        }
    }

    /// The same index as a handle of another type: for layers that pass handles on without knowing the type.
    pub const fn cast<U>(self) -> Handle<U> {
        Handle { number: self.number, of: PhantomData }
    }
}

// Not derived, because a derived impl would require the same trait of `T`.
impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Handle<T> {}

impl<T> PartialEq for Handle<T> {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl<T> Eq for Handle<T> {}

impl<T> PartialOrd for Handle<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Handle<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}

impl<T> Hash for Handle<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.place().hash(state);
    }
}

impl<T> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.index())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_has_the_index_that_it_was_made_from() {
        let largest = LAST as usize - 1;
        for index in [0, 1, 2, 65_535, INDEX_MASK as usize - 1, INDEX_MASK as usize, largest] {
            assert_eq!(Handle::<u8>::from_index(index).index(), index);
            let handle = Handle::<u8>::new(index, 5);
            assert_eq!((handle.index(), handle), (index, Handle::from_index(index)));
            assert_eq!(handle.generation(), if CHECKED && index < INDEX_MASK as usize { 5 } else { 0 });
            assert_eq!(Handle::<u8>::from_tag(handle.tag()).map(Handle::generation), Some(handle.generation()));
        }
        assert_eq!(Handle::<u8>::from_index(usize::MAX).index(), largest);
        assert_eq!(size_of::<Option<Handle<u64>>>(), 4);
    }
}
