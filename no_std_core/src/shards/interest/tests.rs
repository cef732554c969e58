//! What a shard knows of the filters of others, against [`TopicFilter::matches`].

use std::collections::BTreeMap;
use std::string::String;

use super::*;
use crate::engine::router::Subscriber;
use crate::mem::testing::Random;
use crate::shards::filters::SHAPES;
use crate::shards::filters::shape::tests::{random_filter, random_topic};
use crate::{AllowAll, Broker, Capacity, Config, Instant, Memory};

/// Another shard with its filters, and whether they are durable.
struct Teller {
    index: u16,
    told: ToldFilters,
    filters: BTreeMap<String, bool>,
    /// The subscriber of the next change.
    subscriber: u32,
}

impl Teller {
    fn change(&mut self, interest: &mut Interest, filter: &str, change: Change) {
        let described = interest.hasher.describe(TopicFilter::new(filter).unwrap());
        self.subscriber = (self.subscriber + 1) % 20;
        if let Some(change) = self.told.change(described, change, Some(Subscriber(self.subscriber))) {
            interest.take_all(self.index, interest.hasher.seed_hash(), &[change]);
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

/// Random subscriptions on two other shards. There is room for `room` filters of each shard.
fn run_against_model(count: u16, room: usize, steps: usize) -> usize {
    let shard = Shard { index: 0, count };
    let mut interest = Interest::new(shard, room, Hasher::new(3), MemoryAccount::UNBOUNDED);
    let mut random = Random::new(u64::from(count) << 32 | room as u64);
    let mut tellers = [1, count - 1].map(|index| {
        let shard = Shard { index, count };
        let told = ToldFilters::new(shard, MemoryAccount::UNBOUNDED);
        Teller { index, told, filters: BTreeMap::new(), subscriber: 0 }
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
        interest.add_wanted(&mut wanted, topic);
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
fn a_shard_gets_every_message_that_one_of_its_filters_matches() {
    for (count, room) in [(2, 100_000), (3, 100_000), (16, 100_000), (256, 100_000)] {
        let shapes = run_against_model(count, room, 5_000);
        let most = SHAPES.max(2 * usize::from(count.min(3) - 1)) + 10;
        assert!(shapes <= most, "{count} shards: {shapes} shapes");
    }
}

#[test]
fn a_shard_whose_filters_have_no_room_gets_every_message_until_it_has_none() {
    for count in [2, 3] {
        run_against_model(count, 4, 3_000);
    }
}

#[test]
fn a_shard_with_another_seed_is_reported_and_gets_every_message() {
    let now = Instant::from_millis(1);
    let mut shards = [0, 1].map(|index| {
        let shard = Shard { index, count: 2 };
        let config = Config { shard, ..Config::gateway(u128::from(index)) };
        Broker::new(Memory::owned(&Capacity::GATEWAY, &config.limits, shard), config, &AllowAll)
    });
    let client = shards[1].handle_connected(now).unwrap();
    for packet in [&b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01a"[..], b"\x82\x06\0\x01\0\x01t\0"] {
        shards[1].handle_bytes(now, client, packet);
    }
    let wanted = |broker: &Broker<'_>| {
        let mut wanted = SiblingSet::default();
        broker.engine.shards.interest.add_wanted(&mut wanted, TopicName::new("t").unwrap());
        wanted.contains(1)
    };
    assert!(!wanted(&shards[0]));
    let mut results = std::vec::Vec::new();
    while let Some((to, forward)) = shards[1].poll_forward() {
        assert_eq!(to, 0);
        results.push(shards[0].handle_forward(now, 1, forward));
    }
    assert!(!results.is_empty() && results.iter().all(|result| *result == Err(SeedMismatch { shard: 1 })));
    assert!(wanted(&shards[0]));
    let mut more = alloc::collections::VecDeque::new();
    assert_eq!(shards[0].handle_forwards(now, 1, &mut more), Err(SeedMismatch { shard: 1 }));
}
