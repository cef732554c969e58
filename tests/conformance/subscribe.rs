//! SUBSCRIBE and SUBACK (sections 3.8 and 3.9).

use goldcrest_core::codec::*;
use goldcrest_core::{Authorize, Subject, Subscribable, TopicFilter, TopicName};
use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;
use goldcrest_tests::packets::*;

const MALFORMED: ReasonCode = ReasonCode::MalformedPacket;
const PROTOCOL_ERROR: ReasonCode = ReasonCode::ProtocolError;

/// [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-6]
/// v3.1.1 [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-5]
#[conformance]
fn suback_has_the_packet_identifier_and_a_code(bed: &mut Bed) {
    let mut s = bed.connect("s");
    for (id, level) in [(1, 0), (0x1234, 1), (65_535, 2)] {
        s.send(subscribe(id, "a", level));
        let suback = s.expect_suback(id, &[level]);
        let expected = bed.either(vec![0x90, 3], vec![0x90, 4]);
        assert_eq!(suback.bytes()[..2], expected);
    }
}

/// [MQTT-3.8.3-2]
/// v3.1.1 [MQTT-3.8.3-3]
#[conformance]
fn a_subscribe_without_a_filter_is_refused(bed: &mut Bed) {
    let c = bed.connect("c");
    bed.refuse(c, raw_subscribe(bed.version(), &[]), &[MALFORMED, PROTOCOL_ERROR]);
}

/// [MQTT-3.8.3-5]
/// v3.1.1 [MQTT-3.8.3-4]
#[conformance]
fn reserved_bits_of_the_subscription_options_are_refused(bed: &mut Bed) {
    let first = bed.either(2, 6);
    for bit in first..8 {
        let c = bed.connect("c");
        let payload = [&field(b"a")[..], &[1 << bit]].concat();
        bed.refuse(c, raw_subscribe(bed.version(), &payload), &[MALFORMED]);
    }
}

/// A filter with QoS 3 has the whole packet refused.
/// [MQTT-4.13.1-1]
/// v3.1.1 [MQTT-3.8.3-4]
#[conformance]
fn a_subscribe_with_qos_3_is_refused(bed: &mut Bed) {
    let c = bed.connect(client("c").keep());
    let payload = [&field(b"a")[..], &[1], &field(b"b"), &[3]].concat();
    bed.refuse(c, raw_subscribe(bed.version(), &payload), &[MALFORMED, PROTOCOL_ERROR]);
    let mut c = bed.connect(client("c").keep());
    bed.connect("p").publish("a", "x", 1);
    c.expect_quiet();
}

/// [MQTT-4.13.1-1]
#[conformance(v5)]
fn a_subscribe_with_retain_handling_3_is_refused(bed: &mut Bed) {
    let c = bed.connect("c");
    let payload = [&field(b"a")[..], &[0x30]].concat();
    bed.refuse(c, raw_subscribe(bed.version(), &payload), &[PROTOCOL_ERROR]);
}

/// [MQTT-3.8.3-2]
/// v3.1.1 [MQTT-3.8.3-3]
#[conformance]
fn a_filter_without_its_options_is_refused(bed: &mut Bed) {
    for payload in [field(b"a"), [&field(b"a")[..], &[1], &field(b"b")].concat()] {
        let c = bed.connect("c");
        bed.refuse(c, raw_subscribe(bed.version(), &payload), &[MALFORMED]);
    }
}

/// Denies subscriptions to all filters that begin with `denied`.
struct Denied;

impl Authorize for Denied {
    fn publish(&self, _: &Subject<'_>, _: TopicName<'_>, _: QoS, _: bool) -> bool {
        true
    }

    fn subscribe(&self, _: &Subject<'_>, filter: TopicFilter<'_>, _: QoS) -> Subscribable {
        Subscribable::wholly_if(!filter.as_str().starts_with("denied"))
    }
}

/// SUBACK has a code for each filter, in their order. The filters work as if each had come in a packet of its own: where
/// one filter stands twice, the later options count.
/// [MQTT-3.8.4-5] [MQTT-3.8.4-6] [MQTT-3.9.3-1]
/// v3.1.1 [MQTT-3.8.4-4] [MQTT-3.8.4-5] [MQTT-3.9.3-1]
#[conformance(in_memory = "permissions are set by the test")]
fn several_filters_are_answered_by_one_suback(bed: &mut Bed) {
    bed.authorize(Denied);
    let mut s = bed.connect("s");
    s.send(subscribe(5, "a", 0).and("denied", 1).and("$share/g/b", 1).and("c", 2).and("a", 1));
    s.expect_suback(5, &[0, bed.either(0x80, 0x87), 1, 2, 1]);
    let mut p = bed.connect("p");
    p.publish("denied", "x", 2);
    s.expect_quiet();
    p.publish("a", "a", 2);
    s.take_publish("a", "a", 1);
    p.publish("b", "b", 2);
    s.take_publish("b", "b", 1);
    p.publish("c", "c", 2);
    s.take_publish("c", "c", 2);
    s.expect_quiet();
}

