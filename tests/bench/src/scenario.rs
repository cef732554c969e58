//! The scenarios that are measured.

use crate::packet::Version;
use crate::traffic::{Hearing, Plan, Publishing};

pub struct Scenario {
    pub name: String,
    /// Microseconds of CPU for each delivered message: what the relay took on the machine on which the goal was set, and the
    /// most that Goldcrest may take.
    pub goal: Option<Goal>,
    pub version: Version,
    pub qos: u8,
    /// Whether Sessions and messages must survive the end of the process.
    pub durable: bool,
    pub work: Work,
}

#[derive(Clone, Copy)]
pub struct Goal {
    pub floor: Option<f64>,
    pub target: f64,
}

pub enum Work {
    Traffic(Box<dyn Fn() -> Plan>),
    /// As [`Work::Traffic`], with so many subscriptions that their memory is measured too.
    Table {
        subscriptions: usize,
        plan: Box<dyn Fn() -> Plan>,
    },
    /// This many connections that do nothing.
    Idle(usize),
    /// This many retained messages, which clients fetch by `#`.
    Retained(usize),
}

/// All scenarios. With `quick` the large ones are smaller.
pub fn all(quick: bool) -> Vec<Scenario> {
    let v3 = Version::V3_1_1;
    let crowd = if quick { 2_000 } else { 10_000 };
    let million = if quick { 100_000 } else { 1_000_000 };
    let retained = if quick { 20_000 } else { 100_000 };
    let closed = |qos, payload| Basics { version: v3, qos, payload, window: 64, batch: 16, rate: None };
    let mut list = vec![
        traffic("pairs, QoS 0", goal(0.12, 0.45), pairs(closed(0, 16), 100)),
        traffic("pairs, QoS 0, 256 B", goal(0.18, 0.50), pairs(closed(0, 256), 100)),
        traffic("pairs, QoS 1", target(0.80), pairs(closed(1, 16), 100)),
        traffic("pairs, QoS 1, 256 B", None, pairs(closed(1, 256), 100)),
        traffic("pairs, QoS 2", target(1.2), pairs(closed(2, 16), 100)),
        traffic(
            "pairs, QoS 0, one in flight",
            goal(8.8, 10.0),
            pairs(Basics { window: 1, batch: 1, ..closed(0, 16) }, 100),
        ),
        traffic("pairs, QoS 1, one in flight", None, pairs(Basics { window: 1, batch: 1, ..closed(1, 16) }, 100)),
        traffic("fan-out 1 to 100, QoS 0", goal(0.10, 0.20), fan_out(closed(0, 64), 100)),
        traffic("fan-out 1 to 100, QoS 1", target(0.35), fan_out(closed(1, 64), 100)),
        traffic("fan-out 1 to 1,000, QoS 0", goal(0.12, 0.25), fan_out(closed(0, 64), 1000)),
        traffic("fan-out 1 to 1,000, QoS 1", target(0.45), fan_out(closed(1, 64), 1000)),
        traffic("fan-in 100 to 1, QoS 0", goal(0.36, 0.50), fan_in(closed(0, 64), 100)),
        traffic("fan-in 100 to 1, QoS 1", target(0.85), fan_in(closed(1, 64), 100)),
        traffic("shared subscription 100 to 8, QoS 1", None, shared(closed(1, 64), 100, 8)),
        traffic("shared subscription 100 to 10, QoS 1", target(1.0), shared(closed(1, 64), 100, 10)),
        traffic("10,000 wildcard filters, QoS 0", target(1.8), wildcards(closed(0, 64), 100, 100)),
        table("1,000 subscriptions, QoS 0", 1_000, closed(0, 64)),
        table(&format!("{} subscriptions, QoS 0", thousands(million)), million, closed(0, 64)),
    ];
    let open = |qos| Basics { rate: Some(5000), ..closed(qos, 256) };
    list.extend([
        traffic("5,000 messages/s, QoS 0, 256 B", goal(18.0, 22.0), pairs(open(0), 100)),
        traffic("5,000 messages/s, QoS 1, 256 B", target(36.0), pairs(open(1), 100)),
        traffic("pairs, QoS 0, 4 KiB", None, pairs(Basics { window: 32, ..closed(0, 4096) }, 20)),
        traffic("pairs, QoS 0, 64 KiB", None, pairs(Basics { window: 16, batch: 4, ..closed(0, 65536) }, 10)),
        traffic("pairs, QoS 0, MQTT 5", None, pairs(Basics { version: Version::V5, ..closed(0, 16) }, 100)),
        traffic("pairs, QoS 1, MQTT 5", None, pairs(Basics { version: Version::V5, ..closed(1, 16) }, 100)),
        Scenario {
            name: format!("{} idle connections", thousands(crowd)),
            goal: None,
            version: v3,
            qos: 0,
            durable: false,
            work: Work::Idle(crowd),
        },
        Scenario {
            name: format!("fetch of {} retained", thousands(retained)),
            goal: target(0.8),
            version: v3,
            qos: 0,
            durable: false,
            work: Work::Retained(retained),
        },
    ]);
    list
}

