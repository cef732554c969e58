//! Messages from publishers to subscribers: sent, received, acknowledged, counted.
//!
//! Closed loop: each publisher has at most `window` messages outstanding, and sends `batch` messages in one write when
//! it may. A message is outstanding until all its subscribers have received it and its publisher has all
//! acknowledgements. Open loop: messages are sent one after the other at a fixed rate, without waiting for answers. Each
//! message carries the time at which it was due, so a generator or a broker that falls behind makes latencies longer,
//! and does not leave messages out.

use crate::connection::Connection;
use crate::packet::{self, Patch, Version};
use crate::process::Process;
use crate::relay;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The messages and their receivers.
#[derive(Clone, Debug)]
pub struct Plan {
    pub version: Version,
    pub qos: u8,
    pub payload: usize,
    pub window: u32,
    pub batch: u32,
    /// Messages a second in all; `None` for a closed loop.
    pub rate: Option<u32>,
    pub publishers: Vec<Publishing>,
    pub subscribers: Vec<Hearing>,
    /// Whether each message goes to one of its subscribers only.
    pub shared: bool,
    /// Whether the subscribers' Sessions outlive their connections.
    pub durable: bool,
}

#[derive(Clone, Debug)]
pub struct Publishing {
    /// The topics, which are used in turn and have the same length.
    pub topics: Vec<String>,
    /// The number of subscribers that get each message.
    pub copies: u32,
    /// The channel of the relay, which knows no topics.
    pub channel: u32,
}

#[derive(Clone, Debug)]
pub struct Hearing {
    pub filters: Vec<String>,
    /// The publishers whose messages the subscriber gets.
    pub from: std::ops::Range<u32>,
    pub channel: u32,
}

#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub warm_up: Duration,
    pub measure: Duration,
}

/// The broker or relay that gets the load.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub address: SocketAddr,
    pub process: Process,
    pub is_relay: bool,
}

/// The measurements of one run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// CPU time of the broker for each delivered message, in microseconds.
    pub cpu: f64,
    /// CPU time of the load generator for each delivered message, in microseconds.
    pub generator_cpu: f64,
    /// Delivered messages a second.
    pub rate: f64,
    /// Latencies in nanoseconds, sorted; in an open loop only.
    pub latencies: Vec<u64>,
    pub resident: u64,
    /// The memory that the subscriptions took, in bytes.
    pub table: u64,
    pub faults: Faults,
}

/// Deliveries that were lost, came twice, or came out of order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    pub lost: u64,
    pub duplicated: u64,
    pub reordered: u64,
}

pub fn run(target: &Target, plan: &Plan, times: &Times) -> Result<Outcome, String> {
    let (mut traffic, table) = Traffic::prepare(target, plan)?;
    traffic.run_for(times.warm_up)?;
    traffic.latencies.clear();
    let (cpu, own, delivered) = (target.process.cpu()?, Process::this().cpu()?, traffic.delivered);
    let started = Instant::now();
    traffic.run_for(times.measure)?;
    let seconds = started.elapsed().as_secs_f64();
    let cpu = target.process.cpu()? - cpu;
    let own = Process::this().cpu()? - own;
    let delivered = (traffic.delivered - delivered) as f64;
    let resident = target.process.resident()?;
    let mut latencies = std::mem::take(&mut traffic.latencies);
    latencies.sort_unstable();
    traffic.drain()?;
    if delivered == 0.0 {
        return Err("nothing was delivered".into());
    }
    Ok(Outcome {
        cpu: cpu.as_secs_f64() * 1e6 / delivered,
        generator_cpu: own.as_secs_f64() * 1e6 / delivered,
        rate: delivered / seconds,
        latencies,
        resident,
        table,
        faults: traffic.faults,
    })
}

struct Traffic<'p> {
    plan: &'p Plan,
    epoll: Epoll,
    timer: TimerFd,
    /// The connections of the publishers, then those of the subscribers.
    connections: Vec<Connection>,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    patch: Patch,
    /// Connections with bytes to write, and publishers that may have room for a batch.
    dirty: Vec<usize>,
    willing: Vec<usize>,
    buffer: Vec<u8>,
    events: Vec<EpollEvent>,
    origin: Instant,
    /// In an open loop, how many messages were sent.
    sent: u64,
    delivered: u64,
    latencies: Vec<u64>,
    faults: Faults,
    is_ending: bool,
}

