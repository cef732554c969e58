//! The verdict about a CONNECT, and the packets around the CONNECT (section 3.1.4).

use goldcrest_core::Ask;
use goldcrest_core::codec::*;
use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;
use goldcrest_tests::packets::*;
use goldcrest_tests::world::{Judge, Judgement};
use std::cell::Cell;
use std::rc::Rc;

/// An embedder that refuses the User Name `intruder` with this code, and accepts all other clients.
fn bouncer(code: Rc<Cell<ReasonCode>>) -> Judge {
    Box::new(move |ask| match ask {
        Ask::Connect(connect) if connect.user_name == Some("intruder") => Judgement::Refuse(code.get()),
        _ => Judgement::Accept(0, None),
    })
}

/// [MQTT-3.1.2-19]
/// v3.1.1 [MQTT-3.1.2-22]
#[conformance]
fn a_password_without_a_user_name_is_accepted_in_mqtt_5_0_alone(bed: &mut Bed) {
    let version = bed.version();
    let connect = raw_connect(version, 0x42, &[field(b"c"), field(b"password")].concat());
    if bed.is_v5() {
        let mut c = bed.open("c");
        c.send(connect);
        c.expect_connack(ReasonCode::Success);
    } else {
        bed.refuse_connect(connect, &[], None);
    }
}

/// [MQTT-3.1.3-1] [MQTT-3.1.3-3]
/// v3.1.1 [MQTT-3.1.3-1] [MQTT-3.1.3-3]
#[conformance(in_memory = "its verdicts")]
fn the_fields_of_a_connect_are_read_in_their_order(bed: &mut Bed) {
    bed.judge(Box::new(|ask| match ask {
        Ask::Connect(connect) if connect.client_id == "identifier" => {
            let will = connect.will.expect("a Will");
            assert_eq!((will.topic, will.payload), ("will/topic", &b"will payload"[..]));
            assert_eq!(connect.user_name, Some("user"));
            assert_eq!(connect.password, Some(&b"pass\0\xffword"[..]));
            Judgement::Accept(0, None)
        }
        _ => Judgement::Accept(0, None),
    }));
    let mut s = bed.connect("s");
    s.subscribe(1, "will/topic", 0);
    let c = client("identifier").will(will("will/topic", "will payload", 0)).user_name("user");
    bed.connect(c.password(b"pass\0\xffword")).cut();
    s.expect_publish("will/topic", "will payload", 0);
}

/// [MQTT-3.1.3-8]
/// v3.1.1 [MQTT-3.1.3-9] [MQTT-3.2.2-5]
#[conformance(in_memory = "its verdicts")]
fn the_embedder_can_refuse_a_client_identifier(bed: &mut Bed) {
    bed.judge(bouncer(Rc::new(Cell::new(ReasonCode::ClientIdentifierNotValid))));
    bed.refuse_connect(client("c").user_name("intruder"), &[ReasonCode::ClientIdentifierNotValid], Some(2));
}

/// The CONNACK does not tell that the Client Identifier has a Session, and the Session stays.
/// [MQTT-3.1.4-2] [MQTT-3.2.2-6] [MQTT-3.2.2-7] [MQTT-3.2.2-8] [MQTT-4.13.2-1]
/// v3.1.1 [MQTT-3.2.2-4] [MQTT-3.2.2-5]
#[conformance(in_memory = "its verdicts")]
fn the_embedder_can_refuse_a_connect_with_each_code(bed: &mut Bed) {
    let code = Rc::new(Cell::new(ReasonCode::Success));
    bed.judge(bouncer(code.clone()));
    bed.connect(client("c").keep()).cut();
    let codes = [
        (ReasonCode::BadUserNameOrPassword, Some(4)),
        (ReasonCode::NotAuthorized, Some(5)),
        (ReasonCode::ServerUnavailable, Some(3)),
        // In MQTT 3.x a refusal that will pass is no CONNACK but a closed connection: some clients never try again after a
        // CONNACK that refuses them.
        (ReasonCode::ServerBusy, None),
        (ReasonCode::Banned, Some(5)),
    ];
    for (refused, return_code) in codes {
        code.set(refused);
        bed.refuse_connect(client("c").keep().user_name("intruder"), &[refused], return_code);
    }
    let (_c, connack) = bed.connect_for(client("c").keep());
    assert!(connack.session_present());
}

/// [MQTT-3.1.4-6]
/// v3.1.1 [MQTT-3.1.4-5]
#[conformance]
fn packets_behind_a_refused_connect_have_no_effect(bed: &mut Bed) {
    let version = bed.version();
    let mut s = bed.connect("s");
    s.subscribe(1, "a", 0);
    let packets = [
        raw_connect(version, 0b11, &field(b"c")),
        subscribe(1, "b", 0).wire(version),
        publish("a", "x").q1(2).retain().wire(version),
    ];
    bed.refuse_connect(packets.concat(), &[ReasonCode::MalformedPacket], None);
    s.expect_quiet();
    s.subscribe(2, "a", 0);
    s.expect_quiet();
}

