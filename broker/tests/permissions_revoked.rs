//! Permissions that are taken away: they hold at once, on all shards, for messages wherever they are.

use crate::permissions::each;
use crate::support::{Client, connect_packet, message};
use goldcrest_core::codec::{AckKind, Connect, Packet, PacketId, Properties, Property, QoS, ReasonCode, Version};
use std::time::{Duration, Instant};

/// What the user s may read, before and after a permission is taken away.
fn reading(deny: bool) -> String {
    let denial = if deny { "{ deny = \"subscribe\", filter = \"a/secret/#\" }," } else { "" };
    format!(
        "subscribe = \"overlap\"\n\
         [user.s]\nrules = [{denial} {{ allow = \"subscribe\", filter = \"a/#\" }}]\n\
         [user.p]\nrules = [{{ allow = \"publish\", filter = \"#\" }}]\n"
    )
}

#[test]
fn a_revoked_permission_holds_for_messages_queued_and_in_flight() {
    for stays_connected in [false, true] {
        each(&reading(false), |mut ruled| {
            let (id, other) = (ruled.client_id("s", 0), ruled.client_id("p", 2));
            let (mut s, _) = ruled.lasting(Some("s"), &id, 1);
            assert_eq!(s.try_subscribe("a/+/+"), ReasonCode::GrantedQoS2);
            assert_eq!(s.try_subscribe("a/open"), ReasonCode::GrantedQoS2);
            let mut p = ruled.client(Some("p"), &other);
            for topic in ["a/secret/flying", "a/secret/queued", "a/open"] {
                assert_eq!(p.publish(topic, QoS::AtLeastOnce), ReasonCode::Success);
            }
            let number = s.receive(|packet| match packet {
                Packet::Publish(publish) => publish.packet_id.unwrap(),
                other => panic!("{other:?}"),
            });
            if stays_connected {
                ruled.change(&reading(true));
                s.acknowledge(AckKind::PubAck, number);
            } else {
                drop(s);
                ruled.change(&reading(true));
                let (again, is_present) = ruled.lasting(Some("s"), &id, 10);
                assert!(is_present);
                s = again;
            }
            assert_eq!(s.topics(), ["a/open"]);
            assert!(ruled.denied("receive", "rule") > 0.0);
            ruled.stop();
        });
    }
}

/// After PUBREC the client has the message, and only the handshake is left. Before, it is not sent again.
#[test]
fn a_revoked_permission_holds_for_half_done_messages_of_qos_2() {
    each(&reading(false), |mut ruled| {
        let (id, other) = (ruled.client_id("s", 0), ruled.client_id("p", 2));
        let (mut s, _) = ruled.lasting(Some("s"), &id, 10);
        assert_eq!(s.try_subscribe("a/#"), ReasonCode::GrantedQoS2);
        let mut p = ruled.client(Some("p"), &other);
        for topic in ["a/secret/received", "a/secret/sent", "a/open"] {
            assert_eq!(p.publish(topic, QoS::ExactlyOnce), ReasonCode::Success);
            p.acknowledge(AckKind::PubRel, PacketId::MIN);
            p.receive(|packet| assert!(matches!(packet, Packet::PubComp(_))));
        }
        let mut number = || {
            s.receive(|packet| match packet {
                Packet::Publish(publish) => publish.packet_id.unwrap(),
                other => panic!("{other:?}"),
            })
        };
        let numbers = [number(), number(), number()];
        s.acknowledge(AckKind::PubRec, numbers[0]);
        s.receive(|packet| assert!(matches!(packet, Packet::PubRel(_))));
        drop(s);
        ruled.change(&reading(true));
        let (mut s, is_present) = ruled.lasting(Some("s"), &id, 10);
        assert!(is_present);
        s.receive(|packet| assert!(matches!(packet, Packet::PubRel(ack) if ack.packet_id == numbers[0]), "{packet:?}"));
        s.acknowledge(AckKind::PubComp, numbers[0]);
        assert_eq!(s.topics(), ["a/open"]);
        ruled.stop();
    });
}

