//! Retained messages (section 3.3.1.3).

use goldcrest_core::codec::*;
use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;
use goldcrest_tests::packets::*;
use goldcrest_tests::peer::Peer;

/// What a new client with this identifier gets for a subscription: topics and payloads, sorted.
fn retained_for(bed: &mut Bed, id: &str, filter: &str, level: u8) -> Vec<(String, String)> {
    let mut s = bed.connect(id);
    s.subscribe(1, filter, level);
    let mut got = messages(&mut s);
    got.sort();
    s.disconnect();
    got
}

/// Receives the messages that have come and, after acknowledging them, those that come then. Returns topics and
/// payloads; all must have RETAIN 1.
fn messages(s: &mut Peer) -> Vec<(String, String)> {
    let mut got = Vec::new();
    loop {
        let before = got.len();
        for packet in s.drain() {
            let publish = packet.publish();
            assert!(publish.retain, "it was kept");
            got.push((packet.topic().to_owned(), String::from_utf8_lossy(publish.payload).into_owned()));
            if publish.qos == QoS::AtLeastOnce {
                s.send(puback(packet.id()));
            }
        }
        if got.len() == before {
            return got;
        }
    }
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(topic, payload)| ((*topic).to_owned(), (*payload).to_owned())).collect()
}

/// A later subscriber gets the retained message with RETAIN 1, at the lower of both QoS.
/// [MQTT-3.3.1-5] [MQTT-3.3.1-9]
/// v3.1.1 [MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.3.1-8]
#[conformance]
fn a_retained_message_is_sent_to_a_later_subscriber(bed: &mut Bed) {
    let mut p = bed.connect("p");
    p.publish_retained("r", "kept", 1);
    for level in [0, 1, 2] {
        let mut s = bed.connect("s");
        s.subscribe(1, "r", level);
        let got = s.take_publish("r", "kept", level.min(1));
        assert!(got.publish().retain && !got.publish().dup);
        s.expect_quiet();
        s.disconnect();
    }
}

/// [MQTT-3.3.1-5]
/// v3.1.1 [MQTT-3.3.1-5]
#[conformance]
fn a_second_retained_message_replaces_the_first(bed: &mut Bed) {
    let mut p = bed.connect("p");
    p.publish_retained("r", "first", 1);
    p.publish_retained("r", "second", 1);
    assert_eq!(retained_for(bed, "s", "r", 1), pairs(&[("r", "second")]));
}

/// [MQTT-3.3.1-5]
/// v3.1.1 [MQTT-3.3.1-7]
#[conformance]
fn a_retained_message_of_qos_0_replaces_one_of_qos_1(bed: &mut Bed) {
    let mut p = bed.connect("p");
    p.publish_retained("r", "first", 1);
    p.publish_retained("r", "second", 0);
    p.ping();
    let mut s = bed.connect("s");
    s.subscribe(1, "r", 2);
    s.expect_publish("r", "second", 0);
    s.expect_quiet();
}

/// Clients that subscribed before get the message with the empty payload, like any other.
/// [MQTT-3.3.1-6] [MQTT-3.3.1-7]
/// v3.1.1 [MQTT-3.3.1-10] [MQTT-3.3.1-11]
#[conformance]
fn an_empty_payload_removes_the_retained_message(bed: &mut Bed) {
    let mut p = bed.connect("p");
    p.publish_retained("r", "kept", 1);
    let mut s = bed.connect("s");
    s.subscribe(1, "r", 1);
    s.take_publish("r", "kept", 1);
    p.publish_retained("r", "", 1);
    let got = s.take_publish("r", "", 1);
    assert!(!got.publish().retain);
    assert_eq!(retained_for(bed, "t", "r", 1), []);
}

/// An empty payload is not kept as a retained message, even where none was kept before.
/// [MQTT-3.3.1-7]
/// v3.1.1 [MQTT-3.3.1-11]
#[conformance]
fn an_empty_payload_is_never_retained(bed: &mut Bed) {
    let mut p = bed.connect("p");
    p.publish_retained("r", "", 1);
    assert_eq!(retained_for(bed, "s", "#", 1), []);
}

/// The payload of the message with RETAIN 0 may even be empty.
/// [MQTT-3.3.1-8]
/// v3.1.1 [MQTT-3.3.1-12]
#[conformance]
fn a_message_with_retain_0_does_not_change_the_retained_one(bed: &mut Bed) {
    let mut p = bed.connect("p");
    p.publish_retained("r", "kept", 1);
    p.publish("r", "passing", 1);
    p.publish("r", "", 1);
    assert_eq!(retained_for(bed, "s", "r", 1), pairs(&[("r", "kept")]));
}

