//! Random packets that are valid in a given version, for property tests.
//!
//! Strings, bytes and lists are leaked, so that a packet can borrow them and still be a value that a strategy gives.

use crate::property::{self, Places, TABLE};
use crate::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use std::boxed::Box;
use std::string::String;
use std::vec;
use std::vec::Vec;

fn text_of(forbidden: &'static [char], len: std::ops::Range<usize>) -> impl Strategy<Value = &'static str> {
    vec(any::<char>().prop_filter("forbidden", |c| !forbidden.contains(c)), len)
        .prop_map(|chars| &*Box::leak(chars.into_iter().collect::<String>().into_boxed_str()))
}

fn text() -> impl Strategy<Value = &'static str> {
    text_of(&['\0'], 0..20)
}

fn topic() -> impl Strategy<Value = &'static str> {
    text_of(&['\0', '+', '#'], 1..40)
}

fn bytes() -> impl Strategy<Value = &'static [u8]> {
    prop_oneof![9 => vec(any::<u8>(), 0..40), 1 => vec(any::<u8>(), 100..300)].prop_map(|bytes| &*bytes.leak())
}

fn leaked<T: 'static + core::fmt::Debug>(items: impl Strategy<Value = Vec<T>>) -> impl Strategy<Value = &'static [T]> {
    items.prop_map(|items| &*items.leak())
}

fn qos() -> impl Strategy<Value = QoS> {
    select(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][..])
}

fn packet_id() -> impl Strategy<Value = PacketId> {
    any::<PacketId>()
}

fn code_in(packet: PacketType) -> impl Strategy<Value = ReasonCode> {
    select(ReasonCode::ALL.iter().copied().filter(|code| code.is_allowed_in(packet)).collect::<Vec<_>>())
}

fn property_with(id: PropertyId) -> BoxedStrategy<Property<'static>> {
    match id {
        PropertyId::PayloadFormatIndicator => any::<bool>().prop_map(Property::PayloadFormatIndicator).boxed(),
        PropertyId::MessageExpiryInterval => any::<u32>().prop_map(Property::MessageExpiryInterval).boxed(),
        PropertyId::ContentType => text().prop_map(Property::ContentType).boxed(),
        PropertyId::ResponseTopic => topic().prop_map(Property::ResponseTopic).boxed(),
        PropertyId::CorrelationData => bytes().prop_map(Property::CorrelationData).boxed(),
        PropertyId::SubscriptionIdentifier => {
            prop_oneof![1..=200u32, 1..=MAX_VARINT].prop_map(Property::SubscriptionIdentifier).boxed()
        }
        PropertyId::SessionExpiryInterval => any::<u32>().prop_map(Property::SessionExpiryInterval).boxed(),
        PropertyId::AssignedClientIdentifier => text().prop_map(Property::AssignedClientIdentifier).boxed(),
        PropertyId::ServerKeepAlive => any::<u16>().prop_map(Property::ServerKeepAlive).boxed(),
        PropertyId::AuthenticationMethod => text().prop_map(Property::AuthenticationMethod).boxed(),
        PropertyId::AuthenticationData => bytes().prop_map(Property::AuthenticationData).boxed(),
        PropertyId::RequestProblemInformation => any::<bool>().prop_map(Property::RequestProblemInformation).boxed(),
        PropertyId::WillDelayInterval => any::<u32>().prop_map(Property::WillDelayInterval).boxed(),
        PropertyId::RequestResponseInformation => any::<bool>().prop_map(Property::RequestResponseInformation).boxed(),
        PropertyId::ResponseInformation => text().prop_map(Property::ResponseInformation).boxed(),
        PropertyId::ServerReference => text().prop_map(Property::ServerReference).boxed(),
        PropertyId::ReasonString => text().prop_map(Property::ReasonString).boxed(),
        PropertyId::ReceiveMaximum => (1..=u16::MAX).prop_map(Property::ReceiveMaximum).boxed(),
        PropertyId::TopicAliasMaximum => any::<u16>().prop_map(Property::TopicAliasMaximum).boxed(),
        PropertyId::TopicAlias => (1..=u16::MAX).prop_map(Property::TopicAlias).boxed(),
        PropertyId::MaximumQoS => {
            select(&[QoS::AtMostOnce, QoS::AtLeastOnce][..]).prop_map(Property::MaximumQoS).boxed()
        }
        PropertyId::RetainAvailable => any::<bool>().prop_map(Property::RetainAvailable).boxed(),
        PropertyId::UserProperty => {
            (text(), text()).prop_map(|(name, value)| Property::UserProperty(name, value)).boxed()
        }
        PropertyId::MaximumPacketSize => (1..=u32::MAX).prop_map(Property::MaximumPacketSize).boxed(),
        PropertyId::WildcardSubscriptionAvailable => {
            any::<bool>().prop_map(Property::WildcardSubscriptionAvailable).boxed()
        }
        PropertyId::SubscriptionIdentifierAvailable => {
            any::<bool>().prop_map(Property::SubscriptionIdentifierAvailable).boxed()
        }
        PropertyId::SharedSubscriptionAvailable => {
            any::<bool>().prop_map(Property::SharedSubscriptionAvailable).boxed()
        }
    }
}

