//! Each topic has one shard that keeps its retained message, and clients on all shards get it: whatever is retained, removed and expired on
//! any shard, however late the shards tell each other, and whenever the power is lost.

use std::collections::BTreeMap;

use goldcrest_core::codec::{
    AckKind, Filters, Packet, PacketId, Properties, Property, Publish, QoS, ReasonCode, Subscribe, SubscriptionOptions,
    Version,
};
use goldcrest_core::{AllowAll, Capacity, Config, Limits, Shard, TopicName};
use goldcrest_tests::honest::{Got, Honest, Opening, id};
use goldcrest_tests::memory::Storage;
use goldcrest_tests::random::{Random, seeds, setting};
use goldcrest_tests::world::{Sync, World};

fn world(shards: u16, durable: bool) -> World {
    world_with(shards, durable, Limits::GATEWAY)
}

fn world_with(shards: u16, durable: bool, limits: Limits) -> World {
    let config = Config { durable, limits, ..Config::gateway(1) };
    World::in_storage(Storage::Owned(Capacity::GATEWAY), shards, config, &AllowAll)
}

fn id_on(shards: usize, shard: usize, name: &str) -> String {
    let home = |id: &String| usize::from(Shard::home_of(id.as_bytes(), shards as u16)) == shard;
    (0..).map(|number| format!("{name} {number}")).find(home).unwrap()
}

fn client_on(world: &mut World, shard: usize, name: &str) -> Honest {
    let id = id_on(world.shards(), shard, name);
    Honest::accepted(world, Version::V5, &Opening::new(&id))
}

/// A topic that this shard keeps.
fn topic_of(world: &World, shard: usize, name: &str) -> String {
    let count = world.shards() as u16;
    let owned = |topic: &String| usize::from(Shard::owner_of_topic(topic.as_bytes(), count)) == shard;
    (0..).map(|number| format!("{name}/{number}")).find(owned).unwrap()
}

fn retain(world: &mut World, client: &Honest, topic: &str, payload: &[u8], expiry_secs: Option<u32>) {
    let list: Vec<_> = expiry_secs.into_iter().map(Property::MessageExpiryInterval).collect();
    let properties = Properties::new(&list);
    let packet_id = Some(PacketId::MIN);
    let qos = QoS::AtLeastOnce;
    let packet = Packet::Publish(Publish { dup: false, qos, retain: true, topic, packet_id, properties, payload });
    client.send(world, &packet);
}

fn subscribe(world: &mut World, client: &Honest, filter: &str, qos: QoS) {
    let filters = [(filter, SubscriptionOptions::with_qos(qos))];
    let (properties, filters) = (Properties::EMPTY, Filters::new(&filters));
    client.send(world, &Packet::Subscribe(Subscribe { packet_id: id(1), properties, filters }));
}

/// The retained messages that a new client on this shard gets, by topic.
fn retained_for(world: &mut World, shard: usize) -> BTreeMap<String, Vec<u8>> {
    let mut client = client_on(world, shard, "looks");
    subscribe(world, &client, "#", QoS::AtMostOnce);
    let mut all = BTreeMap::new();
    for got in client.take(world) {
        if let Got::Message(message) = got {
            assert!(message.retain);
            assert_eq!(all.insert(message.topic.clone(), message.payload), None, "{} comes twice", message.topic);
        }
    }
    client.disconnect(world);
    all
}

/// Checks that clients of all shards get the same retained messages, and returns them.
#[track_caller]
fn expect_agreement(world: &mut World, what: &str) -> BTreeMap<String, Vec<u8>> {
    let first = retained_for(world, 0);
    for shard in 1..world.shards() {
        assert_eq!(retained_for(world, shard), first, "{what}: shards 0 and {shard}");
    }
    let sum = |count: fn(&goldcrest_core::Counters) -> u32| -> usize {
        (0..world.shards()).map(|shard| count(&world.shard(shard).counters()) as usize).sum()
    };
    assert_eq!(sum(|counters| counters.retained), first.len(), "{what}: each is kept once");
    first
}

