//! The packets that a local client sends and receives, in buffers of its owner.

use crate::codec::{Encode, Frame, PacketId, PacketType, ReasonCode, Sink, Version, Window, split};
use crate::topic::TopicFilter;

/// Whole packets in a buffer, one after the other.
#[derive(Debug)]
pub(super) struct Packets<'b> {
    pub(super) bytes: &'b mut [u8],
    /// The offset of the first packet that is not consumed.
    pub(super) start: usize,
    /// The end of the last packet.
    pub(super) end: usize,
}

impl Packets<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(super) fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// The room for the next packets: the whole buffer if it has no packet.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.is_empty() {
            self.clear();
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    pub(super) fn put(&mut self, packet: &impl Encode) -> Result<(), ReasonCode> {
        let mut window = Window::new(0, self.room());
        packet.encode(Version::V5, &mut window);
        let Some(len) = window.finish().map(<[u8]>::len) else {
            return Err(if self.is_empty() { ReasonCode::PacketTooLarge } else { ReasonCode::ServerBusy });
        };
        self.end = self.end.saturating_add(len);
        Ok(())
    }

    /// The packet at the offset `start`, and its length.
    pub(super) fn packet_at(&self, start: usize) -> Option<(Frame<'_>, usize)> {
        split(self.bytes.get(start..self.end)?, u32::MAX).ok()?
    }

    /// The bytes of the first packet.
    pub(super) fn first(&self) -> Option<&[u8]> {
        let (_, len) = self.packet_at(self.start)?;
        self.bytes.get(self.start..)?.get(..len)
    }
}

/// SUBSCRIBE with these options for one Topic Filter, or UNSUBSCRIBE without options (sections 3.8 and 3.10). The codec's packets, which
/// have any number of filters, would take more flash.
pub(super) struct OneFilter<'a> {
    pub(super) packet_id: PacketId,
    pub(super) filter: TopicFilter<'a>,
    pub(super) options: Option<u8>,
}

impl Encode for OneFilter<'_> {
    fn first_byte(&self) -> u8 {
        let kind = if self.options.is_some() { PacketType::Subscribe } else { PacketType::Unsubscribe };
        (kind as u8) << 4 | 0b0010
    }

    fn body_len(&self, _: Version) -> u32 {
        const AROUND: u32 = 5;
        (self.filter.as_str().len() as u32).saturating_add(if self.options.is_some() { AROUND + 1 } else { AROUND })
    }

    fn put_body(&self, _: Version, out: &mut impl Sink) {
        out.put_u16(self.packet_id.get());
        out.put_varint(0);
        out.put_string(self.filter.as_str());
        if let Some(options) = self.options {
            out.put_u8(options);
        }
    }
}

/// A PINGREQ and, below, a DISCONNECT: packets without fields (sections 3.12 and 3.14). An encoder for them would take more flash.
pub(super) const PINGREQ: [u8; 2] = [(PacketType::PingReq as u8) << 4, 0];
pub(super) const DISCONNECT: [u8; 2] = [(PacketType::Disconnect as u8) << 4, 0];

/// PUBACK, PUBREC, PUBREL or PUBCOMP with success: all have the same form (sections 3.4 to 3.7).
pub(super) fn acknowledgement(kind: PacketType, packet_id: PacketId) -> [u8; 4] {
    let [high, low] = packet_id.get().to_be_bytes();
    let flags = if kind == PacketType::PubRel { 0b0010 } else { 0 };
    [(kind as u8) << 4 | flags, 2, high, low]
}

/// The Packet Identifier and the Reason Code of an answer; success if the packet has no code.
pub(super) fn answer(frame: Frame<'_>, code: Option<&u8>) -> Option<(PacketId, ReasonCode)> {
    let (high, low) = (*frame.body().first()?, *frame.body().get(1)?);
    let packet_id = PacketId::new(u16::from_be_bytes([high, low]))?;
    Some((packet_id, code.map_or(Some(ReasonCode::Success), |code| ReasonCode::from_u8(*code))?))
}
