//! Receive Maximum and flow control (section 4.9).

use goldcrest_core::codec::*;
use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;
use goldcrest_tests::packets::*;

/// A client with this Receive Maximum, which keeps its Session.
fn receiver<'a>(maximum: &'a [Property<'a>; 1]) -> Client<'a> {
    client("s").keep().with(maximum)
}

/// PUBACK, PUBCOMP and a PUBREC with an error each let the server send one message more. A PUBREC with success does
/// not.
/// [MQTT-3.3.4-9] [MQTT-4.9.0-1] [MQTT-4.9.0-2]
#[conformance(v5)]
fn the_server_never_exceeds_the_receive_maximum(bed: &mut Bed) {
    let mut s = bed.connect(receiver(&[Property::ReceiveMaximum(2)]));
    s.subscribe(1, "a", 2);
    let mut p = bed.connect("p");
    for (at, level) in [1, 2, 2, 1, 2, 1].into_iter().enumerate() {
        p.publish("a", at.to_string(), level);
    }
    let zero = s.expect_publish("a", "0", 1).id();
    let one = s.expect_publish("a", "1", 2).id();
    s.expect_quiet();
    s.send(pubrec(one));
    s.expect_pubrel(one);
    s.expect_quiet();
    s.send(pubcomp(one));
    let two = s.expect_publish("a", "2", 2).id();
    s.expect_quiet();
    s.send(puback(zero));
    s.expect_publish("a", "3", 1);
    s.expect_quiet();
    s.send(pubrec(two).code(ReasonCode::QuotaExceeded));
    s.expect_publish("a", "4", 2);
    s.expect_quiet();
}

/// [MQTT-4.9.0-1]
#[conformance(v5, in_memory = "70,000 messages", no_firmware = "its own bound is 4 in flight")]
fn a_client_without_a_receive_maximum_gets_65535_messages_at_once(bed: &mut Bed) {
    bed.configure(|config| {
        config.limits.inflight = u16::MAX;
        config.limits.queued_messages = 100_000;
    });
    let mut s = bed.connect("s");
    s.subscribe(1, "a", 1);
    let mut p = bed.connect("p");
    for _ in 0..70_000 {
        p.publish("a", "", 1);
        bed.forget_transcript();
    }
    assert_eq!(s.drain().len(), 65_535);
    s.send(puback(1));
    s.expect_publish("a", "", 1);
    s.expect_quiet();
    bed.forget_transcript();
}

/// [MQTT-3.3.4-10] [MQTT-4.9.0-3]
#[conformance(v5)]
fn a_used_up_receive_maximum_holds_back_only_publish_of_qos_1_and_2(bed: &mut Bed) {
    let mut s = bed.connect(receiver(&[Property::ReceiveMaximum(1)]));
    s.subscribe(1, "a", 2);
    let mut p = bed.connect("p");
    p.publish("a", "held", 2);
    let id = s.expect_publish("a", "held", 2).id();
    s.subscribe(2, "zero", 0);
    p.publish("zero", "x", 0);
    s.expect_publish("zero", "x", 0);
    p.publish("a", "waits", 1);
    s.expect_quiet();
    s.ping();
    s.publish("b", "own", 1);
    s.publish("b", "own", 2);
    s.unsubscribe(3, "zero");
    s.send(pubrec(id));
    s.expect_pubrel(id);
    s.expect_quiet();
    s.send(pubcomp(id));
    s.take_publish("a", "waits", 1);
}

/// Messages that are sent again count against the Receive Maximum of the new connection. PUBREL is not held back.
/// [MQTT-4.9.0-1] [MQTT-4.9.0-2] [MQTT-3.3.4-9]
#[conformance(v5)]
fn a_resumed_session_keeps_to_the_new_receive_maximum(bed: &mut Bed) {
    let mut s = bed.connect(receiver(&[Property::ReceiveMaximum(10)]));
    s.subscribe(1, "a", 2);
    let mut p = bed.connect("p");
    for (payload, level) in [("one", 2), ("two", 1), ("three", 1)] {
        p.publish("a", payload, level);
    }
    let one = s.expect_publish("a", "one", 2).id();
    let two = s.expect_publish("a", "two", 1).id();
    s.expect_publish("a", "three", 1);
    s.send(pubrec(one));
    s.expect_pubrel(one);
    s.cut();
    let mut s = bed.connect(receiver(&[Property::ReceiveMaximum(1)]));
    s.expect_pubrel(one);
    s.expect_publish("a", "two", 1);
    s.expect_quiet();
    s.send(puback(two));
    s.take_publish("a", "three", 1);
    s.send(pubcomp(one));
    s.expect_quiet();
}

/// [MQTT-4.9.0-2]
#[conformance(v5)]
fn messages_of_qos_0_do_not_count_against_the_receive_maximum(bed: &mut Bed) {
    let mut s = bed.connect(receiver(&[Property::ReceiveMaximum(1)]));
    s.subscribe(1, "a", 0);
    let mut p = bed.connect("p");
    for at in 0..100 {
        p.publish("a", at.to_string(), 0);
    }
    for at in 0..100 {
        s.expect_publish("a", at.to_string(), 0);
    }
}

/// An acknowledgement for a message that is not in flight allows the server no further message.
/// [MQTT-4.9.0-1]
#[conformance(v5)]
fn superfluous_acknowledgements_do_not_raise_the_send_quota(bed: &mut Bed) {
    let mut s = bed.connect(receiver(&[Property::ReceiveMaximum(2)]));
    s.subscribe(1, "a", 2);
    let mut p = bed.connect("p");
    for at in 0..8 {
        p.publish("a", at.to_string(), 1);
    }
    let first = s.expect_publish("a", "0", 1).id();
    s.expect_publish("a", "1", 1);
    for _ in 0..3 {
        s.send(puback(first));
    }
    s.send(puback(0x7777));
    s.send(pubcomp(0x7777));
    s.expect_publish("a", "2", 1);
    s.expect_quiet();
}

/// Clients of MQTT 3.1 and 3.1.1 can't say how many messages they accept at once. A bug of the past: small devices were
/// sent 256 at once, more than they could hold.
#[conformance(v3)]
fn clients_before_mqtt_5_0_get_few_messages_at_once(bed: &mut Bed) {
    let most = bed.limits().inflight_v3.min(bed.limits().inflight);
    assert!(most <= 20);
    let old = bed.connect("old");
    let older = bed.connect(client("older").version(Version::V3_1));
    let mut p = bed.connect("p");
    for (name, mut s) in [("old", old), ("older", older)] {
        s.subscribe(1, name, 2);
        let count = most + 2;
        for at in 0..count {
            p.publish(name, at.to_string(), 1);
        }
        let ids: Vec<u16> = (0..most).map(|at| s.expect_publish(name, at.to_string(), 1).id()).collect();
        s.expect_quiet();
        // PINGRESP does not wait behind the messages that wait.
        s.ping();
        s.subscribe(2, "other", 0);
        for (at, id) in (most..).zip(&ids[..2]) {
            s.send(puback(*id));
            s.expect_publish(name, at.to_string(), 1);
        }
        s.expect_quiet();
        s.disconnect();
    }
}

/// A client of MQTT 5.0 gets as many messages at once as its Receive Maximum says.
#[conformance(v5, no_firmware = "its own bound is 4 in flight")]
fn the_bound_for_older_clients_does_not_hold_for_mqtt_5_0(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.subscribe(1, "a", 1);
    let mut p = bed.connect("p");
    for at in 0..30 {
        p.publish("a", at.to_string(), 1);
    }
    for at in 0..30 {
        s.expect_publish("a", at.to_string(), 1);
    }
}
