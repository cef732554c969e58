//! The cases whose instructions are counted, under callgrind, by the script beside this file.
//!
//! Each case does its work once to warm up, and then a thousand times within [`measured`]. There is one thread, no clock
//! and no random number, so two runs of one binary differ only by what the C library does.

#[allow(dead_code)]
#[path = "../../../broker/src/access/permissions/filter_sets.rs"]
mod filter_sets;
#[allow(dead_code)]
#[path = "../../../broker/src/access/permissions/rule.rs"]
mod rule;
#[allow(dead_code)]
#[path = "../../../broker/src/access/permissions/rule_filter.rs"]
mod rule_filter;
#[allow(dead_code)]
#[path = "../../../broker/src/access/permissions/rule_list.rs"]
mod rule_list;
mod rules;
#[allow(dead_code)]
#[path = "../../../broker/src/access/permissions/separate_rules.rs"]
mod separate_rules;

use goldcrest_core::codec::{Packet, Version, split};
use goldcrest_core::internals::{Hasher, Router, RouterLimits, RouterMemory, Subscriber, SubscriptionOptions};
use goldcrest_core::{
    AllowAll, Broker, Capacity, Config, ConnectionId, Instant, Limits, Memory, Shard, Then, TopicFilter, TopicName,
};
use std::collections::VecDeque;
use std::hint::black_box;
use std::ops::Range;

const TIMES: usize = 1000;
const NOW: Instant = Instant::from_millis(0);

/// The limits of a gateway, with as many messages in flight to a client of MQTT 3.1.1 as to one of MQTT 5.0.
const LIMITS: Limits = {
    let mut limits = Limits::GATEWAY;
    limits.inflight_v3 = 256;
    limits
};

/// The name of each case, and its function. Only the work inside `measured` is counted.
const CASES: &[(&str, fn())] = &[
    ("decode-qos-0", || decode(Version::V3_1_1, 0)),
    ("decode-qos-1-mqtt-5", || decode(Version::V5, 1)),
    ("match-exact", || find(|n| format!("plant/{n:05}/state"))),
    ("match-plus", || find(|n| format!("plant/{n:05}/+"))),
    ("match-hash", || find(|n| format!("plant/{n:05}/#"))),
    ("enqueue-qos-0", || pair(0, Stage::Receive)),
    ("encode-qos-0", || pair(0, Stage::Transmit)),
    ("enqueue-qos-0-rules", || ruled(0, Stage::Receive)),
    ("encode-qos-0-rules", || ruled(0, Stage::Transmit)),
    ("enqueue-qos-1", || pair(1, Stage::Receive)),
    ("encode-qos-1", || pair(1, Stage::Transmit)),
    ("acknowledge-qos-1", || pair(1, Stage::Acknowledge)),
    ("enqueue-qos-2", || pair(2, Stage::Receive)),
    ("fan-out-enqueue-qos-0", || fan_out(0, Stage::Receive)),
    ("fan-out-encode-qos-0", || fan_out(0, Stage::Transmit)),
    ("fan-out-enqueue-qos-1", || fan_out(1, Stage::Receive)),
    ("fan-out-encode-qos-1", || fan_out(1, Stage::Transmit)),
    ("hand-over-qos-0", || hand_over(0)),
    ("hand-over-qos-1", || hand_over(1)),
    ("unwanted-0-shapes", || hand_over_in_vain(0, 0)),
    ("unwanted-16-shapes", || hand_over_in_vain(0, 16)),
    ("in-vain-qos-0", || hand_over_in_vain(0, 17)),
    ("in-vain-qos-1", || hand_over_in_vain(1, 17)),
];

fn main() {
    let wanted = std::env::args().nth(1);
    match wanted {
        None => CASES.iter().for_each(|(name, _)| println!("{name}")),
        Some(wanted) => match CASES.iter().find(|(name, _)| *name == wanted) {
            Some((_, case)) => case(),
            None => panic!("there is no case {wanted}"),
        },
    }
}