struct Publisher {
    /// A packet for each topic.
    packets: Vec<Vec<u8>>,
    next_packet: usize,
    copies: u32,
    /// The messages with the numbers `low..next` are outstanding.
    low: u32,
    next: u32,
    /// How many deliveries and acknowledgements each outstanding message waits for. The index is the message's number
    /// modulo the length.
    waiting: Vec<u32>,
    /// The message whose acknowledgement comes next, since brokers acknowledge in order.
    acknowledged: u32,
}

struct Subscriber {
    first: u32,
    /// For each publisher, the number that is expected next.
    next: Vec<u32>,
}

const TIMER: u64 = u64::MAX;

/// A run has failed if no delivery comes for this long.
const STALL: Duration = Duration::from_secs(10);

impl<'p> Traffic<'p> {
    fn prepare(target: &Target, plan: &'p Plan) -> Result<(Self, u64), String> {
        let qos = if target.is_relay { 0 } else { plan.qos };
        let epoll = Epoll::new(EpollCreateFlags::empty()).map_err(|error| error.to_string())?;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK);
        let timer = timer.map_err(|error| error.to_string())?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, TIMER);
        epoll.add(&timer, event).map_err(|error| error.to_string())?;
        let mut connections = Vec::new();
        let mut publishers = Vec::new();
        for (index, publishing) in plan.publishers.iter().enumerate() {
            let topics = publishing.topics.iter();
            let packets: Vec<_> =
                topics.map(|topic| packet::publish(plan.version, qos, false, topic, plan.payload)).collect();
            connections.push(if target.is_relay {
                open_relayed(target, true, publishing.channel, packets[0].len())?
            } else {
                Connection::open_mqtt(target.address, plan.version, &format!("publisher-{index}"), false)?
            });
            let length = if plan.rate.is_some() { 1 << 14 } else { plan.window.next_power_of_two() };
            publishers.push(Publisher {
                packets,
                next_packet: 0,
                copies: publishing.copies + u32::from(qos > 0),
                low: 0,
                next: 0,
                waiting: vec![0; length as usize],
                acknowledged: 0,
            });
        }
        let mut hearing = Vec::new();
        for (index, subscriber) in plan.subscribers.iter().enumerate() {
            hearing.push(if target.is_relay {
                open_relayed(target, false, subscriber.channel, 0)?
            } else {
                Connection::open_mqtt(target.address, plan.version, &format!("subscriber-{index}"), plan.durable)?
            });
        }
        let before = target.process.resident()?;
        if !target.is_relay {
            for (connection, subscriber) in hearing.iter_mut().zip(&plan.subscribers) {
                connection.subscribe(plan.version, &subscriber.filters, qos)?;
            }
        }
        let table = target.process.resident()?.saturating_sub(before);
        connections.extend(hearing);
        for (token, connection) in (0..).zip(&mut connections) {
            connection.register(&epoll, token)?;
        }
        let subscribers = plan.subscribers.iter();
        let subscribers =
            subscribers.map(|s| Subscriber { first: s.from.start, next: vec![0; s.from.len()] }).collect();
        let traffic = Self {
            plan,
            epoll,
            timer,
            willing: (0..publishers.len()).collect(),
            connections,
            publishers,
            subscribers,
            patch: Patch::new(plan.version, qos, plan.payload),
            dirty: Vec::new(),
            buffer: vec![0; 256 * 1024],
            events: vec![EpollEvent::empty(); 1024],
            origin: Instant::now(),
            sent: 0,
            delivered: 0,
            latencies: Vec::new(),
            faults: Faults::default(),
            is_ending: false,
        };
        Ok((traffic, table))
    }

    fn run_for(&mut self, time: Duration) -> Result<(), String> {
        let end = Instant::now() + time;
        let mut progress = (self.delivered, Instant::now());
        while Instant::now() < end {
            self.turn()?;
            if self.delivered != progress.0 {
                progress = (self.delivered, Instant::now());
            } else if progress.1.elapsed() > STALL {
                return Err(format!("stalled: {:?}, {} outstanding", self.faults, self.outstanding()));
            }
        }
        Ok(())
    }

    /// Sends no new messages, and waits for outstanding ones. Those that do not come are lost.
    fn drain(&mut self) -> Result<(), String> {
        self.is_ending = true;
        let mut progress = (self.delivered, Instant::now());
        while self.outstanding() > 0 && progress.1.elapsed() < Duration::from_secs(5) {
            self.turn()?;
            if self.delivered != progress.0 {
                progress = (self.delivered, Instant::now());
            }
        }
        self.faults.lost += self.outstanding();
        Ok(())
    }

    /// The number of deliveries and acknowledgements that are yet to come.
    fn outstanding(&self) -> u64 {
        self.publishers.iter().flat_map(|publisher| &publisher.waiting).map(|&waiting| u64::from(waiting)).sum()
    }

    fn turn(&mut self) -> Result<(), String> {
        let mut events = std::mem::take(&mut self.events);
        self.send()?;
        let count = self.epoll.wait(&mut events, EpollTimeout::from(100u16)).map_err(|error| error.to_string())?;
        for event in &events[..count] {
            if event.data() != TIMER {
                self.serve(event.data() as usize, event.events())?;
            }
        }
        self.events = events;
        Ok(())
    }

    fn send(&mut self) -> Result<(), String> {
        if !self.is_ending {
            match self.plan.rate {
                None => self.send_closed(),
                Some(rate) => self.send_open(rate)?,
            }
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        for index in dirty.drain(..) {
            self.connections[index].flush(&self.epoll)?;
        }
        self.dirty = dirty;
        Ok(())
    }

    fn send_closed(&mut self) {
        let mut willing = std::mem::take(&mut self.willing);
        for index in willing.drain(..) {
            let publisher = &mut self.publishers[index];
            let free = self.plan.window - (publisher.next - publisher.low);
            if free < self.plan.batch {
                continue;
            }
            for _ in 0..free {
                publisher.put(index, self.patch, 0, self.connections[index].out());
            }
            self.dirty.push(index);
        }
        self.willing = willing;
    }

    fn send_open(&mut self, rate: u32) -> Result<(), String> {
        let interval = 1_000_000_000 / u64::from(rate);
        loop {
            let due = self.sent * interval;
            let now = self.origin.elapsed().as_nanos() as u64;
            if due > now {
                let wait = Expiration::OneShot(TimeSpec::from_duration(Duration::from_nanos(due - now)));
                return self.timer.set(wait, TimerSetTimeFlags::empty()).map_err(|error| error.to_string());
            }
            let index = (self.sent % self.publishers.len() as u64) as usize;
            let publisher = &mut self.publishers[index];
            if publisher.next - publisher.low >= publisher.waiting.len() as u32 {
                return Err("the broker is seconds behind".into());
            }
            publisher.put(index, self.patch, due, self.connections[index].out());
            self.connections[index].flush(&self.epoll)?;
            self.sent += 1;
        }
    }

    fn serve(&mut self, index: usize, events: EpollFlags) -> Result<(), String> {
        let Self { plan, connections, publishers, subscribers, willing, dirty, buffer, .. } = self;
        let connection = &mut connections[index];
        if events.contains(EpollFlags::EPOLLOUT) {
            connection.flush(&self.epoll)?;
        }
        if !events.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) {
            return Ok(());
        }
        if let Some(publisher) = publishers.get_mut(index) {
            connection.receive(buffer, |frame, out| publisher.take_reply(plan.qos, frame, out))?;
            willing.push(index);
        } else {
            let subscriber = &mut subscribers[index - publishers.len()];
            let (delivered, latencies, faults) = (&mut self.delivered, &mut self.latencies, &mut self.faults);
            let now = plan.rate.map(|_| self.origin.elapsed().as_nanos() as u64);
            connection.receive(buffer, |frame, out| {
                if frame.kind() == packet::PUBREL {
                    let id = frame.packet_id().ok_or("a PUBREL without Packet Identifier")?;
                    out.extend(packet::acknowledge(packet::PUBCOMP, id));
                    return Ok(());
                }
                let delivery = packet::read_publish(plan.version, frame);
                let delivery = delivery.filter(|d| frame.kind() == packet::PUBLISH && d.payload == plan.payload);
                let delivery = delivery.ok_or_else(|| format!("an unexpected packet: {:02x}", frame.first))?;
                match delivery.qos {
                    0 => {}
                    1 => out.extend(packet::acknowledge(packet::PUBACK, delivery.packet_id)),
                    _ => out.extend(packet::acknowledge(packet::PUBREC, delivery.packet_id)),
                }
                if let Some(now) = now {
                    latencies.push(now.saturating_sub(delivery.stamp));
                }
                *delivered += 1;
                willing.push(delivery.publisher as usize);
                let publisher = publishers.get_mut(delivery.publisher as usize).ok_or("a publisher that is none")?;
                subscriber.check(plan, publisher, &delivery, faults)
            })?;
            // Adjacent entries for one publisher are merged.
            willing.dedup();
        }
        if !connection.out().is_empty() {
            dirty.push(index);
        }
        Ok(())
    }
}

