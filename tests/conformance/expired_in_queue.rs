//! Expired messages in a full queue make room for messages that have not expired: in the queue of a Session, and in that of a
//! group.

use goldcrest_core::codec::*;
use goldcrest_core::{DropReason, Overflow};
use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;
use goldcrest_tests::packets::*;
use goldcrest_tests::peer::Peer;

const SHORT: [Property<'static>; 1] = [Property::MessageExpiryInterval(2)];
/// Messages that the queue has room for.
const ROOM: u32 = 4;

fn dropped(bed: &mut Bed, reason: DropReason) -> u32 {
    let world = bed.world();
    (0..world.shards()).map(|shard| world.shard(shard).counters().dropped.by(reason)).sum()
}

/// Makes an absent subscriber whose queue is full of messages that have since expired. Returns a publisher.
fn full_queue(bed: &mut Bed, policy: Overflow, filter: &str) -> Peer {
    bed.configure(|config| {
        config.limits.queued_messages = ROOM;
        config.limits.group_messages = ROOM;
        config.overflow = policy;
    });
    let mut s = bed.connect(client("s").keep());
    s.subscribe(1, filter, 1);
    s.cut();
    let mut p = bed.connect(client("p").version(Version::V5));
    for _ in 0..ROOM {
        p.deliver(publish("a", "old").q1(1).with(&SHORT), 1);
    }
    bed.wait(2_500);
    p
}

/// Expects that the subscriber gets these payloads after it has connected again, and no others.
fn expect_back(bed: &mut Bed, payloads: impl IntoIterator<Item = impl AsRef<[u8]>>) {
    let mut s = bed.connect(client("s").keep());
    for payload in payloads {
        s.take_publish("a", payload, 1);
    }
    s.expect_quiet();
}

/// A bug of the past: commands that were valid for two seconds, and had expired, kept a setting that does not expire out of
/// the queue of an absent client.
/// [MQTT-3.3.2-5]
#[conformance(in_memory = "it counts what was dropped")]
fn a_new_message_takes_the_room_of_an_expired_one(bed: &mut Bed) {
    let mut p = full_queue(bed, Overflow::DropNewest, "a");
    let numbers = 0..ROOM;
    for number in numbers.clone() {
        p.deliver(publish("a", &number.to_string()).q1(1), 1);
    }
    assert_eq!((dropped(bed, DropReason::Expired), dropped(bed, DropReason::QueueFull)), (ROOM, 0));
    // Now the queue is full of messages that do not expire.
    p.send(publish("a", "too much").q1(1));
    p.expect_ack(PacketType::PubAck, 1, ReasonCode::QuotaExceeded);
    assert_eq!((dropped(bed, DropReason::Expired), dropped(bed, DropReason::QueueFull)), (ROOM, 1));
    expect_back(bed, numbers.map(|number| number.to_string()));
}

/// [MQTT-3.3.2-5]
#[conformance(in_memory = "it counts what was dropped")]
fn a_publisher_is_not_refused_for_a_queue_full_of_expired_messages(bed: &mut Bed) {
    let mut p = full_queue(bed, Overflow::Refuse, "a");
    p.deliver(publish("a", "new").q1(1), 1);
    assert_eq!(dropped(bed, DropReason::Expired), 1);
    expect_back(bed, ["new"]);
    assert_eq!(dropped(bed, DropReason::Expired), ROOM);
}

/// The queue is that of a group whose members are all away.
/// [MQTT-3.3.2-5]
#[conformance(in_memory = "it counts what was dropped")]
fn a_new_message_takes_the_room_of_an_expired_one_in_a_groups_queue(bed: &mut Bed) {
    let mut p = full_queue(bed, Overflow::DropNewest, "$share/g/a");
    let numbers = 0..ROOM;
    for number in numbers.clone() {
        p.deliver(publish("a", &number.to_string()).q1(1), 1);
    }
    assert_eq!((dropped(bed, DropReason::Expired), dropped(bed, DropReason::QueueFull)), (ROOM, 0));
    expect_back(bed, numbers.map(|number| number.to_string()));
}

/// [MQTT-3.3.2-5]
#[conformance(in_memory = "it counts what was dropped")]
fn a_publisher_is_not_refused_for_a_groups_queue_full_of_expired_messages(bed: &mut Bed) {
    let mut p = full_queue(bed, Overflow::Refuse, "$share/g/a");
    p.deliver(publish("a", "new").q1(1), 1);
    expect_back(bed, ["new"]);
    assert_eq!((dropped(bed, DropReason::Expired), dropped(bed, DropReason::QueueFull)), (ROOM, 0));
}

/// The queue is full by its limit of bytes. As many expired messages are dropped as the new, larger message needs, and no
/// more.
/// [MQTT-3.3.2-5]
#[conformance(in_memory = "it counts what was dropped")]
fn a_large_message_takes_the_bytes_of_several_expired_ones(bed: &mut Bed) {
    bed.configure(|config| config.limits.queued_bytes = 220);
    let mut p = full_queue(bed, Overflow::DropNewest, "a");
    // Each of the expired messages has a payload of 4 bytes.
    p.deliver(publish("a", &[b'x'; 210]).q1(1), 1);
    assert_eq!((dropped(bed, DropReason::Expired), dropped(bed, DropReason::QueueFull)), (2, 0));
    expect_back(bed, [[b'x'; 210]]);
}
