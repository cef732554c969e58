//! QoS 1 and 2 to the clients: the server is the sender (sections 4.3, 4.4 and 4.6).

use goldcrest_core::codec::*;
use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;
use goldcrest_tests::packets::*;
use goldcrest_tests::peer::Peer;

/// A subscriber to `a` with QoS 2, whose Session stays, and a publisher.
fn pair(bed: &mut Bed) -> (Peer, Peer) {
    let mut s = bed.connect(client("s").keep());
    s.subscribe(1, "a", 2);
    (s, bed.connect("p"))
}

fn resume(bed: &mut Bed, s: Peer) -> Peer {
    s.cut();
    let (s, connack) = bed.connect_for(client("s").keep());
    if s.version() != Version::V3_1 {
        assert!(connack.session_present());
    }
    s
}

/// [MQTT-4.3.1-1] [MQTT-4.4.0-1]
/// v3.1.1 [MQTT-4.3.1-1]
#[conformance]
fn a_message_of_qos_0_is_sent_once(bed: &mut Bed) {
    let (mut s, mut p) = pair(bed);
    p.publish("a", "x", 0);
    assert_eq!(s.expect_publish("a", "x", 0).bytes()[0], 0x30);
    s.expect_quiet();
    resume(bed, s).expect_quiet();
}

/// [MQTT-4.3.2-1] [MQTT-4.3.2-2] [MQTT-4.3.2-3]
/// v3.1.1 [MQTT-4.3.2-1]
#[conformance]
fn a_message_of_qos_1_is_sent_until_it_is_acknowledged(bed: &mut Bed) {
    let (mut s, mut p) = pair(bed);
    p.publish("a", "x", 1);
    let first = s.expect_publish("a", "x", 1);
    assert_eq!(first.bytes()[0], 0x32);
    let mut s = resume(bed, s);
    let again = s.expect_publish("a", "x", 1);
    assert_eq!((again.bytes()[0], again.id()), (0x3A, first.id()));
    s.send(puback(first.id()));
    s.expect_quiet();
    resume(bed, s).expect_quiet();
}

/// [MQTT-4.3.3-2] [MQTT-4.3.3-3] [MQTT-4.3.3-4] [MQTT-4.3.3-5] [MQTT-4.3.3-6]
/// v3.1.1 [MQTT-4.3.3-1] [MQTT-4.4.0-1]
#[conformance]
fn a_message_of_qos_2_takes_all_four_packets(bed: &mut Bed) {
    let (mut s, mut p) = pair(bed);
    p.publish("a", "x", 2);
    let first = s.expect_publish("a", "x", 2);
    assert_eq!(first.bytes()[0], 0x34);

    let mut s = resume(bed, s);
    let again = s.expect_publish("a", "x", 2);
    assert_eq!((again.bytes()[0], again.id()), (0x3C, first.id()));
    s.send(pubrec(first.id()));
    s.expect_pubrel(first.id());

    let mut s = resume(bed, s);
    s.expect_pubrel(first.id());
    s.expect_quiet();
    s.send(pubcomp(first.id()));
    s.expect_quiet();
    resume(bed, s).expect_quiet();
}

/// [MQTT-4.3.3-4] [MQTT-4.3.3-6]
/// v3.1.1 [MQTT-4.3.3-1]
#[conformance]
fn a_repeated_pubrec_after_a_resume_is_answered_with_pubrel(bed: &mut Bed) {
    let (mut s, mut p) = pair(bed);
    p.publish("a", "x", 2);
    let id = s.expect_publish("a", "x", 2).id();
    s.send(pubrec(id));
    s.expect_pubrel(id);
    let mut s = resume(bed, s);
    s.expect_pubrel(id);
    s.send(pubrec(id));
    s.expect_pubrel(id);
    s.send(pubcomp(id));
    s.expect_quiet();
}

/// [MQTT-4.4.0-1]
/// v3.1.1 [MQTT-4.4.0-1]
#[conformance(in_memory = "it takes ten minutes")]
fn nothing_is_sent_again_on_the_same_connection(bed: &mut Bed) {
    let mut s = bed.connect(client("s").keep_alive(0));
    s.subscribe(1, "a", 2);
    let mut p = bed.connect("p");
    for level in [1, 2, 2] {
        p.publish("a", "x", level);
    }
    let ids: Vec<u16> = s.drain().iter().map(|got| got.id()).collect();
    s.send(pubrec(ids[2]));
    s.expect_pubrel(ids[2]);
    bed.wait(600_000);
    s.expect_quiet();
}

/// [MQTT-4.4.0-1] [MQTT-3.1.2-4]
/// v3.1.1 [MQTT-3.1.2-6]
#[conformance]
fn nothing_is_sent_again_after_a_clean_start(bed: &mut Bed) {
    let (mut s, mut p) = pair(bed);
    p.publish("a", "x", 1);
    s.expect_publish("a", "x", 1);
    s.cut();
    bed.connect("s").expect_quiet();
}

