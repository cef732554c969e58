//! Packets and their bytes.

use super::*;
use Version::{V3_1, V3_1_1, V5};
use std::vec;

/// The version of a connection, a packet as bytes, and the packet that they are. Decoding the bytes gives the packet, and
/// encoding the packet gives the bytes.
type Vector = (Version, &'static [u8], Packet<'static>);

pub(super) fn vectors() -> Vec<Vector> {
    [connects(), connacks(), publishes(), answers(), subscriptions(), unsubscriptions(), others()].concat()
}

fn connects() -> Vec<Vector> {
    let connect = Connect {
        version: V3_1_1,
        is_bridge: false,
        clean_start: true,
        keep_alive: 60,
        properties: Properties::EMPTY,
        client_id: "c",
        will: None,
        user_name: None,
        password: None,
    };
    let will =
        Will { qos: QoS::AtLeastOnce, retain: true, properties: Properties::EMPTY, topic: "w", payload: b"\0\xFF" };
    vec![
        (V3_1, b"\x10\x0F\0\x06MQIsdp\x03\x02\0\x3C\0\x01c", Packet::Connect(Connect { version: V3_1, ..connect })),
        (
            V3_1,
            b"\x10\x0F\0\x06MQIsdp\x83\x02\0\x3C\0\x01c",
            Packet::Connect(Connect { version: V3_1, is_bridge: true, ..connect }),
        ),
        (V3_1_1, b"\x10\x0D\0\x04MQTT\x84\x02\0\x3C\0\x01c", Packet::Connect(Connect { is_bridge: true, ..connect })),
        (V3_1_1, b"\x10\x0D\0\x04MQTT\x04\x02\0\x3C\0\x01c", Packet::Connect(connect)),
        (
            V3_1_1,
            b"\x10\x1B\0\x04MQTT\x04\xEE\0\x3C\0\x01c\0\x01w\0\x02\0\xFF\0\x01u\0\x02\xC0\x80",
            Packet::Connect(Connect { will: Some(will), user_name: Some("u"), password: Some(b"\xC0\x80"), ..connect }),
        ),
        (
            V5,
            b"\x10\x0E\0\x04MQTT\x05\x00\0\x3C\0\0\x01c",
            Packet::Connect(Connect { version: V5, clean_start: false, ..connect }),
        ),
        (
            V5,
            b"\x10\x29\0\x04MQTT\x05\x56\0\x3C\x08\x11\0\0\x0E\x10\x21\0\x0A\
              \0\x01c\x05\x18\0\0\0\x05\0\x01w\0\x03bye\0\x03\0\x01\x02",
            Packet::Connect(Connect {
                version: V5,
                properties: Properties::new(&[Property::SessionExpiryInterval(3600), Property::ReceiveMaximum(10)]),
                will: Some(Will {
                    qos: QoS::ExactlyOnce,
                    retain: false,
                    properties: Properties::new(&[Property::WillDelayInterval(5)]),
                    payload: b"bye",
                    ..will
                }),
                password: Some(b"\0\x01\x02"),
                ..connect
            }),
        ),
    ]
}

fn connacks() -> Vec<Vector> {
    vec![
        (V3_1, b"\x20\x02\0\0", Packet::ConnAck(ConnAck::new(ReasonCode::Success))),
        (
            V3_1_1,
            b"\x20\x02\x01\0",
            Packet::ConnAck(ConnAck { session_present: true, ..ConnAck::new(ReasonCode::Success) }),
        ),
        (V3_1_1, b"\x20\x02\0\x01", Packet::ConnAck(ConnAck::new(ReasonCode::UnsupportedProtocolVersion))),
        (V3_1_1, b"\x20\x02\0\x02", Packet::ConnAck(ConnAck::new(ReasonCode::ClientIdentifierNotValid))),
        (V3_1_1, b"\x20\x02\0\x03", Packet::ConnAck(ConnAck::new(ReasonCode::ServerUnavailable))),
        (V3_1_1, b"\x20\x02\0\x04", Packet::ConnAck(ConnAck::new(ReasonCode::BadUserNameOrPassword))),
        (V3_1_1, b"\x20\x02\0\x05", Packet::ConnAck(ConnAck::new(ReasonCode::NotAuthorized))),
        (V5, b"\x20\x03\0\x84\0", Packet::ConnAck(ConnAck::new(ReasonCode::UnsupportedProtocolVersion))),
        (
            V5,
            b"\x20\x0D\x01\0\x0A\x22\0\x05\x13\0\x1E\x24\x01\x2A\0",
            Packet::ConnAck(ConnAck {
                session_present: true,
                code: ReasonCode::Success,
                properties: Properties::new(&[
                    Property::TopicAliasMaximum(5),
                    Property::ServerKeepAlive(30),
                    Property::MaximumQoS(QoS::AtLeastOnce),
                    Property::SharedSubscriptionAvailable(false),
                ]),
            }),
        ),
    ]
}