fn quiet(world: &mut World) {
    for from in 0..world.shards() {
        for to in (0..world.shards()).filter(|to| *to != from) {
            world.slow_down(from, to, false);
        }
    }
    world.sync = Sync::AtOnce;
    while world.sync() {}
    world.drive();
}

/// What was published to one topic, by one publisher: payloads in order, an empty one where the retained message was removed.
struct Topic {
    name: &'static str,
    qos: QoS,
    publisher: usize,
    events: Vec<Vec<u8>>,
    /// How many of them are acknowledged.
    acknowledged: usize,
    /// Those that are not, by Packet Identifier.
    open: BTreeMap<u16, usize>,
}

impl Topic {
    /// The retained message after so many events.
    fn after(&self, events: usize) -> Option<&[u8]> {
        events.checked_sub(1).map(|last| &self.events[last][..]).filter(|payload| !payload.is_empty())
    }
}

/// What came of one topic: the retained message, and the later ones.
type OfTopic = (Option<Vec<u8>>, Vec<Vec<u8>>);

/// A client that has subscribed to one filter.
struct Reader {
    client: Honest,
    shard: usize,
    filter: &'static str,
    /// How many events of each topic were acknowledged when it sent SUBSCRIBE.
    before: Vec<usize>,
    /// How many events of each topic there were when it had SUBACK.
    at_suback: Option<Vec<usize>>,
    got: BTreeMap<String, OfTopic>,
    unacknowledged: Vec<(AckKind, u16)>,
    /// Whether UNSUBSCRIBE was sent: some messages may be missing then.
    left: bool,
    /// Whether SUBSCRIBE was sent once more: the retained messages come once more then.
    came_again: bool,
}

impl Reader {
    fn take(&mut self, world: &mut World, topics: &[Topic], what: &str) -> bool {
        let all = self.client.take(world);
        let any = !all.is_empty();
        for got in all {
            match got {
                Got::Message(message) => {
                    match message.qos {
                        QoS::AtMostOnce => {}
                        QoS::AtLeastOnce => self.unacknowledged.push((AckKind::PubAck, message.packet_id)),
                        QoS::ExactlyOnce => self.unacknowledged.push((AckKind::PubRec, message.packet_id)),
                    }
                    let (retained, live) = self.got.entry(message.topic.clone()).or_default();
                    if self.came_again {
                        // Live messages and retained ones together, in the order in which they come.
                        live.push(message.payload);
                    } else if message.retain {
                        assert!(live.is_empty(), "{what}: {}: a retained message behind a newer one", message.topic);
                        assert_eq!(retained.replace(message.payload), None, "{what}: {} twice", message.topic);
                    } else {
                        live.push(message.payload);
                    }
                }
                Got::Ack(AckKind::PubRel, packet_id, _) => self.unacknowledged.push((AckKind::PubComp, packet_id)),
                Got::SubAck(_, codes) => {
                    assert!(codes.iter().all(|code| !code.is_error()), "{what}: {codes:?}");
                    self.at_suback = Some(topics.iter().map(|topic| topic.events.len()).collect());
                }
                _ => {}
            }
        }
        any
    }

    fn acknowledge(&mut self, world: &mut World) -> bool {
        let all = std::mem::take(&mut self.unacknowledged);
        let any = !all.is_empty();
        all.into_iter().for_each(|(kind, packet_id)| self.client.ack(world, kind, packet_id));
        any
    }

