//! A hash for small flash and processors that multiply 32 bits at once: a folded multiplication of four bytes at a
//! time.

use crate::seed::secret::Secret;

#[derive(Clone)]
pub(super) struct State {
    start: u32,
    /// The key, an odd number.
    key: u32,
}

impl State {
    pub(super) fn new(seed: u128) -> Self {
        let number = Secret::new(seed).number(0);
        Self { start: number as u32, key: (number >> 32) as u32 | 1 }
    }

    pub(super) fn hash_bytes(&self, bytes: &[u8]) -> u32 {
        let (words, rest) = bytes.as_chunks();
        let mut state = words.iter().fold(self.start, |state, word| self.step(state, u32::from_le_bytes(*word)));
        for byte in rest {
            state = self.step(state, u32::from(*byte));
        }
        self.step(state, bytes.len() as u32)
    }

    pub(super) fn combine(&self, first: u32, second: u32) -> u32 {
        self.step(self.step(self.start, first), second)
    }

    /// Hashes twice. Hashing once suffices to choose buckets, but the order of similar numbers would depend little on
    /// the key.
    pub(super) fn weigh(&self, key: u32, number: u32) -> u32 {
        self.combine(0, self.combine(key, number))
    }

    /// Multiplies, and folds both halves of the product together, so that each bit of `word` affects high and low bits.
    fn step(&self, state: u32, word: u32) -> u32 {
        let product = u64::from(state ^ word).wrapping_mul(u64::from(self.key));
        // Without the addition a product of 0 would drop the earlier state.
        ((product >> 32) as u32 ^ product as u32).wrapping_add(state.rotate_left(7))
    }
}
