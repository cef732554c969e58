//! Functions between the shards of one gateway.

use alloc::collections::VecDeque;

use super::broker::Broker;
use crate::shards::SeedMismatch;
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
    ///
    /// # Errors
    ///
    /// A shard has another [`Config::seed`](crate::Config::seed) than this one. The forward is handled all the same, and this shard sends
    /// every message to the other one, so none is missing; the gateway has to be started with one seed.
    pub fn handle_forward(&mut self, now: Instant, from: u16, forward: crate::Forward) -> Result<(), SeedMismatch> {
        self.engine.see(now);
        self.engine.on_forward(now, from, forward);
        self.engine.check_seeds()
    }

    /// As [`Broker::handle_forward`] for all forwards in the list, which come from one shard, but faster. The list keeps its memory.
    /// Forwards that are left in it must be handed in later, before the next ones of that shard, and after connections had their turn: the
    /// forwards handled so far have cost as much as [`Config::work_share`](crate::Config::work_share).
    ///
    /// # Errors
    ///
    /// The same as of [`Broker::handle_forward`].
    pub fn handle_forwards(
        &mut self,
        now: Instant,
        from: u16,
        forwards: &mut VecDeque<crate::Forward>,
    ) -> Result<(), SeedMismatch> {
        self.engine.see(now);
        self.engine.on_forwards(now, from, forwards);
        self.engine.check_seeds()
    }
}
