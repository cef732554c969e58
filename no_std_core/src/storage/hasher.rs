//! The keyed hash of every index.

use core::hash::Hasher as _;

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;

/// A hash that only who knows the seed can compute.
///
/// Client Identifiers and topics are chosen by strangers. The seed comes from the shell's random source, so
/// that nobody can choose many that fall into the same chain.
#[derive(Clone, Debug)]
pub struct Hasher {
    seed: u64,
    shared: SharedSeed,
}

impl Hasher {
    /// A hash with this seed; the same seed gives the same hashes, on machines of the same kind.
    pub const fn new(seed: u64) -> Self {
        // The two must not be the same number, and small seeds (tests have such) must not stay small.
        Self {
            seed: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x243f_6a88_85a3_08d3,
            shared: SharedSeed::from_u64(seed),
        }
    }

    /// The hash of a string of bytes.
    #[inline]
    pub fn hash_bytes(&self, bytes: &[u8]) -> u32 {
        let mut state = FoldHasher::with_seed(self.seed, &self.shared);
        state.write(bytes);
        state.finish() as u32
    }

    /// The hash of a number.
    #[inline]
    pub fn hash_u64(&self, number: u64) -> u32 {
        let mut state = FoldHasher::with_seed(self.seed, &self.shared);
        state.write_u64(number);
        state.finish() as u32
    }

    /// The hash of two numbers, one or both of which may be hashes.
    #[inline]
    pub fn combine(&self, first: u32, second: u32) -> u32 {
        self.hash_u64(u64::from(first) << 32 | u64::from(second))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::format;

    use super::*;

    #[test]
    fn it_depends_on_the_seed_and_on_every_input() {
        let (one, two) = (Hasher::new(1), Hasher::new(2));
        assert_eq!(one.hash_bytes(b"topic"), Hasher::new(1).hash_bytes(b"topic"));
        assert_ne!(one.hash_bytes(b"topic"), two.hash_bytes(b"topic"));
        assert_ne!(one.combine(1, 2), one.combine(2, 1));
        assert_ne!(one.combine(1, 2), two.combine(1, 2));
        assert_ne!(one.hash_bytes(b""), one.hash_bytes(b"\0"));
    }

    #[test]
    fn neighbours_spread() {
        let hasher = Hasher::new(42);
        // 10,000 values in 32 bits: about 0.01 collisions are to be expected.
        let texts: HashSet<_> = (0..10_000).map(|i| hasher.hash_bytes(format!("{i}").as_bytes())).collect();
        assert!(texts.len() >= 9_998);
        let pairs: HashSet<_> = (0..10_000).map(|i| hasher.combine(i / 100, i % 100)).collect();
        assert!(pairs.len() >= 9_998);
        // The low bits choose the bucket.
        let mut buckets = [0u32; 64];
        for i in 0..6_400u32 {
            buckets[hasher.combine(7, i) as usize % 64] += 1;
        }
        assert!(buckets.iter().all(|count| (50..=160).contains(count)), "{buckets:?}");
    }
}
