//! Several brokers after a restart: no broker accepts a message before it knows the subscribers on the other shards.

use goldcrest_core::codec::{AckKind, Properties, QoS, ReasonCode, Version, Will};
use goldcrest_core::{AllowAll, Capacity, Config, Full, LocalPublish, Shard, TopicName};
use goldcrest_tests::honest::{Got, Honest, Opening};
use goldcrest_tests::memory::Storage;
use goldcrest_tests::world::World;

fn world(shards: u16) -> World {
    let config = Config { durable: true, will_grace_secs: 0, ..Config::gateway(1) };
    World::in_storage(Storage::Owned(Capacity::GATEWAY), shards, config, &AllowAll)
}

/// A Client Identifier that is at home on this shard.
fn id_on(shard: u16, shards: u16, name: &str) -> String {
    (0..).map(|number| format!("{name} {number}")).find(|id| Shard::home_of(id.as_bytes(), shards) == shard).unwrap()
}

fn kept(id: &str) -> Opening<'_> {
    Opening { clean_start: false, expiry_secs: 100, ..Opening::new(id) }
}

/// Cuts the power, and holds all messages between shards afterwards.
fn crash_slowly(world: &mut World, shards: usize) {
    each_link(shards, |from, to| world.slow_down(from, to, true));
    world.crash();
}

fn each_link(shards: usize, mut act: impl FnMut(usize, usize)) {
    for from in 0..shards {
        (0..shards).filter(|to| *to != from).for_each(|to| act(from, to));
    }
}

/// Lets links deliver again, one after the other, and the link from `last` last.
fn speed_up(world: &mut World, shards: usize, last: usize, between: impl Fn(&mut World)) {
    let mut links = Vec::new();
    each_link(shards, |from, to| links.push((from, to)));
    let count = links.len();
    links.rotate_left((last + 1) % count);
    for (from, to) in links {
        between(world);
        world.slow_down(from, to, false);
    }
}

fn payloads(got: Vec<Got>) -> Vec<Vec<u8>> {
    let payload = |got| match got {
        Got::Message(message) => Some(message.payload),
        _ => None,
    };
    got.into_iter().filter_map(payload).collect()
}

#[test]
fn no_message_is_accepted_before_all_shards_have_told_their_subscriptions() {
    for shards in [2, 3] {
        // The filters are a plain one, and for each shard one of a group whose home is that shard.
        let group = |owner| {
            let mut filters = (0..).map(|number| format!("$share/{number}/a/+"));
            filters.find(|filter| Shard::home_of(filter.as_bytes(), shards) == owner).unwrap()
        };
        for filter in (0..shards).map(group).chain(["a/+".to_owned()]) {
            for home in 0..shards {
                (0..shards * (shards - 1)).for_each(|last| greet(shards, &filter, home, last.into()));
            }
        }
    }
}

fn greet(shards: u16, filter: &str, home: u16, last: usize) {
    let what = format!("{shards} shards, {filter}, {home}, {last}");
    let mut world = world(shards);
    let subscriber = id_on(home, shards, "subscriber");
    let publisher = id_on((home + 1) % shards, shards, "publisher");
    let mut link = Honest::accepted(&mut world, Version::V5, &kept(&subscriber));
    link.subscribe(&mut world, filter, QoS::ExactlyOnce);
    link.disconnect(&mut world);
    let link = Honest::accepted(&mut world, Version::V5, &kept(&publisher));
    link.disconnect(&mut world);

    crash_slowly(&mut world, usize::from(shards));
    let mut link = Honest::connect(&mut world, Version::V5, &kept(&publisher));
    link.publish(&mut world, "a/b", b"first", QoS::AtLeastOnce, false, 1);
    link.publish(&mut world, "a/b", b"second", QoS::ExactlyOnce, false, 2);
    speed_up(&mut world, usize::from(shards), last, |world| world.advance(1));
    let expected = [
        Got::ConnAck(true, ReasonCode::Success),
        Got::Ack(AckKind::PubAck, 1, ReasonCode::Success),
        Got::Ack(AckKind::PubRec, 2, ReasonCode::Success),
    ];
    assert_eq!(link.take(&mut world), expected, "{what}");
    let mut link = Honest::connect(&mut world, Version::V5, &kept(&subscriber));
    assert_eq!(payloads(link.take(&mut world)), [&b"first"[..], b"second"], "{what}");
    // A later SUBSCRIBE asks the other shards as usual.
    assert_eq!(link.subscribe(&mut world, "more", QoS::AtLeastOnce), ReasonCode::GrantedQoS1);
}

