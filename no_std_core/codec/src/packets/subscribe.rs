//! SUBSCRIBE and SUBACK (sections 3.8 and 3.9).

use crate::reader::Reader;
use crate::topic::TopicFilter;
use crate::{Encode, Frame, PacketId, PacketType, Properties, QoS, ReasonCode, Refusal, Sink, Version, property};
use core::fmt;

/// A SUBSCRIBE packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// The Packet Identifier, which the SUBACK repeats.
    pub packet_id: PacketId,
    /// The Properties of the packet.
    pub properties: Properties<'a>,
    /// The Topic Filters with their options: at least one `[MQTT-3.8.3-2]`.
    pub filters: Filters<'a>,
}

/// The options of a subscription (section 3.8.3.1). MQTT 3.x has the QoS only; the other options then have their default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// The greatest QoS of deliveries to this subscription.
    pub qos: QoS,
    /// Whether messages that the Client itself publishes are not sent to it.
    pub no_local: bool,
    /// Whether deliveries have the RETAIN flag with which the message was published.
    pub retain_as_published: bool,
    /// When the Server sends the retained messages that match.
    pub retain_handling: RetainHandling,
}

/// When a subscription gets the retained messages that match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum RetainHandling {
    /// At each SUBSCRIBE `[MQTT-3.3.1-9]`.
    #[default]
    Send = 0,
    /// At a SUBSCRIBE, if the subscription did not exist `[MQTT-3.3.1-10]`.
    SendIfNew = 1,
    /// Never `[MQTT-3.3.1-11]`.
    DoNotSend = 2,
}

impl SubscriptionOptions {
    /// Options that ask for `qos` and nothing else.
    #[inline]
    pub const fn with_qos(qos: QoS) -> Self {
        Self { qos, no_local: false, retain_as_published: false, retain_handling: RetainHandling::Send }
    }

    /// Whether the protocol allows these options for `filter`: No Local with a shared subscription is a Protocol Error
    /// `[MQTT-3.8.3-4]`.
    #[inline]
    pub fn are_allowed_for(&self, filter: TopicFilter<'_>) -> bool {
        !(self.no_local && filter.share_name().is_some())
    }

    /// The options as the byte in a SUBSCRIBE of MQTT 5.0; [`SubscriptionOptions::from_bits`] decodes it.
    #[inline]
    pub const fn bits(self) -> u8 {
        self.qos.bits()
            | (self.no_local as u8) << 2
            | (self.retain_as_published as u8) << 3
            | (self.retain_handling as u8) << 4
    }

    /// Decodes the byte in a SUBSCRIBE of a Network Connection that speaks `version`.
    ///
    /// # Errors
    ///
    /// Malformed Packet (0x81) if reserved bits are set, Protocol Error (0x82) for QoS 3 and for Retain Handling 3.
    #[inline]
    pub fn from_bits(version: Version, bits: u8) -> Result<Self, Refusal> {
        let reserved = if version.is_v5() { 0b1100_0000 } else { 0b1111_1100 };
        if bits & reserved != 0 {
            return Err(Refusal::malformed("the reserved bits of Subscription Options are 0 [MQTT-3.8.3-5]"));
        }
        let qos = QoS::from_bits(bits & 0b11)
            .ok_or(Refusal::protocol_error("a subscription has QoS 0, 1 or 2 (section 3.8.3.1)"))?;
        let retain_handling = match bits >> 4 & 0b11 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(Refusal::protocol_error("Retain Handling is 0, 1 or 2 (section 3.8.3.1)")),
        };
        Ok(Self { qos, no_local: bits & 0b100 != 0, retain_as_published: bits & 0b1000 != 0, retain_handling })
    }
}