/// The publisher sets RETAIN 1.
/// [MQTT-3.3.1-12]
/// v3.1.1 [MQTT-3.3.1-9]
#[conformance]
fn a_new_message_reaches_existing_subscribers_with_retain_0(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.subscribe(1, "r", 1);
    let mut p = bed.connect("p");
    p.publish_retained("r", "kept", 1);
    assert!(!s.take_publish("r", "kept", 1).publish().retain);
    p.publish("r", "passing", 1);
    assert!(!s.take_publish("r", "passing", 1).publish().retain);
}

/// [MQTT-3.3.1-13]
#[conformance(v5)]
fn with_retain_as_published_the_publishers_flag_is_kept(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.send(subscribe(1, "r", 1).retain_as_published());
    s.expect_suback(1, &[1]);
    let mut p = bed.connect("p");
    p.publish_retained("r", "kept", 1);
    assert!(s.take_publish("r", "kept", 1).publish().retain);
    p.publish("r", "passing", 1);
    assert!(!s.take_publish("r", "passing", 1).publish().retain);
}

/// A second SUBSCRIBE for one filter is answered with the retained message once more.
/// [MQTT-3.3.1-9] [MQTT-3.8.4-4]
#[conformance(v5)]
fn with_retain_handling_0_every_subscribe_gets_retained_messages(bed: &mut Bed) {
    let mut p = bed.connect("p");
    p.publish_retained("r", "kept", 1);
    let mut s = bed.connect("s");
    for id in [1, 2] {
        s.subscribe(id, "r", 1);
        assert!(s.take_publish("r", "kept", 1).publish().retain);
    }
    s.expect_quiet();
}

/// [MQTT-3.3.1-10]
#[conformance(v5)]
fn with_retain_handling_1_only_a_new_subscription_gets_retained_messages(bed: &mut Bed) {
    let mut p = bed.connect("p");
    p.publish_retained("r", "kept", 1);
    let mut s = bed.connect(client("s").keep());
    s.send(subscribe(1, "r", 1).retain_handling(1));
    s.expect_suback(1, &[1]);
    s.take_publish("r", "kept", 1);
    s.send(subscribe(2, "r", 2).retain_as_published().retain_handling(1));
    s.expect_suback(2, &[2]);
    s.expect_quiet();
    s.unsubscribe(3, "r");
    s.send(subscribe(4, "r", 1).retain_handling(1));
    s.expect_suback(4, &[1]);
    s.take_publish("r", "kept", 1);
    s.cut();
    let mut s = bed.connect(client("s").keep());
    s.send(subscribe(5, "r", 1).retain_handling(1));
    s.expect_suback(5, &[1]);
    s.expect_quiet();
}

/// [MQTT-3.3.1-11]
#[conformance(v5)]
fn with_retain_handling_2_no_retained_message_is_sent(bed: &mut Bed) {
    let mut p = bed.connect("p");
    p.publish_retained("r", "kept", 1);
    let mut s = bed.connect("s");
    for id in [1, 2] {
        s.send(subscribe(id, "r", 1).retain_handling(2));
        s.expect_suback(id, &[1]);
    }
    s.expect_quiet();
}

