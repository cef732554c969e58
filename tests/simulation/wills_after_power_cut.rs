//! The power goes while a client with a Will is connected (section 3.1.2.5): the Will is published after the restart, once the client had
//! time to come back and did not. So a retained "online" is not there for ever.

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

/// `1022 00044d515454 04 2e 003c ...`, as far as the broker cares.
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

/// The device connects and says that it is there, which is acknowledged.
fn online(world: &mut World, version: Version, opening: &Opening<'_>) -> Honest {
    let mut device = Honest::accepted(world, version, opening);
    device.publish(world, STATE, b"online", QoS::AtLeastOnce, true, 1);
    assert!(matches!(device.take(world)[..], [Got::Ack(AckKind::PubAck, 1, _)]));
    device
}

/// What is retained of the device on each shard.
fn states(world: &mut World) -> Vec<String> {
    let shards = world.shards() as u16;
    let on_shard = |shard| {
        let home = |id: &String| Shard::home_of(id.as_bytes(), shards) == shard;
        let id = (0..).map(|number| format!("looks {number}")).find(home).unwrap();
        String::from_utf8(retained_for(world, &id)).unwrap()
    };
    (0..shards).map(on_shard).collect()
}

/// The retained message that comes with SUBACK.
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

/// How many Wills stores have.
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
fn a_client_that_never_comes_back_is_offline() {
    for version in [Version::V3_1_1, Version::V5] {
        everywhere(|world| {
            online(world, version, &DEVICE);
            world.crash();
            assert_states(world, "online");
            world.advance(u64::from(GRACE_SECS) * 1_000 - 1);
            assert_states(world, "online");
            world.advance(2);
            assert_states(world, "offline");
            // And it stays so.
            assert_eq!(recorded_wills(world), 0);
            world.crash();
            world.advance(60_000);
            assert_states(world, "offline");
            world.check_stores();
        });
    }
}

#[test]
fn a_client_that_is_back_in_time_is_online() {
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
            // Its new Will is as good as the first.
            world.crash();
            world.advance(u64::from(GRACE_SECS) * 1_000 + 1);
            assert_states(world, "offline");
        });
    }
}

/// [MQTT-3.1.2-10]
#[test]
fn a_will_that_is_over_before_the_power_goes_is_not_published_after_it() {
    everywhere(|world| {
        // It said DISCONNECT.
        let device = online(world, Version::V5, &DEVICE);
        device.disconnect(world);
        assert_eq!(recorded_wills(world), 0);
        world.crash();
        world.advance(60_000);
        assert_states(world, "online");
        // It was published, and somebody else says that all is well.
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

/// [MQTT-3.1.3-9]: the Will Delay Interval counts too, from the restart on.
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

/// The power goes again and again, each time before the client had time: the Will is not lost over that, nor sent too soon.
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
        // A client that was away when the power went could not come back meanwhile either.
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

/// Whichever batch is the last one that is safe: a client that was told that its "online" is kept has a Will that is
/// kept.
#[test]
fn whenever_the_power_goes_an_acknowledged_online_does_not_stay() {
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

/// CONNACK does not wait for the disk.
#[test]
fn a_clean_client_with_a_will_is_accepted_before_anything_is_safe() {
    let mut world = World::new(1, config());
    world.sync = Sync::ByHand;
    Honest::accepted(&mut world, Version::V3_1_1, &DEVICE);
    assert_eq!(recorded_wills(&world), 0);
    while world.sync() {}
    assert_eq!(recorded_wills(&world), 1);
}

/// A subscriber whose Session survives is told, though neither the Will nor its client's Session is of the kind that is kept.
#[test]
fn a_subscriber_that_survives_hears_a_will_that_is_not_retained() {
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

/// While the store is full clients with Wills are served, without a record; there is one as soon as there is room.
#[test]
fn a_full_store_delays_the_record_of_a_will_and_refuses_nobody() {
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

/// A store that grants room bit by bit is asked for what a Will takes, and CONNECT waits for that.
#[test]
fn a_connect_waits_for_room_for_its_will() {
    let mut world = World::new(1, config());
    world.use_disk(4_000);
    let payload = vec![b'x'; 20_000];
    let will = Will { payload: &payload, ..OFFLINE };
    Honest::accepted(&mut world, Version::V5, &Opening { will: Some((will, 0)), ..DEVICE });
    assert_eq!(recorded_wills(&world), 1);
    // And while there is none, it is not part of what was promised.
    world.set_disk_full(true);
    let waits = Honest::connect(&mut world, Version::V5, &Opening { will: Some((will, 0)), ..Opening::new("dev2") });
    assert!(world.receive(waits.at).is_empty());
    world.tell_full(0);
    assert!(!world.receive(waits.at).is_empty());
    assert_eq!(recorded_wills(&world), 1);
}