#[test]
fn a_revoked_permission_holds_for_retained_messages() {
    each(&reading(false), |mut ruled| {
        let mut p = ruled.client(Some("p"), "p");
        for topic in ["a/secret/kept", "a/open", "a/secret/more", "a/x"] {
            p.retain(topic);
        }
        let mut s = ruled.client(Some("s"), "s");
        assert_eq!(s.try_subscribe("a/#"), ReasonCode::GrantedQoS2);
        assert_eq!(s.topics().len(), 4);
        ruled.change(&reading(true));
        assert_eq!(s.try_subscribe("a/#"), ReasonCode::GrantedQoS2);
        let mut topics = s.topics();
        topics.sort();
        assert_eq!(topics, ["a/open", "a/x"]);
        ruled.stop();
    });
}

#[test]
fn a_revoked_permission_holds_for_the_queue_of_a_shared_subscription() {
    each(&reading(false), |mut ruled| {
        let (ids, other) = ([ruled.client_id("s", 0), ruled.client_id("t", 2)], ruled.client_id("p", 1));
        for id in &ids {
            let (mut s, _) = ruled.lasting(Some("s"), id, 10);
            assert_eq!(s.try_subscribe("$share/g/a/#"), ReasonCode::GrantedQoS2);
        }
        // Both members are away.
        let until = Instant::now() + Duration::from_secs(10);
        while ruled.runtime.block_on(ruled.gateway.counters()).unwrap().connected > 0 {
            assert!(Instant::now() < until);
        }
        let mut p = ruled.client(Some("p"), &other);
        for topic in ["a/secret/1", "a/1", "a/secret/2", "a/2"] {
            assert_eq!(p.publish(topic, QoS::AtLeastOnce), ReasonCode::Success);
        }
        ruled.change(&reading(true));
        let mut topics: Vec<String> = Vec::new();
        for id in &ids {
            topics.extend(ruled.lasting(Some("s"), id, 10).0.topics());
        }
        topics.sort();
        assert_eq!(topics, ["a/1", "a/2"]);
        ruled.stop();
    });
}

#[test]
fn subscriptions_that_are_not_permitted_any_more_end_and_their_clients_are_told() {
    let rules = |filters: &str| {
        format!(
            "[user.s]\nrules = [{{ allow = \"subscribe\", filter = [{filters}] }}]\n\
             [user.p]\nrules = [{{ allow = \"publish\", filter = \"#\" }}]\n"
        )
    };
    each(&rules("\"a/#\", \"b/#\""), |mut ruled| {
        let ids = [ruled.client_id("s", 0), ruled.client_id("t", 2)];
        let mut clients: Vec<Client> = Vec::new();
        for (id, version) in ids.iter().zip([Version::V5, Version::V3_1_1]) {
            let lasts = [Property::SessionExpiryInterval(600)];
            let properties = if version.is_v5() { Properties::new(&lasts) } else { Properties::EMPTY };
            let connect =
                Connect { version, user_name: Some("s"), clean_start: false, properties, ..connect_packet(id) };
            let mut client = ruled.client_with(connect).0;
            for filter in ["a/x", "b/x", "$share/g/a/x"] {
                assert_eq!(client.try_subscribe(filter), ReasonCode::GrantedQoS2);
            }
            clients.push(client);
        }
        let mut unharmed = ruled.client(Some("s"), "unharmed");
        assert_eq!(unharmed.try_subscribe("b/x"), ReasonCode::GrantedQoS2);
        ruled.change(&rules("\"b/#\""));
        let mut clients = clients.into_iter();
        clients.next().unwrap().expect_not_authorized();
        clients.next().unwrap().expect_end();
        let mut p = ruled.client(Some("p"), "p");
        for topic in ["a/x", "b/x"] {
            p.publish(topic, QoS::AtLeastOnce);
        }
        assert_eq!(unharmed.topics(), ["b/x"]);
        for id in &ids {
            let (mut client, is_present) = ruled.lasting(Some("s"), id, 10);
            assert!(is_present);
            assert_eq!(client.topics(), ["b/x"], "the other subscription is left");
        }
        ruled.stop();
    });
}

