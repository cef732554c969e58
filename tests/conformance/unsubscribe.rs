//! UNSUBSCRIBE and UNSUBACK (sections 3.10 and 3.11).

use goldcrest_core::codec::*;
use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;
use goldcrest_tests::packets::*;

/// No new message comes after UNSUBACK.
/// [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.10.4-2]
/// v3.1.1 [MQTT-3.10.4-4] [MQTT-3.10.4-2]
#[conformance]
fn unsuback_has_the_packet_identifier_of_unsubscribe(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.subscribe(1, "a", 1);
    s.send(unsubscribe(0x1234, &["a"]));
    let unsuback = s.expect_unsuback(0x1234, &[0]);
    assert_eq!(unsuback.bytes(), bed.either(vec![0xB0, 2, 0x12, 0x34], vec![0xB0, 4, 0x12, 0x34, 0, 0]));
    bed.connect("p").publish("a", "x", 1);
    s.expect_quiet();
}

/// [MQTT-3.10.4-5] [MQTT-3.11.3-2]
/// v3.1.1 [MQTT-3.10.4-5]
#[conformance]
fn an_unsubscribe_without_a_subscription_is_answered(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.send(unsubscribe(1, &["a"]));
    s.expect_unsuback(1, &[0x11]);
}

/// [MQTT-3.10.4-1]
/// v3.1.1 [MQTT-3.10.4-1]
#[conformance]
fn unsubscribe_compares_filters_byte_by_byte(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.send(subscribe(1, "a/b", 1).and("c/+", 1));
    s.expect_suback(1, &[1, 1]);
    s.send(unsubscribe(2, &["a/+", "a/#", "A/b", "a/b/", "/a/b", "#", "c/d", "c/#"]));
    s.expect_unsuback(2, &[0x11; 8]);
    let mut p = bed.connect("p");
    p.publish("a/b", "x", 1);
    s.take_publish("a/b", "x", 1);
    p.publish("c/d", "x", 1);
    s.take_publish("c/d", "x", 1);
    s.unsubscribe(3, "c/+");
    p.publish("c/d", "x", 1);
    s.expect_quiet();
}

/// In MQTT 5.0 UNSUBACK has a code for each filter, in their order.
/// [MQTT-3.10.4-6] [MQTT-3.11.3-1] [MQTT-3.11.3-2]
/// v3.1.1 [MQTT-3.10.4-6]
#[conformance]
fn several_filters_are_answered_by_one_unsuback(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.send(subscribe(1, "a", 1).and("b", 1));
    s.expect_suback(1, &[1, 1]);
    s.send(unsubscribe(2, &["a", "unknown", "b"]));
    s.expect_unsuback(2, &[0, 0x11, 0]);
    let mut p = bed.connect("p");
    p.publish("a", "x", 1);
    p.publish("b", "x", 1);
    s.expect_quiet();
}

/// [MQTT-3.10.3-2]
/// v3.1.1 [MQTT-3.10.3-2]
#[conformance]
fn an_unsubscribe_without_a_filter_is_refused(bed: &mut Bed) {
    let c = bed.connect("c");
    let codes = [ReasonCode::MalformedPacket, ReasonCode::ProtocolError];
    bed.refuse(c, raw_unsubscribe(bed.version(), &[]), &codes);
}

/// The deliveries are completed on the next connection, too.
/// [MQTT-3.10.4-3]
/// v3.1.1 [MQTT-3.10.4-3]
#[conformance]
fn deliveries_in_flight_are_completed_after_unsubscribe(bed: &mut Bed) {
    let mut s = bed.connect(client("s").keep());
    s.subscribe(1, "a", 2);
    let mut p = bed.connect("p");
    p.publish("a", "one", 1);
    p.publish("a", "two", 2);
    p.publish("a", "three", 2);
    s.expect_publish("a", "one", 1);
    s.expect_publish("a", "two", 2);
    let three = s.expect_publish("a", "three", 2).id();
    s.send(pubrec(three));
    s.expect_pubrel(three);
    s.unsubscribe(2, "a");
    s.cut();
    let mut s = bed.connect(client("s").keep());
    s.take_publish("a", "one", 1);
    let two = s.expect_publish("a", "two", 2).id();
    s.expect_pubrel(three);
    s.send(pubcomp(three));
    s.send(pubrec(two));
    s.expect_pubrel(two);
    s.send(pubcomp(two));
    s.expect_quiet();
}

/// [MQTT-3.11.2-1] [MQTT-3.11.2-2]
#[conformance(v5)]
fn unsuback_keeps_to_the_maximum_packet_size(bed: &mut Bed) {
    let limit = [Property::MaximumPacketSize(30)];
    let mut c = bed.connect(client("c").with(&limit));
    c.send(unsubscribe(1, &["a"; 20]));
    c.expect_unsuback(1, &[0x11; 20]);
    c.send(unsubscribe(2, &["a"; 40]));
    c.expect_refused(&[ReasonCode::ImplementationSpecificError]);
}

/// A shared subscription and a plain one to the same filter are two subscriptions.
/// [MQTT-3.10.4-1]
#[conformance(v5)]
fn unsubscribe_tells_shared_and_plain_subscriptions_apart(bed: &mut Bed) {
    let mut s = bed.connect("s");
    let mut p = bed.connect("p");
    for (leaves, stays) in [("a", "$share/g/a"), ("$share/g/a", "a")] {
        s.send(subscribe(1, "a", 1).and("$share/g/a", 1));
        s.expect_suback(1, &[1, 1]);
        s.unsubscribe(2, leaves);
        p.publish("a", "x", 1);
        s.take_publish("a", "x", 1);
        s.expect_quiet();
        s.unsubscribe(3, stays);
    }
    p.publish("a", "x", 1);
    s.expect_quiet();
}

/// Several filters follow each other without gaps.
/// [MQTT-3.10.3-1]
/// v3.1.1 [MQTT-3.10.3-1]
#[conformance]
fn a_filter_cut_at_its_end_is_refused(bed: &mut Bed) {
    let mut c = bed.connect("c");
    c.send(subscribe(1, "a", 1).and("b", 1));
    c.expect_suback(1, &[1, 1]);
    c.send(raw_unsubscribe(bed.version(), &[field(b"a"), field(b"b")].concat()));
    c.expect_unsuback(11, &[0, 0]);
    let payload = [&field(b"a")[..], &[0, 2, b'b']].concat();
    bed.refuse(c, raw_unsubscribe(bed.version(), &payload), &[ReasonCode::MalformedPacket]);
}
