//! PUBLISH: flags, topics and answers (section 3.3).

use goldcrest_core::codec::*;
use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;
use goldcrest_tests::packets::*;

const MALFORMED: &[ReasonCode] = &[ReasonCode::MalformedPacket];
const BAD_TOPIC: &[ReasonCode] =
    &[ReasonCode::TopicNameInvalid, ReasonCode::MalformedPacket, ReasonCode::ProtocolError];

/// [MQTT-3.3.1-1] [MQTT-4.4.0-1]
/// v3.1.1 [MQTT-3.3.1-1] [MQTT-4.4.0-1]
#[conformance]
fn a_message_sent_again_has_dup_and_its_old_packet_identifier(bed: &mut Bed) {
    let mut s = bed.connect(client("s").keep());
    s.subscribe(1, "a", 2);
    let mut p = bed.connect("p");
    p.publish("a", "one", 1);
    p.publish("a", "two", 2);
    let one = s.expect_publish("a", "one", 1);
    let two = s.expect_publish("a", "two", 2);
    s.cut();
    let (mut s, connack) = bed.connect_for(client("s").keep());
    assert!(connack.session_present());
    let again = s.expect_publish("a", "one", 1);
    assert_eq!((again.bytes()[0], again.id()), (0x3A, one.id()));
    let again = s.expect_publish("a", "two", 2);
    assert_eq!((again.bytes()[0], again.id()), (0x3C, two.id()));
    s.expect_quiet();
}

/// The publisher sets DUP, and the subscriber gets DUP 0.
/// [MQTT-3.3.1-3] [MQTT-4.3.2-2] [MQTT-4.3.3-2]
/// v3.1.1 [MQTT-3.3.1-3]
#[conformance]
fn the_publishers_dup_flag_is_not_passed_on(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.subscribe(1, "a", 2);
    let mut p = bed.connect("p");
    p.deliver(publish("a", "one").q1(1).dup(), 1);
    p.deliver(publish("a", "two").q2(2).dup(), 2);
    assert_eq!(s.take_publish("a", "one", 1).bytes()[0], 0x32);
    assert_eq!(s.take_publish("a", "two", 2).bytes()[0], 0x34);
}

/// [MQTT-3.3.1-2]
/// v3.1.1 [MQTT-3.3.1-2]
#[conformance]
fn a_publish_of_qos_0_with_dup_is_refused(bed: &mut Bed) {
    let c = bed.connect("c");
    bed.refuse(c, raw_publish(bed.version(), 0x38, b"a", None, &[]), MALFORMED);
}

/// [MQTT-3.3.1-2] [MQTT-4.3.1-1]
/// v3.1.1 [MQTT-3.3.1-2] [MQTT-4.3.1-1]
#[conformance]
fn the_server_sends_qos_0_with_dup_0(bed: &mut Bed) {
    let mut p = bed.connect("p");
    p.publish_retained("r", "kept", 0);
    let mut s = bed.connect(client("s").keep());
    s.subscribe(1, "#", 0);
    assert_eq!(s.expect_publish("r", "kept", 0).bytes()[0], 0x31);
    p.publish("a", "live", 0);
    assert_eq!(s.expect_publish("a", "live", 0).bytes()[0], 0x30);
    s.cut();
    let mut s = bed.connect(client("s").keep());
    p.publish("a", "again", 0);
    assert_eq!(s.expect_publish("a", "again", 0).bytes()[0], 0x30);
    s.expect_quiet();
}

/// [MQTT-3.3.1-4] [MQTT-4.13.1-1]
/// v3.1.1 [MQTT-3.3.1-4]
#[conformance]
fn a_publish_of_qos_3_is_refused(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.subscribe(1, "a", 2);
    for first in [0x36, 0x3E] {
        let c = bed.connect("c");
        bed.refuse(c, raw_publish(bed.version(), first, b"a", Some(1), &[]), MALFORMED);
    }
    s.expect_quiet();
}

/// [MQTT-3.3.2-1]
/// v3.1.1 [MQTT-3.3.2-1]
#[conformance]
fn a_publish_without_a_whole_topic_is_refused(bed: &mut Bed) {
    for body in [&b""[..], b"\0", b"\0\x05a", b"\xff\xffa"] {
        let c = bed.connect("c");
        bed.refuse(c, raw(0x30, body), MALFORMED);
    }
}

/// [MQTT-3.3.2-2] [MQTT-4.7.0-1]
/// v3.1.1 [MQTT-3.3.2-2] [MQTT-4.7.1-1]
#[conformance]
fn a_publish_to_a_topic_with_wildcards_is_refused(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.subscribe(1, "#", 0);
    for topic in ["a/+", "#", "a#b", "+", "a/#", "a+"] {
        let c = bed.connect("c");
        bed.refuse(c, publish(topic, "x"), BAD_TOPIC);
    }
    for got in s.drain() {
        assert_eq!(got.topic(), "honest/clients");
    }
}

/// [MQTT-4.7.3-1]
/// v3.1.1 [MQTT-4.7.3-1]
#[conformance]
fn a_publish_to_an_empty_topic_is_refused(bed: &mut Bed) {
    let c = bed.connect("c");
    bed.refuse(c, raw_publish(bed.version(), 0x30, b"", None, &[]), BAD_TOPIC);
}

