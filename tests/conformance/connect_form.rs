//! The bytes of CONNECT (sections 3.1.1 to 3.1.3), and other packets that come first.

use goldcrest_core::codec::*;
use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;
use goldcrest_tests::packets::*;

const MALFORMED: &[ReasonCode] = &[ReasonCode::MalformedPacket];
const WRONG: &[ReasonCode] = &[ReasonCode::MalformedPacket, ReasonCode::ProtocolError];

/// The whole payload of a CONNECT with the identifier `c` and a Will.
fn with_will(version: Version) -> Vec<u8> {
    [field(b"c"), properties(version, &[]), field(b"will/topic"), field(b"payload")].concat()
}

/// [MQTT-3.1.0-1] [MQTT-3.2.0-1] [MQTT-3.14.0-1]
/// v3.1.1 [MQTT-3.1.0-1] [MQTT-3.2.0-1]
#[conformance]
fn a_first_packet_other_than_connect_closes_the_connection(bed: &mut Bed) {
    let version = bed.version();
    let mut s = bed.connect("s");
    s.subscribe(1, "#", 0);
    let none = properties(version, &[]);
    let packets = [
        raw(0x20, &[&[0, 0][..], &none].concat()),
        publish("a", "x").retain().wire(version),
        publish("a", "x").q2(1).wire(version),
        puback(1).wire(version),
        pubrec(1).wire(version),
        pubrel(1).wire(version),
        pubcomp(1).wire(version),
        subscribe(1, "a", 0).wire(version),
        raw(0x90, &[&[0, 1][..], &none, &[0]].concat()),
        unsubscribe(1, &["a"]).wire(version),
        raw(0xB0, &[0, 1]),
        PINGREQ.to_vec(),
        vec![0xD0, 0],
        DISCONNECT.to_vec(),
        raw(0xF0, b"\x18\x07\x15\0\x04TEST"),
    ];
    for packet in packets {
        let mut c = bed.open("c");
        c.send(packet);
        c.expect_closed();
    }
    s.expect_quiet();
    s.subscribe(2, "a", 0);
    s.expect_quiet();
}

/// [MQTT-3.1.0-2] [MQTT-3.2.0-2] [MQTT-4.13.1-1]
/// v3.1.1 [MQTT-3.1.0-2] [MQTT-4.8.0-1]
#[conformance]
fn a_second_connect_is_a_protocol_error(bed: &mut Bed) {
    let mut other = bed.connect("other");
    for id in ["c", "other"] {
        let c = bed.connect("c");
        bed.refuse(c, client(id), &[ReasonCode::ProtocolError]);
    }
    other.ping();
}

/// [MQTT-3.1.2-1]
/// v3.1.1 [MQTT-3.1.2-1]
#[conformance]
fn a_wrong_protocol_name_is_refused(bed: &mut Bed) {
    let version = bed.version();
    for name in [&b"MQTX"[..], b"mqtt", b"MQIsd", b"", b"MQTTT"] {
        let body = [field(name), vec![version.level(), 2, 0, 60], properties(version, &[]), field(b"c")].concat();
        let mut c = bed.open("c");
        c.send(raw(0x10, &body));
        c.expect_closed();
    }
    let (_, connack) = bed.connect_for(client("c").clean_start(false));
    assert!(!connack.session_present());
}

