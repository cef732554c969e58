//! Queues in the store may be longer than queues in memory, as long as they leave room for others.

use goldcrest_core::codec::*;
use goldcrest_core::{AllowAll, Config, DropReason, Limits, Overflow, OverflowRule};
use goldcrest_tests::honest::{Got, Honest, Opening};
use goldcrest_tests::memory::{MODEST, Storage};
use goldcrest_tests::world::World;

/// The limit of a queue in memory, in messages.
const SHORT: u32 = 4;
/// The limit of a queue in the store, in messages.
const LONG: u32 = 20;

const LIMITS: Limits = {
    let mut limits = Limits::GATEWAY;
    limits.queued_messages = SHORT;
    limits.durable_queued_messages = LONG;
    limits.group_messages = SHORT;
    limits.durable_group_messages = LONG;
    limits
};

fn config(overflow: Overflow) -> Config<'static> {
    Config { durable: true, body_budget: 1, limits: LIMITS, overflow, ..Config::gateway(1) }
}

/// A world of one broker and a world of two, with this configuration.
fn worlds(config: &Config<'static>) -> impl Iterator<Item = World> {
    [1, 2].map(|shards| World::in_storage(Storage::Owned(MODEST), shards, config.clone(), &AllowAll)).into_iter()
}

/// Connects a client whose Session never expires, or ends with its Network Connection, and leaves its CONNACK to be received.
fn client(world: &mut World, id: &str, is_kept: bool) -> Honest {
    let expiry_secs = if is_kept { u32::MAX } else { 0 };
    Honest::connect(
        world,
        Version::V5,
        &Opening { clean_start: false, expiry_secs, window: Some(1), ..Opening::new(id) },
    )
}

/// Connects a client that subscribes, and acknowledges nothing.
fn subscriber(world: &mut World, id: &str, filter: &str, qos: QoS, is_kept: bool) -> Honest {
    let mut client = client(world, id, is_kept);
    assert!(matches!(client.take(world)[..], [Got::ConnAck(..)]));
    assert!(!client.subscribe(world, filter, qos).is_error());
    client
}

/// A Session with a subscription, whose client is not connected.
fn absent(world: &mut World, id: &str, filter: &str) {
    let reader = subscriber(world, id, filter, QoS::ExactlyOnce, true);
    world.cut(reader.at);
}

/// Publishers whose Sessions are spread over all shards.
fn writers(world: &mut World) -> Vec<Honest> {
    ["w1", "w2", "w3", "w4"].map(|id| Honest::accepted(world, Version::V5, &Opening::new(id))).into()
}

/// Publishes a message, completes its handshake, and returns the code of the PUBACK or PUBREC.
fn publish(world: &mut World, writer: &mut Honest, topic: &str, number: u32, qos: QoS) -> ReasonCode {
    let payload = [&number.to_be_bytes()[..], &[b'.'; 96]].concat();
    writer.publish(world, topic, &payload, qos, false, 1);
    let got = writer.take(world);
    let [Got::Ack(kind, 1, code)] = got[..] else { panic!("{got:?}") };
    if kind == AckKind::PubRec && !code.is_error() {
        writer.ack(world, AckKind::PubRel, 1);
        assert!(matches!(writer.take(world)[..], [Got::Ack(AckKind::PubComp, 1, ReasonCode::Success)]));
    }
    code
}

/// Publishes `count` messages, and returns how many were accepted. No message may be accepted after one that was refused.
fn taken(world: &mut World, topic: &str, count: u32, qos: QoS) -> u32 {
    let mut all = writers(world);
    let mut taken = 0;
    for number in 0..count {
        let at = number as usize % all.len();
        match publish(world, &mut all[at], topic, number, qos) {
            ReasonCode::Success => {
                assert_eq!(taken, number, "one is taken behind one that was refused");
                taken += 1;
            }
            code => assert_eq!(code, ReasonCode::QuotaExceeded),
        }
    }
    for writer in all {
        writer.disconnect(world);
    }
    taken
}

/// Connects, and receives all waiting messages. Returns their numbers.
fn drain(world: &mut World, id: &str) -> Vec<u32> {
    let mut reader = client(world, id, true);
    let numbers = rest(world, &mut reader);
    world.cut(reader.at);
    numbers
}

fn rest(world: &mut World, reader: &mut Honest) -> Vec<u32> {
    let number = |payload: &[u8]| payload.first_chunk().map_or(u32::MAX, |number| u32::from_be_bytes(*number));
    reader.take_messages(world).iter().map(|message| number(&message.payload)).collect()
}

