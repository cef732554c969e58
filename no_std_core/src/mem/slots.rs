//! Where entries lie: memory lent to us, or memory of our own.

#[cfg(feature = "alloc")]
use alloc::vec::Vec;

/// A table of `T` with a limit.
#[derive(Debug)]
pub enum Slots<'m, T> {
    /// Memory lent to us; its length is the limit.
    Borrowed(&'m mut [T]),
    /// Memory of our own, which grows up to `limit` entries.
    #[cfg(feature = "alloc")]
    Owned {
        /// The entries so far; never more than `limit`.
        vec: Vec<T>,
        /// How many entries there may be.
        limit: usize,
    },
}

impl<'m, T: Default> Slots<'m, T> {
    /// No memory at all.
    pub(crate) const EMPTY: Self = Self::Borrowed(&mut []);

    /// A table in the memory `entries`.
    pub fn borrowed(entries: &'m mut [T]) -> Self {
        Self::Borrowed(entries)
    }

    /// An empty table that grows up to `limit` entries.
    #[cfg(feature = "alloc")]
    pub fn owned(limit: usize) -> Self {
        Self::Owned { vec: Vec::new(), limit }
    }

    /// How many entries there may be.
    pub fn limit(&self) -> usize {
        match self {
            Self::Borrowed(entries) => entries.len(),
            #[cfg(feature = "alloc")]
            Self::Owned { limit, .. } => *limit,
        }
    }

    /// Whether the memory is our own.
    pub(crate) fn is_owned(&self) -> bool {
        !matches!(self, Self::Borrowed(_))
    }

    /// The entries there are: all of borrowed memory, or what the table has grown to.
    #[inline(always)]
    pub fn as_slice(&self) -> &[T] {
        match self {
            Self::Borrowed(entries) => entries,
            #[cfg(feature = "alloc")]
            Self::Owned { vec, .. } => vec,
        }
    }

    /// The same, to be changed.
    #[inline(always)]
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        match self {
            Self::Borrowed(entries) => entries,
            #[cfg(feature = "alloc")]
            Self::Owned { vec, .. } => vec,
        }
    }

    /// Makes sure that there are at least `len` entries; new ones are `T::default()`.
    ///
    /// False, and nothing changed, if that is beyond the limit or the allocator refuses.
    pub fn grow_to(&mut self, len: usize) -> bool {
        match self {
            Self::Borrowed(entries) => len <= entries.len(),
            #[cfg(feature = "alloc")]
            Self::Owned { vec, limit } => {
                if len <= vec.len() {
                    return true;
                }
                if len > *limit {
                    return false;
                }
                if len > vec.capacity() {
                    // Doubling, but never past the limit.
                    let capacity = vec.capacity().saturating_mul(2).max(4).max(len).min(*limit);
                    if vec.try_reserve_exact(capacity - vec.len()).is_err() {
                        return false;
                    }
                }
                vec.resize_with(len, T::default);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borrowed_memory_is_its_own_limit() {
        let mut memory = [1u8, 2, 3];
        let mut slots = Slots::borrowed(&mut memory);
        assert_eq!(slots.limit(), 3);
        assert!(slots.grow_to(3));
        assert!(!slots.grow_to(4));
        assert_eq!(slots.as_slice(), [1, 2, 3]);
    }

    #[cfg(feature = "alloc")]
    #[test]
    fn owned_memory_grows_to_its_limit_and_reserves_no_more() {
        let mut slots = Slots::<u8>::owned(11);
        assert_eq!(slots.as_slice(), []);
        assert!(slots.grow_to(9));
        assert!(slots.grow_to(2), "shorter than it is already");
        assert_eq!(slots.as_slice().len(), 9);
        assert!(slots.grow_to(10) && slots.grow_to(11));
        assert!(!slots.grow_to(12));
        let Slots::Owned { vec, .. } = slots else { panic!() };
        assert_eq!((vec.len(), vec.capacity()), (11, 11));
    }
}
