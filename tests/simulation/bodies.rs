//! Bodies on disk alone: what clients notice of them, in situations that random tests seldom meet.

use goldcrest_core::codec::*;
use goldcrest_core::record::{self, Record, Value};
use goldcrest_core::{AllowAll, Config, DropReason, Limits, Overflow};
use goldcrest_tests::honest::{Got, Honest, Opening};
use goldcrest_tests::memory::{MODEST, Storage};
use goldcrest_tests::world::{Sync, World};

fn config(body_budget: usize) -> Config<'static> {
    Config { durable: true, body_budget, ..Config::gateway(1) }
}

fn world(config: Config<'static>) -> World {
    World::in_storage(Storage::Owned(MODEST), 1, config, &AllowAll)
}

/// Connects a client whose Session never expires, and leaves its CONNACK to be received.
fn client(world: &mut World, id: &str, window: Option<u16>) -> Honest {
    let opening = Opening { clean_start: false, expiry_secs: u32::MAX, window, ..Opening::new(id) };
    Honest::connect(world, Version::V5, &opening)
}

/// Connects a client that subscribes.
fn subscriber(world: &mut World, id: &str, filter: &str) -> Honest {
    let mut client = client(world, id, None);
    assert!(matches!(client.take(world)[..], [Got::ConnAck(..)]));
    assert!(!client.subscribe(world, filter, QoS::AtLeastOnce).is_error());
    client
}

/// A Session with a subscription, whose client is not connected.
fn absent(world: &mut World, id: &str, filter: &str) {
    let reader = subscriber(world, id, filter);
    world.cut(reader.at);
}

/// Publishes messages of 100 bytes with these numbers to `t`.
fn publish(world: &mut World, numbers: impl IntoIterator<Item = u8>) {
    publish_long(world, numbers, 100);
}

/// Publishes messages of `bytes` bytes with these numbers to `t`.
fn publish_long(world: &mut World, numbers: impl IntoIterator<Item = u8>, bytes: usize) {
    let mut writer = Honest::accepted(world, Version::V5, &Opening::new("writer"));
    for number in numbers {
        writer.publish(world, "t", &vec![number; bytes], QoS::AtLeastOnce, false, 1);
        assert!(matches!(writer.take(world)[..], [Got::Ack(AckKind::PubAck, 1, ReasonCode::Success)]));
    }
    writer.disconnect(world);
}

/// Receives and acknowledges messages until no more come. Returns their numbers.
fn drain(world: &mut World, reader: &mut Honest) -> Vec<u8> {
    let messages = reader.take_messages(world);
    for message in &messages {
        assert_eq!(message.qos, QoS::AtLeastOnce);
        assert!(message.payload.len() >= 100 && message.payload.iter().all(|byte| *byte == message.payload[0]));
    }
    messages.iter().map(|message| message.payload[0]).collect()
}

fn on_disk(world: &World) -> u32 {
    world.shard(0).counters().bodies_on_disk
}

#[test]
fn waiting_messages_have_their_bodies_on_disk_and_come_in_order() {
    let mut world = world(config(1));
    absent(&mut world, "reader", "t");
    publish(&mut world, 0..200);
    let counters = world.shard(0).counters();
    assert_eq!((counters.bodies_on_disk, counters.messages), (200, 200));
    assert!(counters.bytes < 100, "{}", counters.bytes);
    let mut reader = client(&mut world, "reader", Some(7));
    assert_eq!(drain(&mut world, &mut reader), (0..200).collect::<Vec<_>>());
    reader.disconnect(&mut world);
    world.check_stores();
    assert_eq!((on_disk(&world), world.shard(0).counters().messages), (0, 0));
}

#[test]
fn bodies_fill_their_memory_budget_and_do_not_exceed_it() {
    let mut world = world(config(20 * (101 + 64)));
    absent(&mut world, "reader", "t");
    publish(&mut world, 0..50);
    assert_eq!(on_disk(&world), 30);
    world.crash();
    assert_eq!(on_disk(&world), 30);
    let mut reader = client(&mut world, "reader", None);
    assert_eq!(drain(&mut world, &mut reader), (0..50).collect::<Vec<_>>());
}

