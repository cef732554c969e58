//! CONNECT (section 3.1).

use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;

/// CONNECT is answered by a CONNACK with success, and with Session Present 0 for a new Session.
/// [MQTT-3.1.4-5] [MQTT-3.2.2-1]
/// v3.1.1 [MQTT-3.1.4-4] [MQTT-3.2.0-1]
#[conformance]
fn accepted(bed: &mut Bed) {
    let (_, connack) = bed.connect_for("c");
    assert_eq!(connack.bytes()[2..4], [0, 0]);
}
