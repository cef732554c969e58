//! What other shards are told of a filter: a hash, and for a filter with wildcards its shape.
//!
//! The shape of a filter is how many levels it has, which of them are `+`, and whether `#` is behind them. A topic matches a filter of a
//! shape if both have the same text on all levels that are not `+`. So a topic has one hash for each shape, and a filter of that shape can
//! match only if it has the same hash. The hash is a sum over the levels: for each `+` the term of the topic's level is exchanged, so a
//! further shape costs a few additions.

use crate::mem::Hasher;
use crate::topic::{TopicFilter, TopicName};

/// A filter with wildcards that has more levels has no shape.
const DEEPEST: usize = 16;
/// The most levels that are left of a filter whose shape other shards are not told.
const COARSE_LEVELS: u8 = 4;
/// What stands for the hash of a level that is `+`.
const PLUS: u32 = 0x2b2b_2b2b;

/// The shape of a filter with wildcards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shape {
    /// The levels before `#`, at most [`DEEPEST`].
    levels: u8,
    /// Whether `#` is behind them.
    has_rest: bool,
    /// A bit for each level that is `+`, the lowest for the first level.
    plus: u16,
}

impl Shape {
    /// The levels before `#`.
    pub(in crate::shards) fn levels(self) -> u8 {
        self.levels
    }
}

/// A filter as other shards know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FilterKey {
    /// `None`: the filter has no wildcards.
    pub(in crate::shards) shape: Option<Shape>,
    pub(in crate::shards) hash: u32,
}

/// What other shards can be told of a filter.
#[derive(Clone, Copy, Debug)]
pub(in crate::shards) struct Described {
    /// The filter itself; `None` if it has too many levels for a shape.
    pub(in crate::shards) exactly: Option<FilterKey>,
    /// A filter that matches whatever this one matches: its levels before the first wildcard, or the first of them, and `#`.
    pub(in crate::shards) coarsely: FilterKey,
}

/// Hashes filters and topics, so that strangers can't find two with the same hash.
#[derive(Debug)]
pub(in crate::shards) struct FilterHasher {
    hasher: Hasher,
    /// What the hash of each level is multiplied by.
    levels: [u64; DEEPEST],
    /// What a shape is multiplied by.
    shape: u64,
    start: u64,
    /// See [`FilterHasher::seed_hash`].
    seed: u32,
}

impl FilterHasher {
    pub(in crate::shards) fn new(hasher: Hasher) -> Self {
        // No text of a client has this first byte.
        let number = |index: u8| {
            let (low, high) = hasher.hash_wide(&[0xff, index]);
            u64::from(high) << 32 | u64::from(low)
        };
        let mut levels = [0; DEEPEST];
        for (level, index) in levels.iter_mut().zip(2..) {
            *level = number(index);
        }
        let (shape, start) = (number(0), number(1));
        let seed = hasher.hash_wide(&[0xff, u8::MAX]).0;
        Self { hasher, levels, shape, start, seed }
    }

    /// A hash of a fixed text: shards whose hashers differ find that out by it, but for one pair in 4 billion.
    pub(in crate::shards) fn seed_hash(&self) -> u32 {
        self.seed
    }

    /// The hash of a topic, and of the filter without wildcards that is the same text.
    #[inline]
    pub(in crate::shards) fn hash_exactly(&self, topic: &[u8]) -> u32 {
        self.hasher.hash_wide(topic).0
    }

