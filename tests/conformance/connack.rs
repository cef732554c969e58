//! CONNACK (section 3.2).

use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;
use goldcrest_tests::packets::*;

/// Session Present is 0 for a Clean Start, though there is a Session.
/// [MQTT-3.2.2-2] [MQTT-3.1.2-4]
/// v3.1.1 [MQTT-3.2.2-1] [MQTT-3.1.2-6]
#[conformance]
fn session_present_clean(bed: &mut Bed) {
    bed.connect(client("c").keep()).cut();
    let (_, connack) = bed.connect_for("c");
    assert!(!connack.session_present());
}