#[test]
fn timers_and_commands_of_the_embedder_wait_for_the_other_shards_too() {
    let mut world = world(2);
    let (subscriber, lost) = (id_on(0, 2, "subscriber"), id_on(1, 2, "lost"));
    let mut link = Honest::accepted(&mut world, Version::V5, &kept(&subscriber));
    link.subscribe(&mut world, "will", QoS::AtLeastOnce);
    link.disconnect(&mut world);
    let will =
        Will { topic: "will", payload: b"gone", qos: QoS::AtLeastOnce, retain: false, properties: Properties::EMPTY };
    let opening = Opening { will: Some((will, 1)), ..kept(&lost) };
    Honest::accepted(&mut world, Version::V5, &opening);

    crash_slowly(&mut world, 2);
    world.advance(5_000);
    let message = LocalPublish {
        topic: TopicName::new("will").unwrap(),
        payload: b"local",
        qos: QoS::AtLeastOnce,
        retain: false,
        expiry_secs: None,
    };
    let now = world.now();
    assert_eq!(world.with_shard(1, |broker| broker.publish(now, message)), Err(Full));
    assert_eq!(world.shard(1).poll_timeout(), None);
    speed_up(&mut world, 2, 0, |_| {});
    world.advance(1);
    assert_eq!(world.with_shard(1, |broker| broker.publish(now, message)), Ok(()));
    world.drive();
    let mut link = Honest::connect(&mut world, Version::V5, &kept(&subscriber));
    assert_eq!(payloads(link.take(&mut world)), [&b"gone"[..], b"local"]);
}

#[test]
fn a_single_broker_serves_at_once_after_a_restart() {
    let mut world = world(1);
    world.crash();
    let mut link = Honest::accepted(&mut world, Version::V5, &Opening::new("client"));
    assert_eq!(link.subscribe(&mut world, "a", QoS::AtLeastOnce), ReasonCode::GrantedQoS1);
}

/// No client can come back while shards wait for each other. So the time that clients have until their Wills are published
/// begins after that, however long it takes.
#[test]
fn the_time_to_come_back_begins_when_clients_are_served() {
    let config = Config { durable: true, will_grace_secs: 10, ..Config::gateway(1) };
    let mut world = World::in_storage(Storage::Owned(Capacity::GATEWAY), 2, config, &AllowAll);
    let (subscriber, lost) = (id_on(0, 2, "subscriber"), id_on(1, 2, "lost"));
    let mut link = Honest::accepted(&mut world, Version::V5, &kept(&subscriber));
    link.subscribe(&mut world, "will", QoS::AtLeastOnce);
    let will =
        Will { topic: "will", payload: b"gone", qos: QoS::AtLeastOnce, retain: false, properties: Properties::EMPTY };
    for opening in [Opening::new(&lost), kept(&lost)] {
        let opening = Opening { will: Some((will, 0)), ..opening };
        Honest::accepted(&mut world, Version::V5, &opening);
        crash_slowly(&mut world, 2);
        world.advance(3_600_000);
        speed_up(&mut world, 2, 0, |_| {});
        let mut link = Honest::connect(&mut world, Version::V5, &kept(&subscriber));
        world.advance(9_000);
        Honest::accepted(&mut world, Version::V5, &opening);
        world.advance(60_000);
        assert_eq!(payloads(link.take(&mut world)), [b""; 0]);
    }
}
