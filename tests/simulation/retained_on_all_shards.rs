//! Once nothing more happens, all shards have the same retained messages, whatever was retained, removed and expired on any shard, however
//! late the shards told each other, and whenever the power was lost.

use std::collections::{BTreeMap, BTreeSet};

use goldcrest_core::codec::{Filters, Packet, Properties, Publish, QoS, Subscribe, SubscriptionOptions, Version};
use goldcrest_core::codec::{PacketId, Property};
use goldcrest_core::{AllowAll, Capacity, Config, Shard};
use goldcrest_tests::honest::{Got, Honest, Opening, id};
use goldcrest_tests::memory::Storage;
use goldcrest_tests::random::{Random, seeds, setting};
use goldcrest_tests::world::{Sync, World};

fn world(shards: u16, durable: bool) -> World {
    let config = Config { durable, ..Config::gateway(1) };
    World::in_storage(Storage::Owned(Capacity::GATEWAY), shards, config, &AllowAll)
}

fn client_on(world: &mut World, shard: u16, name: &str) -> Honest {
    let shards = world.shards() as u16;
    let home = |id: &String| Shard::home_of(id.as_bytes(), shards) == shard;
    let id = (0..).map(|number| format!("{name} {number}")).find(home).unwrap();
    Honest::accepted(world, Version::V5, &Opening::new(&id))
}

fn retain(world: &mut World, client: &Honest, topic: &str, payload: &[u8], expiry_secs: Option<u32>) {
    let list: Vec<_> = expiry_secs.into_iter().map(Property::MessageExpiryInterval).collect();
    let packet = Packet::Publish(Publish {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: true,
        topic,
        packet_id: Some(PacketId::MIN),
        properties: Properties::new(&list),
        payload,
    });
    client.send(world, &packet);
}

/// The retained messages of a shard, by topic.
fn retained_on(world: &mut World, shard: u16) -> BTreeMap<String, Vec<u8>> {
    let mut client = client_on(world, shard, "looks");
    let filters = [("#", SubscriptionOptions::with_qos(QoS::AtMostOnce))];
    let (properties, filters) = (Properties::EMPTY, Filters::new(&filters));
    client.send(world, &Packet::Subscribe(Subscribe { packet_id: id(1), properties, filters }));
    let got = client.take(world).into_iter().filter_map(|got| match got {
        Got::Message(message) => Some((message.topic, message.payload)),
        _ => None,
    });
    let all = got.collect();
    client.disconnect(world);
    all
}

/// Checks that all shards have the same retained messages, and returns them.
#[track_caller]
fn expect_agreement(world: &mut World, what: &str) -> BTreeMap<String, Vec<u8>> {
    let first = retained_on(world, 0);
    for shard in 1..world.shards() as u16 {
        assert_eq!(retained_on(world, shard), first, "{what}: shards 0 and {shard}");
    }
    first
}

fn each_link(world: &mut World, mut act: impl FnMut(&mut World, usize, usize)) {
    for from in 0..world.shards() {
        for to in (0..world.shards()).filter(|to| *to != from) {
            act(world, from, to);
        }
    }
}

fn quiet(world: &mut World) {
    each_link(world, |world, from, to| world.slow_down(from, to, false));
    world.sync = Sync::AtOnce;
    while world.sync() {}
    world.drive();
}

/// A bug of the past: only 1,024 removed topics were remembered, and more may be removed before an older message arrives.
#[test]
fn a_late_message_does_not_replace_its_removal_after_many_other_removals() {
    for durable in [false, true] {
        for shards in [2, 3] {
            let mut world = world(shards, durable);
            let last = usize::from(shards) - 1;
            let (a, c) = (client_on(&mut world, 0, "a"), client_on(&mut world, last as u16, "c"));
            world.slow_down(0, last, true);
            retain(&mut world, &a, "x", b"old", None);
            // The clock of that client's shard is ahead then.
            retain(&mut world, &c, "y", b"1", None);
            retain(&mut world, &c, "y", b"", None);
            retain(&mut world, &c, "x", b"", None);
            for number in 0..3_000 {
                retain(&mut world, &c, &format!("t{number}"), b"", None);
            }
            quiet(&mut world);
            assert_eq!(expect_agreement(&mut world, "late"), BTreeMap::new());
            for shard in 0..world.shards() {
                assert_eq!(world.shard(shard).counters().messages, 0, "nothing is remembered for ever");
            }
            if durable {
                world.check_stores();
                world.crash();
                assert_eq!(expect_agreement(&mut world, "restart"), BTreeMap::new());
            }
        }
    }
}

