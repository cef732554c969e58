//! Functions between the shards of one gateway.

use alloc::collections::VecDeque;

use super::broker::Broker;
use crate::time::Instant;

impl Broker<'_> {
    /// The next forward to another shard, and the index of that shard. Hand all forwards over, in order, before writing to clients.
    pub fn poll_forward(&mut self) -> Option<(u16, crate::Forward)> {
        self.engine.shards.poll()
    }

    /// All forwards to one other shard, and the index of that shard: the same as [`Broker::poll_forward`] until that names another shard,
    /// but faster. They are put behind the forwards in the list; if it has none, no [`Forward`](crate::Forward) is moved.
    pub fn poll_forwards(&mut self, forwards: &mut VecDeque<crate::Forward>) -> Option<u16> {
        self.engine.shards.poll_all(forwards)
    }

    /// Another shard has sent a forward.
    pub fn handle_forward(&mut self, now: Instant, from: u16, forward: crate::Forward) {
        self.engine.see(now);
        self.engine.on_forward(now, from, forward);
    }

    /// As [`Broker::handle_forward`] for all forwards in the list, which come from one shard, but faster. The list keeps its memory.
    /// Forwards that are left in it must be handed in later, before the next ones of that shard, and after connections had their turn: the
    /// forwards handled so far have cost as much as [`Config::work_share`](crate::Config::work_share).
    pub fn handle_forwards(&mut self, now: Instant, from: u16, forwards: &mut VecDeque<crate::Forward>) {
        self.engine.see(now);
        self.engine.on_forwards(now, from, forwards);
    }
}
