use std::vec::Vec;

use crate::codec::QoS;
use crate::topic::TopicName;
use crate::{AllowAll, Broker, Capacity, Config, ConnectionId, Instant, Limits, LocalPublish, Memory, Shard};

const NOW: Instant = Instant::from_millis(1);
const MANY: usize = 100;

struct Pair(Vec<Broker<'static>>);

impl Pair {
    fn new() -> Self {
        let make = |index| {
            let shard = Shard { index, count: 2 };
            let memory = Memory::owned(&Capacity::GATEWAY, &Limits::GATEWAY, shard);
            Broker::new(memory, Config { shard, ..Config::gateway(1) }, &AllowAll)
        };
        let mut pair = Self((0..2).map(make).collect());
        let owned = |text: &std::string::String| Shard::owner_of_topic(text.as_bytes(), 2) == 1;
        for text in (0..).map(|number| std::format!("t/{number}")).filter(owned).take(MANY) {
            let topic = TopicName::new(&text).unwrap();
            let (payload, qos) = (&b"x"[..], QoS::AtMostOnce);
            let message = LocalPublish { topic, payload, qos, retain: true, expiry_secs: None };
            pair.0[0].publish(NOW, message).unwrap();
        }
        pair.pass_on();
        assert_eq!(pair.0[1].counters().retained as usize, MANY);
        pair
    }

    fn pass_on(&mut self) {
        let mut is_quiet = false;
        while !is_quiet {
            is_quiet = true;
            for from in 0..2 {
                while let Some((to, forward)) = self.0[from].poll_forward() {
                    self.0[usize::from(to)].handle_forward(NOW, from as u16, forward).unwrap();
                    is_quiet = false;
                }
            }
        }
    }

    /// A client of the first shard sends a packet.
    fn send(&mut self, id: ConnectionId, packet: &[u8]) {
        for _ in 0..3 {
            if self.0[0].handle_bytes(NOW, id, packet).consumed == packet.len() {
                return self.pass_on();
            }
            self.pass_on();
        }
        panic!("the packet is not taken");
    }

    /// A client of the first shard that has subscribed to all topics, and reads nothing.
    fn reader(&mut self) -> ConnectionId {
        let id = self.0[0].handle_connected(NOW).unwrap();
        let mut names = (10_000_000..).map(|number: u32| std::format!("{number}"));
        let name = names.find(|name| Shard::home_of(name.as_bytes(), 2) == 0).unwrap();
        self.send(id, &[b"\x10\x14\0\x04MQTT\x04\x02\0\0\0\x08", name.as_bytes()].concat());
        self.send(id, b"\x82\x06\0\x01\0\x01#\0");
        id
    }

    /// How many replays there are, and how many questions are open on the reader's side and on the owner's.
    fn open(&self) -> (usize, usize, usize) {
        let (here, there) = (&self.0[0].engine, &self.0[1].engine);
        let replays = here.replays.len() + there.replays.len();
        (replays, here.shards.readings.by_question.len(), there.shards.served.len())
    }

    fn transmit(&mut self, id: ConnectionId) -> usize {
        let mut out = std::vec![0; 1 << 16];
        let written = self.0[0].poll_transmit(NOW, id, &mut out).written;
        self.pass_on();
        written
    }
}

#[test]
fn a_replay_that_ends_early_is_over_on_all_shards() {
    for ends in 0..4 {
        let mut pair = Pair::new();
        let id = pair.reader();
        assert_eq!(pair.open(), (2, 1, 1), "one message has come, and the owner has more");
        match ends {
            0 => pair.send(id, b"\xa2\x05\0\x02\0\x01#"),
            1 => pair.0[0].handle_closed(NOW, id),
            2 => while pair.transmit(id) > 0 {},
            // The question is on its way when the client goes.
            _ => {
                pair.transmit(id);
                let engine = &mut pair.0[0].engine;
                assert!(engine.shards.links.has_siblings());
                pair.0[0].handle_closed(NOW, id);
            }
        }
        pair.pass_on();
        assert_eq!(pair.open(), (0, 0, 0), "{ends}");
    }
}

#[test]
fn a_replay_is_given_up_with_a_count_when_the_owner_has_no_memory_for_it() {
    let mut pair = Pair::new();
    let engine = &mut pair.0[1].engine;
    engine.replays = crate::mem::Pool::new(crate::mem::Slots::owned(0));
    let id = pair.reader();
    while pair.transmit(id) > 0 {}
    assert_eq!(pair.0[0].counters().dropped.by(crate::DropReason::OutOfMemory), 1);
    assert_eq!(pair.open(), (0, 0, 0));
}
