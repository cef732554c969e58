//! SipHash-2-4. Without the feature `alloc` `half_sip.rs` stands here.

use siphasher::sip::SipHasher24;

/// The number at `index` of the sequence that belongs to `secret`.
pub(super) fn number(secret: u128, index: u64) -> u64 {
    SipHasher24::new_with_keys(secret as u64, (secret >> 64) as u64).hash(&index.to_le_bytes())
}
