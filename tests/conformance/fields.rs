//! Properties and Packet Identifiers (section 2.2).

use goldcrest_core::codec::*;
use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;
use goldcrest_tests::packets::*;

const WRONG: &[ReasonCode] = &[ReasonCode::MalformedPacket, ReasonCode::ProtocolError];
const PROTOCOL_ERROR: &[ReasonCode] = &[ReasonCode::ProtocolError];
const V5: Version = Version::V5;

/// Each Property once, with a value that is allowed where the Property is allowed.
const ALL: [&[u8]; 27] = [
    b"\x01\x01",
    b"\x02\0\0\0\x09",
    b"\x03\0\x01x",
    b"\x08\0\x01x",
    b"\x09\0\x01x",
    b"\x0b\x01",
    b"\x11\0\0\0\0",
    b"\x12\0\x01x",
    b"\x13\0\x09",
    b"\x15\0\x01x",
    b"\x16\0\x01x",
    b"\x17\x01",
    b"\x18\0\0\0\x09",
    b"\x19\x01",
    b"\x1a\0\x01x",
    b"\x1c\0\x01x",
    b"\x1f\0\x01x",
    b"\x21\0\x09",
    b"\x22\0\x09",
    b"\x23\0\x01",
    b"\x24\x01",
    b"\x25\x01",
    b"\x26\0\x01x\0\x01x",
    b"\x27\0\0\x10\0",
    b"\x28\x01",
    b"\x29\x01",
    b"\x2a\x01",
];

/// The Properties that each packet of a client may have.
const CONNECT: &[u8] = &[0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27];
const WILL: &[u8] = &[0x01, 0x02, 0x03, 0x08, 0x09, 0x18, 0x26];
const PUBLISH: &[u8] = &[0x01, 0x02, 0x03, 0x08, 0x09, 0x23, 0x26];
const SUBSCRIBE: &[u8] = &[0x0B, 0x26];
const UNSUBSCRIBE: &[u8] = &[0x26];
const ACK: &[u8] = &[0x1F, 0x26];
const DISCONNECT: &[u8] = &[0x11, 0x1F, 0x26];
const AUTH: &[u8] = &[0x15, 0x16, 0x1F, 0x26];

fn connect_with(list: &[u8]) -> Vec<u8> {
    let head = [&field(b"MQTT")[..], &[5, 2, 0, 60]].concat();
    raw(0x10, &[head, properties(V5, list), field(b"c")].concat())
}

fn will_with(list: &[u8]) -> Vec<u8> {
    raw_connect(V5, 0b110, &[field(b"c"), properties(V5, list), field(b"w"), field(b"")].concat())
}

/// Each packet of a client but CONNECT with these Properties, and the identifiers of the Properties that the packet may
/// have.
fn packets_with(list: &[u8]) -> Vec<(Vec<u8>, &'static [u8])> {
    let list = properties(V5, list);
    let around = |first, before: &[u8], after: &[u8]| raw(first, &[before, &list, after].concat());
    vec![
        (around(0x30, b"\0\x01a", b""), PUBLISH),
        (around(0x40, b"\0\x01\0", b""), ACK),
        (around(0x50, b"\0\x01\0", b""), ACK),
        (around(0x62, b"\0\x01\0", b""), ACK),
        (around(0x70, b"\0\x01\0", b""), ACK),
        (around(0x82, b"\0\x01", b"\0\x01a\0"), SUBSCRIBE),
        (around(0xA2, b"\0\x01", b"\0\x01a"), UNSUBSCRIBE),
        (around(0xE0, b"\0", b""), DISCONNECT),
        (around(0xF0, b"\x19", b""), AUTH),
    ]
}

/// Without a Property Length the next field is read as the length, which never fits.
/// [MQTT-2.2.2-1]
#[conformance(v5)]
fn a_packet_without_a_property_length_is_refused(bed: &mut Bed) {
    let head = [&field(b"MQTT")[..], &[5, 2, 0, 60]].concat();
    bed.refuse_connect(raw(0x10, &head), WRONG, None);
    bed.refuse_connect(raw(0x10, &[head, field(b"client")].concat()), WRONG, None);
    let will = raw_connect(V5, 0b110, &[field(b"c"), field(b"will"), field(b"")].concat());
    bed.refuse_connect(will, WRONG, None);
    for packet in [raw(0x82, b"\0\x01"), raw(0xA2, b"\0\x01"), raw(0x30, b"\0\x01a"), raw(0x32, b"\0\x01a\0\x01")] {
        let c = bed.connect("c");
        bed.refuse(c, packet, WRONG);
    }
    for packet in [raw(0x82, b"\0\x01\0\x01a\0"), raw(0xA2, b"\0\x01\0\x01a")] {
        let c = bed.connect("c");
        bed.refuse(c, packet, WRONG);
    }
}