#[test]
fn a_body_on_disk_is_read_once_for_all_subscribers_that_want_it_at_that_time() {
    let mut world = world(config(1));
    for id in ["a", "b", "c"] {
        absent(&mut world, id, "t");
    }
    publish(&mut world, [1]);
    assert_eq!(on_disk(&world), 1);
    world.fetch = Sync::ByHand;
    let mut readers = ["a", "b", "c"].map(|id| client(&mut world, id, None));
    assert!(world.fetch_one());
    for reader in &mut readers {
        assert_eq!(drain(&mut world, reader), [1]);
    }
    assert_eq!(world.store(0).fetched, 1);
}

/// A bug of the past: a body fetched for one reader evicted a body that another reader was about to be sent. The latter body
/// was fetched again, and evicted the former, and so on. With room for fewer bodies than both readers look ahead for, each
/// body was read a hundred times.
#[test]
fn readers_do_not_evict_each_others_bodies_again_and_again() {
    let mut world = world(config(20 * (101 + 64)));
    absent(&mut world, "a", "t");
    publish(&mut world, 0..200);
    absent(&mut world, "b", "t");
    publish(&mut world, 0..200);
    let mut a = client(&mut world, "a", Some(15));
    let mut b = client(&mut world, "b", Some(15));
    let (mut of_a, mut of_b) = (0, 0);
    while of_a < 400 || of_b < 200 {
        for (reader, count) in [(&mut a, &mut of_a), (&mut b, &mut of_b)] {
            for got in reader.take(&mut world) {
                let Got::Message(message) = got else { continue };
                *count += 1;
                reader.ack(&mut world, AckKind::PubAck, message.packet_id);
            }
        }
    }
    let fetched = world.store(0).fetched;
    assert!(fetched <= 2 * 600, "{fetched} fetches of 600 messages");
}

#[test]
fn a_client_waits_for_a_body_being_read_and_other_clients_do_not() {
    let mut world = world(config(1));
    absent(&mut world, "reader", "t");
    publish(&mut world, [1]);
    (world.sync, world.fetch) = (Sync::Late, Sync::ByHand);
    let mut reader = client(&mut world, "reader", None);
    let mut other = subscriber(&mut world, "other", "t");
    publish(&mut world, [2]);
    assert_eq!(drain(&mut world, &mut reader), [0; 0]);
    assert_eq!(drain(&mut world, &mut other), [2]);
    while world.fetch_one() {}
    assert_eq!(drain(&mut world, &mut reader), [1, 2]);
}

#[test]
fn a_message_whose_body_cannot_be_read_is_counted_as_lost() {
    let mut world = world(config(1));
    absent(&mut world, "reader", "t");
    publish(&mut world, 1..=3);
    world.fetch = Sync::ByHand;
    let mut reader = client(&mut world, "reader", None);
    world.store_mut(0).is_unreadable = true;
    world.fetch_one();
    world.store_mut(0).is_unreadable = false;
    while world.fetch_one() {}
    assert_eq!(drain(&mut world, &mut reader), [2, 3]);
    let counters = world.shard(0).counters();
    assert_eq!((counters.dropped.by(DropReason::Unreadable), counters.dropped.total()), (1, 1));
    reader.disconnect(&mut world);
    world.check_stores();
    assert_eq!(world.shard(0).counters().messages, 0);
}

/// A message is deleted while its body is read, and another message gets its slot. The store's answer must not count for the
/// new message.
#[test]
fn a_body_read_for_a_deleted_message_is_not_used_for_another() {
    let mut world = world(config(1));
    absent(&mut world, "a", "t");
    publish(&mut world, [1]);
    world.fetch = Sync::ByHand;
    client(&mut world, "a", None);
    absent(&mut world, "b", "t");
    Honest::accepted(&mut world, Version::V5, &Opening::new("a"));
    assert_eq!(world.shard(0).counters().messages, 0);
    publish(&mut world, [2]);
    let mut b = client(&mut world, "b", None);
    world.store_mut(0).is_unreadable = true;
    world.fetch_one();
    world.store_mut(0).is_unreadable = false;
    while world.fetch_one() {}
    assert_eq!(drain(&mut world, &mut b), [2]);
}