/// Two shards have their batches safe, and neither has heard of the other's. The removal of a message was known in memory alone. A third
/// shard, for which the older message is late, had received the removal before the power was lost.
#[test]
fn a_removed_retained_message_does_not_return_after_a_power_cut() {
    for shards in [2, 3] {
        for slow_to_a in [true, false] {
            let mut world = world(shards, true);
            let last = usize::from(shards) - 1;
            let (a, c) = (client_on(&mut world, 0, "a"), client_on(&mut world, last as u16, "c"));
            for to in 1..usize::from(shards) {
                world.slow_down(0, to, true);
            }
            world.slow_down(last, 0, slow_to_a);
            retain(&mut world, &a, "x", b"old", None);
            retain(&mut world, &c, "y", b"1", None);
            retain(&mut world, &c, "y", b"", None);
            retain(&mut world, &c, "x", b"", None);
            world.crash();
            // The late message is still late, and the removal arrives first.
            quiet(&mut world);
            assert_eq!(expect_agreement(&mut world, "power"), BTreeMap::new(), "{shards} {slow_to_a}");
            world.check_stores();
        }
    }
}

/// An expired message has replaced an older one on one shard, and was removed there. Then the older one arrives late, or the expired one
/// arrives at another shard.
#[test]
fn an_expired_retained_message_brings_no_older_one_back() {
    for durable in [false, true] {
        for (slow_from, slow_to) in [(0, 1), (1, 0)] {
            let mut world = world(2, durable);
            let (a, c) = (client_on(&mut world, 0, "a"), client_on(&mut world, 1, "c"));
            world.slow_down(slow_from, slow_to, true);
            retain(&mut world, &a, "x", b"old", None);
            retain(&mut world, &c, "y", b"1", None);
            retain(&mut world, &c, "x", b"new", Some(1));
            world.advance(5_000);
            quiet(&mut world);
            world.advance(5_000);
            let left = expect_agreement(&mut world, "expired");
            assert_eq!(left.keys().collect::<Vec<_>>(), ["y"]);
        }
    }
}

/// Random operations on any shard, with slow links, late batches, and power cuts.
#[test]
fn all_shards_agree_on_retained_messages_after_random_operations() {
    for seed in seeds(10) {
        for (shards, durable) in [(2, true), (3, true), (3, false)] {
            let mut random = Random::new(7_000 + seed);
            let mut world = world(shards, durable);
            let mut clients: Vec<_> = (0..shards).map(|shard| client_on(&mut world, shard, "c")).collect();
            let topics = ["a", "b", "c/d", "c/e"];
            let mut ever = BTreeSet::new();
            for step in 0..setting("GOLDCREST_SIM_STEPS", 600) {
                let shard = random.below(usize::from(shards));
                let topic = random.choose(&topics);
                match random.below(100) {
                    0..=29 => {
                        let expiry = random.percent(20).then_some(1);
                        retain(&mut world, &clients[shard], topic, format!("{step}").as_bytes(), expiry);
                        ever.insert(topic);
                    }
                    30..=59 => retain(&mut world, &clients[shard], topic, b"", None),
                    60..=74 => {
                        let to = (shard + 1 + random.below(usize::from(shards) - 1)) % usize::from(shards);
                        let is_slow = random.percent(50);
                        world.slow_down(shard, to, is_slow);
                    }
                    75..=84 if durable => {
                        world.sync = random.choose(&[Sync::AtOnce, Sync::ByHand]);
                        world.sync_one(shard);
                    }
                    85..=87 => world.advance(1_500),
                    88..=90 => {
                        quiet(&mut world);
                        world.advance(3_000);
                        expect_agreement(&mut world, &format!("seed {seed}, step {step}, {shards} shards"));
                    }
                    91..=93 if durable => {
                        world.crash();
                        quiet(&mut world);
                        clients = (0..shards).map(|shard| client_on(&mut world, shard, "c")).collect();
                    }
                    _ => {}
                }
                for client in &mut clients {
                    client.take(&mut world);
                }
            }
            quiet(&mut world);
            world.advance(10_000);
            let left = expect_agreement(&mut world, &format!("seed {seed}, at the end"));
            for shard in 0..world.shards() {
                assert_eq!(world.shard(shard).counters().messages as usize, left.len(), "no tombstone stays");
            }
            if durable {
                world.check_stores();
            }
        }
    }
}

/// Memory for removals is bounded. As long as another shard does not confirm that no older message is on its way, publishers wait.
#[test]
fn publishers_wait_while_too_many_removals_are_remembered() {
    const MOST: usize = goldcrest_core::Forward::MAX_IN_TRANSIT as usize;
    let mut world = world(2, false);
    let mut c = client_on(&mut world, 1, "c");
    // The other shard receives all messages and confirms none.
    world.slow_down(0, 1, true);
    let all = MOST + 1_000;
    for number in 0..all {
        let topic = format!("t{number}");
        let packet = goldcrest_tests::honest::publication(&topic, b"", QoS::AtLeastOnce, true, 1);
        world.send_later(c.at, &goldcrest_tests::honest::bytes_of(Version::V5, &packet));
    }
    world.drive();
    assert_eq!(c.take(&mut world).len(), MOST);
    assert_eq!(world.shard(1).counters().messages as usize, MOST);
    quiet(&mut world);
    assert_eq!(c.take(&mut world).len(), all - MOST);
    assert_eq!(world.shard(1).counters().messages, 0);
}