/// [MQTT-2.2.2-1]
#[conformance(v5)]
fn the_server_sends_a_property_length_of_0(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.send(subscribe(1, "a", 0));
    s.expect_bytes(b"\x90\x04\0\x01\0\0");
    let mut p = bed.connect("p");
    p.publish("a", "x", 0);
    s.expect_bytes(b"\x30\x05\0\x01a\0x");
    s.send(unsubscribe(2, &["a"]));
    s.expect_bytes(b"\xb0\x04\0\x02\0\0");
    s.subscribe(3, "b", 0);
    p.send(publish("b", "x").q1(9));
    let puback = p.expect_puback(9);
    assert!(puback.bytes() == b"\x40\x02\0\x09" || puback.bytes() == b"\x40\x04\0\x09\0\0", "{:?}", puback.bytes());
}

/// [MQTT-4.13.1-1]
#[conformance(v5)]
fn a_property_in_a_packet_that_may_not_have_it_is_refused(bed: &mut Bed) {
    for property in ALL {
        if !CONNECT.contains(&property[0]) {
            bed.refuse_connect(connect_with(property), WRONG, None);
        }
        if !WILL.contains(&property[0]) {
            bed.refuse_connect(will_with(property), WRONG, None);
        }
        for (packet, _) in packets_with(property).into_iter().filter(|(_, allowed)| !allowed.contains(&property[0])) {
            let c = bed.connect("c");
            bed.refuse(c, packet, WRONG);
        }
    }
}

/// Every Property but User Property may stand once, even with the same value.
/// [MQTT-4.13.1-1]
#[conformance(v5)]
fn a_property_that_stands_twice_is_refused(bed: &mut Bed) {
    for property in ALL.into_iter().filter(|property| property[0] != 0x26) {
        let twice = property.repeat(2);
        if CONNECT.contains(&property[0]) {
            bed.refuse_connect(connect_with(&twice), PROTOCOL_ERROR, None);
        }
        if WILL.contains(&property[0]) {
            bed.refuse_connect(will_with(&twice), PROTOCOL_ERROR, None);
        }
        for (packet, _) in packets_with(&twice).into_iter().filter(|(_, allowed)| allowed.contains(&property[0])) {
            let c = bed.connect("c");
            bed.refuse(c, packet, PROTOCOL_ERROR);
        }
    }
}

/// [MQTT-4.13.1-1]
#[conformance(v5)]
fn a_property_with_a_wrong_value_is_refused(bed: &mut Bed) {
    let connects: [&[u8]; 6] = [b"\x17\x02", b"\x19\x02", b"\x21\0\0", b"\x27\0\0\0\0", b"\x7e\x00", b"\x00\x00"];
    for property in connects {
        bed.refuse_connect(connect_with(property), WRONG, None);
    }
    for property in [&b"\x01\x02"[..], b"\x7e\x00"] {
        let c = bed.connect("c");
        bed.refuse(c, raw_publish(V5, 0x30, b"a", None, property), WRONG);
    }
    let c = bed.connect("c");
    bed.refuse(c, raw_publish(V5, 0x30, b"a", None, b"\x23\0\0"), &[ReasonCode::TopicAliasInvalid]);
    let c = bed.connect("c");
    bed.refuse(c, raw(0x82, b"\0\x01\x02\x0b\0\0\x01a\0"), WRONG);
}

/// [MQTT-2.2.1-3]
/// v3.1.1 [MQTT-2.3.1-1]
#[conformance]
fn packet_identifier_0_is_refused(bed: &mut Bed) {
    let version = bed.version();
    let none = properties(version, &[]);
    let mut s = bed.connect("s");
    s.subscribe(1, "a", 2);
    let packets = [
        raw(0x82, &[&b"\0\0"[..], &none, b"\0\x01a\0"].concat()),
        raw(0xA2, &[&b"\0\0"[..], &none, b"\0\x01a"].concat()),
        raw_publish(version, 0x32, b"a", Some(0), &[]),
        raw_publish(version, 0x34, b"a", Some(0), &[]),
    ];
    for packet in packets {
        let c = bed.connect("c");
        bed.refuse(c, packet, WRONG);
    }
    s.expect_quiet();
}

