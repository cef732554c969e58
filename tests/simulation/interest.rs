//! Shards tell each other less than their filters, so messages go to other shards in vain. Nobody sees that: no message is missing, and
//! none is refused or counted as lost because of a filter that is not there.

use std::collections::BTreeSet;

use goldcrest_core::codec::*;
use goldcrest_core::{AllowAll, Capacity, Config, DropReason, Limits, LocalPublish, Shard, TopicFilter, TopicName};
use goldcrest_tests::honest::{Got, Honest, Opening, id};
use goldcrest_tests::memory::Storage;
use goldcrest_tests::random::{Random, seeds, setting};
use goldcrest_tests::world::{Sync, World};

/// More shapes than a shard tells others of, and then this one: others know it as `vain/#`.
const COARSE: &str = "vain/+/x";

fn id_on(shard: u16, name: &str) -> String {
    (0..).map(|number| format!("{name} {number}")).find(|id| Shard::home_of(id.as_bytes(), 2) == shard).unwrap()
}

/// Filters with wildcards, each of which has another shape.
fn shapes() -> impl Iterator<Item = String> {
    (2..14usize).flat_map(|levels| {
        (0..levels).map(move |plus| {
            let levels = (0..levels).map(|level| if level == plus { "+" } else { "level" });
            levels.collect::<Vec<_>>().join("/")
        })
    })
}

fn durable_world(shards: u16) -> World {
    let config = Config { durable: true, ..Config::gateway(1) };
    World::in_storage(Storage::Owned(Capacity::GATEWAY), shards, config, &AllowAll)
}

/// A client whose Session outlives its connection.
fn kept(id: &str) -> Opening<'_> {
    Opening { clean_start: false, expiry_secs: 100, ..Opening::new(id) }
}

/// A publisher on the first shard, and on the second one a subscriber with a Session that outlives its connection.
fn scene() -> (World, Honest, Honest) {
    scene_in(durable_world(2))
}

fn scene_in(mut world: World) -> (World, Honest, Honest) {
    let publisher = Honest::accepted(&mut world, Version::V5, &Opening::new(&id_on(0, "publisher")));
    let mut subscriber = Honest::accepted(&mut world, Version::V5, &kept(&id_on(1, "subscriber")));
    assert!(shapes().count() > 64);
    for filter in shapes().chain([COARSE.to_owned()]) {
        subscriber.subscribe(&mut world, &filter, QoS::AtLeastOnce);
    }
    (world, publisher, subscriber)
}

#[test]
fn a_message_that_goes_to_another_shard_in_vain_has_no_matching_subscribers() {
    for (qos, kind) in [(QoS::AtLeastOnce, AckKind::PubAck), (QoS::ExactlyOnce, AckKind::PubRec)] {
        let (mut world, mut publisher, mut subscriber) = scene();
        let mut expect = |world: &mut World, topic, number, code| {
            publisher.publish(world, topic, b"x", qos, false, number);
            assert_eq!(publisher.take(world), [Got::Ack(kind, number, code)], "{topic} {qos:?}");
        };
        expect(&mut world, "vain/other", 1, ReasonCode::NoMatchingSubscribers);
        expect(&mut world, "vain/a/x", 2, ReasonCode::Success);
        world.with_shard(0, |broker| broker.set_store_full(true));
        expect(&mut world, "vain/other", 3, ReasonCode::NoMatchingSubscribers);
        expect(&mut world, "vain/a/x", 4, ReasonCode::QuotaExceeded);
        expect(&mut world, "other", 5, ReasonCode::NoMatchingSubscribers);
        world.with_shard(0, |broker| broker.set_store_full(false));
        expect(&mut world, "vain/a/x", 6, ReasonCode::Success);
        assert_eq!(subscriber.take_messages(&mut world).len(), 2);
        let lost: u64 = (0..2).map(|shard| world.shard(shard).counters().dropped.total()).sum();
        assert_eq!(lost, 0);
        world.check_stores();
    }
}

fn lost(world: &World) -> u64 {
    (0..world.shards()).map(|shard| world.shard(shard).counters().dropped.total()).sum()
}

