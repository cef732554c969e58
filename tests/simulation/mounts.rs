//! Mounts: clients that live in a part of the topic tree. They name topics without the beginning of that part, and see
//! no topics outside.
//!
//! In these tests `name@site` is granted the mount `site/`, and all other clients see the whole tree.

use std::ops::ControlFlow;

use goldcrest_core::codec::{
    AckKind, Auth, Filters, Packet, Properties, Property, Publish, QoS, ReasonCode, Subscribe, SubscriptionOptions,
    Version, Will, split,
};
use goldcrest_core::{
    Ask, Authentication, Authorize, Config, DropReason, Grant, Limits, LocalPublish, Mount, Subject, Subscribable,
    TopicFilter, TopicName,
};
use goldcrest_tests::honest::{Got, Honest, Opening, bytes_of, id};
use goldcrest_tests::world::{Judgement, World};

const ALL: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
const VERSIONS: [Version; 2] = [Version::V5, Version::V3_1_1];

fn below(prefix: &str) -> Grant {
    Grant::default().below(Mount::new(prefix).unwrap())
}

/// Permits only topics below a site, and topics for everybody.
struct WholeTopics;

impl Authorize for WholeTopics {
    fn publish(&self, who: &Subject<'_>, topic: TopicName<'_>, _: QoS, _: bool) -> bool {
        may(who, topic.as_str())
    }

    fn subscribe(&self, who: &Subject<'_>, filter: TopicFilter<'_>, _: QoS) -> Subscribable {
        Subscribable::wholly_if(may(who, filter.proper()))
    }
}

fn may(who: &Subject<'_>, topic: &str) -> bool {
    who.with_client_id(|id| {
        id.split_once('@').is_none_or(|(_, site)| topic.starts_with(site)) && !topic.ends_with("secret")
    })
}

fn config() -> Config<'static> {
    Config { durable: true, authentication: Authentication::Ask, ..Config::gateway(1) }
}

fn world_of(shards: u16, config: Config<'static>) -> World {
    let mut world = World::with_authorize(shards, config, &WholeTopics);
    world.set_judge(Box::new(|ask| match ask {
        Ask::Connect(connect) => match connect.client_id.split_once('@') {
            Some((_, site)) => Judgement::Grant(below(&[site, "/"].concat())),
            None => Judgement::Grant(Grant::default()),
        },
        Ask::Auth(_) => Judgement::Later,
    }));
    world
}

fn worlds(mut test: impl FnMut(&mut World, Version)) {
    for shards in [1, 2] {
        for version in VERSIONS {
            test(&mut world_of(shards, config()), version);
        }
    }
}

fn kept(id: &str) -> Opening<'_> {
    Opening { expiry_secs: 600, clean_start: false, ..Opening::new(id) }
}

fn connect(world: &mut World, version: Version, id: &str) -> Honest {
    Honest::accepted(world, version, &kept(id))
}

/// Subscribes, and receives all retained messages for the filter.
fn subscribe(world: &mut World, client: &mut Honest, filter: &str, qos: QoS) -> Vec<(String, Vec<u8>)> {
    let filters = [(filter, SubscriptionOptions::with_qos(qos))];
    let (packet_id, properties) = (id(1), Properties::EMPTY);
    client.send(world, &Packet::Subscribe(Subscribe { packet_id, properties, filters: Filters::new(&filters) }));
    let mut got = client.take(world);
    // Retained messages may come before SUBACK, which waits for the disk.
    let answer = got.iter().position(|got| matches!(got, Got::SubAck(..))).expect("SUBACK");
    assert_eq!(got.remove(answer), Got::SubAck(1, vec![ReasonCode::granted(qos)]), "{filter}");
    let mut all = Vec::new();
    for got in got {
        let Got::Message(message) = got else { panic!("{got:?}") };
        match message.qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => client.ack(world, AckKind::PubAck, message.packet_id),
            QoS::ExactlyOnce => client.ack(world, AckKind::PubRec, message.packet_id),
        }
        all.push((message.topic, message.payload));
    }
    all.extend(messages(world, client));
    all
}

