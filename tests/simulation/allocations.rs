//! Between warm connections a delivery allocates nothing on the heap. A message allocates at most its body; on one shard
//! not even that, since the body reuses the memory of an earlier one.

use goldcrest_core::codec::{Packet, Property, QoS, Version, split};
use goldcrest_core::{AllowAll, Broker, Capacity, Config, ConnectionId, Instant, Limits, Memory, Polled, Shard, Then};
use goldcrest_tests::packets::{Wire, client, puback, pubcomp, publish, pubrec, pubrel, subscribe};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::Range;

const NOW: Instant = Instant::from_millis(0);
const SUBSCRIBERS: usize = 100;
const MESSAGES: usize = 10;

thread_local! {
    // Counts this thread alone, because tests run side by side.
    static TAKEN: Cell<usize> = const { Cell::new(0) };
    static BYTES: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, with a count of allocations and growths, and of bytes.
struct Counting;

#[global_allocator]
static HEAP: Counting = Counting;

// SAFETY: every call goes to the system's allocator unchanged. The counter has no destructor, and counting allocates
// nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TAKEN.set(TAKEN.get() + 1);
        BYTES.set(BYTES.get().wrapping_add(layout.size()));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        BYTES.set(BYTES.get().wrapping_sub(layout.size()));
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        TAKEN.set(TAKEN.get() + 1);
        BYTES.set(BYTES.get().wrapping_add(size).wrapping_sub(layout.size()));
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[test]
fn the_allocator_of_these_tests_counts_allocations() {
    let before = TAKEN.get();
    std::hint::black_box(Vec::<u8>::with_capacity(1));
    assert_eq!(TAKEN.get() - before, 1);
}

/// The messages of one test run, and their subscribers.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    version: Version,
    shards: u16,
    /// Whether Sessions outlive their connections, so that deliveries are recorded.
    durable: bool,
    filter: &'static str,
    /// The number of subscribers that get each message.
    copies: usize,
    retain: bool,
    /// Whether messages have Properties and use Topic Aliases: the publisher from its second message on, and the broker
    /// towards subscribers.
    properties: bool,
    bytes: usize,
}

const PLAIN: Case = Case {
    name: "plain",
    version: Version::V3_1_1,
    shards: 1,
    durable: false,
    filter: "a/heap",
    copies: SUBSCRIBERS,
    retain: false,
    properties: false,
    bytes: 16,
};

const CASES: [Case; 12] = [
    PLAIN,
    Case { name: "1 KiB", bytes: 1024, ..PLAIN },
    Case { name: "64 KiB", bytes: 64 * 1024, ..PLAIN },
    Case { name: "wildcards", filter: "+/heap/#", ..PLAIN },
    Case { name: "retained", retain: true, ..PLAIN },
    Case { name: "shared", filter: "$share/group/a/heap", copies: 1, ..PLAIN },
    Case { name: "Properties and aliases", version: Version::V5, properties: true, ..PLAIN },
    Case { name: "durable", durable: true, ..PLAIN },
    Case { name: "two shards", shards: 2, ..PLAIN },
    Case { name: "two shards, shared", shards: 2, filter: "$share/group/a/heap", copies: 1, ..PLAIN },
    Case { name: "two shards, durable and retained", shards: 2, durable: true, retain: true, ..PLAIN },
    Case {
        name: "three shards, durable, with Properties",
        version: Version::V5,
        shards: 3,
        durable: true,
        properties: true,
        ..PLAIN
    },
];

const PROPERTIES: [Property<'_>; 5] = [
    Property::ContentType("text/plain"),
    Property::ResponseTopic("answers/here"),
    Property::CorrelationData(b"number 17"),
    Property::UserProperty("name", "value"),
    Property::UserProperty("name", "another value"),
];

