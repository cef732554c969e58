//! The power is lost while a client with a Will is connected (section 3.1.2.5). The Will is published after the restart if the client
//! does not come back within some time. So a retained "online" does not stay for ever.

use goldcrest_core::codec::*;
use goldcrest_core::record::{Record, Value};
use goldcrest_core::{AllowAll, Capacity, Config, Shard};
use goldcrest_tests::honest::{Got, Honest, Opening, id};
use goldcrest_tests::memory::{MODEST, Storage};
use goldcrest_tests::world::{Sync, World};

const GRACE_SECS: u32 = 10;
const STATE: &str = "dev1/st";

const OFFLINE: Will<'static> =
    Will { qos: QoS::AtLeastOnce, retain: true, properties: Properties::EMPTY, topic: STATE, payload: b"offline" };

/// The CONNECT of a device in the field: Clean Start, and a retained Will of QoS 1.
const DEVICE: Opening<'static> =
    Opening { id: "dev1", clean_start: true, expiry_secs: 0, window: None, aliases: 0, will: Some((OFFLINE, 0)) };

const WORLDS: [(Storage, u16); 3] =
    [(Storage::Owned(Capacity::GATEWAY), 1), (Storage::Owned(Capacity::GATEWAY), 3), (Storage::Borrowed(MODEST), 1)];

fn config() -> Config<'static> {
    Config { durable: true, will_grace_secs: GRACE_SECS, ..Config::gateway(1) }
}

fn everywhere(test: impl Fn(&mut World)) {
    for (storage, shards) in WORLDS {
        test(&mut World::in_storage(storage, shards, config(), &AllowAll));
    }
}

/// Connects the device, which publishes a retained "online" that is acknowledged.
fn online(world: &mut World, version: Version, opening: &Opening<'_>) -> Honest {
    let mut device = Honest::accepted(world, version, opening);
    device.publish(world, STATE, b"online", QoS::AtLeastOnce, true, 1);
    assert!(matches!(device.take(world)[..], [Got::Ack(AckKind::PubAck, 1, _)]));
    device
}

/// The device's retained state on each shard.
fn states(world: &mut World) -> Vec<String> {
    let shards = world.shards() as u16;
    let on_shard = |shard| {
        let home = |id: &String| Shard::home_of(id.as_bytes(), shards) == shard;
        let id = (0..).map(|number| format!("looks {number}")).find(home).unwrap();
        String::from_utf8(retained_for(world, &id)).unwrap()
    };
    (0..shards).map(on_shard).collect()
}

/// The retained message that a new subscriber gets.
fn retained_for(world: &mut World, id_text: &str) -> Vec<u8> {
    let mut link = Honest::accepted(world, Version::V5, &Opening::new(id_text));
    let filters = [(STATE, SubscriptionOptions::with_qos(QoS::AtMostOnce))];
    let (properties, filters) = (Properties::EMPTY, Filters::new(&filters));
    link.send(world, &Packet::Subscribe(Subscribe { packet_id: id(1), properties, filters }));
    let payload = link.take(world).into_iter().find_map(|got| match got {
        Got::Message(message) => Some(message.payload),
        _ => None,
    });
    link.disconnect(world);
    payload.unwrap_or_default()
}

fn assert_states(world: &mut World, expected: &str) {
    let all = states(world);
    assert!(all.iter().all(|state| state == expected), "{all:?} instead of {expected}");
}

/// The number of Wills in all stores.
fn recorded_wills(world: &World) -> usize {
    let of_shard = |shard| {
        world.store(shard).records().filter(|record| match record {
            Record::Put(_, Value::Session(session)) => session.will.is_some(),
            _ => false,
        })
    };
    (0..world.shards()).map(|shard| of_shard(shard).count()).sum()
}

