//! A client for tests about single packets: it sends what a test says, and fails the test when the server sends
//! anything unexpected.

use crate::got::Got;
use crate::link::{Arrived, Link};
use crate::packets::{PINGREQ, Wire, puback, pubcomp, publish, pubrec, pubrel, subscribe, unsubscribe};
use crate::transcript::{Transcript, hex};
use crate::watch::Watch;
use crate::world::Judgement;
use goldcrest_core::codec::*;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long to wait for a packet over TCP.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long no bytes must come over TCP before the client believes that all have come. Long, because several tests run
/// on each core.
const REST: Duration = Duration::from_millis(150);

/// A client.
pub struct Peer {
    name: Rc<str>,
    link: Link,
    watch: Watch,
    inbox: Vec<u8>,
    /// Packets that arrived before the packet that the test waited for.
    stash: VecDeque<Got>,
    transcript: Transcript,
}

impl Peer {
    /// A client on a new connection.
    pub fn new(name: &str, version: Version, link: Link, transcript: Transcript) -> Self {
        let (inbox, stash) = (Vec::new(), VecDeque::new());
        Self { name: name.into(), link, watch: Watch::new(version), inbox, stash, transcript }
    }

    /// The version of MQTT that the client speaks.
    pub fn version(&self) -> Version {
        self.watch.version()
    }

    /// Whether the client speaks MQTT 5.0.
    pub fn is_v5(&self) -> bool {
        self.version().is_v5()
    }

    /// Sends a packet, or any bytes.
    pub fn send(&mut self, packet: impl Wire) {
        let bytes = packet.wire(self.version());
        self.note('>', &bytes);
        self.watch.sent(&bytes);
        self.link.send(&bytes);
    }

    /// Expects any packet, and returns it.
    pub fn expect(&mut self) -> Got {
        match self.next_packet(PATIENCE) {
            Some(got) => got,
            None => self.fail("a packet was expected"),
        }
    }

    /// Expects a packet of exactly these bytes.
    pub fn expect_bytes(&mut self, bytes: &[u8]) -> Got {
        let got = self.expect();
        if got.bytes() != bytes {
            self.fail(&format!("expected {}", hex(bytes)));
        }
        got
    }

    /// Expects a packet of this type.
    pub fn expect_type(&mut self, kind: PacketType) -> Got {
        let got = self.expect();
        if got.packet().packet_type() != kind {
            self.fail(&format!("expected {kind:?}"));
        }
        got
    }

    /// Expects a CONNACK with this code.
    pub fn expect_connack(&mut self, code: ReasonCode) -> Got {
        let got = self.expect_type(PacketType::ConnAck);
        self.check_code(&got, &[code]);
        got
    }

    /// Expects a PUBLISH with this topic, payload and QoS.
    pub fn expect_publish(&mut self, topic: &str, payload: impl AsRef<[u8]>, level: u8) -> Got {
        let got = self.expect_type(PacketType::Publish);
        let publish = got.publish();
        if (got.topic(), publish.payload, publish.qos.bits()) != (topic, payload.as_ref(), level) {
            let payload = String::from_utf8_lossy(payload.as_ref());
            self.fail(&format!("expected the message {payload:?} of topic {topic} with QoS {level}"));
        }
        got
    }

    /// As [`Peer::expect_publish`], and completes the handshake of the QoS.
    pub fn take_publish(&mut self, topic: &str, payload: impl AsRef<[u8]>, level: u8) -> Got {
        let got = self.expect_publish(topic, payload, level);
        match level {
            0 => {}
            1 => self.send(puback(got.id())),
            _ => {
                self.send(pubrec(got.id()));
                self.expect_ack(PacketType::PubRel, got.id(), ReasonCode::Success);
                self.send(pubcomp(got.id()));
            }
        }
        got
    }

    /// Expects a PUBACK, PUBREC, PUBREL or PUBCOMP with this Packet Identifier and this code; MQTT 3.x has no code but
    /// success.
    pub fn expect_ack(&mut self, kind: PacketType, id: u16, code: ReasonCode) -> Got {
        let got = self.expect_type(kind);
        if got.id() != id {
            self.fail(&format!("expected the Packet Identifier {id}"));
        }
        if self.is_v5() {
            self.check_code(&got, &[code]);
        }
        got
    }

    /// Expects a PUBACK that accepts, whether there are subscribers or not.
    pub fn expect_puback(&mut self, id: u16) -> Got {
        self.expect_accepting(PacketType::PubAck, id)
    }

