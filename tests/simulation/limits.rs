//! Every pool filled to its limit, in both kinds of memory: refusals have the right code, losses are counted, and no memory
//! leaks.

use goldcrest_core::codec::*;
use goldcrest_core::{AllowAll, Broker, Capacity, Config, DropReason, Limits, Overflow, Shard};
use goldcrest_tests::honest::{Got, Honest, Message, Opening};
use goldcrest_tests::memory::{Housed, Storage};
use goldcrest_tests::world::World;

const SMALL: Capacity = Capacity {
    connections: 6,
    sessions: 8,
    subscriptions: 12,
    topic_levels: 24,
    messages: 40,
    deliveries: 60,
    bytes: 60 * 120,
};

const NO_WILL: Will<'static> =
    Will { qos: QoS::AtMostOnce, retain: false, properties: Properties::EMPTY, topic: "", payload: &[] };

const LIMITS: Limits = {
    let mut limits = Limits::GATEWAY;
    limits.packet_bytes = 4096;
    limits.owed_replies = 64;
    limits.queued_messages = 1_000;
    limits
};

fn config(limits: Limits) -> Config<'static> {
    Config { limits, ..Config::gateway(3) }
}

/// Runs `test` on both kinds of memory.
fn both(capacity: Capacity, config: &Config<'static>, test: impl Fn(&mut World)) {
    for storage in [Storage::Owned(capacity), Storage::Borrowed(capacity)] {
        let mut world = World::in_storage(storage, 1, config.clone(), &AllowAll);
        test(&mut world);
    }
}

fn messages(got: Vec<Got>) -> Vec<Message> {
    got.into_iter().filter_map(|got| if let Got::Message(message) = got { Some(message) } else { None }).collect()
}

fn payloads(got: Vec<Got>) -> Vec<String> {
    messages(got).into_iter().map(|message| String::from_utf8(message.payload).unwrap()).collect()
}

#[test]
fn connections_beyond_the_limit_are_rejected_until_one_ends() {
    both(SMALL, &config(LIMITS), |world| {
        let clients: Vec<_> = (0..SMALL.connections)
            .map(|number| Honest::accepted(world, Version::V5, &Opening::new(&format!("c{number}"))))
            .collect();
        let late = Honest::connect(world, Version::V5, &Opening::new("late"));
        assert!(world.is_closed(late.at));
        world.cut(late.at);
        clients[0].disconnect(world);
        let last = Honest::accepted(world, Version::V5, &Opening::new("late"));
        for client in clients.iter().chain([&last]) {
            world.cut(client.at);
        }
        world.expect_nothing_left();
    });
}

/// A bug of the past: a shard had no room for a filter of another shard. It knew that it had to forward every message, and
/// yet held messages back that only the other shard's clients had subscribed to.
#[test]
fn messages_reach_other_shards_even_without_room_for_all_their_filters() {
    let capacity = Capacity { subscriptions: 5, ..SMALL };
    let mut world = World::in_storage(Storage::Owned(capacity), 3, config(LIMITS), &AllowAll);
    let on_shard = |world: &mut World, shard: u16| {
        let home = |id: &String| Shard::home_of(id.as_bytes(), 3) == shard;
        let id = (0..).map(|number| format!("client {number}")).find(home).unwrap();
        Honest::accepted(world, Version::V5, &Opening::new(&id))
    };
    let publisher = on_shard(&mut world, 0);
    let mut subscribers = [1, 2].map(|shard| on_shard(&mut world, shard));
    let topics = |shard: usize| (0..4).map(move |number| format!("a/{shard}/{number}"));
    for (shard, subscriber) in subscribers.iter_mut().enumerate() {
        for topic in topics(shard) {
            subscriber.subscribe(&mut world, &topic, QoS::AtLeastOnce);
        }
    }
    for (shard, subscriber) in subscribers.iter_mut().enumerate() {
        for topic in topics(shard) {
            publisher.publish(&mut world, &topic, topic.as_bytes(), QoS::AtMostOnce, false, 0);
        }
        assert_eq!(payloads(subscriber.take(&mut world)), topics(shard).collect::<Vec<_>>());
    }
}

