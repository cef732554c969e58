//! A gateway whose power goes again and again, under clients that never give up.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use goldcrest_core::codec::QoS;

use crate::attentive::{Attentive, Heard};
use crate::random::Random;
use crate::untiring::Untiring;
use crate::world::{Sync, World};

/// The gateway and its clients.
pub struct Outages {
    /// The gateway.
    pub world: World,
    /// Of which all that happens follows.
    pub random: Random,
    /// They publish to `p/0`, `p/1` and so on.
    pub publishers: Vec<Untiring>,
    /// Some of them go and come.
    pub subscribers: Vec<Attentive>,
    /// How often the power went.
    pub crashes: u32,
}

impl Outages {
    /// All clients are yet to connect; of the publishers those retain of whom `retains` says so.
    pub fn new(
        seed: u64,
        mut world: World,
        publishers: usize,
        retains: impl Fn(usize) -> bool,
        subscribers: Vec<Attentive>,
    ) -> Self {
        world.sync = Sync::ByHand;
        let publisher = |number| Untiring::new(format!("publisher {number}"), format!("p/{number}"), retains(number));
        let publishers = (0..publishers).map(publisher).collect();
        Self { world, random: Random::new(seed), publishers, subscribers, crashes: 0 }
    }

    /// The publisher publishes with any QoS above 0.
    pub fn publish(&mut self, publisher: usize) {
        let qos = self.random.choose(&[QoS::AtLeastOnce, QoS::ExactlyOnce]);
        self.publishers[publisher].publish(&mut self.world, qos);
    }

    /// The subscriber connects with any Receive Maximum.
    pub fn connect_subscriber(&mut self, subscriber: usize) {
        let window = self.random.choose(&[None, Some(2), Some(5)]);
        self.subscribers[subscriber].connect(&mut self.world, window);
    }

    /// The subscriber acknowledges some of what it got.
    pub fn acknowledge(&mut self, subscriber: usize) {
        let count = self.random.choose(&[1, 2, 20]);
        self.subscribers[subscriber].acknowledge(&mut self.world, count);
    }

    /// What one shard tells another comes late from now on.
    pub fn slow_down(&mut self) {
        if self.random.below(2) == 0 {
            self.world.set_patient(true);
        }
        let shards = self.world.shards();
        let (from, to) = (self.random.below(shards), self.random.below(shards));
        self.world.slow_down(from, to, true);
    }

    /// Nothing comes late any more.
    pub fn speed_up(&mut self) {
        self.world.set_patient(false);
        for from in 0..self.world.shards() {
            (0..self.world.shards()).for_each(|to| self.world.slow_down(from, to, false));
        }
    }

    /// The power goes and comes back. What has arrived before is lost to clients unless it was [read](Self::read).
    pub fn crash(&mut self) {
        self.crashes += 1;
        self.world.crash();
        self.publishers.iter_mut().for_each(|publisher| publisher.cut(&mut self.world));
        self.subscribers.iter_mut().for_each(|subscriber| subscriber.cut(&mut self.world));
    }

    /// All clients take what has arrived; by subscriber what there is to be looked at.
    pub fn read(&mut self) -> Vec<(usize, Heard)> {
        self.publishers.iter_mut().for_each(|publisher| publisher.take(&mut self.world));
        let mut all = Vec::new();
        for (index, subscriber) in self.subscribers.iter_mut().enumerate() {
            all.extend(subscriber.take(&mut self.world).into_iter().map(|heard| (index, heard)));
        }
        all
    }

    /// All who are away connect.
    pub fn connect_all(&mut self) {
        self.publishers.iter_mut().for_each(|publisher| publisher.connect(&mut self.world));
        (0..self.subscribers.len()).for_each(|subscriber| self.connect_subscriber(subscriber));
    }

    /// A bit of all that is to be done is; whether there was anything.
    pub fn go_on(&mut self) -> bool {
        let synced = self.world.sync() | self.world.fetch_one();
        let due = self.subscribers.iter().any(Attentive::owes);
        (0..self.subscribers.len()).for_each(|subscriber| self.acknowledge(subscriber));
        synced || due
    }

    /// How many messages were acknowledged to publishers.
    pub fn acknowledged(&self) -> u64 {
        self.publishers.iter().map(|publisher| publisher.acknowledged.len() as u64).sum()
    }
}

/// Of a message: its publisher and its number.
///
/// # Panics
/// If it is no publisher's.
pub fn origin(topic: &str, payload: &[u8]) -> (usize, u32) {
    let publisher = topic.strip_prefix("p/").and_then(|number| number.parse().ok());
    let number = payload.first_chunk().copied().map(u32::from_be_bytes);
    (publisher.expect("the topic of a publisher"), number.expect("a number"))
}

/// Runs it, and says what `about` tells of it if it fails.
pub fn telling<T>(test: &mut T, run: impl FnOnce(&mut T), about: impl FnOnce(&T) -> String) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(test))) {
        println!("{}", about(test));
        resume_unwind(panic);
    }
}
