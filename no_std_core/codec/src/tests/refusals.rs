//! Packets that are refused, and with which Reason Code.

use super::*;
use Version::{V3_1, V3_1_1, V5};

/// What is wrong, the version of the connection, the packet, and the Reason Code of the refusal.
type Case = (&'static str, Version, &'static [u8], u8);

/// What is wrong in a fixed header.
const FIXED_HEADER: &[Case] = &[
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
];

/// What is wrong in a PUBLISH.
const PUBLISH: &[Case] = &[
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
];

/// What is wrong in PUBACK, PUBREC, PUBREL and PUBCOMP.
const ACKNOWLEDGEMENTS: &[Case] = &[
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
];

/// What is wrong in SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK.
const SUBSCRIPTIONS: &[Case] = &[
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
];

/// What is wrong in the other packets, except CONNECT.
const OTHERS: &[Case] = &[
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

#[test]
fn a_malformed_packet_is_refused_with_the_reason_code_of_the_specification() {
    for &(what, version, bytes, code) in
        [FIXED_HEADER, PUBLISH, ACKNOWLEDGEMENTS, SUBSCRIPTIONS, OTHERS].concat().iter()
    {
        let refusal = decoded(version, bytes).expect_err(what);
        assert_eq!(refusal.code.as_u8(), code, "{what} ({version}): {refusal}");
    }
}

#[test]
fn a_malformed_connect_is_refused_in_the_version_that_the_client_speaks() {
    let cases: &[(&str, &[u8], Option<Version>, u8)] = &[
        ("not MQTT", b"\x10\x0D\0\x04HTTP\x04\x02\0\x3C\0\x01c", None, 0x84),
        ("name in lower case", b"\x10\x0D\0\x04mqtt\x04\x02\0\x3C\0\x01c", None, 0x84),
        ("name cut short", b"\x10\x04\0\x04MQ", None, 0x81),
        ("no level", b"\x10\x06\0\x04MQTT", None, 0x81),
        ("no body", b"\x10\0", None, 0x81),
        ("not CONNECT", b"\xC0\0", None, 0x82),
        ("MQTT 3", b"\x10\x0D\0\x04MQTT\x03\x02\0\x3C\0\x01c", Some(V3_1_1), 0x84),
        ("MQTT 6", b"\x10\x0E\0\x04MQTT\x06\x02\0\x3C\0\0\x01c", Some(V5), 0x84),
        ("a bridge's MQTT 5", b"\x10\x0E\0\x04MQTT\x85\x02\0\x3C\0\0\x01c", Some(V3_1_1), 0x84),
        ("a bridge's MQIsdp 4", b"\x10\x0F\0\x06MQIsdp\x84\x02\0\x3C\0\x01c", Some(V3_1_1), 0x84),
        ("Remaining Length in two bytes", b"\x10\x8E\0\0\x04MQTT\x05\x02\0\x3C\0\0\x01c", Some(V5), 0x81),
        ("flags in 3.1.1", b"\x14\x0D\0\x04MQTT\x04\x02\0\x3C\0\x01c", Some(V3_1_1), 0x81),
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

/// There are clients of MQTT 3.1 that set flags which MQTT 3.1 does not use, and clients of MQTT 3.x that write the Remaining
/// Length with more bytes than it needs. A bug of the past: they were refused, although their specifications forbid neither.
#[test]
fn packet_forms_that_only_later_versions_forbid_are_accepted_in_older_versions() {
    type Case = (&'static str, &'static [Version], &'static [u8], &'static [u8]);
    let cases: &[Case] = &[
        ("PINGREQ", &[V3_1, V3_1_1], b"\xC0\x80\0", b"\xC0\0"),
        ("PINGREQ in four bytes", &[V3_1, V3_1_1], b"\xC0\x80\x80\x80\0", b"\xC0\0"),
        ("PUBLISH", &[V3_1, V3_1_1], b"\x30\x84\0\0\x01ab", b"\x30\x04\0\x01ab"),
        ("DUP with QoS 0", &[V3_1], b"\x38\x04\0\x01ab", b"\x30\x04\0\x01ab"),
        ("flags of PUBACK", &[V3_1], b"\x4A\x02\0\x01", b"\x40\x02\0\x01"),
        ("RETAIN in PUBREL", &[V3_1], b"\x63\x02\0\x01", b"\x62\x02\0\x01"),
        ("DUP and RETAIN in SUBSCRIBE", &[V3_1], b"\x8B\x06\0\x01\0\x01a\x01", b"\x82\x06\0\x01\0\x01a\x01"),
        ("bits beside the QoS", &[V3_1], b"\x82\x06\0\x01\0\x01a\xFD", b"\x82\x06\0\x01\0\x01a\x01"),
        ("flags of PINGREQ", &[V3_1], b"\xCF\0", b"\xC0\0"),
        ("flags of DISCONNECT", &[V3_1], b"\xE2\0", b"\xE0\0"),
    ];
    for &(what, versions, bytes, plain) in cases {
        for version in [V3_1, V3_1_1, V5] {
            if versions.contains(&version) {
                assert_eq!(decoded(version, bytes), decoded(version, plain), "{what} ({version})");
                assert!(decoded(version, bytes).is_ok(), "{what} ({version})");
            } else {
                let refusal = decoded(version, bytes).expect_err(what);
                assert_eq!(refusal.code, ReasonCode::MalformedPacket, "{what} ({version}): {refusal}");
            }
        }
    }
    let connects: &[(&str, &[u8])] = &[
        ("flags", b"\x14\x0F\0\x06MQIsdp\x03\x02\0\x3C\0\x01c"),
        ("all flags", b"\x1F\x0F\0\x06MQIsdp\x03\x02\0\x3C\0\x01c"),
        ("Remaining Length in two bytes", b"\x10\x8F\0\0\x06MQIsdp\x03\x02\0\x3C\0\x01c"),
        ("QoS and Retain of no Will", b"\x10\x0F\0\x06MQIsdp\x03\x3A\0\x3C\0\x01c"),
        ("3.1.1, Remaining Length in two bytes", b"\x10\x8D\0\0\x04MQTT\x04\x02\0\x3C\0\x01c"),
    ];
    for &(what, bytes) in connects {
        assert_eq!(packet_len(bytes), Some(bytes.len() as u32), "{what}");
        let (frame, len) = split(bytes, NO_LIMIT).unwrap().expect(what);
        assert_eq!(len, bytes.len(), "{what}");
        let connect = Connect::decode(frame).expect(what);
        assert_eq!((connect.client_id, connect.will), ("c", None), "{what}");
    }
}

/// A strict subscriber to `#` would close its connection when a message with such a topic comes.
#[test]
fn control_characters_are_refused_in_frames_that_require_plain_text() {
    let plain = |bytes: &[u8]| {
        let (frame, _) = split(bytes, NO_LIMIT).unwrap().unwrap();
        Packet::decode(V5, frame.with_plain_text(true)).map(|_| ()).map_err(|refusal| refusal.code.as_u8())
    };
    let refused =
        ["\u{1}", "\u{1f}", "\u{7f}", "\u{80}", "\u{9f}", "\u{fdd0}", "\u{fdef}", "\u{fffe}", "\u{ffff}", "\u{1fffe}"];
    let taken =
        [" ", "~", "\u{a0}", "\u{fdcf}", "\u{fdf0}", "\u{fefe}", "\u{feff}", "\u{fffd}", "\u{1fffd}", "\u{10000}", "é"];
    for (text, is_refused) in refused.map(|text| (text, true)).into_iter().chain(taken.map(|text| (text, false))) {
        let text = std::format!("a{text}");
        let lists =
            [[Property::ResponseTopic(&text)], [Property::ContentType(&text)], [Property::UserProperty("k", &text)]];
        let [response_topic, content_type, user_property] =
            lists.each_ref().map(|list| Publish { properties: Properties::new(list), ..publish() });
        let packets = [
            (Publish { topic: &text, ..publish() }, 0x90),
            (response_topic, 0x90),
            (content_type, 0x81),
            (user_property, 0x81),
        ];
        for (packet, code) in packets {
            let bytes = encoded(V5, &Packet::Publish(packet));
            assert_eq!(plain(&bytes), if is_refused { Err(code) } else { Ok(()) }, "{packet:?}");
            assert!(decoded(V5, &bytes).is_ok(), "{packet:?}");
        }
        let will =
            Will { qos: QoS::AtMostOnce, retain: false, properties: Properties::EMPTY, topic: &text, payload: b"" };
        let connects = [
            (Connect { client_id: &text, ..connect() }, 0x85),
            (Connect { user_name: Some(&text), ..connect() }, 0x81),
            (Connect { will: Some(will), ..connect() }, 0x90),
            // A Password may have any bytes.
            (Connect { password: Some(text.as_bytes()), ..connect() }, 0),
        ];
        for (packet, code) in connects {
            let bytes = encoded(V5, &Packet::Connect(packet));
            assert_eq!(plain(&bytes), if is_refused && code > 0 { Err(code) } else { Ok(()) }, "{packet:?}");
        }
    }
    assert_eq!(plain(b"\x30\x06\0\x03+\x01#\0"), Err(0x90));
    assert_eq!(plain(b"\x30\x06\0\x03\0\x01#\0"), Err(0x81));
}

fn publish() -> Publish<'static> {
    Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: "t",
        packet_id: None,
        properties: Properties::EMPTY,
        payload: b"",
    }
}

fn connect() -> Connect<'static> {
    Connect {
        version: Version::V5,
        is_bridge: false,
        clean_start: true,
        keep_alive: 60,
        properties: Properties::EMPTY,
        client_id: "c",
        will: None,
        user_name: None,
        password: None,
    }
}

