//! A second connection with the same Client Identifier (section 3.1.4).

use goldcrest_core::codec::*;
use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;
use goldcrest_tests::packets::*;

/// [MQTT-3.1.4-3] [MQTT-3.14.2-2]
/// v3.1.1 [MQTT-3.1.4-2]
#[conformance]
fn a_second_connection_with_the_same_identifier_closes_the_first(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.subscribe(1, "a", 0);
    let mut first = bed.connect("c");
    let mut second = bed.connect("c");
    first.expect_refused(&[ReasonCode::SessionTakenOver]);
    first.send(publish("a", "too late"));
    second.publish("a", "x", 0);
    s.expect_publish("a", "x", 0);
    s.expect_quiet();
}

/// [MQTT-3.1.4-3]
/// v3.1.1 [MQTT-3.1.4-2]
#[conformance]
fn a_connection_of_another_version_closes_the_first(bed: &mut Bed) {
    let other = bed.either(Version::V5, Version::V3_1_1);
    let mut first = bed.connect("c");
    let mut second = bed.connect(client("c").version(other));
    first.expect_refused(&[ReasonCode::SessionTakenOver]);
    second.ping();
}

/// [MQTT-3.1.4-4] [MQTT-3.1.3-2]
/// v3.1.1 [MQTT-3.1.4-3] [MQTT-3.1.3-2]
#[conformance]
fn the_second_connection_goes_on_with_the_session(bed: &mut Bed) {
    let mut first = bed.connect(client("c").keep());
    first.subscribe(1, "a", 1);
    let mut p = bed.connect("p");
    p.publish("a", "one", 1);
    let id = first.expect_publish("a", "one", 1).id();

    let (mut second, connack) = bed.connect_for(client("c").keep());
    assert!(connack.session_present());
    first.expect_refused(&[ReasonCode::SessionTakenOver]);
    let again = second.expect_publish("a", "one", 1);
    assert!(again.publish().dup && again.id() == id);
    p.publish("a", "two", 0);
    second.expect_publish("a", "two", 0);

    let (mut third, connack) = bed.connect_for("c");
    assert!(!connack.session_present());
    second.expect_refused(&[ReasonCode::SessionTakenOver]);
    p.publish("a", "three", 0);
    third.expect_quiet();
}

/// The client that is connected stays connected, and its Will stays with it.
/// [MQTT-3.1.4-2] [MQTT-3.1.2-24]
/// v3.1.1 [MQTT-3.1.4-2]
#[conformance]
fn a_refused_connect_takes_nothing_over(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.subscribe(1, "will", 0);
    let mut first = bed.connect(client("c").keep().will(will("will", "gone", 0)));
    first.subscribe(1, "a", 1);
    let size = [Property::MaximumPacketSize(9)];
    let mut refused = match bed.version() {
        Version::V5 => bed.begin(client("c").with(&size)),
        _ => bed.begin(client("c").will(will("$SYS/x", "x", 0))),
    };
    if bed.is_v5() {
        assert!(refused.expect().code().is_error());
    } else {
        refused.expect_bytes(&[0x20, 2, 0, 5]);
    }
    refused.expect_closed();
    bed.settle();
    s.expect_quiet();
    s.publish("a", "x", 1);
    first.expect_publish("a", "x", 1);
    first.cut();
    s.expect_publish("will", "gone", 0);
}
