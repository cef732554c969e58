//! Between sibling brokers of one gateway.

use alloc::collections::VecDeque;

use super::broker::Broker;
use crate::time::Instant;

impl Broker<'_> {
    /// What a sibling broker is to be handed, and the sibling's index. Hand all of them over, in order, before writing to
    /// clients.
    pub fn poll_forward(&mut self) -> Option<(u16, crate::Forward)> {
        self.engine.shards.poll()
    }

    /// All that one sibling broker is to be handed, and the sibling's index: the same as [`Broker::poll_forward`] until that names another one,
    /// and sooner done. It is put behind what stands in `forwards`; if nothing does, no [`Forward`](crate::Forward) is moved.
    pub fn poll_forwards(&mut self, forwards: &mut VecDeque<crate::Forward>) -> Option<u16> {
        self.engine.shards.poll_all(forwards)
    }

    /// A sibling broker handed something over.
    pub fn handle_forward(&mut self, now: Instant, from: u16, forward: crate::Forward) {
        self.engine.see(now);
        self.engine.on_forward(now, from, forward);
    }

    /// The same for all in the list, from one sibling, and sooner done than one by one. The list keeps its memory. What is left in it is to be
    /// handed in later, before what that sibling sends next, and after connections had their turn: what was taken has cost as much as
    /// [`Config::work_share`](crate::Config::work_share).
    pub fn handle_forwards(&mut self, now: Instant, from: u16, forwards: &mut VecDeque<crate::Forward>) {
        self.engine.see(now);
        self.engine.on_forwards(now, from, forwards);
    }
}
