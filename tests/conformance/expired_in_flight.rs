//! Messages that expired after they were sent and before the client acknowledged them: are they sent again on the next connection?
//!
//! The publisher speaks MQTT 5.0, the only version with a Message Expiry Interval; the subscribers speak any version.

use goldcrest_core::codec::*;
use goldcrest_core::{DropReason, ResendExpired};
use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;
use goldcrest_tests::got::Got;
use goldcrest_tests::packets::*;
use goldcrest_tests::peer::Peer;

/// An interval that is over before the subscriber is back.
const SHORT: [Property<'static>; 1] = [Property::MessageExpiryInterval(2)];
const LONG: [Property<'static>; 1] = [Property::MessageExpiryInterval(1_000)];

/// A subscriber to `a` with QoS 2, whose Session stays, and a publisher.
fn pair(bed: &mut Bed) -> (Peer, Peer) {
    let mut s = bed.connect(client("s").keep());
    s.subscribe(1, "a", 2);
    (s, publisher(bed))
}

fn publisher(bed: &mut Bed) -> Peer {
    bed.connect(client("p").version(Version::V5))
}

/// Cuts the link of `s`, waits until messages with [`SHORT`] have expired, and connects again.
fn come_back_late(bed: &mut Bed, s: Peer) -> Peer {
    s.cut();
    bed.wait(2_500);
    bed.connect(client("s").keep())
}

/// The payload of a PUBLISH.
fn payload(got: &Got) -> String {
    String::from_utf8(got.publish().payload.to_vec()).unwrap()
}

/// How many messages all brokers together dropped because they had expired.
fn expired(bed: &mut Bed) -> u32 {
    let world = bed.world();
    (0..world.shards()).map(|shard| world.shard(shard).counters().dropped.by(DropReason::Expired)).sum()
}

/// A bug of the past: an actuator whose link was dead for ten seconds was sent commands again that were valid for two seconds.
/// [MQTT-3.3.2-6]
#[conformance]
fn an_expired_message_of_qos_1_is_not_sent_again(bed: &mut Bed) {
    let (mut s, mut p) = pair(bed);
    p.deliver(publish("a", "old").q1(1).with(&SHORT), 1);
    p.deliver(publish("a", "lasts").q1(1).with(&LONG), 1);
    p.publish("a", "for ever", 1);
    let ids = ["old", "lasts", "for ever"].map(|payload| s.expect_publish("a", payload, 1).id());
    let mut s = come_back_late(bed, s);
    let again = s.expect_publish("a", "lasts", 1);
    assert!(again.publish().dup && again.id() == ids[1]);
    if bed.is_v5() {
        let left = again.properties().message_expiry_interval().expect("[MQTT-3.3.2-6]");
        assert!((900..=998).contains(&left), "{left}");
    }
    let again = s.expect_publish("a", "for ever", 1);
    assert!(again.publish().dup && again.id() == ids[2]);
    // A late PUBACK for a dropped message changes nothing.
    ids.iter().for_each(|id| s.send(puback(*id)));
    p.publish("a", "new", 1);
    let new = s.take_publish("a", "new", 1);
    assert!(!new.publish().dup && !ids.contains(&new.id()));
    s.expect_quiet();
}

/// The clause makes no exception for expired messages. A configuration can ask for its letter.
/// [MQTT-4.4.0-1]
/// v3.1.1 [MQTT-4.4.0-1]
#[conformance]
fn expired_messages_are_sent_again_if_configured(bed: &mut Bed) {
    bed.configure(|config| config.resend_expired = ResendExpired::Always);
    let (mut s, mut p) = pair(bed);
    let levels = [1, 2];
    levels.iter().for_each(|level| p.deliver(publish("a", "x").qos(*level, 1).with(&SHORT), *level));
    let ids = levels.map(|level| s.expect_publish("a", "x", level).id());
    let mut s = come_back_late(bed, s);
    for (level, id) in levels.into_iter().zip(ids) {
        let again = s.take_publish("a", "x", level);
        assert!(again.publish().dup && again.id() == id);
        assert_eq!(again.properties().message_expiry_interval(), bed.either(None, Some(1)));
    }
    s.expect_quiet();
}

/// By default the exchange of QoS 2 goes on, since the client may remember the Packet Identifier.
/// [MQTT-4.3.3-7]
#[conformance]
fn an_expired_message_of_qos_2_is_sent_again(bed: &mut Bed) {
    let (mut s, mut p) = pair(bed);
    let levels = [1, 2, 1];
    levels.iter().for_each(|level| p.deliver(publish("a", "x").qos(*level, 1).with(&SHORT), *level));
    let ids = levels.map(|level| s.expect_publish("a", "x", level).id());
    let mut s = come_back_late(bed, s);
    let again = s.take_publish("a", "x", 2);
    assert!(again.publish().dup && again.id() == ids[1]);
    s.expect_quiet();
}

/// With `ResendExpired::Never` an expired QoS 2 message that has no PUBREC yet is dropped, because nothing shows that the client has it.
/// A PUBREC that comes later is answered all the same.
#[conformance]
fn an_expired_message_of_qos_2_is_not_sent_again_if_configured(bed: &mut Bed) {
    bed.configure(|config| config.resend_expired = ResendExpired::Never);
    let (mut s, mut p) = pair(bed);
    for number in 0..2 {
        p.deliver(publish("a", number.to_string().as_bytes()).q2(1).with(&SHORT), 2);
    }
    let ids = ["0", "1"].map(|payload| s.expect_publish("a", payload, 2).id());
    let mut s = come_back_late(bed, s);
    s.expect_quiet();
    s.send(pubrec(ids[1]));
    let unknown = bed.either(ReasonCode::Success, ReasonCode::PacketIdentifierNotFound);
    s.expect_ack(PacketType::PubRel, ids[1], unknown);
    s.send(pubcomp(ids[1]));
    p.publish("a", "new", 2);
    let new = s.take_publish("a", "new", 2);
    assert!(!new.publish().dup && !ids.contains(&new.id()));
    s.expect_quiet();
}

/// The client has sent PUBREC, so it has the message: only the rest of the handshake is left.
/// [MQTT-4.3.3-4] [MQTT-4.3.3-5]
/// v3.1.1 [MQTT-4.3.3-1]
#[conformance]
fn after_pubrec_the_handshake_of_an_expired_message_goes_on(bed: &mut Bed) {
    bed.configure(|config| config.resend_expired = ResendExpired::Never);
    let (mut s, mut p) = pair(bed);
    p.deliver(publish("a", "x").q2(1).with(&SHORT), 2);
    let id = s.expect_publish("a", "x", 2).id();
    s.send(pubrec(id));
    s.expect_pubrel(id);
    let mut s = come_back_late(bed, s);
    s.expect_pubrel(id);
    s.send(pubcomp(id));
    s.expect_quiet();
    if bed.is_in_memory() {
        assert_eq!(expired(bed), 0, "it has arrived");
    }
}

/// A dropped message counts neither against the Receive Maximum nor in the queue behind it, whether the message was in flight or waited.
/// [MQTT-3.3.4-9]
#[conformance(in_memory = "it counts what was dropped")]
fn dropped_messages_free_their_places_in_flight(bed: &mut Bed) {
    bed.configure(|config| config.limits.inflight = 2);
    let (mut s, mut p) = pair(bed);
    let all = ["old 0", "1", "old 2", "3", "old 4", "5"];
    for payload in all {
        let list = if payload.starts_with("old") { SHORT } else { LONG };
        p.deliver(publish("a", payload).q1(1).with(&list), 1);
    }
    assert_eq!(s.drain().iter().map(payload).collect::<Vec<_>>(), ["old 0", "1"]);
    let mut s = come_back_late(bed, s);
    let got = s.drain();
    assert_eq!(got.iter().map(payload).collect::<Vec<_>>(), ["1", "3"]);
    assert_eq!(got.iter().map(|got| got.publish().dup).collect::<Vec<_>>(), [true, false]);
    s.send(puback(got[0].id()));
    let last = s.expect();
    assert_eq!(payload(&last), "5");
    s.expect_quiet();
    assert_eq!(expired(bed), 3);
    // After these two PUBACKs nothing is in flight any more.
    s.send(puback(got[1].id()));
    s.send(puback(last.id()));
    for _ in 0..3 {
        p.publish("a", "new", 1);
    }
    assert_eq!(s.drain().len(), 2);
}

/// The client comes back with a Receive Maximum of 1, and a message in flight uses it up. Messages that expire while they wait behind it
/// are not sent again either.
/// [MQTT-3.3.4-9]
#[conformance(v5, in_memory = "it counts what was dropped")]
fn messages_that_expire_behind_a_full_window_are_not_sent_again(bed: &mut Bed) {
    let (mut s, mut p) = pair(bed);
    let fours = [Property::MessageExpiryInterval(4)];
    for payload in ["0", "1", "2"] {
        p.deliver(publish("a", payload).q1(1).with(if payload == "0" { &LONG } else { &fours }), 1);
    }
    let first = s.drain()[0].id();
    s.cut();
    bed.wait(2_500);
    let mut s = bed.connect(client("s").keep().with(&[Property::ReceiveMaximum(1)]));
    assert_eq!(payload(&s.expect()), "0");
    bed.wait(2_500);
    p.publish("a", "new", 1);
    s.expect_quiet();
    s.send(puback(first));
    assert_eq!(payload(&s.expect()), "new");
    s.expect_quiet();
    assert_eq!(expired(bed), 2);
}

/// A hundred commands: as many are sent as may be in flight, and the rest waits. The client is back after ten seconds, and gets none.
/// Each command is counted once.
#[conformance(no_firmware = "it has room for four in flight", in_memory = "it counts what was dropped")]
fn expired_commands_are_neither_sent_again_nor_counted_twice(bed: &mut Bed) {
    let (mut s, mut p) = pair(bed);
    for number in 0..100 {
        p.deliver(publish("a", &number.to_string()).q1(1).with(&SHORT), 1);
    }
    assert_eq!(s.drain().len(), bed.either(20, 100));
    s.cut();
    bed.wait(10_000);
    let mut s = bed.connect(client("s").keep());
    s.expect_quiet();
    assert_eq!(expired(bed), 100);
    bed.world().check_stores();
}

/// An interval of 0 is over at once: a message with it may be sent once, and is never sent again.
/// [MQTT-3.3.2-5]
#[conformance(in_memory = "it counts what was dropped")]
fn a_message_with_an_expiry_interval_of_0_is_never_sent_again(bed: &mut Bed) {
    let (mut s, mut p) = pair(bed);
    p.deliver(publish("a", "x").q1(1).with(&[Property::MessageExpiryInterval(0)]), 1);
    let sent = s.drain().len() as u32;
    let s = come_back_late(bed, s);
    p.deliver(publish("a", "x").q1(1).with(&[Property::MessageExpiryInterval(0)]), 1);
    s.cut();
    p.deliver(publish("a", "x").q1(1).with(&[Property::MessageExpiryInterval(0)]), 1);
    bed.wait(1);
    let mut s = bed.connect(client("s").keep());
    s.expect_quiet();
    assert!(sent <= 1);
    assert_eq!(expired(bed), 3);
}

/// Two members of a group. The first member was sent one message that lasts and one that expires; then its link was dead until the
/// second message had expired.
fn members(bed: &mut Bed) -> (Peer, Peer) {
    let mut s = bed.connect(client("s").keep());
    s.subscribe(1, "$share/g/a", 1);
    let mut p = publisher(bed);
    p.deliver(publish("a", "old").q1(1).with(&SHORT), 1);
    p.deliver(publish("a", "lasts").q1(1).with(&LONG), 1);
    assert_eq!(s.drain().len(), 2);
    s.cut();
    let mut other = bed.connect("other");
    other.subscribe(1, "$share/g/a", 1);
    bed.wait(2_500);
    (p, other)
}

/// The first member gets the lasting message that it was sent before. The group shares new messages between both members.
/// [MQTT-4.8.2-4]
#[conformance(in_memory = "it counts what was dropped")]
fn a_member_that_comes_back_gets_its_message_that_has_not_expired(bed: &mut Bed) {
    let (mut p, mut other) = members(bed);
    let mut s = bed.connect(client("s").keep());
    let got = s.take_publish("a", "lasts", 1);
    assert!(got.publish().dup);
    s.expect_quiet();
    other.expect_quiet();
    assert_eq!(expired(bed), 1);
    for _ in 0..2 {
        p.publish("a", "new", 1);
    }
    s.take_publish("a", "new", 1);
    other.take_publish("a", "new", 1);
}

/// The Session of the first member ends: another member gets the lasting message, and no member the expired one.
/// [MQTT-4.8.2-5]
#[conformance(in_memory = "it counts what was dropped")]
fn after_the_end_of_a_members_session_another_member_gets_no_expired_message(bed: &mut Bed) {
    let (_p, mut other) = members(bed);
    bed.connect("s").disconnect();
    let got = other.take_publish("a", "lasts", 1);
    assert!(!got.publish().dup);
    other.expect_quiet();
    assert_eq!(expired(bed), 1);
}
