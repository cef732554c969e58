//! Brokers below one ceiling with their clients, and an honest pair among these.

use crate::heap::{inside, taken};
use goldcrest_core::codec::{Packet, QoS, ReasonCode, Version, split};
use goldcrest_core::{
    AllowAll, Broker, Capacity, Config, ConnectionId, Instant, Memory, MemoryCeiling, MemoryUse, Next, Polled, Shard,
    Then,
};
use goldcrest_tests::packets::{Wire, client, puback, pubcomp, publish, pubrec, pubrel, subscribe};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

pub(crate) const MIB: usize = 1 << 20;
pub(crate) const NOW: Instant = Instant::from_millis(0);

/// A shard, and a connection there.
pub(crate) type Id = (usize, ConnectionId);

/// Sibling brokers below one ceiling, and their clients, all of them MQTT 5.0 unless said otherwise.
pub(crate) struct House {
    pub(crate) ceiling: Arc<MemoryCeiling>,
    pub(crate) brokers: Vec<Broker<'static>>,
    versions: HashMap<Id, Version>,
    /// Those that don't read.
    pub(crate) stalled: HashSet<Id>,
    /// Those that read and acknowledge nothing.
    pub(crate) mute: HashSet<Id>,
    /// What each of them has got since it was looked at last.
    pub(crate) got: HashMap<Id, Vec<Got>>,
    out: Vec<u8>,
    record: Vec<u8>,
    honest: Option<(Id, Id, u16)>,
    /// What brokers had taken before.
    before: isize,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Got {
    ConnAck(ReasonCode),
    SubAck(Vec<u8>),
    Publish(String),
    Ack(ReasonCode),
    Closed,
}

impl House {
    pub(crate) fn new(shards: u16, bytes: usize, change: impl Fn(&mut Config<'static>)) -> Self {
        let ceiling = MemoryCeiling::new(bytes);
        let before = taken();
        let make = |index| {
            let shard = Shard { index, count: shards };
            let mut config = Config { shard, ..Config::gateway(1) };
            change(&mut config);
            inside(|| {
                let memory = Memory::owned(&Capacity::GATEWAY, &config.limits, shard).under(&ceiling);
                Broker::new(memory, config, &AllowAll)
            })
        };
        let brokers = (0..shards).map(make).collect();
        let (out, record) = (vec![0; 4 * MIB], vec![0; 4 * MIB]);
        let (versions, stalled, mute, got) = Default::default();
        Self { ceiling, brokers, versions, stalled, mute, got, out, record, honest: None, before }
    }

    fn check(&self) {
        let taken = self.ceiling.taken_in_all();
        assert!(taken <= self.ceiling.bytes(), "{taken} bytes are claimed");
    }

    /// What brokers have from the heap.
    pub(crate) fn allocated(&self) -> isize {
        taken() - self.before
    }

    pub(crate) fn open(&mut self, name: &str, version: Version) -> Option<Id> {
        let shard = usize::from(Shard::home_of(name.as_bytes(), self.brokers.len() as u16));
        let id = (shard, inside(|| self.brokers[shard].handle_connected(NOW)).ok()?);
        self.versions.insert(id, version);
        Some(id)
    }

    /// Connects; what CONNACK says.
    pub(crate) fn connect(&mut self, name: &str, packet: &impl Wire) -> Option<(Id, ReasonCode)> {
        let id = self.open(name, Version::V5)?;
        self.send(id, &packet.wire(Version::V5));
        let code = self.take(id).into_iter().find_map(|got| match got {
            Got::ConnAck(code) => Some(code),
            _ => None,
        });
        Some((id, code?))
    }

    pub(crate) fn connect_well(&mut self, name: &str) -> Id {
        let connected = self.connect(name, &client(name));
        let (id, code) = connected.unwrap_or_else(|| panic!("{name} is closed"));
        assert_eq!(code, ReasonCode::Success, "{name}");
        id
    }

    /// Lets bytes in, and everybody go on. Whether all were taken.
    pub(crate) fn send(&mut self, id: Id, bytes: &[u8]) -> bool {
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

    pub(crate) fn cut(&mut self, id: Id) {
        inside(|| self.brokers[id.0].handle_closed(NOW, id.1));
        self.stalled.remove(&id);
        self.settle();
        self.got.remove(&id);
    }

    pub(crate) fn take(&mut self, id: Id) -> Vec<Got> {
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
                let handled = inside(|| self.brokers[usize::from(to)].handle_forward(NOW, from as u16, forward));
                handled.expect("the same seed");
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

    /// A client reads what is in `out`, and acknowledges it unless it is mute.
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
            let answer = answer.filter(|_| !self.mute.contains(&id));
            answers.extend(answer.map(|packet| (id, packet.wire(version))));
            bytes = &bytes[len..];
        }
    }

    /// Two clients that use little: each message between them arrives and is acknowledged with success.
    pub(crate) fn check_honest(&mut self) {
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
    pub(crate) fn end(self, purpose: MemoryUse) {
        assert!(self.ceiling.taken_in_all() > self.ceiling.bytes() / 4, "{}", self.ceiling.taken_in_all());
        assert!(self.ceiling.refused(purpose) > 0 || purpose == MemoryUse::Other);
        self.end_of_little();
    }

    /// The honest ones noticed nothing, and at the end all is given back.
    pub(crate) fn end_of_little(mut self) {
        self.check_honest();
        inside(|| self.brokers.clear());
        assert_eq!(self.ceiling.taken_in_all(), 0);
        assert!(self.allocated() < 4096, "{}", self.allocated());
    }
}