    /// Checks what the client got when nothing more comes: one retained message, and everything behind it. The retained message may be left out
    /// if a later one replaced it before it was sent.
    fn check(&self, topics: &[Topic], what: &str) {
        let at_suback = self.at_suback.as_ref().expect("SUBACK");
        for ((topic, before), at_suback) in topics.iter().zip(&self.before).zip(at_suback) {
            let (retained, live) = self.got.get(topic.name).cloned().unwrap_or_default();
            let what = format!(
                "{what}: {} of {:?} from {} by {} on {}",
                topic.name, topic.qos, topic.publisher, self.filter, self.shard
            );
            if self.left || !matches(self.filter, topic.name) {
                continue;
            }
            if self.came_again {
                let number = |payload: &Vec<u8>| topic.events.iter().rposition(|event| event == payload).unwrap();
                let numbers: Vec<_> = live.iter().filter(|payload| !payload.is_empty()).map(number).collect();
                assert!(numbers.is_sorted(), "{what}: {numbers:?}: an older message behind a newer one");
                let last = topic.after(topic.events.len());
                assert!(
                    last.is_none() || live.last().map(Vec::as_slice) == last,
                    "{what}: the last message is missing"
                );
                continue;
            }
            let Some(first) = topic.events.len().checked_sub(live.len()) else { panic!("{what}: too many") };
            assert_eq!(live, topic.events[first..], "{what}: the end of all events, in order");
            assert!(first <= *at_suback, "{what}: a message after SUBACK is missing");
            if live.is_empty() || retained.is_some() {
                assert_eq!(retained.as_deref(), topic.after(first), "{what}: retained, and {} later ones", live.len());
            }
            assert!(first >= *before, "{what}: the retained message is older than one that was acknowledged");
        }
    }
}

fn matches(filter: &str, topic: &str) -> bool {
    filter == "#" || filter == topic || filter == format!("{}/+", topic.split('/').next().unwrap())
}

const NAMES: [&str; 8] = ["a/1", "a/2", "a/3", "b/1", "b/2", "c/1", "c/2", "c/3"];
const FILTERS: [&str; 9] = ["#", "#", "a/+", "b/+", "c/+", "a/1", "a/2", "b/1", "c/3"];

/// A gateway with publishers and readers, and what they may expect.
struct House {
    world: World,
    random: Random,
    durable: bool,
    topics: Vec<Topic>,
    publishers: Vec<Honest>,
    readers: Vec<Reader>,
    packet_id: u16,
    published: usize,
    clients: usize,
}

