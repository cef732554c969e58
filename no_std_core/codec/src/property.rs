//! One Property: its identifier, where it may stand, and its value (section 2.2.2.2).

use crate::reader::Reader;
use crate::{PacketType, QoS, ReasonCode, Refusal, Sink};

/// The identifiers of Properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are the specification's; `Property` has the documentation")]
pub enum PropertyId {
    PayloadFormatIndicator = 0x01,
    MessageExpiryInterval = 0x02,
    ContentType = 0x03,
    ResponseTopic = 0x08,
    CorrelationData = 0x09,
    SubscriptionIdentifier = 0x0B,
    SessionExpiryInterval = 0x11,
    AssignedClientIdentifier = 0x12,
    ServerKeepAlive = 0x13,
    AuthenticationMethod = 0x15,
    AuthenticationData = 0x16,
    RequestProblemInformation = 0x17,
    WillDelayInterval = 0x18,
    RequestResponseInformation = 0x19,
    ResponseInformation = 0x1A,
    ServerReference = 0x1C,
    ReasonString = 0x1F,
    ReceiveMaximum = 0x21,
    TopicAliasMaximum = 0x22,
    TopicAlias = 0x23,
    MaximumQoS = 0x24,
    RetainAvailable = 0x25,
    UserProperty = 0x26,
    MaximumPacketSize = 0x27,
    WildcardSubscriptionAvailable = 0x28,
    SubscriptionIdentifierAvailable = 0x29,
    SharedSubscriptionAvailable = 0x2A,
}

/// A set of places where Properties can stand: the bits of the packet types, and bit 0, which is no packet type, for the Will
/// Properties.
pub(crate) type Places = u16;

pub(crate) const WILL: Places = 1;
pub(crate) const CONNECT: Places = PacketType::Connect.bit();
pub(crate) const CONNACK: Places = PacketType::ConnAck.bit();
pub(crate) const PUBLISH: Places = PacketType::Publish.bit();
pub(crate) const SUBSCRIBE: Places = PacketType::Subscribe.bit();
pub(crate) const UNSUBSCRIBE: Places = PacketType::Unsubscribe.bit();
pub(crate) const DISCONNECT: Places = PacketType::Disconnect.bit();
pub(crate) const AUTH: Places = PacketType::Auth.bit();
/// The answers: the packets with one Reason Code or several, except DISCONNECT and AUTH.
const ANSWERS: Places = CONNACK
    | PacketType::PubAck.bit()
    | PacketType::PubRec.bit()
    | PacketType::PubRel.bit()
    | PacketType::PubComp.bit()
    | PacketType::SubAck.bit()
    | PacketType::UnsubAck.bit();
const EVERYWHERE: Places = WILL | CONNECT | PUBLISH | SUBSCRIBE | UNSUBSCRIBE | DISCONNECT | AUTH | ANSWERS;

/// Where each Property may stand (table 2-4).
pub(crate) const TABLE: [(PropertyId, Places); 27] = [
    (PropertyId::PayloadFormatIndicator, PUBLISH | WILL),
    (PropertyId::MessageExpiryInterval, PUBLISH | WILL),
    (PropertyId::ContentType, PUBLISH | WILL),
    (PropertyId::ResponseTopic, PUBLISH | WILL),
    (PropertyId::CorrelationData, PUBLISH | WILL),
    (PropertyId::SubscriptionIdentifier, PUBLISH | SUBSCRIBE),
    (PropertyId::SessionExpiryInterval, CONNECT | CONNACK | DISCONNECT),
    (PropertyId::AssignedClientIdentifier, CONNACK),
    (PropertyId::ServerKeepAlive, CONNACK),
    (PropertyId::AuthenticationMethod, CONNECT | CONNACK | AUTH),
    (PropertyId::AuthenticationData, CONNECT | CONNACK | AUTH),
    (PropertyId::RequestProblemInformation, CONNECT),
    (PropertyId::WillDelayInterval, WILL),
    (PropertyId::RequestResponseInformation, CONNECT),
    (PropertyId::ResponseInformation, CONNACK),
    (PropertyId::ServerReference, CONNACK | DISCONNECT),
    (PropertyId::ReasonString, ANSWERS | DISCONNECT | AUTH),
    (PropertyId::ReceiveMaximum, CONNECT | CONNACK),
    (PropertyId::TopicAliasMaximum, CONNECT | CONNACK),
    (PropertyId::TopicAlias, PUBLISH),
    (PropertyId::MaximumQoS, CONNACK),
    (PropertyId::RetainAvailable, CONNACK),
    (PropertyId::UserProperty, EVERYWHERE),
    (PropertyId::MaximumPacketSize, CONNECT | CONNACK),
    (PropertyId::WildcardSubscriptionAvailable, CONNACK),
    (PropertyId::SubscriptionIdentifierAvailable, CONNACK),
    (PropertyId::SharedSubscriptionAvailable, CONNACK),
];

