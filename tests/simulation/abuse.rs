//! Packets that are allowed, but too many or too large: each kind costs bounded work and memory, and all memory is
//! given back.

use goldcrest_core::codec::*;
use goldcrest_core::{Config, Limits};
use goldcrest_tests::honest::{Got, Honest, Opening, bytes_of, id, publication};
use goldcrest_tests::world::World;

fn world(limits: Limits) -> World {
    World::new(1, Config { limits, ..Config::gateway(5) })
}

fn nothing_is_left(world: &World) {
    let counters = world.shard(0).counters();
    let things = [counters.connections, counters.sessions, counters.subscriptions, counters.retained];
    assert_eq!((things, counters.messages, counters.deliveries, counters.bytes), ([0; 4], 0, 0, 0));
    assert_eq!(world.shard(0).poll_timeout(), None);
}

fn count_messages(got: &[Got]) -> usize {
    got.iter().filter(|got| matches!(got, Got::Message(_))).count()
}

#[test]
fn a_topic_of_65535_slashes_is_a_topic_like_any_other() {
    let topic = "/".repeat(65_535);
    let mut world = world(Limits::GATEWAY);
    let mut client = Honest::accepted(&mut world, Version::V5, &Opening::new("c"));
    for filter in ["#", "+/#", "/#", "+/+"] {
        client.subscribe(&mut world, filter, QoS::AtMostOnce);
    }
    assert_eq!(client.subscribe(&mut world, &topic, QoS::AtMostOnce), ReasonCode::QuotaExceeded);
    client.publish(&mut world, &topic, b"x", QoS::AtMostOnce, false, 0);
    assert_eq!(count_messages(&client.take(&mut world)), 1);
    client.publish(&mut world, &topic, b"x", QoS::AtLeastOnce, true, 1);
    assert_eq!(client.take(&mut world), [Got::Ack(AckKind::PubAck, 1, ReasonCode::QuotaExceeded)]);
    world.cut(client.at);
    nothing_is_left(&world);
}

#[test]
fn filters_and_retained_topics_may_have_as_many_levels_as_the_limit_allows() {
    let topic = "/".repeat(65_535);
    let mut world = world(Limits::GATEWAY.with(|limits| limits.topic_levels = u16::MAX));
    let mut client = Honest::accepted(&mut world, Version::V5, &Opening::new("c"));
    // A filter with one slash more has one level more than the limit.
    assert_eq!(client.subscribe(&mut world, &topic, QoS::AtMostOnce), ReasonCode::QuotaExceeded);
    let topic = &topic[1..];
    assert_eq!(client.subscribe(&mut world, topic, QoS::AtMostOnce), ReasonCode::Success);
    client.publish(&mut world, topic, b"x", QoS::AtMostOnce, true, 0);
    assert_eq!(count_messages(&client.take(&mut world)), 1);
    assert_eq!(client.subscribe(&mut world, "+/#", QoS::AtMostOnce), ReasonCode::Success);
    client.publish(&mut world, topic, b"", QoS::AtMostOnce, true, 0);
    world.cut(client.at);
    nothing_is_left(&world);
}

#[test]
fn a_message_that_matches_65536_filters_takes_linear_time() {
    const LEVELS: u32 = 16;
    // The default limits refuse that many filters, and even some single ones of them.
    let limits = Limits::GATEWAY.with(|limits| {
        limits.subscriptions = 1 << LEVELS;
        limits.filter_cost = u32::MAX;
    });
    let mut world = world(limits);
    let mut client = Honest::accepted(&mut world, Version::V5, &Opening::new("c"));
    let name = |number: u32| {
        let levels: Vec<_> = (0..LEVELS).map(|bit| if number >> bit & 1 == 0 { "+" } else { "a" }).collect();
        levels.join("/")
    };
    let texts: Vec<_> = (0..1 << LEVELS).map(name).collect();
    for some in texts.chunks(4_096) {
        let filters: Vec<_> = some.iter().map(|text| (text.as_str(), SubscriptionOptions::default())).collect();
        let (properties, filters) = (Properties::EMPTY, Filters::new(&filters));
        client.send(&mut world, &Packet::Subscribe(Subscribe { packet_id: id(1), properties, filters }));
    }
    client.take(&mut world);
    assert_eq!(world.shard(0).counters().subscriptions, 1 << LEVELS);
    let topic = ["a"; LEVELS as usize].join("/");
    for _ in 0..5 {
        client.publish(&mut world, &topic, b"x", QoS::AtMostOnce, false, 0);
        assert_eq!(count_messages(&client.take(&mut world)), 1, "one copy, however many filters match");
    }
    // In the first topic one level differs: half of the filters match, as they have `+` there. The second topic has a
    // level too many: no filter matches.
    client.publish(&mut world, &topic.replacen("a", "b", 1), b"x", QoS::AtMostOnce, false, 0);
    client.publish(&mut world, &format!("{topic}/a"), b"x", QoS::AtMostOnce, false, 0);
    assert_eq!(count_messages(&client.take(&mut world)), 1);
    world.cut(client.at);
    nothing_is_left(&world);
}