/// No PUBREL follows a refused message, it is not sent again, and the next message may be sent.
/// [MQTT-4.4.0-2] [MQTT-3.3.4-9]
#[conformance(v5)]
fn a_message_that_the_client_refuses_is_completed(bed: &mut Bed) {
    let one_at_a_time = [Property::ReceiveMaximum(1)];
    let mut s = bed.connect(client("s").keep().with(&one_at_a_time));
    s.subscribe(1, "a", 2);
    let mut p = bed.connect("p");
    for (payload, level) in [("one", 1), ("two", 2), ("three", 1)] {
        p.publish("a", payload, level);
    }
    let id = s.expect_publish("a", "one", 1).id();
    s.expect_quiet();
    s.send(puback(id).code(ReasonCode::UnspecifiedError));
    let id = s.expect_publish("a", "two", 2).id();
    s.expect_quiet();
    s.send(pubrec(id).code(ReasonCode::ImplementationSpecificError));
    s.take_publish("a", "three", 1);
    s.expect_quiet();
    resume(bed, s).expect_quiet();
}

/// [MQTT-4.3.3-7]
#[conformance(v5)]
fn a_message_of_qos_2_in_flight_does_not_expire(bed: &mut Bed) {
    let (mut s, mut p) = pair(bed);
    p.deliver(publish("a", "x").q2(1).with(&[Property::MessageExpiryInterval(1)]), 2);
    let id = s.expect_publish("a", "x", 2).id();
    s.cut();
    bed.wait(1_500);
    let mut s = bed.connect(client("s").keep());
    let again = s.take_publish("a", "x", 2);
    assert!(again.publish().dup && again.id() == id);
}

/// v3.1.1 [MQTT-4.6.0-4]
#[conformance]
fn pubrel_packets_come_in_the_order_of_pubrec(bed: &mut Bed) {
    let (mut s, mut p) = pair(bed);
    for _ in 0..3 {
        p.publish("a", "x", 2);
    }
    let ids: Vec<u16> = (0..3).map(|_| s.expect_publish("a", "x", 2).id()).collect();
    let order = [ids[2], ids[0], ids[1]];
    order.iter().for_each(|id| s.send(pubrec(*id)));
    order.iter().for_each(|id| drop(s.expect_pubrel(*id)));
}

/// [MQTT-4.4.0-1] [MQTT-4.6.0-5]
/// v3.1.1 [MQTT-4.6.0-1] [MQTT-4.6.0-6] [MQTT-4.4.0-1]
#[conformance(no_firmware = "six in flight, and it has room for four")]
fn messages_are_sent_again_in_their_first_order(bed: &mut Bed) {
    let (mut s, mut p) = pair(bed);
    let levels = [1, 2, 2, 1, 1, 2];
    let payload = |at: usize| at.to_string();
    for (at, level) in levels.into_iter().enumerate() {
        p.publish("a", payload(at), level);
    }
    let ids: Vec<u16> = (0..6).map(|at| s.expect_publish("a", payload(at), levels[at]).id()).collect();
    s.send(pubrec(ids[1]));
    s.expect_pubrel(ids[1]);
    s.send(pubcomp(ids[1]));
    s.send(puback(ids[3]));
    s.send(pubrec(ids[2]));
    s.expect_pubrel(ids[2]);
    s.cut();
    p.publish("a", "new", 1);
    let mut s = bed.connect(client("s").keep());
    for at in [0, 2, 4, 5] {
        if at == 2 {
            s.expect_pubrel(ids[at]);
            continue;
        }
        let again = s.expect_publish("a", payload(at), levels[at]);
        assert!(again.publish().dup && again.id() == ids[at]);
    }
    assert!(!s.expect_publish("a", "new", 1).publish().dup);
    s.expect_quiet();
}

/// The client gets the message again on its next connection.
/// [MQTT-4.13.1-1]
/// v3.1.1 [MQTT-4.8.0-1]
#[conformance]
fn an_acknowledgement_for_another_qos_ends_the_connection(bed: &mut Bed) {
    let (mut s, mut p) = pair(bed);
    p.publish("a", "two", 2);
    let id = s.expect_publish("a", "two", 2).id();
    for wrong in [puback(id), pubcomp(id)] {
        bed.refuse(s, wrong, &[ReasonCode::ProtocolError]);
        s = bed.connect(client("s").keep());
        s.expect_publish("a", "two", 2);
    }
    s.send(pubrec(id));
    s.expect_pubrel(id);
    s.send(pubcomp(id));
    p.publish("a", "one", 1);
    let id = s.expect_publish("a", "one", 1).id();
    bed.refuse(s, pubrec(id), &[ReasonCode::ProtocolError]);
    let mut s = bed.connect(client("s").keep());
    s.take_publish("a", "one", 1);
    s.expect_quiet();
}

/// [MQTT-4.3.2-3]
/// v3.1.1 [MQTT-4.3.2-1]
#[conformance]
fn after_puback_the_server_uses_a_packet_identifier_again(bed: &mut Bed) {
    bed.configure(|config| config.limits.inflight = 1);
    let (mut s, mut p) = pair(bed);
    for payload in ["one", "two", "three"] {
        p.publish("a", payload, 1);
    }
    for payload in ["one", "two", "three"] {
        let got = s.expect_publish("a", payload, 1);
        assert!(!got.publish().dup);
        s.expect_quiet();
        s.send(puback(got.id()));
    }
}
