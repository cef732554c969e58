//! Every packet of every version, cut at every byte and with every bit flipped, before CONNECT and after it. Meanwhile
//! an honest publisher and its subscriber lose nothing.

use goldcrest_core::Config;
use goldcrest_core::codec::*;
use goldcrest_tests::honest::{Got, Honest, Opening, bytes_of, id};
use goldcrest_tests::world::World;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

/// Every packet at least once, of both directions.
fn samples(version: Version) -> Vec<Vec<u8>> {
    let v5 =
        |list: &'static [Property<'static>]| if version.is_v5() { Properties::new(list) } else { Properties::EMPTY };
    let will = Will {
        qos: QoS::AtLeastOnce,
        retain: true,
        properties: v5(&[Property::WillDelayInterval(5), Property::ContentType("t")]),
        topic: "wills/h",
        payload: b"gone",
    };
    let connect = Connect {
        version,
        is_bridge: false,
        clean_start: true,
        keep_alive: 30,
        properties: v5(&[
            Property::SessionExpiryInterval(9),
            Property::ReceiveMaximum(3),
            Property::TopicAliasMaximum(2),
            Property::UserProperty("k", "v"),
        ]),
        client_id: "hostile",
        will: Some(will),
        user_name: Some("user"),
        password: Some(b"secret"),
    };
    let publish = |qos: QoS| Publish {
        dup: false,
        qos,
        retain: qos == QoS::AtLeastOnce,
        topic: "hostile/topic",
        packet_id: (qos > QoS::AtMostOnce).then(|| id(7)),
        properties: v5(&[
            Property::PayloadFormatIndicator(true),
            Property::MessageExpiryInterval(10),
            Property::TopicAlias(1),
            Property::ResponseTopic("re"),
            Property::CorrelationData(&[1, 2]),
            Property::UserProperty("a", "b"),
        ]),
        payload: b"payload",
    };
    let ack = Ack { packet_id: id(7), code: ReasonCode::Success, properties: v5(&[Property::ReasonString("so")]) };
    let filters =
        [("hostile/+", SubscriptionOptions::with_qos(QoS::ExactlyOnce)), ("$share/g/h/#", Default::default())];
    let codes = [ReasonCode::GrantedQoS1, ReasonCode::UnspecifiedError];
    let end = if version.is_v5() { ReasonCode::DisconnectWithWill } else { ReasonCode::Success };
    let mut packets = vec![
        Packet::Connect(connect),
        Packet::ConnAck(ConnAck { session_present: false, code: ReasonCode::Success, properties: Properties::EMPTY }),
        Packet::Publish(publish(QoS::AtMostOnce)),
        Packet::Publish(publish(QoS::AtLeastOnce)),
        Packet::Publish(publish(QoS::ExactlyOnce)),
        Packet::PubAck(ack),
        Packet::PubRec(ack),
        Packet::PubRel(ack),
        Packet::PubComp(ack),
        Packet::Subscribe(Subscribe {
            packet_id: id(3),
            properties: v5(&[Property::SubscriptionIdentifier(300)]),
            filters: Filters::new(&filters),
        }),
        Packet::SubAck(SubAck { packet_id: id(3), properties: Properties::EMPTY, codes: Codes::new(&codes) }),
        Packet::Unsubscribe(Unsubscribe {
            packet_id: id(4),
            properties: v5(&[Property::UserProperty("a", "b")]),
            filters: Topics::new(&["hostile/+", "x"]),
        }),
        Packet::UnsubAck(UnsubAck { packet_id: id(4), properties: Properties::EMPTY, codes: Codes::new(&codes[..1]) }),
        Packet::PingReq,
        Packet::PingResp,
        Packet::Disconnect(Disconnect { code: end, properties: v5(&[Property::SessionExpiryInterval(3)]) }),
    ];
    if version.is_v5() {
        let method = [Property::AuthenticationMethod("m"), Property::AuthenticationData(&[1])];
        packets.push(Packet::Auth(Auth { code: ReasonCode::ReAuthenticate, properties: Properties::new(&method) }));
        return packets.iter().map(|packet| bytes_of(version, packet)).collect();
    }
    packets.iter().map(|packet| bytes_of(version, packet)).collect()
}

/// The packet cut at each byte, with a Remaining Length that fits, and the packet with each bit flipped.
fn damages(packet: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    assert!(packet.len() < 130, "one byte of Remaining Length");
    let cuts = (2..packet.len()).map(|end| {
        let mut damaged = packet[..end].to_vec();
        damaged[1] = end as u8 - 2;
        damaged
    });
    let flips = (0..packet.len() * 8).map(|bit| {
        let mut damaged = packet.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        damaged
    });
    cuts.chain(flips)
}

/// An honest pair of clients.
struct Pair {
    publisher: Honest,
    subscriber: Honest,
    sent: u32,
}

impl Pair {
    fn new(world: &mut World) -> Self {
        let publisher = Honest::accepted(world, Version::V5, &Opening::new("honest publisher"));
        let mut subscriber = Honest::accepted(world, Version::V3_1_1, &Opening::new("honest subscriber"));
        assert_eq!(subscriber.subscribe(world, "honest/+/topic", QoS::AtLeastOnce), ReasonCode::GrantedQoS1);
        Self { publisher, subscriber, sent: 0 }
    }

