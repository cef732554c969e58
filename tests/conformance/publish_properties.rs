//! The Properties of PUBLISH (section 3.3.2.3), and the client's Maximum Packet Size.

use goldcrest_core::codec::*;
use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;
use goldcrest_tests::got::Got;
use goldcrest_tests::packets::*;

const ALL_FORWARDED: [Property<'static>; 5] = [
    Property::PayloadFormatIndicator(true),
    Property::ContentType("text/plain; ü"),
    Property::ResponseTopic("answer/here"),
    Property::CorrelationData(b"\0\xff\x80"),
    Property::UserProperty("name", "value"),
];

fn expiry(got: &Got) -> Option<u32> {
    got.properties().message_expiry_interval()
}

/// [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-20]
#[conformance(v5)]
fn the_properties_of_a_message_are_forwarded_unchanged(bed: &mut Bed) {
    let mut qos0 = bed.connect("qos0");
    qos0.subscribe(1, "a", 0);
    let mut qos2 = bed.connect("qos2");
    qos2.subscribe(1, "a", 2);
    let mut offline = bed.connect(client("offline").keep());
    offline.subscribe(1, "a", 1);
    offline.cut();
    let mut p = bed.connect("p");
    p.deliver(publish("a", "ü").q2(1).retain().with(&ALL_FORWARDED), 2);
    let mut offline = bed.connect(client("offline").keep());
    let mut late = bed.connect("late");
    late.subscribe(1, "a", 2);
    for (peer, level) in [(&mut qos0, 0), (&mut qos2, 2), (&mut offline, 1), (&mut late, 2)] {
        let got = peer.take_publish("a", "ü", level);
        assert_eq!(got.properties().iter().collect::<Vec<_>>(), ALL_FORWARDED);
    }
}

/// [MQTT-3.3.2-4]
#[conformance(v5)]
fn payload_format_0_and_an_absent_indicator_are_forwarded_as_they_are(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.subscribe(1, "a", 0);
    let mut p = bed.connect("p");
    p.send(publish("a", "x").with(&[Property::PayloadFormatIndicator(false)]));
    assert_eq!(s.expect_publish("a", "x", 0).properties().payload_format_indicator(), Some(false));
    p.send(publish("a", "x"));
    assert_eq!(s.expect_publish("a", "x", 0).properties().payload_format_indicator(), None);
}

/// [MQTT-3.3.2-17] [MQTT-3.3.2-18]
#[conformance(v5)]
fn user_properties_keep_their_order(bed: &mut Bed) {
    let long = "long ".repeat(40);
    let list = [
        Property::UserProperty("b", "1"),
        Property::UserProperty("a", "2"),
        Property::UserProperty("b", "1"),
        Property::UserProperty("", ""),
        Property::UserProperty("a", &long),
    ];
    let mut s = bed.connect("s");
    s.subscribe(1, "a", 1);
    bed.connect("p").deliver(publish("a", "").q1(1).with(&list), 1);
    let got = s.take_publish("a", "", 1);
    assert_eq!(got.properties().iter().collect::<Vec<_>>(), list);
}

/// A message that goes from one version to another loses the Properties that the other version lacks.
/// [MQTT-2.2.2-1]
#[conformance(v5)]
fn a_client_of_mqtt_3_1_1_gets_messages_without_properties(bed: &mut Bed) {
    let mut old = bed.connect(client("old").version(Version::V3_1_1));
    old.subscribe(1, "a", 0);
    let mut new = bed.connect("new");
    new.send(subscribe(1, "a", 0).no_local());
    new.expect_suback(1, &[0]);
    new.send(publish("a", "x").with(&ALL_FORWARDED));
    old.expect_bytes(b"\x30\x04\0\x01ax");
    old.send(publish("a", "y"));
    new.expect_bytes(b"\x30\x05\0\x01a\0y");
}