/// Two bytes behind the topic belong to the payload. The server sends no Packet Identifier between topic and payload
/// either.
/// [MQTT-2.2.1-2]
/// v3.1.1 [MQTT-2.3.1-5]
#[conformance]
fn a_publish_of_qos_0_has_no_packet_identifier(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.subscribe(1, "a", 2);
    let mut p = bed.connect("p");
    p.send(bed.either(raw(0x30, b"\0\x01a\0\x07"), raw(0x30, b"\0\x01a\0\0\x07")));
    s.expect_bytes(bed.either(b"\x30\x05\0\x01a\0\x07", b"\x30\x06\0\x01a\0\0\x07"));
}

/// The server's Packet Identifiers are never 0 and never those of messages in flight, even after the Identifiers have
/// passed 65,535 and begun again.
/// [MQTT-2.2.1-4] [MQTT-4.3.2-1] [MQTT-4.3.3-1]
/// v3.1.1 [MQTT-2.3.1-4]
#[conformance(in_memory = "131,200 handshakes")]
fn the_server_uses_packet_identifiers_that_are_free(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.subscribe(1, "a", 2);
    let mut p = bed.connect("p");
    let mut held = Vec::new();
    for level in [1, 2, 1] {
        p.publish("a", "held", level);
        held.push(s.expect_publish("a", "held", level).id());
    }
    s.send(pubrec(held[1]));
    s.expect_pubrel(held[1]);
    s.send(pubcomp(held.remove(1)));
    bed.forget_transcript();
    let mut wraps = 0;
    let mut last = 0;
    for _ in 0..131_200 {
        p.send(publish("a", "").q1(1));
        p.expect_puback(1);
        let id = s.expect_publish("a", "", 1).id();
        assert!(id != 0 && !held.contains(&id), "{id}");
        if id == u16::MAX {
            held.push(id);
        } else {
            s.send(puback(id));
        }
        wraps += u8::from(id < last);
        last = id;
        bed.forget_transcript();
    }
    assert_eq!(wraps, 2);
    for id in held {
        s.send(puback(id));
    }
}

/// [MQTT-2.2.1-5] [MQTT-2.2.1-6] [MQTT-3.8.4-2] [MQTT-3.10.4-5]
/// v3.1.1 [MQTT-2.3.1-6] [MQTT-2.3.1-7] [MQTT-3.8.4-2] [MQTT-3.10.4-4]
#[conformance]
fn acknowledgements_carry_the_clients_packet_identifier(bed: &mut Bed) {
    let mut c = bed.connect("c");
    for id in [1, 0x0100, 0xFFFF] {
        c.send(publish("a", "").q1(id));
        c.expect_puback(id);
        c.send(publish("a", "").q2(id));
        c.expect_pubrec(id);
        c.send(pubrel(id));
        c.expect_pubcomp(id);
        c.send(subscribe(id, "b", 0));
        c.expect_suback(id, &[0]);
        c.send(unsubscribe(id, &["b"]));
        c.expect_unsuback(id, &[0]);
    }
}

/// [MQTT-2.2.1-5] [MQTT-4.3.3-4]
/// v3.1.1 [MQTT-2.3.1-6]
#[conformance]
fn pubrel_carries_the_packet_identifier_of_its_publish(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.subscribe(1, "a", 2);
    bed.connect("p").publish("a", "x", 2);
    let id = s.expect_publish("a", "x", 2).id();
    s.send(pubrec(id));
    let pubrel = s.expect_pubrel(id);
    assert_eq!(pubrel.bytes()[..4], [&[0x62, 0x02][..], &id.to_be_bytes()].concat());
}

/// The same Packet Identifier in both directions means two messages.
/// [MQTT-4.3.2-1]
/// v3.1.1 [MQTT-2.3.1-4]
#[conformance]
fn client_and_server_have_packet_identifiers_of_their_own(bed: &mut Bed) {
    let mut c = bed.connect("c");
    c.subscribe(1, "to/c", 2);
    let mut s = bed.connect("s");
    s.subscribe(1, "from/c", 2);
    let mut p = bed.connect("p");
    for level in [1, 2] {
        p.publish("to/c", "in", level);
        let id = c.expect_publish("to/c", "in", level).id();
        c.send(publish("from/c", "out").q2(id));
        c.expect_pubrec(id);
        s.take_publish("from/c", "out", 2);
        if level == 1 {
            c.send(puback(id));
            c.send(pubrel(id));
            c.expect_pubcomp(id);
        } else {
            c.send(pubrec(id));
            c.expect_pubrel(id);
            c.send(pubrel(id));
            c.expect_pubcomp(id);
            c.send(pubcomp(id));
        }
    }
    c.expect_quiet();
    s.expect_quiet();
}
