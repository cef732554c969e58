//! The power goes while a shared subscription's messages are on their way: from the publisher's shard to the group's, from
//! there to a member on a third one, and back, since that has gone.
//!
//! Whatever was acknowledged to the publisher comes to a member of each group, and a QoS 2 message to no more than one, once.
//! `GOLDCREST_SIM_STEPS` and `GOLDCREST_SIM_SEEDS` make it longer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use goldcrest_core::codec::*;
use goldcrest_core::record::Kind;
use goldcrest_core::{AllowAll, Config, DropReason, Limits};
use goldcrest_tests::honest::{Got, Honest, Opening};
use goldcrest_tests::memory::{MODEST, Storage};
use goldcrest_tests::random::{Random, setting};
use goldcrest_tests::untiring::Untiring;
use goldcrest_tests::world::{Sync, World};

const PUBLISHERS: usize = 3;
/// Their filters have their homes on different shards, if there are several.
const GROUPS: [&str; 3] = ["$share/one/p/+", "$share/two/p/#", "$share/four/+/#"];
/// Of each group; Client Identifiers spread them over the shards.
const MEMBERS: usize = 3;

struct Member {
    id: String,
    group: usize,
    link: Option<Honest>,
    is_known: bool,
    /// QoS 2 messages before their PUBREL.
    held: BTreeSet<u16>,
    due: VecDeque<(AckKind, u16)>,
}

struct Group {
    /// By publisher: what was published before that is not to come.
    from: Vec<u32>,
    /// Some member has seen SUBACK.
    is_subscribed: bool,
    /// By publisher: how often each number came.
    got: Vec<BTreeMap<u32, u32>>,
}

struct Test {
    world: World,
    random: Random,
    publishers: Vec<Untiring>,
    members: Vec<Member>,
    groups: Vec<Group>,
    crashes: u32,
}

impl Test {
    fn new(seed: u64, storage: Storage, shards: u16) -> Self {
        let limits = Limits {
            queued_messages: 5_000,
            group_messages: 5_000,
            inflight: 6,
            packet_bytes: 4_096,
            ..Limits::GATEWAY
        };
        // Bodies leave memory where that is owned.
        let config = Config { durable: true, body_budget: 500, limits, ..Config::gateway(seed) };
        let mut world = World::in_storage(storage, shards, config, &AllowAll);
        world.sync = Sync::ByHand;
        let member = |number: usize| Member {
            id: format!("member {number}"),
            group: number / MEMBERS,
            link: None,
            is_known: false,
            held: BTreeSet::new(),
            due: VecDeque::new(),
        };
        let group =
            |_| Group { from: vec![0; PUBLISHERS], is_subscribed: false, got: vec![BTreeMap::new(); PUBLISHERS] };
        Self {
            world,
            random: Random::new(seed),
            publishers: (0..PUBLISHERS)
                .map(|number| Untiring::new(format!("publisher {number}"), format!("p/{number}"), false))
                .collect(),
            members: (0..GROUPS.len() * MEMBERS).map(member).collect(),
            groups: (0..GROUPS.len()).map(group).collect(),
            crashes: 0,
        }
    }

    fn step(&mut self) {
        let publisher = self.random.below(PUBLISHERS);
        let member = self.random.below(self.members.len());
        match self.random.below(100) {
            0..=29 => {
                let qos = self.random.choose(&[QoS::AtLeastOnce, QoS::ExactlyOnce]);
                self.publishers[publisher].publish(&mut self.world, qos);
            }
            30..=54 => self.acknowledge(member),
            55..=76 => drop(self.world.sync()),
            77..=80 => self.publishers[publisher].connect(&mut self.world),
            81..=88 => self.connect(member),
            89..=94 => self.cut(member),
            95 => self.publishers[publisher].cut(&mut self.world),
            96 => self.world.advance(100),
            97 => self.crash(),
            98 => {
                let shards = self.world.shards();
                let (from, to) = (self.random.below(shards), self.random.below(shards));
                self.world.slow_down(from, to, true);
            }
            _ => self.speed_up(),
        }
        self.read();
    }

    fn speed_up(&mut self) {
        for from in 0..self.world.shards() {
            (0..self.world.shards()).for_each(|to| self.world.slow_down(from, to, false));
        }
    }

    fn crash(&mut self) {
        self.read();
        self.crashes += 1;
        self.world.crash();
        self.publishers.iter_mut().for_each(|publisher| publisher.cut(&mut self.world));
        (0..self.members.len()).for_each(|member| self.cut(member));
    }

    fn connect(&mut self, member: usize) {
        let window = self.random.choose(&[None, Some(2), Some(5)]);
        let member = &mut self.members[member];
        if member.link.is_none() {
            let opening = Opening { clean_start: false, expiry_secs: u32::MAX, window, ..Opening::new(&member.id) };
            member.link = Some(Honest::connect(&mut self.world, Version::V5, &opening));
        }
    }

    fn cut(&mut self, member: usize) {
        let member = &mut self.members[member];
        member.due.clear();
        if let Some(link) = member.link.take() {
            self.world.cut(link.at);
        }
    }

