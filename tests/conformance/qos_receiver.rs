//! QoS 1 and 2 from the clients: the server is the receiver (section 4.3).

use goldcrest_core::codec::*;
use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;
use goldcrest_tests::packets::*;
use goldcrest_tests::peer::Peer;

const NOT_FOUND: ReasonCode = ReasonCode::PacketIdentifierNotFound;

/// A subscriber to `a` with QoS 2.
fn subscriber(bed: &mut Bed) -> Peer {
    let mut s = bed.connect("s");
    s.subscribe(1, "a", 2);
    s
}

/// [MQTT-4.3.2-4] [MQTT-4.5.0-1]
/// v3.1.1 [MQTT-4.3.2-2] [MQTT-4.5.0-1]
#[conformance]
fn a_message_of_qos_1_is_acknowledged_with_puback(bed: &mut Bed) {
    let mut s = subscriber(bed);
    let mut c = bed.connect("c");
    c.send(publish("a", "x").q1(0x1234));
    c.expect_bytes(&[0x40, 2, 0x12, 0x34]);
    c.expect_quiet();
    s.take_publish("a", "x", 1);
    s.expect_quiet();
}

/// The Packet Identifier is free after PUBACK, whatever the DUP flag of the next PUBLISH says.
/// [MQTT-4.3.2-5]
/// v3.1.1 [MQTT-4.3.2-2]
#[conformance]
fn after_puback_the_same_packet_identifier_is_a_new_message(bed: &mut Bed) {
    let mut s = subscriber(bed);
    let mut c = bed.connect("c");
    for packet in [publish("a", "x").q1(5), publish("a", "x").q1(5).dup(), publish("a", "x").q1(5)] {
        c.send(packet);
        c.expect_puback(5);
        s.take_publish("a", "x", 1);
    }
}

/// [MQTT-4.3.3-8] [MQTT-4.3.3-11]
/// v3.1.1 [MQTT-4.3.3-2]
#[conformance]
fn a_message_of_qos_2_is_delivered_once_with_all_four_packets(bed: &mut Bed) {
    let mut s = subscriber(bed);
    let mut c = bed.connect("c");
    c.send(publish("a", "x").q2(6));
    c.expect_bytes(&[0x50, 2, 0, 6]);
    c.send(pubrel(6));
    c.expect_bytes(&[0x70, 2, 0, 6]);
    c.expect_quiet();
    s.take_publish("a", "x", 2);
    s.expect_quiet();
}

/// [MQTT-4.3.3-10]
/// v3.1.1 [MQTT-4.3.3-2]
#[conformance]
fn a_publish_repeated_before_pubrel_is_not_delivered_again(bed: &mut Bed) {
    let mut s = subscriber(bed);
    let mut c = bed.connect("c");
    for packet in [publish("a", "x").q2(7), publish("a", "x").q2(7).dup(), publish("a", "x").q2(7)] {
        c.send(packet);
        c.expect_pubrec(7);
    }
    s.take_publish("a", "x", 2);
    s.expect_quiet();
}

/// [MQTT-4.3.3-10] [MQTT-4.1.0-1]
/// v3.1.1 [MQTT-4.3.3-2] [MQTT-3.1.2-4]
#[conformance]
fn a_publish_repeated_on_the_next_connection_is_not_delivered_again(bed: &mut Bed) {
    let mut s = subscriber(bed);
    for read_pubrec in [false, true] {
        let mut c = bed.connect(client("c").keep());
        c.send(publish("a", "x").q2(7));
        s.take_publish("a", "x", 2);
        if read_pubrec {
            c.expect_pubrec(7);
        }
        c.cut();
        let mut c = bed.connect(client("c").keep());
        c.send(publish("a", "x").q2(7).dup());
        c.expect_pubrec(7);
        c.send(pubrel(7));
        c.expect_pubcomp(7);
        s.expect_quiet();
        c.disconnect();
    }
}

