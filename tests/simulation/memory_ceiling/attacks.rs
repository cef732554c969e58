//! Clients that take all that they can get: what is refused, and that others notice nothing.

use crate::heap::inside;
use crate::house::{Got, House, Id, MIB, NOW};
use goldcrest_core::codec::{Property, ReasonCode, Version};
use goldcrest_core::{DropReason, MemoryUse};
use goldcrest_tests::packets::{Wire, client, publish, subscribe, will};

fn with_one_and_two_shards(attack: impl Fn(House)) {
    for shards in [1, 2] {
        let mut house = House::new(shards, 8 * MIB, |_| {});
        house.check_honest();
        attack(house);
    }
}

#[test]
fn clients_that_subscribe_to_all_they_can_are_refused_and_others_still_subscribe() {
    with_one_and_two_shards(|mut house| {
        let mut refused = 0;
        for n in 0..60 {
            let name = format!("greedy {n}");
            let id = house.connect_well(&name);
            for first in (0..200).step_by(20) {
                let filters: Vec<_> =
                    (first..first + 20).map(|f| format!("{n}/{f}/+{}", "/a-level-of-some-length".repeat(10))).collect();
                let mut packet = subscribe(1, &filters[0], 0);
                for filter in &filters[1..] {
                    packet = packet.and(filter, 0);
                }
                house.send(id, &packet.wire(Version::V5));
                for got in house.take(id) {
                    let Got::SubAck(codes) = got else { panic!("{got:?}") };
                    assert!(codes.iter().all(|code| [0, 0x97].contains(code)));
                    refused += codes.iter().filter(|code| **code == 0x97).count();
                }
            }
            house.check_honest();
        }
        assert!(refused > 1000, "{refused}");
        let late = house.connect_well("late and modest");
        house.send(late, &subscribe(1, "a/modest/one", 0).wire(Version::V5));
        assert_eq!(house.take(late), [Got::SubAck(vec![0])]);
        house.end(MemoryUse::Subscriptions);
    });
}

#[test]
fn retained_messages_take_half_of_what_messages_may_and_are_refused_then() {
    with_one_and_two_shards(|mut house| {
        let id = house.connect_well("greedy");
        let mut refused = 0;
        for n in 0..6_000 {
            let topic = format!("retained/{n}");
            house.send(id, &publish(&topic, &[1; 1024]).q1(1).retain().wire(Version::V5));
            refused += house.take(id).iter().filter(|got| **got == Got::Ack(ReasonCode::QuotaExceeded)).count();
            if n % 100 == 0 {
                house.check_honest();
            }
        }
        assert!((1_000..5_900).contains(&refused), "{refused}");
        // What is there may be replaced and cleared.
        house.send(id, &publish("retained/1", &[2; 1000]).q1(1).retain().wire(Version::V5));
        assert_eq!(house.take(id), [Got::Ack(ReasonCode::Success)]);
        house.end(MemoryUse::Messages);
    });
}

/// So many clients, each with a subscription of its own below `topic`.
fn subscribe_each(house: &mut House, topic: &str, clients: usize) -> Vec<Id> {
    let subscribed = |n| {
        let id = house.connect_well(&format!("{topic} {n}"));
        house.send(id, &subscribe(1, &format!("{topic}/{n}"), 1).wire(Version::V5));
        house.take(id);
        id
    };
    (0..clients).map(subscribed).collect()
}

/// Publishes 150 messages to each of these clients, more than there is memory for. Returns how many were taken, and how many refused.
fn flood_each(house: &mut House, publisher: Id, topic: &str, clients: usize) -> (usize, usize) {
    let (mut taken, mut refused) = (0, 0);
    for round in 0..150 {
        for n in 0..clients {
            house.send(publisher, &publish(&format!("{topic}/{n}"), &[3; 1024]).q1(1).wire(Version::V5));
            match house.take(publisher)[..] {
                [Got::Ack(ReasonCode::Success)] => taken += 1,
                [Got::Ack(ReasonCode::QuotaExceeded)] => refused += 1,
                ref other => panic!("{other:?}"),
            }
        }
        if round % 10 == 0 {
            house.check_honest();
        }
    }
    assert!(taken > 1500 && refused > 1000, "{taken} {refused}");
    (taken, refused)
}

#[test]
fn clients_that_do_not_read_leave_room_for_those_that_do() {
    with_one_and_two_shards(|mut house| {
        let publisher = house.connect_well("publisher");
        let readers = subscribe_each(&mut house, "idle", 60);
        house.stalled.extend(&readers);
        let (taken, refused) = flood_each(&mut house, publisher, "idle", 60);
        let dropped: u32 = house.brokers.iter().map(|broker| broker.counters().dropped.by(DropReason::QueueFull)).sum();
        assert_eq!(dropped as usize, refused, "each loss is counted");
        let mut got = 0;
        for id in readers {
            house.stalled.remove(&id);
            house.send(id, &[0xc0, 0]);
            got += house.take(id).iter().filter(|got| matches!(got, Got::Publish(_))).count();
        }
        assert_eq!(got, taken, "what was taken is delivered");
        house.check_honest();
        inside(|| house.brokers.clear());
        assert_eq!(house.ceiling.taken_in_all(), 0);
    });
}