/// [MQTT-3.3.2-3]
/// v3.1.1 [MQTT-3.3.2-3]
#[conformance]
fn a_message_is_delivered_with_the_topic_it_was_published_to(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.subscribe(1, "a/+/#", 0);
    let mut p = bed.connect("p");
    for topic in ["a/b", "a//c", "a/ü/$x/ y"] {
        p.publish(topic, topic, 0);
        s.expect_publish(topic, topic, 0);
    }
}

/// The answer to QoS 0 is none, to QoS 1 PUBACK, to QoS 2 PUBREC, whether a client subscribed to the topic or not.
/// [MQTT-3.3.4-1]
/// v3.1.1 [MQTT-3.3.4-1]
#[conformance]
fn a_publish_is_answered_by_its_qos(bed: &mut Bed) {
    let mut p = bed.connect("p");
    let mut s = bed.connect("s");
    s.subscribe(1, "heard", 0);
    for (topic, code) in [("heard", ReasonCode::Success), ("unheard", ReasonCode::NoMatchingSubscribers)] {
        p.send(publish(topic, ""));
        p.expect_quiet();
        p.send(publish(topic, "").q1(1));
        p.expect_ack(PacketType::PubAck, 1, code);
        p.send(publish(topic, "").q2(2));
        p.expect_ack(PacketType::PubRec, 2, code);
        p.send(pubrel(2));
        p.expect_pubcomp(2);
        p.expect_quiet();
    }
}

/// The server may deliver one copy with the highest QoS, or one copy for each subscription.
/// [MQTT-3.3.4-2]
/// v3.1.1 [MQTT-3.3.5-1]
#[conformance]
fn overlapping_subscriptions_deliver_at_the_highest_qos(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.send(subscribe(1, "a/#", 0).and("a/b", 2).and("+/b", 1));
    s.expect_suback(1, &[0, 2, 1]);
    bed.connect("p").publish("a/b", "x", 2);
    let copies = s.drain();
    let mut levels: Vec<u8> = copies.iter().map(|copy| copy.publish().qos.bits()).collect();
    levels.sort_unstable();
    assert!(levels == [2] || levels == [0, 1, 2], "{levels:?}");
}

/// Topics below `$SYS/` are reserved for the server. MQTT 5.0 answers with 0x87; in MQTT 3.1.1 the server can only
/// close the connection, if it is configured to, or acknowledge.
/// [MQTT-3.4.2-1] [MQTT-3.5.2-1]
/// v3.1.1 [MQTT-3.3.5-2]
#[conformance]
fn a_publish_to_a_topic_of_the_server_is_refused(bed: &mut Bed) {
    bed.configure(|config| config.closes_denied_publishers = true);
    let mut s = bed.connect("s");
    s.subscribe(1, "$SYS/mine", 2);
    let mut p = bed.connect("p");
    p.publish("$SYS/mine", "x", 0);
    p.ping();
    p.send(publish("$SYS/mine", "x").q1(1));
    if bed.is_v5() {
        p.expect_ack(PacketType::PubAck, 1, ReasonCode::NotAuthorized);
    } else {
        p.expect_closed();
        p = bed.connect("p");
    }
    p.send(publish("$SYS/mine", "x").q2(2));
    if bed.is_v5() {
        p.expect_ack(PacketType::PubRec, 2, ReasonCode::NotAuthorized);
        p.ping();
    } else {
        p.expect_closed();
    }
    s.expect_quiet();
}

/// From an empty payload up to a mebibyte, or up to the limit of the firmware.
#[conformance]
fn empty_and_large_payloads_arrive_unchanged(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.subscribe(1, "a", 2);
    let mut p = bed.connect("p");
    let largest = bed.limits().packet_bytes.min(1 << 20 | 64) - 64;
    for len in [0, 1, largest / 16, largest] {
        let payload: Vec<u8> = (0..len).map(|at: u32| (at * 7 + at / 256) as u8).collect();
        for level in [0, 1, 2] {
            p.publish("a", &payload, level);
            s.take_publish("a", &payload, level);
        }
    }
}

/// The server refuses the packet after the fixed header, before the rest has come.
/// [MQTT-3.2.2-15]
/// v3.1.1 [MQTT-4.8.0-2]
#[conformance]
fn a_packet_above_the_servers_maximum_packet_size_is_refused(bed: &mut Bed) {
    bed.configure(|config| config.limits.packet_bytes = 1024);
    let mut s = bed.connect("s");
    s.subscribe(1, "a", 0);
    let mut p = bed.connect("p");
    let payload = vec![b'x'; 1024 - bed.either(6, 7)];
    p.publish("a", &payload, 0);
    assert_eq!(s.expect_publish("a", &payload, 0).bytes().len(), 1024);
    let remaining = 1025 - 3;
    bed.refuse(p, [0x30, (remaining & 0x7F) as u8 | 0x80, (remaining >> 7) as u8], &[ReasonCode::PacketTooLarge]);
    s.expect_quiet();
}

/// [MQTT-3.3.4-6]
#[conformance(v5)]
fn a_publish_of_a_client_with_a_subscription_identifier_is_refused(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.subscribe(1, "a", 0);
    let c = bed.connect("c");
    let packet = publish("a", "x").with(&[Property::SubscriptionIdentifier(1)]);
    bed.refuse(c, packet, &[ReasonCode::ProtocolError]);
    s.expect_quiet();
}