/// [MQTT-4.3.3-12]
/// v3.1.1 [MQTT-4.3.3-2]
#[conformance]
fn after_pubcomp_the_same_packet_identifier_is_a_new_message(bed: &mut Bed) {
    let mut s = subscriber(bed);
    let mut c = bed.connect("c");
    for _ in 0..3 {
        c.deliver(publish("a", "x").q2(7), 2);
        s.take_publish("a", "x", 2);
    }
}

/// [MQTT-4.3.3-11] [MQTT-3.7.2-1]
/// v3.1.1 [MQTT-4.3.3-2]
#[conformance]
fn a_pubrel_for_an_unknown_packet_identifier_is_answered(bed: &mut Bed) {
    let mut c = bed.connect("c");
    for _ in 0..2 {
        c.send(pubrel(9));
        c.expect_ack(PacketType::PubComp, 9, NOT_FOUND);
    }
    c.deliver(publish("a", "x").q2(9), 2);
    c.send(pubrel(9));
    c.expect_ack(PacketType::PubComp, 9, NOT_FOUND);
}

/// [MQTT-4.3.3-9]
#[conformance(v5)]
fn a_pubrec_with_an_error_frees_the_packet_identifier(bed: &mut Bed) {
    let mut s = subscriber(bed);
    let mut c = bed.connect("c");
    c.send(publish("$SYS/a", "x").q2(8));
    c.expect_ack(PacketType::PubRec, 8, ReasonCode::NotAuthorized);
    c.send(publish("a", "x").q2(8));
    c.expect_ack(PacketType::PubRec, 8, ReasonCode::Success);
    s.take_publish("a", "x", 2);
    c.send(pubrel(8));
    c.expect_pubcomp(8);
    c.send(publish("$SYS/a", "x").q2(8));
    c.expect_ack(PacketType::PubRec, 8, ReasonCode::NotAuthorized);
    c.send(pubrel(8));
    c.expect_ack(PacketType::PubComp, 8, NOT_FOUND);
}

/// [MQTT-4.3.3-13]
#[conformance(v5)]
fn an_expired_message_of_qos_2_is_acknowledged_like_others(bed: &mut Bed) {
    let mut s = bed.connect(client("s").keep());
    s.subscribe(1, "a", 2);
    s.cut();
    let mut c = bed.connect("c");
    c.send(publish("a", "x").q2(3).with(&[Property::MessageExpiryInterval(1)]));
    c.expect_pubrec(3);
    bed.wait(1_500);
    c.send(pubrel(3));
    c.expect_pubcomp(3);
}

/// v3.1.1 [MQTT-4.6.0-2] [MQTT-4.6.0-3]
#[conformance]
fn acknowledgements_to_a_publisher_come_in_order(bed: &mut Bed) {
    let mut s = subscriber(bed);
    let mut c = bed.connect("c");
    for (round, topic) in ["a", "nobody"].into_iter().enumerate() {
        let ids = [3, 1, 2].map(|id| id + 10 * round as u16);
        ids.iter().for_each(|id| c.send(publish(topic, "x").q1(*id)));
        ids.iter().for_each(|id| drop(c.expect_puback(*id)));
        ids.iter().for_each(|id| c.send(publish(topic, "x").q2(*id)));
        ids.iter().for_each(|id| drop(c.expect_pubrec(*id)));
        ids.iter().for_each(|id| c.send(pubrel(*id)));
        ids.iter().for_each(|id| drop(c.expect_pubcomp(*id)));
    }
    assert_eq!(s.drain().len(), usize::from(bed.limits().inflight.min(6)));
}