/// The scenarios for brokers with a store, which run only on demand. With one message in flight for each pair, the rate
/// tells how long a publisher waits for its acknowledgement. With QoS 2 the publisher waits for the disk. A message of QoS 1
/// needs no disk if its subscriber acknowledges it before its record is written.
pub fn durable() -> Vec<Scenario> {
    let closed = |qos| Basics { version: Version::V3_1_1, qos, payload: 64, window: 64, batch: 16, rate: None };
    let one_in_flight = Basics { window: 1, batch: 1, ..closed(1) };
    let open = Basics { rate: Some(5000), payload: 256, ..closed(1) };
    let scenario = |name, shape| Scenario { durable: true, ..traffic(name, None, shape) };
    vec![
        scenario("durable, 1 pair, QoS 1", pairs(closed(1), 1)),
        scenario("durable, 100 pairs, QoS 1", pairs(closed(1), 100)),
        scenario("durable, 500 pairs, QoS 1", pairs(closed(1), 500)),
        scenario("durable, 100 pairs, QoS 2", pairs(closed(2), 100)),
        scenario("durable, 1 pair, QoS 1, one in flight", pairs(one_in_flight, 1)),
        scenario("durable, 100 pairs, QoS 1, one in flight", pairs(one_in_flight, 100)),
        scenario("durable, 500 pairs, QoS 1, one in flight", pairs(one_in_flight, 500)),
        scenario("durable, 1 pair, QoS 2, one in flight", pairs(Basics { qos: 2, ..one_in_flight }, 1)),
        scenario("durable, 5,000 messages/s, QoS 1, 256 B", pairs(open, 100)),
        scenario("durable, 5,000 messages/s, QoS 2, 256 B", pairs(Basics { qos: 2, ..open }, 100)),
    ]
}

#[derive(Clone, Copy)]
struct Basics {
    version: Version,
    qos: u8,
    payload: usize,
    window: u32,
    batch: u32,
    rate: Option<u32>,
}

impl Basics {
    fn plan(self, publishers: Vec<Publishing>, subscribers: Vec<Hearing>) -> Plan {
        let Self { version, qos, payload, window, batch, rate } = self;
        Plan { version, qos, payload, window, batch, rate, publishers, subscribers, shared: false, durable: false }
    }
}

type Shape = (Basics, Box<dyn Fn() -> Plan>);

fn traffic(name: &str, goal: Option<Goal>, (basics, plan): Shape) -> Scenario {
    let (version, qos) = (basics.version, basics.qos);
    Scenario { name: name.into(), goal, version, qos, durable: false, work: Work::Traffic(plan) }
}

fn table(name: &str, subscriptions: usize, basics: Basics) -> Scenario {
    let (_, plan) = exact(basics, 100, subscriptions / 100);
    let (version, qos) = (basics.version, basics.qos);
    Scenario { name: name.into(), goal: None, version, qos, durable: false, work: Work::Table { subscriptions, plan } }
}

fn goal(floor: f64, target: f64) -> Option<Goal> {
    Some(Goal { floor: Some(floor), target })
}

