//! The fixed header: where a packet ends, and what kind it is (section 2.1).

use crate::primitive::{OVERLONG_VARINT, Reader, any_varint};
use crate::{ReasonCode, Refusal, Version};

/// The longest packet in bytes: one byte, four of Remaining Length, and as many as those can say.
pub const MAX_PACKET_LEN: u32 = crate::MAX_VARINT + 5;

/// The kinds of MQTT Control Packets (section 2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PacketType {
    /// Client requests a connection.
    Connect = 1,
    /// Server answers CONNECT.
    ConnAck = 2,
    /// An Application Message.
    Publish = 3,
    /// Answers a QoS 1 PUBLISH.
    PubAck = 4,
    /// Answers a QoS 2 PUBLISH.
    PubRec = 5,
    /// Answers PUBREC.
    PubRel = 6,
    /// Answers PUBREL.
    PubComp = 7,
    /// Client subscribes.
    Subscribe = 8,
    /// Server answers SUBSCRIBE.
    SubAck = 9,
    /// Client unsubscribes.
    Unsubscribe = 10,
    /// Server answers UNSUBSCRIBE.
    UnsubAck = 11,
    /// Client asks for a sign of life.
    PingReq = 12,
    /// Server answers PINGREQ.
    PingResp = 13,
    /// The last packet of a connection.
    Disconnect = 14,
    /// A step of an enhanced authentication; MQTT 5.0 only.
    Auth = 15,
}

impl PacketType {
    /// The type in a packet's first byte; `None` for 0, which is forbidden.
    #[inline]
    pub const fn from_first_byte(first: u8) -> Option<Self> {
        Some(match first >> 4 {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// Whether a Client may send it. What a Server alone sends is a Protocol Error from a Client.
    #[inline]
    pub const fn is_from_client(self) -> bool {
        !matches!(self, Self::ConnAck | Self::SubAck | Self::UnsubAck | Self::PingResp)
    }

    /// The first byte of a packet of this type whose flags are reserved (section 2.1.3).
    #[inline]
    pub(crate) const fn first_byte(self) -> u8 {
        let flags = match self {
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        };
        (self as u8) << 4 | flags
    }

    /// Its bit in a set of packet types.
    #[inline]
    pub(crate) const fn bit(self) -> u16 {
        1 << self as u8
    }
}

/// One whole packet, not decoded yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    packet_type: PacketType,
    /// The lower four bits of the first byte, and what else there is to say of the packet: the marks below.
    flags: u8,
    body: &'a [u8],
}

/// A mark: the Remaining Length has more bytes than it needs. Before MQTT 5.0 no rule forbids that.
const OVERLONG: u8 = 0x10;

/// A mark: the flags have other values than MQTT 3.1.1 and 5.0 prescribe. MQTT 3.1 does not use them.
const UNUSED_FLAGS: u8 = 0x20;

/// A mark: its strings are to have no control characters and no noncharacters.
const PLAIN_TEXT: u8 = 0x40;

impl<'a> Frame<'a> {
    /// What it is.
    #[inline]
    pub fn packet_type(&self) -> PacketType {
        self.packet_type
    }

    /// The lower four bits of its first byte. They are DUP, QoS and RETAIN of a PUBLISH and otherwise have their
    /// fixed values, but in MQTT 3.1 (see [`split`]).
    #[inline]
    pub fn flags(&self) -> u8 {
        self.flags & 0x0F
    }

    /// Has its strings refused, when it is decoded, that contain control characters or noncharacters (section 1.5.4), but for
    /// Topic Filters.
    #[inline]
    #[must_use]
    pub fn with_plain_text(self, plain: bool) -> Self {
        Self { flags: if plain { self.flags | PLAIN_TEXT } else { self.flags & !PLAIN_TEXT }, ..self }
    }

    /// Refuses what [`split`] let pass because the version was unknown, and `version` forbids.
    #[inline]
    pub(crate) fn check_header(&self, version: Version) -> Result<(), Refusal> {
        check_marks(Some(version), self.flags)
    }

    /// Reads the body.
    #[inline]
    pub(crate) fn reader(&self) -> Reader<'a> {
        Reader::with_plain_text(self.body, self.flags & PLAIN_TEXT != 0)
    }

    /// PINGREQ and PINGRESP have no body.
    #[inline]
    pub fn check_empty(&self) -> Result<(), Refusal> {
        if self.body.is_empty() {
            Ok(())
        } else {
            Err(Refusal::malformed("PINGREQ and PINGRESP have a Remaining Length of 0 (section 3.12)"))
        }
    }

    /// What follows the fixed header: as many bytes as the Remaining Length says.
    #[inline]
    pub fn body(&self) -> &'a [u8] {
        self.body
    }
}

