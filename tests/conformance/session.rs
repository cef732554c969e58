//! Session State (sections 3.1.2.4, 3.1.2.11.2 and 4.1).

use super::ordering::take_all;
use goldcrest_core::codec::*;
use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;
use goldcrest_tests::packets::*;

/// A year, in milliseconds.
const YEAR: u64 = 365 * 24 * 3600 * 1000;

/// The Session keeps its subscriptions, its queue, and the messages in flight both ways.
/// [MQTT-3.1.2-5] [MQTT-3.1.2-23] [MQTT-4.1.0-1]
/// v3.1.1 [MQTT-3.1.2-4] [MQTT-4.1.0-1]
#[conformance]
fn a_resumed_session_has_all_its_state(bed: &mut Bed) {
    let mut c = bed.connect(client("c").keep());
    c.subscribe(1, "a", 2);
    let mut p = bed.connect("p");
    p.publish("a", "in flight", 1);
    c.expect_publish("a", "in flight", 1);
    c.send(publish("b", "x").q2(9));
    c.expect_pubrec(9);
    c.cut();
    p.publish("a", "queued", 2);
    let (mut c, connack) = bed.connect_for(client("c").keep());
    assert!(connack.session_present());
    assert!(c.take_publish("a", "in flight", 1).publish().dup);
    assert!(!c.take_publish("a", "queued", 2).publish().dup);
    c.send(pubrel(9));
    c.expect_pubcomp(9);
    p.publish("a", "live", 1);
    c.take_publish("a", "live", 1);
    c.expect_quiet();
}

/// With Clean Start the whole Session is gone: a Packet Identifier that was used before means a new message.
/// [MQTT-3.1.2-4] [MQTT-3.1.4-4]
/// v3.1.1 [MQTT-3.1.2-6] [MQTT-3.1.4-3]
#[conformance]
fn clean_start_discards_the_session(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.subscribe(1, "b", 2);
    let mut c = bed.connect(client("c").keep());
    c.subscribe(1, "a", 2);
    let mut p = bed.connect("p");
    p.publish("a", "in flight", 1);
    c.expect_publish("a", "in flight", 1);
    c.send(publish("b", "one").q2(9));
    c.expect_pubrec(9);
    s.take_publish("b", "one", 2);
    c.cut();
    p.publish("a", "queued", 1);
    let (mut c, connack) = bed.connect_for("c");
    assert!(!connack.session_present());
    c.expect_quiet();
    p.publish("a", "live", 1);
    c.expect_quiet();
    c.send(publish("b", "two").q2(9));
    c.expect_pubrec(9);
    s.take_publish("b", "two", 2);
}

/// [MQTT-3.1.2-6]
/// v3.1.1 [MQTT-3.1.2-4] [MQTT-3.2.2-3]
#[conformance]
fn clean_start_0_without_a_stored_session_begins_a_new_one(bed: &mut Bed) {
    let (mut c, connack) = bed.connect_for(client("c").keep());
    assert!(!connack.session_present());
    c.subscribe(1, "a", 1);
}

/// [MQTT-4.5.0-1] [MQTT-3.1.2-23]
/// v3.1.1 [MQTT-3.1.2-5] [MQTT-4.5.0-1]
#[conformance]
fn messages_of_qos_1_and_2_wait_in_order_for_an_absent_client(bed: &mut Bed) {
    let mut c = bed.connect(client("c").keep());
    c.subscribe(1, "a", 2);
    c.cut();
    let mut p = bed.connect("p");
    let count = bed.queue(50);
    for number in 1..=count {
        p.publish("a", number.to_string(), (number % 3) as u8);
    }
    let mut c = bed.connect(client("c").keep());
    let waited: Vec<_> =
        (1..=count).filter(|number| number % 3 > 0).map(|number| ((number % 3) as u8, number)).collect();
    assert_eq!(take_all(&mut c, waited.len()), waited);
    c.expect_quiet();
}

/// v3.1.1 [MQTT-3.1.2-6] [MQTT-3.2.2-3] [MQTT-4.1.0-2]
#[conformance(v3)]
fn a_session_of_clean_session_1_ends_with_its_connection(bed: &mut Bed) {
    let mut c = bed.connect("c");
    c.subscribe(1, "a", 1);
    c.cut();
    let mut p = bed.connect("p");
    p.publish("a", "missed", 1);
    let (mut c, connack) = bed.connect_for(client("c").keep());
    assert!(!connack.session_present());
    p.publish("a", "live", 1);
    c.expect_quiet();
}

/// The interval begins with the end of the connection.
/// [MQTT-4.1.0-1] [MQTT-4.1.0-2] [MQTT-3.1.2-23]
#[conformance(v5, in_memory = "it waits for an hour")]
fn a_session_ends_after_its_session_expiry_interval(bed: &mut Bed) {
    for (wait, present) in [(9_000, true), (9_999, true), (10_000, false)] {
        let c = bed.connect(client("c").keep_alive(0).session_expiry(10));
        bed.wait(3_600_000);
        c.cut();
        bed.wait(wait);
        let (c, connack) = bed.connect_for(client("c").clean_start(false));
        assert_eq!(connack.session_present(), present, "after {wait} ms");
        c.disconnect();
    }
}

