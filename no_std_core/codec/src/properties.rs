//! Lists of Properties (section 2.2.2).

use crate::property::Places;
use crate::reader::Reader;
use crate::{Property, PropertyId, QoS, Refusal, Sink, Version, Window, property};
use core::fmt;

/// The Properties of a packet or of a Will: the bytes of a decoded packet, or a list that is to be encoded.
///
/// A getter tests one bit if its Property is absent, and walks the list otherwise. Two lists are equal if they have equal
/// Properties in the same order, whichever way they are stored.
#[derive(Clone, Copy)]
pub struct Properties<'a> {
    /// The bits, of [`PropertyId::bit`], of all Properties in the list.
    present: u64,
    /// The number of Properties in the list.
    count: u32,
    source: Source<'a>,
}

/// The two ways in which Properties are stored.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// Valid bytes of a packet, without their Property Length.
    Raw(&'a [u8]),
    List(&'a [Property<'a>]),
}

/// The Properties of a PUBLISH or Will that concern one Client and the Server only. They are not passed on with the message;
/// the Server determines them anew for each delivery.
const NOT_FORWARDED: u64 = PropertyId::TopicAlias.bit()
    | PropertyId::MessageExpiryInterval.bit()
    | PropertyId::SubscriptionIdentifier.bit()
    | PropertyId::WillDelayInterval.bit();

impl<'a> Properties<'a> {
    /// No Properties.
    pub const EMPTY: Self = Self { present: 0, count: 0, source: Source::Raw(&[]) };

    /// Properties that are to be encoded, in this order. Whether they may stand in the packet, and with these values, is not
    /// checked.
    #[inline]
    pub fn new(list: &'a [Property<'a>]) -> Self {
        let present = list.iter().fold(0, |bits, property| bits | property.id().bit());
        Self { present, count: u32::try_from(list.len()).unwrap_or(u32::MAX), source: Source::List(list) }
    }

    /// Decodes Property Length and Properties, which stand at `place`.
    #[inline]
    pub(crate) fn decode(reader: &mut Reader<'a>, place: Places) -> Result<Self, Refusal> {
        match reader.varint()? {
            0 => Ok(Self::EMPTY),
            len => Self::check(reader.part(len as usize)?, place),
        }
    }

    /// Checks all Properties in `reader`, which stand at `place`.
    #[cfg_attr(not(feature = "fast"), inline)]
    fn check(mut reader: Reader<'a>, place: Places) -> Result<Self, Refusal> {
        let raw = reader.rest();
        let mut present = 0;
        let mut count: u32 = 0;
        while !reader.is_empty() {
            present |= Property::decode(&mut reader, place, present)?.id().bit();
            count = count.saturating_add(1);
        }
        let data_alone = PropertyId::AuthenticationData.bit();
        if present & (data_alone | PropertyId::AuthenticationMethod.bit()) == data_alone {
            return Err(Refusal::protocol_error("there is Authentication Data without an Authentication Method"));
        }
        Ok(Self { present, count, source: Source::Raw(raw) })
    }

    /// Puts Property Length and Properties; nothing before MQTT 5.0, which has neither.
    #[inline]
    pub(crate) fn encode(&self, version: Version, out: &mut impl Sink) {
        if version.is_v5() {
            out.put_varint(self.wire_len());
            self.put(out);
        }
    }

    /// Puts the Properties without their Property Length.
    fn put(&self, out: &mut impl Sink) {
        match self.source {
            Source::Raw(raw) => out.put(raw),
            Source::List(list) => list.iter().for_each(|property| property.encode(out)),
        }
    }

    /// The Property Length: the number of encoded bytes of all Properties.
    #[inline]
    pub fn wire_len(&self) -> u32 {
        let mut window = Window::closed();
        self.put(&mut window);
        window.total()
    }

    /// The number of Properties.
    #[inline]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether there are no Properties.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether the list has one Property or several with this identifier.
    #[inline]
    pub fn contains(&self, id: PropertyId) -> bool {
        self.present & id.bit() != 0
    }

    /// All Properties, in their order.
    #[inline]
    pub fn iter(&self) -> PropertiesIter<'a> {
        PropertiesIter(self.source)
    }

    /// The encoded bytes without the Property Length, if the list was decoded.
    #[inline]
    pub fn raw(&self) -> Option<&'a [u8]> {
        match self.source {
            Source::Raw(raw) => Some(raw),
            Source::List(_) => None,
        }
    }

    /// The encoded bytes of the list, if it was decoded and [`Properties::put_forwardable`] would put each of its Properties:
    /// then these bytes are what it would put.
    #[inline]
    pub fn forwardable_verbatim(&self) -> Option<&'a [u8]> {
        if self.present & NOT_FORWARDED == 0 { self.raw() } else { None }
    }

    /// Puts the encoded bytes of the Properties that a Server passes on with an Application Message: Payload Format Indicator,
    /// Content Type, Response Topic, Correlation Data and User Properties, in their order and unaltered
    /// `[MQTT-3.3.2-4]` `[MQTT-3.3.2-15]` `[MQTT-3.3.2-16]` `[MQTT-3.3.2-17]` `[MQTT-3.3.2-18]` `[MQTT-3.3.2-20]`.
    ///
    /// The list is that of a PUBLISH or of a Will.
    pub fn put_forwardable(&self, out: &mut impl Sink) {
        if self.present & NOT_FORWARDED == 0 {
            self.put(out);
        } else {
            // Each Property has one encoding only, so encoding it again gives the bytes that came in.
            self.iter().filter(|property| property.id().bit() & NOT_FORWARDED == 0).for_each(|p| p.encode(out));
        }
    }

    /// The list whose bytes [`Properties::put_forwardable`] has put.
    ///
    /// # Errors
    /// The bytes are no Properties of a PUBLISH.
    pub fn from_forwardable(bytes: &'a [u8]) -> Result<Self, Refusal> {
        Self::check(Reader::new(bytes), property::PUBLISH)
    }

    /// The number of bytes that [`Properties::put_forwardable`] puts.
    #[inline]
    pub fn forwardable_len(&self) -> u32 {
        let mut window = Window::closed();
        self.put_forwardable(&mut window);
        window.total()
    }

    /// The value of the first Property with this identifier.
    #[inline]
    fn find<T>(&self, id: PropertyId, value: impl FnMut(Property<'a>) -> Option<T>) -> Option<T> {
        if self.contains(id) { self.iter().find_map(value) } else { None }
    }
}