#[test]
fn the_will_of_a_client_that_never_comes_back_is_published() {
    for version in [Version::V3_1_1, Version::V5] {
        everywhere(|world| {
            online(world, version, &DEVICE);
            world.crash();
            assert_states(world, "online");
            world.advance(u64::from(GRACE_SECS) * 1_000 - 1);
            assert_states(world, "online");
            world.advance(2);
            assert_states(world, "offline");
            // The state stays "offline".
            assert_eq!(recorded_wills(world), 0);
            world.crash();
            world.advance(60_000);
            assert_states(world, "offline");
            world.check_stores();
        });
    }
}

#[test]
fn the_will_of_a_client_that_is_back_in_time_is_not_published() {
    let keeps = Opening { clean_start: false, expiry_secs: 600, ..DEVICE };
    let begins_anew = Opening { clean_start: true, ..keeps };
    for opening in [DEVICE, keeps, begins_anew] {
        everywhere(|world| {
            online(world, Version::V5, &opening);
            world.crash();
            world.advance(u64::from(GRACE_SECS) * 1_000 - 1);
            let mut device = Honest::connect(world, Version::V5, &opening);
            let present = !opening.clean_start;
            assert_eq!(device.take(world), [Got::ConnAck(present, ReasonCode::Success)]);
            world.advance(3_600_000);
            assert_states(world, "online");
            // The Will of the new connection is published as well.
            world.crash();
            world.advance(u64::from(GRACE_SECS) * 1_000 + 1);
            assert_states(world, "offline");
        });
    }
}

/// [MQTT-3.1.2-10]
#[test]
fn a_will_discarded_or_published_before_a_power_cut_is_not_published_again() {
    everywhere(|world| {
        // In the first case the device sends DISCONNECT.
        let device = online(world, Version::V5, &DEVICE);
        device.disconnect(world);
        assert_eq!(recorded_wills(world), 0);
        world.crash();
        world.advance(60_000);
        assert_states(world, "online");
        // In the second case the Will is published, and then another client sets the state to "online".
        let device = online(world, Version::V5, &DEVICE);
        world.cut(device.at);
        assert_states(world, "offline");
        let other = Honest::accepted(world, Version::V5, &Opening::new("other"));
        other.publish(world, STATE, b"repaired", QoS::AtLeastOnce, true, 1);
        assert_eq!(recorded_wills(world), 0);
        world.crash();
        world.advance(60_000);
        assert_states(world, "repaired");
        world.check_stores();
    });
}

/// The Will Delay Interval counts too, from the restart on [MQTT-3.1.3-9].
#[test]
fn a_delayed_will_waits_for_its_delay_after_the_restart() {
    let opening = Opening { clean_start: false, expiry_secs: 600, will: Some((OFFLINE, 60)), ..DEVICE };
    everywhere(|world| {
        online(world, Version::V5, &opening);
        world.crash();
        world.advance(59_000);
        assert_states(world, "online");
        world.advance(1_001);
        assert_states(world, "offline");
    });
}

/// The power is lost again and again, each time before the client's time is over. The Will is neither lost nor published too soon.
#[test]
fn each_restart_gives_the_client_its_time_anew() {
    everywhere(|world| {
        online(world, Version::V3_1_1, &DEVICE);
        for _ in 0..5 {
            world.crash();
            world.advance(u64::from(GRACE_SECS) * 1_000 - 1_000);
            assert_states(world, "online");
        }
        world.advance(1_001);
        assert_states(world, "offline");
        // A client that was absent when the power was lost could not come back meanwhile either.
        let away = Opening { clean_start: false, expiry_secs: 600, will: Some((OFFLINE, 3)), ..DEVICE };
        let device = online(world, Version::V5, &away);
        world.cut(device.at);
        world.advance(2_000);
        world.crash();
        world.advance(9_000);
        assert_states(world, "online");
        world.advance(1_001);
        assert_states(world, "offline");
    });
}

