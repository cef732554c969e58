//! Checks one Network Connection for everything that a server may never send, in each test.

use goldcrest_core::codec::*;
use std::collections::{BTreeMap, BTreeSet};

/// What the packets of a connection so far tell about its state.
#[derive(Debug)]
pub struct Watch {
    version: Version,
    /// Bytes from the client that are not a whole packet yet; `None` after the client sent an invalid packet.
    outbox: Option<Vec<u8>>,
    accepted: bool,
    ended: bool,
    maximum_packet_size: u32,
    receive_maximum: u16,
    topic_alias_maximum: u16,
    problem_information: bool,
    aliases: BTreeMap<u16, String>,
    /// The server's Packet Identifiers that are not acknowledged yet; true after PUBREC.
    in_flight: BTreeMap<u16, bool>,
    /// Packet Identifiers of SUBSCRIBE packets that wait for their SUBACK.
    subscribing: BTreeSet<u16>,
    /// Packet Identifiers of UNSUBSCRIBE packets that wait for their UNSUBACK.
    unsubscribing: BTreeSet<u16>,
}

impl Watch {
    /// A connection on which nothing has been sent, in this version until a CONNECT names another.
    pub fn new(version: Version) -> Self {
        Self {
            version,
            outbox: Some(Vec::new()),
            accepted: false,
            ended: false,
            maximum_packet_size: u32::MAX,
            receive_maximum: u16::MAX,
            topic_alias_maximum: 0,
            problem_information: true,
            aliases: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            subscribing: BTreeSet::new(),
            unsubscribing: BTreeSet::new(),
        }
    }

    /// The version of MQTT that the connection speaks.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether a CONNACK with success has come and no DISCONNECT.
    pub fn is_open(&self) -> bool {
        self.accepted && !self.ended
    }

    /// The topic of the last PUBLISH that set this alias.
    pub fn topic_of(&self, alias: u16) -> Option<&str> {
        self.aliases.get(&alias).map(String::as_str)
    }

    /// Notes bytes that the client sent.
    pub fn sent(&mut self, bytes: &[u8]) {
        let Some(mut outbox) = self.outbox.take() else { return };
        outbox.extend_from_slice(bytes);
        let mut rest = &outbox[..];
        loop {
            match split(rest, u32::MAX) {
                Ok(Some((frame, len))) => match Packet::decode(self.version, frame) {
                    Ok(packet) => {
                        self.sent_packet(&packet);
                        rest = &rest[len..];
                    }
                    Err(_) => return,
                },
                Ok(None) => break,
                Err(_) => return,
            }
        }
        self.outbox = Some(rest.to_vec());
    }

    fn sent_packet(&mut self, packet: &Packet<'_>) {
        match packet {
            Packet::Connect(connect) if !self.accepted => {
                let properties = connect.properties;
                self.version = connect.version;
                self.maximum_packet_size = properties.maximum_packet_size().unwrap_or(u32::MAX);
                self.receive_maximum = properties.receive_maximum().unwrap_or(u16::MAX);
                self.topic_alias_maximum = properties.topic_alias_maximum().unwrap_or(0);
                self.problem_information = properties.request_problem_information().unwrap_or(true);
            }
            Packet::PubAck(ack) | Packet::PubComp(ack) => {
                self.in_flight.remove(&ack.packet_id.get());
            }
            Packet::PubRec(ack) if ack.code.is_error() => {
                self.in_flight.remove(&ack.packet_id.get());
            }
            Packet::PubRec(ack) => {
                if let Some(received) = self.in_flight.get_mut(&ack.packet_id.get()) {
                    *received = true;
                }
            }
            Packet::Subscribe(subscribe) => {
                self.subscribing.insert(subscribe.packet_id.get());
            }
            Packet::Unsubscribe(unsubscribe) => {
                self.unsubscribing.insert(unsubscribe.packet_id.get());
            }
            _ => {}
        }
    }

    /// Notes a packet that the server sent. An error says which rule the packet breaks.
    pub fn received(&mut self, bytes: &[u8], packet: &Packet<'_>) -> Result<(), String> {
        if self.ended {
            return Err("a packet after DISCONNECT [MQTT-3.14.4-1]".into());
        }
        self.check_frame(bytes)?;
        if let Packet::ConnAck(connack) = packet {
            return self.received_connack(bytes, connack);
        }
        if !self.accepted && !matches!(packet, Packet::Auth(_)) {
            return Err("a packet before CONNACK [MQTT-3.2.0-1] [MQTT-3.14.0-1]".into());
        }
        match packet {
            Packet::Publish(publish) => self.received_publish(publish)?,
            Packet::PubRel(ack)
                if ack.code == ReasonCode::Success && self.in_flight.get(&ack.packet_id.get()) == Some(&false) =>
            {
                return Err("a PUBREL before PUBREC [MQTT-4.3.3-4]".into());
            }
            Packet::SubAck(suback) if !self.subscribing.remove(&suback.packet_id.get()) => {
                return Err("a SUBACK that answers no SUBSCRIBE".into());
            }
            Packet::UnsubAck(unsuback) if !self.unsubscribing.remove(&unsuback.packet_id.get()) => {
                return Err("an UNSUBACK that answers no UNSUBSCRIBE".into());
            }
            Packet::Disconnect(disconnect) => self.received_disconnect(disconnect)?,
            Packet::Connect(_) | Packet::Subscribe(_) | Packet::Unsubscribe(_) | Packet::PingReq => {
                return Err("a packet that only a client sends".into());
            }
            Packet::Auth(auth) if auth.code == ReasonCode::ReAuthenticate => {
                return Err("an AUTH that only a client sends".into());
            }
            _ => {}
        }
        let may_explain = matches!(packet, Packet::Publish(_) | Packet::Disconnect(_));
        let explains = |id| properties_of(packet).contains(id);
        if !self.problem_information
            && !may_explain
            && (explains(PropertyId::ReasonString) || explains(PropertyId::UserProperty))
        {
            return Err("an explanation that was not asked for [MQTT-3.1.2-29]".into());
        }
        Ok(())
    }