/// Each retained message that matches comes once. `#` matches no topic that begins with `$`.
/// [MQTT-3.3.1-9] [MQTT-4.7.2-1]
/// v3.1.1 [MQTT-3.3.1-6] [MQTT-4.7.2-1]
#[conformance]
fn a_filter_with_wildcards_gets_all_matching_retained_messages(bed: &mut Bed) {
    let mut p = bed.connect("p");
    for topic in ["a", "a/b", "a/b/c", "$x/y", "c", "/"] {
        p.publish_retained(topic, topic, 1);
    }
    let all = |bed: &mut Bed, filter: &str| {
        let got = retained_for(bed, "s", filter, 1);
        got.into_iter().map(|(topic, payload)| (topic == payload).then_some(topic).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(all(bed, "#"), ["/", "a", "a/b", "a/b/c", "c"]);
    assert_eq!(all(bed, "a/#"), ["a", "a/b", "a/b/c"]);
    assert_eq!(all(bed, "+"), ["a", "c"]);
    assert_eq!(all(bed, "+/+"), ["/", "a/b"]);
    assert_eq!(all(bed, "a/+/c"), ["a/b/c"]);
    assert_eq!(all(bed, "$x/#"), ["$x/y"]);
}

/// [MQTT-3.3.1-5]
/// v3.1.1 [MQTT-3.1.2-7]
#[conformance]
fn a_retained_message_outlives_the_session_of_its_publisher(bed: &mut Bed) {
    let mut p = bed.connect("p");
    p.publish_retained("r", "kept", 1);
    p.cut();
    assert_eq!(retained_for(bed, "s", "r", 1), pairs(&[("r", "kept")]));
    let p = bed.connect("p");
    p.disconnect();
    assert_eq!(retained_for(bed, "s", "r", 1), pairs(&[("r", "kept")]));
}

/// [MQTT-3.3.2-5] [MQTT-3.3.2-6]
#[conformance(v5, in_memory = "it waits for 10 s")]
fn a_retained_message_expires(bed: &mut Bed) {
    let mut p = bed.connect("p");
    p.deliver(publish("r", "kept").q1(1).retain().with(&[Property::MessageExpiryInterval(10)]), 1);
    bed.wait(4_000);
    let mut s = bed.connect("s");
    s.subscribe(1, "r", 1);
    let got = s.take_publish("r", "kept", 1);
    assert_eq!(got.properties().message_expiry_interval(), Some(6));
    bed.wait(6_000);
    s.subscribe(2, "r", 1);
    s.expect_quiet();
}

/// [MQTT-3.8.4-8]
/// v3.1.1 [MQTT-3.8.4-6]
#[conformance]
fn a_retained_message_is_sent_at_the_lower_of_both_qos(bed: &mut Bed) {
    let mut p = bed.connect("p");
    p.publish_retained("r", "kept", 2);
    for level in [0, 1, 2] {
        let mut s = bed.connect("s");
        s.subscribe(1, "r", level);
        s.take_publish("r", "kept", level);
        s.disconnect();
    }
}

/// A client subscribes while retained messages are published.
/// [MQTT-4.6.0-5]
/// v3.1.1 [MQTT-4.6.0-6]
#[conformance]
fn a_new_subscriber_sees_no_older_value_after_a_newer_one(bed: &mut Bed) {
    let mut p = bed.connect("p");
    let mut s = bed.connect("s");
    let mut number = 0;
    for round in 1..=10 {
        for _ in 0..5 {
            number += 1;
            p.send(publish("r", number.to_string().as_str()).q1(number).retain());
        }
        s.send(subscribe(round, "r", 1));
    }
    for id in 1..=number {
        p.expect_puback(id);
    }
    bed.settle();
    let mut last = 0;
    loop {
        let packets = s.drain();
        for got in &packets {
            if let Packet::Publish(publish) = got.packet() {
                let value: u16 = std::str::from_utf8(publish.payload).unwrap().parse().unwrap();
                assert!(value >= last, "{value} after {last}");
                last = value;
                s.send(puback(got.id()));
            }
        }
        if packets.is_empty() {
            break;
        }
    }
    assert_eq!(last, number);
}

/// v3.1.1 [MQTT-3.8.4-3] [MQTT-3.3.1-6]
#[conformance(v3)]
fn a_repeated_subscribe_gets_the_retained_message_again(bed: &mut Bed) {
    let mut p = bed.connect("p");
    p.publish_retained("r", "kept", 1);
    let mut s = bed.connect("s");
    for id in [1, 2] {
        s.subscribe(id, "r", 1);
        assert!(s.take_publish("r", "kept", 1).publish().retain);
    }
    p.publish("r", "live", 1);
    s.take_publish("r", "live", 1);
    s.expect_quiet();
}

/// [MQTT-3.3.4-3]
#[conformance(v5)]
fn a_retained_message_carries_the_subscription_identifier(bed: &mut Bed) {
    let mut p = bed.connect("p");
    p.publish_retained("a/b", "kept", 1);
    let mut s = bed.connect("s");
    for (id, filter) in [(7, "a/+"), (268_435_455, "#")] {
        s.send(subscribe(1, filter, 1).with(&[Property::SubscriptionIdentifier(id)]));
        s.expect_suback(1, &[1]);
        let got = s.take_publish("a/b", "kept", 1);
        assert_eq!(got.properties().subscription_identifiers().collect::<Vec<_>>(), [id]);
    }
    s.subscribe(2, "a/b", 1);
    let got = s.take_publish("a/b", "kept", 1);
    assert_eq!(got.properties().subscription_identifiers().count(), 0);
}
