//! The power is cut at any moment: between two batches, with several batches unsafe, in the middle of each handshake.
//!
//! In some runs the disk is full for a while, and the brokers learn so one after the other.
//!
//! Publishers and subscribers follow the specification, and send again what was not acknowledged. In the end every
//! acknowledged message has arrived, in the order of publishing, and those of QoS 2 once. `GOLDCREST_SIM_STEPS` and
//! `GOLDCREST_SIM_SEEDS` make the runs longer, `GOLDCREST_SIM_FIRST` begins with another seed.

use std::collections::BTreeMap;

use goldcrest_core::codec::*;
use goldcrest_core::record::{self, Key, Kind, Record, Value};
use goldcrest_core::{AllowAll, Config, Instant, Limits, Polled, Shard};
use goldcrest_tests::attentive::{Attentive, Heard};
use goldcrest_tests::honest::{Got, Honest, Opening};
use goldcrest_tests::memory::{Housed, MODEST, Storage};
use goldcrest_tests::outages::{Outages, origin, telling};
use goldcrest_tests::random::{Random, seeds, setting};
use goldcrest_tests::untiring::Untiring;
use goldcrest_tests::world::{Sync, World};

/// The messages that a subscriber has received, by publisher.
#[derive(Default)]
struct Seen {
    /// The newest number of each publisher when the subscriber's SUBACK came; `None` before. Later numbers must arrive.
    from: Option<[u32; PUBLISHERS]>,
    /// For each number, how often the message came.
    got: [BTreeMap<u32, u32>; PUBLISHERS],
    /// The newest number that came.
    newest: [u32; PUBLISHERS],
}

struct Test {
    outages: Outages,
    seen: [Seen; SUBSCRIBERS],
    /// Whether the store catches up at times. Otherwise it always has unsafe batches.
    catches_up: bool,
    /// Whether bodies are on disk alone.
    fetches: bool,
    /// Whether the disk is full at times.
    fills: bool,
}

const PUBLISHERS: usize = 3;
const SUBSCRIBERS: usize = 4;

/// The publisher whose messages are not retained. Retained messages go to all shards, others only to shards with
/// subscribers.
const NOT_RETAINING: usize = 1;

/// The publisher that speaks MQTT 3.1.1 where the disk may be full, since that version can't be told of a refusal.
const OLD: usize = 2;