/// [MQTT-4.1.0-2]
#[conformance(v5)]
fn a_session_without_an_expiry_interval_ends_with_its_connection(bed: &mut Bed) {
    for list in [&[Property::SessionExpiryInterval(0)][..], &[]] {
        bed.connect(client("c").with(list)).cut();
        let (c, connack) = bed.connect_for(client("c").clean_start(false));
        assert!(!connack.session_present());
        c.disconnect();
    }
}

/// The Session Expiry Interval is 0xFFFFFFFF.
/// [MQTT-3.1.2-23]
#[conformance(v5, in_memory = "it waits for years")]
fn a_session_with_the_greatest_expiry_interval_never_ends(bed: &mut Bed) {
    let mut c = bed.connect(client("c").session_expiry(u32::MAX));
    c.subscribe(1, "a", 1);
    c.cut();
    bed.wait(200 * YEAR);
    bed.connect("p").publish("a", "x", 1);
    let (mut c, connack) = bed.connect_for(client("c").clean_start(false));
    assert!(connack.session_present());
    c.take_publish("a", "x", 1);
}

/// The Session Expiry Interval of the last connection counts, not that of an earlier one.
/// [MQTT-4.1.0-2] [MQTT-3.1.2-23]
#[conformance(v5, in_memory = "it waits for Sessions to end")]
fn each_connection_sets_the_session_expiry_interval_anew(bed: &mut Bed) {
    bed.connect(client("c").session_expiry(100)).cut();
    bed.connect(client("c").clean_start(false).session_expiry(10)).cut();
    bed.wait(11_000);
    let (c, connack) = bed.connect_for(client("c").clean_start(false).session_expiry(10));
    assert!(!connack.session_present());
    c.cut();
    bed.connect(client("c").clean_start(false).session_expiry(100)).cut();
    bed.wait(50_000);
    assert!(bed.connect_for(client("c").clean_start(false)).1.session_present());
}

/// Clean Start 1 does not say when the Session ends: the Session Expiry Interval does.
/// [MQTT-3.1.2-4] [MQTT-3.1.2-23]
#[conformance(v5)]
fn a_session_begun_with_clean_start_may_outlive_its_connection(bed: &mut Bed) {
    bed.connect(client("c").session_expiry(3600)).cut();
    assert!(bed.connect_for(client("c").clean_start(false)).1.session_present());
}

/// Two Client Identifiers that differ in any byte are two Sessions. One Client Identifier is one Session in every
/// version of MQTT.
/// [MQTT-3.1.3-2]
/// v3.1.1 [MQTT-3.1.3-2]
#[conformance]
fn a_session_belongs_to_one_client_identifier(bed: &mut Bed) {
    for id in ["client", "Client", "client2", "clien"] {
        let (mut c, connack) = bed.connect_for(client(id).keep());
        assert!(!connack.session_present(), "{id}");
        c.subscribe(1, id, 1);
        c.cut();
    }
    bed.connect("p").publish("client", "x", 1);
    for (id, gets) in [("Client", false), ("client2", false), ("clien", false), ("client", true)] {
        for version in [Version::V3_1_1, Version::V5] {
            let (mut c, connack) = bed.connect_for(client(id).keep().version(version));
            assert!(connack.session_present(), "{id}");
            if gets && version == Version::V3_1_1 {
                c.take_publish("client", "x", 1);
            }
            c.expect_quiet();
            c.cut();
        }
    }
}

/// The Session outlives its expiry interval, because its client is connected.
/// [MQTT-4.1.0-1]
/// v3.1.1 [MQTT-4.1.0-2]
#[conformance(in_memory = "it waits for a year")]
fn a_session_does_not_expire_while_its_client_is_connected(bed: &mut Bed) {
    let mut c = bed.connect(client("c").keep_alive(0));
    c.subscribe(1, "a", 1);
    let mut p = bed.connect(client("p").keep_alive(0));
    p.publish("a", "one", 1);
    let one = c.expect_publish("a", "one", 1).id();
    bed.wait(YEAR);
    p.publish("a", "two", 1);
    let two = c.expect_publish("a", "two", 1).id();
    assert_ne!(one, two);
    c.send(puback(one));
    c.send(puback(two));
    c.expect_quiet();
}

/// One Session is connected, another is not.
/// [MQTT-4.5.0-1]
/// v3.1.1 [MQTT-4.5.0-1]
#[conformance]
fn every_session_with_a_matching_subscription_gets_the_message(bed: &mut Bed) {
    let ids: Vec<String> = (0..bed.clients(50)).map(|number| format!("c{number}")).collect();
    let mut connected = Vec::new();
    for (number, id) in ids.iter().enumerate() {
        let mut c = bed.connect(client(id).keep());
        c.subscribe(1, ["a", "+", "#", "other", "a/b"][number % 5], 1);
        if number % 2 == 0 {
            connected.push((number, c));
        } else {
            c.cut();
        }
    }
    bed.connect("p").publish("a", "x", 1);
    for (number, id) in ids.iter().enumerate().filter(|(number, _)| number % 2 == 1) {
        connected.push((number, bed.connect(client(id).keep())));
    }
    for (number, mut c) in connected {
        if number % 5 < 3 {
            c.take_publish("a", "x", 1);
        }
        c.expect_quiet();
    }
}