/// [MQTT-3.3.2-14]
#[conformance(v5)]
fn a_response_topic_with_wildcards_is_refused(bed: &mut Bed) {
    let codes = [ReasonCode::ProtocolError, ReasonCode::MalformedPacket, ReasonCode::TopicNameInvalid];
    for topic in ["a/+", "#", "a/#", ""] {
        let c = bed.connect("c");
        bed.refuse(c, publish("a", "x").with(&[Property::ResponseTopic(topic)]), &codes);
    }
}

/// [MQTT-3.3.2-13] [MQTT-3.3.2-15]
#[conformance(v5)]
fn a_responder_can_answer_by_response_topic_and_correlation_data(bed: &mut Bed) {
    let mut responder = bed.connect("responder");
    responder.subscribe(1, "requests", 0);
    let mut requester = bed.connect("requester");
    requester.subscribe(1, "answers/ü", 0);
    let request = [Property::ResponseTopic("answers/ü"), Property::CorrelationData(b"\x00\x07")];
    requester.send(publish("requests", "?").with(&request));
    let got = responder.expect_publish("requests", "?", 0);
    let data = got.properties().correlation_data().expect("it was sent");
    let topic = got.properties().response_topic().expect("it was sent");
    responder.send(publish(topic, "!").with(&[Property::CorrelationData(data)]));
    let answer = requester.expect_publish("answers/ü", "!", 0);
    assert_eq!(answer.properties().correlation_data(), Some(&b"\x00\x07"[..]));
}

/// [MQTT-3.3.2-5] [MQTT-3.3.2-6]
#[conformance(v5, in_memory = "it takes ten seconds")]
fn an_expired_message_is_not_delivered(bed: &mut Bed) {
    let mut s = bed.connect(client("s").keep());
    s.subscribe(1, "a", 1);
    s.cut();
    let mut p = bed.connect("p");
    p.deliver(publish("a", "short").q1(1).with(&[Property::MessageExpiryInterval(10)]), 1);
    p.deliver(publish("a", "long").q1(1).with(&[Property::MessageExpiryInterval(20)]), 1);
    bed.wait(10_000);
    let mut s = bed.connect(client("s").keep());
    assert_eq!(expiry(&s.take_publish("a", "long", 1)), Some(10));
    s.expect_quiet();
}

/// [MQTT-3.3.2-5] [MQTT-3.3.2-6]
#[conformance(v5)]
fn an_expired_message_is_not_delivered_in_real_time(bed: &mut Bed) {
    let mut s = bed.connect(client("s").keep());
    s.subscribe(1, "a", 1);
    s.cut();
    let mut p = bed.connect("p");
    p.deliver(publish("a", "short").q1(1).with(&[Property::MessageExpiryInterval(1)]), 1);
    p.deliver(publish("a", "long").q1(1).with(&[Property::MessageExpiryInterval(9)]), 1);
    bed.wait(1_100);
    let mut s = bed.connect(client("s").keep());
    let left = expiry(&s.take_publish("a", "long", 1)).expect("[MQTT-3.3.2-6]");
    assert!((7..=8).contains(&left), "{left}");
    s.expect_quiet();
}

/// The server subtracts the whole seconds that the message waited, and never sends an interval of 0 for a message that
/// waited.
/// [MQTT-3.3.2-6]
#[conformance(v5, in_memory = "it is exact about a tenth of a second")]
fn the_message_expiry_interval_is_lowered_by_the_time_in_the_queue(bed: &mut Bed) {
    let mut s = bed.connect(client("s").with(&[Property::ReceiveMaximum(1)]));
    s.subscribe(1, "a", 1);
    let mut p = bed.connect("p");
    p.publish("a", "blocks", 1);
    p.deliver(publish("a", "waits").q1(1).with(&[Property::MessageExpiryInterval(10)]), 1);
    p.deliver(publish("a", "just").q1(1).with(&[Property::MessageExpiryInterval(4)]), 1);
    let blocks = s.expect_publish("a", "blocks", 1).id();
    bed.wait(3_400);
    s.send(puback(blocks));
    let left = expiry(&s.take_publish("a", "waits", 1)).expect("[MQTT-3.3.2-6]");
    assert!((6..=7).contains(&left), "{left}");
    assert_eq!(expiry(&s.take_publish("a", "just", 1)), Some(1));
}

