//! What a publisher is told about a lost message (sections 3.4.2.1 and 3.5.2.1): no message that nobody keeps is acknowledged with
//! success.

use goldcrest_core::Overflow;
use goldcrest_core::codec::*;
use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;
use goldcrest_tests::packets::*;
use goldcrest_tests::peer::Peer;

/// The length of the queue of an absent client in these tests, in messages.
const QUEUE: u32 = 5;

/// For each shard a publisher whose Session is at home there.
fn publishers(bed: &mut Bed) -> Vec<Peer> {
    (0..bed.clients(5)).map(|number| bed.connect(client(&format!("p{number}")))).collect()
}

/// Makes a client that subscribed to `filter` with QoS `level` and is away.
fn absent(bed: &mut Bed, id: &str, filter: &str, level: u8) {
    let mut s = bed.connect(client(id).keep());
    s.subscribe(1, filter, level);
    s.disconnect();
}

/// Publishes with QoS 1 or 2, and returns the code of the PUBACK or PUBREC.
fn answer(p: &mut Peer, packet: Publication<'_>, level: u8) -> ReasonCode {
    p.send(packet.qos(level, 7));
    let got = p.expect_type(if level == 1 { PacketType::PubAck } else { PacketType::PubRec });
    assert_eq!(got.id(), 7);
    if level == 2 && !got.code().is_error() {
        p.send(pubrel(7));
        p.expect_pubcomp(7);
    }
    got.code()
}

/// The code for a message that nobody keeps: 0x97 in MQTT 5.0. MQTT 3.x has no such code.
fn lost(bed: &Bed) -> ReasonCode {
    bed.either(ReasonCode::Success, ReasonCode::QuotaExceeded)
}

/// A bug of the past: eight messages came for one absent subscriber with room for five. All eight were acknowledged with success, and
/// three of them were kept nowhere.
#[conformance]
fn a_message_that_nobody_keeps_is_not_acknowledged_with_success(bed: &mut Bed) {
    bed.configure(|config| config.limits.queued_messages = QUEUE);
    let mut all = publishers(bed);
    for (round, filter) in ["t", "#"].into_iter().enumerate() {
        for level in [1, 2] {
            let id = format!("s{round}{level}");
            absent(bed, &id, filter, 1);
            let mut kept = Vec::new();
            for number in 0..4 * QUEUE as usize {
                let at = number % all.len();
                let payload = number.to_string();
                let code = answer(&mut all[at], publish("t", &payload), level);
                let expected = if number < QUEUE as usize { ReasonCode::Success } else { lost(bed) };
                assert_eq!(code, expected, "message {number} with QoS {level} for {filter}");
                if number < QUEUE as usize {
                    kept.push(payload);
                }
            }
            let mut s = bed.connect(client(&id).keep());
            for payload in kept {
                s.take_publish("t", payload, 1);
            }
            s.expect_quiet();
            // After the unsubscription the next message is kept again. In MQTT 5.0 the client may send the refused message again.
            s.send(unsubscribe(9, &[filter]));
            s.expect_unsuback(9, &[0]);
            s.disconnect();
            bed.connect(client(&id)).disconnect();
        }
    }
}

/// [MQTT-4.3.3-9]
#[conformance(v5)]
fn a_refused_message_sent_again_is_not_taken_for_a_duplicate(bed: &mut Bed) {
    bed.configure(|config| config.limits.queued_messages = 1);
    let mut all = publishers(bed);
    absent(bed, "s", "t", 2);
    assert_eq!(answer(&mut all[0], publish("t", "first"), 2), ReasonCode::Success);
    for p in &mut all {
        assert_eq!(answer(p, publish("t", "second"), 2), ReasonCode::QuotaExceeded);
    }
    let mut s = bed.connect(client("s").keep());
    s.take_publish("t", "first", 2);
    for p in &mut all {
        assert_eq!(answer(p, publish("t", "again").dup(), 2), ReasonCode::Success);
        s.take_publish("t", "again", 2);
    }
}

