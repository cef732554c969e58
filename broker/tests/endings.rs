//! The ends of connections, and which packets still count: those that the client sent before it closed, and those that it is
//! owed.

use crate::support::folder::Folder;
use crate::support::{Client, connect_packet, message, with_gateways};
use goldcrest_core::codec::{
    Ack, Connect, Disconnect, Filters, Packet, PacketId, PacketType, Properties, Property, Publish, QoS, ReasonCode,
    Subscribe, SubscriptionOptions, Version, Will, split,
};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const WILL: Will<'_> =
    Will { qos: QoS::AtLeastOnce, retain: false, properties: Properties::EMPTY, topic: "will", payload: b"gone" };

/// A subscriber to a client's last messages, and to its Will.
fn watcher(address: SocketAddr) -> Client {
    let mut watcher = Client::connect(address, "watcher");
    watcher.subscribe("last/#", QoS::AtMostOnce);
    watcher.subscribe("will", QoS::AtMostOnce);
    watcher
}

fn expect_message(watcher: &mut Client, topic: &str) {
    watcher.receive(|packet| match packet {
        Packet::Publish(publish) => assert_eq!(publish.topic, topic),
        other => panic!("a message was expected, not {other:?}"),
    });
}

/// Expects that nothing else has come for the watcher.
fn expect_nothing_more(watcher: &mut Client) {
    watcher.send(Packet::Publish(message("last/marker", b"", QoS::AtMostOnce)));
    expect_message(watcher, "last/marker");
}

fn encoded(packets: &[Packet<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    packets.iter().for_each(|packet| packet.encode(Version::V5, &mut bytes));
    bytes
}

/// A client that has unread bytes closes, so its system sends a reset. The bytes that the client sent before have arrived: ten
/// messages and DISCONNECT. A bug of the past: none of them was read in 8 of 10 tries, because a write failed before the
/// gateway read.
#[test]
fn messages_and_disconnect_before_a_reset_still_count() {
    with_gateways(
        |_| {},
        |address| {
            let mut watcher = watcher(address);
            let is_over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let mut flood = Client::connect(address, "flood");
                    let payload = vec![7; 20_000];
                    while !is_over.load(Ordering::Relaxed) {
                        flood.send(Packet::Publish(message("flood", &payload, QoS::AtLeastOnce)));
                        flood.receive(|packet| assert!(matches!(packet, Packet::PubAck(_)), "{packet:?}"));
                    }
                });
                let _over = SetWhenDropped(&is_over);
                for round in 0..10 {
                    let mut deaf = Client::open(address);
                    deaf.send(Packet::Connect(Connect { will: Some(WILL), ..connect_packet("deaf") }));
                    deaf.receive(|packet| assert!(matches!(packet, Packet::ConnAck(_)), "{packet:?}"));
                    deaf.subscribe("flood", QoS::AtMostOnce);
                    // By now a message has arrived that this client does not read.
                    assert_eq!(deaf.stream.peek(&mut [0]).unwrap(), 1);
                    let topics: Vec<String> = (0..10).map(|n| format!("last/{round}/{n}")).collect();
                    let mut last_words: Vec<_> =
                        topics.iter().map(|topic| Packet::Publish(message(topic, b"", QoS::AtMostOnce))).collect();
                    last_words.push(Packet::Disconnect(Disconnect::new(ReasonCode::Success)));
                    deaf.stream.write_all(&encoded(&last_words)).unwrap();
                    drop(deaf);
                    for n in 0..10 {
                        expect_message(&mut watcher, &format!("last/{round}/{n}"));
                    }
                    expect_nothing_more(&mut watcher);
                }
            });
        },
    );
}

struct SetWhenDropped<'a>(&'a AtomicBool);

impl Drop for SetWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// As above, with a client that is owed so many replies that the broker reads no more from it.
#[test]
fn messages_before_a_reset_count_even_if_the_broker_had_paused_reading() {
    with_gateways(
        |config| config.broker.limits.owed_replies = 16,
        |address| {
            let mut watcher = watcher(address);
            let mut flood = Client::connect(address, "flood");
            let payload = vec![7; 400_000];
            for round in 0..5 {
                let mut deaf = Client::open(address);
                let connect = Connect { will: Some(WILL), ..connect_packet("deaf") };
                deaf.send(Packet::Connect(connect));
                deaf.receive(|packet| assert!(matches!(packet, Packet::ConnAck(_)), "{packet:?}"));
                deaf.subscribe("flood", QoS::AtMostOnce);
                for _ in 0..30 {
                    flood.send(Packet::Publish(message("flood", &payload, QoS::AtLeastOnce)));
                    flood.receive(|packet| assert!(matches!(packet, Packet::PubAck(_)), "{packet:?}"));
                }
                // One write has all packets: bytes that the client's system has not sent before the reset would never arrive.
                let topics: Vec<String> = (0..100).map(|n| format!("last/{round}/{n}")).collect();
                let mut last_words: Vec<_> =
                    topics.iter().map(|topic| Packet::Publish(message(topic, b"", QoS::AtLeastOnce))).collect();
                last_words.push(Packet::Disconnect(Disconnect::new(ReasonCode::Success)));
                deaf.stream.write_all(&encoded(&last_words)).unwrap();
                // The broker reads 16 messages, and no more while it owes their replies.
                for n in 0..16 {
                    expect_message(&mut watcher, &format!("last/{round}/{n}"));
                }
                drop(deaf);
                for n in 16..100 {
                    expect_message(&mut watcher, &format!("last/{round}/{n}"));
                }
                expect_nothing_more(&mut watcher);
            }
        },
    );
}

