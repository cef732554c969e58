//! A subscriber that goes on with its Session after each connection, and keeps its half of the protocol (section 4.3).

use std::collections::{BTreeSet, VecDeque};

use goldcrest_core::codec::*;

use crate::honest::{Got, Honest, Message, Opening, id};
use crate::world::World;

/// What there is to be looked at.
#[derive(Debug)]
pub enum Heard {
    /// SUBACK was seen for the first time: the subscription is there from now on.
    Subscribed,
    /// A message; of QoS 2 not the same again before its PUBREL.
    Message(Message),
}

/// Subscribes to one filter, without what is retained there.
#[derive(Debug)]
pub struct Attentive {
    /// Its Client Identifier.
    pub id: String,
    filter: String,
    qos: QoS,
    link: Option<Honest>,
    /// CONNACK was seen: the Session is there from now on.
    is_known: bool,
    /// SUBACK was seen.
    is_subscribed: bool,
    /// QoS 2 messages before their PUBREL.
    held: BTreeSet<u16>,
    /// What it has to acknowledge.
    due: VecDeque<(AckKind, u16)>,
}

impl Attentive {
    /// One that is not connected.
    pub fn new(id: String, filter: &str, qos: QoS) -> Self {
        Self {
            id,
            filter: filter.to_owned(),
            qos,
            link: None,
            is_known: false,
            is_subscribed: false,
            held: BTreeSet::new(),
            due: VecDeque::new(),
        }
    }

    /// Connects with this Receive Maximum, if it is not connected.
    pub fn connect(&mut self, world: &mut World, window: Option<u16>) {
        if self.link.is_none() {
            let opening = Opening { clean_start: false, expiry_secs: u32::MAX, window, ..Opening::new(&self.id) };
            self.link = Some(Honest::connect(world, Version::V5, &opening));
        }
    }

    /// The connection breaks, if there is one.
    pub fn cut(&mut self, world: &mut World) {
        self.due.clear();
        if let Some(link) = self.link.take() {
            world.cut(link.at);
        }
    }

    /// Sends as many acknowledgements, as far as some are due.
    pub fn acknowledge(&mut self, world: &mut World, count: usize) {
        let Some(link) = &self.link else { return };
        for (kind, packet_id) in self.due.drain(..count.min(self.due.len())) {
            link.ack(world, kind, packet_id);
        }
    }

    /// Whether it has to acknowledge something.
    pub fn owes(&self) -> bool {
        !self.due.is_empty()
    }

    /// Takes what has arrived.
    ///
    /// # Panics
    /// If it is refused anything.
    pub fn take(&mut self, world: &mut World) -> Vec<Heard> {
        let Some(mut link) = self.link.take() else { return Vec::new() };
        let got = link.take(world);
        assert!(!world.is_closed(link.at), "{got:?}");
        let heard = got.into_iter().filter_map(|got| self.on(world, &link, got)).collect();
        self.link = Some(link);
        heard
    }

    fn on(&mut self, world: &mut World, link: &Honest, got: Got) -> Option<Heard> {
        match got {
            Got::ConnAck(present, code) => {
                assert_eq!((present || !self.is_known, code), (true, ReasonCode::Success), "{}", self.id);
                self.is_known = true;
                if !self.is_subscribed {
                    let retain_handling = RetainHandling::DoNotSend;
                    let options = SubscriptionOptions { retain_handling, ..SubscriptionOptions::with_qos(self.qos) };
                    let filters = [(self.filter.as_str(), options)];
                    let (properties, filters) = (Properties::EMPTY, Filters::new(&filters));
                    link.send(world, &Packet::Subscribe(Subscribe { packet_id: id(1), properties, filters }));
                }
                None
            }
            Got::SubAck(_, codes) => {
                assert!(codes.iter().all(|code| !code.is_error()), "{codes:?}");
                self.is_subscribed = true;
                Some(Heard::Subscribed)
            }
            Got::Message(message) => {
                let is_exact = message.qos == QoS::ExactlyOnce;
                self.due.push_back((if is_exact { AckKind::PubRec } else { AckKind::PubAck }, message.packet_id));
                let is_new = !is_exact || self.held.insert(message.packet_id);
                is_new.then_some(Heard::Message(message))
            }
            Got::Ack(AckKind::PubRel, id, _) => {
                self.held.remove(&id);
                self.due.push_back((AckKind::PubComp, id));
                None
            }
            other => panic!("{other:?}"),
        }
    }
}