/// Each message is sent under some rules, and may be delivered only if rules that held between its PUBLISH and its delivery allow that.
#[test]
fn rules_that_change_a_hundred_times_under_load_lose_nothing_and_let_nothing_slip() {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    const CHANGES: u32 = 100;
    let rules = |change: u32| {
        let both = format!("filter = [\"always/#\", \"only/{change}\"]");
        format!(
            "subscribe = \"overlap\"\n[user.s]\nrules = [{{ allow = \"subscribe\", {both} }}]\n\
             [user.p]\nrules = [{{ allow = \"publish\", {both} }}]\n"
        )
    };
    each(&rules(0), |mut ruled| {
        let (asked, holds, ends) = (AtomicU32::new(0), AtomicU32::new(0), AtomicBool::new(false));
        let mut s = ruled.client(Some("s"), &ruled.client_id("s", 0));
        let mut p = ruled.client(Some("p"), &ruled.client_id("p", 2));
        for filter in ["always/+", "only/+"] {
            assert_eq!(s.try_subscribe(filter), ReasonCode::GrantedQoS2);
        }
        std::thread::scope(|scope| {
            let publisher = scope.spawn(|| {
                let mut sent = 0_u32;
                while !ends.load(Ordering::SeqCst) {
                    let before = holds.load(Ordering::SeqCst);
                    let number = before + sent % 3;
                    let payload = before.to_le_bytes();
                    for topic in [format!("always/{sent}"), format!("only/{number}")] {
                        p.send(Packet::Publish(message(&topic, &payload, QoS::AtLeastOnce)));
                        let code = p.receive(|packet| match packet {
                            Packet::PubAck(ack) => ack.code,
                            other => panic!("{other:?}"),
                        });
                        let after = asked.load(Ordering::SeqCst);
                        let is_denied = code == ReasonCode::NotAuthorized;
                        if topic.starts_with("always") {
                            assert_eq!(code, ReasonCode::Success);
                        } else if !is_denied {
                            assert!(
                                (before..=after).contains(&number),
                                "{topic} was accepted from {before} to {after}"
                            );
                        } else {
                            assert!((before, after) != (number, number), "{topic} was refused");
                        }
                    }
                    sent += 1;
                }
                p.send(Packet::Publish(message("always/end", b"\0\0\0\0", QoS::AtLeastOnce)));
                sent
            });
            let subscriber = scope.spawn(|| {
                let (mut always, mut only) = (0_u32, 0_u32);
                loop {
                    let (topic, before, id) = s.receive(|packet| match packet {
                        Packet::Publish(publish) => {
                            let before = u32::from_le_bytes(publish.payload.try_into().unwrap());
                            (publish.topic.to_owned(), before, publish.packet_id.unwrap())
                        }
                        other => panic!("{other:?}"),
                    });
                    s.acknowledge(AckKind::PubAck, id);
                    if topic == "always/end" {
                        return (always, only);
                    }
                    match topic.strip_prefix("only/") {
                        Some(number) => {
                            let after = asked.load(Ordering::SeqCst);
                            assert!((before..=after).contains(&number.parse().unwrap()), "{topic}: {before}, {after}");
                            only += 1;
                        }
                        None => {
                            assert_eq!(topic, format!("always/{always}"), "in order, none lost, none twice");
                            always += 1;
                        }
                    }
                }
            });
            for change in 1..=CHANGES {
                asked.store(change, Ordering::SeqCst);
                ruled.change(&rules(change));
                holds.store(change, Ordering::SeqCst);
                // Some messages are sent while the rules are settled.
                std::thread::sleep(Duration::from_millis(2));
            }
            ends.store(true, Ordering::SeqCst);
            let sent = publisher.join().unwrap();
            let (always, only) = subscriber.join().unwrap();
            assert_eq!(always, sent);
            assert!(sent > CHANGES && only > CHANGES / 2, "{sent} and {only} messages are no load");
        });
        ruled.stop();
    });
}
