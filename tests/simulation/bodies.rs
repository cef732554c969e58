//! Bodies that are on disk alone: what clients see of it, at the moments that random tests seldom meet.

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

/// A client whose Session survives everything; its CONNACK is to be taken.
fn client(world: &mut World, id: &str, window: Option<u16>) -> Honest {
    let opening = Opening { clean_start: false, expiry_secs: u32::MAX, window, ..Opening::new(id) };
    Honest::connect(world, Version::V5, &opening)
}

/// A client that subscribes.
fn subscriber(world: &mut World, id: &str, filter: &str) -> Honest {
    let mut client = client(world, id, None);
    assert!(matches!(client.take(world)[..], [Got::ConnAck(..)]));
    assert!(!client.subscribe(world, filter, QoS::AtLeastOnce).is_error());
    client
}

/// A Session with a subscription, whose client is away.
fn absent(world: &mut World, id: &str, filter: &str) {
    let reader = subscriber(world, id, filter);
    world.cut(reader.at);
}

/// Publishes messages of 100 bytes with these numbers to `t`.
fn publish(world: &mut World, numbers: impl IntoIterator<Item = u8>) {
    publish_long(world, numbers, 100);
}

/// The same with messages of so many bytes.
fn publish_long(world: &mut World, numbers: impl IntoIterator<Item = u8>, bytes: usize) {
    let mut writer = Honest::accepted(world, Version::V5, &Opening::new("writer"));
    for number in numbers {
        writer.publish(world, "t", &vec![number; bytes], QoS::AtLeastOnce, false, 1);
        assert!(matches!(writer.take(world)[..], [Got::Ack(AckKind::PubAck, 1, ReasonCode::Success)]));
    }
    writer.disconnect(world);
}

/// Takes all that comes, and acknowledges it: the numbers of the messages.
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
fn bodies_of_waiting_messages_are_on_disk_and_come_in_order() {
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
fn the_budget_is_filled_and_not_exceeded() {
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

/// What was fetched for one reader drove out what another one was about to be sent, which then had to be fetched again,
/// and so on: with a budget for fewer bodies than both looked ahead for, each body was read a hundred times.
#[test]
fn readers_do_not_drive_out_each_other_s_bodies() {
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
fn nothing_overtakes_a_body_that_is_being_read_and_others_go_on() {
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
fn a_body_that_can_t_be_read_is_lost_and_counted_and_the_rest_comes() {
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

/// A message goes while its body is read, and another one takes its slot: the answer is not about that one.
#[test]
fn a_body_that_is_read_too_late_is_for_nobody() {
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
fn a_body_that_differs_from_its_record_is_lost() {
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

/// The body of a PUBLISH that is half out is given up, since its client does not read, and fetched again for the rest.
#[test]
fn a_packet_that_is_half_out_is_finished() {
    // The long ones are transmitted from where they stand: from the head alone on, and from the middle of the payload.
    for (is_lost, bytes, read) in
        [(false, 100, 50), (true, 100, 50), (false, 60_000, 8), (false, 60_000, 9_000), (true, 60_000, 9_000)]
    {
        let mut world = world(config(1));
        world.payloads_apart = bytes > 100;
        absent(&mut world, "reader", "t");
        publish_long(&mut world, 1..=3, bytes);
        let mut reader = client(&mut world, "reader", Some(1));
        // 1 waits for its acknowledgement; of what comes next a part is read.
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

/// All that a device publishes with RETAIN stood in memory after a restart, though only the last one is the retained message.
#[test]
fn bodies_published_with_retain_are_on_disk_after_a_restart_unless_they_are_retained() {
    let mut world = world(config(1));
    absent(&mut world, "reader", "#");
    let writer = Honest::accepted(&mut world, Version::V5, &Opening::new("writer"));
    for number in 1..=200_u8 {
        let topic = if number % 2 == 0 { "even" } else { "odd" };
        writer.publish(&mut world, topic, &[number; 100], QoS::AtLeastOnce, true, u16::from(number));
    }
    for _ in 0..3 {
        // One or two may be on their way there.
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
fn topics_that_are_looked_for_in_full_queues_stay_in_memory() {
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

/// A body that any member of a group may get at any time is in memory, as long as that is so and no longer.
#[test]
fn bodies_that_a_group_keeps_are_in_memory_also_after_a_restart() {
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

/// The identifiers of a delivery of QoS 2 lost all but their first byte when the store was read, because what they waited
/// in was taken for the batch of the delivery.
#[test]
fn a_message_keeps_its_subscription_identifiers() {
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
        // Also their order is what was recorded.
        world.check_stores();
    }
}