fn messages(world: &mut World, client: &mut Honest) -> Vec<(String, Vec<u8>)> {
    client.take_messages(world).into_iter().map(|message| (message.topic, message.payload)).collect()
}

fn all(expected: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    expected.iter().map(|(topic, text)| (topic.to_string(), text.as_bytes().to_vec())).collect()
}

#[track_caller]
fn expect(world: &mut World, client: &mut Honest, expected: &[(&str, &str)]) {
    assert_eq!(messages(world, client), all(expected));
}

/// Publishes, and completes the handshake.
fn publish(world: &mut World, client: &mut Honest, topic: &str, payload: &str, qos: QoS, retain: bool) {
    client.publish(world, topic, payload.as_bytes(), qos, retain, 7);
    let got = client.take(world);
    match qos {
        QoS::AtMostOnce => assert_eq!(got, []),
        QoS::AtLeastOnce => {
            assert!(matches!(got[..], [Got::Ack(AckKind::PubAck, 7, code)] if !code.is_error()), "{got:?}");
        }
        QoS::ExactlyOnce => {
            assert!(matches!(got[..], [Got::Ack(AckKind::PubRec, 7, code)] if !code.is_error()), "{got:?}");
            client.ack(world, AckKind::PubRel, 7);
            let got = client.take(world);
            assert!(matches!(got[..], [Got::Ack(AckKind::PubComp, 7, ReasonCode::Success)]), "{got:?}");
        }
    }
}

/// All subscriptions of a Session, with their whole filters.
fn subscriptions(world: &mut World, client: &str) -> Vec<String> {
    let mut all = Vec::new();
    for shard in 0..world.shards() {
        world.with_shard(shard, |broker| {
            broker.visit_subscriptions(client, 0, |subscription| {
                all.push(subscription.filter.to_owned());
                ControlFlow::Continue(())
            })
        });
    }
    all.sort();
    all
}

fn dropped(world: &World, reason: DropReason) -> u32 {
    (0..world.shards()).map(|shard| world.shard(shard).counters().dropped.by(reason)).sum()
}

#[test]
fn the_mount_is_added_to_topics_from_the_client_and_removed_from_topics_to_it() {
    worlds(|world, version| {
        let [mut a, mut b, mut other, mut whole, mut inside, mut outside] =
            ["a@site", "b@site", "c@other", "whole", "p@site", "p"].map(|id| connect(world, version, id));
        for qos in ALL {
            for client in [&mut a, &mut b, &mut other, &mut whole] {
                subscribe(world, client, "t/#", qos);
            }
            subscribe(world, &mut whole, "site/#", qos);
            publish(world, &mut inside, "t/u", "1", qos, false);
            publish(world, &mut outside, "site/t", "2", qos, false);
            publish(world, &mut outside, "t/u", "3", qos, false);
            publish(world, &mut outside, "site", "4", qos, false);
            expect(world, &mut a, &[("t/u", "1"), ("t", "2")]);
            expect(world, &mut b, &[("t/u", "1"), ("t", "2")]);
            expect(world, &mut other, &[]);
            expect(world, &mut whole, &[("site/t/u", "1"), ("site/t", "2"), ("t/u", "3"), ("site", "4")]);
        }
        assert_eq!(subscriptions(world, "a@site"), ["site/t/#"]);
        world.check_stores();
    });
}

#[test]
fn a_client_does_not_get_the_topics_of_its_mount_itself() {
    worlds(|world, version| {
        let [mut client, mut whole] = ["a@site", "whole"].map(|id| connect(world, version, id));
        subscribe(world, &mut client, "#", QoS::AtLeastOnce);
        // The filter `site/#` matches `site` and `site/`. Without the mount no topic would be left of these.
        for topic in ["site", "site/", "site/x"] {
            publish(world, &mut whole, topic, topic, QoS::AtLeastOnce, true);
        }
        expect(world, &mut client, &[("x", "site/x")]);
        client.disconnect(world);
        let mut client = connect(world, version, "b@site");
        assert_eq!(subscribe(world, &mut client, "#", QoS::AtMostOnce), all(&[("x", "site/x")]));
        assert_eq!(dropped(world, DropReason::NotAuthorized), 4);
    });
}

