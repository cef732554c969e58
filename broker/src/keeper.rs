//! The second beat of a shard: what must survive a restart goes to the store, and what waits for it hears when it is safe.
//!
//! One batch is under way at a time. Meanwhile the core gathers the next one, in which what has come and gone cancels out.

use crate::store::{Answer, Batch, Handle, Key};
use goldcrest_core::{Broker, Instant, Polled};

/// What a shard has of the store.
pub(crate) struct Keeper {
    shard: u16,
    store: Handle,
    /// The batch that is being made safe.
    under_way: Option<goldcrest_core::Batch>,
    /// Empty; kept for its memory.
    spare: Batch,
    tickets: u64,
}

impl Keeper {
    pub(crate) fn new(shard: u16, store: Handle) -> Self {
        Self { shard, store, under_way: None, spare: Batch::default(), tickets: 0 }
    }

    /// Hands what is to be recorded to the store, unless a batch is under way: then it is gathered further.
    pub(crate) fn record(&mut self, broker: &mut Broker<'static>) {
        if self.under_way.is_none() && broker.has_records() {
            self.hand_in(broker);
        }
    }

    /// Hands in everything there is: nothing comes after it.
    pub(crate) fn record_last(&mut self, broker: &mut Broker<'static>) {
        if broker.has_records() {
            self.hand_in(broker);
        }
    }

    fn hand_in(&mut self, broker: &mut Broker<'static>) {
        let mut batch = std::mem::take(&mut self.spare);
        // Most records fit; one that does not says what it needs.
        let mut room = 1024;
        loop {
            match broker.poll_record(batch.room(room)) {
                Polled::Record { key, delete, len } => {
                    let key = Key { shard: self.shard, kind: key.kind as u8, slot: key.slot };
                    if delete { batch.delete(key) } else { batch.put(key, len) }
                }
                Polled::TooSmall(needed) => room = needed,
                Polled::Nothing => break,
            }
        }
        self.under_way = Some(broker.seal());
        self.tickets += 1;
        self.store.commit(self.shard, self.tickets, batch);
    }

    /// The store has answered.
    pub(crate) fn receive(&mut self, broker: &mut Broker<'static>, now: Instant, answer: Answer) {
        match answer {
            Answer::Persisted { ticket, batch } => {
                self.spare = batch;
                if ticket == self.tickets
                    && let Some(batch) = self.under_way.take()
                {
                    broker.persisted(now, batch);
                }
            }
            Answer::Full(is_full) => broker.set_store_full(is_full),
            // Nobody asks for bodies so far; and a store that failed ends the gateway.
            Answer::Fetched(..) | Answer::Failed => {}
        }
    }
}
