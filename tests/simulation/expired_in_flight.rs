//! Messages that expire in flight or in a queue, with power cuts, and with bodies on disk alone.

use goldcrest_core::codec::*;
use goldcrest_core::{AllowAll, Config, DropReason, ResendExpired};
use goldcrest_tests::honest::{Got, Honest, Message, Opening, id};
use goldcrest_tests::memory::{MODEST, Storage};
use goldcrest_tests::world::World;

const KEPT: Opening<'static> =
    Opening { id: "s", clean_start: false, expiry_secs: u32::MAX, window: None, aliases: 0, will: None };

fn world(body_budget: usize, resend_expired: ResendExpired) -> World {
    let config = Config { durable: true, body_budget, resend_expired, ..Config::gateway(1) };
    World::in_storage(Storage::Owned(MODEST), 1, config, &AllowAll)
}

fn subscriber(world: &mut World, qos: QoS) -> Honest {
    let mut s = Honest::accepted(world, Version::V5, &KEPT);
    assert!(!s.subscribe(world, "t", qos).is_error());
    s
}

/// Publishes messages with these numbers, which expire after `expiry_secs` seconds.
fn publish(world: &mut World, qos: QoS, expiry_secs: u32, numbers: impl IntoIterator<Item = u8>) {
    let writer = Honest::accepted(world, Version::V5, &Opening::new("writer"));
    for number in numbers {
        writer.send(
            world,
            &Packet::Publish(Publish {
                dup: false,
                qos,
                retain: false,
                topic: "t",
                packet_id: Some(id(u16::from(number) + 1)),
                properties: Properties::new(&[Property::MessageExpiryInterval(expiry_secs)]),
                payload: &[number; 100],
            }),
        );
        writer.ack(world, AckKind::PubRel, u16::from(number) + 1);
    }
    writer.disconnect(world);
}

fn messages(world: &mut World, s: &mut Honest) -> Vec<Message> {
    let message = |got| match got {
        Got::Message(message) => Some(message),
        _ => None,
    };
    s.take(world).into_iter().filter_map(message).collect()
}

fn numbers(messages: &[Message]) -> Vec<u8> {
    messages.iter().map(|message| message.payload[0]).collect()
}

fn expired(world: &World) -> u32 {
    world.shard(0).counters().dropped.by(DropReason::Expired)
}

/// After a restart the broker must assume that all messages in flight were sent. A message that was dropped before stays dropped, and
/// counted.
#[test]
fn a_dropped_expired_message_is_not_sent_after_a_power_cut() {
    let mut world = world(0, ResendExpired::Qos2);
    let mut s = subscriber(&mut world, QoS::AtLeastOnce);
    publish(&mut world, QoS::AtLeastOnce, 2, 0..5);
    publish(&mut world, QoS::AtLeastOnce, 100, 5..7);
    assert_eq!(numbers(&messages(&mut world, &mut s)), [0, 1, 2, 3, 4, 5, 6]);
    world.crash();
    world.advance(2_500);
    let mut s = Honest::accepted(&mut world, Version::V5, &KEPT);
    s.take(&mut world);
    world.advance(100);
    world.check_stores();
    assert_eq!((world.shard(0).counters().messages, expired(&world)), (2, 5));
    world.crash();
    let mut s = Honest::connect(&mut world, Version::V5, &KEPT);
    let again = messages(&mut world, &mut s);
    assert_eq!(numbers(&again), [5, 6]);
    assert!(again.iter().all(|message| message.dup));
    again.iter().for_each(|message| s.ack(&mut world, AckKind::PubAck, message.packet_id));
    world.advance(100);
    world.check_stores();
    assert_eq!((world.shard(0).counters().messages, expired(&world)), (0, 5));
}

/// A bug of the past: the body of each expired message of a long queue was read from disk, and then dropped.
#[test]
fn bodies_of_expired_messages_are_not_read() {
    for (resend, qos, sent) in [
        (ResendExpired::Qos2, QoS::AtLeastOnce, 1),
        (ResendExpired::Never, QoS::ExactlyOnce, 1),
        // Messages in flight are sent again.
        (ResendExpired::Qos2, QoS::ExactlyOnce, 21),
        (ResendExpired::Always, QoS::AtLeastOnce, 21),
    ] {
        let mut world = world(1, resend);
        let opening = Opening { window: Some(20), ..KEPT };
        let mut s = Honest::accepted(&mut world, Version::V5, &opening);
        assert!(!s.subscribe(&mut world, "t", qos).is_error());
        publish(&mut world, qos, 2, 0..100);
        assert_eq!(messages(&mut world, &mut s).len(), 20);
        publish(&mut world, qos, 1_000, 100..101);
        world.cut(s.at);
        // After a restart all bodies are on disk alone, or all but the first.
        world.crash();
        let in_memory = 101 - world.shard(0).counters().bodies_on_disk as usize;
        assert!(in_memory <= 1);
        world.advance(2_500);
        let before = world.store(0).fetched;
        let mut s = Honest::connect(&mut world, Version::V5, &Opening { window: Some(21), ..KEPT });
        let got = messages(&mut world, &mut s);
        assert_eq!((got.len(), got.last().map(|last| last.payload[0])), (sent, Some(100)), "{resend:?}, {qos:?}");
        let not_read = if got[0].payload[0] == 0 { in_memory } else { 0 };
        let read = (world.store(0).fetched - before) as usize;
        // Bodies of QoS 2 messages in flight may be evicted while they wait for their batch, and are then read twice.
        let most = if qos == QoS::ExactlyOnce { 2 * sent } else { sent };
        assert!((sent - not_read..=most).contains(&read), "{read} with {resend:?}, {qos:?}");
        assert_eq!(expired(&world), 101 - sent as u32);
    }
}

/// A client whose PUBREC was lost remembers the Packet Identifier of its QoS 2 message. If that message is dropped and a later one gets
/// the same identifier, the client takes the later one for a duplicate. A bug of the past: after a restart identifiers began again at
/// 1.
#[test]
fn the_packet_identifier_of_a_dropped_message_is_not_reused_soon() {
    for keeps_one in [false, true] {
        let mut world = world(0, ResendExpired::Never);
        let mut s = subscriber(&mut world, QoS::ExactlyOnce);
        let mut used = Vec::new();
        if keeps_one {
            publish(&mut world, QoS::ExactlyOnce, 1_000_000, 0..1);
            used.extend(messages(&mut world, &mut s).iter().map(|message| message.packet_id));
        }
        for _ in 0..5 {
            publish(&mut world, QoS::ExactlyOnce, 2, 1..8);
            let sent = messages(&mut world, &mut s);
            used.extend(sent.iter().filter(|message| !message.dup).map(|message| message.packet_id));
            world.cut(s.at);
            world.advance(2_500);
            // When the client connects, the expired messages are dropped.
            Honest::accepted(&mut world, Version::V5, &KEPT);
            world.advance(100);
            world.crash();
            s = Honest::accepted(&mut world, Version::V5, &KEPT);
        }
        let all = used.len();
        assert_eq!(all, usize::from(keeps_one) + 35);
        used.sort_unstable();
        used.dedup();
        assert_eq!(used.len(), all, "{used:?}");
    }
}
