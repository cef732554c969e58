//! A subscriber that goes on with its Session after each connection, and does its part of each handshake (section 4.3).

use std::collections::{BTreeSet, VecDeque};

use goldcrest_core::codec::*;

use crate::honest::{Got, Honest, Message, Opening, id};
use crate::world::World;

/// A packet that the subscriber received and that a test may look at.
#[derive(Debug)]
pub enum Heard {
    /// The first SUBACK: from now on the Session has the subscription.
    Subscribed,
    /// A message. One of QoS 2 is told once until its PUBREL.
    Message(Message),
}

/// Subscribes to one filter, and asks for no retained messages.
#[derive(Debug)]
pub struct Attentive {
    /// The Client Identifier.
    pub id: String,
    filter: String,
    qos: QoS,
    link: Option<Honest>,
    /// A CONNACK has come on some connection, so the server has the Session.
    is_known: bool,
    /// A SUBACK has come.
    is_subscribed: bool,
    /// Packet Identifiers of QoS 2 messages whose PUBREL has not come.
    held: BTreeSet<u16>,
    /// Acknowledgements that the subscriber has yet to send.
    due: VecDeque<(AckKind, u16)>,
}

impl Attentive {
    /// A subscriber that is not connected.
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

    /// Connects with this Receive Maximum, unless the subscriber is connected.
    pub fn connect(&mut self, world: &mut World, window: Option<u16>) {
        if self.link.is_none() {
            let opening = Opening { clean_start: false, expiry_secs: u32::MAX, window, ..Opening::new(&self.id) };
            self.link = Some(Honest::connect(world, Version::V5, &opening));
        }
    }

    /// Breaks the connection, if there is one.
    pub fn cut(&mut self, world: &mut World) {
        self.due.clear();
        if let Some(link) = self.link.take() {
            world.cut(link.at);
        }
    }

    /// Sends at most `count` of the acknowledgements that are due.
    pub fn acknowledge(&mut self, world: &mut World, count: usize) {
        let Some(link) = &self.link else { return };
        for (kind, packet_id) in self.due.drain(..count.min(self.due.len())) {
            link.ack(world, kind, packet_id);
        }
    }

    /// Whether an acknowledgement is due.
    pub fn owes(&self) -> bool {
        !self.due.is_empty()
    }

    /// Receives and returns what has arrived.
    ///
    /// # Panics
    /// If the server refused something.
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
