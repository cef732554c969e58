//! Variable Byte Integers, the fixed header and the ends of packets (sections 1.5.5 and 2.1).

use goldcrest_core::codec::*;
use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;
use goldcrest_tests::packets::*;

const MALFORMED: &[ReasonCode] = &[ReasonCode::MalformedPacket];
const WRONG: &[ReasonCode] = &[ReasonCode::MalformedPacket, ReasonCode::ProtocolError];

/// MQTT 5.0 refuses a Remaining Length of more bytes than needed. MQTT 3.1.1 has no such rule: clients that reserve room for the
/// Remaining Length before they know it are served.
/// [MQTT-1.5.5-1]
#[conformance]
fn a_remaining_length_of_more_bytes_than_needed_is_refused_in_5_0_alone(bed: &mut Bed) {
    let mut c = bed.connect("c");
    if bed.is_v5() {
        bed.refuse(c, [0xC0, 0x80, 0x00], MALFORMED);
    } else {
        for ping in [&[0xC0, 0x80, 0x00][..], &[0xC0, 0x80, 0x80, 0x00], &[0xC0, 0x80, 0x80, 0x80, 0x00]] {
            c.send(ping);
            c.expect_bytes(&[0xD0, 0]);
        }
        c.subscribe(1, "a", 0);
        c.send([0x30, 0x84, 0x80, 0x00, 0, 1, b'a', b'x']);
        c.expect_publish("a", "x", 0);
    }
    let mut connect = client("new").wire(bed.version());
    connect.splice(1..2, [connect[1] | 0x80, 0]);
    if bed.is_v5() {
        bed.refuse_connect(connect, MALFORMED, None);
    } else {
        let mut c = bed.open("new");
        c.send(connect);
        c.expect_bytes(&[0x20, 2, 0, 0]);
        c.ping();
    }
    if bed.is_v5() {
        let c = bed.connect("c");
        bed.refuse(c, raw(0x30, b"\0\x01a\x80\x00"), MALFORMED);
        let c = bed.connect("c");
        bed.refuse(c, raw(0x82, b"\0\x01\x03\x0b\x81\x00\0\x01a\0"), MALFORMED);
    }
}

/// The server refuses as soon as the fourth byte says that a fifth follows.
/// [MQTT-4.13.1-1]
/// v3.1.1 [MQTT-4.8.0-1]
#[conformance]
fn a_remaining_length_of_five_bytes_is_refused(bed: &mut Bed) {
    let c = bed.connect("c");
    bed.refuse(c, [0xC0, 0x80, 0x80, 0x80, 0x80], MALFORMED);
    let c = bed.connect("c");
    bed.refuse(c, [0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], MALFORMED);
}

/// Each connection of these tests checks what it receives, and refuses a Remaining Length of more bytes than needed.
/// [MQTT-1.5.5-1]
#[conformance]
fn the_server_sends_the_remaining_length_in_as_few_bytes_as_possible(bed: &mut Bed) {
    bed.configure_gateway(|config| config.limits.packet_bytes = 4 << 20);
    let mut s = bed.connect("s");
    s.subscribe(1, "a", 0);
    let mut p = bed.connect("p");
    let around = bed.either(3, 4);
    for (remaining, len_bytes) in [(127, 1), (128, 2), (16_383, 2), (16_384, 3), (2_097_151, 3), (2_097_152, 4)] {
        if remaining > bed.limits().packet_bytes as usize {
            break;
        }
        let payload = vec![b'x'; remaining - around];
        p.publish("a", &payload, 0);
        let got = s.expect_publish("a", &payload, 0);
        assert_eq!(got.bytes().len(), 1 + len_bytes + remaining);
    }
}

/// Each packet that a client may send but CONNECT and PUBLISH, without a mistake. The tests change the flags in the first byte.
fn packets(version: Version) -> Vec<Vec<u8>> {
    let mut packets = vec![
        puback(9).wire(version),
        pubrec(9).wire(version),
        pubrel(9).wire(version),
        pubcomp(9).wire(version),
        subscribe(9, "reserved", 0).wire(version),
        unsubscribe(9, &["kept"]).wire(version),
        PINGREQ.to_vec(),
        DISCONNECT.to_vec(),
    ];
    if version.is_v5() {
        packets.push(raw(0xF0, b"\x19\x07\x15\0\x04TEST"));
    }
    packets
}

