//! Queues in the store are longer than queues in memory, as long as that leaves room for others.

use goldcrest_core::codec::*;
use goldcrest_core::{AllowAll, Config, DropReason, Limits, Overflow, OverflowRule};
use goldcrest_tests::honest::{Got, Honest, Opening};
use goldcrest_tests::memory::{MODEST, Storage};
use goldcrest_tests::world::World;

/// Messages in a queue in memory.
const SHORT: u32 = 4;
/// Messages in a queue in the store.
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

/// Such worlds of one broker and of two.
fn worlds(config: &Config<'static>) -> impl Iterator<Item = World> {
    [1, 2].map(|shards| World::in_storage(Storage::Owned(MODEST), shards, config.clone(), &AllowAll)).into_iter()
}

/// A client whose Session survives everything, or ends with its Network Connection; its CONNACK is to be taken.
fn client(world: &mut World, id: &str, is_kept: bool) -> Honest {
    let expiry_secs = if is_kept { u32::MAX } else { 0 };
    Honest::connect(
        world,
        Version::V5,
        &Opening { clean_start: false, expiry_secs, window: Some(1), ..Opening::new(id) },
    )
}

/// One that subscribed. It acknowledges nothing.
fn subscriber(world: &mut World, id: &str, filter: &str, qos: QoS, is_kept: bool) -> Honest {
    let mut client = client(world, id, is_kept);
    assert!(matches!(client.take(world)[..], [Got::ConnAck(..)]));
    assert!(!client.subscribe(world, filter, qos).is_error());
    client
}

/// A Session with a subscription, whose client is away.
fn absent(world: &mut World, id: &str, filter: &str) {
    let reader = subscriber(world, id, filter, QoS::ExactlyOnce, true);
    world.cut(reader.at);
}

/// Publishers whose Sessions are on all shards.
fn writers(world: &mut World) -> Vec<Honest> {
    ["w1", "w2", "w3", "w4"].map(|id| Honest::accepted(world, Version::V5, &Opening::new(id))).into()
}

/// The code that the publisher hears of a message.
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

/// How many of so many messages are taken, first those that are.
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

/// Connects, and takes all that waits: the numbers of the messages.
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

/// Messages for an absent client wait in the store, beyond what memory would have room for; the publisher hears of the first that does not.
#[test]
fn acknowledged_messages_come_also_if_they_are_more_than_a_queue_in_memory_has() {
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
fn bytes_are_bounded_too() {
    let limits = LIMITS.with(|limits| {
        limits.queued_bytes = 4 * 101;
        limits.durable_queued_messages = 0;
        limits.durable_queued_bytes = 11 * 101;
    });
    // Whether the number of messages has a bound of its own.
    for (queued_messages, most) in [(SHORT, SHORT), (1_000, 11)] {
        let limits = limits.with(|limits| limits.queued_messages = queued_messages);
        for mut world in worlds(&Config { limits, ..config(Overflow::DropNewest) }) {
            absent(&mut world, "reader", "t");
            assert_eq!(taken(&mut world, "t", LONG, QoS::AtLeastOnce), most);
        }
    }
}

/// A Session that ends with its Network Connection has its queue in memory, and so has every Session of a broker without store.
#[test]
fn queues_in_memory_are_short() {
    let in_memory = Config { durable: false, ..config(Overflow::DropNewest) };
    for (config, is_kept) in [(config(Overflow::DropNewest), false), (in_memory, true)] {
        for mut world in worlds(&config) {
            let mut reader = subscriber(&mut world, "reader", "t", QoS::AtLeastOnce, is_kept);
            // One is in flight.
            assert_eq!(taken(&mut world, "t", LONG, QoS::AtLeastOnce), SHORT + 1);
            assert_eq!(rest(&mut world, &mut reader), numbers(0..SHORT + 1));
        }
    }
}

/// A message of QoS 0 waits in memory: it finds no room in a long queue, and never takes the room of messages that were
/// acknowledged.
#[test]
fn a_message_of_qos_0_does_not_touch_a_long_queue() {
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
fn the_oldest_of_a_long_queue_goes_one_for_one() {
    for mut world in worlds(&config(Overflow::DropOldest)) {
        absent(&mut world, "reader", "t");
        assert_eq!(taken(&mut world, "t", LONG + 5, QoS::AtLeastOnce), LONG + 5);
        assert_eq!(drops(&world), 5);
        world.crash();
        // Where there is no room elsewhere either.
        half_full(&mut world, true);
        assert_eq!(taken(&mut world, "t", 2, QoS::AtLeastOnce), 2);
        let expected = [numbers(7..LONG + 5), numbers(0..2)].concat();
        assert_eq!(drain(&mut world, "reader"), expected);
    }
}

/// The publisher is refused once the long queue is full, on whatever shard it is; a message of QoS 0 when the short one is.
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

/// With the policy that looks for older messages by their topics, queues are short.
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

/// The other half of the store is for those whose queues are short.
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

/// Clients that are away leave memory for those that are there, and for each other: four queues may be as long as one may get, or more
/// that are shorter.
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

/// The queue of a shared subscription is in the store as well. Bodies of its messages stay in memory, so their bytes have the bound of
/// memory.
#[test]
fn a_group_keeps_more_in_the_store() {
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