/// MQTT 3.1.1 has a Return Code for an unsupported level, MQTT 5.0 a Reason Code. A client that asks for a level above
/// 5 is answered with the Reason Code.
/// [MQTT-3.1.2-2]
/// v3.1.1 [MQTT-3.1.2-2] [MQTT-3.2.2-4] [MQTT-3.2.2-5]
#[conformance]
fn an_unsupported_protocol_level_is_refused_with_a_code(bed: &mut Bed) {
    // The bit of a bridge is defined for the levels 3 and 4 alone.
    for level in [0, 3, 6, 0x80, 0x83, 0x85, 0xFF] {
        let body = [field(b"MQTT"), vec![level, 2, 0, 60, 0], field(b"c")].concat();
        let mut c = bed.open_in(if level & 0x7F > 5 { Version::V5 } else { Version::V3_1_1 }, "c");
        c.send(raw(0x10, &body));
        if c.is_v5() {
            let connack = c.expect_connack(ReasonCode::UnsupportedProtocolVersion);
            assert_eq!(connack.bytes()[2..4], [0, 0x84]);
        } else {
            c.expect_bytes(&[0x20, 2, 0, 1]);
        }
        c.expect_closed();
    }
}

/// Clients of MQTT 3.1, 3.1.1 and 5.0 exchange messages. CONNACK of MQTT 3.1 has no Session Present.
#[conformance]
fn clients_of_mqtt_3_1_are_served_beside_newer_ones(bed: &mut Bed) {
    let old = client("old").version(Version::V3_1);
    for _ in 0..2 {
        let mut s = bed.begin(old.keep());
        s.expect_bytes(&[0x20, 2, 0, 0]);
        s.cut();
    }
    let mut all = [("x", Version::V3_1), ("y", Version::V3_1_1), ("z", Version::V5)]
        .map(|(id, version)| bed.connect(client(id).version(version)));
    for peer in &mut all {
        peer.subscribe(1, "a", 2);
    }
    for from in 0..all.len() {
        all[from].publish("a", "hello", 0);
        for peer in &mut all {
            peer.take_publish("a", "hello", 0);
        }
    }
}

/// [MQTT-3.1.2-3]
/// v3.1.1 [MQTT-3.1.2-3] [MQTT-3.1.4-1] [MQTT-3.2.2-6]
#[conformance]
fn a_connect_with_the_reserved_flag_is_refused(bed: &mut Bed) {
    let version = bed.version();
    bed.refuse_connect(raw_connect(version, 0b11, &field(b"c")), MALFORMED, None);
}

/// [MQTT-3.1.2-11]
/// v3.1.1 [MQTT-3.1.2-11] [MQTT-3.1.2-13]
#[conformance]
fn a_will_qos_without_the_will_flag_is_refused(bed: &mut Bed) {
    let version = bed.version();
    for flags in [0x0A, 0x12, 0x1A] {
        bed.refuse_connect(raw_connect(version, flags, &field(b"c")), MALFORMED, None);
    }
}

/// [MQTT-3.1.2-13]
/// v3.1.1 [MQTT-3.1.2-11] [MQTT-3.1.2-15]
#[conformance]
fn will_retain_without_the_will_flag_is_refused(bed: &mut Bed) {
    let version = bed.version();
    bed.refuse_connect(raw_connect(version, 0x22, &field(b"c")), MALFORMED, None);
}

/// [MQTT-3.1.2-12]
/// v3.1.1 [MQTT-3.1.2-14]
#[conformance]
fn will_qos_3_is_refused(bed: &mut Bed) {
    let version = bed.version();
    bed.refuse_connect(raw_connect(version, 0x1E, &with_will(version)), MALFORMED, None);
}

/// [MQTT-3.1.2-12]
/// v3.1.1 [MQTT-3.1.2-14] [MQTT-3.1.2-9]
#[conformance]
fn a_will_is_published_with_its_qos(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.subscribe(1, "w", 2);
    for (id, level) in [("zero", 0), ("one", 1), ("two", 2)] {
        bed.connect(client(id).will(will("w", id, level))).cut();
        s.take_publish("w", id, level);
    }
}

/// [MQTT-3.1.2-9]
/// v3.1.1 [MQTT-3.1.2-9]
#[conformance]
fn a_will_flag_without_the_fields_of_a_will_is_refused(bed: &mut Bed) {
    let version = bed.version();
    let none = properties(version, &[]);
    let mut payloads = vec![field(b"c"), [field(b"c"), none.clone(), field(b"topic")].concat()];
    if bed.is_v5() {
        payloads.push([field(b"c"), none].concat());
        payloads.push([field(b"c"), field(b"topic"), field(b"payload")].concat());
    }
    for payload in payloads {
        bed.refuse_connect(raw_connect(version, 0b110, &payload), WRONG, None);
    }
}

