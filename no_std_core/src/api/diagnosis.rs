//! What a call has cost, and whether somebody has found what costs much.

use super::broker::Broker;
use crate::engine::siblings::Siblings;

impl Broker<'_> {
    /// How much was done so far, in small steps: levels of the tree that were visited, messages put into queues, and the like. Who
    /// looks at it before and after a call knows what that cost, in no unit of time but on a scale that is the same for all.
    pub fn work(&self) -> u64 {
        self.engine.work.done()
    }

    /// The most entries of any table that a look-up may have to pass. A few are usual; many would mean that somebody has found what
    /// collides. It looks at all that there is, so it is for tests and for diagnosis.
    pub fn longest_chain(&self) -> usize {
        let others = [
            self.engine.session_index.longest_chain(&self.engine.sessions),
            self.engine.receipts.longest_chain(),
            self.engine.aliases.longest_chain(),
            self.engine.longest_chain_elsewhere(),
        ];
        others.into_iter().fold(self.engine.router.longest_chain(), usize::max)
    }
}
