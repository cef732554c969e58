//! Long payloads are written from the broker's own memory, not from a copy. Clients get the same bytes as from a copy,
//! however the writes are cut.

use goldcrest_core::codec::*;
use goldcrest_core::{
    AllowAll, Broker, Capacity, Config, ConnectionId, DropReason, Instant, Limits, Memory, Shard, Then,
};
use goldcrest_tests::honest::{Opening, bytes_of, id};
use goldcrest_tests::memory::Storage;
use goldcrest_tests::world::{ClientId, World};

/// The shortest payload that is written in this way, and lengths around it.
const LENGTHS: [usize; 7] = [0, 10, LONG - 1, LONG, LONG + 1, 2 * LONG, 100_000];
const LONG: usize = 28 * 1024;

const CAPACITY: Capacity = Capacity {
    connections: 8,
    sessions: 8,
    subscriptions: 64,
    topic_levels: 64,
    messages: 256,
    deliveries: 1024,
    bytes: 8 << 20,
};

fn config() -> Config<'static> {
    let mut config = Config::gateway(1);
    config.limits.packet_bytes = Limits::GATEWAY.packet_bytes;
    // The clients acknowledge nothing.
    config.limits.inflight_v3 = config.limits.inflight;
    config
}

/// A client that subscribes to everything, with a Subscription Identifier if it speaks MQTT 5.0.
fn subscriber(world: &mut World, name: &str, version: Version, qos: QoS, aliases: u16) -> ClientId {
    let opening = Opening { aliases, ..Opening::new(name) };
    let client = connect(world, version, &opening);
    let identifier = [Property::SubscriptionIdentifier(77)];
    let properties = if version.is_v5() { Properties::new(&identifier) } else { Properties::EMPTY };
    let filters = [("#", SubscriptionOptions::with_qos(qos))];
    let subscribe = Subscribe { packet_id: id(1), properties, filters: Filters::new(&filters) };
    world.send(client, &bytes_of(version, &Packet::Subscribe(subscribe)));
    client
}

fn connect(world: &mut World, version: Version, opening: &Opening<'_>) -> ClientId {
    goldcrest_tests::honest::Honest::accepted(world, version, opening).at
}

fn publish(version: Version, topic: &str, qos: QoS, number: u16, payload: &[u8]) -> Vec<u8> {
    let list = [
        Property::MessageExpiryInterval(1000),
        Property::ContentType("text/plain"),
        Property::UserProperty("name", "value"),
    ];
    let properties = if version.is_v5() { Properties::new(&list) } else { Properties::EMPTY };
    let packet_id = (qos > QoS::AtMostOnce).then(|| id(number));
    let publish = Publish { dup: false, qos, retain: false, topic, packet_id, properties, payload };
    bytes_of(version, &Packet::Publish(publish))
}

/// The bytes that each subscriber gets for the same messages, and the number of bytes that the broker says to have sent.
fn transcript(storage: Storage, payloads_apart: bool, transmit_size: usize) -> (Vec<Vec<u8>>, u64) {
    let mut world = World::in_storage(storage, 1, config(), &AllowAll);
    (world.payloads_apart, world.transmit_size) = (payloads_apart, transmit_size);
    let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
    let subscribers = [
        subscriber(&mut world, "3.1", Version::V3_1, QoS::AtMostOnce, 0),
        subscriber(&mut world, "3.1.1", Version::V3_1_1, QoS::ExactlyOnce, 0),
        subscriber(&mut world, "5.0", Version::V5, QoS::AtLeastOnce, 0),
        subscriber(&mut world, "5.0 with aliases", Version::V5, QoS::ExactlyOnce, 2),
    ];
    let mut number = 0;
    for version in [Version::V3_1_1, Version::V5] {
        let publisher = connect(&mut world, version, &Opening::new("publisher"));
        for (qos, len) in qos.into_iter().flat_map(|qos| LENGTHS.map(|len| (qos, len))) {
            number += 1;
            // Topics repeat, so that Topic Aliases are used.
            let topic = format!("a/topic/{}", number % 3);
            let payload: Vec<u8> = (0..len).map(|at| (at / 251 + at + usize::from(number)) as u8).collect();
            // Each message is sent twice, so that the broker handles both together.
            world.send_later(publisher, &publish(version, &topic, qos, number, &payload));
            if number % 2 == 0 {
                world.drive();
            }
        }
        world.drive();
        world.cut(publisher);
    }
    let streams = subscribers.map(|client| world.receive(client)).into();
    (streams, world.shard(0).counters().bytes_sent)
}

#[test]
fn clients_get_the_same_bytes_wherever_writes_are_cut() {
    let owned = Storage::Owned(CAPACITY);
    let (streams, sent) = transcript(owned, false, 64 * 1024);
    assert!(streams.iter().all(|stream| stream.len() > 2 * 3 * LENGTHS.iter().sum::<usize>()));
    let cuts = [
        (owned, true, 1 << 20),
        (owned, true, 64 * 1024),
        (owned, true, LONG + 30),
        (owned, true, 10_007),
        (owned, true, 977),
        (owned, false, 10_007),
        // In borrowed memory no payload is in one piece.
        (Storage::Borrowed(CAPACITY), true, LONG + 30),
    ];
    for (storage, apart, size) in cuts {
        // `assert_eq!` would print the whole transcripts, which are long.
        let (others, also_sent) = transcript(storage, apart, size);
        let same = streams.iter().zip(&others).map(|(one, other)| one == other);
        assert_eq!((same.collect::<Vec<_>>(), also_sent), (vec![true; 4], sent), "{storage:?}, {apart}, {size}");
    }
}

const NOW: Instant = Instant::from_millis(1);