/// [MQTT-3.3.2-6]
#[conformance(v5)]
fn a_message_delivered_at_once_keeps_its_message_expiry_interval(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.subscribe(1, "a", 0);
    let mut p = bed.connect("p");
    for seconds in [5, 100_000, u32::MAX] {
        p.send(publish("a", "x").with(&[Property::MessageExpiryInterval(seconds)]));
        assert_eq!(expiry(&s.expect_publish("a", "x", 0)), Some(seconds));
    }
    p.send(publish("a", "x"));
    assert_eq!(expiry(&s.expect_publish("a", "x", 0)), None);
    p.send(publish("a", "over").with(&[Property::MessageExpiryInterval(0)]));
    for got in s.drain() {
        assert_eq!(expiry(&got), Some(0));
    }
}

/// [MQTT-3.3.2-19] [MQTT-3.3.2-20]
#[conformance(v5)]
fn a_content_type_outside_ascii_is_forwarded(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.subscribe(1, "a", 0);
    let text = "ä/日本\u{1f426}";
    bed.connect("p").send(publish("a", "x").with(&[Property::ContentType(text)]));
    assert_eq!(s.expect_publish("a", "x", 0).properties().content_type(), Some(text));
}

/// A payload that makes a PUBLISH to the topic `a` 40 bytes long, and one that makes it 41.
fn fitting_and_not(level: u8) -> (Vec<u8>, Vec<u8>) {
    let around = if level == 0 { 6 } else { 8 };
    (vec![b'f'; 40 - around], vec![b'n'; 41 - around])
}

/// [MQTT-3.1.2-24] [MQTT-3.1.2-25]
#[conformance(v5)]
fn a_message_above_the_clients_maximum_packet_size_is_not_sent(bed: &mut Bed) {
    let mut s = bed.connect(client("s").with(&[Property::MaximumPacketSize(40)]));
    s.subscribe(1, "a", 0);
    let mut p = bed.connect("p");
    let (fits, too_large) = fitting_and_not(0);
    for payload in [&fits, &too_large, &fits] {
        p.publish("a", payload, 0);
    }
    assert_eq!(s.expect_publish("a", &fits, 0).bytes().len(), 40);
    s.expect_publish("a", &fits, 0);
    s.expect_quiet();
}

/// A message that is too large for one client counts as delivered to it: no later message waits for it, and other
/// clients get it.
/// [MQTT-3.1.2-25]
#[conformance(v5)]
fn a_message_too_large_for_a_client_holds_nothing_back(bed: &mut Bed) {
    let small = [Property::MaximumPacketSize(40), Property::ReceiveMaximum(1)];
    let mut other = bed.connect("other");
    other.subscribe(1, "a", 2);
    let mut p = bed.connect("p");
    for level in [1, 2] {
        let (fits, too_large) = fitting_and_not(level);
        let mut s = bed.connect(client("s").keep().with(&small));
        s.send(subscribe(1, "a", level).and("$share/g/shared", level));
        s.expect_suback(1, &[level, level]);
        for payload in [&too_large, &fits, &too_large, &fits] {
            p.publish("a", payload, level);
            other.take_publish("a", payload, level);
        }
        p.publish("shared", vec![b'n'; 36], level);
        s.take_publish("a", &fits, level);
        s.take_publish("a", &fits, level);
        s.expect_quiet();
        s.cut();
        for payload in [&too_large, &fits] {
            p.publish("a", payload, level);
            other.take_publish("a", payload, level);
        }
        let mut s = bed.connect(client("s").keep().with(&small));
        s.take_publish("a", &fits, level);
        s.expect_quiet();
        p.publish_retained("r", &too_large, level);
        s.subscribe(2, "r", level);
        s.expect_quiet();
        bed.connect("s").disconnect();
    }
}