#[test]
fn a_message_that_expires_on_its_way_in_vain_is_not_lost() {
    let (mut world, mut publisher, _subscriber) = scene();
    let long = "vain/".to_owned() + &"long".repeat(50);
    for (number, topic) in (1..).zip(["vain/other", &long]) {
        world.slow_down(0, 1, true);
        let properties = [Property::MessageExpiryInterval(1)];
        let (qos, packet_id) = (QoS::AtLeastOnce, Some(id(number)));
        let properties = Properties::new(&properties);
        let packet = Publish { dup: false, qos, retain: false, topic, packet_id, properties, payload: b"x" };
        publisher.send(&mut world, &Packet::Publish(packet));
        world.advance(2_000);
        assert_eq!(publisher.take(&mut world), []);
        world.slow_down(0, 1, false);
        assert_eq!(publisher.take(&mut world), [Got::Ack(AckKind::PubAck, number, ReasonCode::NoMatchingSubscribers)]);
    }
    assert_eq!(lost(&world), 0);
}

#[test]
fn a_message_that_goes_in_vain_to_a_shard_without_memory_is_not_lost() {
    let capacity = Capacity { messages: 40, ..Capacity::GATEWAY };
    let limits = Limits::GATEWAY.with(|limits| limits.queued_messages = 1_000);
    let config = Config { durable: true, limits, ..Config::gateway(1) };
    let world = World::in_storage(Storage::Owned(capacity), 2, config, &AllowAll);
    let (mut world, mut publisher, subscriber) = scene_in(world);
    subscriber.disconnect(&mut world);
    let mut filler = Honest::accepted(&mut world, Version::V5, &Opening::new(&id_on(1, "filler")));
    let mut number = 0;
    while {
        number += 1;
        filler.publish(&mut world, "vain/a/x", b"x", QoS::AtLeastOnce, false, number);
        filler.take(&mut world) == [Got::Ack(AckKind::PubAck, number, ReasonCode::Success)]
    } {}
    let before = lost(&world);
    let long = "vain/".to_owned() + &"long".repeat(50);
    for (number, topic) in (1..).zip(["vain/other", &long]) {
        publisher.publish(&mut world, topic, b"x", QoS::AtLeastOnce, false, number);
        assert_eq!(publisher.take(&mut world), [Got::Ack(AckKind::PubAck, number, ReasonCode::NoMatchingSubscribers)]);
    }
    assert_eq!(lost(&world), before);
    publisher.publish(&mut world, "vain/a/x", b"x", QoS::AtLeastOnce, false, 3);
    assert_eq!(publisher.take(&mut world), [Got::Ack(AckKind::PubAck, 3, ReasonCode::QuotaExceeded)]);
    assert_eq!(lost(&world), before + 1);
}

#[test]
fn a_filter_that_has_ended_is_forgotten_even_if_it_was_restored() {
    for restarts in 0..2 {
        let mut world = durable_world(2);
        let mut publisher = Honest::accepted(&mut world, Version::V5, &kept(&id_on(0, "publisher")));
        let filters = ["t", "a/+", "b/#", "+/+/c"];
        let ids = ["one", "two"].map(|name| id_on(1, name));
        let mut subscribers =
            Vec::from([&ids[0], &ids[1]].map(|id| Honest::accepted(&mut world, Version::V5, &kept(id))));
        for subscriber in &mut subscribers {
            for filter in filters {
                subscriber.subscribe(&mut world, filter, QoS::AtLeastOnce);
            }
        }
        for _ in 0..restarts {
            world.crash();
            publisher = Honest::accepted(&mut world, Version::V5, &kept(&id_on(0, "publisher")));
            subscribers = ids.iter().map(|id| Honest::accepted(&mut world, Version::V5, &kept(id))).collect();
        }
        for subscriber in &mut subscribers {
            for filter in filters {
                subscriber.unsubscribe(&mut world, filter);
            }
        }
        // An acknowledgement that does not wait for the other shard shows that nothing went there.
        world.slow_down(0, 1, true);
        for (number, topic) in (1..).zip(["t", "a/b", "b/c", "d/e/c"]) {
            publisher.publish(&mut world, topic, b"x", QoS::AtLeastOnce, false, number);
            let code = ReasonCode::NoMatchingSubscribers;
            assert_eq!(publisher.take(&mut world), [Got::Ack(AckKind::PubAck, number, code)], "{topic}");
        }
    }
}