#[test]
fn a_message_is_at_most_one_allocation_and_a_delivery_none() {
    for case in CASES {
        for qos in 0..3 {
            let mut bed = Bed::new(case, qos);
            let packets: Vec<u8> = (1..).take(MESSAGES).flat_map(|id| case.publish(qos, id)).collect();
            for _ in 0..3 {
                bed.round(&packets);
            }
            let what = format!("{}, QoS {qos}", case.name);
            // With several shards the list of spare memory grows in some rounds, but not in each: the best of three
            // rounds counts.
            let (mut messages, mut deliveries) = (usize::MAX, usize::MAX);
            for _ in 0..3 {
                let counts = bed.round(&packets);
                assert_eq!(bed.delivered, MESSAGES * case.copies, "{what}");
                (messages, deliveries) = (messages.min(counts.0), deliveries.min(counts.1));
            }
            // The memory of a message that goes to another shard is reused on that shard.
            let may_take = if case.shards == 1 { 0 } else { MESSAGES };
            assert!(messages <= may_take, "{what}: {messages} allocations for messages");
            assert_eq!(deliveries, 0, "{what}: allocations for deliveries");
        }
    }
}

impl Case {
    fn publish(&self, qos: u8, id: u16) -> Vec<u8> {
        let payload = vec![b'x'; self.bytes];
        let mut list = PROPERTIES.to_vec();
        list.push(Property::TopicAlias(1));
        let topic = if self.properties && id > 1 { "" } else { "a/heap" };
        let mut packet = publish(topic, &payload).qos(qos, id);
        if self.retain {
            packet = packet.retain();
        }
        if self.properties {
            packet = packet.with(&list);
        }
        packet.wire(self.version)
    }
}

/// Filters of one client in the test of their memory, and its clients. All together fill tables that double almost to the brim.
const FILTERS_EACH: usize = 1_000;
const CLIENTS: usize = 128;
/// Filters in one SUBSCRIBE.
const TOGETHER: usize = 50;

/// Bytes that filters take on all brokers together.
fn bytes_of_filters(shards: u16, filter: fn(usize) -> String) -> usize {
    let make = |index| {
        let shard = Shard { index, count: shards };
        let memory = Memory::owned(&Capacity::GATEWAY, &Limits::GATEWAY, shard);
        Broker::new(memory, Config { shard, ..Config::gateway(1) }, &AllowAll)
    };
    let mut brokers: Vec<_> = (0..shards).map(make).collect();
    let clients: Vec<Id> = (0..CLIENTS)
        .map(|number| {
            let home = number as u16 % shards;
            let mut names = (0..).map(|other| format!("{number} {other}"));
            let name = names.find(|name| Shard::home_of(name.as_bytes(), shards) == home).unwrap();
            let id = (usize::from(home), brokers[usize::from(home)].handle_connected(NOW).unwrap());
            hand_in(&mut brokers, id, &client(&name).wire(Version::V3_1_1));
            id
        })
        .collect();
    let (sent, record, out) = (Vec::with_capacity(10_000), vec![0; 70_000], vec![0; 1 << 20]);
    let mut bed = Bed { version: Version::V3_1_1, brokers, publisher: clients[0], out, sent, record, delivered: 0 };
    bed.pass_on();
    bed.transmit();
    let before = BYTES.get();
    for number in 0..CLIENTS * FILTERS_EACH / TOGETHER {
        let id = clients[number % CLIENTS];
        let filters: Vec<_> = (number * TOGETHER..).take(TOGETHER).map(filter).collect();
        let first = subscribe(1, &filters[0], 0);
        let packet = filters[1..].iter().fold(first, |packet, filter| packet.and(filter, 0)).wire(Version::V3_1_1);
        while bed.brokers[id.0].handle_bytes(NOW, id.1, &packet).consumed == 0 {
            bed.pass_on();
        }
        bed.pass_on();
        bed.transmit();
    }
    let taken = BYTES.get() - before;
    let subscriptions: u32 = bed.brokers.iter().map(|broker| broker.counters().subscriptions).sum();
    assert_eq!(subscriptions as usize, CLIENTS * FILTERS_EACH);
    taken
}

#[test]
fn filters_take_at_most_three_tenths_more_memory_on_eight_shards_than_on_one() {
    let exact = |number| format!("plant/{number}");
    let with_wildcard = |number| format!("plant/{number}/+");
    // More shapes than shards tell each other.
    let of_64_shapes = |number: usize| {
        let levels = (0..6).map(|level| if number >> level & 1 == 1 { "/+" } else { "/x" });
        levels.fold(format!("plant/{number}"), |filter, level| filter + level)
    };
    let kinds =
        [("exact", exact as fn(usize) -> String), ("with wildcards", with_wildcard), ("64 shapes", of_64_shapes)];
    for (kind, filter) in kinds {
        let (one, eight) = (bytes_of_filters(1, filter), bytes_of_filters(8, filter));
        let percent = eight * 100 / one;
        println!("{kind}: {one} bytes on one shard, {eight} on eight: {percent} %");
        assert!(percent <= 130, "{kind}: {one} bytes on one shard, {eight} on eight");
    }
}

