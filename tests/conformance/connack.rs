//! CONNACK (section 3.2).

use goldcrest_core::codec::*;
use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;
use goldcrest_tests::packets::*;
use goldcrest_tests::world::Judgement;
use std::cell::Cell;
use std::rc::Rc;

const METHOD: Property<'static> = Property::AuthenticationMethod("TEST");

/// [MQTT-3.1.4-5] [MQTT-3.2.2-1]
/// v3.1.1 [MQTT-3.1.4-4] [MQTT-3.2.0-1]
#[conformance]
fn an_accepted_connect_is_answered_with_connack(bed: &mut Bed) {
    let (_c, connack) = bed.connect_for("c");
    assert_eq!(connack.bytes()[2..4], [0, 0]);
}

/// Session Present is 0 with Clean Start, even where a Session was stored.
/// [MQTT-3.2.2-2] [MQTT-3.1.2-4]
/// v3.1.1 [MQTT-3.2.2-1] [MQTT-3.1.2-6]
#[conformance]
fn session_present_is_0_for_a_clean_start(bed: &mut Bed) {
    bed.connect(client("c").keep()).cut();
    let (_c, connack) = bed.connect_for("c");
    assert_eq!(connack.bytes()[2..4], [0, 0]);
}

/// [MQTT-3.2.2-3] [MQTT-3.1.2-5] [MQTT-3.1.2-6]
/// v3.1.1 [MQTT-3.2.2-2] [MQTT-3.2.2-3] [MQTT-3.1.2-4]
#[conformance]
fn session_present_is_1_for_a_stored_session_alone(bed: &mut Bed) {
    let short = client("c").clean_start(false).session_expiry(1);
    let (c, connack) = bed.connect_for(short);
    assert_eq!(connack.bytes()[2..4], [0, 0]);
    c.cut();
    let (c, connack) = bed.connect_for(short);
    assert_eq!(connack.bytes()[2..4], [1, 0]);
    c.cut();
    if bed.is_v5() {
        bed.wait(1_100);
        let (_c, connack) = bed.connect_for(short);
        assert_eq!(connack.bytes()[2..4], [0, 0]);
    }
}

/// [MQTT-3.2.2-1] [MQTT-3.2.2-6] [MQTT-3.2.2-7] [MQTT-3.2.2-8]
#[conformance(v5, in_memory = "its verdicts")]
fn connack_can_refuse_with_each_of_its_error_codes(bed: &mut Bed) {
    let code = Rc::new(Cell::new(ReasonCode::Success));
    let verdict = code.clone();
    bed.judge(Box::new(move |_| match verdict.get() {
        ReasonCode::Success => Judgement::Accept(0, None),
        code => Judgement::Refuse(code),
    }));
    bed.connect(client("c").keep()).cut();
    let refusals = ReasonCode::ALL.iter().filter(|code| code.is_error() && code.is_allowed_in(PacketType::ConnAck));
    for refused in refusals {
        code.set(*refused);
        let mut c = bed.begin(client("c").keep());
        assert_eq!(c.expect_connack(*refused).bytes()[2..4], [0, refused.as_u8()]);
        c.expect_closed();
    }
}

/// [MQTT-3.2.2-19] [MQTT-3.2.2-20] [MQTT-3.1.2-24]
#[conformance(v5)]
fn connack_has_a_reason_string_only_where_it_fits(bed: &mut Bed) {
    for (size, explains) in [(12, false), (1000, true)] {
        let mut c = bed.begin(client("c").with(&[METHOD, Property::MaximumPacketSize(size)]));
        let connack = c.expect_connack(ReasonCode::BadAuthenticationMethod);
        assert_eq!(connack.properties().reason_string().is_some(), explains);
        c.expect_closed();
    }
}

/// A client whose Maximum Packet Size is below the shortest CONNACK gets none. A client for which only the CONNACK of a
/// refusal is short enough gets the refusal.
/// [MQTT-3.1.2-24]
#[conformance(v5)]
fn a_client_is_sent_no_connack_beyond_its_maximum_packet_size(bed: &mut Bed) {
    for size in [5, 12] {
        let mut c = bed.begin(client("c").with(&[Property::MaximumPacketSize(size)]));
        c.expect_bytes(&[0x20, 3, 0, 0x83, 0]);
        c.expect_closed();
    }
    for size in [1, 4] {
        let mut c = bed.begin(client("c").with(&[Property::MaximumPacketSize(size)]));
        c.expect_closed();
        let mut c = bed.begin(client("c").with(&[METHOD, Property::MaximumPacketSize(size.min(4))]));
        c.expect_closed();
    }
    bed.connect(client("c").with(&[Property::MaximumPacketSize(40)]));
}

/// That no Property stands twice is shown by the codec that reads CONNACK here: it refuses such a packet.
/// [MQTT-3.2.2-8]
#[conformance(v5)]
fn connack_tells_the_limits_of_the_server(bed: &mut Bed) {
    bed.configure(|config| {
        config.limits.topic_aliases_in = 7;
        config.limits.receive_maximum = 8;
        config.limits.packet_bytes = 9_000;
        config.maximum_qos = QoS::AtLeastOnce;
        config.retain_available = false;
    });
    let (_c, connack) = bed.connect_for("c");
    let properties = connack.properties();
    assert_eq!(properties.topic_alias_maximum(), Some(7));
    assert_eq!(properties.receive_maximum(), Some(8));
    assert_eq!(properties.maximum_packet_size(), Some(9_000));
    assert_eq!(properties.maximum_qos(), Some(QoS::AtLeastOnce));
    assert_eq!(properties.retain_available(), Some(false));
}

/// v3.1.1 [MQTT-3.1.4-4]
#[conformance(v3)]
fn connack_of_mqtt_3_1_1_is_four_bytes(bed: &mut Bed) {
    bed.begin("c").expect_bytes(&[0x20, 2, 0, 0]);
}
