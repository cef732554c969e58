//! The Will Message (sections 3.1.2.5 and 3.1.3.2).

use goldcrest_core::codec::*;
use goldcrest_core::{Authorize, Subject, Subscribable, TopicFilter, TopicName};
use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;
use goldcrest_tests::packets::*;
use goldcrest_tests::peer::Peer;
use goldcrest_tests::world::Judgement;

/// A client that subscribed to `will` and to all topics below.
fn witness(bed: &mut Bed) -> Peer {
    let mut s = bed.connect(client("witness").keep_alive(0));
    s.subscribe(1, "will/#", 2);
    s
}

/// A Will on the topic `will` with QoS 1 and these Properties.
fn will_with<'a>(properties: &'a [Property<'a>]) -> Will<'a> {
    Will { properties: Properties::new(properties), ..will("will", "x", 1) }
}

/// [MQTT-3.1.2-7] [MQTT-3.1.2-8]
/// v3.1.1 [MQTT-3.1.2-8]
#[conformance]
fn a_will_is_published_when_the_connection_is_lost(bed: &mut Bed) {
    let mut s = witness(bed);
    let c = bed.connect(client("c").will(will("will/a", "it is gone", 1)));
    s.expect_quiet();
    c.cut();
    s.take_publish("will/a", "it is gone", 1);
    s.expect_quiet();
}

/// [MQTT-3.1.2-8] [MQTT-3.1.2-22]
/// v3.1.1 [MQTT-3.1.2-8] [MQTT-3.1.2-24]
#[conformance(in_memory = "it waits for Keep Alive")]
fn a_will_is_published_when_the_server_closes_for_silence_or_an_error(bed: &mut Bed) {
    let mut s = witness(bed);
    let mut silent = bed.connect(client("silent").keep_alive(10).will(will("will", "silent", 1)));
    bed.wait(14_999);
    s.expect_quiet();
    bed.wait(1);
    s.take_publish("will", "silent", 1);
    silent.expect_refused(&[ReasonCode::KeepAliveTimeout]);
    let mut wrong = bed.connect(client("wrong").will(will("will", "wrong", 1)));
    wrong.send([0xD0, 0]);
    s.take_publish("will", "wrong", 1);
    wrong.expect_refused(&[ReasonCode::ProtocolError]);
}

/// [MQTT-3.1.2-8]
/// v3.1.1 [MQTT-3.1.2-8]
#[conformance]
fn a_will_is_published_when_another_connection_takes_over(bed: &mut Bed) {
    let mut s = witness(bed);
    let mut old = bed.connect(client("c").will(will("will", "old", 1)));
    let new = bed.connect(client("c").will(will("will", "new", 1)));
    s.take_publish("will", "old", 1);
    old.expect_refused(&[ReasonCode::SessionTakenOver]);
    s.expect_quiet();
    new.disconnect();
}

/// A client that sends DISCONNECT has no Will published, then or later.
/// [MQTT-3.14.4-3] [MQTT-3.1.2-10]
/// v3.1.1 [MQTT-3.14.4-3] [MQTT-3.1.2-10]
#[conformance]
fn a_will_is_discarded_by_disconnect(bed: &mut Bed) {
    let mut s = witness(bed);
    bed.connect(client("c").keep().will(will("will", "x", 1))).disconnect();
    s.expect_quiet();
    bed.connect(client("c").keep()).cut();
    s.expect_quiet();
}

/// [MQTT-3.1.2-10]
/// v3.1.1 [MQTT-3.1.2-10]
#[conformance]
fn a_will_is_published_once(bed: &mut Bed) {
    let mut s = witness(bed);
    bed.connect(client("c").keep().will(will("will", "x", 1))).cut();
    s.take_publish("will", "x", 1);
    bed.connect(client("c").keep()).cut();
    s.expect_quiet();
}

/// v3.1.1 [MQTT-3.1.2-12]
#[conformance(v3)]
fn without_the_will_flag_there_is_no_will(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.subscribe(1, "#", 1);
    bed.connect("c").cut();
    s.expect_quiet();
}

/// With Will Retain 0 the Will is not retained, and the retained message of its topic stays.
/// [MQTT-3.1.2-14]
/// v3.1.1 [MQTT-3.1.2-16]
#[conformance]
fn a_will_without_will_retain_is_not_retained(bed: &mut Bed) {
    let mut s = witness(bed);
    bed.connect("p").publish_retained("will/kept", "kept", 1);
    s.take_publish("will/kept", "kept", 1);
    for topic in ["will/kept", "will/other"] {
        bed.connect(client("c").will(will(topic, "x", 1))).cut();
        assert!(!s.take_publish(topic, "x", 1).publish().retain);
    }
    let mut late = bed.connect("late");
    late.subscribe(1, "#", 1);
    late.take_publish("will/kept", "kept", 1);
    late.expect_quiet();
}

/// A retained Will with an empty payload removes the retained message.
/// [MQTT-3.1.2-15]
/// v3.1.1 [MQTT-3.1.2-17]
#[conformance]
fn a_will_with_will_retain_is_retained(bed: &mut Bed) {
    let mut s = witness(bed);
    for payload in ["x", ""] {
        let will = Will { retain: true, ..will("will", payload, 1) };
        bed.connect(client("c").will(will)).cut();
        assert!(!s.take_publish("will", payload, 1).publish().retain);
        let mut late = bed.connect("late");
        late.subscribe(1, "will", 1);
        if payload == "x" {
            assert!(late.take_publish("will", "x", 1).publish().retain);
        }
        late.expect_quiet();
        late.disconnect();
    }
}

/// [MQTT-3.1.2-8]
#[conformance(v5, in_memory = "it waits for 10 s")]
fn a_will_is_published_after_its_will_delay_interval(bed: &mut Bed) {
    let mut s = witness(bed);
    let delay = [Property::WillDelayInterval(10)];
    bed.connect(client("c").session_expiry(60).will(will_with(&delay))).cut();
    bed.wait(9_999);
    s.expect_quiet();
    bed.wait(1);
    s.take_publish("will", "x", 1);
}

/// The Will is published neither at once nor later.
/// [MQTT-3.1.3-9] [MQTT-3.1.2-8]
#[conformance(v5, in_memory = "it waits for the delay")]
fn a_client_back_within_the_will_delay_interval_has_no_will_published(bed: &mut Bed) {
    let mut s = witness(bed);
    let delay = [Property::WillDelayInterval(10)];
    bed.connect(client("c").session_expiry(60).will(will_with(&delay))).cut();
    bed.wait(9_000);
    let c = bed.connect(client("c").keep());
    bed.wait(20_000);
    s.expect_quiet();
    c.cut();
    // The client returns by a takeover.
    bed.wait(20_000);
    let _old = bed.connect(client("c").keep().will(will_with(&delay)));
    let _new = bed.connect(client("c").keep());
    bed.wait(20_000);
    s.expect_quiet();
}

/// The Session ends by its expiry, with its connection, or by Clean Start.
/// [MQTT-3.1.2-8]
#[conformance(v5, in_memory = "it waits for the delay")]
fn the_end_of_the_session_ends_the_will_delay_interval(bed: &mut Bed) {
    let mut s = witness(bed);
    let delay = [Property::WillDelayInterval(60)];
    bed.connect(client("c").session_expiry(10).will(will_with(&delay))).cut();
    bed.wait(9_999);
    s.expect_quiet();
    bed.wait(1);
    s.take_publish("will", "x", 1);
    bed.connect(client("c").will(will_with(&delay))).cut();
    s.take_publish("will", "x", 1);
    bed.connect(client("c").session_expiry(100).will(will_with(&delay))).cut();
    s.expect_quiet();
    let _new = bed.connect("c");
    s.take_publish("will", "x", 1);
    bed.wait(100_000);
    s.expect_quiet();
}

/// The User Properties keep their order.
/// [MQTT-3.1.3-10] [MQTT-3.3.2-18]
#[conformance(v5)]
fn a_will_is_published_with_its_properties(bed: &mut Bed) {
    let mut s = witness(bed);
    let list = [
        Property::UserProperty("b", "1"),
        Property::WillDelayInterval(0),
        Property::PayloadFormatIndicator(true),
        Property::MessageExpiryInterval(100),
        Property::UserProperty("a", "2"),
        Property::ContentType("text/plain"),
        Property::ResponseTopic("answers"),
        Property::CorrelationData(&[0, 1, 255]),
        Property::UserProperty("b", "1"),
    ];
    bed.connect(client("c").will(will_with(&list))).cut();
    let got = s.take_publish("will", "x", 1);
    let properties = got.properties();
    assert_eq!(properties.payload_format_indicator(), Some(true));
    assert!(matches!(properties.message_expiry_interval(), Some(99..=100)));
    assert_eq!(properties.content_type(), Some("text/plain"));
    assert_eq!(properties.response_topic(), Some("answers"));
    assert_eq!(properties.correlation_data(), Some(&[0, 1, 255][..]));
    assert_eq!(properties.user_properties().collect::<Vec<_>>(), [("b", "1"), ("a", "2"), ("b", "1")]);
    assert!(!properties.contains(PropertyId::WillDelayInterval));
}

/// A CONNECT is refused if no client could publish to its Will Topic.
/// [MQTT-3.1.3-11] [MQTT-3.1.4-1]
/// v3.1.1 [MQTT-3.1.4-1]
#[conformance]
fn a_connect_with_an_invalid_will_topic_is_refused(bed: &mut Bed) {
    let codes = [ReasonCode::TopicNameInvalid, ReasonCode::MalformedPacket, ReasonCode::ProtocolError];
    for topic in [&b"a/#"[..], b"+", b"", b"a\0"] {
        let none = properties_of_will(bed);
        let payload = [field(b"c"), none, field(topic), field(b"x")].concat();
        bed.refuse_connect(raw_connect(bed.version(), 0x06, &payload), &codes, None);
    }
    if bed.is_v5() {
        let list = [Property::ResponseTopic("a/+")];
        bed.refuse_connect(client("c").will(will_with(&list)), &codes, None);
    }
}

fn properties_of_will(bed: &Bed) -> Vec<u8> {
    goldcrest_tests::packets::properties(bed.version(), &[])
}

/// [MQTT-3.1.4-2]
/// v3.1.1 [MQTT-3.1.2-8]
#[conformance(in_memory = "the test refuses the client")]
fn the_will_of_a_refused_client_is_not_published(bed: &mut Bed) {
    bed.judge(Box::new(|ask| match ask {
        goldcrest_core::Ask::Connect(connect) if connect.client_id == "c" => {
            Judgement::Refuse(ReasonCode::NotAuthorized)
        }
        _ => Judgement::Accept(0, None),
    }));
    let mut s = witness(bed);
    let mut c = bed.begin(client("c").will(will("will", "x", 1)));
    let connack = c.expect_type(PacketType::ConnAck);
    assert_eq!(connack.bytes()[3], bed.either(5, 0x87));
    c.expect_closed();
    c.cut();
    s.expect_quiet();
}

/// Denies each client the permission to publish to `will/denied`.
struct Denied;

impl Authorize for Denied {
    fn publish(&self, _: &Subject<'_>, topic: TopicName<'_>, _: QoS, _: bool) -> bool {
        topic.as_str() != "will/denied"
    }

    fn subscribe(&self, _: &Subject<'_>, _: TopicFilter<'_>, _: QoS) -> Subscribable {
        Subscribable::Wholly
    }
}

/// [MQTT-3.1.4-2]
#[conformance(in_memory = "permissions are set by the test")]
fn a_client_that_may_not_publish_its_will_is_refused(bed: &mut Bed) {
    bed.authorize(Denied);
    let mut s = witness(bed);
    let mut c = bed.begin(client("c").will(will("will/denied", "x", 1)));
    assert_eq!(c.expect_type(PacketType::ConnAck).bytes()[3], bed.either(5, 0x87));
    c.expect_closed();
    c.cut();
    s.expect_quiet();
}

/// A Session that subscribed to the topic of its own Will gets the Will when its client is back.
/// [MQTT-4.5.0-1]
/// v3.1.1 [MQTT-4.5.0-1]
#[conformance]
fn a_session_gets_its_own_will(bed: &mut Bed) {
    let mut c = bed.connect(client("c").keep().will(will("will", "own", 1)));
    c.subscribe(1, "will", 1);
    c.cut();
    let mut c = bed.connect(client("c").keep());
    c.take_publish("will", "own", 1);
    c.disconnect();
}

/// [MQTT-3.1.2-12]
/// v3.1.1 [MQTT-3.1.2-14]
#[conformance]
fn a_will_is_delivered_at_its_qos(bed: &mut Bed) {
    let mut s = witness(bed);
    for level in 0..3 {
        bed.connect(client("c").will(will("will", "x", level))).cut();
        s.take_publish("will", "x", level);
    }
    s.expect_quiet();
}

/// The broker can't retain the Will, because there are too many retained messages or the topic has too many levels. The client of the
/// Will is gone and can't be told, so at least the subscribers get the Will. A bug of the past: such a Will was lost to all subscribers.
/// [MQTT-3.1.2-8]
/// v3.1.1 [MQTT-3.1.2-8]
#[conformance(no_firmware = "there a Will that can't be retained is lost and counted")]
fn a_will_that_cannot_be_retained_still_reaches_subscribers(bed: &mut Bed) {
    bed.configure(|config| {
        config.limits.retained_messages = 1;
        config.limits.topic_levels = 4;
    });
    let mut s = witness(bed);
    s.publish_retained("first", "x", 1);
    for topic in ["will/full", "will/with/many/levels/in/it"] {
        for level in [0, 1, 2] {
            let c = bed.connect(client("c").will(Will { retain: true, ..will(topic, "it is gone", level) }));
            s.expect_quiet();
            c.cut();
            s.take_publish(topic, "it is gone", level);
            s.expect_quiet();
        }
    }
    let mut late = bed.connect("late");
    late.subscribe(1, "will/#", 0);
    late.expect_quiet();
}
