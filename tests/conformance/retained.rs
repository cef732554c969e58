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

/// Topics and payloads that are there, and those that come when these are acknowledged, all with RETAIN 1.
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

/// A retained message is kept and sent to a later subscriber with RETAIN 1 and the lower of both QoS.
/// [MQTT-3.3.1-5] [MQTT-3.3.1-9]
/// v3.1.1 [MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.3.1-8]
#[conformance]
fn stored_and_sent(bed: &mut Bed) {
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

/// A second retained message takes the place of the first.
/// [MQTT-3.3.1-5]
/// v3.1.1 [MQTT-3.3.1-5]
#[conformance]
fn replaced(bed: &mut Bed) {
    let mut p = bed.connect("p");
    p.publish_retained("r", "first", 1);
    p.publish_retained("r", "second", 1);
    assert_eq!(retained_for(bed, "s", "r", 1), pairs(&[("r", "second")]));
}

/// A retained message of QoS 0 takes the place of one of QoS 1.
/// [MQTT-3.3.1-5]
/// v3.1.1 [MQTT-3.3.1-7]
#[conformance]
fn qos_0_replaces(bed: &mut Bed) {
    let mut p = bed.connect("p");
    p.publish_retained("r", "first", 1);
    p.publish_retained("r", "second", 0);
    p.ping();
    let mut s = bed.connect("s");
    s.subscribe(1, "r", 2);
    s.expect_publish("r", "second", 0);
    s.expect_quiet();
}

/// An empty payload removes the retained message. Those who subscribed before get it as any other message.
/// [MQTT-3.3.1-6] [MQTT-3.3.1-7]
/// v3.1.1 [MQTT-3.3.1-10] [MQTT-3.3.1-11]
#[conformance]
fn empty_clears(bed: &mut Bed) {
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

/// An empty payload is not kept, where nothing was kept before either.
/// [MQTT-3.3.1-7]
/// v3.1.1 [MQTT-3.3.1-11]
#[conformance]
fn empty_on_nothing(bed: &mut Bed) {
    let mut p = bed.connect("p");
    p.publish_retained("r", "", 1);
    assert_eq!(retained_for(bed, "s", "#", 1), []);
}

/// A message with RETAIN 0 neither replaces nor removes the retained one, whatever its payload.
/// [MQTT-3.3.1-8]
/// v3.1.1 [MQTT-3.3.1-12]
#[conformance]
fn retain_0_leaves_it(bed: &mut Bed) {
    let mut p = bed.connect("p");
    p.publish_retained("r", "kept", 1);
    p.publish("r", "passing", 1);
    p.publish("r", "", 1);
    assert_eq!(retained_for(bed, "s", "r", 1), pairs(&[("r", "kept")]));
}

/// Who subscribed before gets RETAIN 0, whatever the publisher set.
/// [MQTT-3.3.1-12]
/// v3.1.1 [MQTT-3.3.1-9]
#[conformance]
fn live_has_retain_0(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.subscribe(1, "r", 1);
    let mut p = bed.connect("p");
    p.publish_retained("r", "kept", 1);
    assert!(!s.take_publish("r", "kept", 1).publish().retain);
    p.publish("r", "passing", 1);
    assert!(!s.take_publish("r", "passing", 1).publish().retain);
}

/// With Retain As Published the flag is the publisher's.
/// [MQTT-3.3.1-13]
#[conformance(v5)]
fn retain_as_published(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.send(subscribe(1, "r", 1).retain_as_published());
    s.expect_suback(1, &[1]);
    let mut p = bed.connect("p");
    p.publish_retained("r", "kept", 1);
    assert!(s.take_publish("r", "kept", 1).publish().retain);
    p.publish("r", "passing", 1);
    assert!(!s.take_publish("r", "passing", 1).publish().retain);
}

/// Retain Handling 0: every SUBSCRIBE is answered with the retained message, the second for one filter too.
/// [MQTT-3.3.1-9] [MQTT-3.8.4-4]
#[conformance(v5)]
fn retain_handling_0(bed: &mut Bed) {
    let mut p = bed.connect("p");
    p.publish_retained("r", "kept", 1);
    let mut s = bed.connect("s");
    for id in [1, 2] {
        s.subscribe(id, "r", 1);
        assert!(s.take_publish("r", "kept", 1).publish().retain);
    }
    s.expect_quiet();
}

/// Retain Handling 1: only a SUBSCRIBE that makes a new subscription is answered with the retained message.
/// [MQTT-3.3.1-10]
#[conformance(v5)]
fn retain_handling_1(bed: &mut Bed) {
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

/// Retain Handling 2: no retained message.
/// [MQTT-3.3.1-11]
#[conformance(v5)]
fn retain_handling_2(bed: &mut Bed) {
    let mut p = bed.connect("p");
    p.publish_retained("r", "kept", 1);
    let mut s = bed.connect("s");
    for id in [1, 2] {
        s.send(subscribe(id, "r", 1).retain_handling(2));
        s.expect_suback(id, &[1]);
    }
    s.expect_quiet();
}

/// A filter with wildcards gets each retained message that it matches once; `#` none that begins with `$`.
/// [MQTT-3.3.1-9] [MQTT-4.7.2-1]
/// v3.1.1 [MQTT-3.3.1-6] [MQTT-4.7.2-1]
#[conformance]
fn wildcard_gets_all(bed: &mut Bed) {
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

/// Retained messages belong to no Session.
/// [MQTT-3.3.1-5]
/// v3.1.1 [MQTT-3.1.2-7]
#[conformance]
fn survives_the_session(bed: &mut Bed) {
    let mut p = bed.connect("p");
    p.publish_retained("r", "kept", 1);
    p.cut();
    assert_eq!(retained_for(bed, "s", "r", 1), pairs(&[("r", "kept")]));
    let p = bed.connect("p");
    p.disconnect();
    assert_eq!(retained_for(bed, "s", "r", 1), pairs(&[("r", "kept")]));
}

/// The Message Expiry Interval runs while a message is retained.
/// [MQTT-3.3.2-5] [MQTT-3.3.2-6]
#[conformance(v5, in_memory = "it waits for 10 s")]
fn retained_expiry(bed: &mut Bed) {
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

/// The lower of the retained message's QoS and the granted one.
/// [MQTT-3.8.4-8]
/// v3.1.1 [MQTT-3.8.4-6]
#[conformance]
fn retained_qos_is_min(bed: &mut Bed) {
    let mut p = bed.connect("p");
    p.publish_retained("r", "kept", 2);
    for level in [0, 1, 2] {
        let mut s = bed.connect("s");
        s.subscribe(1, "r", level);
        s.take_publish("r", "kept", level);
        s.disconnect();
    }
}

/// A client that subscribes while retained messages are published sees no older value after a newer one.
/// [MQTT-4.6.0-5]
/// v3.1.1 [MQTT-4.6.0-6]
#[conformance]
fn order_against_live(bed: &mut Bed) {
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

/// A SUBSCRIBE for a filter that is there already is answered with the retained message once more.
/// v3.1.1 [MQTT-3.8.4-3] [MQTT-3.3.1-6]
#[conformance(v3)]
fn resubscribe(bed: &mut Bed) {
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

/// A retained message carries the identifier of the subscription that fetched it.
/// [MQTT-3.3.4-3]
#[conformance(v5)]
fn subscription_identifier(bed: &mut Bed) {
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
