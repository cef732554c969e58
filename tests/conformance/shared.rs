//! Shared Subscriptions (section 4.8.2 of MQTT 5.0; the server serves them to older clients as well).

use goldcrest_core::DropReason;
use goldcrest_core::codec::*;
use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;
use goldcrest_tests::packets::*;
use goldcrest_tests::peer::Peer;
use std::collections::BTreeSet;

const FILTER: &str = "$share/g/t";

/// Connects a client as a member of the group.
fn member(bed: &mut Bed, client: Client<'_>, level: u8) -> Peer {
    let mut s = bed.connect(client);
    s.subscribe(1, FILTER, level);
    s
}

/// Receives the messages that have come and, after acknowledging those of QoS 1, those that come then. Returns the
/// numbers in their payloads.
fn numbers(s: &mut Peer) -> Vec<u32> {
    let mut numbers = Vec::new();
    loop {
        let before = numbers.len();
        for got in s.drain() {
            if got.publish().qos == QoS::AtLeastOnce {
                s.send(puback(got.id()));
            }
            numbers.push(std::str::from_utf8(got.publish().payload).unwrap().parse().unwrap());
        }
        if numbers.len() == before {
            return numbers;
        }
    }
}

/// How many messages all brokers together lost for this reason.
fn dropped(bed: &mut Bed, reason: DropReason) -> u32 {
    let world = bed.world();
    (0..world.shards()).map(|shard| world.shard(shard).counters().dropped.by(reason)).sum()
}

/// A client that also subscribed for itself gets every message.
/// [MQTT-4.8.2-1]
#[conformance]
fn each_message_goes_to_one_member_of_the_group(bed: &mut Bed) {
    let mut members: Vec<Peer> = ["m1", "m2", "m3"].into_iter().map(|id| member(bed, client(id), 1)).collect();
    let mut plain = bed.connect("plain");
    plain.subscribe(1, "t", 1);
    let mut p = bed.connect("p");
    let each = bed.queue(30) / 3;
    let all = 1..=3 * each;
    for number in all.clone() {
        p.publish("t", number.to_string(), 1);
    }
    bed.settle();
    assert_eq!(numbers(&mut plain), all.clone().collect::<Vec<_>>());
    let shares: Vec<Vec<u32>> = members.iter_mut().map(numbers).collect();
    for share in &shares {
        assert!(share.len() == each as usize && share.is_sorted(), "{shares:?}");
    }
    assert_eq!(shares.concat().into_iter().collect::<BTreeSet<_>>(), all.collect());
}

/// A ShareName has at least one character and none of `/`, `+` and `#`, and a Topic Filter follows it. (`$share` alone is
/// an ordinary Topic Filter.)
/// [MQTT-4.8.2-1] [MQTT-4.8.2-2]
#[conformance]
fn a_shared_subscription_with_an_invalid_share_name_is_refused(bed: &mut Bed) {
    let filters = [
        "$share/",
        "$share/g",
        "$share/g/",
        "$share//t",
        "$share/+/t",
        "$share/#/t",
        "$share/g#/t",
        "$share/g+/t",
        "$share/g/a#",
        "$share/g/#/a",
    ];
    for filter in filters {
        let mut c = bed.connect("c");
        c.send(raw_subscribe(bed.version(), &[&field(filter.as_bytes())[..], &[1]].concat()));
        match c.drain().first() {
            Some(got) if got.packet().packet_type() == PacketType::SubAck => {
                assert_eq!(got.codes(), [bed.either(0x80, 0x8F)], "{filter}");
                bed.connect("p").publish("t", "x", 1);
                c.expect_quiet();
            }
            _ => c.expect_closed(),
        }
    }
}

/// Any other ShareName is valid. The ShareName is no part of the topic: a message published to the whole text `$share/…`
/// reaches no member.
/// [MQTT-4.8.2-2]
#[conformance]
fn a_share_name_may_have_all_other_characters(bed: &mut Bed) {
    for (filter, topic) in [("$share/g/t", "t"), ("$share/g//t", "/t"), ("$share/g/+/#", "a/b"), ("$share/ü/t", "t")] {
        let mut s = bed.connect("s");
        s.subscribe(1, filter, 1);
        let mut p = bed.connect("p");
        p.publish(topic, "x", 1);
        s.take_publish(topic, "x", 1);
        p.publish("$share/g/t", "x", 0);
        s.expect_quiet();
    }
}

/// [MQTT-3.8.3-4]
#[conformance(v5)]
fn a_shared_subscription_with_no_local_is_a_protocol_error(bed: &mut Bed) {
    let c = bed.connect("c");
    bed.refuse(c, subscribe(1, FILTER, 1).no_local(), &[ReasonCode::ProtocolError]);
}

/// A message reaches a member at the lower of the message's QoS and the QoS that the member was granted.
/// [MQTT-4.8.2-3]
#[conformance]
fn a_member_gets_messages_at_its_granted_qos(bed: &mut Bed) {
    let mut p = bed.connect("p");
    for level in 0..3 {
        let mut s = member(bed, client("s"), level);
        p.publish("t", "x", 2);
        s.take_publish("t", "x", level);
        s.disconnect();
    }
}

/// The member is away before the handshake of QoS 2 is complete, and completes it when it is back. No other member gets
/// the message.
/// [MQTT-4.8.2-4]
#[conformance]
fn a_message_of_qos_2_in_flight_stays_with_its_member(bed: &mut Bed) {
    let mut first = member(bed, client("first").keep(), 2);
    let mut p = bed.connect("p");
    p.publish("t", "x", 2);
    first.expect_publish("t", "x", 2);
    let mut second = member(bed, client("second"), 2);
    first.cut();
    second.expect_quiet();
    let mut first = bed.connect(client("first").keep());
    assert!(first.take_publish("t", "x", 2).publish().dup);
    second.expect_quiet();
}