/// [MQTT-3.1.4-1]
/// v3.1.1 [MQTT-3.1.2-11]
#[conformance]
fn the_fields_of_a_will_without_the_will_flag_are_refused(bed: &mut Bed) {
    let version = bed.version();
    bed.refuse_connect(raw_connect(version, 0b010, &with_will(version)), MALFORMED, None);
}

/// [MQTT-3.1.2-16] [MQTT-3.1.2-17]
/// v3.1.1 [MQTT-3.1.2-18] [MQTT-3.1.2-19]
#[conformance]
fn the_user_name_flag_must_agree_with_the_payload(bed: &mut Bed) {
    let version = bed.version();
    bed.refuse_connect(raw_connect(version, 0x82, &field(b"c")), MALFORMED, None);
    bed.refuse_connect(raw_connect(version, 0x02, &[field(b"c"), field(b"user")].concat()), MALFORMED, None);
}

/// [MQTT-3.1.2-18] [MQTT-3.1.2-19]
/// v3.1.1 [MQTT-3.1.2-20] [MQTT-3.1.2-21]
#[conformance]
fn the_password_flag_must_agree_with_the_payload(bed: &mut Bed) {
    let version = bed.version();
    let user = [field(b"c"), field(b"user")].concat();
    bed.refuse_connect(raw_connect(version, 0xC2, &user), MALFORMED, None);
    bed.refuse_connect(raw_connect(version, 0x82, &[user, field(b"password")].concat()), MALFORMED, None);
}

/// The payload is empty. An empty Client Identifier would be a length of 0, and here not even the length is there.
/// [MQTT-3.1.3-3]
/// v3.1.1 [MQTT-3.1.3-3] [MQTT-3.1.4-1]
#[conformance]
fn a_connect_without_a_client_identifier_field_is_refused(bed: &mut Bed) {
    let version = bed.version();
    bed.refuse_connect(raw_connect(version, 0b010, &[]), MALFORMED, None);
}

/// The CONNECT is cut at each of its bytes, with a Remaining Length that fits what is left.
/// [MQTT-3.1.4-1]
/// v3.1.1 [MQTT-3.1.4-1] [MQTT-3.2.2-6]
#[conformance]
fn a_connect_that_ends_too_early_is_refused(bed: &mut Bed) {
    let whole = client("c")
        .will(will("topic", "payload", 1))
        .user_name("user")
        .password(b"password")
        .session_expiry(9)
        .wire(bed.version());
    let body = &whole[2..];
    bed.check_honest();
    for len in 0..body.len() {
        let mut c = bed.open("c");
        c.send(raw(0x10, &body[..len]));
        // Before the byte with the level, every version closes without a CONNACK.
        if bed.is_v5() && len >= 7 {
            let code = c.expect().code();
            assert!(WRONG.contains(&code), "{code}");
        }
        c.expect_closed();
    }
    bed.check_honest();
}

/// [MQTT-3.1.4-1] [MQTT-4.13.1-1]
#[conformance(v5)]
fn a_connect_with_wrong_properties_is_refused(bed: &mut Bed) {
    let bad: [&[u8]; 5] =
        [b"\x16\0\x01x", b"\x21\0\0", b"\x27\0\0\0\0", b"\x21\0\x09\x21\0\x09", b"\x27\0\0\x10\0\x27\0\0\x10\0"];
    for list in bad {
        let body = [field(b"MQTT"), vec![5, 2, 0, 60], properties(Version::V5, list), field(b"c")].concat();
        bed.refuse_connect(raw(0x10, &body), WRONG, None);
    }
}
