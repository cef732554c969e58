//! Topic Names and Topic Filters (section 4.7).

use goldcrest_core::codec::*;
use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;
use goldcrest_tests::packets::*;

/// Publishes to each topic. The filter must get the messages of `matches` and none of `others`.
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

/// Each of these filters must be refused, by its code in SUBACK or by the end of the connection.
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

/// `#` matches the level above it and any number of levels below.
/// [MQTT-4.7.1-1]
/// v3.1.1 [MQTT-4.7.1-2]
#[conformance]
fn the_multi_level_wildcard_matches_parent_and_all_levels_below(bed: &mut Bed) {
    check(bed, "a/#", &["a", "a/", "a/b", "a/b/c", "a//"], &["b", "/a", "ab", "ab/c", "A/b"]);
    check(bed, "#", &["a", "/", "/a", "a/b/c"], &["$a"]);
    check(bed, "/#", &["/", "/a", "//"], &["a", "a/b"]);
    check(bed, "a//#", &["a/", "a//", "a//b"], &["a", "a/b", "/a"]);
}

/// [MQTT-4.7.1-1]
/// v3.1.1 [MQTT-4.7.1-2]
#[conformance]
fn a_multi_level_wildcard_anywhere_but_alone_at_the_end_is_refused(bed: &mut Bed) {
    refuse_filters(bed, &["a#", "a/b#", "a/#/b", "#/a", "##", "a/##", "#a", "a/#+", "#/"]);
}

/// The one level may be empty.
/// [MQTT-4.7.1-2]
/// v3.1.1 [MQTT-4.7.1-3]
#[conformance]
fn the_single_level_wildcard_matches_one_level(bed: &mut Bed) {
    check(bed, "+", &["a", "ä"], &["/", "a/b", "/a", "a/"]);
    check(bed, "+/+", &["/", "a/b", "/a", "a/"], &["a", "a/b/c", "//"]);
    check(bed, "/+", &["/", "/a"], &["a", "//", "a/b"]);
    check(bed, "a/+/c", &["a/b/c", "a//c"], &["a/c", "a/b/d", "a/b/b/c"]);
    check(bed, "+/b/#", &["a/b", "/b/c", "x/b/c/d"], &["b", "a/c", "a/a/b"]);
}

/// [MQTT-4.7.1-2]
/// v3.1.1 [MQTT-4.7.1-3]
#[conformance]
fn a_single_level_wildcard_beside_other_characters_is_refused(bed: &mut Bed) {
    refuse_filters(bed, &["a+", "+a", "a/b+/c", "++", "+#", "a/+b"]);
}

/// A wildcard at the beginning of a filter matches no topic that begins with `$`. Only the server publishes below
/// `$SYS/`.
/// [MQTT-4.7.2-1]
/// v3.1.1 [MQTT-4.7.2-1]
#[conformance]
fn a_leading_wildcard_does_not_match_topics_that_begin_with_dollar(bed: &mut Bed) {
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

/// [MQTT-4.7.3-1]
/// v3.1.1 [MQTT-4.7.3-1]
#[conformance]
fn an_empty_filter_is_refused(bed: &mut Bed) {
    refuse_filters(bed, &[""]);
}

/// [MQTT-4.7.3-2]
/// v3.1.1 [MQTT-4.7.3-2]
#[conformance]
fn a_filter_with_u_0000_is_refused(bed: &mut Bed) {
    let filter = field(b"a\0b");
    let subscribe = raw_subscribe(bed.version(), &[&filter[..], &[1]].concat());
    let unsubscribe = raw_unsubscribe(bed.version(), &filter);
    for packet in [subscribe, unsubscribe] {
        let c = bed.connect("c");
        bed.refuse(c, packet, &[ReasonCode::MalformedPacket]);
    }
}

/// [MQTT-4.7.3-4]
/// v3.1.1 [MQTT-4.7.3-4]
#[conformance]
fn topics_are_compared_byte_by_byte(bed: &mut Bed) {
    let topics = ["a/b", "a//b", "/a", "a", "a/", "A", "\u{e4}", "a\u{308}", " a", "a ", "ａ"];
    for filter in topics {
        let others: Vec<_> = topics.into_iter().filter(|topic| *topic != filter).collect();
        check(bed, filter, &[filter], &others);
    }
}

/// Topics of spaces or slashes alone are valid. The longest topics are served or refused, and the broker serves other
/// clients meanwhile.
#[conformance]
fn odd_and_longest_topics_do_no_harm(bed: &mut Bed) {
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
