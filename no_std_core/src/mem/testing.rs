//! Helpers for the tests of this layer and the next.

use std::vec::Vec;

use super::{Initial, Slots};

/// A value for a [`LazyBox`](super::LazyBox).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Large(pub(crate) [u64; 8]);

impl Initial for Large {
    const INITIAL: &Self = &Self([7; 8]);
}

/// Runs `test` on borrowed memory and, with the feature `alloc`, on owned memory, each with room for `limit` entries.
pub(crate) fn with_slots<T: Default + Clone>(limit: usize, mut test: impl FnMut(Slots<'_, T>)) {
    let mut memory = Vec::new();
    memory.resize_with(limit, T::default);
    test(Slots::borrowed(&mut memory));
    #[cfg(feature = "alloc")]
    test(Slots::owned(limit));
}

/// A small generator (xorshift64*): the same seed gives the same run everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }

    /// A number from 0 to `bound - 1`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.next() as usize % bound
    }

    pub(crate) fn choose<T>(&mut self, mut items: impl ExactSizeIterator<Item = T>) -> Option<T> {
        let len = items.len();
        (len > 0).then(|| self.below(len)).and_then(|at| items.nth(at))
    }
}

#[test]
fn a_lazy_box_has_its_initial_value_until_that_is_changed() {
    let mut lazy = super::LazyBox::<Large>::EMPTY;
    assert_eq!(lazy.get(), Large::INITIAL);
    lazy.get_mut().0[3] = 1;
    assert_eq!(lazy.get().0[2..5], [7, 1, 7]);
    assert_eq!(lazy.allocated().map(|large| large.0[3]), Some(1));
}
