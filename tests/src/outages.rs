//! A gateway that loses power again and again, under clients that never give up.

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
    /// Decides all that is random.
    pub random: Random,
    /// The publishers: number 0 publishes to `p/0`, number 1 to `p/1`, and so on.
    pub publishers: Vec<Untiring>,
    /// The subscribers, some of which disconnect and connect again.
    pub subscribers: Vec<Attentive>,
    /// How often the power was lost.
    pub crashes: u32,
}

impl Outages {
    /// A gateway with clients that are not connected yet. A publisher publishes retained messages if `retains` says so
    /// for its number.
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

    /// A publisher publishes a message with QoS 1 or 2.
    pub fn publish(&mut self, publisher: usize) {
        let qos = self.random.choose(&[QoS::AtLeastOnce, QoS::ExactlyOnce]);
        self.publishers[publisher].publish(&mut self.world, qos);
    }

    /// A subscriber connects with any Receive Maximum.
    pub fn connect_subscriber(&mut self, subscriber: usize) {
        let window = self.random.choose(&[None, Some(2), Some(5)]);
        self.subscribers[subscriber].connect(&mut self.world, window);
    }

    /// A subscriber acknowledges some of the messages that it received.
    pub fn acknowledge(&mut self, subscriber: usize) {
        let count = self.random.choose(&[1, 2, 20]);
        self.subscribers[subscriber].acknowledge(&mut self.world, count);
    }

    /// From now on, messages from one shard to another are delayed.
    pub fn slow_down(&mut self) {
        if self.random.below(2) == 0 {
            self.world.set_patient(true);
        }
        let shards = self.world.shards();
        let (from, to) = (self.random.below(shards), self.random.below(shards));
        self.world.slow_down(from, to, true);
    }

    /// Ends all delays.
    pub fn speed_up(&mut self) {
        self.world.set_patient(false);
        for from in 0..self.world.shards() {
            (0..self.world.shards()).for_each(|to| self.world.slow_down(from, to, false));
        }
    }

    /// The power is lost and returns. Packets on their way to clients are lost, unless the clients [read](Self::read)
    /// them before.
    pub fn crash(&mut self) {
        self.crashes += 1;
        self.world.crash();
        self.publishers.iter_mut().for_each(|publisher| publisher.cut(&mut self.world));
        self.subscribers.iter_mut().for_each(|subscriber| subscriber.cut(&mut self.world));
    }

    /// All clients receive what has arrived. Returns what the subscribers received, each with the number of the
    /// subscriber.
    pub fn read(&mut self) -> Vec<(usize, Heard)> {
        self.publishers.iter_mut().for_each(|publisher| publisher.take(&mut self.world));
        let mut all = Vec::new();
        for (index, subscriber) in self.subscribers.iter_mut().enumerate() {
            all.extend(subscriber.take(&mut self.world).into_iter().map(|heard| (index, heard)));
        }
        all
    }

    /// All clients that are not connected connect.
    pub fn connect_all(&mut self) {
        self.publishers.iter_mut().for_each(|publisher| publisher.connect(&mut self.world));
        (0..self.subscribers.len()).for_each(|subscriber| self.connect_subscriber(subscriber));
    }

    /// Lets each store, and each subscriber, do a part of its pending work. Returns whether there was any.
    pub fn go_on(&mut self) -> bool {
        let synced = self.world.sync() | self.world.fetch_one();
        let due = self.subscribers.iter().any(Attentive::owes);
        (0..self.subscribers.len()).for_each(|subscriber| self.acknowledge(subscriber));
        synced || due
    }

    /// The number of messages that were acknowledged to publishers.
    pub fn acknowledged(&self) -> u64 {
        self.publishers.iter().map(|publisher| publisher.acknowledged.len() as u64).sum()
    }
}

/// The publisher of a message, and the number in its payload.
///
/// # Panics
/// If the topic is not that of a publisher.
pub fn origin(topic: &str, payload: &[u8]) -> (usize, u32) {
    let publisher = topic.strip_prefix("p/").and_then(|number| number.parse().ok());
    let number = payload.first_chunk().copied().map(u32::from_be_bytes);
    (publisher.expect("the topic of a publisher"), number.expect("a number"))
}

/// Runs the test. If it fails, prints what `about` returns.
pub fn telling<T>(test: &mut T, run: impl FnOnce(&mut T), about: impl FnOnce(&T) -> String) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(test))) {
        println!("{}", about(test));
        resume_unwind(panic);
    }
}
