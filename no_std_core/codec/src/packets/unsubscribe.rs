//! UNSUBSCRIBE and UNSUBACK (sections 3.10 and 3.11).

use crate::reader::Reader;
use crate::{Codes, Encode, Frame, PacketId, PacketType, Properties, ReasonCode, Refusal, Sink, Version, property};
use core::fmt;

/// An UNSUBSCRIBE packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// The Packet Identifier, which the UNSUBACK repeats.
    pub packet_id: PacketId,
    /// The Properties of the packet.
    pub properties: Properties<'a>,
    /// The Topic Filters: at least one `[MQTT-3.10.3-2]`.
    pub filters: Topics<'a>,
}

impl<'a> Unsubscribe<'a> {
    /// The Topic Filters, in their order. The strings are well-formed UTF-8; whether they are valid Topic Filters,
    /// [`TopicFilter::new`](crate::topic::TopicFilter::new) decides.
    #[inline]
    pub fn filters(&self) -> TopicsIter<'a> {
        self.filters.into_iter()
    }

    /// Decodes an UNSUBSCRIBE of a Network Connection that speaks `version`; the packet in `frame` is one.
    #[inline]
    pub fn decode(version: Version, frame: Frame<'a>) -> Result<Self, Refusal> {
        let mut reader = frame.reader();
        let packet_id = reader.packet_id()?;
        let properties =
            if version.is_v5() { Properties::decode(&mut reader, property::UNSUBSCRIBE)? } else { Properties::EMPTY };
        if reader.is_empty() {
            return Err(Refusal::protocol_error("an UNSUBSCRIBE has at least one Topic Filter [MQTT-3.10.3-2]"));
        }
        let raw = reader.rest();
        // This reader accepts control characters, so that a Client can unsubscribe from any filter that was once allowed.
        let mut reader = Reader::new(raw);
        while !reader.is_empty() {
            reader.string()?;
        }
        Ok(Self { packet_id, properties, filters: Topics(TopicSource::Raw(raw)) })
    }
}

impl Encode for Unsubscribe<'_> {
    #[inline]
    fn first_byte(&self) -> u8 {
        PacketType::Unsubscribe.first_byte()
    }

    fn put_body(&self, version: Version, out: &mut impl Sink) {
        out.put_u16(self.packet_id.get());
        self.properties.encode(version, out);
        for filter in self.filters() {
            out.put_string(filter);
        }
    }
}

/// The Topic Filters of an UNSUBSCRIBE: the bytes of a decoded packet, or a list that is to be encoded.
#[derive(Clone, Copy)]
pub struct Topics<'a>(TopicSource<'a>);

#[derive(Clone, Copy)]
enum TopicSource<'a> {
    Raw(&'a [u8]),
    List(&'a [&'a str]),
}

impl<'a> Topics<'a> {
    /// Topic Filters that are to be encoded.
    #[inline]
    pub const fn new(list: &'a [&'a str]) -> Self {
        Self(TopicSource::List(list))
    }
}

impl<'a> IntoIterator for Topics<'a> {
    type Item = &'a str;
    type IntoIter = TopicsIter<'a>;

    #[inline]
    fn into_iter(self) -> TopicsIter<'a> {
        TopicsIter(self.0)
    }
}

impl PartialEq for Topics<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.into_iter().eq(*other)
    }
}

impl Eq for Topics<'_> {}

impl fmt::Debug for Topics<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}

/// An iterator over [`Topics`].
#[derive(Clone)]
pub struct TopicsIter<'a>(TopicSource<'a>);

impl<'a> Iterator for TopicsIter<'a> {
    type Item = &'a str;

    #[inline]
    fn next(&mut self) -> Option<&'a str> {
        match &mut self.0 {
            TopicSource::Raw(raw) => {
                let mut reader = Reader::new(raw);
                // Decoding has checked these bytes, so reading fails at their end only.
                let filter = reader.string().ok()?;
                *raw = reader.rest();
                Some(filter)
            }
            TopicSource::List(list) => {
                let (first, rest) = list.split_first()?;
                *list = rest;
                Some(first)
            }
        }
    }
}

/// An UNSUBACK packet. To be encoded it may have any iterator over Reason Codes, so a Server need not have them in a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnsubAck<'a, C = Codes<'a>> {
    /// The Packet Identifier of the UNSUBSCRIBE.
    pub packet_id: PacketId,
    /// The Properties of the packet.
    pub properties: Properties<'a>,
    /// The Reason Codes of the Topic Filters, in their order; none before MQTT 5.0.
    pub codes: C,
}

impl<'a> UnsubAck<'a> {
    /// Decodes an UNSUBACK of a Network Connection that speaks `version`; the packet in `frame` is one.
    #[inline]
    pub fn decode(version: Version, frame: Frame<'a>) -> Result<Self, Refusal> {
        let mut reader = frame.reader();
        let packet_id = reader.packet_id()?;
        if !version.is_v5() {
            reader.finish()?;
            return Ok(Self { packet_id, properties: Properties::EMPTY, codes: Codes::new(&[]) });
        }
        let properties = Properties::decode(&mut reader, PacketType::UnsubAck.bit())?;
        Ok(Self { packet_id, properties, codes: Codes::decode(reader, PacketType::UnsubAck)? })
    }
}

impl<C: IntoIterator<Item = ReasonCode> + Clone> Encode for UnsubAck<'_, C> {
    fn first_byte(&self) -> u8 {
        PacketType::UnsubAck.first_byte()
    }

    fn put_body(&self, version: Version, out: &mut impl Sink) {
        out.put_u16(self.packet_id.get());
        if version.is_v5() {
            self.properties.encode(version, out);
            self.codes.clone().into_iter().for_each(|code| out.put_u8(code.as_u8()));
        }
    }
}