#[test]
fn sessions_beyond_the_limit_are_refused_with_quota_exceeded() {
    both(SMALL, &config(LIMITS), |world| {
        for number in 0..SMALL.sessions {
            let id = format!("kept {number}");
            let opening = Opening { expiry_secs: 60, ..Opening::new(&id) };
            Honest::accepted(world, Version::V5, &opening).disconnect(world);
        }
        // In MQTT 3.1.1 there is no CONNACK: some clients never try again after a CONNACK that says "server unavailable".
        let v5: &[Got] = &[Got::ConnAck(false, ReasonCode::QuotaExceeded)];
        for (version, answer) in [(Version::V5, v5), (Version::V3_1_1, &[]), (Version::V3_1, &[])] {
            let mut late = Honest::connect(world, version, &Opening::new("late"));
            assert_eq!(late.take(world), answer);
            assert!(world.is_closed(late.at));
        }
        assert_eq!(world.shard(0).counters().connections_refused, 3);
        // A client whose Session exists is always accepted.
        let again = Opening { clean_start: false, expiry_secs: 60, ..Opening::new("kept 3") };
        let mut found = Honest::connect(world, Version::V5, &again);
        assert_eq!(found.take(world), [Got::ConnAck(true, ReasonCode::Success)]);
        world.cut(found.at);
        world.advance(61_000);
        world.expect_nothing_left();
    });
}

/// A bug of the past: Sessions of clients that never came back kept all new clients out, even clients that wanted no
/// lasting Session.
#[test]
fn a_table_full_of_lasting_sessions_still_accepts_clients_without_one() {
    let capacity = Capacity { connections: 40, sessions: 32, ..SMALL };
    both(capacity, &config(LIMITS), |world| {
        let kept = |id: &str, world: &mut World| {
            let mut client = Honest::connect(
                world,
                Version::V5,
                &Opening { clean_start: false, expiry_secs: 60, ..Opening::new(id) },
            );
            (client.take(world), client)
        };
        for number in 0..30 {
            let (answer, client) = kept(&format!("kept {number}"), world);
            assert_eq!(answer, [Got::ConnAck(false, ReasonCode::Success)]);
            client.disconnect(world);
        }
        let (answer, _) = kept("kept 30", world);
        assert_eq!(answer, [Got::ConnAck(false, ReasonCode::QuotaExceeded)]);
        let counters = world.shard(0).counters();
        assert_eq!((counters.sessions, counters.sessions_limit), (30, 32));

        let clean = Honest::accepted(world, Version::V5, &Opening::new("clean"));
        let other = Honest::accepted(world, Version::V3_1_1, &Opening::new("other"));
        let (answer, known) = kept("kept 7", world);
        assert_eq!(answer, [Got::ConnAck(true, ReasonCode::Success)]);
        let mut beyond = Honest::connect(world, Version::V5, &Opening::new("beyond"));
        assert_eq!(beyond.take(world), [Got::ConnAck(false, ReasonCode::QuotaExceeded)]);
        for client in [clean, other, known] {
            world.cut(client.at);
        }
        world.advance(61_000);
        world.expect_nothing_left();
    });
}

