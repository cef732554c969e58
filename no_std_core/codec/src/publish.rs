//! PUBLISH: an Application Message (section 3.3).

use crate::{Encode, Frame, PacketId, PacketType, Properties, PropertyId, QoS, Refusal, Sink, Version, property};

/// A PUBLISH packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Whether it may have been sent before; never with QoS 0.
    pub dup: bool,
    /// Its Quality of Service.
    pub qos: QoS,
    /// To the Server: keep it. From the Server: it was kept, or the subscription shows what was published.
    pub retain: bool,
    /// Topic Name without wildcards; empty only where a Topic Alias stands for it.
    pub topic: &'a str,
    /// There from QoS 1 on and not with QoS 0 `[MQTT-2.2.1-2]`.
    pub packet_id: Option<PacketId>,
    /// Its Properties.
    pub properties: Properties<'a>,
    /// The Application Message itself.
    pub payload: &'a [u8],
}

impl<'a> Publish<'a> {
    /// Reads a PUBLISH of a connection that speaks `version`; `frame` is one.
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
            // MQTT 3.1 does not use it with QoS 0; later versions forbid it there `[MQTT-3.3.1-2]`.
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
