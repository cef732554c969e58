//! Interest of one broker in what others tell it, against [`TopicFilter::matches`].

use std::collections::BTreeMap;
use std::string::String;

use super::*;
use crate::mem::testing::Random;
use crate::shards::filters::SHAPES;
use crate::shards::filters::shape::tests::{random_filter, random_topic};

/// A sibling with its filters, and whether they are durable.
struct Teller {
    index: u16,
    told: ToldFilters,
    filters: BTreeMap<String, bool>,
}

impl Teller {
    fn change(&mut self, interest: &mut Interest, filter: &str, change: Change) {
        let described = interest.hasher.describe(TopicFilter::new(filter).unwrap());
        if let Some(change) = self.told.change(described, change) {
            interest.take(self.index, change);
        }
    }

    fn end(&mut self, interest: &mut Interest, filter: &str) {
        self.filters.remove(filter);
        self.change(interest, filter, Change::Last);
    }

    fn do_anything(&mut self, interest: &mut Interest, random: &mut Random) {
        let known = random.choose(self.filters.keys()).cloned();
        let is_durable = random.below(2) == 0;
        match (random.below(5), known) {
            (0, Some(filter)) => self.end(interest, &filter),
            (1, Some(filter)) => {
                self.filters.insert(filter.clone(), true);
                self.change(interest, &filter, Change::Durable);
            }
            _ => {
                let filter = random_filter(random);
                if self.filters.insert(filter.clone(), is_durable).is_none() {
                    self.change(interest, &filter, Change::First { is_durable });
                } else if is_durable {
                    self.change(interest, &filter, Change::Durable);
                } else {
                    // As it was.
                    self.filters.insert(filter.clone(), true);
                    self.change(interest, &filter, Change::Durable);
                }
            }
        }
    }
}

/// Random subscriptions on two siblings. `room` filters of each sibling have room here.
fn run_against_model(count: u16, room: usize, steps: usize) -> usize {
    let shard = Shard { index: 0, count };
    let links = ShardLinks::new(shard, MemoryAccount::UNBOUNDED);
    let mut interest = Interest::new(shard, room, Hasher::new(3), MemoryAccount::UNBOUNDED);
    let mut random = Random::new(u64::from(count) << 32 | room as u64);
    let mut tellers = [1, count - 1].map(|index| {
        let shard = Shard { index, count };
        Teller { index, told: ToldFilters::new(shard), filters: BTreeMap::new() }
    });
    let tellers = if count == 2 { &mut tellers[..1] } else { &mut tellers[..] };
    let mut most_shapes = 0;
    for _ in 0..steps {
        let teller = random.below(tellers.len());
        tellers[teller].do_anything(&mut interest, &mut random);
        most_shapes = most_shapes.max(interest.shapes.len());
        let topic = random_topic(&mut random);
        let topic = TopicName::new(&topic).unwrap();
        let mut wanted = SiblingSet::default();
        interest.add_wanted(&mut wanted, &links, topic, false);
        let wanted: BTreeMap<_, _> = wanted.iter().collect();
        for Teller { index, filters, .. } in tellers.iter() {
            let matching = filters.iter().filter(|(filter, _)| TopicFilter::new(filter).unwrap().matches(topic));
            for (filter, is_durable) in matching {
                let found = wanted.get(index).copied().unwrap_or_else(|| panic!("{topic:?} misses {filter}"));
                assert!(found || !is_durable, "{topic:?} is recorded for {filter}");
            }
        }
    }
    for teller in tellers.iter_mut() {
        while let Some(filter) = teller.filters.keys().next().cloned() {
            teller.end(&mut interest, &filter);
        }
    }
    assert!(interest.shapes.is_empty() && interest.exact == 0 && interest.deepest == 0);
    assert!(interest.counts.iter().all(|count| *count == 0) && interest.everything.iter().next().is_none());
    assert_eq!(interest.filters.most_alike(), 0);
    most_shapes
}

#[test]
fn a_sibling_gets_every_message_that_one_of_its_filters_matches() {
    for (count, room) in [(2, 100_000), (3, 100_000), (16, 100_000), (256, 100_000)] {
        let shapes = run_against_model(count, room, 5_000);
        let most = SHAPES.max(2 * usize::from(count.min(3) - 1)) + 10;
        assert!(shapes <= most, "{count} shards: {shapes} shapes");
    }
}

#[test]
fn a_sibling_whose_filters_have_no_room_gets_every_message_until_it_has_none() {
    for count in [2, 3] {
        run_against_model(count, 4, 3_000);
    }
}