#[test]
fn each_subscription_beyond_a_limit_is_refused_by_itself() {
    for (prefix, version) in [("", Version::V5), ("", Version::V3_1_1), ("a/b/c/d", Version::V5)] {
        both(SMALL, &config(LIMITS), |world| {
            let mut client = Honest::accepted(world, version, &Opening::new("c"));
            let mut taken = 0;
            let refused = loop {
                let filter = format!("{prefix}{}", "/x".repeat(taken + 1));
                match client.subscribe(world, &filter, QoS::AtMostOnce) {
                    ReasonCode::Success => taken += 1,
                    other => break other,
                }
            };
            assert!((10..=24).contains(&taken));
            assert_eq!(refused, if version.is_v5() { ReasonCode::QuotaExceeded } else { ReasonCode::UnspecifiedError });
            assert_eq!(world.shard(0).counters().subscriptions as usize, taken);
            // An existing subscription can be replaced, whatever table is full.
            let filter = format!("{prefix}/x");
            assert_eq!(client.subscribe(world, &filter, QoS::AtLeastOnce), ReasonCode::GrantedQoS1);
            client.unsubscribe(world, &filter);
            let shared = client.subscribe(world, "$share/g/x", QoS::AtMostOnce);
            assert_eq!(shared, ReasonCode::Success, "what was given back can be had");
            world.cut(client.at);
            world.expect_nothing_left();
        });
    }
}

/// Messages for one absent subscriber, with each policy, until the broker's memory is full and beyond.
#[test]
fn each_message_without_memory_is_refused_or_counted_as_lost() {
    for policy in [Overflow::DropNewest, Overflow::DropOldest, Overflow::KeepLatest, Overflow::Refuse] {
        // The cases differ in the table that is full first: messages, deliveries, or bytes.
        for (messages, deliveries, bytes, payload) in [(10, 60, 7_200, 1), (40, 10, 7_200, 1), (40, 60, 1_020, 50)] {
            let capacity = Capacity { messages, deliveries, bytes, ..SMALL };
            both(capacity, &Config { overflow: policy, ..config(LIMITS) }, |world| {
                let kept = Opening { expiry_secs: 60, ..Opening::new("sub") };
                let mut subscriber = Honest::accepted(world, Version::V5, &kept);
                subscriber.subscribe(world, "t/#", QoS::AtLeastOnce);
                subscriber.disconnect(world);
                let mut publisher = Honest::accepted(world, Version::V5, &Opening::new("pub"));
                let (mut accepted, mut refused) = (0, 0);
                for number in 1..=30u16 {
                    let text = format!("{number:02}{:payload$}", "");
                    publisher.publish(world, "t/a", text.as_bytes(), QoS::AtLeastOnce, false, number);
                    match &publisher.take(world)[..] {
                        [Got::Ack(AckKind::PubAck, id, ReasonCode::Success)] if *id == number => accepted += 1,
                        [Got::Ack(AckKind::PubAck, id, ReasonCode::QuotaExceeded)] if *id == number => refused += 1,
                        other => panic!("{other:?}"),
                    }
                }
                let counters = world.shard(0).counters();
                assert_eq!(counters.publish_refused, refused);
                let lost = u64::from(counters.dropped.by(DropReason::OutOfMemory));
                assert!(refused + lost >= 10, "{policy:?}: memory was full");
                // Whatever table is full, the subscriber can connect, even with a Will, and receive its messages.
                let last = Will { topic: "w", payload: b"w", ..NO_WILL };
                let again = Opening { clean_start: false, will: Some((last, 0)), ..kept };
                let mut subscriber = Honest::connect(world, Version::V5, &again);
                let got = self::messages(subscriber.take(world));
                assert_eq!(got.len() as u64, accepted, "{policy:?}: what was accepted came");
                assert_eq!(counters.publish_lost, lost, "{policy:?}: what had no room was counted, and refused");
                // The messages came in order.
                assert!(got.windows(2).all(|pair| pair[0].payload < pair[1].payload));
                for message in &got {
                    subscriber.ack(world, AckKind::PubAck, message.packet_id);
                }
                publisher.publish(world, "t/a", b"after", QoS::AtLeastOnce, false, 1);
                assert_eq!(payloads(subscriber.take(world)), ["after"]);
                world.cut(publisher.at);
                let end = Packet::Disconnect(Disconnect {
                    code: ReasonCode::Success,
                    properties: Properties::new(&[Property::SessionExpiryInterval(0)]),
                });
                world.advance(1);
                subscriber.send(world, &end);
                world.advance(61_000);
                world.expect_nothing_left();
            });
        }
    }
}

