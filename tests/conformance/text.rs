//! UTF-8 encoded strings in every field that has them (section 1.5.4).

use goldcrest_core::codec::*;
use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;
use goldcrest_tests::packets::*;

const MALFORMED: &[ReasonCode] = &[ReasonCode::MalformedPacket];

/// Bytes that are not UTF-8: a stray byte, an overlong U+0000, a surrogate, a code point above U+10FFFF, a character cut
/// off.
const ILL_FORMED: [&[u8]; 5] = [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"a\xe2\x82"];

/// A CONNECT for each of its string fields, with `text` in that field and no other mistake.
fn connects_with(version: Version, text: &[u8]) -> [Vec<u8>; 3] {
    let no_properties = properties(version, &[]);
    let will = |topic: &[u8]| [field(b"c"), no_properties.clone(), field(topic), field(b"payload")].concat();
    [
        raw_connect(version, 0b0000_0010, &field(text)),
        raw_connect(version, 0b0000_0110, &will(text)),
        raw_connect(version, 0b1000_0010, &[field(b"c"), field(text)].concat()),
    ]
}

/// A packet for each string field of the other packets in every version, with `text` in that field.
fn packets_with(version: Version, text: &[u8]) -> [Vec<u8>; 3] {
    [
        raw_publish(version, 0x30, text, None, &[]),
        raw_subscribe(version, &[field(text), vec![0]].concat()),
        raw_unsubscribe(version, &field(text)),
    ]
}

/// Properties of a PUBLISH: for each that is a string, a list with `text` in it.
fn properties_with(text: &[u8]) -> [Vec<u8>; 4] {
    let (text, other) = (field(text), field(b"x"));
    [
        [&[0x08][..], &text].concat(),
        [&[0x03][..], &text].concat(),
        [&[0x26][..], &text, &other].concat(),
        [&[0x26][..], &other, &text].concat(),
    ]
}

/// [MQTT-1.5.4-1] [MQTT-3.1.3-4] [MQTT-3.1.3-11] [MQTT-3.1.3-12] [MQTT-3.3.2-1] [MQTT-3.8.3-1] [MQTT-3.10.3-1]
/// v3.1.1 [MQTT-1.5.3-1] [MQTT-3.1.3-4] [MQTT-3.1.3-10] [MQTT-3.1.3-11] [MQTT-3.3.2-1] [MQTT-3.8.3-1] [MQTT-3.10.3-1]
#[conformance]
fn a_string_that_is_not_utf_8_is_refused(bed: &mut Bed) {
    for text in ILL_FORMED {
        for connect in connects_with(bed.version(), text) {
            bed.refuse_connect(connect, MALFORMED, None);
        }
        for packet in packets_with(bed.version(), text) {
            let c = bed.connect("c");
            bed.refuse(c, packet, MALFORMED);
        }
    }
}

/// [MQTT-1.5.4-1] [MQTT-1.5.7-1] [MQTT-3.3.2-13] [MQTT-3.3.2-19]
#[conformance(v5)]
fn a_property_that_is_not_utf_8_is_refused(bed: &mut Bed) {
    for property in properties_with(b"\xff") {
        let c = bed.connect("c");
        bed.refuse(c, raw_publish(Version::V5, 0x30, b"a", None, &property), MALFORMED);
    }
    let method = [&[0x15][..], &field(b"\xff")].concat();
    let head = [&field(b"MQTT")[..], &[5, 2, 0, 60]].concat();
    let connect = raw(0x10, &[head, properties(Version::V5, &method), field(b"c")].concat());
    bed.refuse_connect(connect, MALFORMED, None);
}

/// [MQTT-1.5.4-2] [MQTT-1.5.7-1] [MQTT-4.7.3-2]
/// v3.1.1 [MQTT-1.5.3-2] [MQTT-4.7.3-2]
#[conformance]
fn a_string_with_u_0000_is_refused(bed: &mut Bed) {
    for connect in connects_with(bed.version(), b"a\0b") {
        bed.refuse_connect(connect, MALFORMED, None);
    }
    for packet in packets_with(bed.version(), b"a\0b") {
        let c = bed.connect("c");
        bed.refuse(c, packet, MALFORMED);
    }
    if bed.is_v5() {
        for property in properties_with(b"a\0b") {
            let c = bed.connect("c");
            bed.refuse(c, raw_publish(Version::V5, 0x30, b"a", None, &property), MALFORMED);
        }
    }
}

/// U+FEFF is a character like others at each place of a string, and is not stripped.
/// [MQTT-1.5.4-3]
/// v3.1.1 [MQTT-1.5.3-3]
#[conformance]
fn a_byte_order_mark_in_a_string_is_kept(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.subscribe(1, "a/\u{feff}b", 0);
    let mut p = bed.connect("p");
    p.publish("a/b", "other", 0);
    p.publish("a/\u{feff}b", "same", 0);
    let got = s.expect_publish("a/\u{feff}b", "same", 0);
    assert_eq!(got.bytes()[4..10], *b"a/\xef\xbb\xbfb");
    s.expect_quiet();
}

