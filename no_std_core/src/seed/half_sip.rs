//! HalfSipHash-2-4 with 64 bits of output, which needs little flash and only operations on 32 bits. Its key is half of the
//! secret; the other half is the beginning of the message.

/// The number at `index` of the sequence that belongs to `secret`.
pub(super) fn number(secret: u128, index: u64) -> u64 {
    let high = (secret >> 64) as u64;
    half_sip_hash(secret as u64, &[high as u32, (high >> 32) as u32, index as u32, (index >> 32) as u32, 16 << 24])
}

/// The hash of a message of whole words. One more word follows, whose highest byte is the message's length in bytes.
pub(super) fn half_sip_hash(key: u64, message: &[u32]) -> u64 {
    let [low, high] = [key as u32, (key >> 32) as u32];
    let mut state = [low, high ^ 0xee, low ^ 0x6c79_6765, high ^ 0x7465_6462];
    for word in message {
        state[3] ^= word;
        rounds(&mut state, 2);
        state[0] ^= word;
    }
    state[2] ^= 0xee;
    rounds(&mut state, 4);
    let first = state[1] ^ state[3];
    state[1] ^= 0xdd;
    rounds(&mut state, 4);
    u64::from(state[1] ^ state[3]) << 32 | u64::from(first)
}

#[inline(never)]
fn rounds(state: &mut [u32; 4], count: u32) {
    let [mut v0, mut v1, mut v2, mut v3] = *state;
    for _ in 0..count {
        v0 = v0.wrapping_add(v1);
        v1 = v1.rotate_left(5) ^ v0;
        v0 = v0.rotate_left(16);
        v2 = v2.wrapping_add(v3);
        v3 = v3.rotate_left(8) ^ v2;
        v0 = v0.wrapping_add(v3);
        v3 = v3.rotate_left(7) ^ v0;
        v2 = v2.wrapping_add(v1);
        v1 = v1.rotate_left(13) ^ v2;
        v2 = v2.rotate_left(16);
    }
    *state = [v0, v1, v2, v3];
}