/// Only messages of QoS 2 that wait for their PUBREL count against the server's Receive Maximum.
/// [MQTT-3.3.4-7]
#[conformance(v5)]
fn a_publisher_beyond_the_servers_receive_maximum_is_refused(bed: &mut Bed) {
    bed.configure(|config| config.limits.receive_maximum = 2);
    let mut c = bed.connect("c");
    for id in 1..=10 {
        c.send(publish("a", "x").q1(id));
        c.expect_puback(id);
    }
    c.send(publish("a", "x").q2(1));
    c.expect_pubrec(1);
    for _ in 0..3 {
        c.send(publish("$SYS/a", "x").q2(2));
        c.expect_ack(PacketType::PubRec, 2, ReasonCode::NotAuthorized);
    }
    for _ in 0..3 {
        c.deliver(publish("a", "x").q2(3), 2);
    }
    c.send(publish("a", "x").q2(4));
    c.expect_pubrec(4);
    c.publish("a", "x", 0);
    c.publish("a", "x", 1);
    bed.refuse(c, publish("a", "x").q2(5), &[ReasonCode::ReceiveMaximumExceeded]);
}

/// [MQTT-3.6.2-1]
#[conformance]
fn acknowledgements_for_unknown_packet_identifiers_do_no_harm(bed: &mut Bed) {
    let mut c = bed.connect("c");
    c.send(puback(9));
    c.send(pubcomp(9));
    c.expect_quiet();
    c.send(pubrec(9));
    c.expect_ack(PacketType::PubRel, 9, NOT_FOUND);
    c.expect_quiet();
}

/// The acknowledgements come without Reason Code, without Property Length, and with both.
/// [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1]
#[conformance(v5)]
fn the_short_forms_of_acknowledgements_are_understood(bed: &mut Bed) {
    let mut s = subscriber(bed);
    let mut p = bed.connect("p");
    let tails: [&[u8]; 4] = [b"", b"\0", b"\0\0", b"\0\x07\x26\0\x01n\0\x01v"];
    for tail in tails {
        let form = |first, id: u16| raw(first, &[&id.to_be_bytes()[..], tail].concat());
        p.publish("a", "x", 1);
        let id = s.expect_publish("a", "x", 1).id();
        s.send(form(0x40, id));
        p.publish("a", "x", 2);
        let id = s.expect_publish("a", "x", 2).id();
        s.send(form(0x50, id));
        s.expect_pubrel(id);
        s.send(form(0x70, id));
        p.send(publish("a", "x").q2(9));
        p.expect_pubrec(9);
        p.send(form(0x62, 9));
        p.expect_pubcomp(9);
        let id = s.expect_publish("a", "x", 2).id();
        s.send(pubrec(id));
        s.expect_pubrel(id);
        s.send(pubcomp(id));
        s.expect_quiet();
    }
    for first in [0x40, 0x50, 0x62, 0x70] {
        let c = bed.connect("c");
        bed.refuse(c, raw(first, b"\0\x09\x55"), &[ReasonCode::MalformedPacket, ReasonCode::ProtocolError]);
    }
}

/// The codec that reads these acknowledgements refuses a Reason Code that the packet may not have.
/// [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.7.2-1]
#[conformance(v5)]
fn each_acknowledgement_has_a_code_from_the_table_of_its_packet(bed: &mut Bed) {
    bed.configure(|config| config.limits.retained_messages = 1);
    let _s = subscriber(bed);
    let mut c = bed.connect("c");
    c.publish_retained("first", "x", 0);
    let outcomes = [
        (publish("a", "x"), ReasonCode::Success),
        (publish("nobody", "x"), ReasonCode::NoMatchingSubscribers),
        (publish("$SYS/a", "x"), ReasonCode::NotAuthorized),
        (publish("second", "x").retain(), ReasonCode::QuotaExceeded),
    ];
    for (packet, code) in outcomes {
        c.send(packet.q1(1));
        c.expect_ack(PacketType::PubAck, 1, code);
        c.send(packet.q2(2));
        c.expect_ack(PacketType::PubRec, 2, code);
        c.send(pubrel(2));
        c.expect_ack(PacketType::PubComp, 2, if code.is_error() { NOT_FOUND } else { ReasonCode::Success });
    }
}