/// Whichever batch is the last safe one: if a client was told that its "online" is stored, its Will is stored, too.
#[test]
fn an_acknowledged_online_never_outlives_its_client_after_a_power_cut() {
    for shards in [1, 3] {
        let mut cases = [0, 0];
        for synced in 0..8 {
            let mut world = World::in_storage(Storage::Owned(Capacity::GATEWAY), shards, config(), &AllowAll);
            world.sync = Sync::ByHand;
            let mut device = Honest::accepted(&mut world, Version::V3_1_1, &DEVICE);
            device.publish(&mut world, STATE, b"online", QoS::AtLeastOnce, true, 1);
            for _ in 0..synced {
                world.sync();
            }
            let is_acknowledged = !device.take(&mut world).is_empty();
            world.crash();
            world.sync = Sync::AtOnce;
            world.sync();
            world.advance(u64::from(GRACE_SECS) * 1_000 + 1);
            let states = states(&mut world);
            assert!(states.iter().all(|state| *state == states[0] && state != "online"), "{synced}: {states:?}");
            assert!(!is_acknowledged || states[0] == "offline", "{synced}: {states:?}");
            cases[usize::from(is_acknowledged)] += 1;
        }
        assert!(cases.iter().all(|count| *count > 0), "{cases:?}");
    }
}

#[test]
fn connack_of_a_client_with_a_will_does_not_wait_for_the_disk() {
    let mut world = World::new(1, config());
    world.sync = Sync::ByHand;
    Honest::accepted(&mut world, Version::V3_1_1, &DEVICE);
    assert_eq!(recorded_wills(&world), 0);
    while world.sync() {}
    assert_eq!(recorded_wills(&world), 1);
}

/// A subscriber whose Session survives gets the Will, though the Will is not retained and its client's Session does not survive.
#[test]
fn a_lasting_subscriber_gets_a_will_after_a_power_cut() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        everywhere(|world| {
            let watching = Opening { clean_start: false, expiry_secs: 600, ..Opening::new("watcher") };
            let mut watcher = Honest::accepted(world, Version::V5, &watching);
            watcher.subscribe(world, "alarm", QoS::ExactlyOnce);
            let will = Will { qos, retain: false, topic: "alarm", ..OFFLINE };
            Honest::accepted(world, Version::V5, &Opening { will: Some((will, 0)), ..DEVICE });
            world.crash();
            let mut watcher = Honest::accepted(world, Version::V5, &watching);
            world.advance(u64::from(GRACE_SECS) * 1_000 + 1);
            let got = watcher.take(world);
            assert!(matches!(&got[..], [Got::Message(message)] if message.payload == b"offline"), "{got:?}");
        });
    }
}

/// While the store is full, clients with Wills are served without a record of the Will. The record is made as soon as there is room.
#[test]
fn a_full_store_delays_the_record_of_a_will_and_refuses_no_client() {
    everywhere(|world| {
        let set_full = |world: &mut World, full| {
            for shard in 0..world.shards() {
                world.with_shard(shard, |broker| broker.set_store_full(full));
            }
            world.drive();
        };
        set_full(world, true);
        Honest::accepted(world, Version::V5, &DEVICE);
        assert_eq!(recorded_wills(world), 0);
        set_full(world, false);
        assert_eq!(recorded_wills(world), 1);
        world.check_stores();
        world.crash();
        world.advance(60_000);
        assert_states(world, "offline");
    });
}

/// A store that grants room in small amounts is asked for the room of a Will, and CONNECT waits for it.
#[test]
fn a_connect_waits_for_room_for_its_will() {
    let mut world = World::new(1, config());
    world.use_disk(4_000);
    let payload = vec![b'x'; 20_000];
    let will = Will { payload: &payload, ..OFFLINE };
    Honest::accepted(&mut world, Version::V5, &Opening { will: Some((will, 0)), ..DEVICE });
    assert_eq!(recorded_wills(&world), 1);
    // While the disk is full, the room for the Will must not be used for other promises.
    world.set_disk_full(true);
    let waits = Honest::connect(&mut world, Version::V5, &Opening { will: Some((will, 0)), ..Opening::new("dev2") });
    assert!(world.receive(waits.at).is_empty());
    world.tell_full(0);
    assert!(!world.receive(waits.at).is_empty());
    assert_eq!(recorded_wills(&world), 1);
}
