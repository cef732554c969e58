//! Enhanced authentication (section 4.12). The embedder in these tests knows one authentication method, `TEST`, in which the
//! server asks twice.

use goldcrest_core::Ask;
use goldcrest_core::codec::*;
use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;
use goldcrest_tests::packets::*;
use goldcrest_tests::peer::Peer;
use goldcrest_tests::world::Judgement;

const METHOD: [Property<'static>; 1] = [Property::AuthenticationMethod("TEST")];
const CONTINUE: ReasonCode = ReasonCode::ContinueAuthentication;
const AGAIN: ReasonCode = ReasonCode::ReAuthenticate;
const PROTOCOL_ERROR: ReasonCode = ReasonCode::ProtocolError;

/// Makes the server demand the data `one`, then `two`; the server refuses a client that sends other data.
fn two_rounds(bed: &mut Bed) {
    bed.judge(Box::new(|ask| match ask {
        Ask::Connect(connect) => match connect.properties.authentication_method() {
            None => Judgement::Accept(0, None),
            Some("TEST") => Judgement::Continue(b"first?".to_vec()),
            Some(_) => Judgement::Refuse(ReasonCode::BadAuthenticationMethod),
        },
        Ask::Auth(auth) => match auth.properties.authentication_data() {
            None | Some(b"again") => Judgement::Continue(b"first?".to_vec()),
            Some(b"one") => Judgement::Continue(b"second?".to_vec()),
            Some(b"two") => Judgement::Accept(0, Some(b"welcome".to_vec())),
            Some(_) => Judgement::Refuse(ReasonCode::NotAuthorized),
        },
    }));
}

fn auth(code: ReasonCode, data: &str) -> Vec<u8> {
    let list = [METHOD[0], Property::AuthenticationData(data.as_bytes())];
    Packet::Auth(Auth { code, properties: Properties::new(&list) }).wire(Version::V5)
}

/// Expects an AUTH from the server with this Reason Code and these Authentication Data.
fn expect_auth(c: &mut Peer, code: ReasonCode, data: &str) {
    let got = c.expect_type(PacketType::Auth);
    assert_eq!(got.code(), code);
    assert_eq!(got.properties().authentication_method(), Some("TEST"));
    assert_eq!(got.properties().authentication_data(), Some(data.as_bytes()));
}

/// A client to which the server has sent its first AUTH.
fn begun(bed: &mut Bed, client: Client<'_>) -> Peer {
    let mut c = bed.begin(client);
    expect_auth(&mut c, CONTINUE, "first?");
    c
}

/// A client that has answered both questions, and was sent CONNACK.
fn authenticated(bed: &mut Bed, client: Client<'_>) -> Peer {
    let mut c = begun(bed, client);
    c.send(auth(CONTINUE, "one"));
    expect_auth(&mut c, CONTINUE, "second?");
    c.send(auth(CONTINUE, "two"));
    c.expect_connack(ReasonCode::Success);
    c
}

/// Expects a CONNACK with one of these codes, and the end of the connection.
fn expect_unaccepted(mut c: Peer, codes: &[ReasonCode]) {
    let connack = c.expect_type(PacketType::ConnAck);
    assert!(codes.contains(&connack.code()), "{:?}", connack.code());
    c.expect_closed();
}

/// A server that knows one authentication method refuses every other.
/// [MQTT-4.12.0-1]
#[conformance(v5, in_memory = "the test authenticates")]
fn an_unknown_authentication_method_is_refused(bed: &mut Bed) {
    two_rounds(bed);
    let c = bed.begin(client("c").with(&[Property::AuthenticationMethod("OTHER")]));
    expect_unaccepted(c, &[ReasonCode::BadAuthenticationMethod]);
}

/// [MQTT-4.12.0-1]
#[conformance(v5)]
fn a_server_without_authentication_methods_refuses_each_method(bed: &mut Bed) {
    let c = bed.begin(client("c").with(&METHOD));
    expect_unaccepted(c, &[ReasonCode::BadAuthenticationMethod]);
}

/// Client and server send AUTH in turn until CONNACK. Each of these packets names the method of the CONNECT.
/// [MQTT-4.12.0-2] [MQTT-4.12.0-5] [MQTT-3.15.2-1] [MQTT-3.2.0-1]
#[conformance(v5, in_memory = "the test authenticates")]
fn auth_packets_go_both_ways_until_connack(bed: &mut Bed) {
    two_rounds(bed);
    let mut c = begun(bed, client("c").with(&METHOD));
    c.send(auth(CONTINUE, "one"));
    expect_auth(&mut c, CONTINUE, "second?");
    c.send(auth(CONTINUE, "two"));
    let connack = c.expect_connack(ReasonCode::Success);
    assert_eq!(connack.properties().authentication_method(), Some("TEST"));
    assert_eq!(connack.properties().authentication_data(), Some(&b"welcome"[..]));
    c.subscribe(1, "a", 1);
}

/// [MQTT-4.12.0-3]
#[conformance(v5, in_memory = "the test authenticates")]
fn an_auth_before_connack_must_say_continue_authentication(bed: &mut Bed) {
    two_rounds(bed);
    for packet in [auth(AGAIN, "one"), auth(ReasonCode::Success, "one"), vec![0xF0, 0]] {
        let mut c = begun(bed, client("c").with(&METHOD));
        c.send(packet);
        expect_unaccepted(c, &[PROTOCOL_ERROR]);
    }
}

/// [MQTT-4.12.0-5]
#[conformance(v5, in_memory = "the test authenticates")]
fn an_auth_before_connack_must_name_the_method_of_the_connect(bed: &mut Bed) {
    two_rounds(bed);
    let other = [Property::AuthenticationMethod("OTHER")];
    for list in [&other[..], &[]] {
        let mut c = begun(bed, client("c").with(&METHOD));
        c.send(Packet::Auth(Auth { code: CONTINUE, properties: Properties::new(list) }));
        expect_unaccepted(c, &[PROTOCOL_ERROR, ReasonCode::BadAuthenticationMethod]);
    }
}

/// [MQTT-3.1.2-30]
#[conformance(v5, in_memory = "the test authenticates")]
fn only_auth_and_disconnect_may_come_from_an_authenticating_client(bed: &mut Bed) {
    two_rounds(bed);
    let mut s = bed.connect("s");
    s.subscribe(1, "#", 1);
    for packet in [publish("a", "x").wire(Version::V5), subscribe(1, "a", 1).wire(Version::V5), PINGREQ.to_vec()] {
        let mut c = begun(bed, client("c").with(&METHOD).will(will("will", "x", 1)));
        c.send(packet);
        expect_unaccepted(c, &[PROTOCOL_ERROR]);
    }
    let mut c = begun(bed, client("c").with(&METHOD).will(will("will", "x", 1)));
    c.send(DISCONNECT);
    c.expect_closed();
    s.expect_quiet();
}

/// The server answers the second AUTH with a CONNACK that refuses, and makes no Session.
/// [MQTT-4.12.0-4] [MQTT-3.1.4-2]
#[conformance(v5, in_memory = "the test authenticates")]
fn a_client_refused_in_the_second_round_gets_connack_and_no_session(bed: &mut Bed) {
    two_rounds(bed);
    let mut c = begun(bed, client("c").keep().with(&METHOD));
    c.send(auth(CONTINUE, "one"));
    expect_auth(&mut c, CONTINUE, "second?");
    c.send(auth(CONTINUE, "wrong"));
    expect_unaccepted(c, &[ReasonCode::NotAuthorized]);
    assert!(!bed.connect_for(client("c").keep()).1.session_present());
}

/// [MQTT-4.12.0-6] [MQTT-4.12.0-7]
#[conformance(v5, in_memory = "the test authenticates")]
fn without_a_method_in_connect_there_is_none_in_connack_and_no_auth(bed: &mut Bed) {
    two_rounds(bed);
    for code in [CONTINUE, AGAIN] {
        let (c, connack) = bed.connect_for("c");
        assert_eq!(connack.properties().authentication_method(), None);
        bed.refuse(c, auth(code, "one"), &[PROTOCOL_ERROR]);
    }
}

/// A client authenticates again while its messages go on both ways.
/// [MQTT-4.12.1-1] [MQTT-3.15.2-1]
#[conformance(v5, in_memory = "the test authenticates")]
fn a_client_re_authenticates_while_messages_flow(bed: &mut Bed) {
    two_rounds(bed);
    let mut c = authenticated(bed, client("c").with(&METHOD));
    c.subscribe(1, "a", 1);
    let mut p = bed.connect("p");
    for _ in 0..2 {
        c.send(auth(AGAIN, "again"));
        expect_auth(&mut c, CONTINUE, "first?");
        p.publish("a", "meanwhile", 1);
        c.take_publish("a", "meanwhile", 1);
        c.ping();
        c.send(auth(CONTINUE, "one"));
        expect_auth(&mut c, CONTINUE, "second?");
        c.send(auth(CONTINUE, "two"));
        expect_auth(&mut c, ReasonCode::Success, "welcome");
    }
    p.publish("a", "afterwards", 1);
    c.take_publish("a", "afterwards", 1);
}

/// [MQTT-4.12.1-1]
#[conformance(v5, in_memory = "the test authenticates")]
fn a_re_authentication_must_use_the_method_of_the_connect(bed: &mut Bed) {
    two_rounds(bed);
    let other = [Property::AuthenticationMethod("OTHER")];
    let mut c = authenticated(bed, client("c").with(&METHOD));
    c.send(Packet::Auth(Auth { code: AGAIN, properties: Properties::new(&other) }));
    c.expect_refused(&[PROTOCOL_ERROR, ReasonCode::BadAuthenticationMethod]);
}

/// A client that fails to re-authenticate is disconnected like any refused client: its Will is published, and its Session
/// stays.
/// [MQTT-4.12.1-2]
#[conformance(v5, in_memory = "the test authenticates")]
fn a_failed_re_authentication_ends_the_connection_and_keeps_the_session(bed: &mut Bed) {
    two_rounds(bed);
    let mut s = bed.connect("s");
    s.subscribe(1, "will", 1);
    let mut c = authenticated(bed, client("c").keep().with(&METHOD).will(will("will", "x", 1)));
    c.send(auth(AGAIN, "wrong"));
    c.expect_refused(&[ReasonCode::NotAuthorized]);
    s.take_publish("will", "x", 1);
    assert!(bed.connect_for(client("c").keep()).1.session_present());
}

/// A re-authentication that proves another principal than the CONNECT ends the connection, and the Session stays with the
/// first principal. A bug of the past: the Session was handed over to the other principal, with its subscriptions and its
/// queue.
/// [MQTT-4.12.1-2]
#[conformance(v5, in_memory = "the test authenticates")]
fn a_re_authentication_as_another_principal_ends_the_connection(bed: &mut Bed) {
    bed.judge(Box::new(|ask| match ask {
        Ask::Connect(connect) => Judgement::Accept(if connect.user_name == Some("mallory") { 2 } else { 1 }, None),
        Ask::Auth(auth) => match auth.properties.authentication_data() {
            Some(b"alice again") => Judgement::Accept(1, None),
            _ => Judgement::Accept(2, None),
        },
    }));
    let mut c = bed.connect(client("c").keep().with(&METHOD));
    c.send(auth(AGAIN, "alice again"));
    assert_eq!(c.expect_type(PacketType::Auth).code(), ReasonCode::Success);
    c.send(auth(AGAIN, "mallory"));
    c.expect_refused(&[ReasonCode::NotAuthorized]);
    bed.refuse_connect(client("c").keep().user_name("mallory"), &[ReasonCode::NotAuthorized], None);
    assert!(bed.connect_for(client("c").keep()).1.session_present());
}

/// The AUTH packets here have reserved flags, a Property twice, a foreign Property or no method.
/// [MQTT-3.15.1-1]
#[conformance(v5, in_memory = "the test authenticates")]
fn a_malformed_auth_is_refused(bed: &mut Bed) {
    two_rounds(bed);
    let method = [&[0x15][..], &field(b"TEST")].concat();
    let data = [&[0x16][..], &field(b"again")].concat();
    let body = |list: &[&[u8]]| [&[0x19][..], &properties(Version::V5, &list.concat())].concat();
    let packets = [
        raw(0xF1, &body(&[&method, &data])),
        raw(0xF0, &body(&[&method, &method])),
        raw(0xF0, &body(&[&method, &data, &data])),
        raw(0xF0, &body(&[&data])),
        raw(0xF0, &body(&[])),
        raw(0xF0, &body(&[&method, &[0x21, 0, 1]])),
    ];
    for packet in packets {
        let mut c = authenticated(bed, client("c").with(&METHOD));
        c.send(packet);
        c.expect_refused(&[PROTOCOL_ERROR, ReasonCode::MalformedPacket]);
    }
}

/// The server sends no AUTH longer than the client's Maximum Packet Size. A client whose limit is too small for method and
/// data is refused.
/// [MQTT-3.15.2-2] [MQTT-3.15.2-3]
#[conformance(v5, in_memory = "the test authenticates")]
fn auth_keeps_to_the_maximum_packet_size(bed: &mut Bed) {
    two_rounds(bed);
    let room = |size| [METHOD[0], Property::MaximumPacketSize(size)];
    let enough = room(100);
    let mut c = begun(bed, client("c").with(&enough));
    c.send(DISCONNECT);
    let little = room(18);
    expect_unaccepted(
        bed.begin(client("c").with(&little)),
        &[ReasonCode::ImplementationSpecificError, ReasonCode::PacketTooLarge],
    );
}

/// v3.1.1 [MQTT-4.8.0-1]
#[conformance(v3)]
fn auth_is_refused_in_mqtt_3_1_1(bed: &mut Bed) {
    let c = bed.connect("c");
    bed.refuse(c, [0xF0, 0], &[]);
}

/// [MQTT-3.1.4-6]
#[conformance(v5)]
fn an_auth_behind_a_refused_connect_is_not_answered(bed: &mut Bed) {
    let mut c = bed.open("c");
    c.send([client("c").with(&METHOD).wire(Version::V5), auth(CONTINUE, "one")].concat());
    expect_unaccepted(c, &[ReasonCode::BadAuthenticationMethod]);
}
