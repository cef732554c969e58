//! A publisher that sends messages again until they are acknowledged, as the specification asks (section 4.4).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use goldcrest_core::codec::*;

use crate::honest::{Got, Honest, Opening, publication};
use crate::world::World;

/// The progress of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Published,
    /// PUBREC has come, and PUBREL was sent.
    Released,
}

/// Publishes the numbers 1, 2, 3 and so on as payloads.
#[derive(Debug)]
pub struct Untiring {
    id: String,
    topic: String,
    /// Whether the messages are retained.
    retains: bool,
    /// The version of MQTT that the publisher speaks.
    pub version: Version,
    /// The number of bytes behind each number in the payload.
    pub padding: usize,
    /// The server may refuse a message with 0x97, and the publisher gives that message up. In MQTT 3.1.1 a refused message is
    /// not answered, and is sent again on the next connection.
    pub may_be_refused: bool,
    link: Option<Honest>,
    /// A CONNACK has come on some connection, so the server has the Session.
    is_known: bool,
    /// A CONNACK has come on this connection.
    is_open: bool,
    next_id: u16,
    /// The number of messages published, which is also the newest number.
    pub numbers: u32,
    /// Packet Identifier, number, QoS and progress of each message that is not completed, in the order of publishing.
    pending: VecDeque<(u16, u32, QoS, Stage)>,
    /// QoS 1 messages that were sent again after newer ones were published: the broker may have received them last.
    pub resent: Vec<u32>,
    /// The newest number when the publisher last sent messages again.
    resent_behind: u32,
    /// The numbers that the broker has acknowledged, each with its QoS.
    pub acknowledged: BTreeMap<u32, QoS>,
    /// The number of messages that were refused.
    pub refused: u32,
    /// The numbers that were ever sent again, perhaps behind newer ones.
    pub sent_again: BTreeSet<u32>,
}

impl Untiring {
    /// A publisher that is not connected.
    pub fn new(id: String, topic: String, retains: bool) -> Self {
        Self {
            id,
            topic,
            retains,
            version: Version::V5,
            padding: 0,
            may_be_refused: false,
            link: None,
            is_known: false,
            is_open: false,
            next_id: 0,
            numbers: 0,
            pending: VecDeque::new(),
            resent: Vec::new(),
            resent_behind: 0,
            acknowledged: BTreeMap::new(),
            refused: 0,
            sent_again: BTreeSet::new(),
        }
    }

    fn payload(&self, number: u32) -> Vec<u8> {
        let mut payload = number.to_be_bytes().to_vec();
        payload.resize(4 + self.padding, 0);
        payload
    }

    /// Connects, unless the publisher is connected.
    pub fn connect(&mut self, world: &mut World) {
        if self.link.is_none() {
            let opening = Opening { clean_start: false, expiry_secs: u32::MAX, ..Opening::new(&self.id) };
            self.is_open = false;
            self.link = Some(Honest::connect(world, self.version, &opening));
        }
    }

    /// Breaks the connection, if there is one.
    pub fn cut(&mut self, world: &mut World) {
        if let Some(link) = self.link.take() {
            world.cut(link.at);
        }
    }

    /// Publishes the next number, unless the publisher is not connected or too many messages await their acknowledgement.
    pub fn publish(&mut self, world: &mut World, qos: QoS) {
        let Some(link) = self.link.as_ref().filter(|_| self.is_open && self.pending.len() < 12) else {
            return;
        };
        self.numbers += 1;
        while {
            self.next_id = self.next_id % 30 + 1;
            self.pending.iter().any(|pending| pending.0 == self.next_id)
        } {}
        let (number, packet_id) = (self.numbers, self.next_id);
        self.pending.push_back((packet_id, number, qos, Stage::Published));
        link.publish(world, &self.topic, &self.payload(number), qos, self.retains, packet_id);
    }

    /// Receives what has arrived, and answers it.
    ///
    /// # Panics
    /// If the server refused something.
    pub fn take(&mut self, world: &mut World) {
        let Some(mut link) = self.link.take() else { return };
        let got = link.take(world);
        assert!(!world.is_closed(link.at), "{got:?}");
        got.into_iter().for_each(|got| self.on(world, &link, got));
        self.link = Some(link);
    }

    fn on(&mut self, world: &mut World, link: &Honest, got: Got) {
        match got {
            Got::ConnAck(present, code) => {
                assert_eq!((present || !self.is_known, code), (true, ReasonCode::Success), "{}", self.id);
                self.is_known = true;
                self.is_open = true;
                self.resent_behind = self.numbers;
                for (packet_id, number, qos, stage) in self.pending.clone() {
                    match stage {
                        Stage::Published => {
                            self.sent_again.insert(number);
                            let payload = self.payload(number);
                            let mut packet = publication(&self.topic, &payload, qos, self.retains, packet_id);
                            if let Packet::Publish(publish) = &mut packet {
                                publish.dup = true;
                            }
                            if qos == QoS::AtLeastOnce {
                                self.resent.push(number);
                            }
                            link.send(world, &packet);
                        }
                        Stage::Released => link.ack(world, AckKind::PubRel, packet_id),
                    }
                }
            }
            Got::Ack(AckKind::PubAck | AckKind::PubRec, id, ReasonCode::QuotaExceeded) if self.may_be_refused => {
                let at = self.pending.iter().position(|pending| pending.0 == id && pending.3 == Stage::Published);
                self.pending.remove(at.expect("it was published"));
                self.refused += 1;
            }
            Got::Ack(AckKind::PubAck, id, code) => {
                assert!(!code.is_error(), "{code:?}");
                let at = self.pending.iter().position(|pending| pending.0 == id && pending.2 == QoS::AtLeastOnce);
                let (_, number, qos, _) = self.pending.remove(at.expect("it was published")).unwrap();
                self.note_taken(number, qos);
            }
            Got::Ack(AckKind::PubRec, id, code) => {
                assert!(!code.is_error(), "{code:?}");
                let pending = self.pending.iter_mut().find(|pending| pending.0 == id).expect("it was published");
                pending.3 = Stage::Released;
                let (_, number, qos, _) = *pending;
                self.note_taken(number, qos);
                link.ack(world, AckKind::PubRel, id);
            }
            Got::Ack(AckKind::PubComp, id, _) => {
                self.pending.retain(|pending| pending.0 != id || pending.3 != Stage::Released);
            }
            other => panic!("{other:?}"),
        }
    }

    fn note_taken(&mut self, number: u32, qos: QoS) {
        self.acknowledged.insert(number, qos);
        if number > self.resent_behind {
            self.resent.clear();
        }
    }

    /// Expects that the server has answered each message. In MQTT 3.x a refused message has no answer.
    ///
    /// # Panics
    /// If an answer is missing.
    pub fn expect_answers(&self) {
        if self.is_open && self.link.is_some() && self.version.is_v5() {
            let waiting = self.pending.iter().find(|pending| pending.3 == Stage::Published);
            assert!(waiting.is_none(), "{} has no answer to {waiting:?}", self.id);
        }
    }

    /// Expects that the handshake of each message is complete.
    ///
    /// # Panics
    /// If a message is pending.
    pub fn expect_nothing_pending(&self) {
        assert!(self.pending.is_empty(), "{}: {:?}", self.id, self.pending);
    }
}