impl<'a> Subscribe<'a> {
    /// The Topic Filters with their options, in their order. The strings are well-formed UTF-8; whether they are valid Topic
    /// Filters, [`TopicFilter::new`] decides.
    #[inline]
    pub fn filters(&self) -> FiltersIter<'a> {
        self.filters.into_iter()
    }

    /// Decodes a SUBSCRIBE of a Network Connection that speaks `version`; the packet in `frame` is one.
    #[inline]
    pub fn decode(version: Version, frame: Frame<'a>) -> Result<Self, Refusal> {
        let mut reader = frame.reader();
        let packet_id = reader.packet_id()?;
        let properties =
            if version.is_v5() { Properties::decode(&mut reader, property::SUBSCRIBE)? } else { Properties::EMPTY };
        if reader.is_empty() {
            return Err(Refusal::protocol_error("a SUBSCRIBE has at least one Topic Filter [MQTT-3.8.3-2]"));
        }
        let raw = reader.rest();
        // This reader accepts control characters: a Topic Filter that has some is refused with a Reason Code of its own.
        let mut reader = Reader::new(raw);
        // MQTT 3.1 uses the two bits of the QoS, and prescribes no value for the others.
        let used = if version == Version::V3_1 { 0b11 } else { 0xFF };
        while !reader.is_empty() {
            decode_filter(version, used, &mut reader)?;
        }
        Ok(Self { packet_id, properties, filters: Filters(FilterSource::Raw { raw, used }) })
    }
}

/// Decodes one Topic Filter and its options, of which only the bits of `used` count.
#[inline]
fn decode_filter<'a>(
    version: Version,
    used: u8,
    reader: &mut Reader<'a>,
) -> Result<(&'a str, SubscriptionOptions), Refusal> {
    Ok((reader.string()?, SubscriptionOptions::from_bits(version, reader.u8()? & used)?))
}

impl Encode for Subscribe<'_> {
    #[inline]
    fn first_byte(&self) -> u8 {
        PacketType::Subscribe.first_byte()
    }

    fn put_body(&self, version: Version, out: &mut impl Sink) {
        out.put_u16(self.packet_id.get());
        self.properties.encode(version, out);
        for (filter, options) in self.filters() {
            out.put_string(filter);
            out.put_u8(if version.is_v5() { options.bits() } else { options.qos.bits() });
        }
    }
}

/// The Topic Filters of a SUBSCRIBE with their options: the bytes of a decoded packet, or a list that is to be encoded.
#[derive(Clone, Copy)]
pub struct Filters<'a>(FilterSource<'a>);

#[derive(Clone, Copy)]
enum FilterSource<'a> {
    /// Valid bytes of a packet. Only the bits `used` of the options count.
    Raw {
        raw: &'a [u8],
        used: u8,
    },
    List(&'a [(&'a str, SubscriptionOptions)]),
}

impl<'a> Filters<'a> {
    /// Topic Filters and options that are to be encoded.
    #[inline]
    pub const fn new(list: &'a [(&'a str, SubscriptionOptions)]) -> Self {
        Self(FilterSource::List(list))
    }
}

impl<'a> IntoIterator for Filters<'a> {
    type Item = (&'a str, SubscriptionOptions);
    type IntoIter = FiltersIter<'a>;

    #[inline]
    fn into_iter(self) -> FiltersIter<'a> {
        FiltersIter(self.0)
    }
}

impl PartialEq for Filters<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.into_iter().eq(*other)
    }
}

impl Eq for Filters<'_> {}

impl fmt::Debug for Filters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}

/// An iterator over [`Filters`].
#[derive(Clone)]
pub struct FiltersIter<'a>(FilterSource<'a>);

impl<'a> Iterator for FiltersIter<'a> {
    type Item = (&'a str, SubscriptionOptions);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            FilterSource::Raw { raw, used } => {
                let mut reader = Reader::new(raw);
                // Decoding has checked these bytes. The options of MQTT 3.x mean the same in MQTT 5.0.
                let next = decode_filter(Version::V5, *used, &mut reader).ok()?;
                *raw = reader.rest();
                Some(next)
            }
            FilterSource::List(list) => {
                let (first, rest) = list.split_first()?;
                *list = rest;
                Some(*first)
            }
        }
    }
}

/// A SUBACK packet. To be encoded it may have any iterator over Reason Codes, so a Server need not have them in a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubAck<'a, C = Codes<'a>> {
    /// The Packet Identifier of the SUBSCRIBE.
    pub packet_id: PacketId,
    /// The Properties of the packet.
    pub properties: Properties<'a>,
    /// The Reason Codes of the Topic Filters, in their order. Before MQTT 5.0 all failures are 0x80.
    pub codes: C,
}

