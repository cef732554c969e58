//! An honest publisher and subscriber beside clients whose packets cost the broker far more than their bytes suggest.

mod support;

use goldcrest::Config;
use goldcrest_core::codec::{
    Ack, Filters, Packet, PacketId, Properties, Publish, QoS, ReasonCode, Subscribe, SubscriptionOptions, Topics,
    Unsubscribe, Version,
};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::{Client, message, with_gateways};

/// Messages of the honest pair.
const MESSAGES: usize = 100;

/// The bound on the second slowest message. In a release build on an idle machine that message takes 20 ms.
const BOUND: Duration = Duration::from_millis(700);

/// Messages before the measurement, until the load has begun to have an effect.
const BEFORE: usize = 5;

/// For each message of QoS 1 the time from its PUBLISH until the publisher has its PUBACK and the subscriber has sent one; the
/// shortest time first.
fn honest_pair(address: SocketAddr) -> Vec<Duration> {
    let mut subscriber = Client::connect(address, "honest subscriber");
    subscriber.subscribe("honest", QoS::AtLeastOnce);
    let mut publisher = Client::connect(address, "honest publisher");
    let mut times = Vec::new();
    for _ in 0..BEFORE + MESSAGES {
        let begun = Instant::now();
        publisher.send(Packet::Publish(message("honest", b"m", QoS::AtLeastOnce)));
        let packet_id = subscriber.receive(|packet| match packet {
            Packet::Publish(publish) => publish.packet_id.unwrap(),
            other => panic!("PUBLISH was expected, not {other:?}"),
        });
        subscriber.send(Packet::PubAck(Ack::new(packet_id, ReasonCode::Success)));
        publisher.expect(Packet::PubAck(Ack::new(PacketId::MIN, ReasonCode::Success)));
        times.push(begun.elapsed());
        std::thread::sleep(Duration::from_millis(1));
    }
    times.drain(..BEFORE);
    times.sort_unstable();
    times
}

fn expect_fair(address: SocketAddr) {
    let times = honest_pair(address);
    assert!(times[MESSAGES - 2] < BOUND, "{:?}", &times[MESSAGES - 5..]);
}

/// Sends `bytes` over and over, and reads whatever comes, until the connection ends.
fn flood(mut client: Client, bytes: Vec<u8>) -> impl FnOnce() {
    let mut reading = client.stream.try_clone().unwrap();
    let stream = client.stream.try_clone().unwrap();
    let reader = std::thread::spawn(move || while reading.read(&mut [0; 65_536]).is_ok_and(|read| read > 0) {});
    let writer = std::thread::spawn(move || while client.stream.write_all(&bytes).is_ok() {});
    move || {
        let _ = stream.shutdown(std::net::Shutdown::Both);
        writer.join().unwrap();
        reader.join().unwrap();
    }
}

/// Subscribes to all filters of `levels` levels, each of them `+` or `a`, followed by `/b`.
fn subscribe_crossed(client: &mut Client, levels: u32) {
    let level = |filter: u32, at: u32| if filter >> at & 1 == 0 { "+" } else { "a" };
    let filter = |filter| (0..levels).map(|at| level(filter, at)).collect::<Vec<_>>().join("/") + "/b";
    let all: Vec<String> = (0..1 << levels).map(filter).collect();
    for filters in all.chunks(1_000) {
        let options = SubscriptionOptions::with_qos(QoS::AtMostOnce);
        let filters: Vec<_> = filters.iter().map(|filter| (&**filter, options)).collect();
        let (packet_id, properties) = (PacketId::MIN, Properties::EMPTY);
        client.send(Packet::Subscribe(Subscribe { packet_id, properties, filters: Filters::new(&filters) }));
        client.receive(|packet| match packet {
            Packet::SubAck(ack) => {
                assert!(ack.codes.into_iter().all(|code| code == ReasonCode::granted(QoS::AtMostOnce)))
            }
            other => panic!("SUBACK was expected, not {other:?}"),
        });
    }
}

/// Each message of several clients leads to thousands of levels of the tree. A bug of the past: all messages of one read were routed
/// in one turn, which took seconds.
#[test]
fn an_honest_pair_is_served_beside_messages_that_are_expensive_to_match() {
    let change = |config: &mut Config| config.broker.limits.filter_cost = u32::MAX;
    with_gateways(change, |address| {
        let mut subscriber = Client::connect(address, "attacker");
        subscribe_crossed(&mut subscriber, 12);
        let topic = ["a"; 12].join("/");
        let mut bytes = Vec::new();
        Packet::Publish(message(&topic, b"", QoS::AtMostOnce)).encode(Version::V5, &mut bytes);
        let attackers = (0..4).map(|number| Client::connect(address, &format!("attacker {number}")));
        let floods: Vec<_> = attackers.map(|attacker| flood(attacker, bytes.repeat(1_000))).collect();
        expect_fair(address);
        floods.into_iter().for_each(|end| end());
    });
}