    fn check_frame(&self, bytes: &[u8]) -> Result<(), String> {
        if bytes.len() > self.maximum_packet_size as usize {
            return Err("a packet beyond the client's Maximum Packet Size [MQTT-3.1.2-24]".into());
        }
        let fixed = [0x20, 0x40, 0x50, 0x62, 0x70, 0x90, 0xB0, 0xD0, 0xE0, 0xF0];
        if bytes[0] >> 4 != 3 && !fixed.contains(&bytes[0]) {
            return Err(format!("a first byte of {:#04x} [MQTT-2.1.3-1]", bytes[0]));
        }
        let len_bytes = 1 + bytes[1..].iter().position(|byte| byte & 0x80 == 0).expect("split found it");
        if len_bytes > 1 && bytes[len_bytes] == 0 {
            return Err("a Remaining Length of more bytes than needed [MQTT-1.5.5-1]".into());
        }
        Ok(())
    }

    fn received_connack(&mut self, bytes: &[u8], connack: &ConnAck<'_>) -> Result<(), String> {
        if self.accepted {
            return Err("a second CONNACK [MQTT-3.2.0-2]".into());
        }
        if !self.version.is_v5() && bytes.len() != 4 {
            return Err("a CONNACK that is not of 4 bytes".into());
        }
        self.accepted = connack.code == ReasonCode::Success;
        self.ended = !self.accepted;
        Ok(())
    }

    fn received_publish(&mut self, publish: &Publish<'_>) -> Result<(), String> {
        if publish.topic.contains(['+', '#', '\0']) {
            return Err("a Topic Name with a wildcard or U+0000 [MQTT-3.3.2-2] [MQTT-4.7.3-2]".into());
        }
        match publish.properties.topic_alias() {
            Some(alias) if alias == 0 || alias > self.topic_alias_maximum => {
                return Err("a Topic Alias that the client does not allow [MQTT-3.1.2-26] [MQTT-3.1.2-27]".into());
            }
            Some(alias) if publish.topic.is_empty() && !self.aliases.contains_key(&alias) => {
                return Err("a Topic Alias that was not set [MQTT-3.3.2-7]".into());
            }
            Some(alias) if !publish.topic.is_empty() => {
                self.aliases.insert(alias, publish.topic.to_owned());
            }
            None if publish.topic.is_empty() => return Err("neither topic nor alias [MQTT-4.7.3-1]".into()),
            _ => {}
        }
        let Some(id) = publish.packet_id else { return Ok(()) };
        if self.in_flight.insert(id.get(), false).is_some() {
            return Err("a Packet Identifier that is in use [MQTT-2.2.1-4]".into());
        }
        if self.in_flight.len() > usize::from(self.receive_maximum) {
            return Err("more in flight than the Receive Maximum [MQTT-3.3.4-9]".into());
        }
        Ok(())
    }

    fn received_disconnect(&mut self, disconnect: &Disconnect<'_>) -> Result<(), String> {
        self.ended = true;
        if !self.version.is_v5() {
            return Err("a DISCONNECT from the server before MQTT 5.0".into());
        }
        if disconnect.code == ReasonCode::DisconnectWithWill {
            return Err("a DISCONNECT that only a client sends".into());
        }
        if disconnect.properties.contains(PropertyId::SessionExpiryInterval) {
            return Err("a Session Expiry Interval from the server [MQTT-3.14.2-2]".into());
        }
        Ok(())
    }
}

/// The Properties of any packet.
pub fn properties_of<'a>(packet: &Packet<'a>) -> Properties<'a> {
    match packet {
        Packet::Connect(packet) => packet.properties,
        Packet::ConnAck(packet) => packet.properties,
        Packet::Publish(packet) => packet.properties,
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => ack.properties,
        Packet::Subscribe(packet) => packet.properties,
        Packet::SubAck(packet) => packet.properties,
        Packet::Unsubscribe(packet) => packet.properties,
        Packet::UnsubAck(packet) => packet.properties,
        Packet::Disconnect(packet) => packet.properties,
        Packet::Auth(packet) => packet.properties,
        Packet::PingReq | Packet::PingResp => Properties::EMPTY,
    }
}
