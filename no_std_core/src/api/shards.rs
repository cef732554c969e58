//! Between sibling brokers of one gateway.

use super::broker::Broker;
use crate::time::Instant;

impl Broker<'_> {
    /// What a sibling broker is to be handed, and the sibling's index. Hand all of them over, in order, before writing to
    /// clients.
    pub fn poll_forward(&mut self) -> Option<(u16, crate::Forward)> {
        self.engine.shards.poll()
    }

    /// A sibling broker handed something over.
    pub fn handle_forward(&mut self, now: Instant, from: u16, forward: crate::Forward) {
        self.engine.see(now);
        self.engine.on_forward(now, from, forward);
    }

    /// The same for those in the list, each with the number of the sibling, and sooner done than one by one. The list keeps its
    /// memory. What is left in it is to be handed in later, after connections had their turn: what was taken has cost as much as
    /// [`Config::work_share`](crate::Config::work_share).
    pub fn handle_forwards(&mut self, now: Instant, forwards: &mut alloc::vec::Vec<(u16, crate::Forward)>) {
        self.engine.see(now);
        self.engine.on_forwards(now, forwards);
    }
}