/// Properties that may stand at `place`, in any order. Properties that may repeat do so.
fn properties(version: Version, place: Places) -> BoxedStrategy<Properties<'static>> {
    if !version.is_v5() {
        return Just(Properties::EMPTY).boxed();
    }
    let mut ids: Vec<_> = TABLE.iter().filter(|&&(_, places)| places & place != 0).map(|&(id, _)| id).collect();
    ids.extend([PropertyId::UserProperty; 2]);
    if place == property::PUBLISH {
        ids.extend([PropertyId::SubscriptionIdentifier; 2]);
    }
    let len = ids.len();
    let some = subsequence(ids, 0..=len)
        .prop_shuffle()
        .prop_map(|mut ids| {
            if !ids.contains(&PropertyId::AuthenticationMethod) {
                ids.retain(|&id| id != PropertyId::AuthenticationData);
            }
            ids
        })
        .prop_flat_map(|ids| leaked(ids.into_iter().map(property_with).collect::<Vec<_>>()));
    prop_oneof![Just(Properties::EMPTY), some.prop_map(Properties::new)].boxed()
}

fn connect(version: Version) -> impl Strategy<Value = Packet<'static>> {
    let will = (qos(), any::<bool>(), properties(version, property::WILL), topic(), bytes())
        .prop_map(|(qos, retain, properties, topic, payload)| Will { qos, retain, properties, topic, payload });
    (
        any::<[bool; 2]>(),
        any::<u16>(),
        properties(version, property::CONNECT),
        text(),
        option::of(will),
        option::of(text()),
        option::of(bytes()),
    )
        .prop_map(
            move |([is_bridge, clean_start], keep_alive, properties, client_id, will, user_name, password)| {
                let password = password.filter(|_| user_name.is_some() || version.is_v5());
                Packet::Connect(Connect {
                    version,
                    is_bridge: is_bridge && !version.is_v5(),
                    clean_start,
                    keep_alive,
                    properties,
                    client_id,
                    will,
                    user_name,
                    password,
                })
            },
        )
}

fn connack(version: Version) -> impl Strategy<Value = Packet<'static>> {
    let codes: Vec<_> = if version.is_v5() {
        ReasonCode::ALL.iter().copied().filter(|code| code.is_allowed_in(PacketType::ConnAck)).collect()
    } else {
        [0x00, 0x84, 0x85, 0x86, 0x87, 0x88].map(|code| ReasonCode::from_u8(code).unwrap()).into()
    };
    (any::<bool>(), select(codes), properties(version, property::CONNACK)).prop_map(
        move |(session_present, code, properties)| {
            let session_present = session_present && code == ReasonCode::Success && version != Version::V3_1;
            Packet::ConnAck(ConnAck { session_present, code, properties })
        },
    )
}

fn publish(version: Version) -> impl Strategy<Value = Packet<'static>> {
    (
        any::<bool>(),
        qos(),
        any::<bool>(),
        topic(),
        any::<bool>(),
        packet_id(),
        properties(version, property::PUBLISH),
        bytes(),
    )
        .prop_map(|(dup, qos, retain, topic, aliased, id, properties, payload)| {
            let acknowledged = qos > QoS::AtMostOnce;
            Packet::Publish(Publish {
                dup: dup && acknowledged,
                qos,
                retain,
                topic: if aliased && properties.contains(PropertyId::TopicAlias) { "" } else { topic },
                packet_id: acknowledged.then_some(id),
                properties,
                payload,
            })
        })
}

fn ack(version: Version, kind: AckKind) -> impl Strategy<Value = Ack<'static>> {
    let packet = kind.packet_type();
    (packet_id(), code_in(packet), properties(version, packet.bit())).prop_map(move |(packet_id, code, properties)| {
        Ack { packet_id, code: if version.is_v5() { code } else { ReasonCode::Success }, properties }
    })
}