/// SUBACK says for each filter which QoS was granted, or why none was: no permission, no valid filter, too many
/// subscriptions. A refused filter gets no messages.
/// [MQTT-3.8.4-7] [MQTT-3.9.3-2]
/// v3.1.1 [MQTT-3.8.4-5] [MQTT-3.9.3-2]
#[conformance(in_memory = "permissions are set by the test")]
fn suback_says_for_each_filter_what_was_granted(bed: &mut Bed) {
    bed.authorize(Denied);
    bed.configure(|config| config.limits.subscriptions = 3);
    let mut s = bed.connect("s");
    for level in [0, 1, 2] {
        s.subscribe(1, &format!("granted/{level}"), level);
    }
    let refused = |code| bed.either(0x80, code);
    s.send(subscribe(2, "denied/#", 1).and("$share/g", 1).and("one/more", 1));
    s.expect_suback(2, &[refused(0x87), refused(0x8F), refused(0x97)]);
    // With all subscriptions in use, the options of an existing subscription may still be changed.
    s.send(subscribe(3, "granted/0", 1));
    s.expect_suback(3, &[1]);
    let mut p = bed.connect("p");
    p.publish("denied/x", "x", 1);
    p.publish("one/more", "x", 1);
    s.expect_quiet();
}

/// One filter among several is not well-formed. In MQTT 5.0 this filter gets an error code, and the others work. Before
/// 5.0 the whole packet is a protocol violation, and none of its filters works.
/// [MQTT-3.8.4-6]
/// v3.1.1 [MQTT-4.8.0-1]
#[conformance]
fn one_malformed_filter_among_others_is_refused(bed: &mut Bed) {
    for bad in ["", "a/#/b", "a#", "+a", "a/b+"] {
        let packet = subscribe(1, "a", 1).and(bad, 1);
        if bed.is_v5() {
            let mut s = bed.connect("s");
            s.send(packet);
            s.expect_suback(1, &[1, 0x8F]);
            s.send(unsubscribe(2, &["a", bad]));
            s.expect_unsuback(2, &[0, 0x8F]);
            continue;
        }
        let s = bed.connect(client("s").keep());
        bed.refuse(s, packet, &[]);
        let mut s = bed.connect(client("s").keep());
        bed.connect("p").publish("a", "x", 1);
        s.expect_quiet();
        bed.refuse(s, unsubscribe(2, &["a", bad]), &[]);
    }
}

/// One UNSUBSCRIBE ends the subscription, however often it was replaced.
/// [MQTT-3.8.4-3]
/// v3.1.1 [MQTT-3.8.4-3]
#[conformance]
fn a_second_subscribe_to_a_filter_replaces_its_options(bed: &mut Bed) {
    let mut s = bed.connect("s");
    let mut p = bed.connect("p");
    s.subscribe(1, "a", 2);
    s.subscribe(2, "a", 0);
    p.publish("a", "one", 2);
    s.take_publish("a", "one", 0);
    if bed.is_v5() {
        let identifier = [Property::SubscriptionIdentifier(5)];
        s.send(subscribe(3, "a", 1).no_local().retain_as_published().with(&identifier));
        s.expect_suback(3, &[1]);
        p.publish_retained("a", "two", 2);
        let two = s.take_publish("a", "two", 1);
        assert!(two.publish().retain);
        assert_eq!(two.properties().subscription_identifiers().collect::<Vec<_>>(), [5]);
        s.publish("a", "own", 1);
    }
    s.expect_quiet();
    s.unsubscribe(4, "a");
    p.publish("a", "three", 2);
    s.expect_quiet();
}

/// Messages are published while a client replaces its subscription: none is lost or out of order.
/// [MQTT-3.8.4-4] [MQTT-4.6.0-5]
/// v3.1.1 [MQTT-3.8.4-3]
#[conformance]
fn no_message_is_lost_while_a_subscription_is_replaced(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.subscribe(1, "a", 1);
    let mut p = bed.connect("p");
    let count = bed.queue(100);
    for number in 1..=count as u16 {
        p.send(publish("a", &number.to_string()).q1(number));
        if number % 10 == 0 {
            s.send(subscribe(number, "a", 1));
        }
    }
    let (mut expected, mut subacks) = (1, 0);
    while expected <= count || subacks < count / 10 {
        let got = s.expect();
        match got.packet() {
            Packet::Publish(publish) => {
                assert_eq!(publish.payload, expected.to_string().as_bytes());
                expected += 1;
                s.send(puback(got.id()));
            }
            Packet::SubAck(_) => subacks += 1,
            _ => s.fail("PUBLISH and SUBACK were expected"),
        }
    }
    s.expect_quiet();
}