impl<'a> SubAck<'a> {
    /// Decodes a SUBACK of a Network Connection that speaks `version`; the packet in `frame` is one.
    #[inline]
    pub fn decode(version: Version, frame: Frame<'a>) -> Result<Self, Refusal> {
        let mut reader = frame.reader();
        let packet_id = reader.packet_id()?;
        let properties = if version.is_v5() {
            Properties::decode(&mut reader, PacketType::SubAck.bit())?
        } else {
            Properties::EMPTY
        };
        let codes = Codes::decode(reader, PacketType::SubAck)?;
        if !version.is_v5() && codes.into_iter().any(|code| code > ReasonCode::UnspecifiedError) {
            return Err(Refusal::protocol_error("the only failure of a SUBACK before MQTT 5.0 is 0x80"));
        }
        Ok(Self { packet_id, properties, codes })
    }
}

impl<C: IntoIterator<Item = ReasonCode> + Clone> Encode for SubAck<'_, C> {
    fn first_byte(&self) -> u8 {
        PacketType::SubAck.first_byte()
    }

    fn put_body(&self, version: Version, out: &mut impl Sink) {
        out.put_u16(self.packet_id.get());
        self.properties.encode(version, out);
        for code in self.codes.clone() {
            let code = if code.is_error() && !version.is_v5() { ReasonCode::UnspecifiedError } else { code };
            out.put_u8(code.as_u8());
        }
    }
}

/// The Reason Codes of a SUBACK or UNSUBACK: the bytes of a decoded packet, or a list that is to be encoded.
#[derive(Clone, Copy)]
pub struct Codes<'a>(CodeSource<'a>);

#[derive(Clone, Copy)]
enum CodeSource<'a> {
    Raw(&'a [u8]),
    List(&'a [ReasonCode]),
}

impl<'a> Codes<'a> {
    /// Reason Codes that are to be encoded.
    #[inline]
    pub const fn new(list: &'a [ReasonCode]) -> Self {
        Self(CodeSource::List(list))
    }

    /// The number of Reason Codes.
    #[inline]
    pub const fn len(&self) -> usize {
        match self.0 {
            CodeSource::Raw(raw) => raw.len(),
            CodeSource::List(list) => list.len(),
        }
    }

    /// Whether there are no Reason Codes, as in an UNSUBACK before MQTT 5.0.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Decodes the Reason Codes, which go on to the end of the packet: at least one.
    #[inline]
    pub(crate) fn decode(mut reader: Reader<'a>, packet: PacketType) -> Result<Self, Refusal> {
        let raw = reader.rest();
        if raw.is_empty() {
            return Err(Refusal::protocol_error("the packet has a Reason Code for each Topic Filter"));
        }
        while !reader.is_empty() {
            reader.reason_code(packet)?;
        }
        Ok(Self(CodeSource::Raw(raw)))
    }
}

impl<'a> IntoIterator for Codes<'a> {
    type Item = ReasonCode;
    type IntoIter = CodesIter<'a>;

    #[inline]
    fn into_iter(self) -> CodesIter<'a> {
        CodesIter(self.0)
    }
}

impl PartialEq for Codes<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.into_iter().eq(*other)
    }
}

impl Eq for Codes<'_> {}

impl fmt::Debug for Codes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}

/// An iterator over [`Codes`].
#[derive(Clone)]
pub struct CodesIter<'a>(CodeSource<'a>);

impl Iterator for CodesIter<'_> {
    type Item = ReasonCode;

    #[inline]
    fn next(&mut self) -> Option<ReasonCode> {
        match &mut self.0 {
            CodeSource::Raw(raw) => {
                let (first, rest) = raw.split_first()?;
                *raw = rest;
                ReasonCode::from_u8(*first)
            }
            CodeSource::List(list) => {
                let (first, rest) = list.split_first()?;
                *list = rest;
                Some(*first)
            }
        }
    }
}
