//! What shards tell each other of filters is less than the filters: messages go to other shards in vain. Nobody sees that.

use goldcrest_core::codec::{AckKind, QoS, ReasonCode, Version};
use goldcrest_core::{AllowAll, Capacity, Config, Shard};
use goldcrest_tests::honest::{Got, Honest, Opening};
use goldcrest_tests::memory::Storage;
use goldcrest_tests::world::World;

/// More shapes than a shard tells others of, and then this one: others know it as `vain/#`.
const COARSE: &str = "vain/+/x";

fn id_on(shard: u16, name: &str) -> String {
    (0..).map(|number| format!("{name} {number}")).find(|id| Shard::home_of(id.as_bytes(), 2) == shard).unwrap()
}

/// Filters with wildcards, each of which has another shape.
fn shapes() -> impl Iterator<Item = String> {
    (2..14usize).flat_map(|levels| {
        (0..levels).map(move |plus| {
            let levels = (0..levels).map(|level| if level == plus { "+" } else { "level" });
            levels.collect::<Vec<_>>().join("/")
        })
    })
}

/// A publisher on the first shard, and on the second one a subscriber with a Session that outlives its connection.
fn scene() -> (World, Honest, Honest) {
    let config = Config { durable: true, ..Config::gateway(1) };
    let mut world = World::in_storage(Storage::Owned(Capacity::GATEWAY), 2, config, &AllowAll);
    let publisher = Honest::accepted(&mut world, Version::V5, &Opening::new(&id_on(0, "publisher")));
    let kept = id_on(1, "subscriber");
    let kept = Opening { clean_start: false, expiry_secs: 100, ..Opening::new(&kept) };
    let mut subscriber = Honest::accepted(&mut world, Version::V5, &kept);
    assert!(shapes().count() > 64);
    for filter in shapes().chain([COARSE.to_owned()]) {
        subscriber.subscribe(&mut world, &filter, QoS::AtLeastOnce);
    }
    (world, publisher, subscriber)
}

#[test]
fn a_message_that_goes_to_another_shard_in_vain_has_no_matching_subscribers() {
    for (qos, kind) in [(QoS::AtLeastOnce, AckKind::PubAck), (QoS::ExactlyOnce, AckKind::PubRec)] {
        let (mut world, mut publisher, mut subscriber) = scene();
        let mut expect = |world: &mut World, topic, number, code| {
            publisher.publish(world, topic, b"x", qos, false, number);
            assert_eq!(publisher.take(world), [Got::Ack(kind, number, code)], "{topic} {qos:?}");
        };
        expect(&mut world, "vain/other", 1, ReasonCode::NoMatchingSubscribers);
        expect(&mut world, "vain/a/x", 2, ReasonCode::Success);
        world.with_shard(0, |broker| broker.set_store_full(true));
        expect(&mut world, "vain/other", 3, ReasonCode::NoMatchingSubscribers);
        expect(&mut world, "vain/a/x", 4, ReasonCode::QuotaExceeded);
        expect(&mut world, "other", 5, ReasonCode::NoMatchingSubscribers);
        world.with_shard(0, |broker| broker.set_store_full(false));
        expect(&mut world, "vain/a/x", 6, ReasonCode::Success);
        assert_eq!(subscriber.take_messages(&mut world).len(), 2);
        let lost: u64 = (0..2).map(|shard| world.shard(shard).counters().dropped.total()).sum();
        assert_eq!(lost, 0);
        world.check_stores();
    }
}