fn drops(world: &World) -> u32 {
    (0..world.shards()).map(|shard| world.shard(shard).counters().dropped.by(DropReason::QueueFull)).sum()
}

fn numbers(range: std::ops::Range<u32>) -> Vec<u32> {
    range.collect()
}

/// Messages for an absent client wait in the store, more than a queue in memory would hold. The first message without room is refused.
#[test]
fn a_queue_in_the_store_holds_more_messages_than_one_in_memory() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for mut world in worlds(&config(Overflow::DropNewest)) {
            absent(&mut world, "reader", "t");
            assert_eq!(taken(&mut world, "t", LONG + 5, qos), LONG);
            world.crash();
            assert_eq!(taken(&mut world, "t", 3, qos), 0, "the queue is as full as before");
            assert_eq!(drain(&mut world, "reader"), numbers(0..LONG));
            world.check_stores();
            assert_eq!(taken(&mut world, "t", LONG, qos), LONG, "and is empty");
        }
    }
}

#[test]
fn a_queue_in_the_store_is_bounded_in_bytes_too() {
    let limits = LIMITS.with(|limits| {
        limits.queued_bytes = 4 * 101;
        limits.durable_queued_messages = 0;
        limits.durable_queued_bytes = 11 * 101;
    });
    // In the second case only the bytes limit the queue in memory.
    for (queued_messages, most) in [(SHORT, SHORT), (1_000, 11)] {
        let limits = limits.with(|limits| limits.queued_messages = queued_messages);
        for mut world in worlds(&Config { limits, ..config(Overflow::DropNewest) }) {
            absent(&mut world, "reader", "t");
            assert_eq!(taken(&mut world, "t", LONG, QoS::AtLeastOnce), most);
        }
    }
}

/// The queue of a Session that ends with its Network Connection is in memory, and so are all queues of a broker without a store.
#[test]
fn queues_in_memory_are_short() {
    let in_memory = Config { durable: false, ..config(Overflow::DropNewest) };
    for (config, is_kept) in [(config(Overflow::DropNewest), false), (in_memory, true)] {
        for mut world in worlds(&config) {
            let mut reader = subscriber(&mut world, "reader", "t", QoS::AtLeastOnce, is_kept);
            // One more message is in flight.
            assert_eq!(taken(&mut world, "t", LONG, QoS::AtLeastOnce), SHORT + 1);
            assert_eq!(rest(&mut world, &mut reader), numbers(0..SHORT + 1));
        }
    }
}

/// A message of QoS 0 waits in memory. It may not use the room of a long queue, and never takes the place of acknowledged messages.
#[test]
fn messages_of_qos_0_do_not_enter_a_long_queue() {
    for policy in [Overflow::DropNewest, Overflow::DropOldest, Overflow::Refuse] {
        for mut world in worlds(&config(policy)) {
            let mut reader = subscriber(&mut world, "reader", "t", QoS::AtLeastOnce, true);
            assert_eq!(taken(&mut world, "t", LONG / 2, QoS::AtLeastOnce), LONG / 2);
            for (number, writer) in (100..).zip(writers(&mut world)) {
                writer.publish(&mut world, "t", &u32::to_be_bytes(number), QoS::AtMostOnce, false, 0);
            }
            assert!(drops(&world) >= 4, "each is counted");
            assert_eq!(rest(&mut world, &mut reader), numbers(0..LONG / 2), "{policy:?}");
        }
    }
}

#[test]
fn a_full_long_queue_drops_its_oldest_message_for_each_new_one() {
    for mut world in worlds(&config(Overflow::DropOldest)) {
        absent(&mut world, "reader", "t");
        assert_eq!(taken(&mut world, "t", LONG + 5, QoS::AtLeastOnce), LONG + 5);
        assert_eq!(drops(&world), 5);
        world.crash();
        // Even when all queues are told that the store is half full.
        half_full(&mut world, true);
        assert_eq!(taken(&mut world, "t", 2, QoS::AtLeastOnce), 2);
        let expected = [numbers(7..LONG + 5), numbers(0..2)].concat();
        assert_eq!(drain(&mut world, "reader"), expected);
    }
}

