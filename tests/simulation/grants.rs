//! Grants: limits of its own that a client gets with its verdict, and a time until which it may stay connected.

use goldcrest_core::codec::{QoS, ReasonCode, Version};
use goldcrest_core::{Authentication, ClientLimits, Config, Grant, Verdict};
use goldcrest_tests::honest::{Got, Honest, Opening};
use goldcrest_tests::world::{Judgement, World};

fn world(shards: u16) -> World {
    let mut world =
        World::new(shards, Config { durable: true, authentication: Authentication::Ask, ..Config::gateway(1) });
    world.set_judge(Box::new(|_| Judgement::Later));
    world
}

fn connect(world: &mut World, version: Version, id: &str, grant: Grant) -> Honest {
    let client = Honest::connect(world, version, &Opening { expiry_secs: 600, clean_start: false, ..Opening::new(id) });
    world.decide(client.at, &Judgement::Grant(grant));
    client
}

fn accepted(world: &mut World, version: Version, id: &str, grant: Grant) -> Honest {
    let mut client = connect(world, version, id, grant);
    let got = client.take(world);
    assert!(matches!(got[..], [Got::ConnAck(_, ReasonCode::Success)]), "{id}: {got:?}");
    client
}

fn limits(change: impl FnOnce(&mut ClientLimits)) -> Grant {
    let mut limits = ClientLimits::NONE;
    change(&mut limits);
    Grant::default().within(limits)
}

#[test]
fn a_grant_may_limit_the_subscriptions_of_a_client() {
    for shards in [1, 3] {
        let world = &mut world(shards);
        let mut few = accepted(world, Version::V5, "few", limits(|limits| limits.subscriptions = 2));
        let mut many = accepted(world, Version::V5, "many", Grant::default());
        for filter in ["a", "b"] {
            assert_eq!(few.subscribe(world, filter, QoS::AtMostOnce), ReasonCode::Success);
            assert_eq!(many.subscribe(world, filter, QoS::AtMostOnce), ReasonCode::Success);
        }
        assert_eq!(few.subscribe(world, "c", QoS::AtMostOnce), ReasonCode::QuotaExceeded);
        assert_eq!(few.subscribe(world, "a", QoS::AtMostOnce), ReasonCode::Success, "one that it has may change");
        assert_eq!(many.subscribe(world, "c", QoS::AtMostOnce), ReasonCode::Success);
    }
}

#[test]
fn a_grant_may_limit_the_messages_that_wait_for_a_client() {
    for shards in [1, 3] {
        let world = &mut world(shards);
        let publisher = accepted(world, Version::V5, "p", Grant::default());
        for (id, grant, kept) in
            [("few", limits(|limits| limits.queued_messages = 3), 3), ("many", Grant::default(), 10)]
        {
            let mut client = accepted(world, Version::V5, id, grant.clone());
            assert_eq!(client.subscribe(world, id, QoS::AtLeastOnce), ReasonCode::GrantedQoS1);
            client.disconnect(world);
            for number in 1..=10 {
                publisher.publish(world, id, &[number as u8], QoS::AtLeastOnce, false, number);
            }
            let mut client = connect(world, Version::V5, id, grant);
            assert_eq!(client.take_messages(world).len(), kept, "{id}");
        }
    }
}

#[test]
fn a_grant_may_limit_the_messages_in_flight_to_a_client() {
    let world = &mut world(1);
    let publisher = accepted(world, Version::V5, "p", Grant::default());
    let mut client = accepted(world, Version::V5, "c", limits(|limits| limits.inflight = 2));
    assert_eq!(client.subscribe(world, "a", QoS::AtLeastOnce), ReasonCode::GrantedQoS1);
    for number in 1..=10 {
        publisher.publish(world, "a", b"x", QoS::AtLeastOnce, false, number);
    }
    let sent = client.take(world).iter().filter(|got| matches!(got, Got::Message(_))).count();
    assert_eq!(sent, 2);
}

#[test]
fn a_connection_without_keep_alive_is_closed_when_its_grant_expires() {
    for version in [Version::V5, Version::V3_1_1] {
        let world = &mut world(1);
        let grant = Grant::default().until(world.now().plus_secs(100));
        let mut client = accepted(world, version, "c", grant);
        let other = accepted(world, version, "other", Grant::default());
        world.advance(99_000);
        assert!(!world.is_closed(client.at));
        world.advance(2_000);
        if version == Version::V5 {
            let got = client.take(world);
            assert!(matches!(got[..], [Got::Disconnect(ReasonCode::NotAuthorized)]), "{got:?}");
        }
        assert!(world.is_closed(client.at));
        assert!(!world.is_closed(other.at));
    }
}

#[test]
fn a_verdict_without_a_grant_gives_the_limits_of_the_configuration() {
    let Verdict::Accept { data, grant, .. } = Verdict::accept(Default::default()) else { panic!("it is refused") };
    assert_eq!((data, grant), (None, Grant::default()));
}
