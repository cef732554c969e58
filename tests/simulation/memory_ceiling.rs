//! A ceiling on memory: whatever clients do, no more is claimed than it allows, what is refused is refused with the right Reason Code and
//! counted, and clients that use little notice nothing. And what is claimed is no less than what the allocator has given.

use goldcrest_core::codec::{Packet, Property, QoS, ReasonCode, Version, split};
use goldcrest_core::{
    AllowAll, Broker, Capacity, Config, ConnectionId, DropReason, Instant, Memory, MemoryCeiling, MemoryUse, Next,
    Polled, Shard, Then,
};
use goldcrest_tests::packets::{Wire, client, puback, pubcomp, publish, pubrec, pubrel, subscribe, unsubscribe, will};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

const MIB: usize = 1 << 20;
const NOW: Instant = Instant::from_millis(0);

thread_local! {
    /// What brokers of this thread have taken from the heap and not given back.
    static TAKEN: Cell<isize> = const { Cell::new(0) };
    /// Whether a broker is at work.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// The system's heap; it counts what brokers take, as common allocators round it up.
struct Counting;

#[global_allocator]
static HEAP: Counting = Counting;

fn count(size: usize, sign: isize) {
    if INSIDE.get() {
        TAKEN.set(TAKEN.get() + sign * (size + 8).next_multiple_of(16) as isize);
    }
}

// SAFETY: every call goes to the system's allocator as it came; the counters have no destructor and take nothing themselves.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, 1);
        count(layout.size(), -1);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

fn inside<R>(work: impl FnOnce() -> R) -> R {
    INSIDE.set(true);
    let result = work();
    INSIDE.set(false);
    result
}

/// A shard, and a connection there.
type Id = (usize, ConnectionId);

/// Sibling brokers below one ceiling, and their clients, all of them MQTT 5.0 unless said otherwise.
struct House {
    ceiling: Arc<MemoryCeiling>,
    brokers: Vec<Broker<'static>>,
    versions: HashMap<Id, Version>,
    /// Those that don't read.
    stalled: HashSet<Id>,
    /// What each of them has got since it was looked at last.
    got: HashMap<Id, Vec<Got>>,
    out: Vec<u8>,
    record: Vec<u8>,
    honest: Option<(Id, Id, u16)>,
    /// What brokers had taken before.
    before: isize,
}

#[derive(Debug, PartialEq, Eq)]
enum Got {
    ConnAck(ReasonCode),
    SubAck(Vec<u8>),
    Publish(String),
    Ack(ReasonCode),
    Closed,
}

impl House {
    fn new(shards: u16, bytes: usize, change: impl Fn(&mut Config<'static>)) -> Self {
        let ceiling = MemoryCeiling::new(bytes);
        let before = TAKEN.get();
        let make = |index| {
            let shard = Shard { index, count: shards };
            let mut config = Config { shard, ..Config::gateway(u128::from(index)) };
            change(&mut config);
            inside(|| {
                let memory = Memory::owned(&Capacity::GATEWAY, &config.limits, shard).under(&ceiling);
                Broker::new(memory, config, &AllowAll)
            })
        };
        let brokers = (0..shards).map(make).collect();
        let (out, record) = (vec![0; 4 * MIB], vec![0; 4 * MIB]);
        let (versions, stalled, got) = Default::default();
        Self { ceiling, brokers, versions, stalled, got, out, record, honest: None, before }
    }

    fn check(&self) {
        let taken = self.ceiling.taken_in_all();
        assert!(taken <= self.ceiling.bytes(), "{taken} bytes are claimed");
    }

    /// What brokers have from the heap.
    fn allocated(&self) -> isize {
        TAKEN.get() - self.before
    }

    fn open(&mut self, name: &str, version: Version) -> Option<Id> {
        let shard = usize::from(Shard::home_of(name.as_bytes(), self.brokers.len() as u16));
        let id = (shard, inside(|| self.brokers[shard].handle_connected(NOW)).ok()?);
        self.versions.insert(id, version);
        Some(id)
    }

    /// Connects; what CONNACK says.
    fn connect(&mut self, name: &str, packet: &impl Wire) -> Option<(Id, ReasonCode)> {
        let id = self.open(name, Version::V5)?;
        self.send(id, &packet.wire(Version::V5));
        let code = self.take(id).into_iter().find_map(|got| match got {
            Got::ConnAck(code) => Some(code),
            _ => None,
        });
        Some((id, code?))
    }

    fn connect_well(&mut self, name: &str) -> Id {
        let connected = self.connect(name, &client(name));
        let (id, code) = connected.unwrap_or_else(|| panic!("{name} is closed"));
        assert_eq!(code, ReasonCode::Success, "{name}");
        id
    }

    /// Lets bytes in, and everybody go on. Whether all were taken.
    fn send(&mut self, id: Id, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        for _ in 0..100 {
            let received = inside(|| self.brokers[id.0].handle_bytes(NOW, id.1, rest));
            rest = &rest[received.consumed..];
            let is_over = rest.is_empty() || matches!(received.next, Next::Close);
            self.settle();
            if is_over {
                return rest.is_empty();
            }
        }
        false
    }

    fn cut(&mut self, id: Id) {
        inside(|| self.brokers[id.0].handle_closed(NOW, id.1));
        self.stalled.remove(&id);
        self.settle();
        self.got.remove(&id);
    }

    fn take(&mut self, id: Id) -> Vec<Got> {
        self.got.remove(&id).unwrap_or_default()
    }

    /// Whatever is to be done is done, until there is nothing left.
    fn settle(&mut self) {
        loop {
            let passed = self.pass_on();
            let sent = self.transmit();
            self.check();
            if !passed && !sent {
                return;
            }
        }
    }

    fn pass_on(&mut self) -> bool {
        let mut any = false;
        for from in 0..self.brokers.len() {
            while let Some((to, forward)) = inside(|| self.brokers[from].poll_forward()) {
                inside(|| self.brokers[usize::from(to)].handle_forward(NOW, from as u16, forward));
                any = true;
            }
            let broker = &mut self.brokers[from];
            if broker.has_records() {
                inside(|| while let Polled::Record { .. } = broker.poll_record(&mut self.record) {});
                let batch = inside(|| broker.end_batch());
                inside(|| broker.handle_persisted(batch));
                any = true;
            }
        }
        any
    }

    fn transmit(&mut self) -> bool {
        let mut answers = Vec::new();
        let mut any = false;
        for shard in 0..self.brokers.len() {
            while let Some(connection) = inside(|| self.brokers[shard].poll_ready()) {
                let id = (shard, connection);
                if self.stalled.contains(&id) {
                    continue;
                }
                any = true;
                loop {
                    let broker = &mut self.brokers[shard];
                    let transmit = inside(|| broker.poll_transmit(NOW, connection, &mut self.out));
                    self.read(id, transmit.written, &mut answers);
                    if transmit.then == Then::Close {
                        inside(|| self.brokers[shard].handle_closed(NOW, connection));
                        self.got.entry(id).or_default().push(Got::Closed);
                    }
                    if transmit.then != Then::More || transmit.written == 0 {
                        break;
                    }
                }
            }
        }
        for (id, bytes) in answers {
            inside(|| self.brokers[id.0].handle_bytes(NOW, id.1, &bytes));
        }
        any
    }

    /// A client reads what is in `out`, and acknowledges it.
    fn read(&mut self, id: Id, len: usize, answers: &mut Vec<(Id, Vec<u8>)>) {
        let version = self.versions[&id];
        let mut bytes = &self.out[..len];
        let got = self.got.entry(id).or_default();
        while let Ok(Some((frame, len))) = split(bytes, 16 << 20) {
            let answer = match Packet::decode(version, frame).unwrap() {
                Packet::ConnAck(connack) => {
                    got.push(Got::ConnAck(connack.code));
                    None
                }
                Packet::SubAck(suback) => {
                    got.push(Got::SubAck(suback.codes.into_iter().map(ReasonCode::as_u8).collect()));
                    None
                }
                Packet::Publish(publish) => {
                    got.push(Got::Publish(publish.topic.to_owned()));
                    let packet_id = publish.packet_id.map_or(0, |id| id.get());
                    match publish.qos {
                        QoS::AtMostOnce => None,
                        QoS::AtLeastOnce => Some(puback(packet_id)),
                        QoS::ExactlyOnce => Some(pubrec(packet_id)),
                    }
                }
                Packet::PubAck(ack) | Packet::PubComp(ack) => {
                    got.push(Got::Ack(ack.code));
                    None
                }
                Packet::PubRec(ack) if version.is_v5() => {
                    if ack.code.is_error() {
                        got.push(Got::Ack(ack.code));
                        None
                    } else {
                        Some(pubrel(ack.packet_id.get()))
                    }
                }
                Packet::PubRel(ack) => Some(pubcomp(ack.packet_id.get())),
                _ => None,
            };
            answers.extend(answer.map(|packet| (id, packet.wire(version))));
            bytes = &bytes[len..];
        }
    }

    /// Two clients that use little: each message between them arrives and is acknowledged with success.
    fn check_honest(&mut self) {
        let (publisher, subscriber, packet_id) = match self.honest {
            Some(pair) => pair,
            None => {
                let (publisher, subscriber) =
                    (self.connect_well("honest publisher"), self.connect_well("honest subscriber"));
                self.send(subscriber, &subscribe(1, "honest/+", 1).wire(Version::V5));
                assert_eq!(self.take(subscriber), [Got::SubAck(vec![1])]);
                (publisher, subscriber, 1)
            }
        };
        self.honest = Some((publisher, subscriber, packet_id + 1));
        assert!(self.send(publisher, &publish("honest/topic", &[7; 200]).q1(packet_id).wire(Version::V5)));
        assert_eq!(self.take(publisher), [Got::Ack(ReasonCode::Success)]);
        assert_eq!(self.take(subscriber), [Got::Publish("honest/topic".into())]);
    }

    /// Much was taken, the honest ones noticed nothing, and at the end all is given back.
    fn end(mut self, purpose: MemoryUse) {
        self.check_honest();
        assert!(self.ceiling.taken_in_all() > self.ceiling.bytes() / 4, "{}", self.ceiling.taken_in_all());
        let refused = self.ceiling.refused(purpose);
        inside(|| self.brokers.clear());
        assert_eq!(self.ceiling.taken_in_all(), 0);
        assert!(self.allocated() < 4096, "{}", self.allocated());
        assert!(refused > 0 || purpose == MemoryUse::Other);
    }
}

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

#[test]
fn clients_that_do_not_read_leave_room_for_those_that_do() {
    with_one_and_two_shards(|mut house| {
        let publisher = house.connect_well("publisher");
        let mut readers = Vec::new();
        for n in 0..60 {
            let id = house.connect_well(&format!("idle {n}"));
            house.send(id, &subscribe(1, &format!("idle/{n}"), 1).wire(Version::V5));
            house.take(id);
            house.stalled.insert(id);
            readers.push(id);
        }
        let (mut taken, mut refused) = (0, 0);
        for round in 0..150 {
            for n in 0..60 {
                house.send(publisher, &publish(&format!("idle/{n}"), &[3; 1024]).q1(1).wire(Version::V5));
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

/// What is neither in tables nor in bodies: lists that are bounded otherwise, and what grows while it is copied.
const NOT_COUNTED: isize = 96 << 10;

#[test]
fn what_is_claimed_is_no_less_than_what_is_allocated_but_for_a_constant() {
    for (shards, durable) in [(1, false), (2, false), (4, false), (1, true), (3, true)] {
        let mut house = House::new(shards, 6 * MIB, |config| config.durable = durable);
        let mut random = Random(u64::from(shards) + 10);
        let mut clients: Vec<Option<Id>> = vec![None; 40];
        let mut most = 0;
        for step in 0..3_000 {
            act(&mut house, &mut random, &mut clients);
            let claimed = house.ceiling.taken_in_all() as isize;
            most = most.max(house.allocated() - claimed);
            let constant = NOT_COUNTED * shards as isize;
            assert!(house.allocated() <= claimed + constant, "{} allocated, {claimed} claimed", house.allocated());
            if step % 500 == 499 {
                house.check_honest();
            }
        }
        println!("{shards} shards, durable {durable}: {most} bytes more were allocated than claimed");
        inside(|| house.brokers.clear());
        assert_eq!(house.ceiling.taken_in_all(), 0);
    }
}

/// One client does something.
fn act(house: &mut House, random: &mut Random, clients: &mut [Option<Id>]) {
    let n = random.below(clients.len());
    let name = format!("client {n}");
    let Some(id) = clients[n].filter(|id| !house.got.get(id).is_some_and(|got| got.contains(&Got::Closed))) else {
        let payload = vec![1; random.size()];
        let packet = match random.below(3) {
            0 => client(&name).wire(Version::V5),
            1 => client(&name).keep().wire(Version::V5),
            _ => client(&name).keep().will(will("some/will", &payload, 1)).wire(Version::V5),
        };
        clients[n] = house.open(&name, Version::V5);
        if let Some(id) = clients[n] {
            house.got.remove(&id);
            house.send(id, &packet);
        }
        return;
    };
    let (topic, level) = (format!("{}/{}", random.below(30), "level ".repeat(random.below(9))), random.below(3) as u8);
    match random.below(20) {
        0 => {
            house.cut(id);
            clients[n] = None;
        }
        1 => {
            house.stalled.insert(id);
        }
        2 | 3 => {
            house.stalled.remove(&id);
            house.send(id, &[0xc0, 0]);
        }
        4..8 => {
            let shape = ["#", "+/#", "$share/group/+/x", ""][random.below(4)];
            let filter = if shape.is_empty() { topic } else { shape.to_owned() };
            house.send(id, &subscribe(1, &filter, level).wire(Version::V5));
        }
        8 => {
            house.send(id, &unsubscribe(1, &[&topic, "#"]).wire(Version::V5));
        }
        _ => {
            let payload = vec![2; random.size()];
            let mut packet = publish(&topic, &payload).qos(level, 1 + random.below(200) as u16);
            if random.below(4) == 0 {
                packet = packet.retain();
            }
            house.send(id, &packet.wire(Version::V5));
        }
    }
    let id = clients[n].unwrap_or(id);
    if let Some(got) = house.got.get_mut(&id) {
        got.retain(|got| *got == Got::Closed);
    }
}

/// A small generator (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    /// Mostly small, seldom large.
    fn size(&mut self) -> usize {
        let most = [50, 500, 5_000, 50_000, 400_000][(self.below(16) + 1).ilog2() as usize];
        self.below(most)
    }
}