    /// What other shards can be told of a filter.
    pub(in crate::shards) fn describe(&self, filter: TopicFilter<'_>) -> Described {
        let text = filter.proper();
        let has_wildcards = text.contains(['+', '#']);
        let (mut shape, mut sum) = (Shape::default(), self.start);
        let mut coarsely = (0, sum);
        let mut has_shape = true;
        for level in filter.levels() {
            if level == "#" {
                shape.has_rest = true;
                break;
            }
            let Some(factor) = self.levels.get(usize::from(shape.levels)) else {
                has_shape = false;
                break;
            };
            let is_plus = level == "+";
            shape.plus |= u16::from(is_plus).wrapping_shl(shape.levels.into());
            shape.levels = shape.levels.saturating_add(1);
            let hash = if is_plus { PLUS } else { self.hasher.hash_bytes(level.as_bytes()) };
            sum = sum.wrapping_add(factor.wrapping_mul(hash.into()));
            if shape.plus == 0 && shape.levels <= COARSE_LEVELS {
                coarsely = (shape.levels, sum);
            }
        }
        let exactly = match (has_wildcards, has_shape) {
            (false, _) => Some(FilterKey { shape: None, hash: self.hash_exactly(text.as_bytes()) }),
            (true, true) => Some(self.key(shape, sum)),
            (true, false) => None,
        };
        let (levels, sum) = coarsely;
        Described { exactly, coarsely: self.key(Shape { levels, has_rest: true, plus: 0 }, sum) }
    }

    /// What the hashes of a topic are made of, for shapes with so many levels at most.
    #[inline]
    pub(in crate::shards) fn sums(&self, topic: TopicName<'_>, deepest: u8) -> TopicSums {
        let mut sums = TopicSums {
            levels: 0,
            is_reserved: topic.is_reserved(),
            before: [self.start; DEEPEST + 1],
            plus: [0; DEEPEST],
        };
        let deepest = usize::from(deepest);
        let mut sum = self.start;
        let places = self.levels.iter().zip(sums.before.iter_mut().skip(1)).zip(&mut sums.plus).take(deepest);
        let mut levels = topic.levels();
        for (((factor, behind), plus), level) in places.zip(levels.by_ref()) {
            let term = factor.wrapping_mul(self.hasher.hash_bytes(level.as_bytes()).into());
            sum = sum.wrapping_add(term);
            *behind = sum;
            *plus = factor.wrapping_mul(PLUS.into()).wrapping_sub(term);
            sums.levels = sums.levels.saturating_add(1);
        }
        sums.levels = sums.levels.saturating_add(levels.next().is_some().into());
        sums
    }

    /// The hash of the filter of this shape that matches the topic; `None` if there is none.
    #[inline]
    pub(in crate::shards) fn hash(&self, topic: &TopicSums, shape: Shape) -> Option<u32> {
        let has_levels = if shape.has_rest { topic.levels >= shape.levels } else { topic.levels == shape.levels };
        // A wildcard on the first level matches no such topic [MQTT-4.7.2-1].
        let is_hidden = topic.is_reserved && (shape.levels == 0 || shape.plus & 1 != 0);
        if !has_levels || is_hidden {
            return None;
        }
        let mut sum = *topic.before.get(usize::from(shape.levels))?;
        let mut plus = shape.plus;
        while plus != 0 {
            sum = sum.wrapping_add(*topic.plus.get(plus.trailing_zeros() as usize)?);
            plus &= plus.wrapping_sub(1);
        }
        Some(self.key(shape, sum).hash)
    }

    #[inline]
    fn key(&self, shape: Shape, sum: u64) -> FilterKey {
        let number = u32::from(shape.plus) << 16 | u32::from(shape.has_rest) << 8 | u32::from(shape.levels);
        let sum = sum.wrapping_add(self.shape.wrapping_mul(number.into()));
        FilterKey { shape: Some(shape), hash: (sum >> 32) as u32 }
    }
}

/// What the hashes of one topic are made of.
pub(in crate::shards) struct TopicSums {
    /// The levels of the topic; one more than any shape has stands for more than that.
    levels: u8,
    is_reserved: bool,
    /// The sum of the terms before each level.
    before: [u64; DEEPEST + 1],
    /// What `+` adds on each level in place of the topic's own term.
    plus: [u64; DEEPEST],
}

#[cfg(test)]
pub(in crate::shards) mod tests {
    use std::string::String;
    use std::vec::Vec;

    use super::*;
    use crate::mem::testing::Random;

    /// Some levels, one of them empty, one with `$`.
    const LEVELS: [&str; 5] = ["", "a", "b", "$s", "another level"];

