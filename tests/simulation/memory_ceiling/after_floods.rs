//! Memory that a flood took is there for others when the flood is gone.

use crate::house::{House, MIB};
use goldcrest_core::MemoryUse;
use goldcrest_core::codec::Version;
use goldcrest_tests::packets::{Wire, publish, subscribe};

/// The bytes that are taken for Sessions, subscriptions and messages.
fn taken(house: &House) -> [usize; 3] {
    [MemoryUse::Sessions, MemoryUse::Subscriptions, MemoryUse::Messages].map(|purpose| house.ceiling.taken(purpose))
}

/// Tables kept the memory of all entries that they ever had, unless they were empty.
#[test]
fn tables_that_are_far_larger_than_what_is_left_in_them_give_memory_back() {
    for (shards, durable) in [(1, false), (2, false), (1, true)] {
        let mut house = House::new(shards, 64 * MIB, |config| config.durable = durable);
        house.check_honest();
        let before = taken(&house);
        let mut flood = Vec::new();
        for n in 0..20 {
            let id = house.connect_well(&format!("idle {n}"));
            house.send(id, &subscribe(1, "to/all", 1).wire(Version::V5));
            house.stalled.insert(id);
            flood.push(id);
        }
        for n in 0..3_000 {
            let id = house.connect_well(&format!("client {n}"));
            let filters: Vec<_> = (0..5).map(|filter| format!("{n}/{filter}/a-short-level/+")).collect();
            let packet = subscribe(1, &filters[0], 0);
            let packet = filters[1..].iter().fold(packet, |packet, filter| packet.and(filter, 0));
            house.send(id, &packet.wire(Version::V5));
            house.send(id, &publish(&format!("retained/{n}"), &[1; 9]).retain().wire(Version::V5));
            house.send(id, &publish("to/all", &[1; 9]).q1(1).wire(Version::V5));
            house.take(id);
            flood.push(id);
        }
        let most = taken(&house);
        for (n, id) in flood.into_iter().enumerate() {
            house.send(id, &publish(&format!("retained/{n}"), b"").retain().wire(Version::V5));
            house.cut(id);
        }
        // A broker looks at its tables as messages pass. So each has a client that talks to itself.
        for name in ["a", "b", "c", "d", "e"] {
            let id = house.connect_well(name);
            house.send(id, &subscribe(1, name, 0).wire(Version::V5));
            for _ in 0..1_500 {
                house.send(id, &publish(name, b"again").wire(Version::V5));
                house.take(id);
            }
        }
        let after = taken(&house);
        for (which, part) in ["Sessions", "subscriptions", "messages"].into_iter().enumerate() {
            let [before, most, after] = [before[which], most[which], after[which]];
            println!("{shards} shards, durable {durable}, {part}: {before} before, {most} at most, {after} after");
            // Indexes keep four bytes for each entry that they had, and small buffers are kept for the next messages.
            assert!(most > 4 * before && after < most / 2, "{part}: {before} before, {most} at most, {after} after");
        }
        house.end_of_little();
    }
}
