//! UNSUBSCRIBE and UNSUBACK (sections 3.10 and 3.11).

use crate::primitive::Reader;
use crate::{Codes, Encode, Frame, PacketId, PacketType, Properties, ReasonCode, Refusal, Sink, Version, property};
use core::fmt;

/// An UNSUBSCRIBE packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// That of the UNSUBACK to come.
    pub packet_id: PacketId,
    /// Its Properties.
    pub properties: Properties<'a>,
    /// What to unsubscribe from: at least one filter `[MQTT-3.10.3-2]`.
    pub filters: Topics<'a>,
}

impl<'a> Unsubscribe<'a> {
    /// The Topic Filters, in order. The strings are well-formed; whether they are Topic Filters,
    /// [`TopicFilter::new`](crate::topic::TopicFilter::new) tells.
    #[inline]
    pub fn filters(&self) -> TopicsIter<'a> {
        self.filters.into_iter()
    }

    /// Reads an UNSUBSCRIBE of a connection that speaks `version`; `frame` is one.
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
        // What an older Session subscribed to can be unsubscribed from.
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

/// The Topic Filters of an UNSUBSCRIBE: the bytes of a decoded packet, or a list to be encoded.
#[derive(Clone, Copy)]
pub struct Topics<'a>(TopicSource<'a>);

#[derive(Clone, Copy)]
enum TopicSource<'a> {
    Raw(&'a [u8]),
    List(&'a [&'a str]),
}

impl<'a> Topics<'a> {
    /// Filters to be encoded.
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

/// Iterates over [`Topics`].
#[derive(Clone)]
pub struct TopicsIter<'a>(TopicSource<'a>);

impl<'a> Iterator for TopicsIter<'a> {
    type Item = &'a str;

    #[inline]
    fn next(&mut self) -> Option<&'a str> {
        match &mut self.0 {
            TopicSource::Raw(raw) => {
                let mut reader = Reader::new(raw);
                // Found valid before, so the only way to fail is to be at the end.
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

/// An UNSUBACK packet. A Server that encodes one may give any iterator of Reason Codes, which need not be contiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnsubAck<'a, C = Codes<'a>> {
    /// That of the UNSUBSCRIBE.
    pub packet_id: PacketId,
    /// Its Properties.
    pub properties: Properties<'a>,
    /// One for each Topic Filter, in order; none before MQTT 5.0.
    pub codes: C,
}

impl<'a> UnsubAck<'a> {
    #[inline]
    pub(crate) fn decode(version: Version, frame: Frame<'a>) -> Result<Self, Refusal> {
        let mut reader = Reader::new(frame.body());
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