/// [MQTT-4.8.2-5]
#[conformance]
fn a_message_of_qos_2_in_flight_ends_with_the_session_of_its_member(bed: &mut Bed) {
    let mut first = member(bed, client("first").keep(), 2);
    let mut p = bed.connect("p");
    p.publish("t", "x", 2);
    first.expect_publish("t", "x", 2);
    let mut second = member(bed, client("second"), 2);
    first.cut();
    let mut first = bed.connect("first");
    second.expect_quiet();
    first.expect_quiet();
    if bed.is_in_memory() {
        assert_eq!(dropped(bed, DropReason::SessionEnded), 1);
    }
}

/// The message goes to no other member, and not to the same member again.
/// [MQTT-4.8.2-6]
#[conformance(v5)]
fn a_message_that_a_member_refuses_is_completed(bed: &mut Bed) {
    let mut members: Vec<Peer> = ["m1", "m2"].into_iter().map(|id| member(bed, client(id), 2)).collect();
    let mut p = bed.connect("p");
    for level in [1, 2] {
        p.publish("t", "x", level);
        bed.settle();
        let mut taken = 0;
        for s in &mut members {
            for got in s.drain() {
                taken += 1;
                let refusal = if level == 1 { puback(got.id()) } else { pubrec(got.id()) };
                s.send(refusal.code(ReasonCode::UnspecifiedError));
            }
        }
        assert_eq!(taken, 1);
        bed.settle();
        members.iter_mut().for_each(Peer::expect_quiet);
    }
}

/// A member gets a message of QoS 1 and does not acknowledge it. Then the member's connection or Session ends.
#[conformance]
fn an_unacknowledged_message_of_qos_1_is_not_lost_with_its_member(bed: &mut Bed) {
    let mut first = member(bed, client("first").keep(), 1);
    let mut p = bed.connect("p");
    p.publish("t", "x", 1);
    first.expect_publish("t", "x", 1);
    let mut second = member(bed, client("second"), 1);
    first.cut();
    let _first = bed.connect("first");
    second.take_publish("t", "x", 1);
    second.expect_quiet();
}

/// A message that an absent member was never sent goes to another member. While all members are absent the message waits
/// for the first that returns.
#[conformance]
fn messages_do_not_wait_for_an_absent_member_while_another_is_there(bed: &mut Bed) {
    member(bed, client("absent").keep(), 1).cut();
    let mut here = member(bed, client("here").keep(), 1);
    let mut p = bed.connect("p");
    for number in 1..=10 {
        p.publish("t", number.to_string(), 1);
    }
    bed.settle();
    assert_eq!(numbers(&mut here), (1..=10).collect::<Vec<_>>());
    here.cut();
    let kept = 11..=10 + bed.limits().group_messages.min(10);
    for number in kept.clone() {
        p.publish("t", number.to_string(), 1);
    }
    let mut back = bed.connect(client("absent").keep());
    bed.settle();
    assert_eq!(numbers(&mut back), kept.collect::<Vec<_>>());
    let mut here = bed.connect(client("here").keep());
    here.expect_quiet();
}

/// Whatever its Retain Handling says.
#[conformance]
fn a_shared_subscription_gets_no_retained_messages(bed: &mut Bed) {
    bed.connect("p").publish_retained("t", "kept", 1);
    for handling in 0..3 {
        let mut s = bed.connect("s");
        s.send(subscribe(1, FILTER, 1).retain_handling(handling));
        s.expect_suback(1, &[1]);
        s.expect_quiet();
        s.disconnect();
    }
}

/// One client is a member of two groups, and has a plain subscription to the same filter: it gets each message three
/// times.
/// [MQTT-3.3.4-3]
#[conformance(v5)]
fn shared_and_plain_subscriptions_of_a_client_are_apart(bed: &mut Bed) {
    let mut s = bed.connect("s");
    for (id, filter) in [(1, "$share/g/t"), (2, "$share/h/t"), (3, "t")] {
        s.send(subscribe(1, filter, 1).with(&[Property::SubscriptionIdentifier(id)]));
        s.expect_suback(1, &[1]);
    }
    bed.connect("p").publish("t", "x", 1);
    bed.settle();
    let mut identifiers: Vec<u32> =
        s.drain().iter().flat_map(|got| got.properties().subscription_identifiers().collect::<Vec<_>>()).collect();
    identifiers.sort_unstable();
    assert_eq!(identifiers, [1, 2, 3]);
}

/// The member that has unsubscribed gets nothing more, and the other members get all messages.
/// [MQTT-3.10.4-2]
/// v3.1.1 [MQTT-3.10.4-2]
#[conformance]
fn a_member_can_leave_its_group_by_unsubscribe(bed: &mut Bed) {
    let mut stays = member(bed, client("stays"), 1);
    let mut leaves = member(bed, client("leaves"), 1);
    let mut p = bed.connect("p");
    for number in 1..=10 {
        p.publish("t", number.to_string(), 1);
    }
    bed.settle();
    assert_eq!(numbers(&mut stays).len() + numbers(&mut leaves).len(), 10);
    leaves.unsubscribe(2, FILTER);
    bed.settle();
    for number in 11..=20 {
        p.publish("t", number.to_string(), 1);
    }
    bed.settle();
    leaves.expect_quiet();
    assert_eq!(numbers(&mut stays), (11..=20).collect::<Vec<_>>());
}
