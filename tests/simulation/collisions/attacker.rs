//! An attacker who knows how hashes used to be keyed, and makes Topic Names that collide.
//!
//! An assigned Client Identifier used to be a whole output of SplitMix64 whose state was the seed, and hashes had the same seed.
//! Each step of SplitMix64 can be undone, so one identifier told the seed, all that would be assigned, and what collides: 100,000
//! such Topic Names cost a shard 90 s to subscribe to, and each PUBLISH among them 1.2 ms.

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;
use std::hash::Hasher;

/// What SplitMix64 adds with each number.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64, as identifiers were made.
pub(crate) fn number_behind(state: u64) -> u64 {
    let mut mixed = state.wrapping_add(STEP);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The state before it gave `number`: with the first number the seed.
pub(crate) fn state_before(number: u64) -> u64 {
    let mut mixed = undo_shift(number, 31).wrapping_mul(inverse(0x94d0_49bb_1331_11eb));
    mixed = undo_shift(mixed, 27).wrapping_mul(inverse(0xbf58_476d_1ce4_e5b9));
    undo_shift(mixed, 30).wrapping_sub(STEP)
}

/// What `mixed ^ (mixed >> shift)` was made of.
fn undo_shift(result: u64, shift: u32) -> u64 {
    result ^ (result >> shift) ^ result.checked_shr(2 * shift).unwrap_or(0)
}

/// What an odd number has to be multiplied with to give 1: each round doubles the bits that are right.
fn inverse(number: u64) -> u64 {
    (0..6).fold(number, |inverse, _| inverse.wrapping_mul(2_u64.wrapping_sub(number.wrapping_mul(inverse))))
}

/// The number in an identifier: its digits, the last one first.
pub(crate) fn number_in(assigned: &str) -> u64 {
    let digits = assigned.strip_prefix("goldcrest-").expect("an assigned identifier");
    digits.chars().rev().fold(0, |number, digit| number << 4 | u64::from(digit.to_digit(16).expect("a digit")))
}

/// The hash of a level of the tree, as it was: of its parent's number and its text.
pub(crate) fn hash_of_level(seed: u64, parent: u32, level: &str) -> u32 {
    let keyed = seed.wrapping_mul(STEP) ^ 0x243f_6a88_85a3_08d3;
    let shared = SharedSeed::from_u64(seed);
    let mut text = FoldHasher::with_seed(keyed, &shared);
    text.write(level.as_bytes());
    let mut place = FoldHasher::with_seed(keyed, &shared);
    place.write_u64(u64::from(parent) << 32 | text.finish() & 0xffff_ffff);
    place.finish() as u32
}

/// So many Topic Names of one level whose hashes ended in the same bits, and so stood in one bucket of a table for as many.
pub(crate) fn colliding_names(seed: u64, count: usize) -> Vec<String> {
    names_in_one_of(count.next_power_of_two() as u32 * 2, seed, count)
}

/// So many Topic Names of one level which all stood in one of so many parts of a table, a power of two. The fewer, the sooner they
/// are found.
pub(crate) fn names_in_one_of(parts: u32, seed: u64, count: usize) -> Vec<String> {
    let mask = parts - 1;
    let bucket = |name: &str| hash_of_level(seed, 0, name) & mask;
    let names = (0..).map(|number| format!("x{number}"));
    names.filter(|name| bucket(name) == bucket("x0")).take(count).collect()
}
