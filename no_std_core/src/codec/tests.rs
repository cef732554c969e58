//! Tests of the codec as a whole: packets as they stand on the wire, malformed packets and the code that each is
//! refused with, and laws that hold for all packets.

use super::arbitrary::{packet, publish_properties, version, version_and_packet};
use super::*;
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

const NO_LIMIT: u32 = u32::MAX;

fn id(value: u16) -> PacketId {
    PacketId::new(value).unwrap()
}

fn encoded(version: Version, packet: &Packet<'_>) -> Vec<u8> {
    let mut out = vec![0; packet.encoded_len(version) as usize];
    let mut writer = Writer::new(&mut out);
    packet.encode(version, &mut writer);
    assert_eq!(writer.finish().map(<[u8]>::len), Some(packet.encoded_len(version) as usize));
    out
}

fn decoded(version: Version, bytes: &[u8]) -> Result<Packet<'_>, Refusal> {
    let (frame, len) = split(bytes, NO_LIMIT)?.expect("a whole packet");
    assert_eq!(len, bytes.len());
    Packet::decode(version, frame)
}

/// Packets as bytes and as what they mean. Decoding the one gives the other and the other way round.
fn vectors() -> Vec<(Version, &'static [u8], Packet<'static>)> {
    use Version::*;
    let connect = Connect {
        version: V3_1_1,
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
    let publish = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: "a/b",
        packet_id: None,
        properties: Properties::EMPTY,
        payload: b"hi",
    };
    let success = Ack::new(id(0x1234), ReasonCode::Success);
    vec![
        (V3_1, b"\x10\x0F\0\x06MQIsdp\x03\x02\0\x3C\0\x01c", Packet::Connect(Connect { version: V3_1, ..connect })),
        (V3_1_1, b"\x10\x0D\0\x04MQTT\x04\x02\0\x3C\0\x01c", Packet::Connect(connect)),
        (
            V3_1_1,
            b"\x10\x1B\0\x04MQTT\x04\xEE\0\x3C\0\x01c\0\x01w\0\x02\0\xFF\0\x01u\0\x02\xC0\x80",
            Packet::Connect(Connect {
                will: Some(will),
                user_name: Some("u"),
                password: Some(b"\xC0\x80"),
                ..connect
            }),
        ),
        (V5, b"\x10\x0E\0\x04MQTT\x05\x00\0\x3C\0\0\x01c", Packet::Connect(Connect { version: V5, clean_start: false, ..connect })),
        (
            V5,
            b"\x10\x29\0\x04MQTT\x05\x56\0\x3C\x08\x11\0\0\x0E\x10\x21\0\x0A\0\x01c\x05\x18\0\0\0\x05\0\x01w\0\x03bye\0\x03\0\x01\x02",
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
        (V3_1, b"\x20\x02\0\0", Packet::ConnAck(ConnAck::new(ReasonCode::Success))),
        (V3_1_1, b"\x20\x02\x01\0", Packet::ConnAck(ConnAck { session_present: true, ..ConnAck::new(ReasonCode::Success) })),
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
        (V3_1, b"\x30\x07\0\x03a/bhi", Packet::Publish(publish)),
        (V3_1_1, b"\x30\x07\0\x03a/bhi", Packet::Publish(publish)),
        (
            V3_1_1,
            b"\x3D\x09\0\x03a/b\0\x07hi",
            Packet::Publish(Publish { dup: true, qos: QoS::ExactlyOnce, retain: true, packet_id: Some(id(7)), ..publish }),
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
        (
            V3_1_1,
            b"\x82\x0C\0\x01\0\x01#\x02\0\x03a/+\x00",
            Packet::Subscribe(Subscribe {
                packet_id: id(1),
                properties: Properties::EMPTY,
                filters: Filters::new(const { &[("#", SubscriptionOptions::with_qos(QoS::ExactlyOnce)), ("a/+", SubscriptionOptions::with_qos(QoS::AtMostOnce))] }),
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
            Packet::Unsubscribe(Unsubscribe { packet_id: id(2), properties: Properties::EMPTY, filters: Topics::new(&["#"]) }),
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
fn packets_stand_on_the_wire_as_specified() {
    for (version, bytes, packet) in vectors() {
        assert_eq!(decoded(version, bytes), Ok(packet), "{version}: {bytes:02X?}");
        assert_eq!(encoded(version, &packet), bytes, "{version}: {packet:?}");
    }
}

#[test]
fn longer_forms_than_ours_are_understood() {
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
fn malformed_packets_are_refused_with_the_right_code() {
    use Version::*;
    let cases: &[(&str, Version, &[u8], u8)] = &[
        // Fixed header.
        ("packet type 0", V5, b"\0\0", 0x81),
        ("flags of CONNACK", V5, b"\x21\x03\0\0\0", 0x81),
        ("flags of PUBACK", V5, b"\x42\x02\0\x01", 0x81),
        ("flags of PUBREL", V5, b"\x60\x02\0\x01", 0x81),
        ("flags of SUBSCRIBE", V5, b"\x80\x06\0\x01\0\0\x01a\0", 0x81),
        ("flags of UNSUBSCRIBE", V5, b"\xA0\x06\0\x01\0\0\x01a", 0x81),
        ("DUP in PUBREL after 3.1", V3_1_1, b"\x6A\x02\0\x01", 0x81),
        ("DUP in SUBSCRIBE after 3.1", V5, b"\x8A\x07\0\x01\0\0\x01a\0", 0x81),
        ("flags of PINGREQ", V3_1_1, b"\xC1\0", 0x81),
        ("flags of DISCONNECT", V5, b"\xE1\0", 0x81),
        ("flags of AUTH", V5, b"\xF8\0", 0x81),
        ("Remaining Length in two bytes for one", V5, b"\xC0\x80\0", 0x81),
        ("Remaining Length in five bytes", V5, b"\xC0\x80\x80\x80\x80\x01", 0x81),
        // PUBLISH.
        ("QoS 3", V5, b"\x36\x06\0\x01a\0\x01\0", 0x81),
        ("DUP with QoS 0", V5, b"\x38\x04\0\x01a\0", 0x81),
        ("'+' in the topic", V5, b"\x30\x06\0\x03a/+\0", 0x82),
        ("'#' in the topic", V3_1_1, b"\x30\x03\0\x01#", 0x82),
        ("empty topic in 3.1.1", V3_1_1, b"\x30\x02\0\0", 0x82),
        ("empty topic without alias", V5, b"\x30\x03\0\0\0", 0x82),
        ("U+0000 in the topic", V5, b"\x30\x06\0\x03a\0b\0", 0x81),
        ("U+0000 and a wildcard", V5, b"\x30\x06\0\x03+\0b\0", 0x81),
        ("surrogate in the topic", V5, b"\x30\x06\0\x03\xED\xA0\x80\0", 0x81),
        ("overlong '/' in the topic", V5, b"\x30\x05\0\x02\xC0\xAF\0", 0x81),
        ("topic beyond the packet", V5, b"\x30\x04\0\x05ab", 0x81),
        ("half a topic length", V5, b"\x30\x01\0", 0x81),
        ("no Packet Identifier", V3_1_1, b"\x32\x03\0\x01a", 0x81),
        ("Packet Identifier 0", V5, b"\x32\x06\0\x01a\0\0\0", 0x82),
        ("no Property Length", V5, b"\x30\x03\0\x01a", 0x81),
        ("Property Length beyond the packet", V5, b"\x30\x05\0\x01a\x02\x01", 0x81),
        ("Property Length in too many bytes", V5, b"\x30\x05\0\x01a\x80\0", 0x81),
        ("unknown Property", V5, b"\x30\x06\0\x01a\x02\x04\0", 0x81),
        ("identifier of a Property in two bytes", V5, b"\x30\x07\0\x01a\x03\x81\0\0", 0x81),
        ("Property of another packet", V5, b"\x30\x07\0\x01a\x03\x13\0\0", 0x81),
        ("Property of the Will", V5, b"\x30\x09\0\x01a\x05\x18\0\0\0\0", 0x81),
        ("repeated Property", V5, b"\x30\x08\0\x01a\x04\x01\0\x01\0", 0x82),
        ("truncated Property", V5, b"\x30\x07\0\x01a\x03\x02\0\0", 0x81),
        ("Payload Format 2", V5, b"\x30\x06\0\x01a\x02\x01\x02", 0x82),
        ("Topic Alias 0", V5, b"\x30\x07\0\x01a\x03\x23\0\0", 0x94),
        ("Subscription Identifier 0", V5, b"\x30\x06\0\x01a\x02\x0B\0", 0x82),
        ("Subscription Identifier in five bytes", V5, b"\x30\x0A\0\x01a\x06\x0B\x80\x80\x80\x80\x01", 0x81),
        ("wildcard in the Response Topic", V5, b"\x30\x08\0\x01a\x04\x08\0\x01#", 0x82),
        ("empty Response Topic", V5, b"\x30\x07\0\x01a\x03\x08\0\0", 0x82),
        ("bad UTF-8 in a User Property", V5, b"\x30\x0A\0\x01a\x06\x26\0\x01\xFF\0\0", 0x81),
        ("U+0000 in a User Property", V5, b"\x30\x0A\0\x01a\x06\x26\0\x01\0\0\0", 0x81),
        ("User Property without value", V5, b"\x30\x08\0\x01a\x04\x26\0\x01k", 0x81),
        // Acknowledgements.
        ("PUBACK 0", V3_1_1, b"\x40\x02\0\0", 0x82),
        ("PUBACK of one byte", V5, b"\x40\x01\x01", 0x81),
        ("Reason Code in 3.1.1", V3_1_1, b"\x40\x03\0\x01\0", 0x81),
        ("PUBACK code of SUBACK", V5, b"\x40\x03\0\x01\x01", 0x82),
        ("PUBREC code that does not exist", V5, b"\x50\x03\0\x01\x7F", 0x82),
        ("PUBREL code of PUBREC", V5, b"\x62\x03\0\x01\x10", 0x82),
        ("PUBCOMP code of PUBREC", V5, b"\x70\x03\0\x01\x97", 0x82),
        ("PUBACK with a Property of PUBLISH", V5, b"\x40\x06\0\x01\0\x02\x01\0", 0x81),
        ("PUBREL with a second Reason String", V5, b"\x62\x0A\0\x01\0\x06\x1F\0\0\x1F\0\0", 0x82),
        ("PUBACK that goes on", V5, b"\x40\x05\0\x01\0\0\0", 0x81),
        // SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK.
        ("SUBSCRIBE to nothing", V3_1_1, b"\x82\x02\0\x01", 0x82),
        ("SUBSCRIBE to nothing", V5, b"\x82\x03\0\x01\0", 0x82),
        ("SUBSCRIBE 0", V5, b"\x82\x07\0\0\0\0\x01a\0", 0x82),
        ("SUBSCRIBE without options", V5, b"\x82\x06\0\x01\0\0\x01a", 0x81),
        ("SUBSCRIBE with QoS 3", V5, b"\x82\x07\0\x01\0\0\x01a\x03", 0x82),
        ("SUBSCRIBE with Retain Handling 3", V5, b"\x82\x07\0\x01\0\0\x01a\x30", 0x82),
        ("SUBSCRIBE with reserved options", V5, b"\x82\x07\0\x01\0\0\x01a\x40", 0x81),
        ("SUBSCRIBE with No Local in 3.1.1", V3_1_1, b"\x82\x06\0\x01\0\x01a\x04", 0x81),
        ("SUBSCRIBE with U+0000", V5, b"\x82\x07\0\x01\0\0\x01\0\0", 0x81),
        ("SUBSCRIBE with two identifiers", V5, b"\x82\x0B\0\x01\x04\x0B\x01\x0B\x02\0\x01a\0", 0x82),
        ("SUBACK of nothing", V5, b"\x90\x03\0\x01\0", 0x82),
        ("SUBACK with a code of PUBACK", V5, b"\x90\x04\0\x01\0\x10", 0x82),
        ("SUBACK with a code of 5.0", V3_1_1, b"\x90\x03\0\x01\x87", 0x82),
        ("UNSUBSCRIBE from nothing", V3_1_1, b"\xA2\x02\0\x01", 0x82),
        ("UNSUBSCRIBE from nothing", V5, b"\xA2\x03\0\x01\0", 0x82),
        ("UNSUBSCRIBE with a filter cut short", V5, b"\xA2\x06\0\x01\0\0\x02a", 0x81),
        ("UNSUBACK with codes in 3.1.1", V3_1_1, b"\xB0\x03\0\x01\0", 0x81),
        ("UNSUBACK with a code of SUBACK", V5, b"\xB0\x04\0\x01\0\x01", 0x82),
        // The others.
        ("PINGREQ with a body", V5, b"\xC0\x01\0", 0x81),
        ("PINGRESP with a body", V3_1_1, b"\xD0\x01\0", 0x81),
        ("DISCONNECT with a body in 3.1.1", V3_1_1, b"\xE0\x01\0", 0x81),
        ("DISCONNECT with a code of CONNACK", V5, b"\xE0\x01\x85", 0x82),
        ("DISCONNECT that goes on", V5, b"\xE0\x03\0\0\0", 0x81),
        ("AUTH in 3.1.1", V3_1_1, b"\xF0\0", 0x82),
        ("AUTH without Property Length", V5, b"\xF0\x01\x18", 0x81),
        ("AUTH without method", V5, b"\xF0\x02\x18\0", 0x82),
        ("AUTH with data alone", V5, b"\xF0\x05\x18\x03\x16\0\0", 0x82),
        ("AUTH with a code of DISCONNECT", V5, b"\xF0\x02\x04\0", 0x82),
        ("CONNACK with reserved flags", V3_1_1, b"\x20\x02\x02\0", 0x81),
        ("CONNACK with a Session and an error", V3_1_1, b"\x20\x02\x01\x05", 0x82),
        ("CONNACK with a Session and an error", V5, b"\x20\x03\x01\x87\0", 0x82),
        ("CONNACK with Return Code 6", V3_1_1, b"\x20\x02\0\x06", 0x82),
        ("CONNACK with a code of SUBACK", V5, b"\x20\x03\0\x01\0", 0x82),
        ("CONNACK without Properties", V5, b"\x20\x02\0\0", 0x81),
        ("CONNACK with Maximum QoS 2", V5, b"\x20\x05\0\0\x02\x24\x02", 0x82),
        ("CONNACK with Retain Available 2", V5, b"\x20\x05\0\0\x02\x25\x02", 0x82),
    ];
    for &(what, version, bytes, code) in cases {
        let refusal = decoded(version, bytes).expect_err(what);
        assert_eq!(refusal.code.as_u8(), code, "{what} ({version}): {refusal}");
    }
}

#[test]
fn a_malformed_connect_is_refused_in_the_version_that_the_client_speaks() {
    use Version::*;
    let cases: &[(&str, &[u8], Option<Version>, u8)] = &[
        ("not MQTT", b"\x10\x0D\0\x04HTTP\x04\x02\0\x3C\0\x01c", None, 0x84),
        ("name in lower case", b"\x10\x0D\0\x04mqtt\x04\x02\0\x3C\0\x01c", None, 0x84),
        ("name cut short", b"\x10\x04\0\x04MQ", None, 0x81),
        ("no level", b"\x10\x06\0\x04MQTT", None, 0x81),
        ("no body", b"\x10\0", None, 0x81),
        ("not CONNECT", b"\xC0\0", None, 0x82),
        ("MQTT 3", b"\x10\x0D\0\x04MQTT\x03\x02\0\x3C\0\x01c", Some(V3_1_1), 0x84),
        ("MQTT 6", b"\x10\x0E\0\x04MQTT\x06\x02\0\x3C\0\0\x01c", Some(V5), 0x84),
        ("a bridge's MQTT 4", b"\x10\x0D\0\x04MQTT\x84\x02\0\x3C\0\x01c", Some(V3_1_1), 0x84),
        ("MQIsdp 4", b"\x10\x0F\0\x06MQIsdp\x04\x02\0\x3C\0\x01c", Some(V3_1_1), 0x84),
        ("reserved flag", b"\x10\x0D\0\x04MQTT\x04\x03\0\x3C\0\x01c", Some(V3_1_1), 0x81),
        ("Will QoS without Will", b"\x10\x0D\0\x04MQTT\x04\x0A\0\x3C\0\x01c", Some(V3_1_1), 0x81),
        ("Will Retain without Will", b"\x10\x0E\0\x04MQTT\x05\x22\0\x3C\0\0\x01c", Some(V5), 0x81),
        ("Will QoS 3", b"\x10\x14\0\x04MQTT\x05\x1E\0\x3C\0\0\x01c\0\0\x01w\0\0", Some(V5), 0x81),
        ("Password without User Name", b"\x10\x0F\0\x04MQTT\x04\x42\0\x3C\0\x01c\0\0", Some(V3_1_1), 0x82),
        ("Will Topic with wildcard", b"\x10\x14\0\x04MQTT\x05\x06\0\x3C\0\0\x01c\0\0\x01+\0\0", Some(V5), 0x82),
        ("empty Will Topic", b"\x10\x11\0\x04MQTT\x04\x06\0\x3C\0\x01c\0\0\0\0", Some(V3_1_1), 0x82),
        ("no Will", b"\x10\x0D\0\x04MQTT\x04\x06\0\x3C\0\x01c", Some(V3_1_1), 0x81),
        ("no User Name", b"\x10\x0D\0\x04MQTT\x04\x82\0\x3C\0\x01c", Some(V3_1_1), 0x81),
        ("more behind the last field", b"\x10\x0E\0\x04MQTT\x04\x02\0\x3C\0\x01c\0", Some(V3_1_1), 0x81),
        ("no Client Identifier", b"\x10\x0A\0\x04MQTT\x04\x02\0\x3C", Some(V3_1_1), 0x81),
        ("U+0000 in the Client Identifier", b"\x10\x0D\0\x04MQTT\x04\x02\0\x3C\0\x01\0", Some(V3_1_1), 0x81),
        ("Receive Maximum 0", b"\x10\x11\0\x04MQTT\x05\x02\0\x3C\x03\x21\0\0\0\x01c", Some(V5), 0x82),
        ("Maximum Packet Size 0", b"\x10\x13\0\x04MQTT\x05\x02\0\x3C\x05\x27\0\0\0\0\0\x01c", Some(V5), 0x82),
        ("Authentication Data alone", b"\x10\x11\0\x04MQTT\x05\x02\0\x3C\x03\x16\0\0\0\x01c", Some(V5), 0x82),
        ("Will Delay outside the Will", b"\x10\x13\0\x04MQTT\x05\x02\0\x3C\x05\x18\0\0\0\0\0\x01c", Some(V5), 0x81),
    ];
    for &(what, bytes, version, code) in cases {
        let (frame, _) = split(bytes, NO_LIMIT).unwrap().expect(what);
        let refusal = Connect::decode(frame).expect_err(what);
        assert_eq!((refusal.version, refusal.code.as_u8()), (version, code), "{what}: {}", refusal.why);
    }
}

#[test]
fn an_mqtt_3_1_client_may_announce_strings_and_leave_them_out() {
    let bytes = b"\x10\x0F\0\x06MQIsdp\x03\xC2\0\x3C\0\x01c";
    let Ok(Packet::Connect(connect)) = decoded(Version::V3_1, bytes) else { panic!("refused") };
    assert_eq!((connect.user_name, connect.password), (None, None));
}

#[test]
fn clean_session_says_when_the_session_ends() {
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
fn a_refusal_comes_as_soon_as_it_is_certain() {
    let code = |bytes, max| split(bytes, max).map_err(|refusal| refusal.code);
    assert_eq!(code(b"\x0F", NO_LIMIT), Err(ReasonCode::MalformedPacket));
    assert_eq!(code(b"\x36", NO_LIMIT), Err(ReasonCode::MalformedPacket));
    assert_eq!(code(b"\x80", NO_LIMIT), Err(ReasonCode::MalformedPacket));
    assert_eq!(code(b"\x30\xFF\xFF\xFF\xFF", NO_LIMIT), Err(ReasonCode::MalformedPacket));
    // The whole packet counts: 2 bytes of fixed header and 8 more, 3 and 128.
    assert_eq!(code(b"\x30\x08", 10), Ok(None));
    assert_eq!(code(b"\x30\x08", 9), Err(ReasonCode::PacketTooLarge));
    assert_eq!(code(b"\x30\x80\x01", 131), Ok(None));
    assert_eq!(code(b"\x30\x80\x01", 130), Err(ReasonCode::PacketTooLarge));
    assert_eq!(code(b"\x30\xFF\xFF\xFF\x7F", MAX_PACKET_LEN), Ok(None));
    assert_eq!(code(b"\x30\xFF\xFF\xFF\x7F", MAX_PACKET_LEN - 1), Err(ReasonCode::PacketTooLarge));
    assert_eq!(code(b"", 0), Ok(None));
    assert_eq!(peek_type(b"\x20"), Some(PacketType::ConnAck));
    assert_eq!(peek_type(b"\x0F"), None);
}

#[test]
fn what_a_server_alone_sends_is_refused_from_a_client() {
    let cases: &[&[u8]] = &[
        b"\x20\x03\0\0\0",
        b"\x90\x04\0\x01\0\0",
        b"\xB0\x04\0\x01\0\0",
        b"\xD0\0",
        b"\x30\x06\0\x01a\x02\x0B\x01",
        b"\xE0\x01\x8E",
        b"\xE0\x05\0\x03\x1C\0\0",
        b"\xF0\0",
    ];
    for bytes in cases {
        let refusal = decoded(Version::V5, bytes).unwrap().check_from_client().unwrap_err();
        assert_eq!(refusal.code, ReasonCode::ProtocolError, "{bytes:02X?}");
    }
    for bytes in [&b"\x30\x04\0\x01a\0"[..], b"\xC0\0", b"\xE0\x01\x04", b"\xF0\x06\x19\x04\x15\0\x01m"] {
        assert_eq!(decoded(Version::V5, bytes).unwrap().check_from_client(), Ok(()), "{bytes:02X?}");
    }
}

#[test]
fn before_5_0_all_that_fails_looks_the_same() {
    let codes = [ReasonCode::GrantedQoS1, ReasonCode::NotAuthorized, ReasonCode::QuotaExceeded];
    let mut out = [0; 16];
    let mut writer = Writer::new(&mut out);
    // Any iterator will do.
    let codes = codes.iter().copied().filter(|code| code.is_error());
    SubAck { packet_id: id(1), properties: Properties::EMPTY, codes: codes.clone() }
        .encode(Version::V3_1_1, &mut writer);
    UnsubAck { packet_id: id(1), properties: Properties::EMPTY, codes }.encode(Version::V3_1_1, &mut writer);
    assert_eq!(writer.finish().unwrap(), b"\x90\x04\0\x01\x80\x80\xB0\x02\0\x01");
    for code in ReasonCode::ALL.iter().copied().filter(|code| code.is_allowed_in(PacketType::ConnAck)) {
        let unsaid = matches!(code, ReasonCode::MalformedPacket | ReasonCode::ProtocolError);
        assert_eq!(ConnAck::return_code(code).is_none(), unsaid, "{code}");
    }
}

#[test]
fn a_byte_order_mark_is_kept() {
    let bytes = b"\x30\x06\0\x04\xEF\xBB\xBFa";
    let Ok(Packet::Publish(publish)) = decoded(Version::V3_1_1, bytes) else { panic!("refused") };
    assert_eq!(publish.topic, "\u{FEFF}a");
}

#[test]
fn strings_beyond_their_length_field_are_cut_between_characters() {
    let long = "é".repeat(40_000);
    let mut length = Length::default();
    length.put_string(&long);
    assert_eq!(length.get(), 2 + 65_534);
    let mut length = Length::default();
    length.put_binary(long.as_bytes());
    assert_eq!(length.get(), 2 + 65_535);
}

#[test]
fn a_packet_that_no_remaining_length_can_say_has_no_length() {
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

/// All prefixes and all single flipped bits: no panic. What is accepted is a packet that encodes and decodes to itself.
#[test]
fn damaged_packets_are_refused_or_are_other_packets() {
    for (_, bytes, _) in vectors() {
        for end in 0..bytes.len() {
            assert!(matches!(split(&bytes[..end], NO_LIMIT), Ok(None)), "{bytes:02X?} up to {end}");
        }
        for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
            // The packet's end cut off, with a Remaining Length that says so.
            for end in 2..=bytes.len() {
                let mut damaged = bytes[..end].to_vec();
                damaged[1] = end as u8 - 2;
                refused_or_stable(version, &damaged);
            }
            for bit in 0..bytes.len() * 8 {
                let mut damaged = bytes.to_vec();
                damaged[bit / 8] ^= 1 << (bit % 8);
                refused_or_stable(version, &damaged);
            }
        }
    }
}

fn refused_or_stable(version: Version, bytes: &[u8]) {
    match split(bytes, NO_LIMIT) {
        Ok(Some((frame, _))) => match Packet::decode(version, frame) {
            Ok(packet) => {
                let again = encoded(version, &packet);
                assert_eq!(decoded(version, &again), Ok(packet), "{version}: {bytes:02X?}");
            }
            Err(refusal) => assert!(refusal.code.is_error() && !refusal.why.is_empty(), "{bytes:02X?}"),
        },
        Ok(None) => {}
        Err(refusal) => assert!(refusal.code.is_error() && !refusal.why.is_empty(), "{bytes:02X?}"),
    }
}

/// A CONNECT is the one packet that says its version.
fn in_its_version(version: Version, packet: &Packet<'_>) -> Version {
    if let Packet::Connect(connect) = packet { connect.version } else { version }
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_same((version, packet) in version_and_packet()) {
        let bytes = encoded(version, &packet);
        let again = decoded(version, &bytes);
        prop_assert_eq!(&again, &Ok(packet));
        prop_assert_eq!(encoded(version, &again.unwrap()), bytes);
    }

    #[test]
    fn a_window_at_any_place_shows_the_bytes_of_the_packet((version, packet) in version_and_packet()) {
        let bytes = encoded(version, &packet);
        for skip in 0..=bytes.len() {
            for room in [0, 1, 7, bytes.len() - skip, bytes.len()] {
                let mut out = vec![0; room];
                let mut window = Window::new(skip as u32, &mut out);
                packet.encode(version, &mut window);
                let written = window.written();
                prop_assert_eq!(&out[..written], &bytes[skip..bytes.len().min(skip + room)]);
            }
        }
    }

    #[test]
    fn memory_that_is_too_small_is_noticed((version, packet) in version_and_packet(), missing in 1usize..9) {
        let mut out = vec![0; (packet.encoded_len(version) as usize).saturating_sub(missing)];
        let mut writer = Writer::new(&mut out);
        packet.encode(version, &mut writer);
        prop_assert!(writer.has_overflowed());
        prop_assert_eq!(writer.finish(), None);
    }

    #[test]
    fn truncated_packets_wait_or_are_refused((version, packet) in version_and_packet()) {
        let bytes = encoded(version, &packet);
        for end in 0..bytes.len() {
            prop_assert_eq!(split(&bytes[..end], NO_LIMIT), Ok(None));
        }
        prop_assert_eq!(decoded(in_its_version(version, &packet), &bytes), Ok(packet));
    }

    #[test]
    fn no_bytes_cause_a_panic(version in version(), bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        refused_or_stable(version, &bytes);
    }

    #[test]
    fn flipped_bits_cause_no_panic((version, packet) in version_and_packet(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut bytes = encoded(version, &packet);
        let at = at.index(bytes.len());
        bytes[at] ^= 1u8 << bit;
        refused_or_stable(version, &bytes);
    }

    /// A delivery through [`DeliveryHead`] is the PUBLISH that has the head's Properties followed by the stored ones.
    #[test]
    fn a_delivery_is_a_publish(
        version in version(),
        stored in publish_properties(),
        qos in 0u8..3,
        topic_alias in proptest::option::of(1..=u16::MAX),
        message_expiry_interval in any::<Option<u32>>(),
        identifiers in proptest::collection::vec(1..=MAX_VARINT, 0..3),
        payload in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let qos = QoS::from_bits(qos).unwrap();
        let packet_id = (qos > QoS::AtMostOnce).then_some(id(9));
        let head = DeliveryHead {
            version,
            dup: false,
            qos,
            retain: true,
            packet_id,
            topic_len: 3,
            topic_alias,
            message_expiry_interval,
            subscription_identifiers: identifiers.iter().copied(),
            stored_properties_len: stored.forwardable_len(),
            payload_len: payload.len() as u32,
        };
        let mut out = vec![0; head.packet_len() as usize];
        let mut writer = Writer::new(&mut out);
        head.put_before_topic(&mut writer);
        writer.put(b"a/b");
        head.put_between(&mut writer);
        if head.stored_properties_len() > 0 {
            stored.put_forwardable(&mut writer);
        }
        writer.put(&payload);
        let bytes = writer.finish().unwrap();
        prop_assert_eq!(bytes.len(), head.packet_len() as usize);

        let mut list = Vec::new();
        if version.is_v5() {
            list.extend(topic_alias.map(Property::TopicAlias));
            list.extend(message_expiry_interval.map(Property::MessageExpiryInterval));
            list.extend(identifiers.iter().copied().map(Property::SubscriptionIdentifier));
            list.extend(stored.iter().filter(|property| !matches!(
                property,
                Property::TopicAlias(_) | Property::MessageExpiryInterval(_) | Property::SubscriptionIdentifier(_)
            )));
        }
        let properties = Properties::new(&list);
        let publish = Publish { dup: false, qos, retain: true, topic: "a/b", packet_id, properties, payload: &payload };
        prop_assert_eq!(decoded(version, bytes), Ok(Packet::Publish(publish)));
    }

    /// Forwarding the bytes of decoded Properties gives the bytes that came in, without those that are not passed on.
    #[test]
    fn forwarded_properties_are_unaltered(properties in publish_properties()) {
        let publish = Publish {
            dup: false, qos: QoS::AtMostOnce, retain: false, topic: "t", packet_id: None, properties, payload: b"",
        };
        let bytes = encoded(Version::V5, &Packet::Publish(publish));
        let Ok(Packet::Publish(received)) = decoded(Version::V5, &bytes) else { panic!("refused") };
        let mut expected = vec![0; properties.forwardable_len() as usize];
        let mut writer = Writer::new(&mut expected);
        properties.put_forwardable(&mut writer);
        prop_assert!(writer.finish().is_some());
        let mut out = vec![0; received.properties.forwardable_len() as usize];
        let mut writer = Writer::new(&mut out);
        received.properties.put_forwardable(&mut writer);
        prop_assert_eq!(writer.finish().unwrap(), &expected);
        if let Some(raw) = received.properties.forwardable_verbatim() {
            prop_assert_eq!(raw, &expected);
        }
    }

    #[test]
    fn getters_find_what_iteration_finds(properties in publish_properties()) {
        let find = |id| properties.iter().find(|property| property.id() == id);
        prop_assert_eq!(properties.topic_alias().map(Property::TopicAlias), find(PropertyId::TopicAlias));
        prop_assert_eq!(properties.content_type().map(Property::ContentType), find(PropertyId::ContentType));
        prop_assert_eq!(properties.user_properties().count() + properties.subscription_identifiers().count(),
            properties.iter().filter(|p| matches!(p, Property::UserProperty(..) | Property::SubscriptionIdentifier(_))).count());
        prop_assert_eq!(properties.count() as usize, properties.iter().count());
        prop_assert_eq!(properties.is_empty(), properties.iter().next().is_none());
    }

    #[test]
    fn clients_may_send_most_of_what_they_can(packet in packet(Version::V3_1_1)) {
        let from_client = packet.packet_type().is_from_client();
        prop_assert_eq!(packet.check_from_client().is_ok(), from_client);
    }
}