/// A publisher on any shard is refused once the long queue is full. A message of QoS 0 is refused once the short queue would be full.
#[test]
fn the_publisher_is_refused_when_the_long_queue_is_full() {
    for mut world in worlds(&config(Overflow::Refuse)) {
        absent(&mut world, "reader", "t");
        absent(&mut world, "other", "t");
        assert_eq!(taken(&mut world, "t", LONG + 5, QoS::AtLeastOnce), LONG);
        for id in ["reader", "other"] {
            assert_eq!(drain(&mut world, id), numbers(0..LONG));
        }
        assert_eq!(drops(&world), 0);
    }
}

/// A policy that looks for older messages of the same topic has short queues.
#[test]
fn the_latest_of_each_topic_is_kept_in_a_short_queue() {
    let rules = vec![OverflowRule::new("latest", Overflow::KeepLatest).unwrap()];
    for mut world in worlds(&Config { overflow_rules: rules.into(), ..config(Overflow::DropNewest) }) {
        absent(&mut world, "reader", "#");
        assert_eq!(taken(&mut world, "t", LONG, QoS::AtLeastOnce), SHORT);
        assert_eq!(taken(&mut world, "latest", 2, QoS::AtLeastOnce), 2);
        assert_eq!(drain(&mut world, "reader"), [1, 2, 3, 1]);
    }
}

fn half_full(world: &mut World, is_half_full: bool) {
    for shard in 0..world.shards() {
        world.with_shard(shard, |broker| broker.set_store_half_full(is_half_full));
    }
}

/// The other half of the store is reserved for Sessions whose queues are short.
#[test]
fn long_queues_do_not_grow_while_the_store_is_half_full() {
    for mut world in worlds(&config(Overflow::DropNewest)) {
        absent(&mut world, "reader", "t");
        assert_eq!(taken(&mut world, "t", 10, QoS::AtLeastOnce), 10);
        half_full(&mut world, true);
        assert_eq!(taken(&mut world, "t", 3, QoS::AtLeastOnce), 0);
        absent(&mut world, "other", "u");
        assert_eq!(taken(&mut world, "u", LONG, QoS::AtLeastOnce), SHORT);
        half_full(&mut world, false);
        assert_eq!(taken(&mut world, "t", LONG, QoS::AtLeastOnce), LONG - 10);
    }
}

/// Absent clients leave memory for connected clients and for each other: four queues may have the full length, or more queues less.
#[test]
fn long_queues_leave_memory_for_others() {
    for mut world in worlds(&config(Overflow::DropNewest)) {
        let ids: Vec<String> = (0..12).map(|number| format!("s{number}")).collect();
        for id in &ids {
            absent(&mut world, id, id);
        }
        let all: Vec<u32> = ids.iter().map(|id| taken(&mut world, id, LONG + 5, QoS::AtLeastOnce)).collect();
        let sum: u32 = all.iter().sum();
        assert!(all.iter().all(|taken| (SHORT..=LONG).contains(taken)), "{all:?}");
        assert!((4 * LONG..4 * LONG + 12 * SHORT).contains(&sum), "{all:?}");
        for (id, taken) in ids.iter().zip(all) {
            assert_eq!(drain(&mut world, id), numbers(0..taken));
        }
    }
}

/// A group's queue is in the store as well. The bodies of its messages stay in memory, so the limit of bytes in memory holds for them.
#[test]
fn a_groups_queue_in_the_store_holds_more_messages_too() {
    for queued_bytes in [Limits::GATEWAY.queued_bytes, 10 * 101] {
        let limits = LIMITS.with(|limits| {
            limits.queued_bytes = queued_bytes;
            limits.durable_queued_bytes = u32::MAX;
        });
        let most = if queued_bytes < 10_000 { 10 } else { LONG };
        for mut world in worlds(&Config { limits, ..config(Overflow::DropNewest) }) {
            absent(&mut world, "m1", "$share/g/t");
            absent(&mut world, "m2", "$share/g/t");
            assert_eq!(taken(&mut world, "t", LONG + 5, QoS::AtLeastOnce), most);
            world.crash();
            assert_eq!(taken(&mut world, "t", 1, QoS::AtLeastOnce), 0);
            assert_eq!(drain(&mut world, "m2"), numbers(0..most));
        }
        let oldest = Config { limits, ..config(Overflow::DropOldest) };
        for mut world in worlds(&oldest) {
            absent(&mut world, "m1", "$share/g/t");
            assert_eq!(taken(&mut world, "t", most + 5, QoS::AtLeastOnce), most + 5);
            half_full(&mut world, true);
            assert_eq!(taken(&mut world, "t", 1, QoS::AtLeastOnce), 1);
            assert_eq!(drain(&mut world, "m1"), [numbers(6..most + 5), vec![0]].concat());
        }
    }
}