/// [MQTT-2.1.3-1] [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1] [MQTT-3.14.1-1] [MQTT-3.15.1-1]
/// v3.1.1 [MQTT-2.2.2-1] [MQTT-2.2.2-2] [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1] [MQTT-3.14.1-1]
#[conformance]
fn a_packet_with_wrong_reserved_flags_is_refused(bed: &mut Bed) {
    let version = bed.version();
    for packet in packets(version) {
        for flags in (0..16).filter(|flags| packet[0] & 0x0F != *flags) {
            let mut c = bed.connect(client("c").keep());
            c.subscribe(1, "kept", 0);
            let wrong = [&[packet[0] & 0xF0 | flags], &packet[1..]].concat();
            bed.refuse(c, wrong, MALFORMED);
        }
    }
    for flags in 1..16 {
        let mut connect = client("new").wire(version);
        connect[0] |= flags;
        bed.check_honest();
        let mut c = bed.open("new");
        c.send(connect);
        // Before the version is known the server may close without a CONNACK.
        if let [connack] = &c.drain()[..] {
            assert_eq!(connack.code(), ReasonCode::MalformedPacket);
        }
        c.expect_closed();
        bed.check_honest();
    }
    // A subscription or unsubscription with the wrong flags must have had no effect.
    let mut c = bed.connect(client("c").keep());
    let mut p = bed.connect("p");
    p.publish("reserved", "x", 0);
    p.publish("kept", "y", 0);
    c.expect_publish("kept", "y", 0);
    c.expect_quiet();
}

/// MQTT 3.1 calls these flags unused, and later versions reserve them. Some clients of MQTT 3.1 set them.
#[conformance(v3)]
fn flags_that_mqtt_3_1_does_not_use_are_ignored(bed: &mut Bed) {
    let old = client("old").version(Version::V3_1);
    let mut s = bed.connect("s");
    s.subscribe(1, "a", 1);
    for flags in 0..16 {
        let mut connect = old.wire(Version::V3_1);
        connect[0] |= flags;
        let mut c = bed.open_in(Version::V3_1, "old");
        c.send(connect);
        c.expect_bytes(&[0x20, 2, 0, 0]);
        c.send([0xC0 | flags, 0]);
        c.expect_bytes(&[0xD0, 0]);
        // The RETAIN and DUP flags beside QoS 1, in packets other than PUBLISH.
        for (first, last) in [(0x82, &[1][..]), (0xA2, &[])] {
            c.send(raw(first | flags & 0b1001, &[&[0, 7, 0, 1, b'b'], last].concat()));
            let answer = c.expect();
            assert_eq!(answer.bytes()[0], first + 0x10 - 2);
        }
        c.send([0x38, 5, 0, 1, b'a', b'x', flags]);
        s.expect_publish("a", [b'x', flags], 0);
        c.send([0xE0 | flags, 0]);
        c.expect_closed();
    }
}

/// Will QoS and Will Retain without the Will Flag: MQTT 3.1 ignores them, later versions refuse the CONNECT.
#[conformance(v3)]
fn will_qos_and_retain_without_a_will_are_ignored_in_mqtt_3_1(bed: &mut Bed) {
    for flags in [0x0A, 0x12, 0x1A, 0x22, 0x3A] {
        let mut c = bed.open_in(Version::V3_1, "old");
        c.send(raw_connect(Version::V3_1, flags, &field(b"old")));
        c.expect_bytes(&[0x20, 2, 0, 0]);
        c.ping();
    }
}

/// [MQTT-2.1.3-1]
/// v3.1.1 [MQTT-2.2.2-1]
#[conformance]
fn each_type_of_packet_from_the_server_has_the_right_flags(bed: &mut Bed) {
    let (mut c, connack) = bed.connect_for("c");
    let mut first_bytes = vec![connack.bytes()[0]];
    c.send(subscribe(1, "a", 2));
    first_bytes.push(c.expect_suback(1, &[2]).bytes()[0]);
    c.send(publish("b", "").q1(1));
    first_bytes.push(c.expect_puback(1).bytes()[0]);
    c.send(publish("b", "").q2(2));
    first_bytes.push(c.expect_pubrec(2).bytes()[0]);
    c.send(pubrel(2));
    first_bytes.push(c.expect_pubcomp(2).bytes()[0]);
    bed.connect("p").publish("a", "", 2);
    let id = c.expect_publish("a", "", 2).id();
    c.send(pubrec(id));
    first_bytes.push(c.expect_pubrel(id).bytes()[0]);
    c.send(unsubscribe(3, &["a"]));
    first_bytes.push(c.expect_unsuback(3, &[0]).bytes()[0]);
    c.send(PINGREQ);
    first_bytes.push(c.expect_type(PacketType::PingResp).bytes()[0]);
    assert_eq!(first_bytes, [0x20, 0x90, 0x40, 0x50, 0x70, 0x62, 0xB0, 0xD0]);
    if bed.is_v5() {
        c.send([0x00]);
        assert_eq!(c.expect_type(PacketType::Disconnect).bytes()[0], 0xE0);
    }
}

/// [MQTT-4.13.1-1]
/// v3.1.1 [MQTT-4.8.0-1]
#[conformance]
fn packet_types_0_and_15_are_refused(bed: &mut Bed) {
    let c = bed.connect("c");
    bed.refuse(c, [0x00, 0x00], MALFORMED);
    if !bed.is_v5() {
        let c = bed.connect("c");
        bed.refuse(c, [0xF0, 0x00], MALFORMED);
    }
}