#[test]
fn a_client_gets_retained_messages_below_its_mount_alone() {
    worlds(|world, version| {
        let [mut a, mut whole] = ["a@site", "whole"].map(|id| connect(world, version, id));
        publish(world, &mut a, "r", "mine", QoS::AtLeastOnce, true);
        publish(world, &mut whole, "r", "of all", QoS::AtLeastOnce, true);
        publish(world, &mut whole, "site/s/t", "given", QoS::AtLeastOnce, true);
        for crash in [false, true] {
            if crash {
                world.crash();
            }
            let mut b = Honest::accepted(world, version, &Opening::new("b@site"));
            assert_eq!(subscribe(world, &mut b, "r", QoS::AtLeastOnce), all(&[("r", "mine")]));
            assert_eq!(subscribe(world, &mut b, "+/t", QoS::ExactlyOnce), all(&[("s/t", "given")]));
            let mut whole = Honest::accepted(world, version, &Opening::new("another"));
            assert_eq!(subscribe(world, &mut whole, "+/r", QoS::AtLeastOnce), all(&[("site/r", "mine")]));
        }
    });
}

#[test]
fn a_will_is_published_below_the_mount_even_after_a_restart() {
    worlds(|world, version| {
        let will =
            Will { topic: "gone", qos: QoS::AtLeastOnce, retain: true, properties: Properties::EMPTY, payload: b"!" };
        for crash in [false, true] {
            let [mut watcher, mut whole] = ["w@site", "whole"].map(|id| connect(world, version, id));
            subscribe(world, &mut watcher, "gone", QoS::AtLeastOnce);
            subscribe(world, &mut whole, "+/gone", QoS::AtLeastOnce);
            let opening = Opening { will: Some((will, 0)), ..Opening::new("a@site") };
            let client = Honest::accepted(world, version, &opening);
            if crash {
                world.crash();
                world.advance(600_000 - 1);
                (watcher, whole) = (connect_late(world, version, "w@site"), connect_late(world, version, "whole"));
            } else {
                world.cut(client.at);
            }
            expect(world, &mut watcher, &[("gone", "!")]);
            expect(world, &mut whole, &[("site/gone", "!")]);
        }
        // The permission for the Will is asked for with the whole topic, at the verdict.
        let secret = Will { topic: "secret", ..will };
        let mut client =
            Honest::connect(world, version, &Opening { will: Some((secret, 0)), ..Opening::new("a@site") });
        let got = client.take(world);
        assert!(matches!(got[..], [Got::ConnAck(false, code)] if code.is_error()), "{got:?}");
        world.check_stores();
    });
}

/// Connects a client, and leaves all packets to be received later.
fn connect_late(world: &mut World, version: Version, id: &str) -> Honest {
    Honest::connect(world, version, &kept(id))
}

#[test]
fn clients_with_the_same_whole_filter_share_a_group() {
    worlds(|world, version| {
        let [mut a, mut b, mut other, mut publisher] =
            ["a@site", "b@site", "c@other", "p@site"].map(|id| connect(world, version, id));
        for client in [&mut a, &mut b, &mut other] {
            subscribe(world, client, "$share/g/t/+", QoS::AtLeastOnce);
        }
        let mut whole = connect(world, version, "whole");
        subscribe(world, &mut whole, "$share/g/site/t/+", QoS::AtLeastOnce);
        assert_eq!(subscriptions(world, "a@site"), ["$share/g/site/t/+"]);
        for _ in 0..30 {
            publish(world, &mut publisher, "t/u", "x", QoS::AtLeastOnce, false);
        }
        expect(world, &mut other, &[]);
        let got = [&mut a, &mut b, &mut whole].map(|client| messages(world, client));
        for (got, topic) in got.iter().zip(["t/u", "t/u", "site/t/u"]) {
            assert!(!got.is_empty() && got.iter().all(|(shown, _)| shown == topic), "{topic}: {got:?}");
        }
        assert_eq!(got.iter().map(Vec::len).sum::<usize>(), 30);
        // The messages that this member does not take go to the other members.
        for client in [&mut a, &mut b] {
            let code = client.unsubscribe(world, "$share/g/t/+");
            assert_eq!(code, ReasonCode::Success);
        }
        publish(world, &mut publisher, "t/u", "y", QoS::AtLeastOnce, false);
        expect(world, &mut a, &[]);
        expect(world, &mut whole, &[("site/t/u", "y")]);
    });
}

