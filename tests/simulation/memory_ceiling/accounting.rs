//! What is claimed is no less than what the allocator has given, under random traffic.

use crate::heap::inside;
use crate::house::{Got, House, Id, MIB};
use goldcrest_core::codec::Version;
use goldcrest_tests::packets::{Wire, client, publish, subscribe, unsubscribe, will};

/// What is neither in tables nor in bodies: lists that are bounded otherwise, and what grows while it is copied.
const NOT_COUNTED: isize = 96 << 10;

#[test]
fn what_is_claimed_is_no_less_than_what_is_allocated_but_for_a_constant() {
    for (shards, durable) in [(1, false), (2, false), (4, false), (1, true), (3, true)] {
        let mut house = House::new(shards, 6 * MIB, |config| config.durable = durable);
        let mut random = Random(u64::from(shards) + 10);
        let mut clients: Vec<Option<Id>> = vec![None; 40];
        let mut most = 0;
        for step in 0..3_000 {
            act(&mut house, &mut random, &mut clients);
            let claimed = house.ceiling.taken_in_all() as isize;
            most = most.max(house.allocated() - claimed);
            let constant = NOT_COUNTED * shards as isize;
            assert!(house.allocated() <= claimed + constant, "{} allocated, {claimed} claimed", house.allocated());
            if step % 500 == 499 {
                house.check_honest();
            }
        }
        println!("{shards} shards, durable {durable}: {most} bytes more were allocated than claimed");
        inside(|| house.brokers.clear());
        assert_eq!(house.ceiling.taken_in_all(), 0);
    }
}

/// One client does something.
fn act(house: &mut House, random: &mut Random, clients: &mut [Option<Id>]) {
    let n = random.below(clients.len());
    let name = format!("client {n}");
    let Some(id) = clients[n].filter(|id| !house.got.get(id).is_some_and(|got| got.contains(&Got::Closed))) else {
        let payload = vec![1; random.size()];
        let packet = match random.below(3) {
            0 => client(&name).wire(Version::V5),
            1 => client(&name).keep().wire(Version::V5),
            _ => client(&name).keep().will(will("some/will", &payload, 1)).wire(Version::V5),
        };
        clients[n] = house.open(&name, Version::V5);
        if let Some(id) = clients[n] {
            house.got.remove(&id);
            house.send(id, &packet);
        }
        return;
    };
    let (topic, level) = (format!("{}/{}", random.below(30), "level ".repeat(random.below(9))), random.below(3) as u8);
    match random.below(20) {
        0 => {
            house.cut(id);
            clients[n] = None;
        }
        1 => {
            house.stalled.insert(id);
        }
        2 | 3 => {
            house.stalled.remove(&id);
            house.send(id, &[0xc0, 0]);
        }
        4..8 => {
            let shape = ["#", "+/#", "$share/group/+/x", ""][random.below(4)];
            let filter = if shape.is_empty() { topic } else { shape.to_owned() };
            house.send(id, &subscribe(1, &filter, level).wire(Version::V5));
        }
        8 => {
            house.send(id, &unsubscribe(1, &[&topic, "#"]).wire(Version::V5));
        }
        _ => {
            let payload = vec![2; random.size()];
            let mut packet = publish(&topic, &payload).qos(level, 1 + random.below(200) as u16);
            if random.below(4) == 0 {
                packet = packet.retain();
            }
            house.send(id, &packet.wire(Version::V5));
        }
    }
    let id = clients[n].unwrap_or(id);
    if let Some(got) = house.got.get_mut(&id) {
        got.retain(|got| *got == Got::Closed);
    }
}

/// A small generator (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    /// Mostly small, seldom large.
    fn size(&mut self) -> usize {
        let most = [50, 500, 5_000, 50_000, 400_000][(self.below(16) + 1).ilog2() as usize];
        self.below(most)
    }
}
