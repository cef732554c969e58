//! Typed indices.

use core::fmt;
use core::hash::{Hash, Hasher};
use core::marker::PhantomData;
use core::num::NonZeroU32;

/// Where an entry of type `T` stands in its [`Pool`](super::Pool).
///
/// Four bytes, also inside an `Option`. A handle is good until its entry is removed; afterwards the same
/// handle may refer to another entry.
pub struct Handle<T> {
    /// The index plus one.
    number: NonZeroU32,
    of: PhantomData<fn() -> T>,
}

impl<T> Handle<T> {
    /// The index in the pool.
    pub const fn index(self) -> usize {
        (self.number.get() - 1) as usize
    }

    /// The handle of the entry at `index`. An index beyond `u32::MAX - 1` becomes that; no pool is as long.
    pub const fn from_index(index: usize) -> Self {
        let number = if index < u32::MAX as usize { index as u32 + 1 } else { u32::MAX };
        Self { number: NonZeroU32::MIN.saturating_add(number - 1), of: PhantomData }
    }

    /// A number from which [`Handle::from_tag`] makes the handle again; never 0.
    pub(crate) const fn tag(self) -> u32 {
        self.number.get()
    }

    /// The handle whose tag it is; none for 0.
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

// By hand, because deriving would ask `T` for the same trait.
impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Handle<T> {}

impl<T> PartialEq for Handle<T> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<T> Eq for Handle<T> {}

impl<T> PartialOrd for Handle<T> {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Handle<T> {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.number.cmp(&other.number)
    }
}

impl<T> Hash for Handle<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.number.hash(state);
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
    fn an_index_survives_the_way_there_and_back() {
        for index in [0, 1, 2, 65_535, u32::MAX as usize - 1] {
            assert_eq!(Handle::<u8>::from_index(index).index(), index);
        }
        assert_eq!(Handle::<u8>::from_index(usize::MAX).index(), u32::MAX as usize - 1);
        assert_eq!(size_of::<Option<Handle<u64>>>(), 4);
    }
}
