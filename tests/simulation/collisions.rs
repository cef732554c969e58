//! No client can find out which keys collide in the broker's tables, or which Client Identifiers the broker will assign.
//!
//! The tests count the entries that a look-up may have to pass, so the speed of the machine does not matter.

mod attacker;

use attacker::*;
use goldcrest_core::Config;
use goldcrest_core::codec::{Packet, QoS, Version, split};
use goldcrest_tests::honest::{Honest, Opening};
use goldcrest_tests::packets::{Wire, client, subscribe};
use goldcrest_tests::world::World;
use std::collections::HashSet;

const NAMES: usize = 500;

/// The longest chain that a table filled at random usually has. With 500 chains and one entry in each on average, the
/// longest chain has twelve entries in one of a million tables.
const USUAL: usize = 12;

/// The Client Identifier that the broker assigns to a client without one.
fn assigned(world: &mut World) -> String {
    let stranger = world.open();
    world.send(stranger, &client("").wire(Version::V5));
    let answer = world.receive(stranger);
    let (frame, _) = split(&answer, u32::MAX).unwrap().unwrap();
    let Packet::ConnAck(connack) = Packet::decode(Version::V5, frame).unwrap() else { panic!("{answer:x?}") };
    connack.properties.assigned_client_identifier().unwrap().to_owned()
}

fn longest_chain(world: &World) -> usize {
    (0..world.shards()).map(|shard| world.shard(shard).longest_chain()).max().unwrap()
}

/// Connects a client that subscribes to all these topics, 100 in each packet.
fn subscribe_to(world: &mut World, names: &[String]) {
    subscribe_as(world, "subscriber", names);
}

fn subscribe_as(world: &mut World, client_id: &str, names: &[String]) {
    let subscriber = Honest::accepted(world, Version::V5, &Opening::new(client_id));
    for some in names.chunks(100) {
        let first = subscribe(1, &some[0], 0);
        let all = some[1..].iter().fold(first, |all, name| all.and(name, 0));
        world.send(subscriber.at, &all.wire(Version::V5));
        assert!(!world.receive(subscriber.at).is_empty());
    }
}

#[test]
fn the_attacker_of_these_tests_finds_colliding_names() {
    for seed in [0, 1, 7, 0x0123_4567_89ab_cdef, u64::MAX] {
        assert_eq!(state_before(number_behind(seed)), seed);
    }
    assert_eq!(number_in("goldcrest-f000000000000001"), 0x1000_0000_0000_000f);
    // With the right seed all names are in one bucket, with another seed they are not.
    let names = colliding_names(7, 100);
    let buckets = |seed| names.iter().map(|name| hash_of_level(seed, 0, name) & 0xff).collect::<HashSet<_>>().len();
    assert_eq!(buckets(7), 1);
    assert!(buckets(8) > 60);
}

/// A bug of the past: one client without an identifier was enough to learn the key of all tables, and a second client to
/// fill one chain of the topic tree. Then each message for one of these topics, and each other SUBSCRIBE, had to pass the
/// whole chain.
#[test]
fn an_assigned_identifier_does_not_reveal_which_topics_collide() {
    for seed in [7, 0x0123_4567_89ab_cdef] {
        let mut world = World::new(1, Config::gateway(seed.into()));
        let learned = state_before(number_in(&assigned(&mut world)));
        for guess in [learned, seed] {
            let names = colliding_names(guess, NAMES);
            for shards in [1, 2] {
                let mut world = World::new(shards, Config::gateway(seed.into()));
                subscribe_to(&mut world, &names);
                let longest = longest_chain(&world);
                assert!(longest <= USUAL, "seed {seed} guessed as {guess}: a look-up passes {longest} entries");
            }
        }
    }
}

/// As many names as the limits of ten clients allow. In a table of that size each 64th place once held 49 of these names or
/// more.
#[test]
fn a_hundred_thousand_colliding_names_are_spread_over_short_chains() {
    let mut world = World::new(1, Config::gateway(7));
    let learned = state_before(number_in(&assigned(&mut world)));
    for guess in [learned, 7] {
        let names = names_in_one_of(64, guess, 100_000);
        let mut world = World::new(1, Config::gateway(7));
        for (number, share) in names.chunks(10_000).enumerate() {
            subscribe_as(&mut world, &format!("subscriber {number}"), share);
        }
        assert_eq!(world.shard(0).counters().subscriptions as usize, names.len());
        let longest = longest_chain(&world);
        assert!(longest <= USUAL, "guessed as {guess}: a look-up passes {longest} entries");
    }
}

/// A bug of the past: from one assigned identifier an attacker could compute all later ones, and take over the Sessions of
/// those clients.
#[test]
fn an_assigned_identifier_does_not_reveal_the_next_one() {
    let mut world = World::new(1, Config::gateway(7));
    let numbers: Vec<u64> = (0..100).map(|_| number_in(&assigned(&mut world))).collect();
    for pair in numbers.windows(2) {
        let mut state = state_before(pair[0]);
        for _ in 0..1_000 {
            assert_ne!(number_behind(state), pair[1]);
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        }
        // The identifiers do not follow from a counter either.
        assert!((8..=56).contains(&(pair[0] ^ pair[1]).count_ones()), "{pair:x?}");
    }
    assert_eq!(numbers.iter().collect::<HashSet<_>>().len(), numbers.len());
}

/// A Session may outlive the process of its broker. The next process must not assign the identifier of that Session to
/// another client.
#[test]
fn assigned_identifiers_differ_between_shards_and_between_starts() {
    let mut seen = HashSet::new();
    for start in 0..4_u128 {
        // Each half of the seed alone must make a difference.
        for seed in [start, start << 64 | 1 << 63] {
            let mut world = World::new(3, Config::gateway(seed));
            for _ in 0..50 {
                assert!(seen.insert(assigned(&mut world)));
            }
        }
    }
}

/// Clients choose Packet Identifiers, too, and the broker looks them up in tables.
#[test]
fn packet_identifiers_that_clients_choose_do_not_collide() {
    for step in [1, 2, 16, 32, 64, 255, 256, 257] {
        let mut world = World::new(1, Config::gateway(7));
        for client in 0..8 {
            let publisher =
                Honest::accepted(&mut world, Version::V3_1_1, &Opening::new(&format!("publisher {client}")));
            for number in 0..u16::MAX / 257 {
                publisher.publish(&mut world, "t", b"", QoS::ExactlyOnce, false, number * step + 1);
            }
        }
        let longest = longest_chain(&world);
        assert!(longest <= USUAL, "step {step}: a look-up passes {longest} entries");
    }
}

/// The Client Identifiers of connected clients are looked up as well, whatever prefix and suffix they have in common.
#[test]
fn client_identifiers_that_clients_choose_do_not_collide() {
    let mut world = World::new(1, Config::gateway(7));
    for number in 0..NAMES {
        let id = format!("{:0>1$}", format!("{number:x}-{:x}", number * 0x100), 20);
        Honest::accepted(&mut world, Version::V3_1_1, &Opening::new(&id));
    }
    let longest = longest_chain(&world);
    assert!(longest <= USUAL, "a look-up passes {longest} entries");
}