/// A broker whose subscribers subscribed to all topics with QoS 0 and have received CONNACK and SUBACK. Returns the
/// subscribers and a publisher.
fn bare(subscribers: usize) -> (Broker<'static>, Vec<ConnectionId>, ConnectionId) {
    let memory = Memory::owned(&CAPACITY, &Limits::GATEWAY, Shard::ONLY);
    let mut broker = Broker::new(memory, Config::gateway(1), &AllowAll);
    let mut open = |name: String| {
        let at = broker.handle_connected(NOW).unwrap();
        let connect = Connect {
            version: Version::V3_1_1,
            is_bridge: false,
            clean_start: true,
            keep_alive: 0,
            properties: Properties::EMPTY,
            client_id: &name,
            will: None,
            user_name: None,
            password: None,
        };
        broker.handle_bytes(NOW, at, &bytes_of(Version::V3_1_1, &Packet::Connect(connect)));
        let filters = [("#", SubscriptionOptions::with_qos(QoS::AtMostOnce))];
        let subscribe = Subscribe { packet_id: id(1), properties: Properties::EMPTY, filters: Filters::new(&filters) };
        if name != "publisher" {
            broker.handle_bytes(NOW, at, &bytes_of(Version::V3_1_1, &Packet::Subscribe(subscribe)));
        }
        assert_eq!(broker.poll_transmit(NOW, at, &mut [0; 1000]).then, Then::Idle);
        at
    };
    let publisher = open("publisher".to_owned());
    let subscribers = (0..subscribers).map(|n| open(format!("subscriber {n}"))).collect();
    (broker, subscribers, publisher)
}

fn send(broker: &mut Broker<'_>, from: ConnectionId, payload: &[u8]) {
    let bytes = publish(Version::V3_1_1, "t", QoS::AtMostOnce, 1, payload);
    assert_eq!(broker.handle_bytes(NOW, from, &bytes).consumed, bytes.len());
}

#[test]
fn a_payload_is_stored_once_until_its_last_subscriber_has_it() {
    let (mut broker, subscribers, publisher) = bare(3);
    let held = broker.counters().bytes;
    send(&mut broker, publisher, &[7; 100_000]);
    let mut out = [0; 1000];
    let mut places = Vec::new();
    for &subscriber in &subscribers {
        let (transmit, payload) = broker.poll_transmit_apart(NOW, subscriber, &mut out);
        assert_eq!((transmit.written, transmit.then, payload), (7, Then::More, &[7; 100_000][..]));
        places.push(payload.as_ptr().addr());
    }
    assert_eq!(places, [places[0]; 3]);
    for &subscriber in &subscribers {
        assert!(broker.counters().bytes > held);
        broker.handle_payload_written(subscriber, 60_000);
        let (transmit, payload) = broker.poll_transmit_apart(NOW, subscriber, &mut out);
        assert_eq!((transmit.written, payload.as_ptr().addr()), (0, places[0] + 60_000));
        // The broker must bear a wrong count: more bytes than there are, or bytes where none are due.
        broker.handle_payload_written(subscriber, usize::MAX);
        broker.handle_payload_written(subscriber, 1);
        let (transmit, payload) = broker.poll_transmit_apart(NOW, subscriber, &mut out);
        assert_eq!((transmit.written, transmit.then, payload), (0, Then::Idle, &[][..]));
    }
    let counters = broker.counters();
    assert_eq!((counters.bytes, counters.publish_sent[0]), (held, 3));
}

/// An embedder may ask for the rest of a payload in a buffer, and gets the head of a packet together with a payload that
/// fits.
#[test]
fn payloads_may_be_transmitted_partly_in_place_and_partly_by_copy() {
    let (mut broker, subscribers, publisher) = bare(1);
    send(&mut broker, publisher, b"short");
    send(&mut broker, publisher, &[7; 100_000]);
    let mut out = vec![0; 80_000];
    let (transmit, payload) = broker.poll_transmit_apart(NOW, subscribers[0], &mut out);
    assert_eq!((transmit.written, payload.len()), (10 + 7, 100_000));
    broker.handle_payload_written(subscribers[0], 1);
    let transmit = broker.poll_transmit(NOW, subscribers[0], &mut out[..10_000]);
    assert_eq!((transmit.written, transmit.then), (10_000, Then::More));
    assert_eq!(out[..10_000], [7; 10_000]);
    let (transmit, payload) = broker.poll_transmit_apart(NOW, subscribers[0], &mut out);
    assert_eq!((transmit.written, payload.len()), (0, 89_999));
    // The rest of the payload is no longer long.
    broker.handle_payload_written(subscribers[0], 89_999 - LONG + 1);
    let (transmit, payload) = broker.poll_transmit_apart(NOW, subscribers[0], &mut out);
    assert_eq!((transmit.written, transmit.then, payload), (LONG - 1, Then::Idle, &[][..]));
}

/// A client is closed that has received only a part of a message. The message is counted as lost, and its memory is given
/// back.
#[test]
fn a_client_closed_in_the_middle_of_a_payload_leaks_no_memory() {
    let (mut broker, subscribers, publisher) = bare(1);
    let held = broker.counters().bytes;
    send(&mut broker, publisher, &[7; 100_000]);
    assert_eq!(broker.poll_transmit_apart(NOW, subscribers[0], &mut [0; 100]).1.len(), 100_000);
    broker.handle_payload_written(subscribers[0], 50_000);
    broker.handle_closed(NOW, subscribers[0]);
    broker.handle_payload_written(subscribers[0], 50_000);
    assert_eq!(broker.poll_transmit_apart(NOW, subscribers[0], &mut [0; 100]), {
        (goldcrest_core::Transmit { written: 0, then: Then::Close }, &[][..])
    });
    let counters = broker.counters();
    assert!(counters.bytes < held && counters.dropped.by(DropReason::CutOff) == 1);
}