impl PropertyId {
    /// The Property with this identifier, and the places where it may stand.
    #[inline]
    fn lookup(id: u8) -> Option<(Self, Places)> {
        TABLE.iter().copied().find(|&(row, _)| row as u8 == id)
    }

    /// The bit of this Property in a set of Properties. All identifiers are below 64.
    #[inline]
    pub(crate) const fn bit(self) -> u64 {
        1 << self as u8
    }

    /// The places where this Property may stand more than once: a User Property everywhere, a Subscription Identifier in a
    /// PUBLISH from the Server.
    #[inline]
    const fn repeats(self) -> Places {
        match self {
            Self::UserProperty => EVERYWHERE,
            Self::SubscriptionIdentifier => PUBLISH,
            _ => 0,
        }
    }
}

/// A Property: identifier and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property<'a> {
    /// Whether the payload is UTF-8 text. Otherwise it is bytes of an unspecified kind.
    PayloadFormatIndicator(bool),
    /// The lifetime of the message in seconds. After it the message is not delivered any more.
    MessageExpiryInterval(u32),
    /// The type of the payload. Its meaning is agreed between the applications.
    ContentType(&'a str),
    /// The Topic Name to which an answer is published. In a decoded packet it is a valid one.
    ResponseTopic(&'a str),
    /// Data by which the sender of a request recognizes the answer.
    CorrelationData(&'a [u8]),
    /// The number that the Client has given to a subscription: 1 to 268,435,455.
    SubscriptionIdentifier(u32),
    /// The seconds for which the Session is kept after the connection has ended; `u32::MAX` means without limit.
    SessionExpiryInterval(u32),
    /// The Client Identifier that the Server has chosen for the Client.
    AssignedClientIdentifier(&'a str),
    /// The Keep Alive in seconds that the Client has to use instead of its own.
    ServerKeepAlive(u16),
    /// The name of the method of enhanced authentication.
    AuthenticationMethod(&'a str),
    /// Data of the authentication; the method defines their meaning.
    AuthenticationData(&'a [u8]),
    /// Whether the Server may send Reason Strings and User Properties with other packets than PUBLISH, CONNACK and
    /// DISCONNECT.
    RequestProblemInformation(bool),
    /// The seconds between the end of the connection and the publication of the Will Message.
    WillDelayInterval(u32),
    /// Whether the Client wants Response Information.
    RequestResponseInformation(bool),
    /// What the Client builds its Response Topics from.
    ResponseInformation(&'a str),
    /// Another Server that the Client should use.
    ServerReference(&'a str),
    /// The reason of the answer, as a sentence for people.
    ReasonString(&'a str),
    /// How many messages of QoS 1 and QoS 2 the sender of this Property accepts before it has acknowledged one: 1 to 65,535.
    ReceiveMaximum(u16),
    /// The greatest Topic Alias that the sender of this Property accepts; 0 if it accepts none.
    TopicAliasMaximum(u16),
    /// A number in place of a Topic Name: 1 to 65,535.
    TopicAlias(u16),
    /// The greatest QoS that the Server supports: 0 or 1.
    MaximumQoS(QoS),
    /// Whether the Server supports retained messages.
    RetainAvailable(bool),
    /// A name and a value. Their meaning is agreed between the applications.
    UserProperty(&'a str, &'a str),
    /// The greatest length of a whole packet in bytes that the sender of this Property accepts; not 0.
    MaximumPacketSize(u32),
    /// Whether the Server supports Wildcard Subscriptions.
    WildcardSubscriptionAvailable(bool),
    /// Whether the Server supports Subscription Identifiers.
    SubscriptionIdentifierAvailable(bool),
    /// Whether the Server supports Shared Subscriptions.
    SharedSubscriptionAvailable(bool),
}

impl<'a> Property<'a> {
    /// The identifier of this Property.
    #[inline]
    pub const fn id(&self) -> PropertyId {
        match self {
            Self::PayloadFormatIndicator(_) => PropertyId::PayloadFormatIndicator,
            Self::MessageExpiryInterval(_) => PropertyId::MessageExpiryInterval,
            Self::ContentType(_) => PropertyId::ContentType,
            Self::ResponseTopic(_) => PropertyId::ResponseTopic,
            Self::CorrelationData(_) => PropertyId::CorrelationData,
            Self::SubscriptionIdentifier(_) => PropertyId::SubscriptionIdentifier,
            Self::SessionExpiryInterval(_) => PropertyId::SessionExpiryInterval,
            Self::AssignedClientIdentifier(_) => PropertyId::AssignedClientIdentifier,
            Self::ServerKeepAlive(_) => PropertyId::ServerKeepAlive,
            Self::AuthenticationMethod(_) => PropertyId::AuthenticationMethod,
            Self::AuthenticationData(_) => PropertyId::AuthenticationData,
            Self::RequestProblemInformation(_) => PropertyId::RequestProblemInformation,
            Self::WillDelayInterval(_) => PropertyId::WillDelayInterval,
            Self::RequestResponseInformation(_) => PropertyId::RequestResponseInformation,
            Self::ResponseInformation(_) => PropertyId::ResponseInformation,
            Self::ServerReference(_) => PropertyId::ServerReference,
            Self::ReasonString(_) => PropertyId::ReasonString,
            Self::ReceiveMaximum(_) => PropertyId::ReceiveMaximum,
            Self::TopicAliasMaximum(_) => PropertyId::TopicAliasMaximum,
            Self::TopicAlias(_) => PropertyId::TopicAlias,
            Self::MaximumQoS(_) => PropertyId::MaximumQoS,
            Self::RetainAvailable(_) => PropertyId::RetainAvailable,
            Self::UserProperty(..) => PropertyId::UserProperty,
            Self::MaximumPacketSize(_) => PropertyId::MaximumPacketSize,
            Self::WildcardSubscriptionAvailable(_) => PropertyId::WildcardSubscriptionAvailable,
            Self::SubscriptionIdentifierAvailable(_) => PropertyId::SubscriptionIdentifierAvailable,
            Self::SharedSubscriptionAvailable(_) => PropertyId::SharedSubscriptionAvailable,
        }
    }

    /// Puts the identifier and the value.
    pub fn encode(&self, out: &mut impl Sink) {
        out.put_u8(self.id() as u8);
        match *self {
            Self::PayloadFormatIndicator(value)
            | Self::RequestProblemInformation(value)
            | Self::RequestResponseInformation(value)
            | Self::RetainAvailable(value)
            | Self::WildcardSubscriptionAvailable(value)
            | Self::SubscriptionIdentifierAvailable(value)
            | Self::SharedSubscriptionAvailable(value) => out.put_u8(value.into()),
            Self::MaximumQoS(value) => out.put_u8(value.bits()),
            Self::ServerKeepAlive(value)
            | Self::ReceiveMaximum(value)
            | Self::TopicAliasMaximum(value)
            | Self::TopicAlias(value) => out.put_u16(value),
            Self::MessageExpiryInterval(value)
            | Self::SessionExpiryInterval(value)
            | Self::WillDelayInterval(value)
            | Self::MaximumPacketSize(value) => out.put_u32(value),
            Self::SubscriptionIdentifier(value) => out.put_varint(value),
            Self::CorrelationData(value) | Self::AuthenticationData(value) => out.put_binary(value),
            Self::ContentType(value)
            | Self::ResponseTopic(value)
            | Self::AssignedClientIdentifier(value)
            | Self::AuthenticationMethod(value)
            | Self::ResponseInformation(value)
            | Self::ServerReference(value)
            | Self::ReasonString(value) => out.put_string(value),
            Self::UserProperty(name, value) => {
                out.put_string(name);
                out.put_string(value);
            }
        }
    }

    /// Decodes the next Property of a list that stands at `place`; `seen` has the bits of the Properties before it.
    ///
    /// An identifier that is unknown or does not belong here is a Malformed Packet (section 2.2.2.2). A second Property with the
    /// same identifier, and a value that is not allowed, are Protocol Errors.
    #[inline]
    pub(crate) fn decode(reader: &mut Reader<'a>, place: Places, seen: u64) -> Result<Self, Refusal> {
        let (id, places) = PropertyId::lookup(reader.u8()?)
            .ok_or(Refusal::malformed("there is no Property with this identifier (section 2.2.2.2)"))?;
        if places & place == 0 {
            return Err(Refusal::malformed("this Property does not belong in this packet (section 2.2.2.2)"));
        }
        if seen & id.bit() != 0 && id.repeats() & place == 0 {
            return Err(Refusal::protocol_error("a Property that may stand once is repeated"));
        }
        Self::decode_value(id, reader)
    }

    /// Decodes the value of a Property with this identifier.
    #[inline]
    fn decode_value(id: PropertyId, reader: &mut Reader<'a>) -> Result<Self, Refusal> {
        Ok(match id {
            PropertyId::PayloadFormatIndicator => Self::PayloadFormatIndicator(flag(reader)?),
            PropertyId::MessageExpiryInterval => Self::MessageExpiryInterval(reader.u32()?),
            PropertyId::ContentType => Self::ContentType(reader.string()?),
            PropertyId::ResponseTopic => Self::ResponseTopic(response_topic(reader)?),
            PropertyId::CorrelationData => Self::CorrelationData(reader.binary()?),
            PropertyId::SubscriptionIdentifier => {
                Self::SubscriptionIdentifier(not_zero(reader.varint()?, "a Subscription Identifier is not 0")?)
            }
            PropertyId::SessionExpiryInterval => Self::SessionExpiryInterval(reader.u32()?),
            PropertyId::AssignedClientIdentifier => Self::AssignedClientIdentifier(reader.string()?),
            PropertyId::ServerKeepAlive => Self::ServerKeepAlive(reader.u16()?),
            PropertyId::AuthenticationMethod => Self::AuthenticationMethod(reader.string()?),
            PropertyId::AuthenticationData => Self::AuthenticationData(reader.binary()?),
            PropertyId::RequestProblemInformation => Self::RequestProblemInformation(flag(reader)?),
            PropertyId::WillDelayInterval => Self::WillDelayInterval(reader.u32()?),
            PropertyId::RequestResponseInformation => Self::RequestResponseInformation(flag(reader)?),
            PropertyId::ResponseInformation => Self::ResponseInformation(reader.string()?),
            PropertyId::ServerReference => Self::ServerReference(reader.string()?),
            PropertyId::ReasonString => Self::ReasonString(reader.string()?),
            PropertyId::ReceiveMaximum => Self::ReceiveMaximum(not_zero(reader.u16()?, "Receive Maximum is not 0")?),
            PropertyId::TopicAliasMaximum => Self::TopicAliasMaximum(reader.u16()?),
            PropertyId::TopicAlias => Self::TopicAlias(topic_alias(reader)?),
            PropertyId::MaximumQoS => Self::MaximumQoS(if flag(reader)? { QoS::AtLeastOnce } else { QoS::AtMostOnce }),
            PropertyId::RetainAvailable => Self::RetainAvailable(flag(reader)?),
            PropertyId::UserProperty => Self::UserProperty(reader.string()?, reader.string()?),
            PropertyId::MaximumPacketSize => {
                Self::MaximumPacketSize(not_zero(reader.u32()?, "Maximum Packet Size is not 0")?)
            }
            PropertyId::WildcardSubscriptionAvailable => Self::WildcardSubscriptionAvailable(flag(reader)?),
            PropertyId::SubscriptionIdentifierAvailable => Self::SubscriptionIdentifierAvailable(flag(reader)?),
            PropertyId::SharedSubscriptionAvailable => Self::SharedSubscriptionAvailable(flag(reader)?),
        })
    }
}

/// A byte that is 0 or 1.
#[inline]
fn flag(reader: &mut Reader<'_>) -> Result<bool, Refusal> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Refusal::protocol_error("this Property is 0 or 1")),
    }
}

/// A number that must not be 0.
#[inline]
fn not_zero<T: Default + PartialEq>(value: T, why: &'static str) -> Result<T, Refusal> {
    if value == T::default() { Err(Refusal::protocol_error(why)) } else { Ok(value) }
}

/// A Topic Alias, which has a Reason Code of its own for 0.
#[inline]
fn topic_alias(reader: &mut Reader<'_>) -> Result<u16, Refusal> {
    match reader.u16()? {
        0 => Err(Refusal::new(ReasonCode::TopicAliasInvalid, "a Topic Alias is not 0 [MQTT-3.3.2-8]")),
        alias => Ok(alias),
    }
}

/// A Topic Name: no wildcards `[MQTT-3.3.2-14]`, at least one character `[MQTT-4.7.3-1]`.
#[inline]
fn response_topic<'a>(reader: &mut Reader<'a>) -> Result<&'a str, Refusal> {
    match reader.topic_name()? {
        "" => Err(Refusal::protocol_error("a Response Topic has at least one character [MQTT-4.7.3-1]")),
        topic => Ok(topic),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_property_table_has_each_property_once_and_in_order() {
        for pair in TABLE.windows(2) {
            assert!((pair[0].0 as u8) < pair[1].0 as u8, "{:?} before {:?}", pair[0].0, pair[1].0);
        }
        assert_eq!(PropertyId::lookup(0x26), Some((PropertyId::UserProperty, !(1 << 12 | 1 << 13))));
        assert_eq!(PropertyId::lookup(0x04), None);
    }
}