#[test]
fn a_client_with_a_mount_unsubscribes_by_the_filter_it_subscribed_to() {
    worlds(|world, version| {
        let [mut a, mut whole] = ["a@site", "whole"].map(|id| connect(world, version, id));
        subscribe(world, &mut a, "t", QoS::AtLeastOnce);
        let none = if version.is_v5() { ReasonCode::NoSubscriptionExisted } else { ReasonCode::Success };
        assert_eq!(a.unsubscribe(world, "site/t"), none);
        publish(world, &mut whole, "site/t", "1", QoS::AtLeastOnce, false);
        expect(world, &mut a, &[("t", "1")]);
        assert_eq!(a.unsubscribe(world, "t"), ReasonCode::Success);
        publish(world, &mut whole, "site/t", "2", QoS::AtLeastOnce, false);
        expect(world, &mut a, &[]);
        assert_eq!(subscriptions(world, "a@site"), [""; 0]);
    });
}

/// A PUBLISH with these Properties.
fn publish_with(world: &mut World, client: &Honest, topic: &str, list: &[Property<'_>]) {
    let properties = Properties::new(list);
    let (dup, qos, retain, packet_id, payload) = (false, QoS::AtMostOnce, false, None, &b"x"[..]);
    client.send(world, &Packet::Publish(Publish { dup, qos, retain, topic, packet_id, properties, payload }));
}

#[test]
fn topic_aliases_work_for_clients_with_and_without_a_mount() {
    for shards in [1, 2] {
        let world = &mut world_of(shards, config());
        let mut a = Honest::accepted(world, Version::V5, &Opening { aliases: 2, ..Opening::new("a@site") });
        let mut whole = Honest::accepted(world, Version::V5, &Opening { aliases: 2, ..Opening::new("whole") });
        subscribe(world, &mut a, "#", QoS::AtMostOnce);
        subscribe(world, &mut whole, "site/#", QoS::AtMostOnce);
        for topic in ["t", "", "u", ""] {
            publish_with(world, &a, topic, &[Property::TopicAlias(1)]);
        }
        // An alias alone stands for the last topic that was sent with it.
        expect(world, &mut a, &[("t", "x"), ("t", "x"), ("u", "x"), ("u", "x")]);
        expect(world, &mut whole, &[("site/t", "x"), ("site/t", "x"), ("site/u", "x"), ("site/u", "x")]);
    }
}

/// The topics of messages with their Response Topics.
fn with_response_topics(world: &mut World, client: &Honest) -> Vec<(String, Option<String>)> {
    let bytes = world.receive(client.at);
    let (mut at, mut all) = (0, Vec::new());
    while let Some((frame, len)) = split(&bytes[at..], u32::MAX).unwrap() {
        at += len;
        if let Ok(Packet::Publish(publish)) = Packet::decode(client.version, frame) {
            assert_eq!(publish.payload, b"x");
            let others: Vec<_> = publish.properties.user_properties().collect();
            assert_eq!(others, [("before", "1"), ("behind", "2")]);
            all.push((publish.topic.to_owned(), publish.properties.response_topic().map(str::to_owned)));
        }
    }
    all
}

#[test]
fn the_mount_is_added_to_response_topics_and_removed_where_it_fits() {
    for shards in [1, 2] {
        for payload_at in ["site/answers", "elsewhere/answers", "site", ""] {
            let world = &mut world_of(shards, config());
            let [mut a, b, mut whole] = ["a@site", "b@site", "whole"].map(|id| connect(world, Version::V5, id));
            subscribe(world, &mut a, "t", QoS::AtMostOnce);
            subscribe(world, &mut whole, "site/t", QoS::AtMostOnce);
            let list = |topic| {
                [
                    Property::UserProperty("before", "1"),
                    Property::ResponseTopic(topic),
                    Property::UserProperty("behind", "2"),
                ]
            };
            publish_with(world, &b, "t", &list("answers"));
            let got = |topic: &str, response: &str| vec![(topic.to_owned(), Some(response.to_owned()))];
            assert_eq!(with_response_topics(world, &a), got("t", "answers"));
            assert_eq!(with_response_topics(world, &whole), got("site/t", "site/answers"));
            if payload_at.is_empty() {
                continue;
            }
            publish_with(world, &whole, "site/t", &list(payload_at));
            let shown = payload_at.strip_prefix("site/").unwrap_or(payload_at);
            assert_eq!(with_response_topics(world, &a), got("t", shown));
        }
    }
}

#[test]
fn the_response_topic_of_a_will_is_below_the_mount() {
    let world = &mut world_of(1, config());
    let mut whole = connect(world, Version::V5, "whole");
    subscribe(world, &mut whole, "site/gone", QoS::AtMostOnce);
    let list = [
        Property::UserProperty("before", "1"),
        Property::ResponseTopic("answers"),
        Property::UserProperty("behind", "2"),
    ];
    let properties = Properties::new(&list);
    let will = Will { topic: "gone", qos: QoS::AtMostOnce, retain: false, properties, payload: b"x" };
    let client = Honest::accepted(world, Version::V5, &Opening { will: Some((will, 0)), ..Opening::new("a@site") });
    world.cut(client.at);
    assert_eq!(with_response_topics(world, &whole), [("site/gone".to_owned(), Some("site/answers".to_owned()))]);
}

#[test]
fn a_session_keeps_its_mount_over_a_restart() {
    worlds(|world, version| {
        let mut a = connect(world, version, "a@site");
        subscribe(world, &mut a, "t", QoS::ExactlyOnce);
        subscribe(world, &mut a, "$share/g/s", QoS::AtLeastOnce);
        a.disconnect(world);
        let mut whole = connect(world, version, "whole");
        publish(world, &mut whole, "site/t", "1", QoS::ExactlyOnce, false);
        publish(world, &mut whole, "site/s", "2", QoS::AtLeastOnce, false);
        world.check_stores();
        world.crash();
        let mut a = connect_late(world, version, "a@site");
        let mut got = messages(world, &mut a);
        got.sort();
        assert_eq!(got, [("s".to_owned(), b"2".to_vec()), ("t".to_owned(), b"1".to_vec())]);
        assert_eq!(subscriptions(world, "a@site"), ["$share/g/site/s", "site/t"]);
        let mut whole = connect(world, version, "whole");
        publish(world, &mut whole, "site/t", "3", QoS::AtLeastOnce, false);
        expect(world, &mut a, &[("t", "3")]);
    });
}

/// Leaves a Session of `id` with messages of each kind: in flight, queued, and of a group.
fn leave_session(world: &mut World, version: Version, grant: Grant, filters: &[&str], topics: &[&str]) {
    world.set_judge(Box::new(move |_| Judgement::Grant(grant.clone())));
    let mut client = connect(world, version, "moves");
    for filter in filters {
        subscribe(world, &mut client, filter, QoS::ExactlyOnce);
    }
    world.set_judge(Box::new(|_| Judgement::Grant(Grant::default())));
    let mut whole = connect(world, version, "whole");
    for (number, topic) in topics.iter().enumerate() {
        publish(world, &mut whole, topic, "in flight", QoS::ExactlyOnce, false);
        if number == 0 {
            assert!(!client.take(world).is_empty());
            world.cut(client.at);
        }
    }
    world.cut(whole.at);
}

#[test]
fn a_session_resumed_with_another_mount_loses_topics_outside_it() {
    for crash in [false, true] {
        worlds(|world, version| {
            leave_session(world, version, below("site/"), &["t", "$share/g/t", "other/t"], &["site/t", "site/other/t"]);
            assert_eq!(subscriptions(world, "moves"), ["$share/g/site/t", "site/other/t", "site/t"]);
            if crash {
                world.crash();
            }
            let before = dropped(world, DropReason::NotAuthorized);
            world.set_judge(Box::new(|_| Judgement::Grant(below("site/other/"))));
            let mut client = connect_late(world, version, "moves");
            expect(world, &mut client, &[("t", "in flight")]);
            assert_eq!(subscriptions(world, "moves"), ["site/other/t"]);
            // A message of the group goes back to the group and ends with it, or stays with the Session and is dropped.
            assert!(dropped(world, DropReason::NotAuthorized) > before);
            world.check_stores();
            let left: usize = (0..world.shards()).map(|shard| world.shard(shard).counters().deliveries as usize).sum();
            assert_eq!(left, 0);
        });
    }
}

#[test]
fn a_session_resumed_without_its_mount_keeps_all_its_subscriptions() {
    worlds(|world, version| {
        leave_session(world, version, below("site/"), &["t"], &["site/t"]);
        let mut client = connect_late(world, version, "moves");
        expect(world, &mut client, &[("site/t", "in flight")]);
        assert_eq!(subscriptions(world, "moves"), ["site/t"]);
    });
}

#[test]
fn a_client_with_a_mount_does_not_see_the_servers_sys_topics() {
    worlds(|world, version| {
        let [mut client, mut inside] = ["a@site", "p@site"].map(|id| connect(world, version, id));
        for filter in ["$SYS/#", "#", "$SYS/a"] {
            subscribe(world, &mut client, filter, QoS::AtMostOnce);
        }
        let now = world.now();
        for shard in 0..world.shards() {
            let topic = TopicName::new("$SYS/a").unwrap();
            let message = LocalPublish { topic, payload: b"1", qos: QoS::AtMostOnce, retain: false, expiry_secs: None };
            world.with_shard(shard, |broker| broker.publish(now, message)).unwrap();
        }
        world.drive();
        expect(world, &mut client, &[]);
        // Below the mount, topics that begin with `$SYS/` are ordinary topics.
        publish(world, &mut inside, "$SYS/a", "2", QoS::AtMostOnce, false);
        expect(world, &mut client, &[("$SYS/a", "2")]);
    });
}

#[test]
fn a_topic_that_is_too_long_with_the_mount_is_refused() {
    worlds(|world, version| {
        let mut client = connect(world, version, "a@site");
        let fits = "t".repeat(65_535 - "site/".len());
        let too_long = "t".repeat(65_535 - "site/".len() + 1);
        subscribe(world, &mut client, &fits, QoS::AtLeastOnce);
        let code = client.subscribe(world, &too_long, QoS::AtLeastOnce);
        let invalid = if version.is_v5() { ReasonCode::TopicFilterInvalid } else { ReasonCode::UnspecifiedError };
        assert_eq!(code, invalid);
        let code = client.unsubscribe(world, &too_long);
        assert_eq!(code, if version.is_v5() { invalid } else { ReasonCode::Success });
        client.publish(world, &fits, b"x", QoS::AtLeastOnce, false, 1);
        let got = client.take(world);
        assert!(got.contains(&Got::Ack(AckKind::PubAck, 1, ReasonCode::Success)) && got.len() == 2, "{}", got.len());
        client.ack(world, AckKind::PubAck, 1);
        client.publish(world, &too_long, b"x", QoS::AtLeastOnce, false, 2);
        if version.is_v5() {
            assert_eq!(client.take(world), [Got::Ack(AckKind::PubAck, 2, ReasonCode::TopicNameInvalid)]);
            publish_with(world, &client, "t", &[Property::ResponseTopic(&too_long)]);
            assert_eq!(client.take(world), [Got::Disconnect(ReasonCode::TopicNameInvalid)], "QoS 0 has no answer");
        }
        assert!(world.is_closed(client.at));
        let will =
            Will { topic: &too_long, qos: QoS::AtMostOnce, retain: false, properties: Properties::EMPTY, payload: b"" };
        let mut client = Honest::connect(world, version, &Opening { will: Some((will, 0)), ..Opening::new("b@site") });
        let got = client.take(world);
        let is_refused = matches!(got[..], [Got::ConnAck(false, code)] if code.is_error()) || got.is_empty();
        assert!(is_refused && world.is_closed(client.at), "{got:?}");
    });
}

#[test]
fn a_packet_that_is_too_large_with_the_mount_is_refused() {
    let world = &mut world_of(1, config());
    let mut client = connect(world, Version::V5, &["a@", &"s".repeat(200)].concat());
    // Each filter is 1 byte, and 202 bytes with the mount.
    let filters = vec![("t", SubscriptionOptions::with_qos(QoS::AtMostOnce)); 10_000];
    let (packet_id, properties) = (id(1), Properties::EMPTY);
    let packet = Packet::Subscribe(Subscribe { packet_id, properties, filters: Filters::new(&filters) });
    client.send(world, &packet);
    assert_eq!(client.take(world), [Got::Disconnect(ReasonCode::PacketTooLarge)]);
}

#[test]
fn the_levels_of_a_mount_count_towards_the_limit() {
    let limits = Limits::GATEWAY.with(|limits| limits.topic_levels = 2);
    let world = &mut world_of(1, Config { limits, ..config() });
    let mut client = connect(world, Version::V5, "a@site");
    subscribe(world, &mut client, "t", QoS::AtMostOnce);
    assert_eq!(client.subscribe(world, "t/u", QoS::AtMostOnce), ReasonCode::QuotaExceeded);
    client.publish(world, "t/u", b"x", QoS::AtLeastOnce, true, 1);
    assert_eq!(client.take(world), [Got::Ack(AckKind::PubAck, 1, ReasonCode::QuotaExceeded)]);
}

#[test]
fn permissions_are_asked_for_with_the_whole_topic() {
    worlds(|world, version| {
        let mut client = connect(world, version, "a@site");
        let denied = if version.is_v5() { ReasonCode::NotAuthorized } else { ReasonCode::UnspecifiedError };
        assert_eq!(client.subscribe(world, "secret", QoS::AtMostOnce), denied);
        assert_eq!(client.subscribe(world, "public", QoS::AtMostOnce), ReasonCode::Success);
        publish(world, &mut client, "else", "x", QoS::AtLeastOnce, false);
        let before = dropped(world, DropReason::NotAuthorized);
        client.publish(world, "a/secret", b"x", QoS::AtMostOnce, false, 1);
        assert_eq!(dropped(world, DropReason::NotAuthorized), before + 1);
    });
}

#[test]
fn a_re_authentication_does_not_change_the_mount() {
    for (grant, is_right) in [(below("site/"), true), (below("other/"), false), (Grant::default(), false)] {
        let world = &mut world_of(1, config());
        let at = world.open();
        let method = [Property::AuthenticationMethod("m")];
        let properties = Properties::new(&method);
        let connect = goldcrest_core::codec::Connect {
            version: Version::V5,
            is_bridge: false,
            clean_start: true,
            keep_alive: 0,
            properties,
            client_id: "a@site",
            will: None,
            user_name: None,
            password: None,
        };
        world.send(at, &bytes_of(Version::V5, &Packet::Connect(connect)));
        let auth = Auth { code: ReasonCode::ReAuthenticate, properties };
        world.send(at, &bytes_of(Version::V5, &Packet::Auth(auth)));
        world.decide(at, &Judgement::Grant(grant));
        assert_eq!(world.is_closed(at), !is_right);
    }
}