/// As long as one subscriber keeps a message, the message is not lost, however many other subscribers have no room, and on whichever
/// shards they live.
#[conformance]
fn a_message_kept_by_one_of_many_subscribers_is_acknowledged_with_success(bed: &mut Bed) {
    bed.configure(|config| config.limits.queued_messages = 2);
    let mut all = publishers(bed);
    let full = bed.clients(4);
    for number in 0..full {
        absent(bed, &format!("full {number}"), "t", 1);
    }
    for _ in 0..2 {
        assert_eq!(answer(&mut all[0], publish("t", "x"), 1), ReasonCode::Success);
    }
    for p in &mut all {
        assert_eq!(answer(p, publish("t", "x"), 1), lost(bed));
    }
    let mut reader = bed.connect("reader");
    reader.subscribe(1, "t", 1);
    for p in &mut all {
        for level in [1, 2] {
            assert_eq!(answer(p, publish("t", "y"), level), ReasonCode::Success);
            reader.take_publish("t", "y", 1);
        }
    }
}

#[conformance]
fn a_message_kept_as_retained_is_acknowledged_with_success(bed: &mut Bed) {
    bed.configure(|config| config.limits.queued_messages = 1);
    let mut all = publishers(bed);
    absent(bed, "s", "t", 1);
    for p in &mut all {
        for level in [1, 2] {
            assert_eq!(answer(p, publish("t", "x").retain(), level), ReasonCode::Success);
        }
    }
    let mut late = bed.connect("late");
    late.subscribe(1, "t", 0);
    late.expect_publish("t", "x", 0);
}

/// A queue that drops its oldest message keeps each new one.
#[conformance]
fn with_drop_oldest_each_new_message_is_acknowledged_with_success(bed: &mut Bed) {
    bed.configure(|config| {
        config.limits.queued_messages = 2;
        config.overflow = Overflow::DropOldest;
    });
    let mut all = publishers(bed);
    absent(bed, "s", "t", 1);
    for p in &mut all {
        for _ in 0..3 {
            assert_eq!(answer(p, publish("t", "x"), 1), ReasonCode::Success);
        }
    }
}

/// No member of the group is connected, and the group's queue is full.
#[conformance]
fn a_message_that_no_group_keeps_is_not_acknowledged_with_success(bed: &mut Bed) {
    bed.configure(|config| config.limits.group_messages = QUEUE);
    let mut all = publishers(bed);
    for id in ["m1", "m2"] {
        absent(bed, id, "$share/g/t", 1);
    }
    for number in 0..3 * QUEUE as usize {
        let at = number % all.len();
        let expected = if number < QUEUE as usize { ReasonCode::Success } else { lost(bed) };
        assert_eq!(answer(&mut all[at], publish("t", &number.to_string()), 1), expected, "message {number}");
    }
    let mut m = bed.connect(client("m1").keep());
    for number in 0..QUEUE {
        m.take_publish("t", number.to_string(), 1);
    }
    m.expect_quiet();
}

/// Acknowledgements come in the order of the messages, even if the broker knows at once that one message is kept, and has to ask
/// another shard about the one before.
/// v3.1.1 [MQTT-4.6.0-2]
#[conformance]
fn acknowledgements_keep_the_order_of_the_messages(bed: &mut Bed) {
    bed.configure(|config| config.limits.queued_messages = 3);
    let mut all = publishers(bed);
    absent(bed, "s", "full/#", 1);
    let mut reader = bed.connect("reader");
    reader.subscribe(1, "read", 1);
    for p in &mut all {
        for id in 1..=3 {
            p.send(publish("full/up", "x").q1(2 * id - 1));
            p.send(publish("read", "y").q1(2 * id));
        }
        for id in 1..=6 {
            assert_eq!(p.expect_type(PacketType::PubAck).id(), id);
        }
        for _ in 0..3 {
            reader.take_publish("read", "y", 1);
        }
    }
}

