//! Derives keys from the seed by one-way functions: a key reveals neither the seed nor another key.

use core::fmt;

use super::sip::number;

/// 128 bits that outsiders must not know, from which keys are derived.
#[derive(Clone, Copy)]
pub(crate) struct Secret(u128);

/// The use of a key. Each key is derived from the seed by the number of its purpose.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// Hashes of indexes, which are never sent.
    Indexes,
    /// Numbers that clients see or can guess: assigned Client Identifiers, and which member of a group got a message.
    RandomNumbers,
}

impl Secret {
    pub(crate) const fn new(seed: u128) -> Self {
        Self(seed)
    }

    /// The key for a purpose.
    pub(crate) fn derive(self, purpose: Purpose) -> u128 {
        let first = (purpose as u64) << 1;
        let half = u128::from(self.number(first));
        // Without the feature `alloc` a key has 64 bits.
        if cfg!(feature = "alloc") { half << 64 | u128::from(self.number(first | 1)) } else { half }
    }

    /// A number of a sequence that looks random without the secret, even if all other numbers are known.
    pub(crate) fn number(self, index: u64) -> u64 {
        number(self.0, index)
    }
}

/// A seed for another use in the embedder, derived from the seed in [`Config`](crate::Config). Knowing it reveals nothing about the
/// broker's own keys: clients learn something of a TCP stack's seed from its sequence numbers. `index` tells several such seeds apart.
pub fn derive_seed(seed: u128, index: u32) -> u64 {
    // Above the numbers of all purposes.
    Secret::new(seed).number(1 << 32 | u64::from(index))
}

impl fmt::Debug for Secret {
    /// Prints the type without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    #[cfg(feature = "alloc")]
    use super::super::half_sip;
    #[cfg(not(feature = "alloc"))]
    use super::super::sip as half_sip;
    use super::*;

    /// The test vectors vectors_hsip64 of github.com/veorq/SipHash for messages of 0, 8 and 16 bytes. The bytes of messages and key
    /// count up from 0.
    #[test]
    fn half_sip_hash_agrees_with_the_test_vectors_of_its_authors() {
        let key = 0x0706_0504_0302_0100;
        let [first, second, third, fourth] = [0x0302_0100, 0x0706_0504, 0x0b0a_0908, 0x0f0e_0d0c];
        let vectors: [(&[u32], [u8; 8]); 3] = [
            (&[0], [0x21, 0x8d, 0x1f, 0x59, 0xb9, 0xb8, 0x3c, 0xc8]),
            (&[first, second, 8 << 24], [0xed, 0xfe, 0xe8, 0x20, 0xbc, 0xe4, 0x85, 0x8c]),
            (&[first, second, third, fourth, 16 << 24], [0x73, 0x36, 0xaa, 0xd2, 0x5f, 0x7b, 0xf3, 0xb5]),
        ];
        for (message, expected) in vectors {
            assert_eq!(half_sip::half_sip_hash(key, message).to_le_bytes(), expected, "{message:x?}");
        }
    }

    #[test]
    fn each_bit_of_secret_and_index_changes_half_of_the_bits_of_the_derived_number() {
        for number in [number, half_sip::number] {
            let differing = |secret, index| (number(5, 7) ^ number(secret, index)).count_ones();
            let of_secrets = (0..128).map(|bit| differing(5 ^ 1 << bit, 7));
            let of_indexes = (0..64).map(|bit| differing(5, 7 ^ 1 << bit));
            for changed in of_secrets.chain(of_indexes) {
                assert!((12..=52).contains(&changed), "{changed} bits");
            }
        }
    }

    #[test]
    fn keys_for_different_purposes_have_nothing_in_common() {
        for seed in [0, 1, u128::MAX] {
            let secret = Secret::new(seed);
            let [indexes, numbers] = [Purpose::Indexes, Purpose::RandomNumbers].map(|purpose| secret.derive(purpose));
            for (one, other) in [(indexes, numbers), (indexes, seed), (numbers, seed)] {
                assert!((12..=52).contains(&(one as u64 ^ other as u64).count_ones()));
            }
        }
    }
}
