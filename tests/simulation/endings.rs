//! A client closes its side of the connection. The acknowledgements that it is owed are still sent, however long the
//! disk takes.

use goldcrest_core::codec::*;
use goldcrest_core::{Config, Limits};
use goldcrest_tests::honest::{Got, Honest, Opening, bytes_of, id, publication};
use goldcrest_tests::world::{ClientId, Sync, World};

/// A durable gateway whose store is slow: each [`World::sync`] makes the oldest batch safe.
fn slow_world(shards: u16) -> World {
    let mut world = World::new(shards, Config { durable: true, limits: Limits::GATEWAY, ..Config::gateway(1) });
    world.sync = Sync::ByHand;
    world
}

const WILL: Will<'_> =
    Will { qos: QoS::AtMostOnce, retain: false, properties: Properties::EMPTY, topic: "will", payload: b"gone" };

const DURABLE: Opening<'_> =
    Opening { id: "half", clean_start: true, expiry_secs: 3600, window: None, aliases: 0, will: Some((WILL, 0)) };

fn watcher(world: &mut World) -> Honest {
    let mut watcher = Honest::connect(world, Version::V5, &Opening::new("watcher"));
    while world.sync() {}
    assert!(matches!(watcher.take(world)[..], [Got::ConnAck(false, ReasonCode::Success)]));
    watcher.subscribe(world, "will", QoS::AtMostOnce);
    watcher
}

fn topics(got: Vec<Got>) -> Vec<String> {
    got.into_iter().filter_map(|got| if let Got::Message(message) = got { Some(message.topic) } else { None }).collect()
}

/// The server sends each acknowledgement when the acknowledged message is safe, and closes the connection after the
/// last one.
#[test]
fn after_a_half_close_owed_acknowledgements_are_still_sent() {
    for (shards, version) in [(1, Version::V3_1_1), (1, Version::V5), (2, Version::V5)] {
        let mut world = slow_world(shards);
        let mut watcher = watcher(&mut world);
        let mut client = Honest::connect(&mut world, version, &DURABLE);
        let filters = [("a/#", SubscriptionOptions::with_qos(QoS::AtLeastOnce))];
        let (properties, filters) = (Properties::EMPTY, Filters::new(&filters));
        client.send(&mut world, &Packet::Subscribe(Subscribe { packet_id: id(9), properties, filters }));
        client.publish(&mut world, "kept", b"1", QoS::AtLeastOnce, true, 1);
        client.publish(&mut world, "kept", b"2", QoS::ExactlyOnce, true, 2);
        client.publish(&mut world, "kept", b"3", QoS::ExactlyOnce, true, 3);
        client.ack(&mut world, AckKind::PubRel, 3);
        assert_eq!(client.take(&mut world), [], "nothing is safe");
        world.half_close(client.at);
        // Longer than a client may take that does not read.
        world.advance(60_000);
        assert_eq!(client.take(&mut world), []);
        assert!(!world.is_closed(client.at));
        while world.sync() {}
        let got = client.take(&mut world);
        let kinds = got.iter().map(|got| if let Got::Ack(kind, id, _) = got { Some((*kind, *id)) } else { None });
        let kinds = kinds.collect::<Vec<_>>();
        assert!(matches!(got[..2], [Got::ConnAck(false, ReasonCode::Success), Got::SubAck(9, _)]), "{got:?}");
        use AckKind::{PubAck, PubComp, PubRec};
        assert_eq!(kinds[2..], [(PubAck, 1), (PubRec, 2), (PubRec, 3), (PubComp, 3)].map(Some));
        assert!(world.is_closed(client.at));
        // The client sent no DISCONNECT.
        assert_eq!(topics(watcher.take(&mut world)), ["will"]);
    }
}

/// CONNACK names the assigned identifier, even if the client's Session has ended before CONNACK is sent.
#[test]
fn connack_names_the_assigned_identifier_after_the_session_has_ended() {
    let mut world = slow_world(1);
    let opening = Opening { id: "", will: None, ..DURABLE };
    let client = Honest::connect(&mut world, Version::V5, &opening);
    world.half_close(client.at);
    assert_eq!(world.receive(client.at), [0; 0]);
    while world.sync() {}
    let bytes = world.receive(client.at);
    let (frame, _) = split(&bytes, u32::MAX).unwrap().unwrap();
    let Packet::ConnAck(connack) = Packet::decode(Version::V5, frame).unwrap() else { panic!("{bytes:02x?}") };
    assert!(connack.properties.assigned_client_identifier().is_some_and(|id| !id.is_empty()));
    assert!(world.is_closed(client.at));
}

/// A client that has closed its side and does not read its acknowledgements is closed after some time.
#[test]
fn a_half_closed_client_that_does_not_read_is_closed_after_some_time() {
    let mut world = World::new(1, Config::gateway(1));
    let client = Honest::accepted(&mut world, Version::V5, &Opening::new("deaf"));
    world.stall(client.at, true);
    client.send(&mut world, &publication("a", b"", QoS::AtLeastOnce, false, 1));
    world.half_close(client.at);
    assert!(!world.is_closed(client.at));
    world.advance(10_000);
    assert!(world.is_closed(client.at));
}

/// The client closes its side behind packets that the broker does not read yet. These packets have their effect before
/// the connection ends.
#[test]
fn packets_that_the_broker_has_not_read_count_before_a_half_close() {
    let limits = Limits::GATEWAY.with(|limits| limits.owed_replies = 4);
    let mut world = World::new(1, Config { limits, ..Config::gateway(1) });
    let mut watcher = watcher(&mut world);
    watcher.subscribe(&mut world, "last", QoS::AtMostOnce);
    let client = Honest::accepted(&mut world, Version::V5, &Opening { will: Some((WILL, 0)), ..Opening::new("c") });
    world.stall(client.at, true);
    let mut bytes = Vec::new();
    for number in 1..=10 {
        bytes.extend(bytes_of(Version::V5, &publication("last", b"", QoS::AtLeastOnce, false, number)));
    }
    let disconnect = Packet::Disconnect(Disconnect::new(ReasonCode::Success));
    bytes.extend(bytes_of(Version::V5, &disconnect));
    world.send(client.at, &bytes);
    world.half_close(client.at);
    assert_eq!(topics(watcher.take(&mut world)).len(), 4);
    read(&mut world, client.at);
    assert_eq!(topics(watcher.take(&mut world)), ["last"; 6]);
    assert!(world.is_closed(client.at));
}

fn read(world: &mut World, client: ClientId) {
    world.stall(client, false);
}
