//! A client that makes no mistake, for tests that are about many packets and not about a particular one.

use std::collections::BTreeMap;

use goldcrest_core::codec::*;

use crate::world::{ClientId, World};

/// A packet that the client received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    /// CONNACK, with Session Present and Reason Code.
    ConnAck(bool, ReasonCode),
    /// PUBLISH.
    Message(Message),
    /// PUBACK, PUBREC, PUBREL or PUBCOMP, with Packet Identifier and Reason Code.
    Ack(AckKind, u16, ReasonCode),
    /// SUBACK, with Packet Identifier and a code for each filter.
    SubAck(u16, Vec<ReasonCode>),
    /// UNSUBACK, with Packet Identifier and a code for each filter.
    UnsubAck(u16, Vec<ReasonCode>),
    /// PINGRESP.
    PingResp,
    /// DISCONNECT, with its Reason Code.
    Disconnect(ReasonCode),
}

/// A PUBLISH from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The topic, by name or by Topic Alias.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
    /// The QoS.
    pub qos: QoS,
    /// The DUP flag.
    pub dup: bool,
    /// The RETAIN flag.
    pub retain: bool,
    /// The Packet Identifier; 0 with QoS 0.
    pub packet_id: u16,
    /// The Subscription Identifiers in their order.
    pub identifiers: Vec<u32>,
    /// The remaining Message Expiry Interval, in seconds.
    pub expiry: Option<u32>,
}

/// A client of a [`World`].
#[derive(Debug)]
pub struct Honest {
    /// The Network Connection, as the [`World`] names it.
    pub at: ClientId,
    /// The version of MQTT that the client speaks.
    pub version: Version,
    inbox: Vec<u8>,
    aliases: BTreeMap<u16, String>,
}

/// The fields of a CONNECT; Keep Alive is 0.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// Client Identifier.
    pub id: &'a str,
    /// Clean Start.
    pub clean_start: bool,
    /// Session Expiry Interval in seconds; before MQTT 5.0 CleanSession is 1 where this is 0.
    pub expiry_secs: u32,
    /// Receive Maximum.
    pub window: Option<u16>,
    /// Topic Alias Maximum.
    pub aliases: u16,
    /// The Will, and its Will Delay Interval.
    pub will: Option<(Will<'a>, u32)>,
}

impl<'a> Opening<'a> {
    /// A client with Clean Start, whose Session ends with the connection.
    pub fn new(id: &'a str) -> Self {
        Self { id, clean_start: true, expiry_secs: 0, window: None, aliases: 0, will: None }
    }
}

/// The bytes of a packet.
pub fn bytes_of(version: Version, packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes);
    bytes
}

/// A Packet Identifier that is not 0.
pub fn id(number: u16) -> PacketId {
    PacketId::new(number).expect("a Packet Identifier is not 0")
}

impl Honest {
    /// Opens a Network Connection and sends CONNECT.
    pub fn connect(world: &mut World, version: Version, opening: &Opening<'_>) -> Self {
        let at = world.open();
        let mut list = Vec::new();
        if opening.expiry_secs > 0 {
            list.push(Property::SessionExpiryInterval(opening.expiry_secs));
        }
        if opening.aliases > 0 {
            list.push(Property::TopicAliasMaximum(opening.aliases));
        }
        list.extend(opening.window.map(Property::ReceiveMaximum));
        let delay = [Property::WillDelayInterval(opening.will.map_or(0, |(_, secs)| secs))];
        let will = opening.will.map(|(will, secs)| match secs {
            0 => will,
            _ => Will { properties: Properties::new(&delay), ..will },
        });
        let clean_start = if version.is_v5() { opening.clean_start } else { opening.expiry_secs == 0 };
        let packet = Packet::Connect(Connect {
            version,
            is_bridge: false,
            clean_start,
            keep_alive: 0,
            properties: if version.is_v5() { Properties::new(&list) } else { Properties::EMPTY },
            client_id: opening.id,
            will,
            user_name: None,
            password: None,
        });
        world.send(at, &bytes_of(version, &packet));
        Self { at, version, inbox: Vec::new(), aliases: BTreeMap::new() }
    }

    /// Connects, and expects CONNACK with success.
    pub fn accepted(world: &mut World, version: Version, opening: &Opening<'_>) -> Self {
        let mut client = Self::connect(world, version, opening);
        let got = client.take(world);
        assert!(matches!(got[..], [Got::ConnAck(_, ReasonCode::Success), ..]), "{}: {got:?}", opening.id);
        client
    }

    /// Sends a packet, and drives the world until it is quiet.
    pub fn send(&self, world: &mut World, packet: &Packet<'_>) {
        world.send(self.at, &bytes_of(self.version, packet));
    }

    /// Sends SUBSCRIBE for one filter, and returns the code of the SUBACK, which must be the next packet.
    pub fn subscribe(&mut self, world: &mut World, filter: &str, qos: QoS) -> ReasonCode {
        let filters = [(filter, SubscriptionOptions::with_qos(qos))];
        let (properties, filters) = (Properties::EMPTY, Filters::new(&filters));
        self.send(world, &Packet::Subscribe(Subscribe { packet_id: id(1), properties, filters }));
        match &self.take(world)[..] {
            [Got::SubAck(1, codes), ..] => codes[0],
            other => panic!("no SUBACK but {other:?}"),
        }
    }

