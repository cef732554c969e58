//! How connections end, and what still counts then: what a client said before it closed, and what it is owed.

use crate::support::{Client, connect_packet, message, with_gateways};
use goldcrest::Config;
use goldcrest_core::codec::{
    Ack, Connect, Disconnect, Filters, Packet, PacketId, PacketType, Properties, Property, Publish, QoS, ReasonCode,
    Subscribe, SubscriptionOptions, Version, Will, split,
};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A directory of its own, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("goldcrest-{name}-{}", std::process::id())))
    }

    /// Has each gateway keep its store in there.
    fn keep(&self, config: &mut Config) {
        config.data_dir = Some(self.0.join(config.shards.to_string()));
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const WILL: Will<'_> =
    Will { qos: QoS::AtLeastOnce, retain: false, properties: Properties::EMPTY, topic: "will", payload: b"gone" };

/// Watches what a client says last, and its Will.
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

/// Nothing else has come for the watcher.
fn expect_nothing_more(watcher: &mut Client) {
    watcher.send(Packet::Publish(message("last/marker", b"", QoS::AtMostOnce)));
    expect_message(watcher, "last/marker");
}

fn encoded(packets: &[Packet<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    packets.iter().for_each(|packet| packet.encode(Version::V5, &mut bytes));
    bytes
}

/// A client that got more than it reads closes: its system answers with a reset. What it sent before that has arrived, ten
/// messages and DISCONNECT: nothing of it was taken in 8 of 10 tries, as writing failed before anybody read.
#[test]
fn last_messages_and_disconnect_count_after_a_reset() {
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
                    // Something has come by now that it does not read.
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

/// As above, by a client that is owed so many answers that nothing more is read of it.
#[test]
fn last_messages_count_after_a_reset_though_the_client_was_not_read() {
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
                // In one write: what the client's system has not sent yet when it resets the connection has never arrived.
                let topics: Vec<String> = (0..100).map(|n| format!("last/{round}/{n}")).collect();
                let mut last_words: Vec<_> =
                    topics.iter().map(|topic| Packet::Publish(message(topic, b"", QoS::AtLeastOnce))).collect();
                last_words.push(Packet::Disconnect(Disconnect::new(ReasonCode::Success)));
                deaf.stream.write_all(&encoded(&last_words)).unwrap();
                // It is not read any more.
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

/// Everything is said in one go, and the sending side closed, as `nc -N` does. With a store nothing came back: what it was owed
/// waited for the disk, and the end did not wait for that.
#[test]
fn who_closes_its_side_gets_all_that_it_is_owed_though_it_waits_for_the_disk() {
    let folder = Folder::new("half-closed");
    with_gateways(
        |config| folder.keep(config),
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
                // It did not say DISCONNECT.
                expect_message(&mut watcher, "will");
            }
        },
    );
}

/// It has closed its side, and never reads: the connection does not stay for ever.
#[test]
fn who_closes_its_side_and_never_reads_is_let_go() {
    with_gateways(
        |config| {
            config.capacity.connections = 3;
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
            // Its seat is free for somebody else.
            let deadline = Instant::now() + Duration::from_secs(30);
            while Client::open(address).is_gone_within(Duration::from_millis(100)) {
                assert!(Instant::now() < deadline, "the connection is still there");
            }
        },
    );
}