/// [MQTT-4.13.1-1]
/// v3.1.1 [MQTT-4.8.0-1]
#[conformance]
fn packets_that_only_servers_send_are_refused(bed: &mut Bed) {
    let version = bed.version();
    let none = properties(version, &[]);
    let packets = [
        raw(0x20, &[&[0, 0][..], &none].concat()),
        raw(0x90, &[&[0, 1][..], &none, &[0]].concat()),
        raw(0xB0, &bed.either(vec![0, 1], vec![0, 1, 0, 0])),
        vec![0xD0, 0x00],
    ];
    for packet in packets {
        let c = bed.connect("c");
        bed.refuse(c, packet, &[ReasonCode::ProtocolError]);
    }
}

/// Each packet lacks its last byte, or has one byte too many. The Remaining Length fits the changed packet.
/// [MQTT-4.13.1-1]
/// v3.1.1 [MQTT-4.8.0-1]
#[conformance]
fn a_packet_with_a_byte_too_few_or_too_many_is_refused(bed: &mut Bed) {
    let version = bed.version();
    for packet in packets(version) {
        let body = &packet[2..];
        let shorter = body.split_last().map(|(_, rest)| raw(packet[0], rest));
        let longer = raw(packet[0], &[body, &[0x01]].concat());
        let is_ack_with_code = version.is_v5() && (4..=7).contains(&(packet[0] >> 4));
        let longer = if is_ack_with_code || packet[0] == 0xE0 && version.is_v5() {
            // In an acknowledgement of MQTT 5.0 one byte more is a Reason Code, and 0x01 is allowed in none of these packets. Two
            // bytes more are a Reason Code and a Property Length that overruns.
            vec![longer, raw(packet[0], &[body, &[0x00, 0x01]].concat())]
        } else {
            vec![longer]
        };
        for wrong in shorter.into_iter().chain(longer) {
            let c = bed.connect("c");
            bed.refuse(c, wrong, WRONG);
        }
    }
    let c = bed.connect("c");
    bed.refuse(c, raw(0x32, b"\0\x01a\0"), WRONG);
}

/// [MQTT-4.2.0-1]
/// v3.1.1 [MQTT-7.1.1-1]
#[conformance]
fn the_answers_are_the_same_however_the_input_is_cut_into_pieces(bed: &mut Bed) {
    let version = bed.version();
    let stream = [
        client("c").wire(version),
        subscribe(1, "a/#", 1).wire(version),
        publish("b", "payload").q1(2).wire(version),
        PINGREQ.to_vec(),
        DISCONNECT.to_vec(),
    ]
    .concat();
    let answers = |bed: &mut Bed, pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut c = bed.open("c");
        pieces.for_each(|piece| c.send(piece));
        let got: Vec<_> = (0..4).map(|_| c.expect().packet().packet_type()).collect();
        c.expect_closed();
        got
    };
    let whole = answers(bed, &mut std::iter::once(&stream[..]));
    assert_eq!(whole, [PacketType::ConnAck, PacketType::SubAck, PacketType::PubAck, PacketType::PingResp]);
    assert_eq!(answers(bed, &mut stream.chunks(1)), whole);
    for at in 1..stream.len() {
        let (head, tail) = stream.split_at(at);
        assert_eq!(answers(bed, &mut [head, tail].into_iter()), whole, "cut at {at}");
    }
}

/// Pictures, maps and images of firmware fit into one PUBLISH to a gateway. Other packets have no reason to be as long, and the server
/// closes before all their bytes have come. So the memory for unfinished packets stays small, and so does the time that a packet with
/// many filters takes.
#[conformance]
fn a_publish_may_be_longer_than_other_packets(bed: &mut Bed) {
    let most = bed.limits().packet_bytes;
    let others = most.min(goldcrest_core::Limits::OTHER_PACKET_BYTES);
    let mut s = bed.connect(client("s"));
    s.subscribe(1, "a", 0);
    let mut p = bed.connect(client("p"));
    let payload = "x".repeat((most as usize - 100).min(5_000_000));
    p.send(publish("a", payload.as_str()));
    s.expect_publish("a", payload, 0);
    // A fixed header alone, whose Remaining Length is one byte above the limit.
    let header = |first: u8| {
        let length_bytes = if others > 128 * 128 { 3 } else { 2 };
        let mut rest = others - length_bytes;
        let mut bytes = vec![first];
        loop {
            let byte = (rest & 0x7f) as u8;
            rest >>= 7;
            bytes.push(byte | if rest > 0 { 0x80 } else { 0 });
            if rest == 0 {
                return bytes;
            }
        }
    };
    p.send(header(0x82));
    p.expect_refused(&[ReasonCode::PacketTooLarge]);
    let mut c = bed.open("c");
    c.send(header(0x10));
    c.expect_closed();
}