    /// Sends UNSUBSCRIBE for one filter, and returns the code of the UNSUBACK, which must be the next packet.
    pub fn unsubscribe(&mut self, world: &mut World, filter: &str) -> ReasonCode {
        let (properties, filters) = (Properties::EMPTY, [filter]);
        let filters = Topics::new(&filters);
        self.send(world, &Packet::Unsubscribe(Unsubscribe { packet_id: id(1), properties, filters }));
        match &self.take(world)[..] {
            [Got::UnsubAck(1, codes), ..] => codes.first().copied().unwrap_or(ReasonCode::Success),
            other => panic!("no UNSUBACK but {other:?}"),
        }
    }

    /// Sends PUBLISH; `number` is the Packet Identifier for QoS 1 and 2.
    pub fn publish(&self, world: &mut World, topic: &str, payload: &[u8], qos: QoS, retain: bool, number: u16) {
        self.send(world, &publication(topic, payload, qos, retain, number));
    }

    /// Sends an acknowledgement with success.
    pub fn ack(&self, world: &mut World, kind: AckKind, number: u16) {
        self.send(world, &kind.of(Ack::new(id(number), ReasonCode::Success)));
    }

    /// Sends DISCONNECT.
    pub fn disconnect(&self, world: &mut World) {
        let packet = Disconnect { code: ReasonCode::Success, properties: Properties::EMPTY };
        self.send(world, &Packet::Disconnect(packet));
    }

    /// Receives all messages until no more come, and completes the handshake of each. The only other packet that may come is
    /// CONNACK.
    pub fn take_messages(&mut self, world: &mut World) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            let got = self.take(world);
            if got.is_empty() {
                return messages;
            }
            for got in got {
                match got {
                    Got::Message(message) => {
                        match message.qos {
                            QoS::AtMostOnce => {}
                            QoS::AtLeastOnce => self.ack(world, AckKind::PubAck, message.packet_id),
                            QoS::ExactlyOnce => self.ack(world, AckKind::PubRec, message.packet_id),
                        }
                        messages.push(message);
                    }
                    Got::Ack(AckKind::PubRel, packet_id, _) => self.ack(world, AckKind::PubComp, packet_id),
                    Got::ConnAck(..) => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    /// Receives all whole packets that have arrived.
    pub fn take(&mut self, world: &mut World) -> Vec<Got> {
        self.inbox.extend(world.receive(self.at));
        let mut all = Vec::new();
        let mut at = 0;
        while let Some((frame, len)) = split(&self.inbox[at..], u32::MAX).expect("the broker sends whole packets") {
            at += len;
            let packet = Packet::decode(self.version, frame)
                .unwrap_or_else(|refusal| panic!("the broker sent {:02x?}: {refusal}", frame.body()));
            all.push(match packet {
                Packet::ConnAck(packet) => Got::ConnAck(packet.session_present, packet.code),
                Packet::Publish(publish) => Got::Message(owned(&publish, &mut self.aliases)),
                Packet::PubAck(ack) => Got::Ack(AckKind::PubAck, ack.packet_id.get(), ack.code),
                Packet::PubRec(ack) => Got::Ack(AckKind::PubRec, ack.packet_id.get(), ack.code),
                Packet::PubRel(ack) => Got::Ack(AckKind::PubRel, ack.packet_id.get(), ack.code),
                Packet::PubComp(ack) => Got::Ack(AckKind::PubComp, ack.packet_id.get(), ack.code),
                Packet::SubAck(packet) => Got::SubAck(packet.packet_id.get(), packet.codes.into_iter().collect()),
                Packet::UnsubAck(packet) => Got::UnsubAck(packet.packet_id.get(), packet.codes.into_iter().collect()),
                Packet::PingResp => Got::PingResp,
                Packet::Disconnect(packet) => Got::Disconnect(packet.code),
                other => panic!("a broker does not send {other:?}"),
            });
        }
        self.inbox.drain(..at);
        all
    }
}

/// A PUBLISH of a client; `number` is the Packet Identifier for QoS 1 and 2.
pub fn publication<'a>(topic: &'a str, payload: &'a [u8], qos: QoS, retain: bool, number: u16) -> Packet<'a> {
    let packet_id = (qos > QoS::AtMostOnce).then(|| id(number));
    Packet::Publish(Publish { dup: false, qos, retain, topic, packet_id, properties: Properties::EMPTY, payload })
}

fn owned(publish: &Publish<'_>, aliases: &mut BTreeMap<u16, String>) -> Message {
    let topic = match publish.properties.topic_alias() {
        Some(alias) if publish.topic.is_empty() => aliases.get(&alias).expect("an alias that was set").clone(),
        Some(alias) => {
            aliases.insert(alias, publish.topic.into());
            publish.topic.into()
        }
        None => publish.topic.into(),
    };
    Message {
        topic,
        payload: publish.payload.to_vec(),
        qos: publish.qos,
        dup: publish.dup,
        retain: publish.retain,
        packet_id: publish.packet_id.map_or(0, |id| id.get()),
        identifiers: publish.properties.subscription_identifiers().collect(),
        expiry: publish.properties.message_expiry_interval(),
    }
}
