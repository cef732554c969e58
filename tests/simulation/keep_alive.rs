//! Keep Alive while the broker itself does not read: the client is not blamed for that time. PINGRESP does not wait for the
//! disk.

use goldcrest_core::codec::*;
use goldcrest_core::{AllowAll, Broker, Capacity, Config, Instant, Limits, Memory, Next, Polled, Shard};
use goldcrest_tests::packets::{PINGREQ, Wire, client, subscribe};
use goldcrest_tests::world::{ClientId, Sync, World};

const PINGRESP: [u8; 2] = [0xD0, 0];

/// The number of owed replies from which on the broker reads nothing more from a client; small here.
const MOST_OWED: u16 = 4;

fn world(shards: u16) -> World {
    let limits = Limits::GATEWAY.with(|limits| limits.owed_replies = MOST_OWED);
    World::new(shards, Config { durable: true, limits, ..Config::gateway(1) })
}

/// A client with Keep Alive 4, which is closed after 6 seconds of silence.
fn connected(world: &mut World) -> ClientId {
    let id = world.open();
    world.send(id, &client("c").keep_alive(4).wire(Version::V5));
    assert_eq!(world.receive(id).get(3), Some(&0), "CONNACK accepts");
    id
}

/// A retained message with QoS 1, whose PUBACK waits for the disk.
fn kept(packet_id: u8) -> [u8; 9] {
    [0x33, 7, 0, 1, b'a', 0, packet_id, 0, b'x']
}

/// The first bytes of all packets that came.
fn kinds(mut bytes: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let Some((_, len)) = split(bytes, u32::MAX).unwrap() {
        kinds.push(bytes[0]);
        bytes = &bytes[len..];
    }
    assert!(bytes.is_empty());
    kinds
}

fn expect_cut_off_after_silence(world: &mut World, id: ClientId) {
    world.advance(5_999);
    assert!(!world.is_closed(id));
    world.advance(1);
    assert!(world.is_closed(id));
}

/// PINGRESP promises nothing, and so it is sent while the store has not synced yet.
/// [MQTT-3.12.4-1]
#[test]
fn pingresp_does_not_wait_for_the_disk() {
    let mut world = world(1);
    let id = connected(&mut world);
    world.sync = Sync::ByHand;
    world.send(id, &[&kept(1)[..], &PINGREQ].concat());
    assert_eq!(world.receive(id), PINGRESP);
    for _ in 0..20 {
        world.advance(4_000);
        world.send(id, &PINGREQ);
        assert_eq!(world.receive(id), PINGRESP);
    }
    while world.sync() {}
    assert_eq!(kinds(&world.receive(id)), [0x40]);
    expect_cut_off_after_silence(&mut world, id);
}

/// The disk hangs: owed replies are not safe, so the broker reads nothing more.
#[test]
fn keep_alive_pauses_while_the_disk_hangs() {
    let mut world = world(1);
    let id = connected(&mut world);
    world.sync = Sync::ByHand;
    let packets: Vec<u8> = (1..=10).flat_map(kept).collect();
    world.send(id, &packets);
    world.advance(3_600_000);
    assert!(!world.is_closed(id));
    world.sync = Sync::AtOnce;
    while world.sync() {}
    world.drive();
    assert_eq!(kinds(&world.receive(id)), [0x40; 10]);
    expect_cut_off_after_silence(&mut world, id);
}

/// The client reads late, or its network is slow: meanwhile the broker does not read the client's packets.
#[test]
fn keep_alive_pauses_while_too_many_replies_are_owed() {
    let mut world = world(1);
    let id = connected(&mut world);
    world.stall(id, true);
    for number in 1..=10 {
        world.send(id, &kept(number));
        world.send(id, &PINGREQ);
        world.advance(4_000);
    }
    assert!(!world.is_closed(id));
    world.stall(id, false);
    world.drive();
    let came = kinds(&world.receive(id));
    assert_eq!((came.len(), came.iter().filter(|kind| **kind == 0x40).count()), (20, 10));
    expect_cut_off_after_silence(&mut world, id);
}

/// The packets behind a SUBSCRIBE are not read until the other shards know the filter.
#[test]
fn keep_alive_pauses_while_other_shards_are_slow() {
    let mut world = world(2);
    let id = connected(&mut world);
    for (from, to) in [(0, 1), (1, 0)] {
        world.slow_down(from, to, true);
    }
    world.send(id, &subscribe(1, "a", 0).wire(Version::V5));
    world.send(id, &PINGREQ);
    world.advance(3_600_000);
    assert!(!world.is_closed(id));
    for (from, to) in [(0, 1), (1, 0)] {
        world.slow_down(from, to, false);
    }
    world.drive();
    assert_eq!(kinds(&world.receive(id)), [0x90, 0xD0]);
    expect_cut_off_after_silence(&mut world, id);
}

/// Among the packets that the broker does not read yet are PINGREQs. The gateway shows each PINGREQ to the broker, which
/// answers it once.
/// [MQTT-3.12.4-1]
#[test]
fn pings_behind_unread_packets_are_answered_once() {
    let limits = Limits::GATEWAY.with(|limits| limits.owed_replies = MOST_OWED);
    let memory = Memory::owned(&Capacity::GATEWAY, &limits, Shard::ONLY);
    let mut broker = Broker::new(memory, Config { durable: true, limits, ..Config::gateway(1) }, &AllowAll);
    let now = Instant::from_millis(1);
    let id = broker.handle_connected(now).unwrap();
    let transmit = |broker: &mut Broker<'_>| {
        let mut out = [0; 100];
        let written = broker.poll_transmit(now, id, &mut out).written;
        kinds(&out[..written])
    };
    let store_all = |broker: &mut Broker<'_>| {
        while matches!(broker.poll_record(&mut [0; 4096]), Polled::Record { .. }) {}
        let batch = broker.end_batch();
        broker.handle_persisted(batch);
    };
    broker.handle_bytes(now, id, &client("c").keep_alive(4).wire(Version::V5));
    store_all(&mut broker);
    assert_eq!(transmit(&mut broker), [0x20]);
    let mut bytes: Vec<u8> = (1..=6).flat_map(kept).collect();
    let received = broker.handle_bytes(now, id, &bytes);
    assert!(matches!(received.next, Next::Wait));
    bytes.drain(..received.consumed);
    bytes.extend(PINGREQ);
    bytes.extend(kept(7));
    bytes.extend(PINGREQ);
    bytes.extend(&kept(8)[..4]);
    let seen = broker.handle_pings(id, &bytes);
    assert_eq!(seen, bytes.len() - 4, "all whole packets");
    assert_eq!(broker.handle_pings(id, &bytes[seen..]), 0);
    assert_eq!(transmit(&mut broker), [0xD0; 2]);
    bytes.extend(&kept(8)[4..]);
    bytes.extend(PINGREQ);
    let mut came = Vec::new();
    while !bytes.is_empty() {
        store_all(&mut broker);
        came.extend(transmit(&mut broker));
        let received = broker.handle_bytes(now, id, &bytes);
        bytes.drain(..received.consumed);
    }
    store_all(&mut broker);
    came.extend(transmit(&mut broker));
    assert_eq!(came.iter().filter(|kind| **kind == 0x40).count(), 8);
    assert_eq!(came.iter().filter(|kind| **kind == 0xD0).count(), 1, "the last one, which was not shown");
}