/// As many subscriptions as a Session may have by default, in several packets.
const SUBSCRIPTIONS: usize = 10_000;
const IN_ONE_PACKET: usize = 500;

fn encoded(packet: Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(Version::V5, &mut bytes);
    bytes
}

/// The packets that subscribe to [`SUBSCRIPTIONS`] filters, and those that unsubscribe from them.
fn subscribes_and_unsubscribes() -> (Vec<u8>, Vec<u8>) {
    let all: Vec<String> = (0..SUBSCRIPTIONS).map(|number| format!("load/{}/{number}", number % 64)).collect();
    let (packet_id, properties) = (PacketId::MIN, Properties::EMPTY);
    let options = SubscriptionOptions::with_qos(QoS::AtMostOnce);
    let (mut subscribes, mut unsubscribes) = (Vec::new(), Vec::new());
    for some in all.chunks(IN_ONE_PACKET) {
        let texts: Vec<&str> = some.iter().map(|filter| &**filter).collect();
        let filters: Vec<_> = texts.iter().map(|filter| (*filter, options)).collect();
        let subscribe = Subscribe { packet_id, properties, filters: Filters::new(&filters) };
        subscribes.extend(encoded(Packet::Subscribe(subscribe)));
        let unsubscribe = Unsubscribe { packet_id, properties, filters: Topics::new(&texts) };
        unsubscribes.extend(encoded(Packet::Unsubscribe(unsubscribe)));
    }
    (subscribes, unsubscribes)
}

/// One packet has hundreds of filters, and one read has many such packets.
#[test]
fn an_honest_pair_is_served_beside_subscriptions_that_are_made_and_ended() {
    with_gateways(
        |_| (),
        |address| {
            let (subscribes, unsubscribes) = subscribes_and_unsubscribes();
            let end = flood(Client::connect(address, "attacker"), [subscribes, unsubscribes].concat());
            expect_fair(address);
            end();
        },
    );
}

/// A Session ends in one step, which takes as long as the limits of a Session allow.
#[test]
fn an_honest_pair_is_served_beside_large_sessions_that_end() {
    with_gateways(
        |_| (),
        |address| {
            let (subscribes, _) = subscribes_and_unsubscribes();
            let goes_on = Arc::new(AtomicBool::new(true));
            let attacker = std::thread::spawn({
                let goes_on = goes_on.clone();
                move || {
                    let mut ended = 0;
                    while goes_on.load(Ordering::Relaxed) {
                        let mut client = Client::connect(address, "attacker");
                        client.stream.write_all(&subscribes).unwrap();
                        for _ in 0..SUBSCRIPTIONS / IN_ONE_PACKET {
                            client.receive(|packet| assert!(matches!(packet, Packet::SubAck(_)), "{packet:?}"));
                        }
                        ended += 1;
                    }
                    ended
                }
            });
            expect_fair(address);
            goes_on.store(false, Ordering::Relaxed);
            assert!(attacker.join().unwrap() > 0);
        },
    );
}

/// Thousands of retained messages come and go, and other clients search among them in vain.
#[test]
fn an_honest_pair_is_served_beside_retained_messages_that_are_purged_and_looked_for() {
    with_gateways(
        |_| (),
        |address| {
            let topics: Vec<String> = (0..1 << 12)
                .map(|number: u32| {
                    (0..12).map(|at| if number >> at & 1 == 0 { "0" } else { "1" }).collect::<Vec<_>>().join("/")
                })
                .collect();
            let retained = |payload: &[u8]| {
                let all = topics.iter().map(|topic| {
                    encoded(Packet::Publish(Publish { retain: true, ..message(topic, payload, QoS::AtMostOnce) }))
                });
                all.collect::<Vec<_>>().concat()
            };
            let purge = flood(Client::connect(address, "purge"), [retained(b"kept"), retained(b"")].concat());
            let filter = "+/".repeat(11) + "c";
            let options = SubscriptionOptions::with_qos(QoS::AtMostOnce);
            let filters = [(&*filter, options)];
            let subscribe =
                Subscribe { packet_id: PacketId::MIN, properties: Properties::EMPTY, filters: Filters::new(&filters) };
            let look = flood(Client::connect(address, "look"), encoded(Packet::Subscribe(subscribe)).repeat(1_000));
            expect_fair(address);
            purge();
            look();
        },
    );
}
