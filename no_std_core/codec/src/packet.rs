//! All packets as one type.

use crate::{
    Ack, AckKind, Answer, Auth, ConnAck, Connect, Disconnect, Frame, Length, MAX_VARINT, PacketType, PropertyId,
    Publish, Refusal, Sink, SubAck, Subscribe, UnsubAck, Unsubscribe, Version, Window, varint_len,
};

/// An MQTT Control Packet. It borrows from the bytes that it was decoded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is explained at its type or at `PacketType`")]
pub enum Packet<'a> {
    Connect(Connect<'a>),
    ConnAck(ConnAck<'a>),
    Publish(Publish<'a>),
    PubAck(Ack<'a>),
    PubRec(Ack<'a>),
    PubRel(Ack<'a>),
    PubComp(Ack<'a>),
    Subscribe(Subscribe<'a>),
    SubAck(SubAck<'a>),
    Unsubscribe(Unsubscribe<'a>),
    UnsubAck(UnsubAck<'a>),
    PingReq,
    PingResp,
    Disconnect(Disconnect<'a>),
    Auth(Auth<'a>),
}

/// A packet that can be put into a [`Sink`].
pub trait Encode {
    /// The packet's first byte: its type and flags.
    fn first_byte(&self) -> u8;

    /// Puts what follows the fixed header.
    fn put_body(&self, version: Version, out: &mut impl Sink);

    /// Bytes that [`Encode::put_body`] puts: the Remaining Length.
    #[inline]
    fn body_len(&self, version: Version) -> u32 {
        // Not a `Length`: the broker encodes into windows, and so each packet is compiled for one sink.
        let mut window = Window::closed();
        self.put_body(version, &mut window);
        window.total()
    }

    /// Puts the whole packet as `version` has it; what the version lacks is left out. A CONNECT is put in its own
    /// version.
    ///
    /// A packet beyond [`MAX_PACKET_LEN`](crate::MAX_PACKET_LEN) has no encoding: what is put then is not a packet.
    /// Who composes packets of such a size asks for [`Encode::encoded_len`] first.
    #[inline]
    fn encode(&self, version: Version, out: &mut impl Sink) {
        out.put_u8(self.first_byte());
        out.put_varint(self.body_len(version));
        self.put_body(version, out);
    }

    /// Bytes of the whole packet; `u32::MAX` where it exceeds what a packet can be.
    #[inline]
    fn encoded_len(&self, version: Version) -> u32 {
        let remaining = self.body_len(version);
        if remaining > MAX_VARINT { u32::MAX } else { 1 + varint_len(remaining) + remaining }
    }
}

/// A PINGREQ packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PingReq;

/// A PINGRESP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PingResp;

impl Encode for PingReq {
    #[inline]
    fn first_byte(&self) -> u8 {
        PacketType::PingReq.first_byte()
    }

    fn put_body(&self, _: Version, _: &mut impl Sink) {}
}

impl Encode for PingResp {
    #[inline]
    fn first_byte(&self) -> u8 {
        PacketType::PingResp.first_byte()
    }

    fn put_body(&self, _: Version, _: &mut impl Sink) {}
}

impl<'a> Packet<'a> {
    /// Reads a packet of a connection that speaks `version`. A CONNECT is read in its own version.
    #[inline]
    pub fn decode(version: Version, frame: Frame<'a>) -> Result<Self, Refusal> {
        let kind = frame.packet_type();
        if kind == PacketType::Connect {
            return Ok(Self::Connect(Connect::decode(frame)?));
        }
        frame.check_header(version)?;
        match kind {
            PacketType::Publish => Publish::decode(version, frame).map(Self::Publish),
            PacketType::PubAck => Ack::decode(version, frame).map(Self::PubAck),
            _ => Self::decode_rarer(version, frame),
        }
    }

    /// Reads packets of which a connection has few, in a function of its own.
    fn decode_rarer(version: Version, frame: Frame<'a>) -> Result<Self, Refusal> {
        match frame.packet_type() {
            PacketType::Connect => Ok(Self::Connect(Connect::decode(frame)?)),
            PacketType::ConnAck => ConnAck::decode(version, frame).map(Self::ConnAck),
            PacketType::Publish => Publish::decode(version, frame).map(Self::Publish),
            PacketType::PubAck => Ack::decode(version, frame).map(Self::PubAck),
            PacketType::PubRec => Ack::decode(version, frame).map(Self::PubRec),
            PacketType::PubRel => Ack::decode(version, frame).map(Self::PubRel),
            PacketType::PubComp => Ack::decode(version, frame).map(Self::PubComp),
            PacketType::Subscribe => Subscribe::decode(version, frame).map(Self::Subscribe),
            PacketType::SubAck => SubAck::decode(version, frame).map(Self::SubAck),
            PacketType::Unsubscribe => Unsubscribe::decode(version, frame).map(Self::Unsubscribe),
            PacketType::UnsubAck => UnsubAck::decode(version, frame).map(Self::UnsubAck),
            PacketType::PingReq => frame.check_empty().map(|()| Self::PingReq),
            PacketType::PingResp => frame.check_empty().map(|()| Self::PingResp),
            PacketType::Disconnect => Disconnect::decode(version, frame).map(Self::Disconnect),
            PacketType::Auth => Auth::decode(version, frame).map(Self::Auth),
        }
    }

    /// What it is.
    #[inline]
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::ConnAck(_) => PacketType::ConnAck,
            Self::Publish(_) => PacketType::Publish,
            Self::PubAck(_) => PacketType::PubAck,
            Self::PubRec(_) => PacketType::PubRec,
            Self::PubRel(_) => PacketType::PubRel,
            Self::PubComp(_) => PacketType::PubComp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::SubAck(_) => PacketType::SubAck,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::UnsubAck(_) => PacketType::UnsubAck,
            Self::PingReq => PacketType::PingReq,
            Self::PingResp => PacketType::PingResp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }

    /// Refuses what a Server may send and a Client may not; the codec does not know who sent it.
    #[inline]
    pub fn check_from_client(&self) -> Result<(), Refusal> {
        match self {
            Self::Publish(publish) if publish.properties.contains(PropertyId::SubscriptionIdentifier) => {
                Err(Refusal::protocol_error("a Client sends no Subscription Identifier in PUBLISH [MQTT-3.3.4-6]"))
            }
            Self::ConnAck(_) | Self::SubAck(_) | Self::UnsubAck(_) | Self::PingResp => {
                Err(Refusal::protocol_error("only a Server sends this packet (section 2.1.2)"))
            }
            Self::Disconnect(disconnect) => disconnect.check_from_client(),
            Self::Auth(auth) => auth.check_from_client(),
            _ => Ok(()),
        }
    }

    /// Puts the whole packet; see [`Encode::encode`].
    #[inline]
    pub fn encode(&self, version: Version, out: &mut impl Sink) {
        match self {
            Self::Connect(packet) => packet.encode(version, out),
            Self::ConnAck(packet) => packet.encode(version, out),
            Self::Publish(packet) => packet.encode(version, out),
            Self::PubAck(ack) => Answer(AckKind::PubAck, ack).encode(version, out),
            Self::PubRec(ack) => Answer(AckKind::PubRec, ack).encode(version, out),
            Self::PubRel(ack) => Answer(AckKind::PubRel, ack).encode(version, out),
            Self::PubComp(ack) => Answer(AckKind::PubComp, ack).encode(version, out),
            Self::Subscribe(packet) => packet.encode(version, out),
            Self::SubAck(packet) => packet.encode(version, out),
            Self::Unsubscribe(packet) => packet.encode(version, out),
            Self::UnsubAck(packet) => packet.encode(version, out),
            Self::PingReq => PingReq.encode(version, out),
            Self::PingResp => PingResp.encode(version, out),
            Self::Disconnect(packet) => packet.encode(version, out),
            Self::Auth(packet) => packet.encode(version, out),
        }
    }

    /// Bytes of the whole packet; `u32::MAX` where it exceeds what a packet can be,
    /// [`MAX_PACKET_LEN`](crate::MAX_PACKET_LEN).
    #[inline]
    pub fn encoded_len(&self, version: Version) -> u32 {
        let mut length = Length::default();
        self.encode(version, &mut length);
        if length.get() > crate::MAX_PACKET_LEN { u32::MAX } else { length.get() }
    }
}