const RETAINED: usize = 100_000;

/// Bytes that retained messages with payloads of `len` bytes take on all brokers together.
fn bytes_of_retained(shards: u16, len: usize) -> usize {
    let make = |index| {
        let shard = Shard { index, count: shards };
        let memory = Memory::owned(&Capacity::GATEWAY, &Limits::GATEWAY, shard);
        Broker::new(memory, Config { shard, ..Config::gateway(1) }, &AllowAll)
    };
    let mut brokers: Vec<_> = (0..shards).map(make).collect();
    let publishers: Vec<Id> = (0..shards)
        .map(|home| {
            let mut names = (0..).map(|other| format!("publishes {other}"));
            let name = names.find(|name| Shard::home_of(name.as_bytes(), shards) == home).unwrap();
            let id = (usize::from(home), brokers[usize::from(home)].handle_connected(NOW).unwrap());
            hand_in(&mut brokers, id, &client(&name).wire(Version::V3_1_1));
            id
        })
        .collect();
    let (sent, record, out) = (Vec::with_capacity(10_000), vec![0; 70_000], vec![0; 1 << 20]);
    let mut bed = Bed { version: Version::V3_1_1, brokers, publisher: publishers[0], out, sent, record, delivered: 0 };
    bed.pass_on();
    bed.transmit();
    let payload = vec![b'x'; len];
    let before = BYTES.get();
    for number in 0..RETAINED {
        let topic = format!("plant/{number}");
        let packet = publish(&topic, &payload).retain().wire(Version::V3_1_1);
        hand_in(&mut bed.brokers, publishers[number % publishers.len()], &packet);
        bed.pass_on();
    }
    let taken = BYTES.get() - before;
    let retained: u32 = bed.brokers.iter().map(|broker| broker.counters().retained).sum();
    assert_eq!(retained as usize, RETAINED);
    taken
}

#[test]
fn retained_messages_take_at_most_three_tenths_more_memory_on_eight_shards_than_on_one() {
    for len in [1_024, 64] {
        let (one, eight) = (bytes_of_retained(1, len), bytes_of_retained(8, len));
        let percent = eight * 100 / one;
        println!("{len} bytes: {one} bytes on one shard, {eight} on eight: {percent} %");
        assert!(percent <= 130, "{len} bytes: {one} bytes on one shard, {eight} on eight");
    }
}

/// The brokers of one gateway, a publisher and its subscribers.
struct Bed {
    version: Version,
    brokers: Vec<Broker<'static>>,
    publisher: Id,
    out: Vec<u8>,
    /// For each transmission, the receiver and its part of `out`.
    sent: Vec<(Id, Range<usize>)>,
    /// The buffer into which records are polled.
    record: Vec<u8>,
    /// The number of PUBLISH packets delivered in the last round.
    delivered: usize,
}

/// A shard and a connection on it.
type Id = (usize, ConnectionId);

impl Bed {
    fn new(case: Case, qos: u8) -> Self {
        let make = |index| {
            let shard = Shard { index, count: case.shards };
            let memory = Memory::owned(&Capacity::GATEWAY, &Limits::GATEWAY, shard);
            let config = Config { shard, durable: case.durable, ..Config::gateway(1) };
            Broker::new(memory, config, &AllowAll)
        };
        let mut brokers: Vec<_> = (0..case.shards).map(make).collect();
        let mut connect = |name: &str| {
            let shard = usize::from(Shard::home_of(name.as_bytes(), case.shards));
            let id = brokers[shard].handle_connected(NOW).unwrap();
            let aliases = [Property::TopicAliasMaximum(5)];
            let mut packet = client(name);
            packet = if case.durable { packet.keep() } else { packet };
            packet = if case.properties { packet.with(&aliases) } else { packet };
            hand_in(&mut brokers, (shard, id), &packet.wire(case.version));
            (shard, id)
        };
        let publisher = connect("publisher");
        let subscribers: Vec<_> = (0..SUBSCRIBERS).map(|n| connect(&format!("subscriber {n}"))).collect();
        let out = vec![0; MESSAGES * case.copies.max(10) * (case.bytes + 256) + 65_536];
        let (sent, record) = (Vec::with_capacity(10_000), vec![0; 70_000]);
        let mut bed = Self { version: case.version, brokers, publisher, out, sent, record, delivered: 0 };
        bed.pass_on();
        for id in subscribers {
            // The client sends the SUBSCRIBE twice: the broker reads it once the other shards know the filter.
            let packet = subscribe(1, case.filter, qos).wire(case.version);
            while bed.brokers[id.0].handle_bytes(NOW, id.1, &packet).consumed == 0 {
                bed.pass_on();
            }
            bed.pass_on();
            bed.transmit();
        }
        bed
    }