/// [MQTT-3.8.4-8]
/// v3.1.1 [MQTT-3.8.4-6]
#[conformance]
fn a_message_is_delivered_at_the_lower_of_its_qos_and_the_granted_one(bed: &mut Bed) {
    let mut p = bed.connect("p");
    for granted in 0..3 {
        let mut s = bed.connect("s");
        s.subscribe(1, "a", granted);
        for published in 0..3 {
            p.publish("a", "x", published);
            s.take_publish("a", "x", granted.min(published));
        }
        s.disconnect();
    }
}

/// A message that the client published on an earlier connection counts as its own, too.
/// [MQTT-3.8.3-3]
#[conformance(v5)]
fn with_no_local_a_client_does_not_get_its_own_messages(bed: &mut Bed) {
    let mut c = bed.connect(client("c").keep());
    c.send(subscribe(1, "a", 1).no_local().and("b", 1));
    c.expect_suback(1, &[1, 1]);
    c.publish("a", "own", 1);
    c.expect_quiet();
    // The PUBACK and the client's own message may come in any order.
    c.send(publish("b", "own").q1(2));
    let got = [c.expect(), c.expect()];
    for packet in &got {
        match packet.packet() {
            Packet::Publish(publish) => {
                assert_eq!(publish.payload, b"own");
                c.send(puback(packet.id()));
            }
            Packet::PubAck(_) => {}
            _ => c.fail("PUBLISH and PUBACK were expected"),
        }
    }
    bed.connect("p").publish("a", "other", 1);
    c.take_publish("a", "other", 1);
    // The broker has the PUBACK before the next connection begins. Otherwise it would send the message again.
    c.expect_quiet();
    let mut again = bed.connect(client("c").keep());
    again.publish("a", "own", 1);
    again.expect_quiet();
}

/// Where the codes alone are too many for the client's limit, the server sends no SUBACK and closes the connection, since
/// the client would wait for ever.
/// [MQTT-3.9.2-1] [MQTT-3.9.2-2] [MQTT-3.1.2-24]
#[conformance(v5, in_memory = "permissions are set by the test")]
fn suback_keeps_to_the_maximum_packet_size(bed: &mut Bed) {
    bed.authorize(Denied);
    let limit = [Property::MaximumPacketSize(30)];
    let mut c = bed.connect(client("c").with(&limit));
    c.send(subscribe(1, "denied", 1));
    assert!(c.expect_suback(1, &[0x87]).bytes().len() <= 30);
    let many = (1..40).fold(subscribe(2, "a", 1), |packet, _| packet.and("a", 1));
    c.send(many);
    c.expect_refused(&[ReasonCode::ImplementationSpecificError]);
}

/// A Subscription Identifier of 0 and two of them are refused.
/// [MQTT-3.3.4-3]
#[conformance(v5)]
fn each_message_carries_its_subscription_identifier(bed: &mut Bed) {
    let mut s = bed.connect("s");
    let mut p = bed.connect("p");
    for id in [1, 127, 128, 268_435_455] {
        s.send(subscribe(1, "a", 1).with(&[Property::SubscriptionIdentifier(id)]));
        s.expect_suback(1, &[1]);
        p.publish("a", "x", 1);
        let got = s.take_publish("a", "x", 1);
        assert_eq!(got.properties().subscription_identifiers().collect::<Vec<_>>(), [id]);
    }
    for list in [&[0x0B, 0][..], &[0x0B, 1, 0x0B, 2]] {
        let c = bed.connect("c");
        let body = [&[0, 10, list.len() as u8][..], list, &field(b"a"), &[1]].concat();
        bed.refuse(c, raw(0x82, &body), &[PROTOCOL_ERROR]);
    }
}

/// The server may send one copy with the highest QoS and all Subscription Identifiers, or one copy for each subscription
/// with its own.
/// [MQTT-3.3.4-2] [MQTT-3.3.4-3] [MQTT-3.3.4-4] [MQTT-3.3.4-5]
#[conformance(v5)]
fn a_message_for_overlapping_subscriptions_carries_all_identifiers(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.send(subscribe(1, "a/#", 0).with(&[Property::SubscriptionIdentifier(1)]));
    s.expect_suback(1, &[0]);
    s.send(subscribe(2, "a/b", 1).with(&[Property::SubscriptionIdentifier(2)]));
    s.expect_suback(2, &[1]);
    s.subscribe(3, "+/b", 0);
    bed.connect("p").publish("a/b", "x", 2);
    let copies = s.drain();
    let mut identifiers: Vec<_> =
        copies.iter().flat_map(|copy| copy.properties().subscription_identifiers().collect::<Vec<_>>()).collect();
    identifiers.sort_unstable();
    assert_eq!(identifiers, [1, 2]);
    let mut levels: Vec<_> = copies.iter().map(|copy| copy.publish().qos.bits()).collect();
    levels.sort_unstable();
    assert!(levels == [1] || levels == [0, 0, 1], "{levels:?}");
}