/// An absent subscriber that was granted QoS 0 is promised no message: the server answers as if there were no subscriber.
#[conformance(v5)]
fn an_absent_subscriber_of_qos_0_does_not_count_as_a_subscriber(bed: &mut Bed) {
    let mut all = publishers(bed);
    absent(bed, "s", "t", 0);
    for p in &mut all {
        for level in [1, 2] {
            assert_eq!(answer(p, publish("t", "x"), level), ReasonCode::NoMatchingSubscribers);
        }
    }
}

/// MQTT 3.1.1 has no acknowledgement that refuses, and a publisher sends again only after it has connected again. So the server
/// closes the publisher's connection. A bug of the past: the server withheld PUBACK or PUBREC, and the publisher waited for ever,
/// even when the queue had room again.
/// v3.1.1 [MQTT-4.4.0-1] [MQTT-4.8.0-2]
#[conformance(v3)]
fn a_publisher_of_mqtt_3_1_1_is_closed_where_its_message_is_not_kept(bed: &mut Bed) {
    bed.configure_gateway(|config| config.limits.retained_messages = 1);
    let most = bed.limits().retained_messages;
    let mut other = bed.connect("other");
    for number in 0..most {
        other.publish_retained(&format!("first/{number}"), "x", 1);
    }
    let mut one = bed.connect(client("one").keep());
    let mut two = bed.connect(client("two").keep());
    one.send(publish("second", "y").q1(1).retain());
    two.send(publish("second", "y").q2(2).retain());
    for p in [&mut one, &mut two] {
        p.ping();
    }
    bed.wait(3_000);
    bed.wait(3_000);
    for p in [&mut one, &mut two] {
        p.expect_closed();
    }
    other.publish_retained("first/0", "", 1);
    // A bridge that keeps one message in flight can go on.
    let mut one = bed.connect(client("one").keep());
    let mut two = bed.connect(client("two").keep());
    one.send(publish("second", "y").q1(1).retain().dup());
    one.expect_puback(1);
    one.send(publish("other", "z").q1(2));
    one.expect_puback(2);
    two.send(publish("second", "y").q2(2).retain().dup());
    two.expect_pubrec(2);
    two.send(pubrel(2));
    two.expect_pubcomp(2);
}

/// Here the policy of the queue refuses the message. A publisher that has just connected is not closed at once for a message that is
/// not kept, but only after it has been connected for some time.
/// v3.1.1 [MQTT-4.4.0-1]
#[conformance(v3, in_memory = "it takes a while")]
fn a_publisher_of_mqtt_3_1_1_is_closed_at_most_once_in_some_seconds(bed: &mut Bed) {
    bed.configure(|config| {
        config.limits.queued_messages = 1;
        config.overflow = Overflow::Refuse;
    });
    let mut p = bed.connect(client("p").keep());
    absent(bed, "s", "t", 1);
    assert_eq!(answer(&mut p, publish("t", "x"), 1), ReasonCode::Success);
    bed.wait(10_000);
    p.send(publish("t", "y").q1(1));
    p.expect_closed();
    for level in [1, 2] {
        let mut p = bed.connect(client("p").keep());
        p.send(publish("t", "y").qos(level, 1).dup());
        bed.wait(3_000);
        p.send(publish("t", "z").qos(level, 2));
        p.ping();
        bed.wait(3_000);
        p.expect_closed();
    }
    // A message of QoS 0 is dropped, and its publisher stays connected.
    let mut p = bed.connect(client("p").keep());
    p.publish("t", "y", 0);
    bed.wait(10_000);
    p.ping();
}

/// Messages that a group's member has room for, if it does not acknowledge, in these tests.
const ROOM: u32 = 3;

/// Configures short queues, so that a group's connected member is soon full while another member is away.
fn group_with_a_slow_member(bed: &mut Bed) {
    bed.configure(|config| {
        let limits = &mut config.limits;
        (limits.queued_messages, limits.group_messages) = (ROOM, QUEUE);
        (limits.inflight, limits.inflight_v3) = (1, 1);
    });
}

/// Makes a group of two members: one is away, and the other is returned.
fn two_members(bed: &mut Bed, name: &str, level: u8) -> Peer {
    let filter = format!("$share/{name}/t");
    absent(bed, &format!("away {name}"), &filter, level);
    let mut here = bed.connect(client(&format!("here {name}")).keep());
    here.subscribe(1, &filter, level);
    here
}