    fn random_path(random: &mut Random, wildcards: bool) -> String {
        loop {
            let depth = if random.below(20) == 0 { 14 + random.below(6) } else { 1 + random.below(4) };
            let mut levels: Vec<&str> = (0..depth)
                .map(|_| if wildcards && random.below(3) == 0 { "+" } else { LEVELS[random.below(LEVELS.len())] })
                .collect();
            if wildcards && random.below(4) == 0 {
                levels[depth - 1] = "#";
            }
            let path = levels.join("/");
            if !path.is_empty() {
                return path;
            }
        }
    }

    pub(in crate::shards) fn random_filter(random: &mut Random) -> String {
        random_path(random, true)
    }

    pub(in crate::shards) fn random_topic(random: &mut Random) -> String {
        random_path(random, false)
    }

    /// The hash that a topic has for a shape.
    fn hash_of(hasher: &FilterHasher, topic: TopicName<'_>, shape: Shape, deepest: u8) -> Option<u32> {
        hasher.hash(&hasher.sums(topic, deepest), shape)
    }

    #[test]
    fn a_topic_and_a_filter_have_the_same_hash_if_and_only_if_they_match() {
        let (hasher, mut random) = (FilterHasher::new(Hasher::new(7)), Random::new(3));
        let mut matched = [0, 0];
        for _ in 0..40_000 {
            let (filter, topic): (String, String) = (random_filter(&mut random), random_topic(&mut random));
            let (filter, topic) = (TopicFilter::new(&filter).unwrap(), TopicName::new(&topic).unwrap());
            let described = hasher.describe(filter);
            let does_match = filter.matches(topic);
            if let Some(key) = described.exactly {
                let hash = match key.shape {
                    None => Some(hasher.hash_exactly(topic.as_str().as_bytes())),
                    // Other shapes may have more levels.
                    Some(shape) => {
                        let deepest = shape.levels() + random.below(3) as u8;
                        hash_of(&hasher, topic, shape, deepest.min(DEEPEST as u8))
                    }
                };
                assert_eq!(hash == Some(key.hash), does_match, "{filter:?} {topic:?}");
            } else {
                assert!(filter.levels().count() > DEEPEST);
            }
            let coarse = described.coarsely;
            let covers = hash_of(&hasher, topic, coarse.shape.unwrap(), DEEPEST as u8) == Some(coarse.hash);
            assert!(covers || !does_match, "{filter:?} {topic:?}");
            matched[usize::from(does_match)] += 1;
        }
        assert!(matched.iter().all(|count| *count > 1_000), "{matched:?}");
    }

    #[test]
    fn a_coarse_filter_is_what_stands_before_the_first_wildcard_and_a_number_sign() {
        let hasher = FilterHasher::new(Hasher::new(7));
        for (filter, coarse) in [
            ("a/b/+/c", "a/b/#"),
            ("a/b/c/#", "a/b/c/#"),
            ("a/b/c/d/e/f/+", "a/b/c/d/#"),
            ("+/a/b", "#"),
            ("#", "#"),
            ("/+", "/#"),
            ("$SYS/+/x", "$SYS/#"),
            ("a/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18/+", "a/1/2/3/#"),
        ] {
            let described = hasher.describe(TopicFilter::new(filter).unwrap());
            let expected = hasher.describe(TopicFilter::new(coarse).unwrap()).exactly;
            // "/#" has an empty level before `#`.
            assert_eq!(Some(described.coarsely), expected, "{filter}");
        }
    }

    #[test]
    fn filters_of_one_shape_and_of_different_shapes_have_different_hashes() {
        let hasher = FilterHasher::new(Hasher::new(7));
        let mut hashes = std::collections::BTreeSet::new();
        for number in 0..2_000 {
            for filter in ["plant/?/+", "plant/+/?", "+/plant/?", "plant/?/#", "+/+/?/#", "?/plant/+"] {
                let filter = filter.replace('?', &std::format!("{number}"));
                hashes.insert(hasher.describe(TopicFilter::new(&filter).unwrap()).exactly.unwrap().hash);
            }
        }
        // 12,000 values in 32 bits: about 0.02 collisions are to be expected.
        assert!(hashes.len() >= 11_998, "{}", hashes.len());
    }
}