/// Callgrind counts instructions inside this function alone.
#[inline(never)]
fn measured(work: &mut dyn FnMut()) {
    work();
}

fn twice(mut work: impl FnMut()) {
    work();
    measured(&mut work);
}

fn decode(version: Version, qos: u8) {
    let packet = publish(version, qos, "plant/00007/state", 1);
    twice(|| {
        for _ in 0..TIMES {
            let Ok(Some((frame, _))) = split(black_box(&packet), 1 << 20) else { panic!("not whole") };
            assert!(black_box(Packet::decode(version, frame)).is_ok());
        }
    });
}

/// Looks up topics among ten thousand filters, one of which matches each.
fn find(filter: fn(usize) -> String) {
    let limits =
        RouterLimits { nodes: 100_000, subscriptions: 20_000, subscribers: 100, groups: 10, text_bytes: 1 << 22 };
    let mut router = Router::new(RouterMemory::owned(limits), Hasher::new(1));
    let options = SubscriptionOptions::default();
    for n in 0..10_000 {
        let filter = filter(n);
        let subscriber = Subscriber(n as u32 % 100);
        let subscribed = router.subscribe(TopicFilter::new(&filter).expect("a filter"), subscriber, options, 0);
        assert!(subscribed.is_ok());
    }
    let topics: Vec<_> = (0..TIMES).map(|n| format!("plant/{:05}/state", n * 7919 % 10_000)).collect();
    twice(|| {
        for topic in &topics {
            let mut matches = router.matches(TopicName::new(topic).expect("a topic"));
            let mut count = 0;
            while matches.next(&router).is_some() {
                count += 1;
            }
            assert_eq!(count, 1);
        }
    });
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    /// Decoding, matching and queueing.
    Receive,
    /// Taking messages from the queue, and encoding them.
    Transmit,
    /// Handling the subscriber's acknowledgements.
    Acknowledge,
}

/// A publisher and a subscriber, with batches of 50 messages, which may all be in flight.
fn pair(qos: u8, stage: Stage) {
    deliver(qos, stage, 1, 50);
}

/// A publisher and a hundred subscribers; ten messages make a thousand deliveries.
fn fan_out(qos: u8, stage: Stage) {
    deliver(qos, stage, 100, 10);
}

/// As [`pair`], where each client has ten rules about publishing, of which the last allows it, and ten about subscribing.
fn ruled(qos: u8, stage: Stage) {
    let mut bed = Bed::new(Shard::ONLY);
    bed.broker.set_authorize(NOW, std::sync::Arc::new(rules::TenRules::new()));
    deliver_in(bed, qos, stage, 1, 50);
}

fn deliver(qos: u8, stage: Stage, subscribers: usize, batch: usize) {
    deliver_in(Bed::new(Shard::ONLY), qos, stage, subscribers, batch);
}

fn deliver_in(mut bed: Bed, qos: u8, stage: Stage, subscribers: usize, batch: usize) {
    let publisher = bed.connect("publisher");
    for n in 0..subscribers {
        let subscriber = bed.connect(&format!("subscriber-{n}"));
        bed.hand_in(subscriber, &frame(0x82, &[&[0, 1, 0, 5], "bench".as_bytes(), &[qos]].concat()));
    }
    bed.settle();
    let rounds = TIMES / (subscribers * batch);
    for round in 0..2 * rounds {
        let count = |now, work: &mut dyn FnMut()| {
            if round >= rounds && now == stage { measured(work) } else { work() }
        };
        let id = |n| (round * batch + n) as u16 + 1;
        let packets: Vec<u8> = (0..batch).flat_map(|n| publish(Version::V3_1_1, qos, "bench", id(n))).collect();
        count(Stage::Receive, &mut || bed.hand_in(publisher, &packets));
        count(Stage::Transmit, &mut || bed.transmit());
        let answers = bed.answers();
        count(Stage::Acknowledge, &mut || {
            for (id, bytes) in &answers {
                bed.hand_in(*id, bytes);
            }
        });
        bed.settle();
    }
    assert_eq!(bed.broker.counters().deliveries, 0);
}