#[test]
fn fifty_thousand_user_properties_are_refused_or_kept_in_order() {
    let list: Vec<_> = (0..50_000).map(|_| Property::UserProperty("a", "b")).collect();
    let packet = Packet::Publish(Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: "t",
        packet_id: None,
        properties: Properties::new(&list),
        payload: b"x",
    });
    for (properties, expected) in [(128, 0), (u16::MAX, 1)] {
        let mut world = world(Limits::GATEWAY.with(|limits| limits.properties = properties));
        let mut subscriber = Honest::accepted(&mut world, Version::V5, &Opening::new("s"));
        subscriber.subscribe(&mut world, "t", QoS::AtMostOnce);
        let mut client = Honest::accepted(&mut world, Version::V5, &Opening::new("c"));
        client.send(&mut world, &packet);
        let raw = world.receive(subscriber.at);
        assert_eq!(raw.len() > 350_000, expected == 1);
        if expected == 0 {
            assert_eq!(client.take(&mut world), [Got::Disconnect(ReasonCode::QuotaExceeded)]);
            assert!(world.is_closed(client.at));
        } else {
            assert_eq!(raw, bytes_of(Version::V5, &packet));
        }
        world.cut(client.at);
        world.cut(subscriber.at);
        nothing_is_left(&world);
    }
}

#[test]
fn retained_messages_beyond_the_quota_are_refused() {
    let mut world = world(Limits::GATEWAY.with(|limits| limits.retained_messages = 1_000));
    let mut client = Honest::accepted(&mut world, Version::V5, &Opening::new("c"));
    let mut refused = 0;
    for number in 0..3_000u16 {
        client.publish(&mut world, &format!("flood/{number}"), b"x", QoS::AtLeastOnce, true, 1);
        let quota = [Got::Ack(AckKind::PubAck, 1, ReasonCode::QuotaExceeded)];
        refused += usize::from(client.take(&mut world) == quota);
    }
    assert_eq!((refused, world.shard(0).counters().retained), (2_000, 1_000));
    // An existing retained message can still be replaced.
    client.publish(&mut world, "flood/5", b"y", QoS::AtMostOnce, true, 0);
    client.subscribe(&mut world, "none", QoS::AtMostOnce);
    for number in 0..3_000 {
        client.publish(&mut world, &format!("flood/{number}"), b"", QoS::AtMostOnce, true, 0);
    }
    world.cut(client.at);
    nothing_is_left(&world);
}

#[test]
fn qos_2_messages_without_pubrel_are_refused_beyond_receive_maximum() {
    let mut world = world(Limits::GATEWAY);
    for _ in 0..20 {
        let opening = Opening { expiry_secs: 100, ..Opening::new("c") };
        let mut client = Honest::accepted(&mut world, Version::V5, &opening);
        for number in 1..=Limits::GATEWAY.receive_maximum + 1 {
            client.publish(&mut world, "t", b"x", QoS::ExactlyOnce, false, number);
        }
        let got = client.take(&mut world);
        assert_eq!(got.len(), usize::from(Limits::GATEWAY.receive_maximum) + 1);
        assert_eq!(got.last(), Some(&Got::Disconnect(ReasonCode::ReceiveMaximumExceeded)));
        world.cut(client.at);
    }
    world.advance(101_000);
    nothing_is_left(&world);
}

#[test]
fn ten_thousand_takeovers_leave_one_session_and_one_connection() {
    let mut world = world(Limits::GATEWAY);
    let last = |topic: &'static str| Will {
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: Properties::EMPTY,
        topic,
        payload: b"gone",
    };
    let mut watcher = Honest::accepted(&mut world, Version::V5, &Opening::new("watcher"));
    watcher.subscribe(&mut world, "wills", QoS::AtMostOnce);
    let mut current: Option<Honest> = None;
    for number in 0..10_000u32 {
        let opening = Opening {
            clean_start: number % 3 == 0,
            expiry_secs: number % 2 * 1_000,
            will: (number % 5 == 0).then(|| (last("wills"), number % 4 * 5)),
            ..Opening::new("contested")
        };
        let new = Honest::accepted(&mut world, Version::V5, &opening);
        if let Some(mut old) = current.replace(new) {
            assert_eq!(old.take(&mut world), [Got::Disconnect(ReasonCode::SessionTakenOver)]);
            world.cut(old.at);
        }
        let counters = world.shard(0).counters();
        assert_eq!((counters.connections, counters.sessions), (2, 2));
    }
    assert!(count_messages(&watcher.take(&mut world)) > 1_000);
    world.cut(current.unwrap().at);
    world.cut(watcher.at);
    world.advance(2_000_000);
    nothing_is_left(&world);
}