#[test]
fn with_a_full_store_a_will_is_lost_only_if_a_shard_has_to_record_it() {
    let (mut world, _publisher, mut subscriber) = scene();
    let mut plain = Honest::accepted(&mut world, Version::V5, &Opening::new(&id_on(1, "plain")));
    plain.subscribe(&mut world, "vain/y", QoS::AtLeastOnce);
    world.with_shard(0, |broker| broker.set_store_full(true));
    let die = |world: &mut World, topic| {
        let will = Will { qos: QoS::AtLeastOnce, retain: false, properties: Properties::EMPTY, topic, payload: b"x" };
        let id = id_on(0, "mortal");
        let client = Honest::accepted(world, Version::V5, &Opening { will: Some((will, 0)), ..Opening::new(&id) });
        world.cut(client.at);
    };
    die(&mut world, "vain/y");
    assert_eq!((plain.take_messages(&mut world).len(), lost(&world)), (1, 0));
    die(&mut world, "vain/other");
    assert_eq!(lost(&world), 0);
    die(&mut world, "vain/a/x");
    assert_eq!(world.shard(1).counters().dropped.by(DropReason::QueueFull), 1);
    assert_eq!((subscriber.take_messages(&mut world).len(), lost(&world)), (0, 1));
    world.with_shard(0, |broker| broker.set_store_full(false));
    die(&mut world, "vain/a/x");
    assert_eq!((subscriber.take_messages(&mut world).len(), lost(&world)), (1, 1));
    world.check_stores();
}

#[test]
fn with_a_full_store_a_message_of_the_embedder_is_lost_only_if_a_shard_has_to_record_it() {
    let (mut world, _publisher, mut subscriber) = scene();
    let mut plain = Honest::accepted(&mut world, Version::V5, &Opening::new(&id_on(1, "plain")));
    plain.subscribe(&mut world, "vain/y", QoS::AtLeastOnce);
    world.with_shard(0, |broker| broker.set_store_full(true));
    let publish = |world: &mut World, topic| {
        let (topic, qos) = (TopicName::new(topic).unwrap(), QoS::AtLeastOnce);
        let message = LocalPublish { topic, payload: b"x", qos, retain: false, expiry_secs: None };
        let now = world.now();
        world.with_shard(0, |broker| broker.publish(now, message)).unwrap();
        world.drive();
    };
    publish(&mut world, "vain/y");
    publish(&mut world, "vain/other");
    assert_eq!((plain.take_messages(&mut world).len(), lost(&world)), (1, 0));
    publish(&mut world, "vain/a/x");
    assert_eq!(world.shard(1).counters().dropped.by(DropReason::QueueFull), 1);
    assert_eq!((subscriber.take_messages(&mut world).len(), lost(&world)), (0, 1));
}

/// A message of QoS 1 is published on the last shard and acknowledged, then the power is lost. No other shard has recorded the message.
/// The subscriber with this Client Identifier gets the message all the same.
fn expect_to_survive(world: &mut World, subscriber: &str) {
    let shards = world.shards() as u16;
    let last = shards - 1;
    let home = |id: &String| Shard::home_of(id.as_bytes(), shards) == last;
    let id = (0..).map(|number| format!("publisher {number}")).find(home).unwrap();
    let mut publisher = Honest::accepted(world, Version::V5, &Opening::new(&id));
    world.sync = Sync::ByHand;
    publisher.publish(world, "t", b"x", QoS::AtLeastOnce, false, 1);
    while world.sync_one(last.into()) {}
    assert_eq!(publisher.take(world), [Got::Ack(AckKind::PubAck, 1, ReasonCode::Success)]);
    world.crash();
    world.sync = Sync::AtOnce;
    while world.sync() {}
    let mut subscriber = Honest::connect(world, Version::V5, &kept(subscriber));
    assert_eq!(subscriber.take_messages(world).len(), 1);
}