/// The client sends all packets at once and closes its sending side, as `nc -N` does. A bug of the past: with a store no reply
/// came, because the replies waited for the disk and the end of the connection did not wait for them.
#[test]
fn a_half_closed_client_gets_all_replies_even_those_that_wait_for_the_disk() {
    let folder = Folder::new("half-closed");
    with_gateways(
        |config| config.data_dir = Some(folder.path().join(config.shards.to_string())),
        |address| {
            let mut watcher = watcher(address);
            let id = |n| PacketId::new(n).unwrap();
            for round in 0..20 {
                let client_id = format!("half {round}");
                let durable = [Property::SessionExpiryInterval(3600)];
                let connect =
                    Connect { properties: Properties::new(&durable), will: Some(WILL), ..connect_packet(&client_id) };
                let filters = [("a/#", SubscriptionOptions::with_qos(QoS::AtLeastOnce))];
                let (properties, filters) = (Properties::EMPTY, Filters::new(&filters));
                let subscribe = Subscribe { packet_id: id(7), properties, filters };
                let first = Publish { retain: true, ..message("kept/1", b"1", QoS::AtLeastOnce) };
                let second =
                    Publish { packet_id: Some(id(2)), retain: true, ..message("kept/2", b"2", QoS::ExactlyOnce) };
                let third =
                    Publish { packet_id: Some(id(3)), retain: true, ..message("kept/3", b"3", QoS::ExactlyOnce) };
                let release = Ack::new(id(3), ReasonCode::Success);
                let mut client = Client::open(address);
                let bytes = encoded(&[
                    Packet::Connect(connect),
                    Packet::Subscribe(subscribe),
                    Packet::Publish(first),
                    Packet::Publish(second),
                    Packet::Publish(third),
                    Packet::PubRel(release),
                ]);
                client.stream.write_all(&bytes).unwrap();
                client.stream.shutdown(Shutdown::Write).unwrap();
                let mut come = Vec::new();
                client.stream.read_to_end(&mut come).expect("an orderly end");
                let (mut types, mut rest) = (Vec::new(), &come[..]);
                while let Some((frame, len)) = split(rest, 1 << 20).unwrap() {
                    types.push(frame.packet_type());
                    rest = &rest[len..];
                }
                use PacketType::{ConnAck, PubAck, PubComp, PubRec, SubAck};
                assert_eq!(types, [ConnAck, SubAck, PubAck, PubRec, PubRec, PubComp], "round {round}");
                // The client did not send DISCONNECT.
                expect_message(&mut watcher, "will");
            }
        },
    );
}

/// The client has closed its sending side, and never reads: even so its connection ends at some time.
#[test]
fn the_connection_of_a_half_closed_client_that_never_reads_ends() {
    with_gateways(
        |config| {
            config.capacity.connections = Some(3);
            config.shards = 1;
        },
        |address| {
            let mut watcher = watcher(address);
            let mut deaf = Client::open(address);
            deaf.send(Packet::Connect(Connect { will: Some(WILL), ..connect_packet("deaf") }));
            deaf.receive(|packet| assert!(matches!(packet, Packet::ConnAck(_)), "{packet:?}"));
            deaf.subscribe("flood", QoS::AtMostOnce);
            let mut flood = Client::connect(address, "flood");
            let payload = vec![7; 400_000];
            for _ in 0..30 {
                flood.send(Packet::Publish(message("flood", &payload, QoS::AtLeastOnce)));
                flood.receive(|packet| assert!(matches!(packet, Packet::PubAck(_)), "{packet:?}"));
            }
            deaf.stream.shutdown(Shutdown::Write).unwrap();
            expect_message(&mut watcher, "will");
            // The place of the connection is free for another client.
            let deadline = Instant::now() + Duration::from_secs(30);
            while Client::open(address).is_gone_within(Duration::from_millis(100)) {
                assert!(Instant::now() < deadline, "the connection is still there");
            }
        },
    );
}
