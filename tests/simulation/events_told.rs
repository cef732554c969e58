//! The embedder learns by events what happens: each happening once, in order, with its texts. It also learns how many
//! events were lost.

use goldcrest_core::codec::{AckKind, QoS, ReasonCode, Version};
use goldcrest_core::{Authorize, Config, DropReason, Event, EventSet, Subject, Subscribable, TopicFilter, TopicName};
use goldcrest_tests::honest::{Got, Honest, Opening};
use goldcrest_tests::world::World;

fn world(events: EventSet) -> World {
    World::new(1, Config { durable: true, events, ..Config::gateway(1) })
}

fn client(world: &mut World, id: &str, expiry_secs: u32) -> Honest {
    Honest::accepted(world, Version::V5, &Opening { expiry_secs, clean_start: false, ..Opening::new(id) })
}

/// All events since the last call, as text.
fn events(world: &mut World) -> Vec<String> {
    world.with_shard(0, |broker| {
        let mut all = Vec::new();
        while let Some(event) = broker.poll_event() {
            all.push(format!("{event:?}"));
        }
        all
    })
}

fn texts(events: &[Event<'_>]) -> Vec<String> {
    events.iter().map(|event| format!("{event:?}")).collect()
}

#[test]
fn events_tell_when_a_client_connects_subscribes_and_ends() {
    let world = &mut world(EventSet::OF_CLIENTS);
    let mut c = client(world, "c", 60);
    assert_eq!(c.subscribe(world, "a/+", QoS::AtLeastOnce), ReasonCode::GrantedQoS1);
    assert_eq!(c.unsubscribe(world, "a/+"), ReasonCode::Success);
    assert_eq!(c.subscribe(world, "$share/g/b", QoS::ExactlyOnce), ReasonCode::GrantedQoS2);
    c.disconnect(world);
    let (client_id, code) = ("c", Some(ReasonCode::Success));
    assert_eq!(
        events(world),
        texts(&[
            Event::SessionMade { client_id },
            Event::Connected { client_id, session_present: false },
            Event::Subscribed { client_id, filter: "a/+", qos: QoS::AtLeastOnce },
            Event::Unsubscribed { client_id, filter: "a/+" },
            Event::Subscribed { client_id, filter: "$share/g/b", qos: QoS::ExactlyOnce },
            Event::Disconnected { client_id, code },
        ])
    );
    let c = client(world, "c", 60);
    world.half_close(c.at);
    world.drive();
    let c_again = Event::Connected { client_id, session_present: true };
    assert_eq!(events(world), texts(&[c_again, Event::Disconnected { client_id, code: None }]));
    let c = client(world, "c", 60);
    world.cut(c.at);
    world.advance(61_000);
    assert_eq!(
        events(world),
        texts(&[
            Event::Connected { client_id, session_present: true },
            Event::Disconnected { client_id, code: None },
            Event::SessionEnded { client_id },
            Event::Unsubscribed { client_id, filter: "$share/g/b" },
        ])
    );
}

#[test]
fn events_tell_how_a_message_is_published_and_delivered() {
    let world = &mut world(EventSet::ALL);
    let (mut s, p) = (client(world, "s", 60), client(world, "p", 0));
    assert_eq!(s.subscribe(world, "a", QoS::ExactlyOnce), ReasonCode::GrantedQoS2);
    events(world);
    p.publish(world, "a", b"four", QoS::ExactlyOnce, true, 7);
    let (topic, qos) = ("a", QoS::ExactlyOnce);
    let got = s.take(world);
    assert!(got.iter().any(|got| matches!(got, Got::Message(_))), "{got:?}");
    s.ack(world, AckKind::PubRec, 1);
    s.ack(world, AckKind::PubComp, 1);
    assert_eq!(
        events(world),
        texts(&[
            Event::Accepted { client_id: "p", topic, qos, retain: true, payload_len: 4 },
            Event::Retained { topic },
            Event::Routed { topic, is_kept: true },
            Event::Delivered { client_id: "s", topic, qos },
            Event::Acknowledged { client_id: "s", packet_id: 1, qos },
        ])
    );
    p.publish(world, "a", b"", QoS::AtMostOnce, true, 0);
    p.publish(world, "nobody", b"x", QoS::AtMostOnce, false, 0);
    let told = events(world);
    assert!(told.contains(&format!("{:?}", Event::Cleared { topic })), "{told:?}");
    assert!(told.contains(&format!("{:?}", Event::Routed { topic: "nobody", is_kept: false })), "{told:?}");
}

#[test]
fn events_tell_each_lost_message_with_the_reason() {
    let world = &mut world(EventSet::DROPPED);
    let mut config = Config { durable: true, events: EventSet::DROPPED, ..Config::gateway(1) };
    config.limits.queued_messages = 2;
    config.limits.durable_queued_messages = 2;
    let now = world.now();
    world.with_shard(0, |broker| broker.reconfigure(now, config)).unwrap();
    let (mut s, p) = (client(world, "s", 60), client(world, "p", 0));
    assert_eq!(s.subscribe(world, "a/#", QoS::AtLeastOnce), ReasonCode::GrantedQoS1);
    s.disconnect(world);
    for number in 1..=3 {
        p.publish(world, &format!("a/{number}"), b"x", QoS::AtLeastOnce, false, number);
    }
    p.publish(world, "$SYS/forbidden", b"x", QoS::AtMostOnce, false, 0);
    let full = Event::Dropped { client_id: Some("s"), topic: Some("a/3"), reason: DropReason::QueueFull };
    let (client_id, topic) = (Some("p"), Some("$SYS/forbidden"));
    let forbidden = Event::Dropped { client_id, topic, reason: DropReason::NotAuthorized };
    assert_eq!(events(world), texts(&[full, forbidden]));
    // The Session ends, and with it the messages that wait.
    world.advance(61_000);
    let ended = |topic| Event::Dropped { client_id: Some("s"), topic: Some(topic), reason: DropReason::SessionEnded };
    assert_eq!(events(world), texts(&[ended("a/1"), ended("a/2")]));
    let dropped = &world.shard(0).counters().dropped;
    assert_eq!(DropReason::ALL.iter().map(|reason| dropped.by(*reason)).sum::<u32>(), 4, "as many as were counted");
}

#[test]
fn events_beyond_the_queue_are_counted_and_unwanted_kinds_are_skipped() {
    let config = Config { events: EventSet::ACCEPTED, event_bytes: 200, ..Config::gateway(1) };
    let world = &mut World::new(1, config);
    let p = client(world, "p", 0);
    for _ in 0..100 {
        p.publish(world, "a/long/topic", b"x", QoS::AtMostOnce, false, 0);
    }
    let told = events(world).len();
    assert_eq!(told, 200 / (12 + "p".len() + "a/long/topic".len()));
    assert_eq!(world.with_shard(0, |broker| broker.lost_events()), 100 - told as u64);
    p.publish(world, "b", b"x", QoS::AtMostOnce, false, 0);
    assert_eq!(events(world).len(), 1, "it goes on");
}

/// A bug of the past: the event had no filter, because the buffer in which the filter is put together was in use.
#[test]
fn the_event_of_a_revoked_subscription_has_its_filter() {
    struct Nobody;
    impl Authorize for Nobody {
        fn publish(&self, _: &Subject<'_>, _: TopicName<'_>, _: QoS, _: bool) -> bool {
            true
        }

        fn subscribe(&self, _: &Subject<'_>, _: TopicFilter<'_>, _: QoS) -> Subscribable {
            Subscribable::No
        }
    }
    let world = &mut world(EventSet::UNSUBSCRIBED);
    let mut c = client(world, "c", 60);
    assert_eq!(c.subscribe(world, "a/+", QoS::AtLeastOnce), ReasonCode::GrantedQoS1);
    let now = world.now();
    world.with_shard(0, |broker| broker.set_authorize(now, std::sync::Arc::new(Nobody)));
    world.advance(1);
    assert_eq!(events(world), texts(&[Event::Unsubscribed { client_id: "c", filter: "a/+" }]));
}