/// Characters that a string should not have: both ends of each range.
const ODD: [&str; 12] = [
    "\u{1}",
    "\u{1b}",
    "\u{1f}",
    "\u{7f}",
    "\u{80}",
    "\u{9f}",
    "\u{fdd0}",
    "\u{fdef}",
    "\u{fffe}",
    "\u{ffff}",
    "\u{1ffff}",
    "\u{10fffe}",
];

/// The standard says that control characters and noncharacters should not be sent, not that they must not. Where the server
/// accepts them, it passes them on unchanged.
#[conformance]
fn control_characters_and_noncharacters_are_kept_where_allowed(bed: &mut Bed) {
    bed.configure(|config| config.allow_control_characters = true);
    let topic = "a/\u{1}\u{7f}\u{9f}\u{fdd0}\u{ffff}";
    let mut s = bed.connect(client("\u{1}").user_name("\u{7f}").will(will(topic, "", 0)));
    s.subscribe(1, topic, 0);
    bed.connect("p").publish(topic, "x", 0);
    s.expect_publish(topic, "x", 0);
}

/// A bug of the past: one retained message on a topic with a control character closed the connections of all strict
/// subscribers to `#`, again and again.
#[conformance]
fn a_topic_with_control_characters_is_refused(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.subscribe(1, "a/#", 1);
    for odd in ODD {
        let topic = format!("a/{odd}b");
        if bed.is_v5() {
            let mut p = bed.connect("p");
            for packet in
                [publish(&topic, "x").q1(1), publish(&topic, "x").retain().q1(1), publish(&topic, "").retain().q1(1)]
            {
                p.send(packet);
                p.expect_ack(PacketType::PubAck, 1, ReasonCode::TopicNameInvalid);
            }
            p.send(publish(&topic, "x").q2(2));
            p.expect_ack(PacketType::PubRec, 2, ReasonCode::TopicNameInvalid);
            p.publish("a/b", "next", 2);
            s.take_publish("a/b", "next", 1);
            bed.refuse(p, publish(&topic, "x"), &[ReasonCode::TopicNameInvalid]);
            // The connection ends, since the client would believe that its alias is set and the server would not.
            let p = bed.connect("p");
            let alias = [Property::TopicAlias(1)];
            bed.refuse(p, publish(&topic, "x").with(&alias).q1(1), &[ReasonCode::TopicNameInvalid]);
        } else {
            for packet in [publish(&topic, "x"), publish(&topic, "x").retain().q1(1), publish(&topic, "x").q2(1)] {
                let p = bed.connect("p");
                bed.refuse(p, packet, &[]);
            }
        }
        bed.refuse_connect(client("w").will(will(&topic, "x", 0)), &[ReasonCode::TopicNameInvalid], Some(5));
    }
    s.expect_quiet();
    bed.connect("late").subscribe(1, "#", 1);
}

/// Only this filter of the packet is refused. UNSUBSCRIBE accepts such a filter, so that a Session stored by an older
/// version can get rid of it.
#[conformance]
fn a_filter_with_control_characters_is_refused(bed: &mut Bed) {
    let mut c = bed.connect("c");
    for odd in ODD {
        let filters = [format!("a/{odd}/+"), format!("$share/{odd}/a"), format!("$share/g/{odd}")];
        for filter in filters {
            c.send(subscribe(1, &filter, 1));
            c.expect_suback(1, &[bed.either(0x80, 0x8F)]);
            c.send(unsubscribe(2, &[&filter]));
            c.expect_unsuback(2, &[0x11]);
        }
    }
    let all = [&field(b"a")[..], &[1], &field(b"a\x01"), &[1], &field(b"b"), &[0]].concat();
    c.send(raw_subscribe(bed.version(), &all));
    c.expect_suback(10, &[1, bed.either(0x80, 0x8F), 0]);
}

/// Client Identifiers and User Names are written to logs, topics and files.
#[conformance]
fn an_identifier_or_user_name_with_control_characters_is_refused(bed: &mut Bed) {
    for odd in ODD {
        bed.refuse_connect(client(odd), &[ReasonCode::ClientIdentifierNotValid], Some(2));
        bed.refuse_connect(client("c").user_name(odd), MALFORMED, None);
        // A password is bytes, not text.
        bed.connect(client("c").user_name("user").password(odd.as_bytes())).disconnect();
    }
}

/// Strings in Properties reach strict subscribers with the message, as its topic does. All other strings are refused by the
/// same rule.
#[conformance(v5)]
fn properties_with_control_characters_are_refused(bed: &mut Bed) {
    for property in properties_with(b"a\nb") {
        let c = bed.connect("c");
        let code = if property[0] == 0x08 { ReasonCode::TopicNameInvalid } else { ReasonCode::MalformedPacket };
        bed.refuse(c, raw_publish(Version::V5, 0x30, b"a", None, &property), &[code]);
    }
    let odd = [Property::UserProperty("k", "\u{85}")];
    bed.refuse_connect(client("c").with(&odd), MALFORMED, None);
    let mut c = bed.connect("c");
    // Payload and Correlation Data may be any bytes.
    c.subscribe(1, "a", 0);
    c.send(publish("a", "\u{1}").with(&[Property::CorrelationData(b"\x01")]));
    c.expect_publish("a", "\u{1}", 0);
}
