//! A publisher that sends again what was not acknowledged, as the specification wants it (section 4.4).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use goldcrest_core::codec::*;

use crate::honest::{Got, Honest, Opening, publication};
use crate::world::World;

/// How far a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Published,
    /// PUBREC has come.
    Released,
}

/// Publishes numbers, from 1 on.
#[derive(Debug)]
pub struct Untiring {
    id: String,
    topic: String,
    /// Its messages are retained.
    retains: bool,
    /// What it speaks.
    pub version: Version,
    /// Bytes behind each number.
    pub padding: usize,
    /// It may be refused a message with 0x97, and gives that up; in MQTT 3.1.1 it may wait for its answer until it sends again.
    pub may_be_refused: bool,
    link: Option<Honest>,
    /// CONNACK was seen: the Session is there from now on.
    is_known: bool,
    /// CONNACK was seen on this connection.
    is_open: bool,
    next_id: u16,
    /// How many were published.
    pub numbers: u32,
    /// Packet Identifier, number, QoS, and how far it is, in the order of publishing.
    pending: VecDeque<(u16, u32, QoS, Stage)>,
    /// QoS 1 messages that were sent again behind the newest one: the broker may have taken them last.
    pub resent: Vec<u32>,
    /// The newest one when that happened last.
    resent_behind: u32,
    /// What the broker has acknowledged, and whether with QoS 2.
    pub acknowledged: BTreeMap<u32, QoS>,
    /// How many messages were refused.
    pub refused: u32,
    /// All that was ever sent again, maybe behind newer ones.
    pub sent_again: BTreeSet<u32>,
}

impl Untiring {
    /// One that is not connected.
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

    /// Connects, if it is not connected.
    pub fn connect(&mut self, world: &mut World) {
        if self.link.is_none() {
            let opening = Opening { clean_start: false, expiry_secs: u32::MAX, ..Opening::new(&self.id) };
            self.is_open = false;
            self.link = Some(Honest::connect(world, self.version, &opening));
        }
    }

    /// The connection breaks, if there is one.
    pub fn cut(&mut self, world: &mut World) {
        if let Some(link) = self.link.take() {
            world.cut(link.at);
        }
    }

    /// Publishes the next number, unless it is not connected or has too much to be acknowledged.
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

    /// Takes what has arrived, and answers it.
    ///
    /// # Panics
    /// If it is refused anything.
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

    /// Everything it published was answered, unless there is no answer in its version.
    ///
    /// # Panics
    /// If not.
    pub fn expect_answers(&self) {
        if self.is_open && self.link.is_some() && self.version.is_v5() {
            let waiting = self.pending.iter().find(|pending| pending.3 == Stage::Published);
            assert!(waiting.is_none(), "{} has no answer to {waiting:?}", self.id);
        }
    }

    /// Everything it published was acknowledged to the end.
    ///
    /// # Panics
    /// If not.
    pub fn expect_nothing_pending(&self) {
        assert!(self.pending.is_empty(), "{}: {:?}", self.id, self.pending);
    }
}
