//! The shortest way through the whole broker.

use goldcrest_core::Config;
use goldcrest_core::codec::*;
use goldcrest_tests::world::{ClientId, World};

fn connect(world: &mut World, version: Version, id: &str) -> ClientId {
    let client = world.open();
    let packet = Packet::Connect(Connect {
        version,
        is_bridge: false,
        clean_start: true,
        keep_alive: 0,
        properties: Properties::EMPTY,
        client_id: id,
        will: None,
        user_name: None,
        password: None,
    });
    send(world, client, version, &packet);
    client
}

fn send(world: &mut World, client: ClientId, version: Version, packet: &Packet<'_>) {
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes);
    world.send(client, &bytes);
}

#[test]
fn a_message_of_every_qos_reaches_a_subscriber() {
    for shards in [1, 2, 3] {
        for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
            for mut world in [World::new(shards, Config::gateway(7)), World::borrowed(shards, Config::gateway(7))] {
                let subscriber = connect(&mut world, version, "sub");
                let publisher = connect(&mut world, version, "pub-x");
                let filters = [("a/+", SubscriptionOptions::with_qos(QoS::ExactlyOnce))];
                let id = PacketId::new(1).unwrap();
                let subscribe = Packet::Subscribe(Subscribe {
                    packet_id: id,
                    properties: Properties::EMPTY,
                    filters: Filters::new(&filters),
                });
                send(&mut world, subscriber, version, &subscribe);
                println!("{:02x?}", world.receive(subscriber));
                for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                    let publish = Packet::Publish(Publish {
                        dup: false,
                        qos,
                        retain: false,
                        topic: "a/b",
                        packet_id: (qos > QoS::AtMostOnce).then_some(id),
                        properties: Properties::EMPTY,
                        payload: b"hello",
                    });
                    send(&mut world, publisher, version, &publish);
                    let received = world.receive(subscriber);
                    let (frame, len) = split(&received, u32::MAX).unwrap().unwrap();
                    assert_eq!(len, received.len());
                    let Packet::Publish(got) = Packet::decode(version, frame).unwrap() else { panic!() };
                    assert_eq!((got.topic, got.payload, got.qos), ("a/b", &b"hello"[..], qos));
                    println!("{:02x?}", world.receive(publisher));
                }
                println!("{:?}", world.shard(0).counters());
            }
        }
    }
}