/// A publisher on one shard and a subscriber on another: decode, match, store and forward on the first, match and queue
/// on the second.
fn hand_over(qos: u8) {
    let mut beds = [0, 1].map(|index| Bed::new(Shard { index, count: 2 }));
    let [publisher, subscriber] = [0, 1].map(|index| beds[index].connect(["publisher", "subscriber"][index]));
    let subscribe = frame(0x82, &[&[0, 1, 0, 5], "bench".as_bytes(), &[qos]].concat());
    // The broker reads the SUBSCRIBE when the other shard knows the filter.
    assert_eq!(beds[1].broker.handle_bytes(NOW, subscriber, &subscribe).consumed, 0);
    exchange(&mut beds);
    beds[1].hand_in(subscriber, &subscribe);
    const BATCH: usize = 50;
    let mut forwards = VecDeque::with_capacity(BATCH);
    for round in 0..2 * TIMES / BATCH {
        let id = |n| (round * BATCH + n) as u16 + 1;
        let packets: Vec<u8> = (0..BATCH).flat_map(|n| publish(Version::V3_1_1, qos, "bench", id(n))).collect();
        let mut work = || {
            beds[0].hand_in(publisher, &packets);
            beds[0].broker.poll_forwards(&mut forwards);
            assert!(beds[1].broker.handle_forwards(NOW, 0, &mut forwards).is_ok());
            assert!(forwards.is_empty());
        };
        if round >= TIMES / BATCH {
            measured(&mut work)
        } else {
            work()
        }
        beds.iter_mut().for_each(Bed::settle);
        exchange(&mut beds);
    }
    assert_eq!(beds[1].broker.counters().publish_sent[usize::from(qos)], 2 * TIMES as u64);
}

/// A publisher on one shard, and on another one a subscriber whose filters don't match. They have so many shapes. Of those of one Session
/// the other shard knows 16; of a filter with one more it knows only that it may match anything.
fn hand_over_in_vain(qos: u8, shapes: u32) {
    let mut beds = [0, 1].map(|index| Bed::new(Shard { index, count: 2 }));
    let [publisher, subscriber] = [0, 1].map(|index| beds[index].connect(["publisher", "subscriber"][index]));
    for shape in 1..=shapes {
        let filter = (0..5).map(|level| if shape >> level & 1 == 1 { "+" } else { "x" }).collect::<Vec<_>>().join("/");
        let subscribe = frame(0x82, &[&[0, 1, 0, 9], filter.as_bytes(), &[qos]].concat());
        assert_eq!(beds[1].broker.handle_bytes(NOW, subscriber, &subscribe).consumed, 0);
        exchange(&mut beds);
        beds[1].hand_in(subscriber, &subscribe);
        beds.iter_mut().for_each(Bed::settle);
    }
    const BATCH: usize = 50;
    let (mut forwards, mut handed_over) = (VecDeque::with_capacity(BATCH), 0);
    for round in 0..2 * TIMES / BATCH {
        let id = |n| (round * BATCH + n) as u16 + 1;
        let packets: Vec<u8> = (0..BATCH).flat_map(|n| publish(Version::V3_1_1, qos, "a/b/c/d/e", id(n))).collect();
        let mut work = || {
            beds[0].hand_in(publisher, &packets);
            beds[0].broker.poll_forwards(&mut forwards);
            handed_over += forwards.len();
            assert!(beds[1].broker.handle_forwards(NOW, 0, &mut forwards).is_ok());
            assert!(forwards.is_empty());
        };
        if round >= TIMES / BATCH {
            measured(&mut work)
        } else {
            work()
        }
        beds.iter_mut().for_each(Bed::settle);
        exchange(&mut beds);
    }
    assert_eq!(handed_over >= 2 * TIMES, shapes > 16, "{handed_over} were handed over");
    assert_eq!(beds[1].broker.counters().publish_sent[usize::from(qos)], 0);
}

