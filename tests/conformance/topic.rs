//! Topic Names and Topic Filters (section 4.7).

use goldcrest_core::codec::*;
use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;
use goldcrest_tests::packets::*;

/// Publishes to each topic and sees which of them the filter gets.
fn check(bed: &mut Bed, filter: &str, matches: &[&str], others: &[&str]) {
    let mut s = bed.connect("s");
    s.subscribe(1, filter, 1);
    let mut p = bed.connect("p");
    for topic in others.iter().chain(matches) {
        p.publish(topic, *topic, 1);
    }
    for topic in matches {
        s.take_publish(topic, topic, 1);
    }
    s.expect_quiet();
}

/// Each of these filters is refused: in its SUBACK, or with the connection.
fn refuse_filters(bed: &mut Bed, filters: &[&str]) {
    for filter in filters {
        let mut c = bed.connect("c");
        c.send(raw_subscribe(bed.version(), &[&field(filter.as_bytes())[..], &[1]].concat()));
        match c.drain().first() {
            Some(got) if got.packet().packet_type() == PacketType::SubAck => {
                assert_eq!(got.codes(), [bed.either(0x80, 0x8F)], "{filter}");
                bed.connect("p").publish("a/b", "x", 1);
                c.expect_quiet();
            }
            Some(got) => {
                let expected = [ReasonCode::TopicFilterInvalid, ReasonCode::MalformedPacket, ReasonCode::ProtocolError];
                assert!(expected.contains(&got.code()), "{filter}");
                c.expect_closed();
            }
            None => {
                assert!(!bed.is_v5(), "{filter}");
                c.expect_closed();
            }
        }
    }
}

/// `#` stands for the level above it and any number of levels.
/// [MQTT-4.7.1-1]
/// v3.1.1 [MQTT-4.7.1-2]
#[conformance]
fn multi_level(bed: &mut Bed) {
    check(bed, "a/#", &["a", "a/", "a/b", "a/b/c", "a//"], &["b", "/a", "ab", "ab/c", "A/b"]);
    check(bed, "#", &["a", "/", "/a", "a/b/c"], &["$a"]);
    check(bed, "/#", &["/", "/a", "//"], &["a", "a/b"]);
    check(bed, "a//#", &["a/", "a//", "a//b"], &["a", "a/b", "/a"]);
}

/// `#` stands alone in its level, which is the last.
/// [MQTT-4.7.1-1]
/// v3.1.1 [MQTT-4.7.1-2]
#[conformance]
fn multi_level_misplaced(bed: &mut Bed) {
    refuse_filters(bed, &["a#", "a/b#", "a/#/b", "#/a", "##", "a/##", "#a", "a/#+", "#/"]);
}

/// `+` stands for one level, be it empty.
/// [MQTT-4.7.1-2]
/// v3.1.1 [MQTT-4.7.1-3]
#[conformance]
fn single_level(bed: &mut Bed) {
    check(bed, "+", &["a", "ä"], &["/", "a/b", "/a", "a/"]);
    check(bed, "+/+", &["/", "a/b", "/a", "a/"], &["a", "a/b/c", "//"]);
    check(bed, "/+", &["/", "/a"], &["a", "//", "a/b"]);
    check(bed, "a/+/c", &["a/b/c", "a//c"], &["a/c", "a/b/d", "a/b/b/c"]);
    check(bed, "+/b/#", &["a/b", "/b/c", "x/b/c/d"], &["b", "a/c", "a/a/b"]);
}

/// `+` stands alone in its level.
/// [MQTT-4.7.1-2]
/// v3.1.1 [MQTT-4.7.1-3]
#[conformance]
fn single_level_misplaced(bed: &mut Bed) {
    refuse_filters(bed, &["a+", "+a", "a/b+/c", "++", "+#", "a/+b"]);
}

/// A wildcard at the beginning does not match `$`. What is below `$SYS/` comes from the server alone.
/// [MQTT-4.7.2-1]
/// v3.1.1 [MQTT-4.7.2-1]
#[conformance]
fn dollar(bed: &mut Bed) {
    check(bed, "#", &["a$"], &["$x", "$x/x"]);
    check(bed, "+", &["a"], &["$x"]);
    check(bed, "+/x", &["a/x", "/x"], &["$x/x"]);
    check(bed, "$x/#", &["$x", "$x/x"], &["x", "x/x"]);
    check(bed, "$x/+", &["$x/x"], &["$x", "$y/x"]);
    check(bed, "a/+", &["a/$x"], &[]);
    let mut s = bed.connect("s");
    s.send(subscribe(1, "$SYS/#", 1));
    s.expect_suback(1, &[1]);
    s.drain();
    let mut p = bed.connect("p");
    p.send(publish("$SYS/broker/x", "false").q1(1));
    if bed.is_v5() {
        assert_eq!(p.expect_type(PacketType::PubAck).code(), ReasonCode::NotAuthorized);
    }
    let heard = s.drain().iter().any(|got| got.topic() == "$SYS/broker/x");
    assert!(!heard);
}

/// A filter has at least one character.
/// [MQTT-4.7.3-1]
/// v3.1.1 [MQTT-4.7.3-1]
#[conformance]
fn empty_filter(bed: &mut Bed) {
    refuse_filters(bed, &[""]);
}

/// U+0000 is in no filter.
/// [MQTT-4.7.3-2]
/// v3.1.1 [MQTT-4.7.3-2]
#[conformance]
fn null_in_filter(bed: &mut Bed) {
    let filter = field(b"a\0b");
    let subscribe = raw_subscribe(bed.version(), &[&filter[..], &[1]].concat());
    let unsubscribe = raw_unsubscribe(bed.version(), &filter);
    for packet in [subscribe, unsubscribe] {
        let c = bed.connect("c");
        bed.refuse(c, packet, &[ReasonCode::MalformedPacket]);
    }
}

/// Topics are compared byte by byte.
/// [MQTT-4.7.3-4]
/// v3.1.1 [MQTT-4.7.3-4]
#[conformance]
fn no_normalization(bed: &mut Bed) {
    let topics = ["a/b", "a//b", "/a", "a", "a/", "A", "\u{e4}", "a\u{308}", " a", "a ", "ａ"];
    for filter in topics {
        let others: Vec<_> = topics.into_iter().filter(|topic| *topic != filter).collect();
        check(bed, filter, &[filter], &others);
    }
}

/// Spaces and slashes alone are topics; the longest ones are served or refused, and harm nobody.
#[conformance]
fn extremes(bed: &mut Bed) {
    for topic in ["/", "//", " ", "/ /"] {
        check(bed, topic, &[topic], &["x", "///"]);
    }
    let longest = (bed.limits().packet_bytes as usize / 2 - 64).min(65_535);
    let long = "x".repeat(longest);
    check(bed, &long, &[&long], &["x"]);
    bed.forget_transcript();
    bed.check_honest();
    for filter in ["/".repeat(longest), "+/".repeat(longest / 2), format!("{}#", "a/".repeat(longest / 2))] {
        let mut c = bed.connect("c");
        c.send(subscribe(1, &filter, 1));
        c.expect_suback(1, &[bed.either(0x80, 0x97)]);
        let topic = filter.replace(['+', '#'], "a");
        c.publish(&topic, "x", 1);
        c.disconnect();
        bed.check_honest();
        bed.forget_transcript();
    }
}
