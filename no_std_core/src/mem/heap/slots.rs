//! A table that grows.

use alloc::vec::Vec;

use super::free_rows::FreeRows;

/// A vector that grows up to a limit.
#[derive(Debug)]
pub(crate) struct OwnedSlots<T> {
    /// The entries so far; never more than `limit`.
    vec: Vec<T>,
    limit: usize,
}

impl<T: Default> OwnedSlots<T> {
    /// An empty table that grows up to `limit` entries.
    pub(super) fn new(limit: usize) -> Self {
        Self { vec: Vec::new(), limit }
    }

    /// The free places of this table: none yet.
    pub(in crate::mem) fn free_rows(&self) -> FreeRows {
        FreeRows::default()
    }

    pub(in crate::mem) fn limit(&self) -> usize {
        self.limit
    }

    #[inline(always)]
    pub(in crate::mem) fn as_slice(&self) -> &[T] {
        &self.vec
    }

    #[inline(always)]
    pub(in crate::mem) fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.vec
    }

    /// See [`Slots::grow_to`](crate::mem::Slots::grow_to).
    pub(in crate::mem) fn grow_to(&mut self, len: usize) -> bool {
        if len <= self.vec.len() {
            return true;
        }
        if len > self.limit {
            return false;
        }
        if len > self.vec.capacity() {
            // Doubling, but never past the limit.
            let capacity = self.vec.capacity().saturating_mul(2).max(4).max(len).min(self.limit);
            if self.vec.try_reserve_exact(capacity.saturating_sub(self.vec.len())).is_err() {
                return false;
            }
        }
        self.vec.resize_with(len, T::default);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owned_memory_grows_to_its_limit_and_reserves_no_more() {
        let mut slots = OwnedSlots::<u8>::new(11);
        assert_eq!(slots.as_slice(), []);
        assert!(slots.grow_to(9));
        assert!(slots.grow_to(2), "shorter than it is already");
        assert_eq!(slots.as_slice().len(), 9);
        assert!(slots.grow_to(10) && slots.grow_to(11));
        assert!(!slots.grow_to(12));
        assert_eq!((slots.vec.len(), slots.vec.capacity()), (11, 11));
    }
}