/// Hands over forwards until there are no more.
fn exchange(beds: &mut [Bed; 2]) {
    while let Some((from, forward)) =
        (0..2).find_map(|from| beds[from].broker.poll_forward().map(|(_, forward)| (from, forward)))
    {
        assert!(beds[1 - from].broker.handle_forward(NOW, from as u16, forward).is_ok());
    }
}

struct Bed {
    broker: Broker<'static>,
    /// The bytes that were transmitted last, and the receiver of each part.
    out: Vec<u8>,
    sent: Vec<(ConnectionId, Range<usize>)>,
}

impl Bed {
    fn new(shard: Shard) -> Self {
        let memory = Memory::owned(&Capacity::GATEWAY, &Limits::GATEWAY, shard);
        Self {
            broker: Broker::new(memory, Config { shard, limits: LIMITS, ..Config::gateway(1) }, &AllowAll),
            out: vec![0; 1 << 20],
            sent: Vec::with_capacity(1024),
        }
    }

    fn connect(&mut self, client_id: &str) -> ConnectionId {
        let id = self.broker.handle_connected(NOW).expect("room");
        let len = [0, client_id.len() as u8];
        self.hand_in(id, &frame(0x10, &[&b"\0\x04MQTT\x04\x02\0\0"[..], &len, client_id.as_bytes()].concat()));
        id
    }

    fn hand_in(&mut self, id: ConnectionId, bytes: &[u8]) {
        assert_eq!(self.broker.handle_bytes(NOW, id, bytes).consumed, bytes.len());
    }

    fn transmit(&mut self) {
        self.sent.clear();
        let mut start = 0;
        while let Some(id) = self.broker.poll_ready() {
            let transmit = self.broker.poll_transmit(NOW, id, &mut self.out[start..]);
            assert_eq!(transmit.then, Then::Idle);
            self.sent.push((id, start..start + transmit.written));
            start += transmit.written;
        }
    }

    /// The acknowledgements of clients for the transmitted packets.
    fn answers(&self) -> Vec<(ConnectionId, Vec<u8>)> {
        let answers = self.sent.iter().map(|(id, part)| {
            let (mut bytes, mut answer) = (&self.out[part.clone()], Vec::new());
            while let Ok(Some((frame, len))) = split(bytes, 1 << 20) {
                let id = |at: usize| [frame.body()[at], frame.body()[at + 1]];
                match bytes[0] {
                    0x32 => answer.extend([[0x40, 2], id(7)].concat()),
                    0x34 => answer.extend([[0x50, 2], id(7)].concat()),
                    0x50 => answer.extend([[0x62, 2], id(0)].concat()),
                    0x62 => answer.extend([[0x70, 2], id(0)].concat()),
                    _ => {}
                }
                bytes = &bytes[len..];
            }
            (*id, answer)
        });
        answers.filter(|(_, answer)| !answer.is_empty()).collect()
    }

    /// Transmits and acknowledges until nothing is left.
    fn settle(&mut self) {
        loop {
            self.transmit();
            let answers = self.answers();
            if answers.is_empty() {
                return;
            }
            for (id, bytes) in answers {
                self.hand_in(id, &bytes);
            }
        }
    }
}

fn publish(version: Version, qos: u8, topic: &str, packet_id: u16) -> Vec<u8> {
    let mut body = [&[0, topic.len() as u8], topic.as_bytes()].concat();
    if qos > 0 {
        body.extend(packet_id.to_be_bytes());
    }
    if version == Version::V5 {
        body.push(0);
    }
    body.extend([b'x'; 64]);
    frame(0x30 | qos << 1, &body)
}

/// A packet whose body has less than 128 bytes.
fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first, body.len() as u8], body].concat()
}
