//! Acknowledgements that do not belong to the step of the handshake (section 4.3).

use goldcrest_core::codec::*;
use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;
use goldcrest_tests::packets::*;

const PROTOCOL_ERROR: &[ReasonCode] = &[ReasonCode::ProtocolError];

/// What a subscriber has sent before the packet that is out of step.
enum Before {
    Nothing,
    PubRec,
}

/// A subscriber that answers the one message in flight with the wrong packet is cut off, and has the message again after
/// a resume: it was neither acknowledged nor lost.
/// [MQTT-4.13.1-1] [MQTT-4.4.0-1]
/// v3.1.1 [MQTT-4.8.0-1] [MQTT-4.4.0-1]
#[conformance]
fn wrong_acknowledgement(bed: &mut Bed) {
    let failed = ReasonCode::UnspecifiedError;
    let mut wrong = vec![
        (1, Before::Nothing, pubrec as fn(u16) -> Acknowledgement, ReasonCode::Success),
        (1, Before::Nothing, pubcomp, ReasonCode::Success),
        (2, Before::Nothing, puback, ReasonCode::Success),
        (2, Before::Nothing, pubcomp, ReasonCode::Success),
        (2, Before::PubRec, puback, ReasonCode::Success),
    ];
    if bed.is_v5() {
        wrong.push((1, Before::Nothing, pubrec, failed));
        wrong.push((2, Before::Nothing, puback, failed));
        wrong.push((2, Before::PubRec, pubrec, failed));
    }
    for (level, before, packet, code) in wrong {
        let mut s = bed.connect(client("s").keep());
        s.subscribe(1, "a", 2);
        bed.connect("p").publish("a", "x", level);
        let id = s.expect_publish("a", "x", level).id();
        if let Before::PubRec = before {
            s.send(pubrec(id));
            s.expect_pubrel(id);
        }
        bed.refuse(s, packet(id).code(code), PROTOCOL_ERROR);
        let (mut s, connack) = bed.connect_for(client("s").keep());
        assert!(connack.session_present());
        match before {
            Before::Nothing => assert!(s.take_publish("a", "x", level).publish().dup),
            Before::PubRec => {
                s.expect_pubrel(id);
                s.send(pubcomp(id));
            }
        }
        s.expect_quiet();
        s.disconnect();
        bed.connect("s").disconnect();
    }
}

/// PUBREC may come again until PUBCOMP: PUBREL answers it each time.
/// [MQTT-4.3.3-4]
/// v3.1.1 [MQTT-4.3.3-1]
#[conformance]
fn pubrec_again(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.subscribe(1, "a", 2);
    bed.connect("p").publish("a", "x", 2);
    let id = s.expect_publish("a", "x", 2).id();
    for _ in 0..3 {
        s.send(pubrec(id));
        s.expect_pubrel(id);
    }
    s.send(pubcomp(id));
    s.expect_quiet();
}