fn publishes() -> Vec<Vector> {
    let publish = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: "a/b",
        packet_id: None,
        properties: Properties::EMPTY,
        payload: b"hi",
    };
    vec![
        (V3_1, b"\x30\x07\0\x03a/bhi", Packet::Publish(publish)),
        (V3_1_1, b"\x30\x07\0\x03a/bhi", Packet::Publish(publish)),
        (
            V3_1_1,
            b"\x3D\x09\0\x03a/b\0\x07hi",
            Packet::Publish(Publish {
                dup: true,
                qos: QoS::ExactlyOnce,
                retain: true,
                packet_id: Some(id(7)),
                ..publish
            }),
        ),
        (V3_1_1, b"\x31\x05\0\x03a/b", Packet::Publish(Publish { retain: true, payload: b"", ..publish })),
        (V5, b"\x30\x08\0\x03a/b\0hi", Packet::Publish(publish)),
        (
            V5,
            b"\x32\x1E\0\0\xFF\xFF\x17\x23\0\x03\x01\x01\x26\0\x01k\0\x01v\x0B\x80\x01\x0B\x07\x26\0\x01k\0\0hi",
            Packet::Publish(Publish {
                qos: QoS::AtLeastOnce,
                topic: "",
                packet_id: Some(id(0xFFFF)),
                properties: Properties::new(&[
                    Property::TopicAlias(3),
                    Property::PayloadFormatIndicator(true),
                    Property::UserProperty("k", "v"),
                    Property::SubscriptionIdentifier(128),
                    Property::SubscriptionIdentifier(7),
                    Property::UserProperty("k", ""),
                ]),
                ..publish
            }),
        ),
    ]
}

fn answers() -> Vec<Vector> {
    let success = Ack::new(id(0x1234), ReasonCode::Success);
    vec![
        (V3_1, b"\x40\x02\x12\x34", Packet::PubAck(success)),
        (V3_1_1, b"\x50\x02\x12\x34", Packet::PubRec(success)),
        (V3_1_1, b"\x62\x02\x12\x34", Packet::PubRel(success)),
        (V3_1_1, b"\x70\x02\x12\x34", Packet::PubComp(success)),
        (V5, b"\x40\x02\x12\x34", Packet::PubAck(success)),
        (V5, b"\x50\x03\x12\x34\x97", Packet::PubRec(Ack::new(id(0x1234), ReasonCode::QuotaExceeded))),
        (V5, b"\x62\x03\x12\x34\x92", Packet::PubRel(Ack::new(id(0x1234), ReasonCode::PacketIdentifierNotFound))),
        (
            V5,
            b"\x70\x09\x12\x34\x00\x05\x1F\0\x02ok",
            Packet::PubComp(Ack { properties: Properties::new(&[Property::ReasonString("ok")]), ..success }),
        ),
    ]
}

fn subscriptions() -> Vec<Vector> {
    vec![
        (
            V3_1_1,
            b"\x82\x0C\0\x01\0\x01#\x02\0\x03a/+\x00",
            Packet::Subscribe(Subscribe {
                packet_id: id(1),
                properties: Properties::EMPTY,
                filters: Filters::new(
                    const {
                        &[
                            ("#", SubscriptionOptions::with_qos(QoS::ExactlyOnce)),
                            ("a/+", SubscriptionOptions::with_qos(QoS::AtMostOnce)),
                        ]
                    },
                ),
            }),
        ),
        (
            V5,
            b"\x82\x09\0\x01\x02\x0B\x05\0\x01#\x2D",
            Packet::Subscribe(Subscribe {
                packet_id: id(1),
                properties: Properties::new(&[Property::SubscriptionIdentifier(5)]),
                filters: Filters::new(&[(
                    "#",
                    SubscriptionOptions {
                        qos: QoS::AtLeastOnce,
                        no_local: true,
                        retain_as_published: true,
                        retain_handling: RetainHandling::DoNotSend,
                    },
                )]),
            }),
        ),
        (
            V3_1_1,
            b"\x90\x04\0\x01\x02\x80",
            Packet::SubAck(SubAck {
                packet_id: id(1),
                properties: Properties::EMPTY,
                codes: Codes::new(&[ReasonCode::GrantedQoS2, ReasonCode::UnspecifiedError]),
            }),
        ),
        (
            V5,
            b"\x90\x05\0\x01\0\x01\x8F",
            Packet::SubAck(SubAck {
                packet_id: id(1),
                properties: Properties::EMPTY,
                codes: Codes::new(&[ReasonCode::GrantedQoS1, ReasonCode::TopicFilterInvalid]),
            }),
        ),
    ]
}