impl Test {
    fn new(seed: u64, storage: Storage, shards: u16, body_budget: usize) -> Self {
        let limits = Limits::GATEWAY.with(|limits| {
            limits.queued_messages = 2_000;
            limits.inflight = 6;
            limits.packet_bytes = 4_096;
        });
        let config = Config { durable: true, body_budget, limits, ..Config::gateway(seed.into()) };
        let mut world = World::in_storage(storage, shards, config, &AllowAll);
        world.fetch = Sync::ByHand;
        let subscriber = |number: usize| {
            let qos = if number.is_multiple_of(2) { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
            Attentive::new(format!("subscriber {number}"), "p/#", qos)
        };
        let subscribers = (0..SUBSCRIBERS).map(subscriber).collect();
        let retains = |publisher| publisher != NOT_RETAINING;
        Self {
            outages: Outages::new(seed, world, PUBLISHERS, retains, subscribers),
            seen: Default::default(),
            catches_up: !seed.is_multiple_of(3),
            fetches: body_budget > 0,
            fills: false,
        }
    }

    /// Connects all clients; from now on the disk is full at times.
    fn let_disk_fill(&mut self) {
        self.fills = true;
        for (index, publisher) in self.outages.publishers.iter_mut().enumerate() {
            publisher.may_be_refused = true;
            publisher.padding = 400;
            publisher.version = if index == OLD { Version::V3_1_1 } else { Version::V5 };
        }
        self.outages.connect_all();
        self.settle();
        self.outages.world.use_disk(3_000);
    }

    /// Runs until all messages have arrived and are safe, and clients have received all acknowledgements.
    fn settle(&mut self) {
        self.outages.speed_up();
        while {
            self.read();
            self.outages.world.sync()
        } {}
        // Clients may have published after the last sync, and then have answers to read that refuse their messages.
        self.read();
    }

    fn disk_happens(&mut self) {
        let world = &mut self.outages.world;
        let is_full = world.disk_is_full();
        match self.outages.random.below(10) {
            0..=4 => {
                let shard = self.outages.random.below(world.shards());
                world.tell_full(shard);
            }
            5..=6 if is_full => world.set_disk_full(false),
            5..=6 => world.set_disk_full(true),
            // A publisher learns the fate of its message without waiting until the disk has room.
            7 if is_full => {
                (0..world.shards()).for_each(|shard| world.tell_full(shard));
                self.settle();
                self.outages.publishers.iter().for_each(Untiring::expect_answers);
            }
            _ => {}
        }
    }

    fn step(&mut self) {
        let all = &mut self.outages;
        let publisher = all.random.below(PUBLISHERS);
        let subscriber = all.random.below(SUBSCRIBERS);
        match all.random.below(100) {
            36..=38 if self.fills => self.disk_happens(),
            39 if self.fetches => {
                for _ in 0..all.random.below(20) {
                    all.world.fetch_one();
                }
            }
            0..=39 => all.publish(publisher),
            40..=64 => all.acknowledge(subscriber),
            83..=84 if self.catches_up => while all.world.sync() {},
            65..=84 => drop(all.world.sync()),
            85..=88 => all.publishers[publisher].connect(&mut all.world),
            89..=93 => all.connect_subscriber(subscriber),
            94 => all.subscribers[subscriber].cut(&mut all.world),
            95 => all.publishers[publisher].cut(&mut all.world),
            96 => all.world.advance(100),
            97 => self.crash(),
            98 => all.slow_down(),
            _ => all.speed_up(),
        }
        self.read();
    }

    fn crash(&mut self) {
        self.read();
        self.outages.crash();
    }

    fn read(&mut self) {
        for (index, heard) in self.outages.read() {
            self.subscriber_heard(index, heard);
        }
    }

    fn subscriber_heard(&mut self, index: usize, heard: Heard) {
        let (seen, id) = (&mut self.seen[index], &self.outages.subscribers[index].id);
        let message = match heard {
            Heard::Subscribed => {
                seen.from = Some(std::array::from_fn(|publisher| self.outages.publishers[publisher].numbers));
                return;
            }
            Heard::Message(message) => message,
        };
        let (publisher, number) = origin(&message.topic, &message.payload);
        let count = seen.got[publisher].entry(number).or_default();
        *count += 1;
        let first = *count == 1;
        assert!(first || message.qos != QoS::ExactlyOnce, "{id}: {number} of publisher {publisher} came twice");
        // A message that was published before SUBACK, and was lost with the power, may be published again and arrive late.
        let was_refused = self.fills && self.outages.publishers[publisher].sent_again.contains(&number);
        if first && !was_refused && seen.from.is_some_and(|from| number > from[publisher]) {
            let newest = &mut seen.newest[publisher];
            assert!(*newest < number, "{id}: {number} after {newest} of {publisher}");
            *newest = number;
        }
    }

    /// Connects all clients and lets them complete all handshakes. Then every acknowledged message must have arrived.
    fn finish(&mut self) {
        self.crash();
        self.outages.speed_up();
        self.outages.world.set_disk_full(false);
        (0..self.outages.world.shards()).for_each(|shard| self.outages.world.tell_full(shard));
        for _ in 0..2 {
            self.outages.connect_all();
            while {
                self.read();
                self.outages.go_on()
            } {}
        }
        let Outages { world, publishers, subscribers, .. } = &mut self.outages;
        for (index, publisher) in publishers.iter().enumerate() {
            publisher.expect_nothing_pending();
            for (seen, subscriber) in self.seen.iter().zip(&*subscribers) {
                let from = seen.from.unwrap_or_default()[index];
                for number in publisher.acknowledged.keys().filter(|number| **number > from) {
                    let got = seen.got[index].get(number).copied().unwrap_or(0);
                    assert!(got > 0, "{} lacks {number} of publisher {index}", subscriber.id);
                }
            }
        }
        world.check_stores();
        for shard in 0..world.shards() {
            let counters = world.shard(shard).counters();
            assert_eq!((counters.deliveries, counters.dropped.total()), (0, 0));
            // One retained message is left for each publisher that retains, and no other message.
            assert_eq!(counters.messages, counters.retained);
        }
        let mut checker = Honest::accepted(world, Version::V5, &Opening::new("checker"));
        checker.send(
            world,
            &Packet::Subscribe(Subscribe {
                packet_id: goldcrest_tests::honest::id(1),
                properties: Properties::EMPTY,
                filters: Filters::new(&[("p/#", SubscriptionOptions::with_qos(QoS::AtMostOnce))]),
            }),
        );
        let kept = checker.take(world).into_iter().filter_map(|got| match got {
            Got::Message(message) => Some((message.topic, message.payload)),
            _ => None,
        });
        let mut kept: BTreeMap<_, _> = kept.collect();
        for (index, publisher) in publishers.iter().enumerate().filter(|(index, _)| *index != NOT_RETAINING) {
            let last =
                kept.remove(&format!("p/{index}")).map_or(0, |last| u32::from_be_bytes(*last.first_chunk().unwrap()));
            let taken = publisher.acknowledged.last_key_value().map_or(0, |(number, _)| *number);
            assert!(last == taken || publisher.resent.contains(&last), "{last} of publisher {index} is kept");
        }
        assert!(kept.is_empty(), "{kept:?}");
    }
}

#[test]
fn acknowledged_messages_survive_power_cuts_on_one_shard() {
    the_power_goes_with(1, 0);
}

#[test]
fn acknowledged_messages_survive_power_cuts_on_several_shards() {
    the_power_goes_with(2, 0);
    the_power_goes_with(3, 0);
}

#[test]
fn acknowledged_messages_survive_power_cuts_with_bodies_on_disk_alone() {
    for shards in 1..=3 {
        // First no body fits into memory, then some do.
        the_power_goes_with(shards, 1);
        the_power_goes_with(shards, 800);
    }
}

#[test]
fn with_a_full_disk_no_message_is_lost_and_no_client_waits() {
    let (seeds, steps) = (setting("GOLDCREST_SIM_SEEDS", 6), setting("GOLDCREST_SIM_STEPS", 3_000));
    for (seed, shards) in (1..=seeds).flat_map(|seed| [(seed, 1), (seed, 2), (seed, 3)]) {
        let mut test = Test::new(seed, Storage::Owned(MODEST), shards, if seed % 3 == 0 { 800 } else { 0 });
        let about = |test: &Test| format!("seed {seed}, {shards} shards, {} crashes", test.outages.crashes);
        let whole = |test: &mut Test| {
            test.let_disk_fill();
            (0..steps).for_each(|_| test.step());
            test.finish();
        };
        telling(&mut test, whole, about);
        let refused: u32 = test.outages.publishers.iter().map(|publisher| publisher.refused).sum();
        let acknowledged = test.outages.acknowledged();
        assert!(u64::from(refused) > steps / 100 && acknowledged > steps / 100, "{refused}, {acknowledged}");
    }
}

fn the_power_goes_with(shards: u16, body_budget: usize) {
    let steps = setting("GOLDCREST_SIM_STEPS", 3_000);
    for seed in seeds(6) {
        let storage = if seed % 2 == 0 || body_budget > 0 { Storage::Owned(MODEST) } else { Storage::Borrowed(MODEST) };
        let mut test = Test::new(seed, storage, shards, body_budget);
        let about = |test: &Test| {
            format!("seed {seed}, {shards} shards, body budget {body_budget}, {} crashes", test.outages.crashes)
        };
        let whole = |test: &mut Test| {
            (0..steps).for_each(|_| test.step());
            test.finish();
        };
        telling(&mut test, whole, about);
        let fetched: u64 = (0..shards).map(|shard| test.outages.world.store(shard.into()).fetched).sum();
        assert_eq!(fetched > 0, body_budget > 0);
        let (crashes, acknowledged) = (u64::from(test.outages.crashes), test.outages.acknowledged());
        let least = if test.catches_up { steps / 20 } else { steps / 30 };
        assert!(crashes > steps / 200 && acknowledged > least, "seed {seed}: {crashes} crashes, {acknowledged}");
    }
}

fn broker(storage: Storage, shard: Shard) -> Housed {
    let limits = Limits::GATEWAY.with(|limits| {
        limits.receive_maximum = 4;
        limits.owed_replies = 4;
        limits.packet_bytes = 2_000;
    });
    let config = Config { durable: true, limits, shard, ..Config::gateway(1) };
    Housed::stored(storage, config, &AllowAll)
}

/// Records that fit together, and records that do not: they refer to slots that exist, that do not exist, or that are of
/// another kind. Their order is random, and some come twice.
fn arbitrary_records(random: &mut Random, count: usize) -> Vec<(Key, Vec<u8>)> {
    let mut all = Vec::new();
    for _ in 0..count {
        let any = |random: &mut Random| random.below(12) as u32;
        let key = Key { kind: random.choose(&Kind::ALL), slot: any(random) };
        let instant = random.choose(&[Instant::NEVER, Instant::from_millis(0), Instant::from_millis(90_000)]);
        let filters = ["a", "a/#", "+", "$share/g/a", "$share/h/#", "", "a#", "$share/g", "$share//a", "\0"];
        let client_id = ["one", "two", "three", "four", ""][random.below(5)];
        let identifiers = &[1u8, 2, 0x80, 0x80, 0x80, 0x80, 0x10, 0xFF][..random.below(9)];
        let value = match key.kind {
            Kind::Session => Value::Session(record::SessionRecord {
                client_id,
                principal: 0,
                expiry_secs: random.choose(&[0, 5, u32::MAX]),
                ends: instant,
                will: random.percent(50).then(|| record::Will {
                    message: any(random),
                    delay_secs: random.choose(&[0, 7, u32::MAX]),
                    due: instant,
                    expiry_secs: random.choose(&[None, Some(0), Some(u32::MAX)]),
                }),
                dropped: [u32::MAX; 10],
                last_packet_id: record::Added(random.choose(&[0, 7, u16::MAX])),
            }),
            Kind::Group => Value::Group(record::GroupRecord { filter: filters[random.below(filters.len())] }),
            Kind::Subscription => Value::Subscription(record::SubscriptionRecord {
                session: any(random),
                filter: filters[random.below(filters.len())],
                qos: random.below(4) as u8,
                no_local: random.percent(30),
                retain_as_published: random.percent(30),
                identifier: random.choose(&[0, 1, (1 << 28) - 1, u32::MAX]),
                replaying: random.percent(50),
            }),
            Kind::Message => Value::Message(record::MessageRecord {
                topic_len: random.choose(&[0, 1, 1, 1, 3, 9, u16::MAX]),
                // The decoder trusts whoever sealed a record that Properties in it are well-formed.
                properties_len: random.choose(&[0, 0, 0, u32::MAX]),
                qos: random.below(4) as u8,
                retain: random.percent(50),
                expires: instant,
                order: random.choose(&[0, 1, 2, 3, u64::MAX]),
                stamp: random.draw(),
                body: random.choose(&[
                    &b"a hello"[..],
                    b"a/b and a lot more than will fit into one block of sixty bytes",
                    b"a",
                    b"",
                    b"#xy",
                ]),
            }),
            Kind::Retained => Value::Retained,
            Kind::Delivery => Value::Delivery(record::DeliveryRecord {
                to: if random.percent(80) {
                    record::Receiver::Session(any(random))
                } else {
                    record::Receiver::Group(any(random))
                },
                message: random.percent(80).then(|| any(random)),
                qos: random.below(4) as u8,
                retain: random.percent(50),
                received: random.percent(30),
                packet_id: random.choose(&[0, 0, 1, 2, 3, u16::MAX]),
                through: match random.below(3) {
                    0 => record::Through::Nothing,
                    1 => record::Through::Group(any(random)),
                    _ => record::Through::Foreign(any(random)),
                },
                identifiers: record::Identifiers(identifiers),
            }),
            Kind::Receipt => {
                Value::Receipt(record::ReceiptRecord { session: any(random), packet_id: random.choose(&[0, 1, 2]) })
            }
            Kind::Transit => Value::Transit(record::TransitRecord {
                group: filters[random.below(filters.len())],
                sibling: random.below(3) as u16,
                sequence: random.draw(),
                message: any(random),
                publisher_key: 0,
            }),
            Kind::Sibling => Value::Sibling(record::SiblingRecord { taken: random.draw(), sent: random.draw() }),
            Kind::Counters => Value::Counters(record::CountersRecord { dropped: [1; 10] }),
        };
        let slot = if random.percent(3) { u32::MAX } else { key.slot };
        let key = Key { slot, ..key };
        let mut sealed = vec![0; 512];
        let len = Record::Put(key, value).seal(&mut sealed).unwrap();
        sealed.truncate(len);
        all.push((key, sealed));
    }
    // Most runs sort the records as a store does, so that many of them fit.
    if random.percent(80) {
        all.sort_by_key(|(key, _)| key.kind);
    }
    all
}

#[test]
fn a_broker_survives_arbitrary_records() {
    for seed in 1..=setting("GOLDCREST_SIM_SEEDS", 6) * 100 {
        let mut random = Random::new(seed);
        let storage = if seed % 2 == 0 { Storage::Owned(MODEST) } else { Storage::Borrowed(MODEST) };
        let mut broker = broker(storage, Shard::ONLY);
        let now = Instant::from_millis(1_000);
        let records = arbitrary_records(&mut random, 120);
        let mut refused = 0;
        for (_, sealed) in &records {
            let record = record::open(sealed).unwrap();
            refused += u32::from(broker.with(|broker| broker.restore(record)).is_err());
        }
        let restored = broker.with(|broker| broker.finish_restore(now));
        assert!(restored.dropped >= refused);
        // Then the broker serves clients like any other, and in the end nothing is left.
        let mut world = World::of(vec![broker]);
        let can_be = |key: &Key| match key.kind {
            // The counters have only one slot.
            Kind::Counters => key.slot == 0,
            _ => key.slot != u32::MAX,
        };
        world.store_mut(0).believe(records.into_iter().filter(|(key, _)| can_be(key)));
        // The broker repairs wrong records, but does not record its repairs by itself.
        world.with_shard(0, |broker| broker.record_all());
        world.drive();
        world.check_stores();
        world.advance(1_000);
        for id in ["one", "two", "three", "four"] {
            let opening = Opening { clean_start: false, expiry_secs: 9, ..Opening::new(id) };
            let mut client = Honest::accepted(&mut world, Version::V5, &opening);
            let got = client.take(&mut world);
            let _ = got;
            client.subscribe(&mut world, "a/#", QoS::ExactlyOnce);
            client.publish(&mut world, "a", b"new", QoS::ExactlyOnce, false, 9);
        }
        world.check_stores();
        world.advance(100_000);
        for id in ["one", "two", "three", "four"] {
            let client = Honest::connect(&mut world, Version::V5, &Opening::new(id));
            client.disconnect(&mut world);
        }
        world.check_stores();
        let counters = world.shard(0).counters();
        assert_eq!((counters.sessions, counters.subscriptions, counters.deliveries), (0, 0, 0), "seed {seed}");
        assert_eq!(counters.messages, counters.retained, "seed {seed}");
    }
}

/// A full store refuses a message that needs a record, and accepts a message that needs none. A bug of the past: a gateway
/// with one shard refused a message that needs a record, but a gateway with several shards acknowledged it, and dropped it
/// on the shard of its subscriber's Session.
#[test]
fn a_full_store_refuses_only_messages_that_need_a_record() {
    for shards in 1..=3 {
        // The identifiers put publisher and subscriber on the same shard in some runs, and on different shards in others.
        (0..8).for_each(|number| a_full_store_refuses(shards, &format!("keeper {number}")));
    }
}

fn a_full_store_refuses(shards: u16, keeper_id: &str) {
    let config = Config { durable: true, ..Config::gateway(1) };
    let mut world = World::in_storage(Storage::Owned(MODEST), shards, config, &AllowAll);
    let set_full = |world: &mut World, is_full| {
        (0..world.shards()).for_each(|shard| world.with_shard(shard, |broker| broker.set_store_full(is_full)));
    };
    let records =
        |world: &World| -> usize { (0..world.shards()).map(|shard| world.store(shard).records().count()).sum() };
    let durable = |id| Opening { clean_start: false, expiry_secs: 100, ..Opening::new(id) };
    let mut keeper = Honest::accepted(&mut world, Version::V5, &durable(keeper_id));
    let mut guest = Honest::accepted(&mut world, Version::V5, &Opening::new("guest"));
    let mut old = Honest::accepted(&mut world, Version::V3_1_1, &Opening::new("old"));
    keeper.subscribe(&mut world, "kept", QoS::AtLeastOnce);
    keeper.subscribe(&mut world, "kept/+", QoS::AtLeastOnce);
    keeper.subscribe(&mut world, "$share/g/shared", QoS::AtLeastOnce);
    keeper.subscribe(&mut world, "fleeting", QoS::AtMostOnce);
    guest.subscribe(&mut world, "live", QoS::AtLeastOnce);
    guest.publish(&mut world, "kept", b"before", QoS::AtLeastOnce, true, 1);
    guest.take(&mut world);
    assert!(matches!(&keeper.take(&mut world)[..], [Got::Message(message)] if message.payload == b"before"));
    let before = records(&world);

    set_full(&mut world, true);
    let answer = |world: &mut World, client: &mut Honest, topic: &str, qos, retain| {
        client.publish(world, topic, b"x", qos, retain, 2);
        client.take(world).into_iter().find_map(|got| match got {
            Got::Ack(_, 2, code) => Some(code),
            _ => None,
        })
    };
    let refused = Some(ReasonCode::QuotaExceeded);
    for topic in ["kept", "kept/more", "shared"] {
        assert_eq!(answer(&mut world, &mut guest, topic, QoS::AtLeastOnce, false), refused, "{topic}");
        assert_eq!(answer(&mut world, &mut guest, topic, QoS::ExactlyOnce, false), refused, "{topic}");
    }
    assert_eq!(answer(&mut world, &mut guest, "other", QoS::AtLeastOnce, true), refused);
    assert_eq!(answer(&mut world, &mut keeper, "live", QoS::ExactlyOnce, false), refused);
    // MQTT 3.1.1 has no such code: the message is not acknowledged, and its publisher keeps it.
    assert_eq!(answer(&mut world, &mut old, "kept", QoS::AtLeastOnce, false), None);
    assert_eq!(guest.subscribe(&mut world, "more", QoS::AtLeastOnce), ReasonCode::GrantedQoS1);
    assert_eq!(keeper.subscribe(&mut world, "more", QoS::AtLeastOnce), ReasonCode::QuotaExceeded);
    let mut stranger = Honest::connect(&mut world, Version::V5, &durable("stranger"));
    assert_eq!(stranger.take(&mut world), [Got::ConnAck(false, ReasonCode::QuotaExceeded)]);

    // These messages need no record.
    assert_eq!(answer(&mut world, &mut guest, "live", QoS::ExactlyOnce, false), Some(ReasonCode::Success));
    assert_eq!(answer(&mut world, &mut guest, "fleeting", QoS::AtLeastOnce, false), Some(ReasonCode::Success));
    guest.publish(&mut world, "kept", b"QoS 0", QoS::AtMostOnce, false, 0);
    let payloads = keeper.take(&mut world).into_iter().map(|got| match got {
        Got::Message(message) => message.payload,
        other => panic!("{other:?}"),
    });
    assert_eq!(payloads.collect::<Vec<_>>(), [&b"x"[..], b"QoS 0"]);
    // Packets that delete records are accepted.
    keeper.ack(&mut world, AckKind::PubAck, 1);
    guest.publish(&mut world, "kept", b"", QoS::AtMostOnce, true, 0);
    keeper.disconnect(&mut world);
    let mut keeper = Honest::accepted(&mut world, Version::V5, &durable(keeper_id));
    assert!(records(&world) < before);
    world.check_stores();

    set_full(&mut world, false);
    assert_eq!(keeper.subscribe(&mut world, "more", QoS::AtLeastOnce), ReasonCode::GrantedQoS1);
    assert_eq!(answer(&mut world, &mut guest, "kept", QoS::AtLeastOnce, true), Some(ReasonCode::Success));
}

#[test]
fn one_of_several_brokers_survives_arbitrary_records() {
    for seed in 1..=setting("GOLDCREST_SIM_SEEDS", 6) * 100 {
        let mut random = Random::new(seed);
        let mut broker = broker(Storage::Owned(MODEST), Shard { index: 1, count: 3 });
        let mut now = Instant::from_millis(1_000);
        let records = arbitrary_records(&mut random, 120);
        broker.with(|broker| {
            for (_, sealed) in &records {
                let _ = broker.restore(record::open(sealed).unwrap());
            }
            broker.finish_restore(now);
            let mut buffer = [0; 512];
            for _ in 0..100 {
                while broker.poll_forward().is_some() {}
                while broker.poll_record(&mut buffer) != Polled::Nothing {}
                let batch = broker.end_batch();
                broker.handle_persisted(batch);
                now = now.plus_millis(5_000);
                broker.handle_timeout(now);
            }
        });
    }
}

#[test]
fn messages_in_a_groups_queue_survive_on_whatever_shards() {
    for shards in [1, 2, 3] {
        for name in 0..6 {
            let config = Config { durable: true, ..Config::gateway(1) };
            let mut world = World::in_storage(Storage::Owned(MODEST), shards, config, &AllowAll);
            let id = format!("member {name}");
            let opening = Opening { clean_start: false, expiry_secs: 100, ..Opening::new(&id) };
            let mut member = Honest::accepted(&mut world, Version::V5, &opening);
            assert_eq!(member.subscribe(&mut world, "$share/g/jobs", QoS::AtLeastOnce), ReasonCode::GrantedQoS1);
            member.disconnect(&mut world);
            let mut publisher = Honest::accepted(&mut world, Version::V5, &Opening::new("publisher"));
            for number in 1..=3 {
                publisher.publish(&mut world, "jobs", &[number], QoS::AtLeastOnce, false, u16::from(number));
                let got = publisher.take(&mut world);
                assert_eq!(got, [Got::Ack(AckKind::PubAck, u16::from(number), ReasonCode::Success)]);
            }
            // Twice, so that restored messages are recorded and restored again.
            for _ in 0..2 {
                world.check_stores();
                world.crash();
                world.check_stores();
            }
            let mut member = Honest::connect(&mut world, Version::V5, &opening);
            let got = member.take(&mut world);
            assert_eq!(got.first(), Some(&Got::ConnAck(true, ReasonCode::Success)));
            let payloads = got.into_iter().filter_map(|got| match got {
                Got::Message(message) => Some(message.payload),
                _ => None,
            });
            assert_eq!(payloads.collect::<Vec<_>>(), [[1], [2], [3]], "{shards} shards, {id}");
            member.unsubscribe(&mut world, "$share/g/jobs");
            world.check_stores();
            world.crash();
            // A group without members must be gone.
            let left = (0..usize::from(shards)).flat_map(|shard| world.store(shard).records());
            let groups = left.filter(|record| record.key().kind == Kind::Group);
            assert_eq!(groups.count(), 0, "{shards} shards, {id}");
        }
    }
}
