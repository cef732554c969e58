//! Acknowledgements that do not fit the present step of the handshake (section 4.3).

use goldcrest_core::codec::*;
use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;
use goldcrest_tests::packets::*;

const PROTOCOL_ERROR: &[ReasonCode] = &[ReasonCode::ProtocolError];

/// The acknowledgement that a subscriber sends before the wrong one.
enum Before {
    Nothing,
    PubRec,
}

/// A subscriber answers the one message in flight with a wrong packet. The connection ends, and the subscriber gets the
/// message again after a resume: the message was neither acknowledged nor lost.
/// [MQTT-4.13.1-1] [MQTT-4.4.0-1]
/// v3.1.1 [MQTT-4.8.0-1] [MQTT-4.4.0-1]
#[conformance]
fn a_wrong_acknowledgement_closes_the_connection_and_loses_no_message(bed: &mut Bed) {
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

/// A client may repeat PUBREC until it sends PUBCOMP.
/// [MQTT-4.3.3-4]
/// v3.1.1 [MQTT-4.3.3-1]
#[conformance]
fn each_repeated_pubrec_is_answered_with_pubrel(bed: &mut Bed) {
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
