//! Brokers in exactly the memory and with the configuration of the firmware example. They serve as much as the example
//! promises. A client that asks for more is refused as [`Limits`](goldcrest_core::Limits) documents, other clients are
//! served, and all memory is given back.

use goldcrest_core::codec::*;
use goldcrest_core::{AllowAll, DropReason, Entries};
use goldcrest_tests::firmware::{self, Memory};
use goldcrest_tests::honest::{Got, Honest, Opening, bytes_of, publication};
use goldcrest_tests::memory::Storage;
use goldcrest_tests::world::World;

const ENTRIES: Entries = Memory::ENTRIES;
const VERSIONS: [Version; 2] = [Version::V3_1_1, Version::V5];

/// A Session that outlives its connection.
fn kept(id: &str) -> Opening<'_> {
    Opening { expiry_secs: 3600, ..Opening::new(id) }
}

fn world() -> World {
    World::in_storage(Storage::Firmware, 1, firmware::config(5), &AllowAll)
}

/// Two honest clients are served, and use an entry of every table for a moment.
fn serves(world: &mut World) {
    let mut subscriber = Honest::accepted(world, Version::V5, &Opening::new("honest subscriber"));
    assert_eq!(subscriber.subscribe(world, "h", QoS::ExactlyOnce), ReasonCode::GrantedQoS2);
    let mut publisher = Honest::accepted(world, Version::V3_1_1, &Opening::new("honest publisher"));
    publisher.publish(world, "h", b"hello", QoS::ExactlyOnce, false, 1);
    publisher.ack(world, AckKind::PubRel, 1);
    let acks = [AckKind::PubRec, AckKind::PubComp].map(|kind| Got::Ack(kind, 1, ReasonCode::Success));
    assert_eq!(publisher.take(world), acks);
    let [Got::Message(message)] = &subscriber.take(world)[..] else { panic!("one message was expected") };
    subscriber.ack(world, AckKind::PubRec, message.packet_id);
    subscriber.ack(world, AckKind::PubComp, message.packet_id);
    subscriber.take(world);
    subscriber.disconnect(world);
    publisher.disconnect(world);
    world.cut(subscriber.at);
    world.cut(publisher.at);
}

/// Ends the Sessions with these identifiers.
fn end(world: &mut World, ids: &[String]) {
    for id in ids {
        let client = Honest::connect(world, Version::V5, &Opening::new(id));
        client.disconnect(world);
        world.cut(client.at);
    }
}

#[test]
fn firmware_serves_as_many_clients_as_promised() {
    let mut world = world();
    let clients: Vec<_> = (0..ENTRIES.connections)
        .map(|number| Honest::accepted(&mut world, VERSIONS[number % 2], &Opening::new(&format!("c{number}"))))
        .collect();
    let late = Honest::connect(&mut world, Version::V5, &Opening::new("late"));
    assert!(world.is_closed(late.at));
    world.cut(late.at);
    for client in &clients[..2] {
        world.cut(client.at);
    }
    serves(&mut world);
    for client in &clients[2..] {
        world.cut(client.at);
    }
    world.expect_nothing_left();
}

#[test]
fn firmware_keeps_as_many_sessions_as_promised() {
    let mut world = world();
    let ids: Vec<_> = (0..ENTRIES.sessions).map(|number| format!("kept {number}")).collect();
    for id in &ids {
        let client = Honest::accepted(&mut world, Version::V5, &kept(id));
        client.disconnect(&mut world);
        world.cut(client.at);
    }
    // In MQTT 3.1.1 a refusal that will pass has no CONNACK.
    let answers: [&[Got]; 2] = [&[], &[Got::ConnAck(false, ReasonCode::QuotaExceeded)]];
    for (version, answer) in VERSIONS.into_iter().zip(answers) {
        let mut late = Honest::connect(&mut world, version, &Opening::new("late"));
        assert_eq!(late.take(&mut world), answer);
        assert!(world.is_closed(late.at));
        world.cut(late.at);
    }
    end(&mut world, &ids);
    serves(&mut world);
    world.expect_nothing_left();
}

#[test]
fn firmware_holds_as_many_subscriptions_as_promised() {
    let mut world = world();
    let each = firmware::config(5).limits.subscriptions as usize;
    let mut clients = Vec::new();
    let mut taken = 0;
    let refused = 'full: loop {
        let version = VERSIONS[clients.len() % 2];
        clients.push(Honest::accepted(&mut world, version, &Opening::new(&format!("c{}", clients.len()))));
        for number in 0..=each {
            let client = clients.last_mut().unwrap();
            match client.subscribe(&mut world, &format!("f{number}"), QoS::AtMostOnce) {
                ReasonCode::Success if number < each => taken += 1,
                // The client has reached its own limit.
                code if number == each => {
                    let expected =
                        if version.is_v5() { ReasonCode::QuotaExceeded } else { ReasonCode::UnspecifiedError };
                    assert_eq!(code, expected);
                }
                code => break 'full code,
            }
        }
    };
    assert_eq!(taken, ENTRIES.subscriptions);
    assert!([ReasonCode::QuotaExceeded, ReasonCode::UnspecifiedError].contains(&refused), "{refused:?}");
    for client in &clients {
        world.cut(client.at);
    }
    serves(&mut world);
    world.expect_nothing_left();
}

