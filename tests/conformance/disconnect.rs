//! PINGREQ and DISCONNECT (sections 3.12 to 3.14), and what else the end of a connection changes (section 4.13).

use goldcrest_core::codec::*;
use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;
use goldcrest_tests::packets::*;

const MALFORMED: ReasonCode = ReasonCode::MalformedPacket;
const PROTOCOL_ERROR: ReasonCode = ReasonCode::ProtocolError;

/// [MQTT-3.12.4-1]
/// v3.1.1 [MQTT-3.12.4-1]
#[conformance]
fn each_pingreq_has_its_pingresp(bed: &mut Bed) {
    let mut c = bed.connect("c");
    c.ping();
    c.send([0xC0, 0].repeat(10));
    for _ in 0..10 {
        c.expect_bytes(&[0xD0, 0]);
    }
    c.expect_quiet();
}

/// [MQTT-4.13.1-1]
/// v3.1.1 [MQTT-4.8.0-1]
#[conformance]
fn a_pingreq_with_a_body_is_refused(bed: &mut Bed) {
    let c = bed.connect("c");
    bed.refuse(c, [0xC0, 1, 0], &[MALFORMED]);
}

/// DISCONNECT with Reason Code 0x00, in each form that the codec knows, ends the connection. The Will is not published,
/// and DISCONNECT is not answered.
/// [MQTT-3.14.4-3] [MQTT-3.1.2-10]
/// v3.1.1 [MQTT-3.14.4-3] [MQTT-3.1.2-10]
#[conformance]
fn a_normal_disconnect_discards_the_will(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.subscribe(1, "will", 1);
    let forms: &[&[u8]] = bed.either(&[&[0xE0, 0]], &[&[0xE0, 0], &[0xE0, 1, 0], &[0xE0, 2, 0, 0]]);
    for form in forms {
        let mut c = bed.connect(client("c").will(will("will", "x", 1)));
        c.send(*form);
        c.expect_closed();
    }
    s.expect_quiet();
}

/// [MQTT-3.1.2-8]
#[conformance(v5)]
fn a_disconnect_with_another_code_than_0_has_the_will_published(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.subscribe(1, "will", 1);
    for code in [0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99] {
        let mut c = bed.connect(client("c").will(will("will", "x", 1)));
        c.send([0xE0, 2, code, 0]);
        c.expect_closed();
        s.take_publish("will", "x", 1);
    }
    s.expect_quiet();
}

/// [MQTT-3.14.4-1] [MQTT-3.14.4-2]
/// v3.1.1 [MQTT-3.14.4-2]
#[conformance]
fn packets_behind_a_disconnect_have_no_effect(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.subscribe(1, "a", 1);
    let mut c = bed.connect("c");
    c.send([DISCONNECT.to_vec(), publish("a", "x").q1(1).wire(bed.version())].concat());
    c.expect_closed();
    s.expect_quiet();
}

/// The Reason Codes here do not exist, or only servers may send them. The Will is published.
/// [MQTT-3.14.2-1]
#[conformance(v5)]
fn a_disconnect_with_a_code_not_for_clients_is_refused(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.subscribe(1, "will", 1);
    for code in [0x01, 0x03, 0x8B, 0x8D, 0x8E, 0xFF] {
        let c = bed.connect(client("c").will(will("will", "x", 1)));
        bed.refuse(c, [0xE0, 2, code, 0], &[MALFORMED, PROTOCOL_ERROR]);
        s.take_publish("will", "x", 1);
    }
}

/// DISCONNECT may change the Session Expiry Interval, but not raise it from 0.
/// [MQTT-4.1.0-2] [MQTT-4.13.1-1]
#[conformance(v5, in_memory = "it waits for Sessions to end")]
fn disconnect_may_change_the_session_expiry_interval(bed: &mut Bed) {
    let end = |seconds| {
        let list = Box::leak(Box::new([Property::SessionExpiryInterval(seconds)]));
        Packet::Disconnect(Disconnect { code: ReasonCode::Success, properties: Properties::new(list) })
    };
    for (seconds, wait, present) in [(5, 4_999, true), (5, 5_000, false), (0, 0, false), (7_200, 7_000_000, true)] {
        let mut c = bed.connect(client("c").clean_start(true).session_expiry(3600));
        c.send(end(seconds));
        c.expect_closed();
        bed.wait(wait);
        let (c, connack) = bed.connect_for(client("c").clean_start(false));
        assert_eq!(connack.session_present(), present, "{seconds} s, after {wait} ms");
        c.disconnect();
    }
    let c = bed.connect("c");
    bed.refuse(c, end(5), &[PROTOCOL_ERROR]);
    let mut c = bed.connect("c");
    c.send(end(0));
    c.expect_closed();
}

