//! Topic Aliases (section 3.3.2.3.4).

use goldcrest_core::codec::*;
use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;
use goldcrest_tests::packets::*;
use goldcrest_tests::peer::Peer;

const INVALID: &[ReasonCode] = &[ReasonCode::TopicAliasInvalid];

fn send_aliased(peer: &mut Peer, topic: &str, alias: u16, payload: &str) {
    peer.send(publish(topic, payload).with(&[Property::TopicAlias(alias)]));
}

/// [MQTT-3.3.2-12]
#[conformance(v5)]
fn a_publisher_can_set_change_and_use_topic_aliases(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.subscribe(1, "#", 0);
    let (mut c, connack) = bed.connect_for("c");
    let maximum = connack.properties().topic_alias_maximum().expect("this server takes Topic Aliases");
    for alias in [1, maximum] {
        for (topic, meant) in [("a", "a"), ("", "a"), ("", "a"), ("b/c", "b/c"), ("", "b/c")] {
            send_aliased(&mut c, topic, alias, "x");
            s.expect_publish(meant, "x", 0);
        }
    }
    send_aliased(&mut c, "", 1, "y");
    s.expect_publish("b/c", "y", 0);
}

/// [MQTT-3.3.2-8]
#[conformance(v5)]
fn topic_alias_0_is_refused(bed: &mut Bed) {
    for topic in ["a", ""] {
        let c = bed.connect("c");
        bed.refuse(c, publish(topic, "x").with(&[Property::TopicAlias(0)]), INVALID);
    }
}

/// [MQTT-3.2.2-17] [MQTT-3.3.2-9]
#[conformance(v5)]
fn a_topic_alias_above_the_maximum_is_refused(bed: &mut Bed) {
    let (c, connack) = bed.connect_for("c");
    let beyond = connack.properties().topic_alias_maximum().unwrap_or(0) + 1;
    bed.refuse(c, publish("a", "x").with(&[Property::TopicAlias(beyond)]), INVALID);
}

/// [MQTT-3.2.2-18]
#[conformance(v5)]
fn every_topic_alias_is_refused_where_the_maximum_is_0(bed: &mut Bed) {
    bed.configure(|config| config.limits.topic_aliases_in = 0);
    let (c, connack) = bed.connect_for("c");
    assert_eq!(connack.properties().topic_alias_maximum().unwrap_or(0), 0);
    bed.refuse(c, publish("a", "x").with(&[Property::TopicAlias(1)]), INVALID);
}

/// [MQTT-4.13.1-1]
#[conformance(v5)]
fn a_topic_alias_that_was_never_set_is_refused(bed: &mut Bed) {
    let c = bed.connect("c");
    bed.refuse(c, publish("", "x").with(&[Property::TopicAlias(1)]), &[ReasonCode::ProtocolError]);
}

/// [MQTT-3.3.2-7]
#[conformance(v5)]
fn a_publishers_topic_aliases_end_with_its_connection(bed: &mut Bed) {
    let mut c = bed.connect(client("c").keep());
    send_aliased(&mut c, "a", 1, "x");
    c.cut();
    let c = bed.connect(client("c").keep());
    bed.refuse(c, publish("", "x").with(&[Property::TopicAlias(1)]), &[ReasonCode::ProtocolError]);
}

/// Each connection of these tests looks up the topic of an alias, and refuses an alias that was never set.
/// [MQTT-3.1.2-26] [MQTT-3.3.2-11] [MQTT-3.3.2-8]
#[conformance(v5, no_firmware = "it sets none")]
fn the_server_uses_topic_aliases_where_the_client_allows_them(bed: &mut Bed) {
    let mut s = bed.connect(client("s").with(&[Property::TopicAliasMaximum(2)]));
    s.subscribe(1, "#", 2);
    let mut p = bed.connect("p");
    let mut aliased = 0;
    for round in 0..4 {
        for topic in ["one", "two", "three"] {
            p.publish(topic, round.to_string(), round % 3);
            let got = s.take_publish(topic, round.to_string(), round % 3);
            aliased += u8::from(got.publish().topic.is_empty());
        }
    }
    assert!(aliased > 0, "the server makes use of the client's Topic Alias Maximum");
}

