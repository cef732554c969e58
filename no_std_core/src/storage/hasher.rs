//! The keyed hash of every index.

#[cfg(target_pointer_width = "64")]
use wide::State;

#[cfg(not(target_pointer_width = "64"))]
use narrow::State;

/// A hash that only who knows the seed can compute.
///
/// Client Identifiers and topics are chosen by strangers. The seed comes from the shell's random source, so
/// that nobody can choose many that fall into the same chain.
#[derive(Clone, Debug)]
pub struct Hasher(State);

impl Hasher {
    /// A hash with this seed; the same seed gives the same hashes, on machines of the same kind.
    pub const fn new(seed: u64) -> Self {
        Self(State::new(seed))
    }

    /// The hash of a string of bytes.
    #[inline]
    pub fn hash_bytes(&self, bytes: &[u8]) -> u32 {
        self.0.hash_bytes(bytes)
    }

    /// 64 bits for a string of bytes, in two halves.
    #[cfg(feature = "alloc")]
    #[inline]
    pub(crate) fn hash_wide(&self, bytes: &[u8]) -> (u32, u32) {
        let hash = self.0.hash_wide(bytes);
        (hash as u32, (hash >> 32) as u32)
    }

    /// The hash of two numbers, one or both of which may be hashes.
    #[inline]
    pub fn combine(&self, first: u32, second: u32) -> u32 {
        self.0.combine(first, second)
    }
}

/// For machines that multiply 64 bits at once.
#[cfg(target_pointer_width = "64")]
mod wide {
    use core::hash::Hasher as _;

    use foldhash::SharedSeed;
    use foldhash::fast::FoldHasher;

    #[derive(Clone, Debug)]
    pub(super) struct State {
        seed: u64,
        shared: SharedSeed,
    }

    impl State {
        pub(super) const fn new(seed: u64) -> Self {
            // The two must not be the same number, and small seeds (tests have such) must not stay small.
            Self {
                seed: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x243f_6a88_85a3_08d3,
                shared: SharedSeed::from_u64(seed),
            }
        }

        #[inline]
        pub(super) fn hash_bytes(&self, bytes: &[u8]) -> u32 {
            let mut state = FoldHasher::with_seed(self.seed, &self.shared);
            state.write(bytes);
            state.finish() as u32
        }

        #[cfg(feature = "alloc")]
        #[inline]
        pub(super) fn hash_wide(&self, bytes: &[u8]) -> u64 {
            let mut state = FoldHasher::with_seed(self.seed, &self.shared);
            state.write(bytes);
            state.finish()
        }

        #[inline]
        pub(super) fn combine(&self, first: u32, second: u32) -> u32 {
            let mut state = FoldHasher::with_seed(self.seed, &self.shared);
            state.write_u64(u64::from(first) << 32 | u64::from(second));
            state.finish() as u32
        }
    }
}

/// For machines that multiply 32 bits at once and have little flash: the same folded multiplication, four bytes a step.
#[cfg(any(test, not(target_pointer_width = "64")))]
mod narrow {
    #[derive(Clone, Debug)]
    pub(super) struct State {
        start: u32,
        /// Odd.
        key: u32,
    }

    impl State {
        pub(super) const fn new(seed: u64) -> Self {
            let mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x243f_6a88_85a3_08d3;
            Self { start: mixed as u32, key: (mixed >> 32) as u32 | 1 }
        }

        pub(super) fn hash_bytes(&self, bytes: &[u8]) -> u32 {
            let (words, rest) = bytes.as_chunks();
            let mut state = words.iter().fold(self.start, |state, word| self.step(state, u32::from_le_bytes(*word)));
            for byte in rest {
                state = self.step(state, u32::from(*byte));
            }
            self.step(state, bytes.len() as u32)
        }

        /// Two hashes of different keys.
        #[cfg(feature = "alloc")]
        pub(super) fn hash_wide(&self, bytes: &[u8]) -> u64 {
            let other = Self { start: !self.start, key: self.key.rotate_left(16) | 1 };
            u64::from(self.hash_bytes(bytes)) << 32 | u64::from(other.hash_bytes(bytes))
        }

        pub(super) fn combine(&self, first: u32, second: u32) -> u32 {
            self.step(self.step(self.start, first), second)
        }

        /// Both halves of a product, so that each bit of `word` reaches high and low bits.
        fn step(&self, state: u32, word: u32) -> u32 {
            let product = u64::from(state ^ word) * u64::from(self.key);
            // Without the addition a product of 0 would forget what came before.
            ((product >> 32) as u32 ^ product as u32).wrapping_add(state.rotate_left(7))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::format;

    use super::*;

    #[test]
    fn it_depends_on_the_seed_and_on_every_input() {
        let (one, two) = (State::new(1), State::new(2));
        assert_eq!(one.hash_bytes(b"topic"), State::new(1).hash_bytes(b"topic"));
        assert_ne!(one.hash_bytes(b"topic"), two.hash_bytes(b"topic"));
        assert_ne!(one.combine(1, 2), one.combine(2, 1));
        assert_ne!(one.combine(1, 2), two.combine(1, 2));
        assert_ne!(one.hash_bytes(b""), one.hash_bytes(b"\0"));
    }

    /// Both kinds of machine, whichever this is.
    macro_rules! neighbours_spread {
        ($name:ident, $state:ty, $seeds:expr) => {
            #[test]
            fn $name() {
                for seed in $seeds {
                    let state = <$state>::new(seed);
                    // 10,000 values in 32 bits: about 0.01 collisions are to be expected.
                    let texts: HashSet<_> =
                        (0..10_000).map(|i| state.hash_bytes(format!("sensor/{i}").as_bytes())).collect();
                    assert!(texts.len() >= 9_998);
                    #[cfg(feature = "alloc")]
                    {
                        let wide: HashSet<_> =
                            (0..10_000).map(|i| state.hash_wide(format!("sensor/{i}").as_bytes())).collect();
                        let halves = wide.iter().map(|hash| (*hash as u32, (hash >> 32) as u32));
                        let (low, high): (HashSet<_>, HashSet<_>) = halves.unzip();
                        assert!(wide.len() == 10_000 && low.len() >= 9_998 && high.len() >= 9_998);
                    }
                    let pairs: HashSet<_> = (0..10_000).map(|i| state.combine(i / 100, i % 100)).collect();
                    assert!(pairs.len() >= 9_998);
                    // The low bits choose the bucket.
                    let (mut numbers, mut names) = ([0u32; 64], [0u32; 64]);
                    for i in 0..6_400u32 {
                        numbers[state.combine(7, i) as usize % 64] += 1;
                        names[state.hash_bytes(format!("{i}").as_bytes()) as usize % 64] += 1;
                    }
                    for buckets in [numbers, names] {
                        assert!(buckets.iter().all(|count| (50..=160).contains(count)), "{buckets:?}");
                    }
                }
            }
        };
    }

    #[cfg(target_pointer_width = "64")]
    neighbours_spread!(neighbours_spread_on_a_wide_machine, wide::State, [42]);
    neighbours_spread!(neighbours_spread_on_a_narrow_machine, narrow::State, [0, 1, 42, u64::MAX]);
}
