//! PUBLISH: flags, topics and answers (section 3.3).

use goldcrest_core::codec::*;
use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;
use goldcrest_tests::packets::*;

/// What is sent again after a resume has the DUP flag and the Packet Identifier of before.
/// [MQTT-3.3.1-1] [MQTT-4.4.0-1]
/// v3.1.1 [MQTT-3.3.1-1] [MQTT-4.4.0-1]
#[conformance]
fn dup_on_redelivery(bed: &mut Bed) {
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
    for (before, payload, level) in [(one, "one", 1), (two, "two", 2)] {
        let again = s.take_publish("a", payload, level);
        assert!(again.publish().dup);
        assert_eq!(again.id(), before.id());
    }
    s.expect_quiet();
}

/// A PUBLISH of QoS 0 with the DUP flag is refused.
/// [MQTT-3.3.1-2]
/// v3.1.1 [MQTT-3.3.1-2]
#[conformance]
fn dup_with_qos_0(bed: &mut Bed) {
    let c = bed.connect("c");
    bed.refuse(
        c,
        raw(0x38, &[&field(b"a")[..], &properties(bed.version(), &[])].concat()),
        &[ReasonCode::MalformedPacket],
    );
}