    /// Hands in packets of the publisher, and lets subscribers acknowledge until nothing is left. Returns two counts of
    /// allocations: while the brokers received, forwarded and recorded the messages, and while they delivered them.
    fn round(&mut self, packets: &[u8]) -> (usize, usize) {
        self.delivered = 0;
        let messages = counted(|| {
            hand_in(&mut self.brokers, self.publisher, packets);
            self.pass_on();
        });
        let mut deliveries = 0;
        loop {
            deliveries += counted(|| self.transmit());
            let answers = self.answers();
            if answers.is_empty() {
                return (messages, deliveries);
            }
            deliveries += counted(|| {
                for (id, bytes) in &answers {
                    hand_in(&mut self.brokers, *id, bytes);
                }
                self.pass_on();
            });
        }
    }

    /// Hands over all forwards and records, until there are no more.
    fn pass_on(&mut self) {
        let mut is_quiet = false;
        while !is_quiet {
            is_quiet = true;
            for from in 0..self.brokers.len() {
                while let Some((to, forward)) = self.brokers[from].poll_forward() {
                    self.brokers[usize::from(to)].handle_forward(NOW, from as u16, forward).expect("the same seed");
                    is_quiet = false;
                }
                let broker = &mut self.brokers[from];
                if broker.has_records() {
                    while let Polled::Record { .. } = broker.poll_record(&mut self.record) {}
                    let batch = broker.end_batch();
                    broker.handle_persisted(batch);
                    is_quiet = false;
                }
            }
        }
    }

    fn transmit(&mut self) {
        self.sent.clear();
        let mut start = 0;
        for (shard, broker) in self.brokers.iter_mut().enumerate() {
            while let Some(id) = broker.poll_ready() {
                let transmit = broker.poll_transmit(NOW, id, &mut self.out[start..]);
                assert_eq!(transmit.then, Then::Idle);
                self.sent.push(((shard, id), start..start + transmit.written));
                start += transmit.written;
            }
        }
    }

    /// The acknowledgements of clients for what was transmitted to them.
    fn answers(&mut self) -> Vec<(Id, Vec<u8>)> {
        let mut answers = Vec::new();
        for (id, part) in &self.sent {
            let (mut bytes, mut answer) = (&self.out[part.clone()], Vec::new());
            while let Ok(Some((frame, len))) = split(bytes, 1 << 20) {
                let packet = match Packet::decode(self.version, frame).unwrap() {
                    Packet::Publish(publish) => {
                        self.delivered += 1;
                        let id = publish.packet_id.map_or(0, |id| id.get());
                        match publish.qos {
                            QoS::AtMostOnce => None,
                            QoS::AtLeastOnce => Some(puback(id)),
                            QoS::ExactlyOnce => Some(pubrec(id)),
                        }
                    }
                    Packet::PubRec(ack) => Some(pubrel(ack.packet_id.get())),
                    Packet::PubRel(ack) => Some(pubcomp(ack.packet_id.get())),
                    _ => None,
                };
                answer.extend(packet.map(|packet| packet.wire(self.version)).unwrap_or_default());
                bytes = &bytes[len..];
            }
            if !answer.is_empty() {
                answers.push((*id, answer));
            }
        }
        answers
    }
}

fn counted(work: impl FnOnce()) -> usize {
    let before = TAKEN.get();
    work();
    TAKEN.get() - before
}

fn hand_in(brokers: &mut [Broker<'_>], (shard, id): Id, bytes: &[u8]) {
    assert_eq!(brokers[shard].handle_bytes(NOW, id, bytes).consumed, bytes.len());
}
