//! The power is cut while messages of a shared subscription are on their way: from the publisher's shard to that of the
//! group, from there to a member on a third shard, and back to the group if the member has left.
//!
//! Every acknowledged message reaches a member of each group, and a message of QoS 2 reaches only one member, once.
//! `GOLDCREST_SIM_STEPS` and `GOLDCREST_SIM_SEEDS` make the runs longer, `GOLDCREST_SIM_FIRST` begins with another seed.

use std::collections::BTreeMap;

use goldcrest_core::codec::*;
use goldcrest_core::record::Kind;
use goldcrest_core::{AllowAll, Config, DropReason, Limits};
use goldcrest_tests::attentive::{Attentive, Heard};
use goldcrest_tests::memory::{MODEST, Storage};
use goldcrest_tests::outages::{Outages, origin, telling};
use goldcrest_tests::random::{seeds, setting};
use goldcrest_tests::world::World;

const PUBLISHERS: usize = 3;
/// Filters of groups that are at home on different shards, if there are several.
const GROUPS: [&str; 3] = ["$share/one/p/+", "$share/two/p/#", "$share/four/+/#"];
/// The members of each group. Their Client Identifiers spread them over the shards.
const MEMBERS: usize = 3;

/// The messages that the members of a group have received, by publisher.
#[derive(Default)]
struct Seen {
    /// The newest number of each publisher when the first member's SUBACK came; `None` before. Later numbers must arrive.
    from: Option<[u32; PUBLISHERS]>,
    /// For each number, how often the message came.
    got: [BTreeMap<u32, u32>; PUBLISHERS],
}

struct Test {
    outages: Outages,
    seen: [Seen; GROUPS.len()],
}

impl Test {
    fn new(seed: u64, storage: Storage, shards: u16) -> Self {
        let limits = Limits::GATEWAY.with(|limits| {
            limits.queued_messages = 5_000;
            limits.group_messages = 5_000;
            limits.inflight = 6;
            limits.packet_bytes = 4_096;
        });
        // Owned memory may leave bodies to the disk alone.
        let config = Config { durable: true, body_budget: 500, limits, ..Config::gateway(seed.into()) };
        let world = World::in_storage(storage, shards, config, &AllowAll);
        let member =
            |number: usize| Attentive::new(format!("member {number}"), GROUPS[number / MEMBERS], QoS::ExactlyOnce);
        let members = (0..GROUPS.len() * MEMBERS).map(member).collect();
        Self { outages: Outages::new(seed, world, PUBLISHERS, |_| false, members), seen: Default::default() }
    }

    fn step(&mut self) {
        let all = &mut self.outages;
        let publisher = all.random.below(PUBLISHERS);
        let member = all.random.below(all.subscribers.len());
        match all.random.below(100) {
            0..=29 => all.publish(publisher),
            30..=54 => all.acknowledge(member),
            55..=76 => drop(all.world.sync()),
            77..=80 => all.publishers[publisher].connect(&mut all.world),
            81..=88 => all.connect_subscriber(member),
            89..=94 => all.subscribers[member].cut(&mut all.world),
            95 => all.publishers[publisher].cut(&mut all.world),
            96 => all.world.advance(100),
            97 => self.crash(),
            98 => all.slow_down(),
            _ => all.speed_up(),
        }
        self.read();
    }

    fn crash(&mut self) {
        self.read();
        self.outages.crash();
    }

    fn read(&mut self) {
        for (index, heard) in self.outages.read() {
            self.member_heard(index, heard);
        }
    }

    fn member_heard(&mut self, index: usize, heard: Heard) {
        let (seen, id) = (&mut self.seen[index / MEMBERS], &self.outages.subscribers[index].id);
        match heard {
            Heard::Subscribed => {
                let now = || std::array::from_fn(|publisher| self.outages.publishers[publisher].numbers);
                seen.from.get_or_insert_with(now);
            }
            Heard::Message(message) => {
                let (publisher, number) = origin(&message.topic, &message.payload);
                let count = seen.got[publisher].entry(number).or_default();
                *count += 1;
                let may_come = *count == 1 || message.qos != QoS::ExactlyOnce;
                assert!(may_come, "{id}: {number} of publisher {publisher} came twice");
            }
        }
    }

    /// Connects all clients and lets them complete all handshakes. Then every acknowledged message must have arrived.
    fn finish(&mut self) {
        self.crash();
        self.outages.speed_up();
        for _ in 0..2 {
            self.outages.connect_all();
            while {
                self.read();
                self.outages.go_on()
            } {}
        }
        let Outages { world, publishers, .. } = &mut self.outages;
        for (index, publisher) in publishers.iter().enumerate() {
            publisher.expect_nothing_pending();
            for (seen, filter) in self.seen.iter().zip(GROUPS) {
                let Some(from) = seen.from else { continue };
                for (number, qos) in publisher.acknowledged.iter().filter(|(number, _)| **number > from[index]) {
                    let got = seen.got[index].get(number).copied().unwrap_or(0);
                    assert!(got > 0, "{filter} lacks {number} of publisher {index}, {qos:?}");
                }
            }
        }
        world.check_stores();
        for shard in 0..world.shards() {
            let counters = world.shard(shard).counters();
            // Messages from before a SUBACK are lost with the subscription, if a power cut undid the subscription.
            let dropped = counters.dropped.total() - u64::from(counters.dropped.by(DropReason::SessionEnded));
            assert_eq!((counters.deliveries, counters.messages, dropped), (0, 0, 0));
            let transits = world.store(shard).records().filter(|record| record.key().kind == Kind::Transit);
            assert_eq!(transits.count(), 0);
        }
    }
}

#[test]
fn each_acknowledged_message_reaches_a_member_despite_power_cuts() {
    the_power_goes_with(1);
    the_power_goes_with(2);
    the_power_goes_with(3);
}

fn the_power_goes_with(shards: u16) {
    let steps = setting("GOLDCREST_SIM_STEPS", 3_000);
    for seed in seeds(6) {
        let storage = if seed % 2 == 0 { Storage::Owned(MODEST) } else { Storage::Borrowed(MODEST) };
        let mut test = Test::new(seed, storage, shards);
        let about = |test: &Test| format!("seed {seed}, {shards} shards, {} crashes", test.outages.crashes);
        let whole = |test: &mut Test| {
            (0..steps).for_each(|_| test.step());
            test.finish();
        };
        telling(&mut test, whole, about);
        let (crashes, acknowledged) = (u64::from(test.outages.crashes), test.outages.acknowledged());
        assert!(crashes > steps / 200 && acknowledged > steps / 30, "seed {seed}: {crashes} crashes, {acknowledged}");
    }
}
