//! What the tests of this layer and the next share.

use std::vec::Vec;

use super::Slots;

/// Runs `test` on borrowed memory and, where there is such, on owned memory, both of `limit` entries.
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