fn retain_handling() -> impl Strategy<Value = RetainHandling> {
    select(&[RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend][..])
}

fn options(version: Version) -> impl Strategy<Value = SubscriptionOptions> {
    (qos(), any::<bool>(), any::<bool>(), retain_handling()).prop_map(
        move |(qos, no_local, retain_as_published, retain_handling)| {
            if version.is_v5() {
                SubscriptionOptions { qos, no_local, retain_as_published, retain_handling }
            } else {
                SubscriptionOptions::with_qos(qos)
            }
        },
    )
}

fn subscribe(version: Version) -> impl Strategy<Value = Packet<'static>> {
    (packet_id(), properties(version, property::SUBSCRIBE), leaked(vec((text(), options(version)), 1..5))).prop_map(
        |(packet_id, properties, filters)| {
            Packet::Subscribe(Subscribe { packet_id, properties, filters: Filters::new(filters) })
        },
    )
}

fn suback(version: Version) -> impl Strategy<Value = Packet<'static>> {
    let codes: Vec<_> = ReasonCode::ALL
        .iter()
        .copied()
        .filter(|code| code.is_allowed_in(PacketType::SubAck))
        .filter(|&code| version.is_v5() || code <= ReasonCode::UnspecifiedError)
        .collect();
    (packet_id(), properties(version, PacketType::SubAck.bit()), leaked(vec(select(codes), 1..5))).prop_map(
        |(packet_id, properties, codes)| Packet::SubAck(SubAck { packet_id, properties, codes: Codes::new(codes) }),
    )
}

fn unsubscribe(version: Version) -> impl Strategy<Value = Packet<'static>> {
    (packet_id(), properties(version, property::UNSUBSCRIBE), leaked(vec(text(), 1..5))).prop_map(
        |(packet_id, properties, filters)| {
            Packet::Unsubscribe(Unsubscribe { packet_id, properties, filters: Topics::new(filters) })
        },
    )
}

fn unsuback(version: Version) -> impl Strategy<Value = Packet<'static>> {
    let codes = vec(code_in(PacketType::UnsubAck), if version.is_v5() { 1..5 } else { 0..1 });
    (packet_id(), properties(version, PacketType::UnsubAck.bit()), leaked(codes)).prop_map(
        |(packet_id, properties, codes)| Packet::UnsubAck(UnsubAck { packet_id, properties, codes: Codes::new(codes) }),
    )
}

fn disconnect(version: Version) -> impl Strategy<Value = Packet<'static>> {
    (code_in(PacketType::Disconnect), properties(version, property::DISCONNECT)).prop_map(move |(code, properties)| {
        let code = if version.is_v5() { code } else { ReasonCode::Success };
        Packet::Disconnect(Disconnect { code, properties })
    })
}

fn auth() -> impl Strategy<Value = Packet<'static>> {
    (code_in(PacketType::Auth), properties(Version::V5, property::AUTH))
        .prop_filter("the method may be missing from the short form of success alone", |(code, properties)| {
            properties.contains(PropertyId::AuthenticationMethod)
                || (*code == ReasonCode::Success && properties.is_empty())
        })
        .prop_map(|(code, properties)| Packet::Auth(Auth { code, properties }))
}

/// Any packet of `version`.
pub(crate) fn packet(version: Version) -> BoxedStrategy<Packet<'static>> {
    let all = prop_oneof![
        connect(version),
        connack(version),
        publish(version),
        ack(version, AckKind::PubAck).prop_map(Packet::PubAck),
        ack(version, AckKind::PubRec).prop_map(Packet::PubRec),
        ack(version, AckKind::PubRel).prop_map(Packet::PubRel),
        ack(version, AckKind::PubComp).prop_map(Packet::PubComp),
        subscribe(version),
        suback(version),
        unsubscribe(version),
        unsuback(version),
        Just(Packet::PingReq),
        Just(Packet::PingResp),
        disconnect(version),
    ];
    if version.is_v5() { prop_oneof![14 => all, 1 => auth()].boxed() } else { all.boxed() }
}

/// Any version.
pub(crate) fn version() -> impl Strategy<Value = Version> {
    select(&[Version::V3_1, Version::V3_1_1, Version::V5][..])
}

/// A version and any packet of it.
pub(crate) fn version_and_packet() -> impl Strategy<Value = (Version, Packet<'static>)> {
    version().prop_flat_map(|version| (Just(version), packet(version)))
}

/// Any Properties of a PUBLISH.
pub(crate) fn publish_properties() -> impl Strategy<Value = Properties<'static>> {
    properties(Version::V5, property::PUBLISH)
}