/// The type of the packet that `bytes` begin with; `None` if there are no bytes or the type is forbidden.
///
/// Lets a receiver turn a type away before the packet is complete.
#[inline]
pub fn peek_type(bytes: &[u8]) -> Option<PacketType> {
    bytes.first().and_then(|&first| PacketType::from_first_byte(first))
}

/// The length in bytes, fixed header included, of the packet that `bytes` begin with, whether it is whole or not; `None` while
/// they don't tell. What is no valid packet may have any.
#[inline]
pub fn packet_len(bytes: &[u8]) -> Option<u32> {
    let (_, rest) = bytes.split_first()?;
    let (remaining, varint_len, _) = any_varint(rest).ok()??;
    // At most MAX_PACKET_LEN.
    Some(remaining.saturating_add(1 + varint_len as u32))
}

/// Cuts the first packet off `bytes`: the packet and its length in bytes, fixed header included; `None` if more
/// bytes are needed.
///
/// `max_packet_size` counts the whole packet. A refusal comes as soon as it is certain, before the packet is
/// complete: type and reserved flags (0x81) with the first byte `[MQTT-2.1.3-1]`, a Remaining Length of too many
/// bytes (0x81) or beyond `max_packet_size` (0x95) with the fixed header.
///
/// MQTT 3.1 does not use most of these flags, and neither it nor MQTT 3.1.1 demands the shortest Remaining Length. As the
/// version is unknown here, both pass, and are refused in other versions when the packet is decoded.
#[inline]
pub fn split(bytes: &[u8], max_packet_size: u32) -> Result<Option<(Frame<'_>, usize)>, Refusal> {
    split_in(None, bytes, max_packet_size)
}

/// As [`split`] for a connection whose version may be known: then what that forbids is refused as soon as it is certain.
#[inline]
pub fn split_in(
    version: Option<Version>,
    bytes: &[u8],
    max_packet_size: u32,
) -> Result<Option<(Frame<'_>, usize)>, Refusal> {
    let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
    let packet_type =
        PacketType::from_first_byte(first).ok_or(Refusal::malformed("packet type 0 is forbidden (section 2.1.2)"))?;
    let mut flags = check_flags(version, packet_type, first & 0x0F)?;
    let Some((remaining, varint_len, is_overlong)) = any_varint(rest)? else { return Ok(None) };
    if is_overlong {
        flags |= OVERLONG;
        check_marks(version, flags)?;
    }
    let header = varint_len + 1;
    // At most MAX_PACKET_LEN, which a u32 holds easily.
    if remaining.saturating_add(header as u32) > max_packet_size {
        return Err(Refusal::new(ReasonCode::PacketTooLarge, "the packet exceeds the Maximum Packet Size"));
    }
    let len = header.saturating_add(remaining as usize);
    let Some(body) = bytes.get(header..len) else { return Ok(None) };
    Ok(Some((Frame { packet_type, flags, body }, len)))
}

const RESERVED_FLAGS: Refusal =
    Refusal::malformed("the reserved flags of the fixed header have fixed values [MQTT-2.1.3-1]");

/// The flags, with a mark where MQTT 3.1 alone allows them.
#[inline]
fn check_flags(version: Option<Version>, packet_type: PacketType, flags: u8) -> Result<u8, Refusal> {
    let is_valid = match packet_type {
        PacketType::Publish if flags & 0b0110 == 0b0110 => {
            return Err(Refusal::malformed("a PUBLISH has QoS 0, 1 or 2 [MQTT-3.3.1-4]"));
        }
        PacketType::Publish => flags & 0b1110 != 0b1000,
        // MQTT 3.1 has these three with QoS 1, and uses no other flag but their DUP.
        PacketType::PubRel | PacketType::Subscribe | PacketType::Unsubscribe if flags & 0b0110 != 0b0010 => {
            return Err(RESERVED_FLAGS);
        }
        PacketType::PubRel | PacketType::Subscribe | PacketType::Unsubscribe => flags == 0b0010,
        _ => flags == 0,
    };
    if is_valid {
        return Ok(flags);
    }
    let marked = flags | UNUSED_FLAGS;
    check_marks(version, marked).map(|()| marked)
}

/// Whether there are marks that `version` forbids; `None`: it is not known.
#[inline]
fn check_marks(version: Option<Version>, flags: u8) -> Result<(), Refusal> {
    if flags & (UNUSED_FLAGS | OVERLONG) == 0 {
        return Ok(());
    }
    match version {
        Some(version) if flags & UNUSED_FLAGS != 0 && version != Version::V3_1 => Err(RESERVED_FLAGS),
        Some(version) if flags & OVERLONG != 0 && version.is_v5() => Err(OVERLONG_VARINT),
        _ => Ok(()),
    }
}
