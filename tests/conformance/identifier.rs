//! Client Identifiers (section 3.1.3.1).

use goldcrest_core::Config;
use goldcrest_core::codec::*;
use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;
use goldcrest_tests::got::Got;
use goldcrest_tests::packets::*;
use goldcrest_tests::world::World;

fn assigned(connack: &Got) -> String {
    connack.properties().assigned_client_identifier().expect("[MQTT-3.1.3-7]").to_owned()
}

/// [MQTT-3.1.3-5]
/// v3.1.1 [MQTT-3.1.3-5]
#[conformance]
fn client_identifiers_of_letters_and_digits_up_to_23_bytes_are_accepted(bed: &mut Bed) {
    let all = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for len in 1..=23 {
        bed.connect(&all[..len]).disconnect();
    }
    for start in [23, 39] {
        bed.connect(&all[start..start + 23]).disconnect();
    }
}

/// [MQTT-3.1.3-8]
/// v3.1.1 [MQTT-3.1.3-9]
#[conformance]
fn longer_client_identifiers_and_other_characters_are_accepted(bed: &mut Bed) {
    // The firmware accepts at most 256 bytes.
    let longest = if bed.limits().packet_bytes > 65_600 { 65_535 } else { 256 };
    for len in [24, 200, longest] {
        bed.connect(client(&"x".repeat(len))).disconnect();
    }
    bed.connect("a/+#$ ü\u{1f426}").disconnect();
}

/// [MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-16]
/// v3.1.1 [MQTT-3.1.3-6]
#[conformance]
fn clients_without_an_identifier_are_assigned_different_ones(bed: &mut Bed) {
    let (mut one, first) = bed.connect_for("");
    let (mut two, second) = bed.connect_for("");
    if bed.is_v5() {
        assert_ne!(assigned(&first), "");
        assert_ne!(assigned(&first), assigned(&second));
    }
    one.ping();
    two.ping();
    let (_, connack) = bed.connect_for("given");
    assert_eq!(connack.properties().assigned_client_identifier(), None);
}

/// A client that connects again with its assigned identifier finds its Session, on every shard.
/// [MQTT-3.1.3-7] [MQTT-3.2.2-16]
#[conformance(v5)]
fn a_client_can_resume_by_its_assigned_identifier(bed: &mut Bed) {
    for _ in 0..5 {
        let (c, connack) = bed.connect_for(client("").session_expiry(3600));
        c.cut();
        let (_, connack) = bed.connect_for(client(&assigned(&connack)).keep());
        assert!(connack.session_present());
    }
}

/// [MQTT-3.1.3-7] [MQTT-3.2.2-16]
#[conformance(v5, in_memory = "only here the next identifier is known")]
fn an_assigned_identifier_is_never_one_in_use(bed: &mut Bed) {
    let mut twin = World::new(bed.shards(), Config::gateway(7));
    let first = twin.open();
    twin.send(first, &client("").wire(Version::V5));
    let connack = twin.receive(first);
    let (frame, _) = split(&connack, u32::MAX).unwrap().unwrap();
    let Packet::ConnAck(connack) = Packet::decode(Version::V5, frame).unwrap() else { panic!("{connack:?}") };
    let next = connack.properties.assigned_client_identifier().unwrap();

    let mut given = bed.connect(next);
    let (_c, connack) = bed.connect_for("");
    assert_ne!(assigned(&connack), next);
    given.ping();
}

/// MQTT 3.1.1 refuses an empty identifier with CleanSession 0: the client could never find the Session again. MQTT 5.0
/// tells the client the identifier that was assigned.
/// [MQTT-3.1.3-6]
/// v3.1.1 [MQTT-3.1.3-7] [MQTT-3.1.3-8] [MQTT-3.2.2-4] [MQTT-3.2.2-5]
#[conformance]
fn only_mqtt_5_0_keeps_a_session_for_an_empty_identifier(bed: &mut Bed) {
    if bed.is_v5() {
        let (_c, connack) = bed.connect_for(client("").keep());
        assert!(!connack.session_present());
        assert_ne!(assigned(&connack), "");
    } else {
        bed.refuse_connect(client("").keep(), &[], Some(2));
    }
}