/// A connection was lost with its PUBCOMP, and the client sends PUBREL again. A bug of the past: the server answered with
/// 0x92, which some clients report as an error, though the message had been received once. Only a client whose Session is
/// gone gets 0x92.
/// [MQTT-4.3.3-11]
/// v3.1.1 [MQTT-4.3.3-2]
#[conformance]
fn a_repeated_pubrel_after_a_resume_is_answered_with_success(bed: &mut Bed) {
    let _s = subscriber(bed);
    let mut p = bed.connect(client("p").keep());
    for (id, resumes) in [(1, true), (2, true), (3, false)] {
        p.send(publish("a", "x").q2(id));
        p.expect_pubrec(id);
        p.send(pubrel(id));
        p.expect_pubcomp(id);
        p.cut();
        p = bed.connect(client("p").keep().clean_start(!resumes));
        p.send(pubrel(id));
        p.expect_ack(PacketType::PubComp, id, if resumes { ReasonCode::Success } else { NOT_FOUND });
    }
}

/// A retained message without subscribers is kept, and an empty one has removed it. The code is Success, not No matching
/// subscribers.
/// [MQTT-3.4.2-1] [MQTT-3.5.2-1]
#[conformance(v5)]
fn a_retained_message_without_subscribers_is_acknowledged_with_success(bed: &mut Bed) {
    let mut p = bed.connect("p");
    for payload in ["x", "y", ""] {
        p.send(publish("a", payload).q1(1).retain());
        p.expect_ack(PacketType::PubAck, 1, ReasonCode::Success);
        p.send(publish("a", payload).q2(2).retain());
        p.expect_ack(PacketType::PubRec, 2, ReasonCode::Success);
        p.send(pubrel(2));
        p.expect_pubcomp(2);
    }
}

/// The configuration asks for 0x00 where a message has no subscribers.
/// [MQTT-3.4.2-1] [MQTT-3.5.2-1]
#[conformance(v5)]
fn the_code_no_matching_subscribers_can_be_turned_off(bed: &mut Bed) {
    bed.configure(|config| config.no_matching_subscribers = false);
    let mut p = bed.connect("p");
    p.send(publish("nobody", "x").q1(1));
    p.expect_ack(PacketType::PubAck, 1, ReasonCode::Success);
    p.send(publish("nobody", "x").q2(2));
    p.expect_ack(PacketType::PubRec, 2, ReasonCode::Success);
}

/// [MQTT-3.4.2-2] [MQTT-3.4.2-3] [MQTT-3.5.2-2] [MQTT-3.5.2-3]
#[conformance(v5)]
fn puback_and_pubrec_have_a_reason_string_only_where_it_fits(bed: &mut Bed) {
    for (size, explains) in [(20, false), (1000, true)] {
        let mut c = bed.connect(client("c").with(&[Property::MaximumPacketSize(size)]));
        c.send(publish("$SYS/a", "x").q1(1));
        let puback = c.expect_ack(PacketType::PubAck, 1, ReasonCode::NotAuthorized);
        c.send(publish("$SYS/a", "x").q2(2));
        let pubrec = c.expect_ack(PacketType::PubRec, 2, ReasonCode::NotAuthorized);
        for ack in [puback, pubrec] {
            assert_eq!(ack.properties().reason_string().is_some(), explains);
        }
    }
}

/// [MQTT-3.6.2-2] [MQTT-3.6.2-3] [MQTT-3.7.2-2] [MQTT-3.7.2-3]
#[conformance(v5)]
fn pubrel_and_pubcomp_have_a_reason_string_only_where_it_fits(bed: &mut Bed) {
    let mut c = bed.connect(client("c").with(&[Property::MaximumPacketSize(20)]));
    c.send(pubrec(1));
    c.expect_ack(PacketType::PubRel, 1, NOT_FOUND);
    c.send(pubrel(2));
    c.expect_ack(PacketType::PubComp, 2, NOT_FOUND);
}