fn target(target: f64) -> Option<Goal> {
    Some(Goal { floor: None, target })
}

/// Each publisher has one subscriber of its own.
fn pairs(basics: Basics, count: u32) -> Shape {
    own_topics(basics, count, 1, |i, _| format!("bench/{i:03}"), |i, _| format!("bench/{i:03}"))
}

/// Pairs with `each` subscriptions to exact filters. The publisher uses all these topics.
fn exact(basics: Basics, count: u32, each: usize) -> Shape {
    let topic = |i: u32, n: usize| format!("plant/{i:03}/sensor/{n:05}");
    own_topics(basics, count, each, topic, topic)
}

/// Pairs with `each` subscriptions, half of them with `+` and half with `#`. Each topic matches one of all these filters.
fn wildcards(basics: Basics, count: u32, each: usize) -> Shape {
    let topic = |i: u32, n: usize| match n % 2 {
        0 => format!("line/{n:05}/cell-{i:03}/state"),
        _ => format!("hall/cell-{i:03}/{n:05}/state"),
    };
    let filter = |i: u32, n: usize| match n % 2 {
        0 => format!("+/{n:05}/cell-{i:03}/state"),
        _ => format!("hall/cell-{i:03}/{n:05}/#"),
    };
    own_topics(basics, count, each, topic, filter)
}

fn own_topics(
    basics: Basics,
    count: u32,
    each: usize,
    topic: impl Fn(u32, usize) -> String + 'static,
    filter: impl Fn(u32, usize) -> String + 'static,
) -> Shape {
    let plan = move || {
        let publishers = (0..count).map(|i| {
            let mut topics: Vec<_> = (0..each).map(|n| topic(i, n)).collect();
            shuffle(&mut topics, i.into());
            Publishing { topics, copies: 1, channel: i }
        });
        let subscribers = (0..count).map(|i| {
            let filters = (0..each).map(|n| filter(i, n)).collect();
            Hearing { filters, from: i..i + 1, channel: i }
        });
        basics.plan(publishers.collect(), subscribers.collect())
    };
    (basics, Box::new(plan))
}

fn fan_out(basics: Basics, count: u32) -> Shape {
    let plan = move || {
        let publisher = Publishing { topics: vec!["bench/all".into()], copies: count, channel: 0 };
        let subscriber = Hearing { filters: vec!["bench/all".into()], from: 0..1, channel: 0 };
        basics.plan(vec![publisher], vec![subscriber; count as usize])
    };
    (basics, Box::new(plan))
}

fn fan_in(basics: Basics, count: u32) -> Shape {
    let plan = move || {
        let publisher = |i| Publishing { topics: vec![format!("bench/{i:03}")], copies: 1, channel: 0 };
        let subscriber = Hearing { filters: vec!["bench/+".into()], from: 0..count, channel: 0 };
        basics.plan((0..count).map(publisher).collect(), vec![subscriber])
    };
    (basics, Box::new(plan))
}

fn shared(basics: Basics, count: u32, members: u32) -> Shape {
    let plan = move || {
        let publisher = |i| Publishing { topics: vec![format!("bench/{i:03}")], copies: 1, channel: i % members };
        let member = |i| Hearing { filters: vec!["$share/group/bench/+".into()], from: 0..count, channel: i };
        let (publishers, members) = ((0..count).map(publisher), (0..members).map(member));
        Plan { shared: true, ..basics.plan(publishers.collect(), members.collect()) }
    };
    (basics, Box::new(plan))
}

/// Shuffles the topics: into the same order in each run, but not into the order of the subscriptions.
fn shuffle(topics: &mut [String], seed: u64) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for i in (1..topics.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        topics.swap(i, ((state >> 33) % (i as u64 + 1)) as usize);
    }
}

pub fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let (first, rest) = digits.split_at(digits.len() % 3);
    let groups = rest.as_bytes().chunks(3).map(|group| String::from_utf8_lossy(group).into_owned());
    let first = (!first.is_empty()).then(|| first.to_owned());
    first.into_iter().chain(groups).collect::<Vec<_>>().join(",")
}