/// The queue of one Session is full long before the memory is.
#[test]
fn a_full_queue_is_handled_by_the_policy() {
    let by_count = LIMITS.with(|limits| limits.queued_messages = 4);
    // Each message has 3 bytes of topic and 2 of payload.
    let by_bytes = LIMITS.with(|limits| limits.queued_bytes = 4 * 5);
    for limits in [by_count, by_bytes] {
        let cases: [(Overflow, &[&str], u32); 4] = [
            (Overflow::DropNewest, &["a1", "b1", "a2", "a3"], 2),
            (Overflow::DropOldest, &["a2", "a3", "b2", "a4"], 2),
            (Overflow::KeepLatest, &["a2", "a3", "b2", "a4"], 2),
            (Overflow::Refuse, &["a1", "b1", "a2", "a3"], 0),
        ];
        for (policy, expected, dropped) in cases {
            both(SMALL, &Config { overflow: policy, ..config(limits) }, |world| {
                let kept = Opening { expiry_secs: 60, ..Opening::new("sub") };
                let mut subscriber = Honest::accepted(world, Version::V5, &kept);
                subscriber.subscribe(world, "t/+", QoS::AtLeastOnce);
                subscriber.disconnect(world);
                let mut v5 = Honest::accepted(world, Version::V5, &Opening::new("pub5"));
                let mut v3 = Honest::accepted(world, Version::V3_1_1, &Opening::new("pub3"));
                let mut answers = Vec::new();
                for (number, text) in ["a1", "b1", "a2", "a3", "b2", "a4"].into_iter().enumerate() {
                    let topic = format!("t/{}", &text[..1]);
                    let publisher = if number == 5 { &mut v3 } else { &mut v5 };
                    publisher.publish(world, &topic, text.as_bytes(), QoS::AtLeastOnce, false, 1);
                    answers.push(publisher.take(world));
                }
                let success = [Got::Ack(AckKind::PubAck, 1, ReasonCode::Success)];
                let refused = [Got::Ack(AckKind::PubAck, 1, ReasonCode::QuotaExceeded)];
                if policy == Overflow::Refuse {
                    assert_eq!(answers[4], refused);
                    assert_eq!(answers[5], [], "MQTT 3.1.1 withholds it");
                    assert_eq!(world.shard(0).counters().publish_refused, 2);
                } else if policy == Overflow::DropNewest {
                    // No other subscriber could have kept these messages. MQTT 5.0 has a code to say so, and MQTT 3.1.1 has
                    // none.
                    assert_eq!((&answers[4][..], &answers[5][..]), (&refused[..], &success[..]));
                    let counters = world.shard(0).counters();
                    assert_eq!((counters.publish_lost, counters.publish_refused), (2, 1));
                } else {
                    assert!(answers.iter().all(|answer| *answer == success));
                    assert_eq!(world.shard(0).counters().publish_lost, 0);
                }
                assert_eq!(world.shard(0).counters().dropped.by(DropReason::QueueFull), dropped, "{policy:?}");
                let again = Opening { clean_start: false, expiry_secs: 0, ..kept };
                let mut subscriber = Honest::connect(world, Version::V5, &again);
                assert_eq!(payloads(subscriber.take(world)), expected, "{policy:?}");
                for client in [subscriber, v3, v5] {
                    world.cut(client.at);
                }
                world.expect_nothing_left();
            });
        }
    }
}