impl Publisher {
    /// Appends the publisher's next message to `out`.
    fn put(&mut self, index: usize, patch: Patch, stamp: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend(&self.packets[self.next_packet]);
        self.next_packet += 1;
        if self.next_packet == self.packets.len() {
            self.next_packet = 0;
        }
        patch.apply(&mut out[start..], index as u32, self.next, stamp);
        *self.waiting(self.next) = self.copies;
        self.next += 1;
    }

    /// Whether messages must keep their order. MQTT promises that for messages of one topic, and not across topics.
    fn is_ordered(&self) -> bool {
        self.packets.len() == 1
    }

    fn waiting(&mut self, seq: u32) -> &mut u32 {
        let mask = self.waiting.len() - 1;
        &mut self.waiting[seq as usize & mask]
    }

    /// Counts a delivery or acknowledgement of a message. Returns whether one was due.
    fn settle(&mut self, seq: u32) -> bool {
        if seq < self.low || seq >= self.next || *self.waiting(seq) == 0 {
            return false;
        }
        *self.waiting(seq) -= 1;
        while self.low < self.next && *self.waiting(self.low) == 0 {
            self.low += 1;
        }
        true
    }

    /// Handles a PUBACK, PUBREC or PUBCOMP.
    fn take_reply(&mut self, qos: u8, frame: &packet::Frame<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        let id = frame.packet_id().ok_or("an acknowledgement without Packet Identifier")?;
        if frame.body.get(2).is_some_and(|&code| code >= 0x80) {
            return Err(format!("the broker refused a message with 0x{:02x}", frame.body[2]));
        }
        match (qos, frame.kind()) {
            (2, packet::PUBREC) => {
                out.extend(packet::acknowledge(packet::PUBREL, id));
                return Ok(());
            }
            (1, packet::PUBACK) | (2, packet::PUBCOMP) => {}
            (_, kind) => return Err(format!("a publisher got a packet of type {kind}")),
        }
        if id != packet::packet_id(self.acknowledged) || !self.settle(self.acknowledged) {
            return Err("acknowledgements came out of order or twice".into());
        }
        self.acknowledged += 1;
        Ok(())
    }
}

impl Subscriber {
    fn check(
        &mut self,
        plan: &Plan,
        publisher: &mut Publisher,
        delivery: &packet::Delivery,
        faults: &mut Faults,
    ) -> Result<(), String> {
        let Some(next) = delivery.publisher.checked_sub(self.first).and_then(|i| self.next.get_mut(i as usize)) else {
            return Err("a message from a publisher that is not heard here".into());
        };
        let seq = delivery.seq;
        let is_due = publisher.settle(seq);
        if !is_due {
            faults.duplicated += 1;
        } else if !publisher.is_ordered() {
            return Ok(());
        } else if seq < *next {
            faults.reordered += 1;
        } else if !plan.shared {
            // Messages on one connection do not overtake each other: a message that was left out will not come any more.
            for lost in *next..seq {
                faults.lost += u64::from(publisher.settle(lost));
            }
        }
        *next = (*next).max(seq + 1);
        Ok(())
    }
}

fn open_relayed(target: &Target, is_publisher: bool, channel: u32, frame: usize) -> Result<Connection, String> {
    let mut connection = Connection::open(target.address)?;
    connection.write_all(&relay::hello(is_publisher, channel, frame as u32))?;
    connection.read_exact(&mut [0])?;
    Ok(connection)
}