/// Ends the Sessions of both members.
fn end_members(bed: &mut Bed, name: &str) {
    for who in ["here", "away"] {
        let mut member = bed.connect(client(&format!("{who} {name}")));
        member.expect_quiet();
        member.disconnect();
    }
}

/// The connected member of a group is full and another member is away. The group's queue keeps new messages, and none is lost while
/// that queue has room.
#[conformance]
fn a_group_whose_connected_member_is_full_keeps_messages_itself(bed: &mut Bed) {
    group_with_a_slow_member(bed);
    let mut p = bed.connect("p");
    for level in [1, 2] {
        // The groups and their members are spread over all shards.
        for name in ["a", "b", "c", "d"] {
            let mut here = two_members(bed, name, level);
            for number in 0..ROOM + QUEUE {
                let code = answer(&mut p, publish("t", &number.to_string()), level);
                assert_eq!(code, ReasonCode::Success, "message {number} of {name}");
            }
            bed.settle();
            for number in 0..ROOM + QUEUE {
                here.take_publish("t", number.to_string(), level);
            }
            here.expect_quiet();
            here.disconnect();
            end_members(bed, name);
        }
    }
}

/// The connected member is full of messages that it subscribed to for itself. The group keeps its own messages until the member has
/// room.
#[conformance]
fn a_group_keeps_messages_while_its_member_is_full_of_other_messages(bed: &mut Bed) {
    group_with_a_slow_member(bed);
    let mut p = bed.connect("p");
    for name in ["a", "b", "c", "d"] {
        let mut here = two_members(bed, name, 1);
        here.subscribe(2, "own", 1);
        for _ in 0..ROOM {
            assert_eq!(answer(&mut p, publish("own", "x"), 1), ReasonCode::Success);
        }
        for number in 0..QUEUE {
            let code = answer(&mut p, publish("t", &number.to_string()), 1);
            assert_eq!(code, ReasonCode::Success, "message {number} of {name}");
        }
        bed.settle();
        for _ in 0..ROOM {
            here.take_publish("own", "x", 1);
        }
        if bed.is_in_memory() {
            for number in 0..QUEUE {
                here.take_publish("t", number.to_string(), 1);
            }
        } else {
            // Some messages may still be on their way from the member's shard back to the group's when the member has room again, and
            // then come behind later ones.
            let mut got: Vec<String> = (0..QUEUE).map(|_| take_any(&mut here)).collect();
            got.sort();
            assert_eq!(got, (0..QUEUE).map(|number| number.to_string()).collect::<Vec<_>>());
        }
        here.expect_quiet();
        here.disconnect();
        end_members(bed, name);
    }
}

/// Receives the next message, which has QoS 1, acknowledges it, and returns its payload.
fn take_any(s: &mut Peer) -> String {
    let got = s.expect_type(PacketType::Publish);
    s.send(puback(got.id()));
    String::from_utf8(got.publish().payload.to_vec()).unwrap()
}

/// A full member disconnects. The messages that it was not sent come before the messages that the group has kept meanwhile.
#[conformance]
fn a_group_keeps_the_order_when_its_full_member_disconnects(bed: &mut Bed) {
    group_with_a_slow_member(bed);
    let mut p = bed.connect("p");
    for name in ["a", "b", "c", "d"] {
        let mut here = two_members(bed, name, 1);
        for number in 0..ROOM + QUEUE {
            answer(&mut p, publish("t", &number.to_string()), 1);
        }
        here.take_publish("t", "0", 1);
        here.expect_publish("t", "1", 1);
        here.disconnect();
        bed.settle();
        let mut away = bed.connect(client(&format!("away {name}")).keep());
        for number in 2..ROOM + QUEUE {
            away.take_publish("t", number.to_string(), 1);
        }
        away.expect_quiet();
        away.disconnect();
        let mut here = bed.connect(client(&format!("here {name}")).keep());
        here.take_publish("t", "1", 1);
        here.disconnect();
        end_members(bed, name);
    }
}