impl House {
    fn new(seed: u64, shards: u16, durable: bool) -> Self {
        let mut random = Random::new(9_000 + seed);
        let mut world = world(shards, durable);
        let publishers = (0..world.shards()).map(|shard| client_on(&mut world, shard, "publishes")).collect();
        let topics = NAMES.into_iter().map(|name| Topic {
            name,
            qos: random.choose(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]),
            publisher: random.below(shards.into()),
            events: Vec::new(),
            acknowledged: 0,
            open: BTreeMap::new(),
        });
        let topics = topics.collect();
        Self { world, random, durable, topics, publishers, readers: Vec::new(), packet_id: 0, published: 0, clients: 0 }
    }

    fn publish(&mut self, clears: bool) {
        let number = self.random.below(self.topics.len());
        let topic = &mut self.topics[number];
        self.published += 1;
        let payload = if clears { Vec::new() } else { format!("{} {}", topic.name, self.published).into_bytes() };
        self.packet_id = self.packet_id % 60_000 + 1;
        topic.events.push(payload.clone());
        if topic.qos > QoS::AtMostOnce {
            topic.open.insert(self.packet_id, topic.events.len());
        }
        let publisher = &self.publishers[topic.publisher];
        publisher.publish(&mut self.world, topic.name, &payload, topic.qos, true, self.packet_id);
    }

    /// The publishers read what they are told.
    fn hear(&mut self) {
        for publisher in &mut self.publishers {
            for got in publisher.take(&mut self.world) {
                let Got::Ack(kind, packet_id, code) = got else { continue };
                assert!(!code.is_error(), "{code:?}");
                if kind == AckKind::PubRec {
                    publisher.ack(&mut self.world, AckKind::PubRel, packet_id);
                }
                for topic in &mut self.topics {
                    if let Some(events) = topic.open.remove(&packet_id) {
                        topic.acknowledged = topic.acknowledged.max(events);
                    }
                }
            }
        }
    }

    fn read(&mut self) {
        self.clients += 1;
        let shard = self.random.below(self.world.shards());
        let filter = self.random.choose(&FILTERS);
        let name = id_on(self.world.shards(), shard, &format!("reads {}", self.clients));
        let window = self.random.percent(50).then_some(2);
        let client = Honest::connect(&mut self.world, Version::V5, &Opening { window, ..Opening::new(&name) });
        let qos = self.random.choose(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]);
        self.hear();
        let before = self.topics.iter().map(|topic| topic.acknowledged).collect();
        subscribe(&mut self.world, &client, filter, qos);
        let (got, unacknowledged) = (BTreeMap::new(), Vec::new());
        let (left, came_again, at_suback) = (false, false, None);
        let mut reader = Reader { client, shard, filter, before, at_suback, got, unacknowledged, left, came_again };
        reader.take(&mut self.world, &self.topics, "SUBSCRIBE");
        self.readers.push(reader);
    }

    /// A client subscribes once more, perhaps while its retained messages are being sent.
    fn read_again(&mut self) {
        if self.readers.is_empty() {
            return;
        }
        let number = self.random.below(self.readers.len());
        let reader = &mut self.readers[number];
        if !reader.left {
            reader.take(&mut self.world, &self.topics, "SUBSCRIBE");
            // What came so far is in order.
            for (retained, live) in reader.got.values_mut().filter(|_| !reader.came_again) {
                live.splice(0..0, retained.take());
            }
            reader.came_again = true;
            subscribe(&mut self.world, &reader.client, reader.filter, QoS::AtLeastOnce);
        }
    }

    fn leave(&mut self) {
        if self.readers.is_empty() {
            return;
        }
        let number = self.random.below(self.readers.len());
        if self.random.percent(50) {
            let reader = self.readers.swap_remove(number);
            self.world.cut(reader.client.at);
        } else {
            let reader = &mut self.readers[number];
            reader.left = true;
            let (properties, filters) = (Properties::EMPTY, [reader.filter]);
            let filters = goldcrest_core::codec::Topics::new(&filters);
            let packet = goldcrest_core::codec::Unsubscribe { packet_id: id(2), properties, filters };
            reader.client.send(&mut self.world, &Packet::Unsubscribe(packet));
        }
    }

    /// Waits until nothing happens any more, and checks what everybody got.
    fn settle(&mut self, what: &str) {
        quiet(&mut self.world);
        self.hear();
        for reader in &mut self.readers {
            while reader.take(&mut self.world, &self.topics, what) | reader.acknowledge(&mut self.world) {}
            reader.check(&self.topics, what);
        }
        self.hear();
        let left = expect_agreement(&mut self.world, what);
        for topic in &self.topics {
            let expected = topic.after(topic.events.len());
            assert_eq!(left.get(topic.name).map(Vec::as_slice), expected, "{what}: {}", topic.name);
            assert!(topic.open.is_empty(), "{what}: all is acknowledged");
        }
    }

    /// The power is lost. What was acknowledged is there, or something newer.
    fn crash(&mut self, what: &str) {
        self.hear();
        self.world.crash();
        quiet(&mut self.world);
        self.readers.clear();
        let left = expect_agreement(&mut self.world, what);
        for topic in &mut self.topics {
            let found = left.get(topic.name).map(Vec::as_slice);
            // A message of QoS 0 may be lost with the power, and the one before may be there.
            let first = if topic.qos == QoS::AtMostOnce { 0 } else { topic.acknowledged };
            let possible = (first..=topic.events.len()).any(|events| topic.after(events) == found);
            assert!(possible, "{what}: {} has {found:?}, {} are acknowledged", topic.name, topic.acknowledged);
            topic.events = vec![found.unwrap_or_default().to_vec()];
            (topic.acknowledged, topic.open) = (1, BTreeMap::new());
        }
        let shards = 0..self.world.shards();
        self.publishers = shards.map(|shard| client_on(&mut self.world, shard, "publishes")).collect();
    }

    fn step(&mut self, what: &str) {
        let shards = self.world.shards();
        match self.random.below(100) {
            0..=34 => self.publish(false),
            35..=44 => self.publish(true),
            45..=57 => self.read(),
            58..=59 => self.leave(),
            60..=62 => self.read_again(),
            63..=75 => {
                let from = self.random.below(shards);
                let to = (from + 1 + self.random.below(shards - 1)) % shards;
                let is_slow = self.random.percent(50);
                self.world.slow_down(from, to, is_slow);
            }
            76..=84 => {
                if self.durable {
                    self.world.sync = self.random.choose(&[Sync::AtOnce, Sync::ByHand]);
                    self.world.sync_one(self.random.below(shards));
                }
            }
            85..=94 => {
                for reader in &mut self.readers {
                    reader.take(&mut self.world, &self.topics, what);
                    if self.random.percent(50) {
                        reader.acknowledge(&mut self.world);
                    }
                }
            }
            95..=96 if self.durable => self.crash(what),
            97 => self.settle(what),
            _ => self.world.drive(),
        }
    }
}

