//! PUBACK, PUBREC, PUBREL and PUBCOMP: the answers with which QoS 1 and QoS 2 go on (sections 3.4 to 3.7).

use crate::{Encode, Frame, Packet, PacketId, PacketType, Properties, ReasonCode, Refusal, Sink, Version, varint_len};

/// A PUBACK, PUBREC, PUBREL or PUBCOMP packet. The variant of [`Packet`] says which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// The Packet Identifier of the PUBLISH.
    pub packet_id: PacketId,
    /// The result for the message. Before MQTT 5.0 it is always success: those versions cannot say anything else.
    pub code: ReasonCode,
    /// The Properties of the packet.
    pub properties: Properties<'a>,
}

/// The four types of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AckKind {
    /// PUBACK.
    PubAck,
    /// PUBREC.
    PubRec,
    /// PUBREL.
    PubRel,
    /// PUBCOMP.
    PubComp,
}

impl AckKind {
    /// The type of packet.
    #[inline]
    pub const fn packet_type(self) -> PacketType {
        match self {
            Self::PubAck => PacketType::PubAck,
            Self::PubRec => PacketType::PubRec,
            Self::PubRel => PacketType::PubRel,
            Self::PubComp => PacketType::PubComp,
        }
    }

    /// The packet of this type.
    #[inline]
    pub const fn of(self, ack: Ack<'_>) -> Packet<'_> {
        match self {
            Self::PubAck => Packet::PubAck(ack),
            Self::PubRec => Packet::PubRec(ack),
            Self::PubRel => Packet::PubRel(ack),
            Self::PubComp => Packet::PubComp(ack),
        }
    }
}

impl<'a> Ack<'a> {
    /// An answer without Properties.
    #[inline]
    pub const fn new(packet_id: PacketId, code: ReasonCode) -> Self {
        Self { packet_id, code, properties: Properties::EMPTY }
    }

    /// Decodes an answer of a Network Connection that speaks `version`; the packet in `frame` is one.
    ///
    /// A packet without Reason Code means success, and a packet without Property Length has no Properties (section 3.4.2).
    #[inline]
    pub fn decode(version: Version, frame: Frame<'a>) -> Result<Self, Refusal> {
        let mut reader = frame.reader();
        let mut ack = Self::new(reader.packet_id()?, ReasonCode::Success);
        if version.is_v5() && !reader.is_empty() {
            ack.code = reader.reason_code(frame.packet_type())?;
            if !reader.is_empty() {
                ack.properties = Properties::decode(&mut reader, frame.packet_type().bit())?;
            }
        }
        reader.finish()?;
        Ok(ack)
    }
}

/// An answer and its type, to be encoded in the shortest form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a>(pub AckKind, pub &'a Ack<'a>);

impl Answer<'_> {
    /// Whether the packet consists of its Packet Identifier alone.
    #[inline]
    fn is_short(&self, version: Version) -> bool {
        !version.is_v5() || self.1.code == ReasonCode::Success && self.1.properties.is_empty()
    }
}

impl Encode for Answer<'_> {
    #[inline]
    fn first_byte(&self) -> u8 {
        self.0.packet_type().first_byte()
    }

    #[inline]
    fn body_len(&self, version: Version) -> u32 {
        const ID_AND_CODE: u32 = 3;
        if self.is_short(version) {
            return 2;
        }
        let properties = self.1.properties.wire_len();
        if properties == 0 {
            ID_AND_CODE
        } else {
            properties.saturating_add(varint_len(properties)).saturating_add(ID_AND_CODE)
        }
    }

    #[inline]
    fn put_body(&self, version: Version, out: &mut impl Sink) {
        let Self(_, ack) = self;
        out.put_u16(ack.packet_id.get());
        if !self.is_short(version) {
            out.put_u8(ack.code.as_u8());
            if !ack.properties.is_empty() {
                ack.properties.encode(version, out);
            }
        }
    }
}