#[test]
fn retained_messages_beyond_a_limit_are_refused_and_not_delivered() {
    // The limits are the quota, the levels of topics, and the memory for messages, of which an eighth is reserved for
    // CONNECT.
    let by_quota = LIMITS.with(|limits| limits.retained_messages = 10);
    for (limits, capacity) in [
        (by_quota, SMALL),
        (LIMITS, Capacity { topic_levels: 12, ..SMALL }),
        (LIMITS, Capacity { messages: 12, ..SMALL }),
    ] {
        both(capacity, &config(limits), |world| {
            let mut client = Honest::accepted(world, Version::V5, &Opening::new("c"));
            client.subscribe(world, "#", QoS::AtMostOnce);
            let mut kept = 0;
            for number in 0..20u16 {
                client.publish(world, &format!("r{number}"), b"x", QoS::AtLeastOnce, true, 1);
                let got = client.take(world);
                let code = got.iter().find_map(|got| if let Got::Ack(_, _, code) = got { Some(*code) } else { None });
                let came = got.iter().any(|got| matches!(got, Got::Message(_)));
                match code {
                    Some(ReasonCode::Success) => kept += 1,
                    Some(ReasonCode::QuotaExceeded) => assert!(!came, "it was refused, and came all the same"),
                    other => panic!("{other:?}"),
                }
                assert_eq!(world.shard(0).counters().retained, kept);
            }
            assert!((9..=11).contains(&kept), "{kept}");
            for number in 0..20u16 {
                client.publish(world, &format!("r{number}"), b"", QoS::AtMostOnce, true, 1);
            }
            assert_eq!(world.shard(0).counters().retained, 0);
            world.cut(client.at);
            world.expect_nothing_left();
        });
    }
}

#[test]
fn a_group_keeps_as_many_messages_as_its_limit() {
    let limits = LIMITS.with(|limits| limits.group_messages = 3);
    for (policy, expected) in [
        (Overflow::DropNewest, ["1", "2", "3"]),
        (Overflow::DropOldest, ["3", "4", "5"]),
        (Overflow::KeepLatest, ["3", "4", "5"]),
        (Overflow::Refuse, ["1", "2", "3"]),
    ] {
        both(SMALL, &Config { overflow: policy, ..config(limits) }, |world| {
            let kept = Opening { expiry_secs: 60, ..Opening::new("member") };
            let mut member = Honest::accepted(world, Version::V5, &kept);
            member.subscribe(world, "$share/g/t", QoS::AtLeastOnce);
            member.disconnect(world);
            let mut publisher = Honest::accepted(world, Version::V5, &Opening::new("pub"));
            for text in ["1", "2", "3", "4", "5"] {
                publisher.publish(world, "t", text.as_bytes(), QoS::AtLeastOnce, false, 1);
            }
            let refused = publisher
                .take(world)
                .iter()
                .filter(|got| matches!(got, Got::Ack(_, _, ReasonCode::QuotaExceeded)))
                .count();
            let dropped = world.shard(0).counters().dropped.by(DropReason::QueueFull);
            let counts = match policy {
                Overflow::DropNewest => (2, 2),
                Overflow::DropOldest | Overflow::KeepLatest => (0, 2),
                Overflow::Refuse => (2, 0),
            };
            assert_eq!((refused, dropped), counts, "{policy:?}");
            let again = Opening { clean_start: false, expiry_secs: 0, ..kept };
            let mut member = Honest::connect(world, Version::V5, &again);
            assert_eq!(payloads(member.take(world)), expected, "{policy:?}");
            world.cut(member.at);
            world.cut(publisher.at);
            world.expect_nothing_left();
        });
    }
}

