//! SipHash-1-3 for texts, in builds whose tables can grow.

use siphasher::sip::SipHasher13;

use super::Hasher;
use crate::seed::secret::Secret;

#[derive(Clone)]
pub(super) struct State {
    texts: SipHasher13,
    first: u64,
    second: u64,
    start: u64,
    weights: u64,
}

impl State {
    pub(super) fn new(seed: u128) -> Self {
        let secret = Secret::new(seed);
        Self {
            texts: SipHasher13::new_with_keys(secret.number(0), secret.number(1)),
            first: secret.number(2),
            second: secret.number(3),
            start: secret.number(4),
            weights: secret.number(5),
        }
    }

    #[inline]
    pub(super) fn hash_bytes(&self, bytes: &[u8]) -> u32 {
        self.hash_wide(bytes) as u32
    }

    #[inline]
    pub(super) fn hash_wide(&self, bytes: &[u8]) -> u64 {
        self.texts.hash(bytes)
    }

    /// The hash of two numbers by multiply-shift (Dietzfelbinger 1996): any two pairs have the same hash, or the same low bits of
    /// it, with the probability of two random numbers. More is not needed: a client can choose at most few bits of the numbers, and
    /// sees no result.
    #[inline]
    pub(super) fn combine(&self, first: u32, second: u32) -> u32 {
        let first = self.first.wrapping_mul(first.into());
        let second = self.second.wrapping_mul(second.into());
        (self.start.wrapping_add(first).wrapping_add(second) >> 32) as u32
    }

    /// The finalizer of MurmurHash3, with a key that is used for nothing else.
    #[inline]
    pub(super) fn weigh(&self, key: u32, number: u32) -> u32 {
        let mut mixed = (u64::from(key) << 32 | u64::from(number)) ^ self.weights;
        mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        (mixed >> 32) as u32
    }
}

impl Hasher {
    /// The hash of a string of bytes with 64 bits, in two halves.
    #[inline]
    pub(crate) fn hash_wide(&self, bytes: &[u8]) -> (u32, u32) {
        let hash = self.0.hash_wide(bytes);
        (hash as u32, (hash >> 32) as u32)
    }
}
