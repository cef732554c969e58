//! The fixed header: the type of a packet, and where the packet ends (section 2.1).

use crate::reader::{OVERLONG_VARINT, Reader, any_varint};
use crate::{MAX_VARINT, PacketType, ReasonCode, Refusal, Version};

/// The greatest length of a packet in bytes, 268,435,460: the first byte, four bytes of Remaining Length, and the greatest
/// Remaining Length.
pub const MAX_PACKET_LEN: u32 = 1 + 4 + MAX_VARINT;

/// A whole packet that is not decoded yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    packet_type: PacketType,
    /// The lower four bits of the packet's first byte, and above them the three marks below.
    flags: u8,
    body: &'a [u8],
}

/// A mark: the Remaining Length has more bytes than its value needs. No rule before MQTT 5.0 forbids that.
const OVERLONG: u8 = 0x10;

/// A mark: reserved flags differ from the values that MQTT 3.1.1 and 5.0 prescribe. MQTT 3.1 prescribes none.
const UNUSED_FLAGS: u8 = 0x20;

/// A mark: strings with control characters or noncharacters are refused.
const PLAIN_TEXT: u8 = 0x40;

impl<'a> Frame<'a> {
    /// The type of the packet.
    #[inline]
    pub fn packet_type(&self) -> PacketType {
        self.packet_type
    }

    /// The lower four bits of the first byte. In a PUBLISH they are DUP, QoS and RETAIN. In the other packets they are reserved
    /// and have fixed values, except in MQTT 3.1 (see [`split`]).
    #[inline]
    pub fn flags(&self) -> u8 {
        self.flags & 0x0F
    }

    /// The same packet with another rule for strings: whether decoding refuses a string that contains control characters or
    /// noncharacters (section 1.5.4). A Topic Filter is never refused for that. [`split`] gives frames whose strings are not
    /// refused.
    #[inline]
    #[must_use]
    pub fn with_plain_text(self, plain: bool) -> Self {
        Self { flags: if plain { self.flags | PLAIN_TEXT } else { self.flags & !PLAIN_TEXT }, ..self }
    }

    /// Refuses a fixed header that `version` forbids and that [`split`] let pass, because the version was unknown.
    #[inline]
    pub(crate) fn check_header(&self, version: Version) -> Result<(), Refusal> {
        check_marks(Some(version), self.flags)
    }

    /// A reader of the body.
    #[inline]
    pub(crate) fn reader(&self) -> Reader<'a> {
        Reader::with_plain_text(self.body, self.flags & PLAIN_TEXT != 0)
    }

    /// Decodes a PINGREQ or PINGRESP: neither has a body.
    #[inline]
    pub fn check_empty(&self) -> Result<(), Refusal> {
        if self.body.is_empty() {
            Ok(())
        } else {
            Err(Refusal::malformed("PINGREQ and PINGRESP have a Remaining Length of 0 (section 3.12)"))
        }
    }

    /// The bytes behind the fixed header, as many as the Remaining Length says.
    #[inline]
    pub fn body(&self) -> &'a [u8] {
        self.body
    }
}

/// The type of the packet that `bytes` begin with; `None` if there are no bytes or the type is forbidden.
///
/// With it a receiver can refuse a type of packet before the packet is complete.
#[inline]
pub fn peek_type(bytes: &[u8]) -> Option<PacketType> {
    bytes.first().and_then(|&first| PacketType::from_first_byte(first))
}

/// The length in bytes, fixed header included, of the packet that `bytes` begin with. The packet need not be complete.
///
/// `None` while the Remaining Length is not complete, and if it has too many bytes. The packet is not checked: the length of
/// an invalid packet means nothing.
#[inline]
pub fn packet_len(bytes: &[u8]) -> Option<u32> {
    let (_, rest) = bytes.split_first()?;
    let (remaining, varint_len, _) = any_varint(rest).ok()??;
    // At most MAX_PACKET_LEN.
    Some(remaining.saturating_add(varint_len as u32).saturating_add(1))
}

/// Cuts the first packet off `bytes`. Gives the packet and its length in bytes, fixed header included; `None` if more bytes are
/// needed.
///
/// `max_packet_size` is the greatest length in bytes, fixed header included, that the receiver accepts.
///
/// # Errors
///
/// A packet is refused as soon as that is certain, before it is complete:
///
/// - with the first byte: Malformed Packet (0x81) for type 0, for QoS 3, and for reserved flags with a wrong value
///   `[MQTT-2.1.3-1]`;
/// - with the Remaining Length: Malformed Packet (0x81) if it has more than four bytes, Packet too large (0x95) if the packet
///   exceeds `max_packet_size`.
///
/// MQTT 3.1 gives no values for most of these flags, and only MQTT 5.0 demands the shortest form of the Remaining Length. The
/// version is unknown here, so other flags and longer forms pass. [`Packet::decode`](crate::Packet::decode) and
/// [`Connect::decode`](crate::Connect::decode) refuse them in the versions that forbid them.
#[inline]
pub fn split(bytes: &[u8], max_packet_size: u32) -> Result<Option<(Frame<'_>, usize)>, Refusal> {
    split_in(None, bytes, max_packet_size)
}

/// As [`split`], for a connection whose version may be known already: then a fixed header that this version forbids is
/// refused here. The `decode` functions of the single packets, except that of CONNECT, rely on this: they look at the body only.
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
    let header = varint_len.saturating_add(1);
    if remaining.saturating_add(header as u32) > max_packet_size {
        return Err(Refusal::new(ReasonCode::PacketTooLarge, "the packet exceeds the Maximum Packet Size"));
    }
    let len = header.saturating_add(remaining as usize);
    let Some(body) = bytes.get(header..len) else { return Ok(None) };
    Ok(Some((Frame { packet_type, flags, body }, len)))
}

const RESERVED_FLAGS: Refusal =
    Refusal::malformed("the reserved flags of the fixed header have fixed values [MQTT-2.1.3-1]");

/// The flags of a first byte; with the mark [`UNUSED_FLAGS`] if only MQTT 3.1 allows them.
#[inline]
fn check_flags(version: Option<Version>, packet_type: PacketType, flags: u8) -> Result<u8, Refusal> {
    let is_valid = match packet_type {
        PacketType::Publish if flags & 0b0110 == 0b0110 => {
            return Err(Refusal::malformed("a PUBLISH has QoS 0, 1 or 2 [MQTT-3.3.1-4]"));
        }
        PacketType::Publish => flags & 0b1110 != 0b1000,
        // In MQTT 3.1 these three packets have QoS 1 and a DUP flag.
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

/// Refuses the marks that `version` forbids; none if the version is not known.
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
