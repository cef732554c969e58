//! What has expired takes no room from what has not: in the queue of a Session, and in that of a group.

use goldcrest_core::codec::*;
use goldcrest_core::{DropReason, Overflow};
use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;
use goldcrest_tests::packets::*;
use goldcrest_tests::peer::Peer;

const SHORT: [Property<'static>; 1] = [Property::MessageExpiryInterval(2)];
/// So many messages fit.
const ROOM: u32 = 4;

fn dropped(bed: &mut Bed, reason: DropReason) -> u32 {
    let world = bed.world();
    (0..world.shards()).map(|shard| world.shard(shard).counters().dropped.by(reason)).sum()
}

/// A subscriber that is away, whose queue is full of what has expired since, and a publisher.
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

/// Who is back gets these, and no others.
fn expect_back(bed: &mut Bed, payloads: impl IntoIterator<Item = impl AsRef<[u8]>>) {
    let mut s = bed.connect(client("s").keep());
    for payload in payloads {
        s.take_publish("a", payload, 1);
    }
    s.expect_quiet();
}

/// Commands of two seconds, which nobody was to get any more, kept a setting that lasts out of the queue of an absent client.
/// [MQTT-3.3.2-5]
#[conformance(in_memory = "it counts what was dropped")]
fn newest_finds_room(bed: &mut Bed) {
    let mut p = full_queue(bed, Overflow::DropNewest, "a");
    let numbers = 0..ROOM;
    for number in numbers.clone() {
        p.deliver(publish("a", &number.to_string()).q1(1), 1);
    }
    assert_eq!((dropped(bed, DropReason::Expired), dropped(bed, DropReason::QueueFull)), (ROOM, 0));
    // Now it is full of what lasts.
    p.send(publish("a", "too much").q1(1));
    p.expect_ack(PacketType::PubAck, 1, ReasonCode::QuotaExceeded);
    assert_eq!((dropped(bed, DropReason::Expired), dropped(bed, DropReason::QueueFull)), (ROOM, 1));
    expect_back(bed, numbers.map(|number| number.to_string()));
}

/// A publisher is not refused for what has expired.
/// [MQTT-3.3.2-5]
#[conformance(in_memory = "it counts what was dropped")]
fn nothing_is_refused(bed: &mut Bed) {
    let mut p = full_queue(bed, Overflow::Refuse, "a");
    p.deliver(publish("a", "new").q1(1), 1);
    assert_eq!(dropped(bed, DropReason::Expired), 1);
    expect_back(bed, ["new"]);
    assert_eq!(dropped(bed, DropReason::Expired), ROOM);
}

/// The same for what a group keeps while its members are away.
/// [MQTT-3.3.2-5]
#[conformance(in_memory = "it counts what was dropped")]
fn group_has_room(bed: &mut Bed) {
    let mut p = full_queue(bed, Overflow::DropNewest, "$share/g/a");
    let numbers = 0..ROOM;
    for number in numbers.clone() {
        p.deliver(publish("a", &number.to_string()).q1(1), 1);
    }
    assert_eq!((dropped(bed, DropReason::Expired), dropped(bed, DropReason::QueueFull)), (ROOM, 0));
    expect_back(bed, numbers.map(|number| number.to_string()));
}

/// And if its publisher would be refused.
/// [MQTT-3.3.2-5]
#[conformance(in_memory = "it counts what was dropped")]
fn group_refuses_nothing(bed: &mut Bed) {
    let mut p = full_queue(bed, Overflow::Refuse, "$share/g/a");
    p.deliver(publish("a", "new").q1(1), 1);
    expect_back(bed, ["new"]);
    assert_eq!((dropped(bed, DropReason::Expired), dropped(bed, DropReason::QueueFull)), (ROOM, 0));
}

/// Bytes count as messages do: as much is dropped as a larger message needs, and no more.
/// [MQTT-3.3.2-5]
#[conformance(in_memory = "it counts what was dropped")]
fn bytes_find_room(bed: &mut Bed) {
    bed.configure(|config| config.limits.queued_bytes = 220);
    let mut p = full_queue(bed, Overflow::DropNewest, "a");
    // Each of the old ones has 4 bytes.
    p.deliver(publish("a", &[b'x'; 210]).q1(1), 1);
    assert_eq!((dropped(bed, DropReason::Expired), dropped(bed, DropReason::QueueFull)), (2, 0));
    expect_back(bed, [[b'x'; 210]]);
}