/// Generates the getters of Properties that stand in a list once.
macro_rules! getters {
    ($($(#[$doc:meta])* $name:ident: $property:ident -> $value:ty;)*) => {
        impl<'a> Properties<'a> {
            $(
                $(#[$doc])*
                #[inline]
                pub fn $name(&self) -> Option<$value> {
                    self.find(PropertyId::$property, |property| match property {
                        Property::$property(value) => Some(value),
                        _ => None,
                    })
                }
            )*
        }
    };
}

getters! {
    /// See [`Property::PayloadFormatIndicator`].
    payload_format_indicator: PayloadFormatIndicator -> bool;
    /// See [`Property::MessageExpiryInterval`].
    message_expiry_interval: MessageExpiryInterval -> u32;
    /// See [`Property::ContentType`].
    content_type: ContentType -> &'a str;
    /// See [`Property::ResponseTopic`].
    response_topic: ResponseTopic -> &'a str;
    /// See [`Property::CorrelationData`].
    correlation_data: CorrelationData -> &'a [u8];
    /// The first Subscription Identifier. A SUBSCRIBE has no other; for a PUBLISH see
    /// [`Properties::subscription_identifiers`].
    subscription_identifier: SubscriptionIdentifier -> u32;
    /// See [`Property::SessionExpiryInterval`]; absent means 0. For a CONNECT of any version use
    /// [`Connect::session_expiry_interval`](crate::Connect::session_expiry_interval).
    session_expiry_interval: SessionExpiryInterval -> u32;
    /// See [`Property::AssignedClientIdentifier`].
    assigned_client_identifier: AssignedClientIdentifier -> &'a str;
    /// See [`Property::ServerKeepAlive`].
    server_keep_alive: ServerKeepAlive -> u16;
    /// See [`Property::AuthenticationMethod`].
    authentication_method: AuthenticationMethod -> &'a str;
    /// See [`Property::AuthenticationData`].
    authentication_data: AuthenticationData -> &'a [u8];
    /// See [`Property::RequestProblemInformation`]; absent means `true`.
    request_problem_information: RequestProblemInformation -> bool;
    /// See [`Property::WillDelayInterval`]; absent means 0.
    will_delay_interval: WillDelayInterval -> u32;
    /// See [`Property::RequestResponseInformation`]; absent means `false`.
    request_response_information: RequestResponseInformation -> bool;
    /// See [`Property::ResponseInformation`].
    response_information: ResponseInformation -> &'a str;
    /// See [`Property::ServerReference`].
    server_reference: ServerReference -> &'a str;
    /// See [`Property::ReasonString`].
    reason_string: ReasonString -> &'a str;
    /// See [`Property::ReceiveMaximum`]; absent means 65,535.
    receive_maximum: ReceiveMaximum -> u16;
    /// See [`Property::TopicAliasMaximum`]; absent means 0.
    topic_alias_maximum: TopicAliasMaximum -> u16;
    /// See [`Property::TopicAlias`].
    topic_alias: TopicAlias -> u16;
    /// See [`Property::MaximumQoS`]; absent means QoS 2.
    maximum_qos: MaximumQoS -> QoS;
    /// See [`Property::RetainAvailable`]; absent means `true`.
    retain_available: RetainAvailable -> bool;
    /// See [`Property::MaximumPacketSize`]; absent means no limit.
    maximum_packet_size: MaximumPacketSize -> u32;
    /// See [`Property::WildcardSubscriptionAvailable`]; absent means `true`.
    wildcard_subscription_available: WildcardSubscriptionAvailable -> bool;
    /// See [`Property::SubscriptionIdentifierAvailable`]; absent means `true`.
    subscription_identifier_available: SubscriptionIdentifierAvailable -> bool;
    /// See [`Property::SharedSubscriptionAvailable`]; absent means `true`.
    shared_subscription_available: SharedSubscriptionAvailable -> bool;
}

impl<'a> Properties<'a> {
    /// All Subscription Identifiers, in their order.
    #[inline]
    pub fn subscription_identifiers(&self) -> impl Iterator<Item = u32> + Clone + use<'a> {
        self.iter().filter_map(|property| match property {
            Property::SubscriptionIdentifier(id) => Some(id),
            _ => None,
        })
    }

    /// All User Properties as name and value, in their order `[MQTT-3.3.2-18]`.
    #[inline]
    pub fn user_properties(&self) -> impl Iterator<Item = (&'a str, &'a str)> + Clone + use<'a> {
        self.iter().filter_map(|property| match property {
            Property::UserProperty(name, value) => Some((name, value)),
            _ => None,
        })
    }
}

impl Default for Properties<'_> {
    #[inline]
    fn default() -> Self {
        Self::EMPTY
    }
}

impl PartialEq for Properties<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.count == other.count && self.iter().eq(other.iter())
    }
}

impl Eq for Properties<'_> {}

impl fmt::Debug for Properties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> IntoIterator for Properties<'a> {
    type Item = Property<'a>;
    type IntoIter = PropertiesIter<'a>;

    #[inline]
    fn into_iter(self) -> PropertiesIter<'a> {
        self.iter()
    }
}

/// An iterator over [`Properties`].
#[derive(Clone)]
pub struct PropertiesIter<'a>(Source<'a>);

impl<'a> Iterator for PropertiesIter<'a> {
    type Item = Property<'a>;

    #[inline]
    fn next(&mut self) -> Option<Property<'a>> {
        match &mut self.0 {
            Source::Raw(raw) => {
                let mut reader = Reader::new(raw);
                // Decoding has checked these bytes, so reading fails at their end only.
                let property = Property::decode(&mut reader, Places::MAX, 0).ok()?;
                *raw = reader.rest();
                Some(property)
            }
            Source::List(list) => {
                let (first, rest) = list.split_first()?;
                *list = rest;
                Some(*first)
            }
        }
    }
}
