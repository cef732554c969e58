//! The keyed hash of every index.
//!
//! With the feature `alloc` tables are large, and many strangers fill them. So the hash is SipHash-1-3, which was made for this:
//! without the key nobody can find texts that collide, whatever other hashes he sees. Firmware uses a smaller and faster hash: its
//! tables have so few entries that even the longest chain costs little.

#[cfg(all(test, feature = "alloc"))]
mod folded;
#[cfg_attr(not(feature = "alloc"), path = "folded.rs")]
mod sip;

use core::fmt;

use sip::State;

/// A hash that only a program with the seed can compute.
///
/// Strangers choose Client Identifiers and topics. The seed comes from the embedder's random source, so that nobody can choose many
/// texts that fall into the same chain.
#[derive(Clone)]
pub struct Hasher(State);

impl Hasher {
    /// A hasher with this seed. The same seed gives the same hashes on machines of the same kind.
    pub fn new(seed: u128) -> Self {
        Self(State::new(seed))
    }

    /// The hash of a string of bytes.
    #[inline]
    pub fn hash_bytes(&self, bytes: &[u8]) -> u32 {
        self.0.hash_bytes(bytes)
    }

    /// The hash of two numbers, one or both of which may be hashes.
    #[inline]
    pub fn combine(&self, first: u32, second: u32) -> u32 {
        self.0.combine(first, second)
    }

    /// The weight of `number` under `key`. Clients may see in which order weights are, but the order tells nothing about the hashes.
    #[inline]
    pub(crate) fn weigh(&self, key: u32, number: u32) -> u32 {
        self.0.weigh(key, number)
    }
}

impl fmt::Debug for Hasher {
    /// Prints no key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::format;

    use super::*;

    #[test]
    fn a_hash_depends_on_the_seed_and_on_every_input() {
        let (one, two) = (State::new(1), State::new(2));
        assert_eq!(one.hash_bytes(b"topic"), State::new(1).hash_bytes(b"topic"));
        assert_ne!(one.hash_bytes(b"topic"), two.hash_bytes(b"topic"));
        assert_ne!(one.combine(1, 2), one.combine(2, 1));
        assert_ne!(one.combine(1, 2), two.combine(1, 2));
        assert_ne!(one.hash_bytes(b""), one.hash_bytes(b"\0"));
    }

    /// Makes a test for each of the two kinds of hash, whichever of them this build uses.
    macro_rules! neighbours_spread {
        ($name:ident, $state:ty, $seeds:expr) => {
            #[test]
            fn $name() {
                for seed in $seeds {
                    let state = <$state>::new(seed);
                    // Of 10,000 values with 32 bits each, about 0.01 pairs are expected to collide.
                    let texts: HashSet<_> =
                        (0..10_000).map(|i| state.hash_bytes(format!("sensor/{i}").as_bytes())).collect();
                    assert!(texts.len() >= 9_998);
                    let pairs: HashSet<_> = (0..10_000).map(|i| state.combine(i / 100, i % 100)).collect();
                    assert!(pairs.len() >= 9_998);
                    let weights: HashSet<_> = (0..10_000).map(|i| state.weigh(i / 100, i % 100)).collect();
                    assert!(weights.len() >= 9_998);
                    // The low bits of a hash choose the bucket.
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

    neighbours_spread!(neighbours_spread, State, [0, 1, 42, u128::MAX]);
    #[cfg(feature = "alloc")]
    neighbours_spread!(neighbours_spread_in_small_tables, folded::State, [0, 1, 42, u128::MAX]);

    #[cfg(feature = "alloc")]
    #[test]
    fn both_halves_of_a_wide_hash_spread_evenly() {
        let state = State::new(42);
        let wide: HashSet<_> = (0..10_000).map(|i| state.hash_wide(format!("sensor/{i}").as_bytes())).collect();
        let halves = wide.iter().map(|hash| (*hash as u32, (hash >> 32) as u32));
        let (low, high): (HashSet<_>, HashSet<_>) = halves.unzip();
        assert!(wide.len() == 10_000 && low.len() >= 9_998 && high.len() >= 9_998);
    }

    /// The debug output of a broker must not show secrets.
    #[test]
    fn the_debug_output_has_no_key() {
        assert_eq!(format!("{:?} {:?}", Hasher::new(42), crate::seed::secret::Secret::new(42)), "Hasher Secret");
    }
}