#[test]
fn a_refusal_comes_as_soon_as_it_is_certain() {
    let code = |bytes, max| split(bytes, max).map_err(|refusal| refusal.code);
    assert_eq!(code(b"\x0F", NO_LIMIT), Err(ReasonCode::MalformedPacket));
    assert_eq!(code(b"\x36", NO_LIMIT), Err(ReasonCode::MalformedPacket));
    assert_eq!(code(b"\x80", NO_LIMIT), Err(ReasonCode::MalformedPacket));
    assert_eq!(code(b"\x30\xFF\xFF\xFF\xFF", NO_LIMIT), Err(ReasonCode::MalformedPacket));
    // The limit is for the whole packet: 2 bytes of fixed header and 8 of body, then 3 and 128.
    assert_eq!(code(b"\x30\x08", 10), Ok(None));
    assert_eq!(code(b"\x30\x08", 9), Err(ReasonCode::PacketTooLarge));
    assert_eq!(code(b"\x30\x80\x01", 131), Ok(None));
    assert_eq!(code(b"\x30\x80\x01", 130), Err(ReasonCode::PacketTooLarge));
    assert_eq!(code(b"\x30\xFF\xFF\xFF\x7F", MAX_PACKET_LEN), Ok(None));
    assert_eq!(code(b"\x30\xFF\xFF\xFF\x7F", MAX_PACKET_LEN - 1), Err(ReasonCode::PacketTooLarge));
    assert_eq!(code(b"", 0), Ok(None));
    assert_eq!(peek_type(b"\x20"), Some(PacketType::ConnAck));
    assert_eq!(peek_type(b"\x0F"), None);
    assert_eq!(packet_len(b"\x30\xFF\xFF\xFF\x7F"), Some(MAX_PACKET_LEN));
    assert_eq!(packet_len(b"\x30\xFF\xFF\xFF\xFF"), None);
}

#[test]
fn a_packet_that_only_a_server_may_send_is_refused_from_a_client() {
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