    fn acknowledge(&mut self, member: usize) {
        let count = self.random.choose(&[1, 2, 20]);
        let member = &mut self.members[member];
        let Some(link) = &member.link else { return };
        for _ in 0..count {
            let Some((kind, packet_id)) = member.due.pop_front() else { break };
            link.ack(&mut self.world, kind, packet_id);
        }
    }

    fn read(&mut self) {
        self.publishers.iter_mut().for_each(|publisher| publisher.take(&mut self.world));
        for index in 0..self.members.len() {
            let Some(mut link) = self.members[index].link.take() else { continue };
            let got = link.take(&mut self.world);
            assert!(!self.world.is_closed(link.at), "{got:?}");
            got.into_iter().for_each(|got| self.member_got(index, &link, got));
            self.members[index].link = Some(link);
        }
    }

    fn member_got(&mut self, index: usize, link: &Honest, got: Got) {
        let member = &mut self.members[index];
        let group = &mut self.groups[member.group];
        match got {
            Got::ConnAck(present, code) => {
                assert_eq!((present || !member.is_known, code), (true, ReasonCode::Success), "{}", member.id);
                member.is_known = true;
                if !present {
                    let options = SubscriptionOptions::with_qos(QoS::ExactlyOnce);
                    let filters = [(GROUPS[member.group], options)];
                    let (properties, filters) = (Properties::EMPTY, Filters::new(&filters));
                    let packet_id = goldcrest_tests::honest::id(1);
                    link.send(&mut self.world, &Packet::Subscribe(Subscribe { packet_id, properties, filters }));
                }
            }
            Got::SubAck(..) if group.is_subscribed => {}
            Got::SubAck(..) => {
                group.is_subscribed = true;
                group.from = self.publishers.iter().map(|publisher| publisher.numbers).collect();
            }
            Got::Message(message) => {
                let publisher: usize = message.topic.strip_prefix("p/").unwrap().parse().unwrap();
                let number = u32::from_be_bytes(message.payload.try_into().unwrap());
                let is_exact = message.qos == QoS::ExactlyOnce;
                member.due.push_back((if is_exact { AckKind::PubRec } else { AckKind::PubAck }, message.packet_id));
                if !is_exact || member.held.insert(message.packet_id) {
                    let count = group.got[publisher].entry(number).or_default();
                    *count += 1;
                    assert!(!is_exact || *count == 1, "{}: {number} of publisher {publisher} came twice", member.id);
                }
            }
            Got::Ack(AckKind::PubRel, id, _) => {
                member.held.remove(&id);
                member.due.push_back((AckKind::PubComp, id));
            }
            other => panic!("{other:?}"),
        }
    }

    /// All come, say and take what there is; then whatever was acknowledged has arrived.
    fn finish(&mut self) {
        self.crash();
        self.speed_up();
        for _ in 0..2 {
            self.publishers.iter_mut().for_each(|publisher| publisher.connect(&mut self.world));
            (0..self.members.len()).for_each(|member| self.connect(member));
            while {
                self.read();
                let synced = self.world.sync();
                let due = self.members.iter().any(|member| !member.due.is_empty());
                (0..self.members.len()).for_each(|member| self.acknowledge(member));
                synced || due
            } {}
        }
        for (index, publisher) in self.publishers.iter().enumerate() {
            publisher.expect_nothing_pending();
            for (group, filter) in self.groups.iter().zip(GROUPS).filter(|(group, _)| group.is_subscribed) {
                for (number, qos) in publisher.acknowledged.iter().filter(|(number, _)| **number > group.from[index]) {
                    let got = group.got[index].get(number).copied().unwrap_or(0);
                    assert!(got > 0, "{filter} lacks {number} of publisher {index}, {qos:?}");
                }
            }
        }
        self.world.check_stores();
        for shard in 0..self.world.shards() {
            let counters = self.world.shard(shard).counters();
            // What came before a SUBACK is gone with the subscription, if the power took that.
            let dropped = counters.dropped.total() - u64::from(counters.dropped.by(DropReason::SessionEnded));
            assert_eq!((counters.deliveries, counters.messages, dropped), (0, 0, 0));
            let transits = self.world.store(shard).records().filter(|record| record.key().kind == Kind::Transit);
            assert_eq!(transits.count(), 0);
        }
    }
}

#[test]
fn what_was_acknowledged_comes_to_one_member() {
    the_power_goes_with(1);
    the_power_goes_with(2);
    the_power_goes_with(3);
}

fn the_power_goes_with(shards: u16) {
    let (seeds, steps) = (setting("GOLDCREST_SIM_SEEDS", 6), setting("GOLDCREST_SIM_STEPS", 3_000));
    for seed in 1..=seeds {
        let storage = if seed % 2 == 0 { Storage::Owned(MODEST) } else { Storage::Borrowed(MODEST) };
        let mut test = Test::new(seed, storage, shards);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            (0..steps).for_each(|_| test.step());
            test.finish();
        }));
        if let Err(panic) = outcome {
            println!("seed {seed}, {shards} shards, {} crashes", test.crashes);
            std::panic::resume_unwind(panic);
        }
        let acknowledged: usize = test.publishers.iter().map(|publisher| publisher.acknowledged.len()).sum();
        assert!(
            test.crashes as u64 > steps / 200 && acknowledged as u64 > steps / 30,
            "{} {acknowledged}",
            test.crashes
        );
    }
}