/// Other clients use up all deliveries. A client with a message in flight gets its retained message when the
/// acknowledgement makes room. For a client without one the broker would never look again, so its retained message is
/// counted as lost. A bug of the past: that message waited for ever.
#[test]
fn a_retained_message_without_room_for_its_delivery_waits_or_is_counted() {
    let capacity = Capacity { deliveries: 4, ..SMALL };
    both(capacity, &config(LIMITS), |world| {
        let mut publisher = Honest::accepted(world, Version::V5, &Opening::new("pub"));
        publisher.publish(world, "kept", b"retained", QoS::AtLeastOnce, true, 1);
        let hoard = Opening { expiry_secs: 10, ..Opening::new("hoard") };
        let mut hoarder = Honest::accepted(world, Version::V5, &hoard);
        hoarder.subscribe(world, "t", QoS::AtLeastOnce);
        hoarder.disconnect(world);
        for _ in 0..4 {
            publisher.publish(world, "t", b"x", QoS::AtLeastOnce, false, 1);
        }
        let mut client = Honest::accepted(world, Version::V5, &Opening::new("new"));
        assert_eq!(client.subscribe(world, "kept", QoS::AtLeastOnce), ReasonCode::GrantedQoS1);
        assert_eq!(payloads(client.take(world)), [""; 0]);
        assert_eq!(world.shard(0).counters().dropped.by(DropReason::OutOfMemory), 1);
        world.advance(11_000);
        publisher.take(world);
        // Now the client has a message in flight while the hoarder uses up all other deliveries.
        client.subscribe(world, "own", QoS::AtLeastOnce);
        publisher.publish(world, "own", b"x", QoS::AtLeastOnce, false, 1);
        let [Got::Message(own)] = &client.take(world)[..] else { panic!("one message") };
        let mut hoarder = Honest::accepted(world, Version::V5, &hoard);
        hoarder.subscribe(world, "t", QoS::AtLeastOnce);
        hoarder.disconnect(world);
        for _ in 0..3 {
            publisher.publish(world, "t", b"x", QoS::AtLeastOnce, false, 1);
        }
        assert_eq!(client.subscribe(world, "kept", QoS::AtLeastOnce), ReasonCode::GrantedQoS1);
        client.ack(world, AckKind::PubAck, own.packet_id);
        assert_eq!(payloads(client.take(world)), ["retained"]);
        world.advance(11_000);
        publisher.take(world);
        publisher.publish(world, "kept", b"", QoS::AtMostOnce, true, 1);
        world.cut(publisher.at);
        world.cut(client.at);
        world.expect_nothing_left();
    });
}

/// A broker in the memory that firmware declares handles all QoS, retained messages and Wills, and gives all memory back.
#[test]
fn a_broker_in_firmware_memory_serves_clients_and_gives_all_memory_back() {
    type Small = goldcrest_core::resources! {
        connections: 6,
        sessions: 8,
        subscriptions: 12,
        levels: 24,
        messages: 24,
        deliveries: 32,
        blocks: 64,
    };
    let broker = Housed::made(|shelf| Broker::new(shelf.put(Small::new()).memory(), Config::firmware(9), &AllowAll));
    let mut world = World::of(vec![broker]);
    for _ in 0..20 {
        let mut subscriber = Honest::accepted(&mut world, Version::V5, &Opening::new("sub"));
        subscriber.subscribe(&mut world, "t/#", QoS::ExactlyOnce);
        let last = Will { retain: true, topic: "t/w", payload: b"w", ..NO_WILL };
        let opening = Opening { will: Some((last, 0)), ..Opening::new("pub") };
        let publisher = Honest::accepted(&mut world, Version::V3_1_1, &opening);
        for (number, qos) in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce].into_iter().enumerate() {
            publisher.publish(&mut world, "t/x", b"hello", qos, number == 1, 1);
        }
        publisher.ack(&mut world, AckKind::PubRel, 1);
        world.cut(publisher.at);
        assert_eq!(payloads(subscriber.take(&mut world)), ["hello", "hello", "hello", "w"]);
        world.cut(subscriber.at);
    }
    let clearer = Honest::accepted(&mut world, Version::V5, &Opening::new("clear"));
    clearer.publish(&mut world, "t/x", b"", QoS::AtMostOnce, true, 1);
    clearer.publish(&mut world, "t/w", b"", QoS::AtMostOnce, true, 1);
    clearer.disconnect(&mut world);
    world.expect_nothing_left();
    let dropped = world.shard(0).counters().dropped;
    assert_eq!(dropped.total(), u64::from(dropped.by(DropReason::SessionEnded)), "it acknowledged nothing");
}