#[test]
fn every_client_gets_the_retained_message_of_each_topic_and_all_later_ones() {
    for seed in seeds(12) {
        for (shards, durable) in [(2, true), (3, true), (2, false), (4, false)] {
            let mut house = House::new(seed, shards, durable);
            for step in 0..setting("GOLDCREST_SIM_STEPS", 250) {
                house.step(&format!("seed {seed}, step {step}, {shards} shards, durable {durable}"));
            }
            let what = format!("seed {seed}, {shards} shards, durable {durable}, at the end");
            house.settle(&what);
            for reader in std::mem::take(&mut house.readers) {
                house.world.cut(reader.client.at);
            }
            house.world.drive();
            let all = (0..house.world.shards()).map(|shard| house.world.shard(shard).counters());
            let (messages, retained) =
                all.fold((0, 0), |sum, counters| (sum.0 + counters.messages, sum.1 + counters.retained));
            assert_eq!(messages, retained, "{what}: nothing else stays");
            if durable {
                house.world.check_stores();
            }
        }
    }
}

#[test]
fn a_retained_message_is_kept_by_the_owner_of_its_topic_alone() {
    for shards in [2, 3] {
        let mut world = world(shards, true);
        for publisher in 0..world.shards() {
            let client = client_on(&mut world, publisher, "publishes");
            for owner in 0..world.shards() {
                let topic = topic_of(&world, owner, &format!("from {publisher}"));
                retain(&mut world, &client, &topic, b"x", None);
            }
        }
        let count = u32::from(shards);
        let each = |world: &World| -> Vec<_> {
            let all = (0..world.shards()).map(|shard| world.shard(shard).counters());
            all.map(|counters| (counters.retained, counters.messages)).collect()
        };
        assert_eq!(each(&world), vec![(count, count); shards.into()]);
        world.check_stores();
        world.crash();
        assert_eq!(each(&world), vec![(count, count); shards.into()]);
        assert_eq!(expect_agreement(&mut world, "restart").len(), usize::from(shards) * usize::from(shards));
    }
}

/// The codes of the answers to a PUBLISH with RETAIN.
fn answer(world: &mut World, client: &mut Honest, topic: &str, payload: &[u8]) -> Vec<Got> {
    client.publish(world, topic, payload, QoS::AtLeastOnce, true, 1);
    client.take(world)
}

