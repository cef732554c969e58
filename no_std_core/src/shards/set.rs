//! A set of other shards.

use crate::config::Shard;
use crate::engine::neighbour_state::WantedElsewhere;

const WORDS: usize = Shard::MAX_COUNT as usize / 64;

/// The other shards that want a message, and those among them that have to record it. Each has a bit, so that the set needs no
/// memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SiblingSet {
    wanted: [u64; WORDS],
    durable: [u64; WORDS],
    /// Whether words behind the first may have bits: with few shards only the first word is looked at.
    has_more: bool,
}

impl SiblingSet {
    #[inline]
    pub(super) fn insert(&mut self, sibling: u16, is_durable: bool) {
        let (word, bit) = (usize::from(sibling / 64), u32::from(sibling % 64));
        if let (Some(wanted), Some(durable)) = (self.wanted.get_mut(word), self.durable.get_mut(word)) {
            *wanted |= 1 << bit;
            *durable |= u64::from(is_durable) << bit;
            self.has_more |= word > 0;
        }
    }

    pub(super) fn contains(&self, sibling: u16) -> bool {
        let word = self.wanted.get(usize::from(sibling / 64)).copied().unwrap_or(0);
        word.wrapping_shr(u32::from(sibling % 64)) & 1 != 0
    }

    pub(super) fn remove(&mut self, sibling: u16) {
        let (word, bit) = (usize::from(sibling / 64), u32::from(sibling % 64));
        if let (Some(wanted), Some(durable)) = (self.wanted.get_mut(word), self.durable.get_mut(word)) {
            *wanted &= !(1 << bit);
            *durable &= !(1 << bit);
        }
    }

    /// The shards in the order of their indexes, and whether they have to record the message.
    #[inline]
    pub(super) fn iter(&self) -> WantedSiblings<'_> {
        WantedSiblings { set: self, word: 0, rest: self.wanted[0] }
    }
}

/// See [`SiblingSet::iter`].
pub(super) struct WantedSiblings<'a> {
    set: &'a SiblingSet,
    word: usize,
    /// The shards of this word that are still to come.
    rest: u64,
}

impl Iterator for WantedSiblings<'_> {
    type Item = (u16, bool);

    #[inline]
    fn next(&mut self) -> Option<(u16, bool)> {
        while self.rest == 0 {
            if !self.set.has_more {
                return None;
            }
            self.word = self.word.saturating_add(1);
            self.rest = *self.set.wanted.get(self.word)?;
        }
        let bit = self.rest.trailing_zeros();
        self.rest &= self.rest.wrapping_sub(1);
        let is_durable = self.set.durable.get(self.word)? >> bit & 1 != 0;
        Some(((self.word as u16) << 6 | bit as u16, is_durable))
    }
}

impl WantedElsewhere for SiblingSet {
    #[inline]
    fn is_empty(&self) -> bool {
        self.wanted[0] == 0 && (!self.has_more || self.wanted == [0; WORDS])
    }

    #[inline]
    fn needs_record(&self) -> bool {
        self.durable[0] != 0 || (self.has_more && self.durable != [0; WORDS])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::mem::testing::Random;

    #[test]
    fn a_set_of_shards_says_which_of_them_record_the_message() {
        let mut random = Random::new(5);
        for _ in 0..100 {
            let (mut set, mut model) = (SiblingSet::default(), BTreeMap::<u16, bool>::new());
            for _ in 0..random.below(8) {
                let (sibling, is_durable) = (random.below(Shard::MAX_COUNT.into()) as u16, random.below(2) == 0);
                set.insert(sibling, is_durable);
                *model.entry(sibling).or_default() |= is_durable;
                assert!(set.contains(sibling));
                if let Some(other) = random.choose(model.keys().copied()).filter(|_| random.below(4) == 0) {
                    set.remove(other);
                    model.remove(&other);
                    assert!(!set.contains(other));
                }
            }
            assert!(set.iter().eq(model.iter().map(|(sibling, is_durable)| (*sibling, *is_durable))));
            assert_eq!(set.is_empty(), model.is_empty());
            assert_eq!(set.needs_record(), model.values().any(|is_durable| *is_durable));
        }
    }

    #[test]
    fn a_set_of_shards_can_have_the_first_and_the_last_shard() {
        let mut set = SiblingSet::default();
        set.insert(0, true);
        set.insert(Shard::MAX_COUNT - 1, false);
        set.insert(Shard::MAX_COUNT, true);
        assert!(set.iter().eq([(0, true), (Shard::MAX_COUNT - 1, false)]));
    }
}
