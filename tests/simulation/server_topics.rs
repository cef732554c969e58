//! The server's own messages below `$SYS/`: they are retained on all shards, reach later subscribers, and are never
//! recorded.

use std::ops::ControlFlow;

use goldcrest_core::codec::{Filters, Packet, PacketId, Properties, QoS, Subscribe, SubscriptionOptions, Version};
use goldcrest_core::{AllowAll, Capacity, Config, Limits, LocalPublish, Shard, TopicName};
use goldcrest_tests::honest::{Got, Honest, Opening};
use goldcrest_tests::memory::Storage;
use goldcrest_tests::world::World;

fn world(shards: u16, limits: Limits) -> World {
    let config = Config { durable: true, limits, ..Config::gateway(1) };
    World::in_storage(Storage::Owned(Capacity::GATEWAY), shards, config, &AllowAll)
}

/// The server publishes a message on one of its shards.
fn tell(world: &mut World, shard: usize, topic: &str, payload: &str) {
    let now = world.now();
    let topic = TopicName::new(topic).unwrap();
    let payload = payload.as_bytes();
    let message = LocalPublish { topic, payload, qos: QoS::AtMostOnce, retain: true, expiry_secs: None };
    world.with_shard(shard, |broker| broker.publish(now, message)).unwrap();
    world.drive();
}

/// A client whose Session is at home on this shard.
fn client_on(world: &mut World, shard: u16, name: &str, expiry_secs: u32) -> Honest {
    let shards = world.shards() as u16;
    let is_home = |id: &String| Shard::home_of(id.as_bytes(), shards) == shard;
    let id = (0..).map(|number| format!("{name} {number}")).find(is_home).unwrap();
    Honest::accepted(world, Version::V5, &Opening { expiry_secs, ..Opening::new(&id) })
}

fn heard(client: &mut Honest, world: &mut World) -> Vec<(String, String)> {
    let text = |got| match got {
        Got::Message(message) => Some((message.topic, String::from_utf8(message.payload).unwrap())),
        _ => None,
    };
    client.take(world).into_iter().filter_map(text).collect()
}

/// The retained messages that a new client on this shard gets for a SUBSCRIBE.
fn retained(world: &mut World, shard: u16, filter: &str) -> Vec<(String, String)> {
    let mut client = client_on(world, shard, "late", 0);
    let filters = [(filter, SubscriptionOptions::with_qos(QoS::AtLeastOnce))];
    let (packet_id, filters) = (PacketId::MIN, Filters::new(&filters));
    client.send(world, &Packet::Subscribe(Subscribe { packet_id, properties: Properties::EMPTY, filters }));
    let mut values = heard(&mut client, world);
    client.disconnect(world);
    values.sort();
    values
}

fn pair(topic: &str, payload: &str) -> (String, String) {
    (topic.to_owned(), payload.to_owned())
}

#[test]
fn all_shards_have_the_servers_latest_value_and_record_none() {
    for shards in [1, 3] {
        let world = &mut world(shards, Limits::GATEWAY);
        // A durable Session subscribes. Even so, a message with QoS 0 is not recorded.
        let mut watcher = client_on(world, shards - 1, "watcher", 100);
        watcher.subscribe(world, "$SYS/#", QoS::ExactlyOnce);
        let mut stranger = client_on(world, 0, "stranger", 0);
        stranger.subscribe(world, "#", QoS::AtMostOnce);
        let records = |world: &World| (0..usize::from(shards)).map(|shard| world.store(shard).records().count()).sum();
        let before: usize = records(world);
        tell(world, 0, "$SYS/broker/uptime", "1");
        tell(world, 0, "$SYS/broker/uptime", "2");
        assert_eq!(heard(&mut watcher, world), [pair("$SYS/broker/uptime", "1"), pair("$SYS/broker/uptime", "2")]);
        assert_eq!(heard(&mut stranger, world), [], "# does not match it [MQTT-4.7.2-1]");
        for shard in 0..shards {
            let values = retained(world, shard, "$SYS/broker/#");
            assert_eq!(values, [pair("$SYS/broker/uptime", "2")], "shard {shard} of {shards}");
        }
        assert_eq!(records(world), before);
        world.check_stores();

        world.crash();
        for shard in 0..shards {
            assert_eq!(
                retained(world, shard, "$SYS/#"),
                [],
                "shard {shard} of {shards} has it from before the restart"
            );
        }
    }
}

#[test]
fn the_server_can_publish_with_a_full_store_and_a_used_up_quota() {
    for shards in [1, 2] {
        let world = &mut world(
            shards,
            Limits::GATEWAY.with(|limits| {
                limits.retained_messages = 1;
                limits.topic_levels = 2;
            }),
        );
        for shard in 0..usize::from(shards) {
            world.with_shard(shard, |broker| broker.set_store_full(true));
        }
        tell(world, 0, "$SYS/broker/store/full", "1");
        tell(world, 0, "$SYS/broker/store/failed", "0");
        for shard in 0..shards {
            assert_eq!(world.shard(shard.into()).counters().retained, 0);
            world.with_shard(shard.into(), |broker| broker.set_store_full(false));
            let values = retained(world, shard, "$SYS/#");
            assert_eq!(values, [pair("$SYS/broker/store/failed", "0"), pair("$SYS/broker/store/full", "1")]);
        }
        // The server's retained messages do not count towards that quota.
        let mut client = client_on(world, 0, "client", 0);
        for (topic, fits) in [("r", true), ("s", false)] {
            client.publish(world, topic, b"x", QoS::AtLeastOnce, true, 1);
            let got = client.take(world);
            assert!(matches!(got[..], [Got::Ack(_, _, code)] if code.is_error() != fits), "{got:?}");
        }
        let kept: u32 = (0..world.shards()).map(|shard| world.shard(shard).counters().retained).sum();
        assert_eq!(kept, 1);
    }
}

#[test]
fn an_embedder_can_list_sessions_in_portions_and_find_one_by_its_identifier() {
    let world = &mut world(1, Limits::GATEWAY);
    let clients: Vec<Honest> =
        (0..5).map(|number| Honest::accepted(world, Version::V5, &kept(&format!("client {number}")))).collect();
    clients[1].disconnect(world);
    let broker = world.shard(0);
    let (mut shown, mut from, mut portions) = (Vec::new(), Some(0), 0);
    while let Some(place) = from {
        let mut left = 2;
        from = broker.visit_sessions(place, |id, info| {
            shown.push((id.to_owned(), info.is_connected));
            left -= 1;
            if left > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        portions += 1;
    }
    let expected: Vec<_> = (0..5).map(|number| (format!("client {number}"), number != 1)).collect();
    assert_eq!((shown, portions), (expected, 3));
    let counters = broker.counters();
    assert_eq!((counters.sessions, counters.connected), (5, 4));
    assert_eq!(broker.session("client 1").map(|info| info.is_connected), Some(false));
    assert_eq!(broker.session("client 7"), None);
}

fn kept(id: &str) -> Opening<'_> {
    Opening { expiry_secs: 100, ..Opening::new(id) }
}