/// A bug of the past: only the number of messages in flight was bounded, and not their bytes. Each message that was sent made room in its queue for
/// one more, so they filled the memory and then its reserve.
#[test]
fn clients_that_acknowledge_nothing_leave_the_reserve_to_those_that_do() {
    with_one_and_two_shards(|mut house| {
        let publisher = house.connect_well("publisher");
        let readers = subscribe_each(&mut house, "mute", 100);
        house.mute.extend(readers);
        flood_each(&mut house, publisher, "mute", 100);
        house.end(MemoryUse::Messages);
    });
}

#[test]
fn sessions_that_are_kept_leave_room_for_clients_that_keep_none() {
    with_one_and_two_shards(|mut house| {
        let mut refused = 0;
        for n in 0..20_000 {
            let name = format!("forgotten {n}");
            match house.connect(&name, &client(&name).keep()) {
                Some((id, ReasonCode::Success)) => house.cut(id),
                Some((_, code)) => {
                    assert_eq!(code, ReasonCode::QuotaExceeded);
                    refused += 1;
                }
                None => refused += 1,
            }
            if n % 1000 == 0 {
                house.check_honest();
            }
            if refused > 200 {
                break;
            }
        }
        assert!(refused > 200, "{refused}");
        for n in 0..20 {
            house.connect_well(&format!("clean {n}"));
        }
        // One that is known comes back.
        let (_, code) = house.connect("forgotten 3", &client("forgotten 3").keep()).unwrap();
        assert_eq!(code, ReasonCode::Success);
        house.end(MemoryUse::Sessions);
    });
}

#[test]
fn long_wills_are_refused_while_short_ones_are_kept() {
    with_one_and_two_shards(|mut house| {
        let payload = vec![5; 60_000];
        let mut refused = 0;
        for n in 0..200 {
            let name = format!("greedy {n}");
            let connected = house.connect(&name, &client(&name).will(will("a/will", &payload, 1)));
            match connected.expect("CONNACK tells").1 {
                ReasonCode::Success => {}
                code => {
                    assert_eq!(code, ReasonCode::QuotaExceeded);
                    refused += 1;
                }
            }
            let name = format!("modest {n}");
            let (_, code) = house.connect(&name, &client(&name).will(will("a/will", b"gone", 1))).unwrap();
            assert_eq!(code, ReasonCode::Success);
            house.check_honest();
        }
        assert!((80..170).contains(&refused), "{refused}");
        house.end(MemoryUse::Messages);
    });
}

#[test]
fn long_topics_of_aliases_are_refused_when_they_are_too_many() {
    with_one_and_two_shards(|mut house| {
        let mut closed = 0;
        for n in 0..20 {
            let id = house.connect_well(&format!("greedy {n}"));
            for alias in 1..=20 {
                let topic = format!("{n}/{alias}/{}", "x".repeat(60_000));
                let packet = publish(&topic, b"").with(&[Property::TopicAlias(alias)]).wire(Version::V5);
                house.send(id, &packet);
            }
            closed += usize::from(house.take(id).contains(&Got::Closed));
            house.check_honest();
        }
        assert!(closed >= 10, "{closed}");
        house.end(MemoryUse::Messages);
    });
}

#[test]
fn who_leaves_qos_2_unfinished_is_refused_and_others_are_not() {
    with_one_and_two_shards(|mut house| {
        let mut refused = 0;
        for n in 0..12 {
            let name = format!("greedy {n}");
            let id = house.open(&name, Version::V3_1_1).unwrap();
            house.send(id, &client(&name).wire(Version::V3_1_1));
            for first in (1..=60_000u16).step_by(1000) {
                let packets: Vec<u8> =
                    (first..first + 1000).flat_map(|id| publish("t", b"").q2(id).wire(Version::V3_1_1)).collect();
                house.send(id, &packets);
            }
            house.check_honest();
            refused = house.brokers.iter().map(|broker| broker.counters().publish_refused).sum();
        }
        assert!(refused > 1000, "{refused}");
        house.end(MemoryUse::Sessions);
    });
}

#[test]
fn replies_that_nobody_reads_are_bounded_and_each_connection_has_some() {
    with_one_and_two_shards(|mut house| {
        let packets: Vec<u8> = (1..=1000).flat_map(|id| publish("t", b"").q1(id).wire(Version::V5)).collect();
        let mut choked = 0;
        for n in 0..400 {
            let Some(id) = house.open(&format!("greedy {n}"), Version::V5) else { break };
            house.send(id, &client(&format!("greedy {n}")).wire(Version::V5));
            house.stalled.insert(id);
            let received = inside(|| house.brokers[id.0].handle_bytes(NOW, id.1, &packets));
            assert!(received.consumed > 0, "some are taken from each");
            choked += usize::from(received.consumed < packets.len());
            if n % 20 == 0 {
                house.check_honest();
            }
        }
        assert!(choked > 100, "{choked}");
        house.end(MemoryUse::Other);
    });
}