/// v3.1.1 [MQTT-3.3.5-1]
#[conformance(v3)]
fn in_mqtt_3_1_1_overlapping_subscriptions_deliver_at_the_highest_qos(bed: &mut Bed) {
    let mut s = bed.connect("s");
    for (id, filter, level) in [(1, "a/#", 0), (2, "a/b", 2), (3, "+/b", 1)] {
        s.subscribe(id, filter, level);
    }
    bed.connect("p").publish("a/b", "x", 2);
    let levels: Vec<_> = s.drain().iter().map(|copy| copy.publish().qos.bits()).collect();
    assert_eq!(levels.iter().max(), Some(&2));
}

/// [MQTT-3.3.4-4]
#[conformance(v5)]
fn two_filters_may_have_the_same_subscription_identifier(bed: &mut Bed) {
    let mut s = bed.connect("s");
    let identifier = [Property::SubscriptionIdentifier(5)];
    s.send(subscribe(1, "a/#", 1).and("a/+", 1).with(&identifier));
    s.expect_suback(1, &[1, 1]);
    bed.connect("p").publish("a/b", "x", 1);
    for copy in s.drain() {
        let identifiers: Vec<_> = copy.properties().subscription_identifiers().collect();
        assert!(!identifiers.is_empty() && identifiers.iter().all(|id| *id == 5), "{identifiers:?}");
    }
}

/// A SUBSCRIBE without a Subscription Identifier removes the identifier of the subscription.
/// [MQTT-3.8.4-3] [MQTT-3.3.4-3]
#[conformance(v5)]
fn a_session_keeps_its_subscription_identifiers(bed: &mut Bed) {
    let mut s = bed.connect(client("s").keep());
    s.send(subscribe(1, "a", 1).with(&[Property::SubscriptionIdentifier(1)]));
    s.expect_suback(1, &[1]);
    s.cut();
    let mut p = bed.connect("p");
    p.publish("a", "queued", 1);
    let mut s = bed.connect(client("s").keep());
    let queued = s.take_publish("a", "queued", 1);
    p.publish("a", "live", 1);
    let live = s.take_publish("a", "live", 1);
    for got in [queued, live] {
        assert_eq!(got.properties().subscription_identifiers().collect::<Vec<_>>(), [1]);
    }
    s.subscribe(2, "a", 1);
    p.publish("a", "without", 1);
    assert_eq!(s.take_publish("a", "without", 1).properties().subscription_identifiers().count(), 0);
}

/// A SUBSCRIBE with more filters than the server answers one by one: in MQTT 3.x the server closes the connection, in 5.0
/// it sends DISCONNECT first.
#[conformance(no_firmware = "it has less room for answers than for filters in a packet")]
fn a_subscribe_with_too_many_filters_closes_the_connection(bed: &mut Bed) {
    bed.configure(|config| config.limits.owed_replies = 4);
    let mut c = bed.connect("c");
    let filters: Vec<String> = (0..70_000).map(|number| format!("f/{number}")).collect();
    let payload: Vec<u8> = filters.iter().flat_map(|filter| [field(filter.as_bytes()), vec![0]].concat()).collect();
    for count in [24, 25, 70_000] {
        let end = filters[..count].iter().map(|filter| filter.len() + 3).sum();
        c.send(raw_subscribe(bed.version(), &payload[..end]));
        let codes: Vec<u8> = (0..count).map(|at| if at < 24 { 0 } else { bed.either(0x80, 0x97) }).collect();
        c.expect_suback(10, &codes);
    }
    let mut p = bed.connect("p");
    for topic in ["f/0", "f/23", "f/24", "f/69999"] {
        p.publish(topic, "x", 0);
    }
    c.take_publish("f/0", "x", 0);
    c.take_publish("f/23", "x", 0);
    c.expect_quiet();
    let payload: Vec<u8> = filters.iter().flat_map(|filter| field(filter.as_bytes())).collect();
    c.send(raw_unsubscribe(bed.version(), &payload));
    let codes: Vec<u8> = (0..filters.len()).map(|at| if at < 24 { 0 } else { 0x83 }).collect();
    c.expect_unsuback(11, &codes);
    p.publish("f/0", "x", 0);
    p.publish("f/23", "x", 0);
    c.expect_quiet();
    c.ping();
    bed.forget_transcript();
}
