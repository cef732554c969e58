//! The side of the clients: devices that follow the protocol to the letter, and check that the broker does.

use std::collections::{BTreeMap, BTreeSet};

use goldcrest_core::codec::{AckKind, QoS, ReasonCode, Version};
use goldcrest_tests::honest::{Got, Honest, Message};

use super::model::Number;

/// A client, connected or not, with the client's part of the Session State.
pub(crate) struct Device {
    pub(crate) id: String,
    pub(crate) version: Version,
    pub(crate) link: Option<Honest>,
    /// The Receive Maximum of this connection.
    pub(crate) window: u16,
    /// Whether the client has stopped reading, or reads only a part.
    pub(crate) throttled: bool,
    /// Whether the client stopped reading on this connection at any time.
    pub(crate) was_throttled: bool,
    /// Messages from the broker whose handshake is not complete.
    pub(crate) in_flight: BTreeMap<u16, Flight>,
    /// Acknowledgements that the client has yet to send on this connection, in the order in which they fell due.
    pub(crate) due: Vec<(AckKind, u16)>,
    /// Packet Identifiers of QoS 1 and 2 messages of this connection whose handshake is not complete.
    pub(crate) outstanding: BTreeSet<u16>,
    /// Messages of QoS 2 to the broker whose PUBREL was not sent: topic and payload.
    pub(crate) held: BTreeMap<u16, (&'static str, Vec<u8>)>,
    pub(crate) next_id: u16,
}

/// A message from the broker in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flight {
    pub(crate) number: Number,
    pub(crate) qos: QoS,
    /// Whether the client has sent PUBREC for the message.
    pub(crate) received: bool,
}

/// Whether a device has received a message before.
pub(crate) enum Seen {
    /// The message came for the first time.
    New(Message, Number),
    /// The message came again, as the protocol allows.
    Again,
}

impl Device {
    pub(crate) fn new(id: String, version: Version) -> Self {
        Self {
            id,
            version,
            link: None,
            window: u16::MAX,
            throttled: false,
            was_throttled: false,
            in_flight: BTreeMap::new(),
            due: Vec::new(),
            outstanding: BTreeSet::new(),
            held: BTreeMap::new(),
            next_id: 0,
        }
    }

    /// The client has a new connection.
    pub(crate) fn connected(&mut self, link: Honest, window: u16, present: bool) {
        self.link = Some(link);
        self.window = window;
        self.throttled = false;
        self.was_throttled = false;
        self.due.clear();
        self.outstanding.clear();
        if !present {
            self.in_flight.clear();
            self.held.clear();
        }
    }

    /// Whether no handshake is open and the client reads everything.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && !self.throttled
    }

    /// How many messages the broker counts as lost if the Session ends.
    pub(crate) fn unacknowledged(&self) -> u32 {
        self.in_flight.values().filter(|flight| !flight.received).count() as u32
    }

    /// A free Packet Identifier for a message to the broker.
    pub(crate) fn fresh_id(&mut self) -> u16 {
        loop {
            self.next_id = self.next_id % 1_000 + 1;
            if !self.held.contains_key(&self.next_id) {
                return self.next_id;
            }
        }
    }

    /// Receives a PUBLISH, and checks that its Packet Identifier is free, that a repetition has DUP, and that Receive
    /// Maximum is kept.
    pub(crate) fn receive(&mut self, message: Message) -> Seen {
        let number = number_of(&message.payload);
        if message.qos == QoS::AtMostOnce {
            assert!(!message.dup && message.packet_id == 0);
            return Seen::New(message, number);
        }
        self.outstanding.insert(message.packet_id);
        assert!(
            self.outstanding.len() <= usize::from(self.window),
            "{}: beyond Receive Maximum {}",
            self.id,
            self.window
        );
        let kind = if message.qos == QoS::AtLeastOnce { AckKind::PubAck } else { AckKind::PubRec };
        self.due.push((kind, message.packet_id));
        match self.in_flight.get(&message.packet_id) {
            Some(known) => {
                assert!(message.dup, "{}: identifier {} was used again: {message:?}", self.id, message.packet_id);
                assert_eq!((known.number, known.qos, known.received), (number, message.qos, false), "{}", self.id);
                Seen::Again
            }
            None => {
                let flight = Flight { number, qos: message.qos, received: false };
                self.in_flight.insert(message.packet_id, flight);
                Seen::New(message, number)
            }
        }
    }

    /// Receives a PUBREL.
    pub(crate) fn released(&mut self, packet_id: u16, code: ReasonCode) {
        let flight = self.in_flight.get(&packet_id);
        assert!(
            flight.is_some_and(|flight| flight.received) && code == ReasonCode::Success,
            "{}: PUBREL {packet_id} with {code:?} for {flight:?}",
            self.id
        );
        assert!(!self.due.contains(&(AckKind::PubComp, packet_id)), "{}: PUBREL twice", self.id);
        self.due.push((AckKind::PubComp, packet_id));
    }

    /// Sends the due acknowledgement at `index`. With `refuse` its code is an error, if the packet may have one. Returns
    /// the packet, its Packet Identifier and its code.
    pub(crate) fn acknowledge(&mut self, index: usize, refuse: bool) -> (AckKind, u16, ReasonCode) {
        let (kind, packet_id) = self.due.remove(index);
        let refuse = refuse && self.version.is_v5() && kind != AckKind::PubComp;
        let code = if refuse { ReasonCode::UnspecifiedError } else { ReasonCode::Success };
        if kind == AckKind::PubRec && !refuse {
            self.in_flight.get_mut(&packet_id).unwrap().received = true;
        } else {
            let flight = self.in_flight.remove(&packet_id);
            assert!(flight.is_some());
            self.outstanding.remove(&packet_id);
        }
        (kind, packet_id, code)
    }
}

/// The payload of a message: its number, and `size` bytes of filling.
pub(crate) fn payload(number: Number, size: usize) -> Vec<u8> {
    let mut payload = number.to_string().into_bytes();
    payload.push(b':');
    payload.resize(payload.len() + size, b'x');
    payload
}

fn number_of(payload: &[u8]) -> Number {
    let end = payload.iter().position(|byte| *byte == b':').unwrap_or(0);
    core::str::from_utf8(&payload[..end]).unwrap().parse().unwrap_or(0)
}

/// Whether the packet belongs to a message from the broker, and is no answer to the client.
pub(crate) fn is_delivery(got: &Got) -> bool {
    matches!(got, Got::Message(_) | Got::Ack(AckKind::PubRel, ..))
}

/// The packets that answer the client.
pub(crate) fn only_answers(got: &[Got]) -> Vec<&Got> {
    got.iter().filter(|got| !is_delivery(got)).collect()
}