    /// Expects a PUBREC that accepts, whether there are subscribers or not.
    pub fn expect_pubrec(&mut self, id: u16) -> Got {
        self.expect_accepting(PacketType::PubRec, id)
    }

    /// Expects a PUBREL with success.
    pub fn expect_pubrel(&mut self, id: u16) -> Got {
        self.expect_ack(PacketType::PubRel, id, ReasonCode::Success)
    }

    /// Expects a PUBCOMP with success.
    pub fn expect_pubcomp(&mut self, id: u16) -> Got {
        self.expect_ack(PacketType::PubComp, id, ReasonCode::Success)
    }

    fn expect_accepting(&mut self, kind: PacketType, id: u16) -> Got {
        let got = self.expect_type(kind);
        if got.id() != id {
            self.fail(&format!("expected the Packet Identifier {id}"));
        }
        self.check_code(&got, &[ReasonCode::Success, ReasonCode::NoMatchingSubscribers]);
        got
    }

    /// Expects the SUBACK for `id` with these codes. Retained messages that come before it are kept, and may be
    /// expected later.
    pub fn expect_suback(&mut self, id: u16, codes: &[u8]) -> Got {
        let mut before = VecDeque::new();
        let got = loop {
            let got = self.expect();
            match got.packet() {
                Packet::SubAck(_) => break got,
                Packet::Publish(_) => before.push_back(got),
                _ => self.fail("expected SUBACK"),
            }
        };
        before.append(&mut self.stash);
        self.stash = before;
        if got.id() != id || got.codes() != codes {
            self.fail(&format!("expected SUBACK {id} with the codes {}", hex(codes)));
        }
        got
    }

    /// Expects the UNSUBACK for `id` with these codes; MQTT 3.x has no codes there.
    pub fn expect_unsuback(&mut self, id: u16, codes: &[u8]) -> Got {
        let got = self.expect_type(PacketType::UnsubAck);
        if got.id() != id || (self.is_v5() && got.codes() != codes) {
            self.fail(&format!("expected UNSUBACK {id} with the codes {}", hex(codes)));
        }
        got
    }

    /// Subscribes to one filter, and expects that the QoS is granted as asked.
    pub fn subscribe(&mut self, id: u16, filter: &str, level: u8) {
        self.send(subscribe(id, filter, level));
        self.expect_suback(id, &[level]);
    }

    /// Unsubscribes from one filter, and expects that there was a subscription.
    pub fn unsubscribe(&mut self, id: u16, filter: &str) {
        self.send(unsubscribe(id, &[filter]));
        self.expect_unsuback(id, &[0]);
    }

    /// Publishes a message and completes the handshake of its QoS. Fails if the message is refused.
    pub fn publish(&mut self, topic: &str, payload: impl AsRef<[u8]>, level: u8) {
        self.deliver(publish(topic, payload.as_ref()).qos(level, 0x7001), level);
    }

    /// As [`Peer::publish`], with RETAIN 1.
    pub fn publish_retained(&mut self, topic: &str, payload: impl AsRef<[u8]>, level: u8) {
        self.deliver(publish(topic, payload.as_ref()).qos(level, 0x7002).retain(), level);
    }

    /// Sends a PUBLISH, and completes the handshake of its QoS.
    pub fn deliver(&mut self, packet: impl Wire, level: u8) {
        self.send(packet);
        match level {
            0 => {}
            1 => {
                let got = self.expect_type(PacketType::PubAck);
                self.check_code(&got, &[ReasonCode::Success, ReasonCode::NoMatchingSubscribers]);
            }
            _ => {
                let got = self.expect_type(PacketType::PubRec);
                self.check_code(&got, &[ReasonCode::Success, ReasonCode::NoMatchingSubscribers]);
                self.send(pubrel(got.id()));
                self.expect_pubcomp(got.id());
            }
        }
    }

    /// Sends PINGREQ, and expects PINGRESP as the next packet.
    pub fn ping(&mut self) {
        self.send(PINGREQ);
        self.expect_bytes(&[0xD0, 0]);
    }

    /// Expects that no packet comes and that the connection is open. Over TCP an open client sends PINGREQ, and all
    /// packets before its PINGRESP are seen; other connections wait for a while.
    pub fn expect_quiet(&mut self) {
        if self.link.is_exact() {
            if self.next_packet(PATIENCE).is_some() {
                self.fail("nothing was expected");
            }
            if self.closes_within(PATIENCE) {
                self.fail("the connection was to stay open");
            }
            return;
        }
        self.link.settle();
        if self.watch.is_open() {
            self.ping();
        } else if self.next_packet(Duration::from_millis(1)).is_some() {
            self.fail("nothing was expected");
        }
    }