fn pipelined(version: Version) -> Vec<u8> {
    let packets =
        [client("c").wire(version), subscribe(1, "a", 0).wire(version), publish("b", "x").q1(2).wire(version)];
    packets.concat()
}

/// [MQTT-3.2.0-1] [MQTT-3.1.4-5]
/// v3.1.1 [MQTT-3.2.0-1] [MQTT-3.1.4-4]
#[conformance]
fn packets_sent_before_connack_are_answered_behind_it(bed: &mut Bed) {
    let mut c = bed.open("c");
    c.send(pipelined(bed.version()));
    c.expect_connack(ReasonCode::Success);
    c.expect_suback(1, &[0]);
    c.expect_puback(2);
}

/// [MQTT-3.2.0-1] [MQTT-3.1.4-5]
/// v3.1.1 [MQTT-3.2.0-1] [MQTT-3.1.4-4]
#[conformance(in_memory = "its verdicts")]
fn packets_sent_before_the_verdict_are_answered_after_it(bed: &mut Bed) {
    bed.judge(Box::new(|_| Judgement::Later));
    let mut c = bed.open("c");
    c.send(pipelined(bed.version()));
    c.expect_quiet();
    c.decide(&Judgement::Accept(0, None));
    c.expect_connack(ReasonCode::Success);
    c.expect_suback(1, &[0]);
    c.expect_puback(2);
}

/// During enhanced authentication the server accepts nothing but AUTH and DISCONNECT from the client.
/// [MQTT-3.1.2-30]
#[conformance(v5, in_memory = "its verdicts")]
fn other_packets_than_auth_are_refused_during_authentication(bed: &mut Bed) {
    bed.judge(Box::new(|ask| match ask {
        Ask::Connect(connect) if connect.properties.authentication_method().is_some() => {
            Judgement::Continue(b"challenge".to_vec())
        }
        _ => Judgement::Accept(0, None),
    }));
    let mut s = bed.connect("s");
    s.subscribe(1, "a", 0);
    for packet in [publish("a", "x").wire(Version::V5), subscribe(1, "a", 0).wire(Version::V5), PINGREQ.to_vec()] {
        let mut c = bed.begin(client("c").with(&[Property::AuthenticationMethod("TEST")]));
        assert_eq!(c.expect_type(PacketType::Auth).code(), ReasonCode::ContinueAuthentication);
        c.send(packet);
        c.expect_connack(ReasonCode::ProtocolError);
        c.expect_closed();
    }
    s.expect_quiet();
}

/// Only PUBLISH, CONNACK and DISCONNECT may have a Reason String or User Properties then; each connection of these tests
/// checks what it receives.
/// [MQTT-3.1.2-29]
#[conformance(v5)]
fn with_request_problem_information_0_acknowledgements_do_not_explain(bed: &mut Bed) {
    let no_problems = [Property::RequestProblemInformation(false)];
    let mut c = bed.connect(client("c").with(&no_problems));
    c.send(publish("nobody", "").q1(1));
    c.expect_ack(PacketType::PubAck, 1, ReasonCode::NoMatchingSubscribers);
    c.send(publish("$SYS/x", "").q1(2));
    c.expect_ack(PacketType::PubAck, 2, ReasonCode::NotAuthorized);
    c.send(publish("$SYS/x", "").q2(3));
    c.expect_ack(PacketType::PubRec, 3, ReasonCode::NotAuthorized);
    c.send(pubrel(4));
    c.expect_ack(PacketType::PubComp, 4, ReasonCode::PacketIdentifierNotFound);
    c.send(pubrec(5));
    c.expect_ack(PacketType::PubRel, 5, ReasonCode::PacketIdentifierNotFound);
    c.send(subscribe(6, "a/#/b", 0));
    c.expect_suback(6, &[0x8F]);
    c.send(unsubscribe(7, &["a"]));
    c.expect_unsuback(7, &[0x11]);
    c.subscribe(8, "a", 0);
    let with_property = publish("a", "").with(&[Property::UserProperty("name", "value")]);
    bed.connect("p").send(with_property);
    assert_eq!(c.expect_publish("a", "", 0).properties().user_properties().count(), 1);
}

/// [MQTT-3.1.2-28]
#[conformance(v5)]
fn response_information_is_sent_only_where_requested(bed: &mut Bed) {
    bed.configure(|config| config.response_information = Some("responses/".into()));
    for (list, expected) in [
        (&[][..], None),
        (&[Property::RequestResponseInformation(false)][..], None),
        (&[Property::RequestResponseInformation(true)][..], Some("responses/")),
    ] {
        let (_, connack) = bed.connect_for(client("c").with(list));
        assert_eq!(connack.properties().response_information(), expected);
    }
}