fn is_kept(got: &[Got]) -> bool {
    match got {
        [Got::Ack(AckKind::PubAck, 1, ReasonCode::Success)] => true,
        [Got::Ack(AckKind::PubAck, 1, ReasonCode::QuotaExceeded)] => false,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_limit_on_retained_messages_holds_for_all_shards_together() {
    const MOST: usize = 5;
    for (shards, durable) in [(2, false), (3, true), (4, false)] {
        let limits = Limits::GATEWAY.with(|limits| limits.retained_messages = MOST as u32);
        let mut world = world_with(shards, durable, limits);
        let mut clients: Vec<_> = (0..world.shards()).map(|shard| client_on(&mut world, shard, "p")).collect();
        let topics: Vec<String> = (0..40).map(|number| format!("t/{number}")).collect();
        let mut kept = Vec::new();
        for (number, topic) in topics.iter().enumerate() {
            let client = &mut clients[number % usize::from(shards)];
            if is_kept(&answer(&mut world, client, topic, b"first")) {
                kept.push(topic);
            }
        }
        assert_eq!(kept.len(), MOST, "{shards} shards");
        // From every shard: another message of a topic that has one is kept, and one of another topic is not.
        for (number, topic) in topics.iter().enumerate() {
            let client = &mut clients[(number + 1) % usize::from(shards)];
            assert_eq!(is_kept(&answer(&mut world, client, topic, b"second")), kept.contains(&topic), "{topic}");
        }
        assert_eq!(expect_agreement(&mut world, "limit").len(), MOST);
        assert!(is_kept(&answer(&mut world, &mut clients[0], kept[0], b"")));
        assert!(is_kept(&answer(&mut world, &mut clients[1], &topics[39], b"third")));
        assert!(!is_kept(&answer(&mut world, &mut clients[0], kept[0], b"fourth")));
        assert_eq!(expect_agreement(&mut world, "limit").len(), MOST);
    }
}

/// MQTT 3.1.1 has no refusing PUBACK: the connection is closed without an answer, as with one shard.
#[test]
fn a_client_of_mqtt_3_hears_no_success_for_a_message_that_its_owner_does_not_retain() {
    for asks_first in [true, false] {
        let limits = Limits::GATEWAY.with(|limits| limits.retained_messages = 2);
        let mut world = world_with(2, false, limits);
        let (here, there) = (topic_of(&world, 0, "here"), topic_of(&world, 1, "there"));
        let more = topic_of(&world, 1, "more");
        let name = id_on(2, 0, "old");
        let mut old = Honest::accepted(&mut world, Version::V3_1_1, &Opening::new(&name));
        let mut new = client_on(&mut world, 1, "new");
        assert!(is_kept(&answer(&mut world, &mut new, &here, b"x")));
        if !asks_first {
            // The publisher's shard does not know that the limit is near.
            let (now, shard) = (world.now(), Shard { index: 0, count: 2 });
            world.with_shard(0, |broker| broker.reconfigure(now, Config { shard, ..Config::gateway(1) }).unwrap());
        }
        assert!(is_kept(&answer(&mut world, &mut new, &there, b"x")));
        old.publish(&mut world, &more, b"x", QoS::AtLeastOnce, true, 1);
        quiet(&mut world);
        world.advance(60_000);
        assert_eq!(old.take(&mut world), [], "asks first: {asks_first}");
        assert!(world.is_closed(old.at), "asks first: {asks_first}");
        assert_eq!(expect_agreement(&mut world, "refused").len(), 2);
    }
}

#[test]
fn a_retained_will_and_messages_of_the_embedder_go_to_the_owner_of_their_topic() {
    for (client, owner) in [(0, 1), (1, 1), (2, 1)] {
        let mut world = world(3, true);
        let topic = topic_of(&world, owner, "will");
        let name = id_on(3, client, "dies");
        let will = goldcrest_core::codec::Will {
            qos: QoS::AtLeastOnce,
            retain: true,
            properties: Properties::EMPTY,
            topic: &topic,
            payload: b"gone",
        };
        let dies = Honest::accepted(&mut world, Version::V5, &Opening { will: Some((will, 0)), ..Opening::new(&name) });
        world.cut(dies.at);
        world.drive();
        assert_eq!(expect_agreement(&mut world, "will")[&topic], b"gone");
        let own = topic_of(&world, (owner + 1) % 3, "own");
        let now = world.now();
        let local = goldcrest_core::LocalPublish {
            topic: TopicName::new(&own).unwrap(),
            payload: b"local",
            qos: QoS::AtMostOnce,
            retain: true,
            expiry_secs: None,
        };
        world.with_shard(client, |broker| broker.publish(now, local).unwrap());
        world.drive();
        assert_eq!(expect_agreement(&mut world, "embedder")[&own], b"local");
        // Any shard removes it.
        world.with_shard(owner, |broker| {
            broker.remove_retained(now, TopicName::new(&own).unwrap()).unwrap();
        });
        world.drive();
        let left = expect_agreement(&mut world, "removed");
        assert_eq!(left.keys().collect::<Vec<_>>(), [&topic]);
        world.check_stores();
        world.crash();
        assert_eq!(expect_agreement(&mut world, "restart"), left);
    }
}

#[test]
fn retained_messages_of_other_shards_expire_where_they_are_kept_and_on_their_way() {
    for (publisher, owner) in [(0, 1), (1, 1), (1, 0)] {
        let mut world = world(2, true);
        let topic = topic_of(&world, owner, "x");
        let client = client_on(&mut world, publisher, "c");
        retain(&mut world, &client, &topic, b"old", None);
        retain(&mut world, &client, &topic, b"new", Some(2));
        assert_eq!(expect_agreement(&mut world, "new")[&topic], b"new");
        world.advance(5_000);
        assert_eq!(expect_agreement(&mut world, "expired"), BTreeMap::new());
        retain(&mut world, &client, &topic, b"old", None);
        if publisher != owner {
            world.slow_down(publisher, owner, true);
        }
        retain(&mut world, &client, &topic, b"new", Some(2));
        world.advance(5_000);
        quiet(&mut world);
        assert_eq!(expect_agreement(&mut world, "expired on its way"), BTreeMap::new());
    }
}

/// A client with many filters gets all retained messages and later ones, though only some of its filters are looked up at a time.
#[test]
fn a_client_with_hundreds_of_filters_gets_the_retained_messages_of_all() {
    const MANY: usize = 300;
    for shards in [2, 4] {
        let mut world = world(shards, false);
        let publisher = client_on(&mut world, 0, "p");
        for number in 0..MANY {
            for below in 0..3 {
                let topic = format!("t{number}/{below}");
                publisher.publish(&mut world, &topic, b"x", QoS::AtMostOnce, true, 1);
            }
        }
        let mut client = client_on(&mut world, 1, "reads");
        let filters: Vec<_> = (0..MANY).map(|number| format!("t{number}/+")).collect();
        let options = SubscriptionOptions::with_qos(QoS::AtLeastOnce);
        let filters: Vec<_> = filters.iter().map(|filter| (filter.as_str(), options)).collect();
        let (properties, filters) = (Properties::EMPTY, Filters::new(&filters));
        client.send(&mut world, &Packet::Subscribe(Subscribe { packet_id: id(1), properties, filters }));
        let got = client.take(&mut world);
        let messages = got.iter().filter(|got| matches!(got, Got::Message(message) if message.retain)).count();
        assert_eq!((messages, got.len()), (3 * MANY, 3 * MANY + 1), "{shards} shards");
    }
}

/// A retained message can be removed from any shard even if the memory of its owner is full of retained messages.
#[test]
fn retained_messages_can_be_removed_when_the_memory_of_their_owner_is_full() {
    for publisher in [0, 1] {
        let capacity = Capacity { messages: 40, ..Capacity::GATEWAY };
        let mut world = World::in_storage(Storage::Owned(capacity), 2, Config::gateway(1), &AllowAll);
        let mut client = client_on(&mut world, publisher, "p");
        let topics = (0..).map(|number| format!("t/{number}"));
        let owned = |topic: &String| Shard::owner_of_topic(topic.as_bytes(), 2) == 1;
        let mut topics = topics.filter(owned);
        let mut kept = Vec::new();
        loop {
            let topic = topics.next().unwrap();
            if !is_kept(&answer(&mut world, &mut client, &topic, b"x")) {
                break;
            }
            kept.push(topic);
        }
        assert!(kept.len() > 10 && kept.len() <= 40, "{}", kept.len());
        for topic in &kept {
            assert!(is_kept(&answer(&mut world, &mut client, topic, b"")));
        }
        assert_eq!(expect_agreement(&mut world, "removed"), BTreeMap::new());
    }
}
