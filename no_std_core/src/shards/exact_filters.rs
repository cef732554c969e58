//! Which siblings have subscribers to a filter without wildcards.
//!
//! Most filters are such, and nothing but the topic that is the same text matches them: to know that a message has to go
//! to a sibling, no tree and no text is needed. 64 bits of a hash stand for the filter, so that it takes 24 bytes and not the
//! 108 of a subscription with its level. Two filters whose 64 bits are the same would share their fate: a message would go in
//! vain to a sibling, which has no subscriber to it. That, and losing both when one is withdrawn, is as likely as guessing
//! the key.

use crate::engine::router::SIDE_BY_SIDE;
use crate::mem::heap::MemoryAccount;
use crate::mem::{Handle, HashIndex, Hasher, Pool, PoolSlot, Slots, links};

/// A filter of a sibling.
#[derive(Debug, Default)]
struct ExactFilter {
    hash: u32,
    /// The other half of the hash.
    more: u32,
    chain: Option<Handle<ExactFilter>>,
    sibling: u16,
    /// Messages for it have to survive a restart there.
    is_durable: bool,
}

/// All filters of siblings without wildcards, found by topic.
#[derive(Debug)]
pub(crate) struct ExactFilters {
    pool: Pool<'static, ExactFilter>,
    index: HashIndex<'static, ExactFilter>,
    hasher: Hasher,
}

impl ExactFilters {
    /// Bytes for each filter.
    pub(crate) const BYTES_EACH: usize = size_of::<PoolSlot<ExactFilter>>() + size_of::<Option<Handle<ExactFilter>>>();

    pub(crate) fn new(limit: usize, hasher: Hasher, account: MemoryAccount) -> Self {
        let (mut filters, mut buckets) = (Slots::owned(limit), Slots::owned(limit));
        filters.set_account(account.clone());
        buckets.set_account(account);
        Self { pool: Pool::new(filters), index: HashIndex::new(buckets), hasher }
    }

    /// The most filters that a look-up may have to pass.
    pub(crate) fn longest_chain(&self) -> usize {
        self.index.longest_chain(&self.pool)
    }

    /// A sibling has a subscriber to `filter`, which has no wildcards; false if there is no room to know that. A durable filter
    /// stays durable until there is no subscriber at all.
    pub(crate) fn add(&mut self, sibling: u16, filter: &str, is_durable: bool) -> bool {
        if let Some(known) = self.find(sibling, filter) {
            self.pool[known].is_durable |= is_durable;
            return true;
        }
        let (hash, more) = self.hasher.hash_wide(filter.as_bytes());
        let Some(new) = self.pool.insert(ExactFilter { hash, more, chain: None, sibling, is_durable }) else {
            return false;
        };
        self.index.insert(&mut self.pool, new);
        true
    }

    /// A sibling has no subscriber to `filter` any more.
    pub(crate) fn remove(&mut self, sibling: u16, filter: &str) {
        if let Some(known) = self.find(sibling, filter) {
            self.index.remove(&mut self.pool, known);
            self.pool.remove(known);
        }
    }

    /// Tells the siblings that have subscribers to exactly this topic, and whether messages have to survive there.
    #[inline]
    pub(crate) fn visit(&self, topic: &str, mut visit: impl FnMut(u16, bool)) {
        if self.index.is_empty() {
            return;
        }
        let (hash, more) = self.hasher.hash_wide(topic.as_bytes());
        self.index.find(&self.pool, hash, |found| {
            if found.more == more {
                visit(found.sibling, found.is_durable);
            }
            false
        });
    }

    /// Whether there are so many filters that [`ExactFilters::look_ahead`] is worth it.
    #[inline]
    pub(crate) fn is_vast(&self) -> bool {
        self.index.is_vast()
    }

    /// Looks at what [`ExactFilters::visit`] needs for these topics, the first [`SIDE_BY_SIDE`] of them; see `router/ahead.rs`.
    pub(crate) fn look_ahead(&self, topics: &[&[u8]]) {
        let mut sought = [(0, None); SIDE_BY_SIDE];
        for (sought, topic) in sought.iter_mut().zip(topics) {
            let (hash, _) = self.hasher.hash_wide(topic);
            *sought = (hash, self.index.first(hash));
        }
        for (hash, first) in sought {
            core::hint::black_box(self.index.find_from(first, &self.pool, hash, |_| true));
        }
    }

    fn find(&self, sibling: u16, filter: &str) -> Option<Handle<ExactFilter>> {
        let (hash, more) = self.hasher.hash_wide(filter.as_bytes());
        self.index.find(&self.pool, hash, |found| found.more == more && found.sibling == sibling)
    }
}

links!(Chained for ExactFilter: hash, chain);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::format;

    use super::*;
    use crate::mem::testing::Random;

    fn wanting(filters: &ExactFilters, topic: &str) -> BTreeMap<u16, bool> {
        let mut found = BTreeMap::new();
        filters.visit(topic, |sibling, durable| assert_eq!(found.insert(sibling, durable), None));
        found
    }

    #[test]
    fn exact_filters_map_each_filter_to_its_siblings() {
        let mut filters = ExactFilters::new(1_000, Hasher::new(3), MemoryAccount::UNBOUNDED);
        let mut model = BTreeMap::<(usize, u16), bool>::new();
        let mut random = Random::new(11);
        for _ in 0..20_000 {
            let (filter, sibling, durable) = (random.below(50), random.below(4) as u16, random.below(4) == 0);
            let text = format!("plant/{filter}/sensor");
            if random.below(2) == 0 {
                assert!(filters.add(sibling, &text, durable));
                *model.entry((filter, sibling)).or_default() |= durable;
            } else {
                filters.remove(sibling, &text);
                model.remove(&(filter, sibling));
            }
            let expected =
                model.range((filter, 0)..=(filter, u16::MAX)).map(|((_, sibling), durable)| (*sibling, *durable));
            assert_eq!(wanting(&filters, &text), expected.collect());
        }
        assert!(wanting(&filters, "plant/50/sensor").is_empty());
    }

    #[test]
    fn a_filter_without_room_is_refused_and_a_removal_makes_room() {
        let mut filters = ExactFilters::new(2, Hasher::new(3), MemoryAccount::UNBOUNDED);
        assert!(filters.add(1, "a", false) && filters.add(1, "b", false) && filters.add(1, "a", true));
        assert!(!filters.add(2, "a", false));
        filters.remove(1, "b");
        assert!(filters.add(2, "a", false));
        assert_eq!(wanting(&filters, "a"), [(1, true), (2, false)].into());
    }

    #[test]
    fn a_filter_takes_24_bytes() {
        assert_eq!(ExactFilters::BYTES_EACH, 24);
    }
}