#[test]
fn a_filter_is_known_as_durable_from_the_first_subscriber_whose_messages_are_recorded() {
    for restarts in 0..2 {
        let mut world = durable_world(2);
        let (plain, fleeting, durable) = (id_on(0, "plain"), id_on(0, "fleeting"), id_on(0, "durable"));
        let mut client = Honest::accepted(&mut world, Version::V5, &kept(&plain));
        client.subscribe(&mut world, "t", QoS::AtMostOnce);
        let mut client = Honest::accepted(&mut world, Version::V5, &Opening::new(&fleeting));
        client.subscribe(&mut world, "t", QoS::AtLeastOnce);
        let mut client = Honest::accepted(&mut world, Version::V5, &kept(&durable));
        client.subscribe(&mut world, "t", QoS::AtMostOnce);
        client.subscribe(&mut world, "t", QoS::AtLeastOnce);
        client.disconnect(&mut world);
        (0..restarts).for_each(|_| world.crash());
        expect_to_survive(&mut world, &durable);
    }
}

#[test]
fn a_member_on_another_shard_makes_a_filter_durable_that_had_other_subscribers_before() {
    let group = |owner| {
        let mut filters = (0..).map(|number| format!("$share/{number}/t"));
        filters.find(|filter| Shard::home_of(filter.as_bytes(), 2) == owner).unwrap()
    };
    for subscribes_twice in [false, true] {
        let mut world = durable_world(2);
        // The group is at home on the first shard, where a subscription whose messages are not recorded is older.
        let mut plain = Honest::accepted(&mut world, Version::V5, &Opening::new(&id_on(0, "plain")));
        plain.subscribe(&mut world, "t", QoS::AtMostOnce);
        let id = id_on(1, "member");
        let mut member = Honest::accepted(&mut world, Version::V5, &kept(&id));
        if subscribes_twice {
            member.subscribe(&mut world, &group(0), QoS::AtMostOnce);
        }
        member.subscribe(&mut world, &group(0), QoS::AtLeastOnce);
        member.disconnect(&mut world);
        expect_to_survive(&mut world, &id);
    }
}

#[test]
fn a_member_has_its_suback_when_all_shards_know_that_the_filter_is_durable() {
    let id = |shard, name: &str| {
        let mut ids = (0..).map(|number| format!("{name} {number}"));
        ids.find(|id| Shard::home_of(id.as_bytes(), 3) == shard).unwrap()
    };
    let mut groups = (0..).map(|number| format!("$share/{number}/t"));
    let group = groups.find(|filter| Shard::home_of(filter.as_bytes(), 3) == 0).unwrap();
    let mut world = durable_world(3);
    let mut plain = Honest::accepted(&mut world, Version::V5, &Opening::new(&id(0, "plain")));
    plain.subscribe(&mut world, "t", QoS::AtMostOnce);
    let member_id = id(1, "member");
    let mut member = Honest::accepted(&mut world, Version::V5, &kept(&member_id));
    world.slow_down(0, 2, true);
    let filters = [(group.as_str(), SubscriptionOptions::with_qos(QoS::AtLeastOnce))];
    let (packet_id, properties, filters) = (PacketId::MIN, Properties::EMPTY, Filters::new(&filters));
    member.send(&mut world, &Packet::Subscribe(Subscribe { packet_id, properties, filters }));
    assert_eq!(member.take(&mut world), []);
    world.slow_down(0, 2, false);
    assert!(matches!(member.take(&mut world)[..], [Got::SubAck(..)]));
    member.disconnect(&mut world);
    expect_to_survive(&mut world, &member_id);
}

const LEVELS: [&str; 3] = ["a", "b", "c"];

/// Up to six levels, with more shapes than shards tell each other.
fn random_filter(random: &mut Random) -> String {
    let count = 1 + random.below(6);
    let level = |random: &mut Random| if random.percent(40) { "+" } else { random.choose(&LEVELS) };
    let mut levels: Vec<_> = (0..count).map(|_| level(random)).collect();
    if random.percent(20) {
        levels.push("#");
    }
    levels.join("/")
}

fn random_topic(random: &mut Random) -> String {
    let count = 1 + random.below(7);
    (0..count).map(|_| random.choose(&LEVELS)).collect::<Vec<_>>().join("/")
}