#[test]
fn a_message_whose_stored_body_differs_from_its_record_is_dropped_and_counted() {
    let changes: [fn(&mut record::MessageRecord<'_>); 3] =
        [|value| value.order += 1, |value| value.body = &value.body[1..], |value| value.body = &[]];
    for change in changes {
        let mut world = world(config(1));
        absent(&mut world, "reader", "t");
        publish(&mut world, 1..=2);
        let mut changed = Vec::new();
        for record in world.store(0).records() {
            let Record::Put(key, Value::Message(mut value)) = record else { continue };
            change(&mut value);
            let mut sealed = vec![0; 300];
            let len = Record::Put(key, Value::Message(value)).seal(&mut sealed).unwrap();
            sealed.truncate(len);
            changed.push((key, sealed));
        }
        world.store_mut(0).believe(changed.into_iter().take(1));
        let mut reader = client(&mut world, "reader", None);
        assert_eq!(drain(&mut world, &mut reader).len(), 1);
        assert_eq!(world.shard(0).counters().dropped.by(DropReason::Unreadable), 1);
    }
}

/// A PUBLISH is half sent when its body is evicted, since its client does not read. The body is fetched again for the rest of
/// the packet.
#[test]
fn a_half_sent_publish_is_completed_after_its_body_was_evicted() {
    // Long payloads are transmitted from the broker's memory. Some clients stop after the head of the packet, some in the
    // middle of the payload.
    for (is_lost, bytes, read) in
        [(false, 100, 50), (true, 100, 50), (false, 60_000, 8), (false, 60_000, 9_000), (true, 60_000, 9_000)]
    {
        let mut world = world(config(1));
        world.payloads_apart = bytes > 100;
        absent(&mut world, "reader", "t");
        publish_long(&mut world, 1..=3, bytes);
        let mut reader = client(&mut world, "reader", Some(1));
        // Message 1 waits for its acknowledgement; then the client reads only a part of message 2.
        let got = reader.take(&mut world);
        let [Got::ConnAck(..), Got::Message(message)] = &got[..] else { panic!("{got:?}") };
        world.read_only(reader.at, Some(read));
        reader.ack(&mut world, AckKind::PubAck, message.packet_id);
        publish_long(&mut world, 4..=6, bytes);
        assert_eq!(on_disk(&world), 5, "also what is half out");
        world.store_mut(0).is_unreadable = is_lost;
        world.read_only(reader.at, None);
        if is_lost {
            assert!(reader.take(&mut world).is_empty() && world.is_closed(reader.at));
        } else {
            assert_eq!(drain(&mut world, &mut reader), (2..=6).collect::<Vec<_>>());
        }
    }
}

/// A bug of the past: after a restart all messages that a device had published with RETAIN were in memory, though only the
/// last one of each topic is the retained message.
#[test]
fn after_a_restart_replaced_retained_messages_have_their_bodies_on_disk() {
    let mut world = world(config(1));
    absent(&mut world, "reader", "#");
    let writer = Honest::accepted(&mut world, Version::V5, &Opening::new("writer"));
    for number in 1..=200_u8 {
        let topic = if number % 2 == 0 { "even" } else { "odd" };
        writer.publish(&mut world, topic, &[number; 100], QoS::AtLeastOnce, true, u16::from(number));
    }
    for _ in 0..3 {
        // One or two bodies may still be in memory.
        assert!((196..=198).contains(&on_disk(&world)), "{}", on_disk(&world));
        world.crash();
    }
    let mut late = client(&mut world, "late", None);
    let filters = [("+", SubscriptionOptions::with_qos(QoS::AtLeastOnce))];
    let (properties, filters) = (Properties::EMPTY, Filters::new(&filters));
    late.send(
        &mut world,
        &Packet::Subscribe(Subscribe { packet_id: goldcrest_tests::honest::id(1), properties, filters }),
    );
    let got = late.take(&mut world);
    let mut retained: Vec<u8> = got
        .iter()
        .filter_map(|got| if let Got::Message(message) = got { Some(message.payload[0]) } else { None })
        .collect();
    retained.sort_unstable();
    assert_eq!(retained, [199, 200]);
    let mut reader = client(&mut world, "reader", Some(7));
    assert_eq!(drain(&mut world, &mut reader), (1..=200).collect::<Vec<_>>());
    world.check_stores();
}

#[test]
fn with_keep_latest_bodies_stay_in_memory() {
    let limits = Limits::GATEWAY.with(|limits| limits.queued_messages = 3);
    let mut world = world(Config { overflow: Overflow::KeepLatest, limits, ..config(1) });
    absent(&mut world, "reader", "#");
    publish(&mut world, 1..=3);
    assert_eq!(on_disk(&world), 0);
    world.crash();
    assert_eq!(on_disk(&world), 0);
    publish(&mut world, [4]);
    let mut reader = client(&mut world, "reader", None);
    assert_eq!(drain(&mut world, &mut reader), [2, 3, 4]);
}

/// A body in a group's queue stays in memory while any member may get it at any time, and no longer.
#[test]
fn bodies_in_a_groups_queue_stay_in_memory_even_after_a_restart() {
    let mut world = world(config(1));
    absent(&mut world, "member", "$share/g/t");
    absent(&mut world, "reader", "t");
    publish(&mut world, 1..=3);
    for _ in 0..2 {
        assert_eq!(on_disk(&world), 0);
        world.crash();
    }
    let mut member = client(&mut world, "member", Some(1));
    assert_eq!(drain(&mut world, &mut member), [1, 2, 3]);
    publish(&mut world, 4..=6);
    assert_eq!(on_disk(&world), 3, "there is one that the member has not acknowledged, and the reader's are 1 to 3");
    assert_eq!(drain(&mut world, &mut member), [4, 5, 6]);
    publish(&mut world, 7..=7);
    assert_eq!(on_disk(&world), 6);
    assert_eq!(member.take(&mut world).len(), 1);
    member.unsubscribe(&mut world, "$share/g/t");
    publish(&mut world, 8..=8);
    assert_eq!(on_disk(&world), 8, "what the member has in flight is its own now");
    let mut reader = client(&mut world, "reader", None);
    assert_eq!(drain(&mut world, &mut reader), (1..=8).collect::<Vec<_>>());
}

/// A bug of the past: when the store was read, a delivery of QoS 2 lost all Subscription Identifiers but the first byte,
/// because the field that they waited in was taken for the number of the delivery's batch.
#[test]
fn a_message_keeps_its_subscription_identifiers_over_a_restart() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut world = world(config(0));
        let reader = client(&mut world, "reader", None);
        for (filter, identifier) in [("t", 300), ("+", 300), ("#", 70_000)] {
            let list = [Property::SubscriptionIdentifier(identifier)];
            let filters = [(filter, SubscriptionOptions::with_qos(qos))];
            let (properties, filters) = (Properties::new(&list), Filters::new(&filters));
            let packet_id = goldcrest_tests::honest::id(1);
            reader.send(&mut world, &Packet::Subscribe(Subscribe { packet_id, properties, filters }));
        }
        world.cut(reader.at);
        let writer = Honest::accepted(&mut world, Version::V5, &Opening::new("writer"));
        writer.publish(&mut world, "t", b"", qos, false, 1);
        world.crash();
        let mut reader = client(&mut world, "reader", None);
        let got = reader.take(&mut world);
        let [Got::ConnAck(..), Got::Message(message)] = &got[..] else { panic!("{got:?}") };
        let mut identifiers = message.identifiers.clone();
        identifiers.sort_unstable();
        assert_eq!(identifiers, [300, 300, 70_000]);
        // The order of the identifiers must be the recorded one, too.
        world.check_stores();
    }
}