/// The firmware example promises room for 32 messages of 256 bytes, topic and payload, that wait for absent clients.
/// Further messages are refused, and all accepted messages are delivered.
#[test]
fn firmware_keeps_as_many_messages_as_promised_and_refuses_more() {
    let mut world = world();
    let ids: Vec<_> = ["one", "two", "three"].map(str::to_owned).into();
    for id in &ids {
        let mut client = Honest::accepted(&mut world, Version::V5, &kept(id));
        client.subscribe(&mut world, &format!("t/{id}"), QoS::AtLeastOnce);
        client.disconnect(&mut world);
        world.cut(client.at);
    }
    let mut publisher = Honest::accepted(&mut world, Version::V5, &Opening::new("publisher"));
    let mut accepted = vec![0; ids.len()];
    let (mut total, mut refused) = (0, 0);
    for round in 0..20 {
        for (id, accepted) in ids.iter().zip(&mut accepted) {
            let topic = format!("t/{id}");
            let payload = format!("{round:0width$}", width = 256 - topic.len());
            let before = world.shard(0).counters().dropped.by(DropReason::QueueFull);
            publisher.publish(&mut world, &topic, payload.as_bytes(), QoS::AtLeastOnce, false, 1);
            let got = publisher.take(&mut world);
            let counted = world.shard(0).counters().dropped.by(DropReason::QueueFull) - before;
            match &got[..] {
                // The queue of one Session was full: the message was dropped by policy, and counted.
                [Got::Ack(AckKind::PubAck, 1, ReasonCode::Success)] if counted == 1 => {}
                [Got::Ack(AckKind::PubAck, 1, ReasonCode::Success)] => {
                    *accepted += 1;
                    total += 1;
                    assert!(refused == 0 || total > 32);
                }
                [Got::Ack(AckKind::PubAck, 1, ReasonCode::QuotaExceeded)] => refused += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(total >= 32 && refused > 0, "{total} were accepted, {refused} refused");
    let lost = world.shard(0).counters().dropped.by(DropReason::OutOfMemory);
    assert_eq!((lost, world.shard(0).counters().publish_refused), (0, refused));
    for (id, accepted) in ids.iter().zip(accepted) {
        let mut client =
            Honest::connect(&mut world, Version::V5, &Opening { clean_start: false, expiry_secs: 0, ..kept(id) });
        let mut came = 0;
        loop {
            let got = client.take(&mut world);
            let messages =
                got.iter().filter_map(|got| if let Got::Message(message) = got { Some(message) } else { None });
            let before = came;
            for message in messages {
                let number: u32 = std::str::from_utf8(&message.payload).unwrap().parse().unwrap();
                assert_eq!(number, came);
                came += 1;
                client.ack(&mut world, AckKind::PubAck, message.packet_id);
            }
            if came == before {
                break;
            }
        }
        assert_eq!(came, accepted, "{id}");
        client.disconnect(&mut world);
        world.cut(client.at);
    }
    serves(&mut world);
    world.cut(publisher.at);
    world.expect_nothing_left();
}

/// A client that exceeds its own limits is closed, and no other client is.
#[test]
fn a_client_beyond_its_limits_is_closed_and_no_other() {
    let limits = firmware::config(5).limits;
    let qos2 = |number: u16| bytes_of(Version::V5, &publication("a", b"x", QoS::ExactlyOnce, false, number));
    let alias = |number: u16| {
        let properties = [Property::TopicAlias(number)];
        let Packet::Publish(publish) = publication("a", b"x", QoS::AtMostOnce, false, 0) else { unreachable!() };
        bytes_of(Version::V5, &Packet::Publish(Publish { properties: Properties::new(&properties), ..publish }))
    };
    let packet = |len: u32| {
        let payload = vec![b'x'; len as usize - 7];
        bytes_of(Version::V5, &publication("a", &payload, QoS::AtMostOnce, false, 0))
    };
    let receipts = (1..=limits.receive_maximum).map(qos2).collect::<Vec<_>>().concat();
    let aliases = (1..=limits.topic_aliases_in).map(alias).collect::<Vec<_>>().concat();
    for (allowed, beyond, code) in [
        (receipts, qos2(limits.receive_maximum + 1), ReasonCode::ReceiveMaximumExceeded),
        (aliases, alias(limits.topic_aliases_in + 1), ReasonCode::TopicAliasInvalid),
        (packet(limits.packet_bytes), packet(limits.packet_bytes + 1), ReasonCode::PacketTooLarge),
    ] {
        let mut world = world();
        let mut client = Honest::accepted(&mut world, Version::V5, &Opening::new("c"));
        world.send(client.at, &allowed);
        client.take(&mut world);
        assert!(!world.is_closed(client.at), "{code:?}: what is allowed");
        world.send(client.at, &beyond);
        assert_eq!(client.take(&mut world), [Got::Disconnect(code)]);
        assert!(world.is_closed(client.at));
        world.cut(client.at);
        serves(&mut world);
        world.expect_nothing_left();
    }
}
