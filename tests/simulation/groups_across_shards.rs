//! A group of a shared subscription with a member whose home is another shard.

use goldcrest_core::codec::{QoS, ReasonCode, Version};
use goldcrest_core::{Config, DropReason, Limits, Shard};
use goldcrest_tests::honest::{Honest, Opening};
use goldcrest_tests::world::World;

/// A name with this beginning and end that is at home on that one of two shards.
fn name_on(shard: u16, name: &str, behind: &str) -> String {
    let home = |text: &String| Shard::home_of(text.as_bytes(), 2) == shard;
    (0..).map(|number| format!("{name}{number}{behind}")).find(home).unwrap()
}

/// A bug of the past: only the number of messages was bounded, and not their bytes. So a group sent a member far more than its queue had room
/// for. All of it came back, and the group kept it beyond its own bound: below a ceiling on memory others were refused then.
#[test]
fn a_member_on_another_shard_is_sent_no_more_bytes_than_its_queue_may_have() {
    const MESSAGES: u16 = 30;
    let limits = Limits::GATEWAY.with(|limits| limits.queued_bytes = 10_000);
    let world = &mut World::new(2, Config { limits, ..Config::gateway(1) });
    let group = name_on(0, "$share/group", "/x");
    let member_id = name_on(1, "member ", "");
    let mut member = Honest::accepted(world, Version::V5, &Opening::new(&member_id));
    assert_eq!(member.subscribe(world, &group, QoS::AtLeastOnce), ReasonCode::GrantedQoS1);
    let publisher = Honest::accepted(world, Version::V5, &Opening::new(&name_on(0, "publisher ", "")));
    // A body is the topic, of one byte, and the payload.
    let payload = [b'p'; 999];
    world.slow_down(0, 1, true);
    for number in 1..=10 {
        publisher.publish(world, "x", &payload, QoS::AtLeastOnce, false, number);
    }
    assert_eq!(world.shard(0).counters().messages, 0, "the member's queue has room for 10,000 bytes");
    for number in 11..=20 {
        publisher.publish(world, "x", &payload, QoS::AtLeastOnce, false, number);
    }
    assert_eq!(world.shard(0).counters().messages, 10, "the group keeps what the member has no room for");
    world.slow_down(0, 1, false);
    assert_eq!(member.take_messages(world).len(), 20);
    for number in 21..=MESSAGES {
        publisher.publish(world, "x", &payload, QoS::AtLeastOnce, false, number);
        assert_eq!(member.take_messages(world).len(), 1, "the member has room again");
    }
    assert_eq!(world.shard(0).counters().messages, 0);
}

/// A bug of the past: if neither the group nor a member had room, a message was sent to a member on another shard all the same. It came back, and
/// the group kept it beyond its bound, and so all messages that followed.
#[test]
fn a_group_keeps_no_more_than_its_bound_if_its_member_on_another_shard_has_no_room() {
    let change = |limits: &mut Limits| (limits.queued_messages, limits.group_messages) = (2, 5);
    let world = &mut World::new(2, Config { limits: Limits::GATEWAY.with(change), ..Config::gateway(1) });
    let group = name_on(0, "$share/group", "/x");
    let member_id = name_on(1, "member ", "");
    let opening = Opening { window: Some(1), ..Opening::new(&member_id) };
    let mut member = Honest::accepted(world, Version::V5, &opening);
    assert_eq!(member.subscribe(world, &group, QoS::AtLeastOnce), ReasonCode::GrantedQoS1);
    let publisher = Honest::accepted(world, Version::V5, &Opening::new(&name_on(0, "publisher ", "")));
    world.stall(member.at, true);
    for number in 1..=20 {
        publisher.publish(world, "x", b"more", QoS::AtLeastOnce, false, number);
    }
    let counters = world.shard(0).counters();
    assert_eq!(
        (counters.messages, counters.dropped.by(DropReason::QueueFull)),
        (5, 13),
        "two are sent to the member, five are kept"
    );
    world.stall(member.at, false);
    assert_eq!(member.take_messages(world).len(), 7);
}