/// The server's DISCONNECT has a Reason Code that servers may send, and no Session Expiry Interval. Nothing follows it
/// but the end of the connection.
/// [MQTT-3.14.2-1] [MQTT-3.14.2-2] [MQTT-3.14.4-1] [MQTT-3.14.4-2] [MQTT-4.13.2-1]
#[conformance(v5, in_memory = "the broker is shut down and Keep Alive waited for")]
fn the_server_sends_disconnect_last(bed: &mut Bed) {
    let mut old = bed.connect("c");
    let mut new = bed.connect("c");
    old.expect_refused(&[ReasonCode::SessionTakenOver]);
    new.send([0xD0, 0]);
    new.expect_refused(&[PROTOCOL_ERROR]);
    let mut quiet = bed.connect(client("quiet").keep_alive(10));
    bed.wait(15_000);
    quiet.expect_refused(&[ReasonCode::KeepAliveTimeout]);
    let mut last = bed.connect("c");
    bed.world().shut_down();
    let got = last.expect_type(PacketType::Disconnect);
    assert_eq!(got.code(), ReasonCode::ServerShuttingDown);
    assert!(!got.properties().contains(PropertyId::SessionExpiryInterval));
    last.expect_closed();
}

/// The Reason String is the first part that is left out.
/// [MQTT-3.14.2-3] [MQTT-3.14.2-4]
#[conformance(v5)]
fn the_servers_disconnect_keeps_to_the_maximum_packet_size(bed: &mut Bed) {
    let limit = [Property::MaximumPacketSize(22)];
    let mut c = bed.connect(client("c").with(&limit));
    c.send([0xD0, 0]);
    let got = c.expect_type(PacketType::Disconnect);
    assert!(got.bytes().len() <= 22 && got.properties().is_empty());
    c.expect_closed();
}

/// [MQTT-3.14.0-1]
#[conformance(v5)]
fn the_server_sends_no_disconnect_before_a_connack_with_success(bed: &mut Bed) {
    let version = bed.version();
    let connects = [
        raw_connect(version, 0x03, &field(b"c")),
        raw_connect(version, 0x02, &field(b"\xff")),
        raw_connect(version, 0x06, &[&field(b"c")[..], &[0], &field(b"a/#"), &field(b"x")].concat()),
        raw(0x11, &[]),
        raw(0x30, &field(b"a")),
        vec![0xE0, 0],
    ];
    for bytes in connects {
        let mut c = bed.open("c");
        c.send(bytes);
        for got in c.drain() {
            assert_eq!(got.packet().packet_type(), PacketType::ConnAck);
        }
        c.expect_closed();
    }
}

/// The end of a refused connection harms no other client, and not the Session of that connection.
/// [MQTT-4.13.2-1]
/// v3.1.1 [MQTT-4.8.0-1]
#[conformance]
fn a_refused_packet_harms_neither_other_clients_nor_the_session(bed: &mut Bed) {
    let mut c = bed.connect(client("c").keep());
    c.subscribe(1, "a", 1);
    bed.refuse(c, [0xD0, 0], &[PROTOCOL_ERROR]);
    let mut p = bed.connect("p");
    p.publish("a", "x", 1);
    let (mut c, connack) = bed.connect_for(client("c").keep());
    assert!(connack.session_present());
    c.take_publish("a", "x", 1);
}

/// [MQTT-3.14.1-1]
/// v3.1.1 [MQTT-3.14.1-1]
#[conformance]
fn a_disconnect_with_reserved_flags_is_refused_and_the_will_published(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.subscribe(1, "will", 1);
    for flags in 1..16 {
        let c = bed.connect(client("c").will(will("will", "x", 1)));
        bed.refuse(c, [0xE0 | flags, 0], &[MALFORMED]);
        s.take_publish("will", "x", 1);
    }
}
