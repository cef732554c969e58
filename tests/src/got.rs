//! A packet that a client received, with the questions that tests ask about it.

use crate::watch::properties_of;
use goldcrest_core::codec::*;

/// A packet from the server.
#[derive(Clone, Debug)]
pub struct Got {
    version: Version,
    bytes: Vec<u8>,
    topic: Option<String>,
}

impl Got {
    /// A whole and valid packet, and its topic if it is a PUBLISH.
    pub(crate) fn new(version: Version, bytes: Vec<u8>, topic: Option<String>) -> Self {
        Self { version, bytes, topic }
    }

    /// The packet.
    pub fn packet(&self) -> Packet<'_> {
        let (frame, _) = split(&self.bytes, u32::MAX).expect("it was split before").expect("it was whole before");
        Packet::decode(self.version, frame).expect("it was decoded before")
    }

    /// The bytes of the packet.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The Properties of the packet.
    pub fn properties(&self) -> Properties<'_> {
        properties_of(&self.packet())
    }

    /// The packet as a PUBLISH.
    ///
    /// # Panics
    /// If it is another packet.
    pub fn publish(&self) -> Publish<'_> {
        match self.packet() {
            Packet::Publish(publish) => publish,
            other => panic!("expected PUBLISH, not {other:?}"),
        }
    }

    /// The topic of a PUBLISH, even where a Topic Alias stands for the topic.
    pub fn topic(&self) -> &str {
        self.topic.as_deref().expect("a PUBLISH")
    }

    /// Session Present of a CONNACK. Fails the test for another packet.
    pub fn session_present(&self) -> bool {
        match self.packet() {
            Packet::ConnAck(connack) => connack.session_present,
            other => panic!("expected CONNACK, not {other:?}"),
        }
    }

    /// The Packet Identifier. Fails the test for a packet without one.
    pub fn id(&self) -> u16 {
        let id = match self.packet() {
            Packet::Publish(publish) => publish.packet_id,
            Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
                Some(ack.packet_id)
            }
            Packet::SubAck(suback) => Some(suback.packet_id),
            Packet::UnsubAck(unsuback) => Some(unsuback.packet_id),
            _ => None,
        };
        id.unwrap_or_else(|| panic!("no Packet Identifier in {:?}", self.packet())).get()
    }

    /// The Reason Code. Fails the test for a packet without exactly one.
    pub fn code(&self) -> ReasonCode {
        match self.packet() {
            Packet::ConnAck(connack) => connack.code,
            Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => ack.code,
            Packet::Disconnect(disconnect) => disconnect.code,
            Packet::Auth(auth) => auth.code,
            other => panic!("no Reason Code in {other:?}"),
        }
    }

    /// The codes of a SUBACK or UNSUBACK.
    pub fn codes(&self) -> Vec<u8> {
        match self.packet() {
            Packet::SubAck(suback) => suback.codes.into_iter().map(ReasonCode::as_u8).collect(),
            Packet::UnsubAck(unsuback) => unsuback.codes.into_iter().map(ReasonCode::as_u8).collect(),
            other => panic!("no list of codes in {other:?}"),
        }
    }
}