/// Clients of all shards that subscribe to random filters, and what they have subscribed to.
struct Crowd {
    world: World,
    subscribers: Vec<(Honest, String, BTreeSet<String>)>,
    publishers: Vec<(Honest, String)>,
    sent: u16,
}

impl Crowd {
    fn new(shards: u16) -> Self {
        let mut world = durable_world(shards);
        let id = |name: &str, shard| {
            let mut ids = (0..).map(|number| format!("{name} {number}"));
            ids.find(|id| Shard::home_of(id.as_bytes(), shards) == shard).unwrap()
        };
        let subscriber = |number: u16| {
            let id = id(&format!("subscriber {number}"), number % shards);
            (Honest::accepted(&mut world, Version::V5, &kept(&id)), id, BTreeSet::new())
        };
        let subscribers = (0..2 * shards).map(subscriber).collect();
        let publisher = |shard| {
            let id = id("publisher", shard);
            (Honest::accepted(&mut world, Version::V5, &kept(&id)), id)
        };
        let publishers = (0..shards).map(publisher).collect();
        Self { world, subscribers, publishers, sent: 0 }
    }

    fn step(&mut self, random: &mut Random) {
        let index = random.below(self.subscribers.len());
        match random.below(100) {
            0..=44 => {
                let filter = random_filter(random);
                let (subscriber, _, filters) = &mut self.subscribers[index];
                subscriber.subscribe(&mut self.world, &filter, random.choose(&[QoS::AtMostOnce, QoS::AtLeastOnce]));
                filters.insert(filter);
            }
            45..=64 => {
                let (subscriber, _, filters) = &mut self.subscribers[index];
                let filters_now: Vec<_> = filters.iter().cloned().collect();
                if !filters_now.is_empty() {
                    let filter = random.choose(&filters_now);
                    subscriber.unsubscribe(&mut self.world, &filter);
                    filters.remove(&filter);
                }
            }
            65..=98 => self.publish(random),
            _ => self.crash(),
        }
    }

    /// Each client with a matching filter gets the message once, and nobody else does. The publisher is told whether there was a client.
    fn publish(&mut self, random: &mut Random) {
        let topic = random_topic(random);
        self.sent += 1;
        let (publisher, _) = &mut self.publishers[random.below(self.world.shards())];
        publisher.publish(&mut self.world, &topic, &self.sent.to_be_bytes(), QoS::AtLeastOnce, false, self.sent);
        let mut any = false;
        for (subscriber, id, filters) in &mut self.subscribers {
            let name = TopicName::new(&topic).unwrap();
            let matches = filters.iter().any(|filter| TopicFilter::new(filter).unwrap().matches(name));
            let got: Vec<_> = subscriber.take_messages(&mut self.world).into_iter().map(|got| got.payload).collect();
            let expected: Vec<_> = matches.then(|| self.sent.to_be_bytes().to_vec()).into_iter().collect();
            assert_eq!(got, expected, "{id} with {filters:?} and {topic}");
            any |= matches;
        }
        let code = if any { ReasonCode::Success } else { ReasonCode::NoMatchingSubscribers };
        assert_eq!(publisher.take(&mut self.world), [Got::Ack(AckKind::PubAck, self.sent, code)], "{topic}");
    }

    /// The power is lost and returns: all clients resume their Sessions.
    fn crash(&mut self) {
        self.world.crash();
        for (subscriber, id, _) in &mut self.subscribers {
            *subscriber = Honest::accepted(&mut self.world, Version::V5, &kept(id));
        }
        for (publisher, id) in &mut self.publishers {
            *publisher = Honest::accepted(&mut self.world, Version::V5, &kept(id));
        }
    }
}

#[test]
fn each_message_reaches_all_subscribers_on_all_shards_whatever_they_subscribe_to() {
    for seed in seeds(6) {
        let mut random = Random::new(seed);
        let mut crowd = Crowd::new(random.choose(&[2, 3, 4]));
        for _ in 0..setting("GOLDCREST_SIM_STEPS", 500) {
            crowd.step(&mut random);
        }
        assert_eq!(lost(&crowd.world), 0);
        crowd.world.check_stores();
    }
}