fn unsubscriptions() -> Vec<Vector> {
    vec![
        (
            V3_1_1,
            b"\xA2\x08\0\x02\0\x01#\0\x01b",
            Packet::Unsubscribe(Unsubscribe {
                packet_id: id(2),
                properties: Properties::EMPTY,
                filters: Topics::new(&["#", "b"]),
            }),
        ),
        (
            V5,
            b"\xA2\x06\0\x02\0\0\x01#",
            Packet::Unsubscribe(Unsubscribe {
                packet_id: id(2),
                properties: Properties::EMPTY,
                filters: Topics::new(&["#"]),
            }),
        ),
        (
            V3_1_1,
            b"\xB0\x02\0\x02",
            Packet::UnsubAck(UnsubAck { packet_id: id(2), properties: Properties::EMPTY, codes: Codes::new(&[]) }),
        ),
        (
            V5,
            b"\xB0\x05\0\x02\0\0\x11",
            Packet::UnsubAck(UnsubAck {
                packet_id: id(2),
                properties: Properties::EMPTY,
                codes: Codes::new(&[ReasonCode::Success, ReasonCode::NoSubscriptionExisted]),
            }),
        ),
    ]
}

fn others() -> Vec<Vector> {
    vec![
        (V3_1_1, b"\xC0\0", Packet::PingReq),
        (V5, b"\xD0\0", Packet::PingResp),
        (V3_1_1, b"\xE0\0", Packet::Disconnect(Disconnect::new(ReasonCode::Success))),
        (V5, b"\xE0\0", Packet::Disconnect(Disconnect::new(ReasonCode::Success))),
        (V5, b"\xE0\x02\x8E\0", Packet::Disconnect(Disconnect::new(ReasonCode::SessionTakenOver))),
        (
            V5,
            b"\xE0\x07\x04\x05\x11\0\0\0\x01",
            Packet::Disconnect(Disconnect {
                code: ReasonCode::DisconnectWithWill,
                properties: Properties::new(&[Property::SessionExpiryInterval(1)]),
            }),
        ),
        (V5, b"\xF0\0", Packet::Auth(Auth { code: ReasonCode::Success, properties: Properties::EMPTY })),
        (
            V5,
            b"\xF0\x0A\x18\x08\x15\0\x01m\x16\0\x01\xFF",
            Packet::Auth(Auth {
                code: ReasonCode::ContinueAuthentication,
                properties: Properties::new(&[
                    Property::AuthenticationMethod("m"),
                    Property::AuthenticationData(b"\xFF"),
                ]),
            }),
        ),
    ]
}

#[test]
fn packets_have_the_bytes_that_the_specification_gives_them() {
    for (version, bytes, packet) in vectors() {
        assert_eq!(decoded(version, bytes), Ok(packet), "{version}: {bytes:02X?}");
        assert_eq!(encoded(version, &packet), bytes, "{version}: {packet:?}");
    }
}

