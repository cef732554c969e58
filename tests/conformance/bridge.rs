//! Bridges set the highest bit of the Protocol Level in an MQTT 3.1 or 3.1.1 CONNECT, as Mosquitto's bridges do.

use goldcrest_core::codec::*;
use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;
use goldcrest_tests::packets::*;

const STATE: &str = "$SYS/broker/connection/b1/state";

/// Mosquitto 2.0 with default settings sends a CONNECT with level 0x84 and a Will, and publishes its state below `$SYS/`. A bug of
/// the past: the server refused both, and a Mosquitto bridge never stayed connected.
#[conformance(v3)]
fn a_mosquitto_bridge_connects_and_publishes_its_state(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.subscribe(1, "$SYS/broker/connection/#", 1);
    let mut b = bed.open("b1");
    let will = [field(b"b1"), field(STATE.as_bytes()), field(b"0")].concat();
    b.send(raw(0x10, &[field(b"MQTT"), vec![0x84, 0x2E, 0, 0x3C], will].concat()));
    b.expect_bytes(&[0x20, 2, 0, 0]);
    b.send(publish(STATE, "1").retain().q1(1));
    b.expect_puback(1);
    s.take_publish(STATE, "1", 1);
    bed.settle();
    let mut late = bed.connect("late");
    late.send(subscribe(1, STATE, 1));
    late.expect_suback(1, &[1]);
    assert!(late.take_publish(STATE, "1", 1).publish().retain);
    b.cut();
    s.take_publish(STATE, "0", 1);
}

/// The only topic below `$SYS/` that a client may publish to is the state topic with its own Client Identifier. The rule holds in
/// every version, since bridges fall back to a level without the bit, and speak MQTT 5.0 too.
#[conformance]
fn below_sys_a_client_may_publish_its_own_state_alone(bed: &mut Bed) {
    bed.configure(|config| config.closes_denied_publishers = true);
    let mut s = bed.connect("s");
    s.subscribe(1, "$SYS/broker/connection/#", 1);
    for id in ["b1", "site/7", "b1/state"] {
        let topic = format!("$SYS/broker/connection/{id}/state");
        let mut b = bed.connect(client(id).will(will(&topic, "0", 1)));
        b.publish(&topic, "1", 1);
        s.take_publish(&topic, "1", 1);
        b.cut();
        s.take_publish(&topic, "0", 1);
    }
    for topic in [
        "$SYS/broker/connection/b1/state",
        "$SYS/broker/connection/b2/stat",
        "$SYS/broker/connection/b2/state/x",
        "$SYS/broker/connection/b2",
        "$SYS/broker/connection//state",
        "$SYS/broker/connections/b2/state",
        "$SYS/broker/clients/total",
    ] {
        let connect = client("b2").will(will(topic, "0", 1));
        bed.refuse_connect(connect, &[ReasonCode::TopicNameInvalid], Some(5));
        let mut b = bed.connect("b2");
        b.send(publish(topic, "1").q1(1));
        if b.is_v5() {
            b.expect_ack(PacketType::PubAck, 1, ReasonCode::NotAuthorized);
        } else {
            b.expect_closed();
        }
    }
    // A client without an identifier of its own has no state topic.
    bed.refuse_connect(
        client("").will(will("$SYS/broker/connection//state", "0", 1)),
        &[ReasonCode::TopicNameInvalid],
        Some(5),
    );
    s.expect_quiet();
}

/// Without No Local two bridges would send each message to and fro for ever. Without Retain As Published a message retained at one
/// end would not be retained at the other.
#[conformance(v3)]
fn a_bridge_gets_no_messages_of_its_own_and_keeps_the_retain_flag(bed: &mut Bed) {
    for version in [Version::V3_1, Version::V3_1_1] {
        let mut b = bed.connect(client("b1").version(version).bridge());
        b.subscribe(1, "#", 1);
        b.subscribe(2, "a/+", 0);
        let mut p = bed.connect("p");
        b.publish("a/own", "x", 1);
        b.publish_retained("a/own", "x", 1);
        b.publish_retained("a/own", "", 1);
        b.expect_quiet();
        for (retain, payload) in [(false, "live"), (true, "kept"), (true, "")] {
            if retain {
                p.publish_retained("a/b", payload, 1);
            } else {
                p.publish("a/b", payload, 1);
            }
            assert_eq!(b.take_publish("a/b", payload, 1).publish().retain, retain);
        }
        b.disconnect();
    }
}

/// The same client without the highest bit gets its own messages back, with RETAIN 0.
#[conformance(v3)]
fn without_the_bit_a_client_is_no_bridge(bed: &mut Bed) {
    let mut c = bed.connect("c");
    c.subscribe(1, "a", 1);
    c.send(publish("a", "own").retain());
    assert!(!c.take_publish("a", "own", 0).publish().retain);
}

/// The options No Local and Retain As Published stay with the subscription after the client has connected again, even without the
/// bit, until the client subscribes to that filter again.
#[conformance(v3)]
fn the_subscription_of_a_bridge_keeps_its_options_until_it_is_replaced(bed: &mut Bed) {
    let mut p = bed.connect("p");
    let mut b = bed.connect(client("b1").keep().bridge());
    b.subscribe(1, "a", 1);
    b.cut();
    p.publish_retained("a", "while away", 1);
    for connect in [client("b1").keep().bridge(), client("b1").keep()] {
        let mut b = bed.connect(connect);
        assert!(b.take_publish("a", "while away", 1).publish().retain);
        b.publish("a", "own", 1);
        b.expect_quiet();
        b.cut();
        p.publish_retained("a", "while away", 1);
    }
    let mut b = bed.connect(client("b1").keep());
    assert!(b.take_publish("a", "while away", 1).publish().retain);
    p.publish_retained("a", "", 1);
    assert!(b.take_publish("a", "", 1).publish().retain);
    b.subscribe(2, "a", 1);
    p.publish_retained("a", "", 1);
    assert!(!b.take_publish("a", "", 1).publish().retain);
    b.publish("a", "own", 0);
    b.take_publish("a", "own", 0);
}

/// No Local is not allowed in a shared subscription `[MQTT-3.8.3-4]`: a bridge in a group gets its share of its own messages.
#[conformance(v3)]
fn a_bridge_in_a_group_is_a_member_like_others(bed: &mut Bed) {
    if bed.shards() > 1 && bed.is_in_memory() {
        // With several shards, one of these group names has its home on another shard than the member.
        for group in ["g", "h", "i", "j"] {
            check_shared(bed, group);
        }
    } else {
        check_shared(bed, "g");
    }
}

fn check_shared(bed: &mut Bed, group: &str) {
    let mut b = bed.connect(client("b1").bridge());
    b.subscribe(1, &format!("$share/{group}/a"), 1);
    let mut p = bed.connect("p");
    p.publish("a", "x", 1);
    b.take_publish("a", "x", 1);
    b.publish("a", "own", 0);
    b.take_publish("a", "own", 0);
    b.disconnect();
}
