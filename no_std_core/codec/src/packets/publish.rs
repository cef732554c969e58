//! PUBLISH: an Application Message (section 3.3).

use crate::{Encode, Frame, PacketId, PacketType, Properties, PropertyId, QoS, Refusal, Sink, Version, property};

/// A PUBLISH packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Whether the packet may have been sent before; never set with QoS 0 `[MQTT-3.3.1-2]`.
    pub dup: bool,
    /// The Quality of Service of the message.
    pub qos: QoS,
    /// In a packet to the Server: the Server keeps the message. In a packet to a Client: the message is a retained one, or was
    /// published with this flag and the subscription has Retain As Published.
    pub retain: bool,
    /// The Topic Name, without wildcards; empty only if there is a Topic Alias in its place.
    pub topic: &'a str,
    /// The Packet Identifier: `Some` with QoS 1 and 2, `None` with QoS 0 `[MQTT-2.2.1-2]`.
    pub packet_id: Option<PacketId>,
    /// The Properties of the message.
    pub properties: Properties<'a>,
    /// The payload of the message.
    pub payload: &'a [u8],
}

impl<'a> Publish<'a> {
    /// Decodes a PUBLISH of a Network Connection that speaks `version`; the packet in `frame` is one.
    ///
    /// The Topic Name is a valid [`TopicName`](crate::topic::TopicName), or empty and there is a Topic Alias.
    #[inline]
    pub fn decode(version: Version, frame: Frame<'a>) -> Result<Self, Refusal> {
        let flags = frame.flags();
        // `split` refused QoS 3 at the first byte.
        let qos = QoS::from_bits(flags >> 1 & 0b11).unwrap_or_default();
        let mut reader = frame.reader();
        let topic = reader.topic_name()?;
        let packet_id = if qos == QoS::AtMostOnce { None } else { Some(reader.packet_id()?) };
        let properties =
            if version.is_v5() { Properties::decode(&mut reader, property::PUBLISH)? } else { Properties::EMPTY };
        if topic.is_empty() && !properties.contains(PropertyId::TopicAlias) {
            return Err(Refusal::protocol_error("a PUBLISH has a Topic Name or a Topic Alias (section 3.3.2.1)"));
        }
        Ok(Self {
            // With QoS 0 MQTT 3.1 does not use DUP, and later versions forbid it `[MQTT-3.3.1-2]`.
            dup: flags & 0b1000 != 0 && qos != QoS::AtMostOnce,
            qos,
            retain: flags & 1 != 0,
            topic,
            packet_id,
            properties,
            payload: reader.rest(),
        })
    }
}

impl Encode for Publish<'_> {
    #[inline]
    fn first_byte(&self) -> u8 {
        first_byte(self.dup, self.qos, self.retain)
    }

    #[inline]
    fn put_body(&self, version: Version, out: &mut impl Sink) {
        debug_assert_eq!(self.packet_id.is_some(), self.qos > QoS::AtMostOnce, "[MQTT-2.2.1-2]");
        out.put_string(self.topic);
        if let Some(id) = self.packet_id {
            out.put_u16(id.get());
        }
        self.properties.encode(version, out);
        out.put(self.payload);
    }
}

/// The first byte of a PUBLISH.
#[inline]
pub(crate) const fn first_byte(dup: bool, qos: QoS, retain: bool) -> u8 {
    PacketType::Publish.first_byte() | (dup as u8) << 3 | qos.bits() << 1 | retain as u8
}