#[test]
fn longer_forms_than_the_encoder_writes_are_decoded_too() {
    let cases: [(Version, &[u8], Packet<'_>); 5] = [
        (Version::V5, b"\x40\x03\0\x01\0", Packet::PubAck(Ack::new(id(1), ReasonCode::Success))),
        (Version::V5, b"\x40\x04\0\x01\0\0", Packet::PubAck(Ack::new(id(1), ReasonCode::Success))),
        (Version::V5, b"\xE0\x01\x04", Packet::Disconnect(Disconnect::new(ReasonCode::DisconnectWithWill))),
        (Version::V5, b"\xE0\x02\0\0", Packet::Disconnect(Disconnect::new(ReasonCode::Success))),
        // MQTT 3.1 has a DUP flag here.
        (Version::V3_1, b"\x6A\x02\0\x01", Packet::PubRel(Ack::new(id(1), ReasonCode::Success))),
    ];
    for (version, bytes, packet) in cases {
        assert_eq!(decoded(version, bytes), Ok(packet), "{version}: {bytes:02X?}");
    }
}

#[test]
fn in_mqtt_3_1_user_name_and_password_may_be_missing_although_their_flags_are_set() {
    let bytes = b"\x10\x0F\0\x06MQIsdp\x03\xC2\0\x3C\0\x01c";
    let Ok(Packet::Connect(connect)) = decoded(Version::V3_1, bytes) else { panic!("refused") };
    assert_eq!((connect.user_name, connect.password), (None, None));
}

#[test]
fn in_mqtt_3_1_the_reserved_connect_flag_may_be_set() {
    let bytes = b"\x10\x0F\0\x06MQIsdp\x03\x03\0\x3C\0\x01c";
    let Ok(Packet::Connect(connect)) = decoded(Version::V3_1, bytes) else { panic!("refused") };
    assert!(connect.clean_start);
}

#[test]
fn clean_session_gives_the_session_expiry_interval_before_5_0() {
    let expiry = |bytes| {
        let Ok(Packet::Connect(connect)) = decoded(Version::V5, bytes) else { panic!("refused") };
        connect.session_expiry_interval()
    };
    assert_eq!(expiry(b"\x10\x0D\0\x04MQTT\x04\x02\0\x3C\0\x01c"), 0);
    assert_eq!(expiry(b"\x10\x0D\0\x04MQTT\x04\x00\0\x3C\0\x01c"), u32::MAX);
    assert_eq!(expiry(b"\x10\x0E\0\x04MQTT\x05\x00\0\x3C\0\0\x01c"), 0);
    assert_eq!(expiry(b"\x10\x13\0\x04MQTT\x05\x00\0\x3C\x05\x11\0\0\0\x09\0\x01c"), 9);
}

#[test]
fn before_5_0_suback_has_one_code_for_all_failures_and_some_refusals_have_no_connack() {
    let codes = [ReasonCode::GrantedQoS1, ReasonCode::NotAuthorized, ReasonCode::QuotaExceeded];
    let mut out = [0; 16];
    let mut writer = Writer::new(&mut out);
    // Reason Codes from an iterator, not from a slice.
    let codes = codes.iter().copied().filter(|code| code.is_error());
    SubAck { packet_id: id(1), properties: Properties::EMPTY, codes: codes.clone() }
        .encode(Version::V3_1_1, &mut writer);
    UnsubAck { packet_id: id(1), properties: Properties::EMPTY, codes }.encode(Version::V3_1_1, &mut writer);
    assert_eq!(writer.finish().unwrap(), b"\x90\x04\0\x01\x80\x80\xB0\x02\0\x01");
    for code in ReasonCode::ALL.iter().copied().filter(|code| code.is_allowed_in(PacketType::ConnAck)) {
        let has_no_return_code = matches!(
            code,
            ReasonCode::MalformedPacket
                | ReasonCode::ProtocolError
                | ReasonCode::QuotaExceeded
                | ReasonCode::ServerBusy
                | ReasonCode::ServerShuttingDown
                | ReasonCode::ConnectionRateExceeded
        );
        assert_eq!(ConnAck::return_code(code).is_none(), has_no_return_code, "{code}");
    }
}

#[test]
fn a_byte_order_mark_is_kept_in_strings() {
    let bytes = b"\x30\x06\0\x04\xEF\xBB\xBFa";
    let Ok(Packet::Publish(publish)) = decoded(Version::V3_1_1, bytes) else { panic!("refused") };
    assert_eq!(publish.topic, "\u{FEFF}a");
}

#[test]
fn strings_beyond_65535_bytes_are_cut_between_characters() {
    let long = "é".repeat(40_000);
    let mut length = Length::default();
    length.put_string(&long);
    assert_eq!(length.get(), 2 + 65_534);
    let mut length = Length::default();
    length.put_binary(long.as_bytes());
    assert_eq!(length.get(), 2 + 65_535);
}

#[test]
fn the_length_of_a_packet_beyond_the_remaining_length_is_u32_max() {
    let head = |payload_len| DeliveryHead {
        version: Version::V3_1_1,
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        packet_id: None,
        topic_len: 1,
        topic_alias: None,
        message_expiry_interval: None,
        subscription_identifiers: core::iter::empty(),
        stored_properties_len: 9,
        payload_len,
    };
    assert_eq!(head(MAX_VARINT - 3).packet_len(), MAX_PACKET_LEN);
    assert_eq!(head(MAX_VARINT - 2).packet_len(), u32::MAX);
    assert_eq!(head(u32::MAX).packet_len(), u32::MAX);
}