    /// Expects that the server closes the connection and sends no packet before.
    pub fn expect_closed(&mut self) {
        if self.next_packet(PATIENCE).is_some() {
            self.fail("the end of the connection was expected");
        }
        if !self.inbox.is_empty() {
            self.fail("the connection ended within a packet");
        }
        if !self.closes_within(PATIENCE) {
            self.fail("the connection was to be closed");
        }
    }

    /// Expects that the server closes the connection: in MQTT 5.0 after a DISCONNECT with one of these codes, in MQTT
    /// 3.x without a packet.
    pub fn expect_refused(&mut self, codes: &[ReasonCode]) {
        if self.is_v5() {
            let got = self.expect_type(PacketType::Disconnect);
            self.check_code(&got, codes);
        }
        self.expect_closed();
    }

    /// Receives all packets that have arrived.
    pub fn drain(&mut self) -> Vec<Got> {
        self.link.settle();
        let patience = if self.link.is_exact() { PATIENCE } else { REST };
        std::iter::from_fn(|| self.next_packet(patience)).collect()
    }

    /// Breaks the connection, and waits until the server has noticed.
    pub fn cut(self) {
        self.transcript.remark(format!("{}! is cut", self.name));
        self.link.cut();
    }

    /// Sends DISCONNECT, and expects that the server closes the connection.
    pub fn disconnect(mut self) {
        self.send(crate::packets::DISCONNECT);
        self.expect_closed();
    }

    /// Whether the server has closed the connection.
    pub fn is_closed(&mut self) -> bool {
        self.closes_within(Duration::from_millis(1))
    }

    /// Gives the verdict on this client for which its judge answered `Later`; in memory alone.
    pub fn decide(&mut self, judgement: &Judgement) {
        match &self.link {
            Link::Memory { world, client } => world.borrow_mut().decide(*client, judgement),
            Link::Tcp(_) => panic!("the binary's verdicts can't be replaced"),
        }
    }

    /// The client stops reading, or reads again; in memory alone.
    pub fn stall(&mut self, stalled: bool) {
        match &self.link {
            Link::Memory { world, client } => world.borrow_mut().stall(*client, stalled),
            Link::Tcp(_) => panic!("how much a socket takes is not known"),
        }
    }

    /// Fails the test.
    #[track_caller]
    pub fn fail(&self, why: &str) -> ! {
        panic!("{}: {why}", self.name);
    }

    #[track_caller]
    fn check_code(&self, got: &Got, codes: &[ReasonCode]) {
        if !codes.contains(&got.code()) {
            self.fail(&format!("expected one of {codes:?}"));
        }
    }

    /// The next packet; `None` if none comes within `patience`, or before the connection is closed.
    fn next_packet(&mut self, patience: Duration) -> Option<Got> {
        if let Some(got) = self.stash.pop_front() {
            return Some(got);
        }
        let deadline = Instant::now() + patience;
        loop {
            if let Some(got) = self.split_inbox() {
                return Some(got);
            }
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            if self.link.receive(&mut self.inbox, left) != Arrived::Bytes {
                return None;
            }
        }
    }

    fn split_inbox(&mut self) -> Option<Got> {
        let (frame, len) = match split(&self.inbox, u32::MAX) {
            Ok(found) => found?,
            Err(refusal) => self.fail(&format!("what came is no packet: {} {refusal}", hex(&self.inbox))),
        };
        self.note('<', &self.inbox[..len]);
        let version = self.version();
        let packet = match Packet::decode(version, frame) {
            Ok(packet) => packet,
            Err(refusal) => self.fail(&format!("what came is malformed: {refusal}")),
        };
        if let Err(fault) = self.watch.received(&self.inbox[..len], &packet) {
            self.fail(&fault);
        }
        let topic = match &packet {
            Packet::Publish(publish) if publish.topic.is_empty() => {
                publish.properties.topic_alias().and_then(|alias| self.watch.topic_of(alias)).map(str::to_owned)
            }
            Packet::Publish(publish) => Some(publish.topic.to_owned()),
            _ => None,
        };
        let bytes = self.inbox.drain(..len).collect();
        Some(Got::new(version, bytes, topic))
    }

    fn closes_within(&mut self, patience: Duration) -> bool {
        self.link.receive(&mut self.inbox, patience) == Arrived::Closed
    }

    fn note(&self, direction: char, bytes: &[u8]) {
        self.transcript.note(&self.name, direction, self.version(), bytes);
    }
}