#[test]
fn a_hundred_thousand_wills_and_sessions_end_by_their_timers() {
    let mut world = world(Limits::GATEWAY);
    let mut watcher = Honest::accepted(&mut world, Version::V3_1_1, &Opening::new("watcher"));
    watcher.subscribe(&mut world, "wills/+", QoS::AtMostOnce);
    let last =
        Will { qos: QoS::AtMostOnce, retain: false, properties: Properties::EMPTY, topic: "wills/x", payload: b"gone" };
    for number in 0..100_000u32 {
        let id = format!("client {number}");
        // Half of the Wills are published before their Sessions end, half when they end.
        let opening = Opening {
            expiry_secs: 1_000 + number % 500,
            will: Some((last, 500 + number % 1_000)),
            ..Opening::new(&id)
        };
        let client = Honest::connect(&mut world, Version::V5, &opening);
        world.cut(client.at);
    }
    assert_eq!(world.shard(0).counters().sessions, 100_001);
    assert_eq!(count_messages(&watcher.take(&mut world)), 0);
    world.advance(2_000_000);
    assert_eq!(count_messages(&watcher.take(&mut world)), 100_000);
    assert_eq!(world.shard(0).counters().sessions, 1);
    world.cut(watcher.at);
    nothing_is_left(&world);
}

#[test]
fn a_client_that_does_not_read_its_answers_is_not_read_from() {
    let mut world = world(Limits::GATEWAY);
    let mut client = Honest::accepted(&mut world, Version::V5, &Opening::new("c"));
    world.stall(client.at, true);
    world.send(client.at, &[0xc0, 0].repeat(100_000));
    let taken = world.shard(0).counters().packets_received;
    assert!(taken <= 2 + u64::from(Limits::GATEWAY.owed_replies), "{taken}");
    world.stall(client.at, false);
    assert_eq!(client.take(&mut world), vec![Got::PingResp; 100_000]);
    world.cut(client.at);
    nothing_is_left(&world);
}

#[test]
fn a_packet_that_claims_to_be_huge_is_refused_by_its_first_bytes() {
    let mut world = world(Limits::GATEWAY);
    for kind in [0x30, 0x32, 0x82, 0xa2, 0xe0, 0xf0] {
        let mut client = Honest::accepted(&mut world, Version::V5, &Opening::new("c"));
        world.send(client.at, &[kind, 0xff, 0xff, 0xff, 0x7f]);
        assert_eq!(client.take(&mut world), [Got::Disconnect(ReasonCode::PacketTooLarge)]);
        world.cut(client.at);
    }
    let client = world.open();
    world.send(client, &[0x10, 0xff, 0xff, 0xff, 0x7f]);
    assert!(world.is_closed(client) && world.receive(client).is_empty());
    world.cut(client);
    nothing_is_left(&world);
}

#[test]
fn a_subscriber_that_never_reads_fills_only_its_own_queue() {
    let limits = Limits::GATEWAY.with(|limits| limits.queued_messages = 100);
    let mut world = world(limits);
    let mut idle = Honest::accepted(&mut world, Version::V5, &Opening::new("idle"));
    idle.subscribe(&mut world, "t", QoS::AtLeastOnce);
    world.stall(idle.at, true);
    let mut quick = Honest::accepted(&mut world, Version::V5, &Opening::new("quick"));
    quick.subscribe(&mut world, "t", QoS::AtMostOnce);
    let publisher = Honest::accepted(&mut world, Version::V5, &Opening::new("p"));
    let packet = bytes_of(Version::V5, &publication("t", &[0; 1_000], QoS::AtLeastOnce, false, 1));
    for _ in 0..5_000 {
        world.send(publisher.at, &packet);
        assert!(world.shard(0).counters().deliveries <= 101);
    }
    assert_eq!(count_messages(&quick.take(&mut world)), 5_000);
    assert_eq!(world.shard(0).counters().dropped.total(), 4_900);
    for client in [idle, quick, publisher] {
        world.cut(client.at);
    }
    nothing_is_left(&world);
}
