//! Commands and views for operators: they close connections, end Sessions, remove retained messages, and list Sessions and the
//! topic tree in portions.

use std::ops::ControlFlow;

use goldcrest_core::codec::{QoS, ReasonCode, Version};
use goldcrest_core::{Config, DeliveryState, DropReason, Overflow, OverflowRule, Shard, TopicName, Unchangeable};
use goldcrest_tests::honest::{Got, Honest, Opening};
use goldcrest_tests::world::World;

fn world() -> World {
    World::new(1, Config { durable: true, ..Config::gateway(1) })
}

fn client(world: &mut World, version: Version, id: &str) -> Honest {
    Honest::accepted(world, version, &Opening { expiry_secs: 600, clean_start: false, ..Opening::new(id) })
}

/// All entries that a visit shows in portions of `portion`.
fn in_portions<T>(
    world: &mut World,
    portion: usize,
    visit: impl Fn(&mut goldcrest_core::Broker<'_>, usize, &mut dyn FnMut(T) -> ControlFlow<()>) -> Option<usize>,
) -> Vec<T> {
    let mut all = Vec::new();
    let mut from = Some(0);
    while let Some(place) = from {
        let before = all.len();
        from = world.with_shard(0, |broker| {
            visit(broker, place, &mut |shown| {
                all.push(shown);
                if all.len() - before == portion { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
        });
    }
    all
}

#[test]
fn an_operator_can_disconnect_a_client_with_a_reason_code() {
    for version in [Version::V5, Version::V3_1_1] {
        let world = &mut world();
        let mut c = client(world, version, "c");
        let now = world.now();
        let known = world.with_shard(0, |broker| broker.disconnect(now, "c", ReasonCode::UseAnotherServer));
        let unknown = world.with_shard(0, |broker| broker.disconnect(now, "nobody", ReasonCode::UseAnotherServer));
        assert!(known && !unknown);
        world.drive();
        let got = c.take(world);
        if version == Version::V5 {
            assert!(matches!(got[..], [Got::Disconnect(ReasonCode::UseAnotherServer)]), "{got:?}");
        }
        assert!(world.is_closed(c.at));
        assert!(world.shard(0).session("c").is_some(), "its Session stays");
        let again = world.with_shard(0, |broker| broker.disconnect(now, "c", ReasonCode::UseAnotherServer));
        assert!(!again, "nobody is connected");
    }
}

#[test]
fn an_operator_can_end_a_session_whether_its_client_is_connected_or_not() {
    for connected in [true, false] {
        let world = &mut world();
        let mut c = client(world, Version::V5, "c");
        assert_eq!(c.subscribe(world, "a", QoS::AtLeastOnce), ReasonCode::GrantedQoS1);
        if !connected {
            c.disconnect(world);
        }
        let now = world.now();
        assert!(world.with_shard(0, |broker| broker.end_session(now, "c")));
        world.drive();
        if connected {
            let got = c.take(world);
            assert!(matches!(got[..], [Got::Disconnect(ReasonCode::AdministrativeAction)]), "{got:?}");
        }
        assert!(world.shard(0).session("c").is_none());
        assert_eq!(world.shard(0).counters().subscriptions, 0);
        assert!(!world.with_shard(0, |broker| broker.end_session(now, "c")), "it is gone");
        // After a restart the Session is still gone.
        world.crash();
        assert!(world.shard(0).session("c").is_none());
    }
}

#[test]
fn an_operator_can_remove_a_retained_message_on_all_shards() {
    let world = &mut World::new(3, Config { durable: true, ..Config::gateway(1) });
    let p = client(world, Version::V5, "p");
    p.publish(world, "a", b"x", QoS::AtLeastOnce, true, 1);
    let now = world.now();
    world.with_shard(2, |broker| broker.remove_retained(now, TopicName::new("a").unwrap())).unwrap();
    world.drive();
    for shard in 0..3 {
        assert_eq!(world.shard(shard).counters().retained, 0);
    }
}

#[test]
fn an_operator_can_list_the_subscriptions_of_a_session_in_portions() {
    for portion in [1, 3, 100] {
        let world = &mut world();
        let mut c = client(world, Version::V5, "c");
        let mut other = client(world, Version::V5, "other");
        assert_eq!(other.subscribe(world, "not/this", QoS::AtMostOnce), ReasonCode::Success);
        let mut expected = Vec::new();
        for number in 0..7 {
            let filter = if number == 3 { "$share/g/a/+".to_owned() } else { format!("a/{number}/#") };
            assert_eq!(c.subscribe(world, &filter, QoS::AtLeastOnce), ReasonCode::GrantedQoS1);
            expected.push((filter, QoS::AtLeastOnce));
        }
        let mut shown = in_portions(world, portion, |broker, from, show| {
            broker.visit_subscriptions("c", from, |info| show((info.filter.to_owned(), info.qos)))
        });
        shown.sort();
        expected.sort();
        assert_eq!(shown, expected);
        let nobody = world
            .with_shard(0, |broker| broker.visit_subscriptions("nobody", 0, |_| panic!("there is no such Session")));
        assert_eq!(nobody, None);
    }
}

#[test]
fn an_operator_can_list_the_messages_of_a_session_in_order() {
    for portion in [1, 2, 100] {
        let world = &mut world();
        let p = client(world, Version::V5, "p");
        let opening = Opening { expiry_secs: 600, clean_start: false, window: Some(2), ..Opening::new("c") };
        let mut c = Honest::accepted(world, Version::V5, &opening);
        assert_eq!(c.subscribe(world, "a/#", QoS::AtLeastOnce), ReasonCode::GrantedQoS1);
        for number in 1..=5 {
            p.publish(world, &format!("a/{number}"), &[number as u8; 9], QoS::AtLeastOnce, false, number);
        }
        let now = world.now();
        let shown = in_portions(world, portion, |broker, from, show| {
            broker.visit_deliveries(now, "c", from, |info| {
                let message = info.message.unwrap();
                assert_eq!(message.payload_len, 9);
                show((info.state, info.packet_id.is_some(), message.topic.unwrap().to_owned(), message.payload[0]))
            })
        });
        let expected: Vec<_> = (1..=5_u8)
            .map(|number| {
                let state = if number <= 2 { DeliveryState::InFlight } else { DeliveryState::Queued };
                (state, number <= 2, format!("a/{number}"), number)
            })
            .collect();
        assert_eq!(shown, expected);
    }
}

#[test]
fn an_operator_can_list_retained_messages_alone_in_portions() {
    for portion in [1, 4, 10_000] {
        let world = &mut world();
        let p = client(world, Version::V5, "p");
        let mut absent = client(world, Version::V5, "absent");
        assert_eq!(absent.subscribe(world, "#", QoS::AtLeastOnce), ReasonCode::GrantedQoS1);
        absent.disconnect(world);
        // Some messages are queued and not retained, some were replaced, and there are more than one call looks at.
        for number in 1..=1_500 {
            let topic = format!("r/{}", number % 1_200);
            p.publish(world, &topic, b"x", QoS::AtLeastOnce, number % 3 > 0, number);
        }
        let now = world.now();
        let mut shown = in_portions(world, portion, |broker, from, show| {
            broker.visit_retained(now, from, |message| {
                assert!(message.retain);
                show(message.topic.unwrap().to_owned())
            })
        });
        shown.sort();
        shown.dedup();
        let expected: std::collections::BTreeSet<_> =
            (1..=1_500_u16).filter(|number| number % 3 > 0).map(|number| format!("r/{}", number % 1_200)).collect();
        assert_eq!(shown, expected.into_iter().collect::<Vec<_>>());
        assert_eq!(shown.len(), world.shard(0).counters().retained as usize);
    }
}

#[test]
fn a_running_broker_accepts_another_configuration() {
    let world = &mut world();
    let mut c = client(world, Version::V5, "c");
    assert_eq!(c.subscribe(world, "a", QoS::AtLeastOnce), ReasonCode::GrantedQoS1);
    c.disconnect(world);
    let p = client(world, Version::V5, "p");
    let publish = |world: &mut World, numbers: std::ops::RangeInclusive<u16>| {
        for number in numbers {
            p.publish(world, "a", &[number as u8], QoS::AtLeastOnce, false, number);
        }
        world.shard(0).session("c").unwrap().queued
    };
    assert_eq!(publish(world, 1..=10), 10);
    let now = world.now();
    let mut config = Config { durable: true, ..Config::gateway(1) };
    config.limits.queued_messages = 4;
    config.limits.durable_queued_messages = 4;
    config.overflow_rules = vec![OverflowRule::new("a", Overflow::DropOldest).unwrap()].into();
    world.with_shard(0, |broker| broker.reconfigure(now, config.clone())).unwrap();
    assert_eq!(world.shard(0).session("c").unwrap().queued, 10, "nothing is cut off");
    assert_eq!(publish(world, 11..=12), 4, "the policy makes room until the new limit holds");
    assert_eq!(world.shard(0).counters().dropped.by(DropReason::QueueFull), 8, "what it drops is counted");
    let mut c = client_again(world, "c");
    let payloads: Vec<_> = c.take_messages(world).into_iter().map(|message| message.payload[0]).collect();
    assert_eq!(payloads, [9, 10, 11, 12]);

    for (unchangeable, config) in [
        (Unchangeable::Seed, Config { durable: true, ..Config::gateway(2) }),
        (Unchangeable::Shard, Config { durable: true, shard: Shard { index: 0, count: 2 }, ..Config::gateway(1) }),
        (Unchangeable::Durable, Config::gateway(1)),
    ] {
        assert_eq!(world.with_shard(0, |broker| broker.reconfigure(now, config)), Err(unchangeable));
    }
    assert_eq!(world.shard(0).limits().queued_messages, 4, "an error changes nothing");
}

fn client_again(world: &mut World, id: &str) -> Honest {
    Honest::connect(world, Version::V5, &Opening { expiry_secs: 600, clean_start: false, ..Opening::new(id) })
}
