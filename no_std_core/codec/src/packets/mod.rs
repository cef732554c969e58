//! The MQTT Control Packets: each in a file of its own, and [`Packet`], which is any of them.

use crate::{
    Frame, Length, MAX_PACKET_LEN, MAX_VARINT, PacketType, PropertyId, Refusal, Sink, Version, Window, varint_len,
};

mod ack;
mod auth;
mod connack;
mod connect;
mod delivery;
mod disconnect;
mod publish;
mod subscribe;
mod unsubscribe;

pub use ack::{Ack, AckKind, Answer};
pub use auth::Auth;
pub use connack::ConnAck;
pub use connect::{Connect, ConnectRefusal, Will};
pub use delivery::DeliveryHead;
pub use disconnect::Disconnect;
pub use publish::Publish;
pub use subscribe::{Codes, CodesIter, Filters, FiltersIter, RetainHandling, SubAck, Subscribe, SubscriptionOptions};
pub use unsubscribe::{Topics, TopicsIter, UnsubAck, Unsubscribe};

/// Any MQTT Control Packet. A decoded packet borrows from the bytes that it was decoded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the documentation of a packet is that of its type, or of `PacketType`")]
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
    /// The first byte of the packet: type and flags.
    fn first_byte(&self) -> u8;

    /// Puts the bytes behind the fixed header.
    fn put_body(&self, version: Version, out: &mut impl Sink);

    /// The number of bytes that [`Encode::put_body`] puts: the Remaining Length.
    #[inline]
    fn body_len(&self, version: Version) -> u32 {
        // Not a `Length`: a Server that encodes into windows has each packet compiled for one sink.
        let mut window = Window::closed();
        self.put_body(version, &mut window);
        window.total()
    }

    /// Puts the whole packet in the form of `version`. What the version lacks is left out. A CONNECT is put in the form of the
    /// version that it names.
    ///
    /// A packet of more than [`MAX_PACKET_LEN`] bytes has no encoding, and the bytes that are put for it are no packet.
    /// A caller that may have such a packet asks [`Encode::encoded_len`] before.
    #[inline]
    fn encode(&self, version: Version, out: &mut impl Sink) {
        out.put_u8(self.first_byte());
        out.put_varint(self.body_len(version));
        self.put_body(version, out);
    }

    /// The number of bytes of the whole packet; `u32::MAX` if it would exceed [`MAX_PACKET_LEN`].
    #[inline]
    fn encoded_len(&self, version: Version) -> u32 {
        let remaining = self.body_len(version);
        packet_len(remaining)
    }
}

/// The length in bytes of a packet with this Remaining Length; `u32::MAX` if no packet can have it.
#[inline]
fn packet_len(remaining: u32) -> u32 {
    if remaining > MAX_VARINT { u32::MAX } else { remaining.saturating_add(varint_len(remaining)).saturating_add(1) }
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
    /// Decodes a packet of a Network Connection that speaks `version`. A CONNECT is decoded in the version that it names.
    ///
    /// # Errors
    ///
    /// The packet is invalid in this version. To learn in which version the CONNACK has to refuse a CONNECT, use
    /// [`Connect::decode`].
    #[inline]
    pub fn decode(version: Version, frame: Frame<'a>) -> Result<Self, Refusal> {
        match frame.packet_type() {
            PacketType::Connect => return Ok(Self::Connect(Connect::decode(frame)?)),
            _ => frame.check_header(version)?,
        }
        match frame.packet_type() {
            PacketType::Publish => Publish::decode(version, frame).map(Self::Publish),
            PacketType::PubAck => Ack::decode(version, frame).map(Self::PubAck),
            _ => Self::decode_rarer(version, frame),
        }
    }

    /// Decodes the packets that are rare on a connection. A function of its own, so that decoding a PUBLISH stays short.
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

    /// The type of the packet.
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

    /// Refuses a packet that only a Server may send. Decoding does not know who sent the packet.
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

    /// The number of bytes of the whole packet; `u32::MAX` if it would exceed [`MAX_PACKET_LEN`].
    #[inline]
    pub fn encoded_len(&self, version: Version) -> u32 {
        let mut length = Length::default();
        self.encode(version, &mut length);
        if length.get() > MAX_PACKET_LEN { u32::MAX } else { length.get() }
    }
}