    /// A message reaches the subscriber, and no other packet has come meanwhile.
    fn check(&mut self, world: &mut World, damaged: &[u8]) {
        self.sent += 1;
        let text = self.sent.to_string();
        self.publisher.publish(world, "honest/x/topic", text.as_bytes(), QoS::AtLeastOnce, false, 9);
        let got = self.publisher.take(world);
        assert_eq!(got, [Got::Ack(AckKind::PubAck, 9, ReasonCode::Success)], "beside {damaged:02x?}");
        match &self.subscriber.take(world)[..] {
            [Got::Message(message)] => {
                assert_eq!(message.payload, text.as_bytes(), "beside {damaged:02x?}");
                self.subscriber.ack(world, AckKind::PubAck, message.packet_id);
            }
            other => panic!("{other:?} beside {damaged:02x?}"),
        }
    }

    fn leave(self, world: &mut World) {
        for client in [self.publisher, self.subscriber] {
            world.cut(client.at);
        }
    }
}

/// Waits until Sessions end and Wills are published. Then only retained messages may be left, which damaged packets may
/// have published.
fn nothing_but_retained_is_left(world: &mut World) {
    world.advance(u64::from(u32::MAX) * 1_100);
    for shard in 0..2 {
        let counters = world.shard(shard).counters();
        assert_eq!((counters.connections, counters.subscriptions, counters.deliveries), (0, 0, 0), "{counters:?}");
        assert_eq!(counters.messages, counters.retained, "{counters:?}");
    }
}

fn worlds() -> [World; 2] {
    [World::new(2, Config::gateway(5)), World::borrowed(2, Config::gateway(5))]
}

#[test]
fn damaged_packets_before_connect_are_refused_or_a_valid_connect() {
    for mut world in worlds() {
        let mut pair = Pair::new(&mut world);
        for version in VERSIONS {
            for packet in samples(version) {
                for damaged in damages(&packet) {
                    let client = world.open();
                    world.send(client, &damaged);
                    let answer = world.receive(client);
                    let closed = world.is_closed(client);
                    let said = answer.first().copied();
                    let accepted = answer.len() > 3 && answer[0] == 0x20 && answer[3] == 0;
                    // No answer: the packet is not whole yet, or it is not MQTT.
                    assert!(said.is_none() || said == Some(0x20), "{damaged:02x?}: {answer:02x?}");
                    assert!(!(accepted && closed), "{damaged:02x?}: {answer:02x?}");
                    assert!(accepted || closed || said.is_none(), "{damaged:02x?}: {answer:02x?}");
                    pair.check(&mut world, &damaged);
                    // A client that never completes its packet is closed later; see the last test below.
                    assert!(closed || accepted || split(&damaged, u32::MAX) == Ok(None), "{damaged:02x?}");
                    world.cut(client);
                }
            }
        }
        pair.leave(&mut world);
        nothing_but_retained_is_left(&mut world);
    }
}

#[test]
fn damaged_packets_after_connect_are_refused_or_valid() {
    for mut world in worlds() {
        let mut pair = Pair::new(&mut world);
        for version in VERSIONS {
            for packet in samples(version) {
                for damaged in damages(&packet) {
                    let mut client = Honest::accepted(&mut world, version, &Opening::new("hostile"));
                    world.send(client.at, &damaged);
                    let got = client.take(&mut world);
                    let left = PacketType::from_first_byte(damaged[0]) == Some(PacketType::Disconnect);
                    if world.is_closed(client.at) && version.is_v5() && !left {
                        let last = got.last();
                        let told = matches!(last, Some(Got::Disconnect(code)) if code.is_error());
                        assert!(told, "{damaged:02x?}: {got:?}");
                    }
                    pair.check(&mut world, &damaged);
                    world.cut(client.at);
                }
            }
        }
        pair.leave(&mut world);
        nothing_but_retained_is_left(&mut world);
    }
}

/// However the bytes are divided, the answers are the same.
#[test]
fn packets_in_two_pieces_are_answered_as_whole_ones() {
    for version in VERSIONS {
        for packet in samples(version) {
            let answers = |at: usize| {
                let mut world = World::new(1, Config::gateway(5));
                let mut client = Honest::accepted(&mut world, version, &Opening::new("split"));
                world.send(client.at, &packet[..at]);
                world.send(client.at, &packet[at..]);
                (client.take(&mut world), world.is_closed(client.at))
            };
            let whole = answers(packet.len());
            for at in 0..packet.len() {
                assert_eq!(answers(at), whole, "{packet:02x?} at {at}");
            }
        }
    }
}

#[test]
fn a_client_that_never_finishes_connect_is_closed_in_time() {
    let mut world = World::new(2, Config::gateway(5));
    let mut pair = Pair::new(&mut world);
    for version in VERSIONS {
        let connect = &samples(version)[0];
        for end in 0..connect.len() {
            let client = world.open();
            // The client sends a byte each second. It sends nothing at all in the first case.
            for byte in &connect[..end] {
                world.send(client, &[*byte]);
                world.advance(1_000);
            }
            world.advance(10_000);
            assert!(end == 0 || world.is_closed(client), "after {end} bytes");
            assert_eq!(world.receive(client), [0; 0], "after {end} bytes");
            world.cut(client);
            pair.check(&mut world, &connect[..end]);
        }
    }
    pair.leave(&mut world);
    nothing_but_retained_is_left(&mut world);
}