/// [MQTT-3.1.2-27]
#[conformance(v5)]
fn the_server_uses_no_topic_aliases_where_the_client_allows_none(bed: &mut Bed) {
    let mut absent = bed.connect("absent");
    let mut zero = bed.connect(client("zero").with(&[Property::TopicAliasMaximum(0)]));
    let mut p = bed.connect("p");
    for peer in [&mut absent, &mut zero] {
        peer.subscribe(1, "a", 0);
        for _ in 0..3 {
            p.publish("a", "x", 0);
            assert_eq!(peer.expect_publish("a", "x", 0).properties().topic_alias(), None);
        }
        peer.unsubscribe(2, "a");
    }
}

/// [MQTT-3.3.2-7] [MQTT-3.1.2-27]
#[conformance(v5)]
fn the_servers_topic_aliases_end_with_the_connection(bed: &mut Bed) {
    let with_aliases = |maximum| [Property::TopicAliasMaximum(maximum)];
    let mut s = bed.connect(client("s").keep().with(&with_aliases(2)));
    s.subscribe(1, "a", 1);
    let mut p = bed.connect("p");
    p.publish("a", "one", 1);
    p.publish("a", "two", 1);
    s.expect_publish("a", "one", 1);
    s.expect_publish("a", "two", 1);
    s.cut();
    p.publish("a", "three", 1);
    for maximum in [0, 2] {
        let mut s = bed.connect(client("s").keep().with(&with_aliases(maximum)));
        for payload in ["one", "two", "three"] {
            s.expect_publish("a", payload, 1);
        }
        s.expect_quiet();
        s.cut();
    }
}

/// A message that is too large is not sent, and so sets no alias. The Property of an alias never makes a message too
/// large.
/// [MQTT-3.1.2-24]
#[conformance(v5)]
fn the_servers_topic_aliases_keep_to_the_maximum_packet_size(bed: &mut Bed) {
    let limits = [Property::TopicAliasMaximum(2), Property::MaximumPacketSize(40)];
    let mut s = bed.connect(client("s").with(&limits));
    s.subscribe(1, "a", 0);
    let mut p = bed.connect("p");
    p.publish("a", "x".repeat(35), 0);
    for len in [34, 32, 31, 1, 33, 34] {
        let payload = "x".repeat(len);
        p.publish("a", &payload, 0);
        s.expect_publish("a", &payload, 0);
    }
}

/// A PUBLISH sets its alias even if the message is a duplicate or is refused.
#[conformance(v5)]
fn a_publish_that_is_not_delivered_sets_its_alias(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.subscribe(1, "a", 0);
    let mut c = bed.connect(client("c").keep());
    c.send(publish("a", "first").q2(7));
    c.expect_pubrec(7);
    s.expect_publish("a", "first", 0);
    c.cut();
    let mut c = bed.connect(client("c").keep());
    c.send(publish("a", "first").q2(7).dup().with(&[Property::TopicAlias(1)]));
    c.expect_pubrec(7);
    send_aliased(&mut c, "", 1, "by alias");
    s.expect_publish("a", "by alias", 0);
    // A topic that no client may publish to is refused by its alias too. The alias of the refused PUBLISH is set.
    c.send(publish("$SYS/x", "").q1(8).with(&[Property::TopicAlias(1)]));
    c.expect_ack(PacketType::PubAck, 8, ReasonCode::NotAuthorized);
    c.send(publish("", "").q1(9).with(&[Property::TopicAlias(1)]));
    c.expect_ack(PacketType::PubAck, 9, ReasonCode::NotAuthorized);
    s.expect_quiet();
}
