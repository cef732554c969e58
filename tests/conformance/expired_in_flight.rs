//! What expired after it was sent, and before the client acknowledged it: sent again on the next connection, or not.
//!
//! The publisher speaks MQTT 5.0, which alone has a Message Expiry Interval; its subscribers speak any version.

use goldcrest_core::codec::*;
use goldcrest_core::{DropReason, ResendExpired};
use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;
use goldcrest_tests::got::Got;
use goldcrest_tests::packets::*;
use goldcrest_tests::peer::Peer;

/// Expires before the subscriber is back.
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

/// The link is dead until what is short has expired.
fn come_back_late(bed: &mut Bed, s: Peer) -> Peer {
    s.cut();
    bed.wait(2_500);
    bed.connect(client("s").keep())
}

/// The payload of a PUBLISH.
fn payload(got: &Got) -> String {
    String::from_utf8(got.publish().payload.to_vec()).unwrap()
}

/// Messages that all brokers dropped because they had expired.
fn expired(bed: &mut Bed) -> u32 {
    let world = bed.world();
    (0..world.shards()).map(|shard| world.shard(shard).counters().dropped.by(DropReason::Expired)).sum()
}

/// An actuator whose link was dead got commands of two seconds as they were ten seconds later.
/// [MQTT-3.3.2-6]
#[conformance]
fn qos1_is_not_sent_again(bed: &mut Bed) {
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
    // A late answer to what is dropped changes nothing.
    ids.iter().for_each(|id| s.send(puback(*id)));
    p.publish("a", "new", 1);
    let new = s.take_publish("a", "new", 1);
    assert!(!new.publish().dup && !ids.contains(&new.id()));
    s.expect_quiet();
}

/// The clause makes no exception for what has expired: who wants it to the letter sets it so.
/// [MQTT-4.4.0-1]
/// v3.1.1 [MQTT-4.4.0-1]
#[conformance]
fn all_are_sent_again_if_set(bed: &mut Bed) {
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

/// By default the exchange of QoS 2 goes on, and with it the Packet Identifier that the client may remember.
/// [MQTT-4.3.3-7]
#[conformance]
fn qos2_is_sent_again_beside_qos1_that_is_not(bed: &mut Bed) {
    let (mut s, mut p) = pair(bed);
    let levels = [1, 2, 1];
    levels.iter().for_each(|level| p.deliver(publish("a", "x").qos(*level, 1).with(&SHORT), *level));
    let ids = levels.map(|level| s.expect_publish("a", "x", level).id());
    let mut s = come_back_late(bed, s);
    let again = s.take_publish("a", "x", 2);
    assert!(again.publish().dup && again.id() == ids[1]);
    s.expect_quiet();
}

/// Before PUBREC nothing shows that the client has the message. A PUBREC that comes all the same is answered.
#[conformance]
fn qos2_is_not_sent_again_if_set(bed: &mut Bed) {
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

/// The client has the message since its PUBREC: what is left is the handshake.
/// [MQTT-4.3.3-4] [MQTT-4.3.3-5]
/// v3.1.1 [MQTT-4.3.3-1]
#[conformance]
fn after_pubrec_the_handshake_goes_on(bed: &mut Bed) {
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

/// What is dropped takes no place among those that may be in flight, whether it stood there before or waited behind them.
/// [MQTT-3.3.4-9]
#[conformance(in_memory = "it counts what was dropped")]
fn receive_maximum_is_kept_and_used(bed: &mut Bed) {
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
    // All places are free again.
    s.send(puback(got[1].id()));
    s.send(puback(last.id()));
    for _ in 0..3 {
        p.publish("a", "new", 1);
    }
    assert_eq!(s.drain().len(), 2);
}

/// A window that is full when the client comes back: what expires while it waits behind that is not sent again either.
/// [MQTT-3.3.4-9]
#[conformance(v5, in_memory = "it counts what was dropped")]
fn what_expires_behind_a_full_window(bed: &mut Bed) {
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

/// A hundred commands, as many as may be in flight of them, and some behind: none comes ten seconds later. Each is counted once.
#[conformance(no_firmware = "it has room for four in flight", in_memory = "it counts what was dropped")]
fn a_hundred_commands(bed: &mut Bed) {
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

/// An interval of 0 is over at once: to whom it is not sent at once it is not sent again.
/// [MQTT-3.3.2-5]
#[conformance(in_memory = "it counts what was dropped")]
fn interval_of_0(bed: &mut Bed) {
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

/// Two members of a group, each of which was sent a message that lasts and one that does not; then the first one's link is dead for long
/// enough.
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

/// What a member of a group was sent and is back for is its own, and the group goes on with both.
/// [MQTT-4.8.2-4]
#[conformance(in_memory = "it counts what was dropped")]
fn member_that_comes_back(bed: &mut Bed) {
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

/// Once its Session has ended, another member gets what lasts, and nobody what has expired.
/// [MQTT-4.8.2-5]
#[conformance(in_memory = "it counts what was dropped")]
fn member_whose_session_ends(bed: &mut Bed) {
    let (_p, mut other) = members(bed);
    bed.connect("s").disconnect();
    let got = other.take_publish("a", "lasts", 1);
    assert!(!got.publish().dup);
    other.expect_quiet();
    assert_eq!(expired(bed), 1);
}
