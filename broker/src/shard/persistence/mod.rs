//! A shard's side of the store: records that must survive a restart go there in batches, and the core hears when a batch is safe.
//!
//! One batch is under way at a time. Meanwhile the core gathers records for the next batch. The records of a message that has come and gone
//! meanwhile cancel out.
//!
//! If the body of a message is only on disk, the store returns it when the message is to be transmitted.

mod commit_delay;
mod damage;
mod open_store;
mod redistribute;
mod restore;

pub(crate) use damage::{describe_damage, kind_name};
pub(crate) use open_store::{OpenStore, StoreStartError};
pub(crate) use restore::restore;

use self::commit_delay::{CommitDelay, ENOUGH};
use goldcrest_core::{Broker, CommitUrgency, Fetch, Instant, MemoryCeiling, Polled};
use goldcrest_store::{Answer, Batch, Handle, Key};
use std::collections::VecDeque;

/// A shard's view of the store, and its batches and requests that are under way.
pub(crate) struct Persistence {
    shard: u16,
    store: Handle,
    /// The batch that is being made safe.
    under_way: Option<goldcrest_core::Batch>,
    /// When that batch was handed in.
    handed_in: std::time::Instant,
    commit_delay: CommitDelay,
    /// When to look again whether the gathered records are to be handed in.
    due: Instant,
    /// An empty batch, which is kept for its memory and used next.
    spare: Batch,
    tickets: u64,
    /// The bytes of credit that the core is to have, as long as no message wants more.
    credit_share: u64,
    /// How many bytes of credit this shard has asked for and the store has not granted.
    credit_asked: i64,
    /// Bodies that this shard has asked for, in the order in which the store will send them.
    asked: VecDeque<Fetch>,
}

impl Persistence {
    /// `credit_share` is this shard's share, in bytes, of the credit that the store can grant. The core may promise nothing until the store
    /// has granted some.
    pub(crate) fn new(shard: u16, store: Handle, credit_share: u64, broker: &mut Broker<'static>) -> Self {
        let (under_way, spare, asked) = (None, Batch::default(), VecDeque::new());
        broker.grant_store_credit(0);
        Self {
            shard,
            store,
            under_way,
            handed_in: std::time::Instant::now(),
            commit_delay: CommitDelay::new(),
            due: Instant::NEVER,
            spare,
            tickets: 0,
            credit_share,
            credit_asked: 0,
            asked,
        }
    }

    /// Hands the gathered records to the store, unless a batch is under way or waiting pays off ([`CommitDelay`]). Returns whether messages can be
    /// transmitted now that could not before.
    pub(crate) fn record(&mut self, broker: &mut Broker<'static>, now: Instant) -> bool {
        self.due = Instant::NEVER;
        let mut is_settled = false;
        if self.under_way.is_none() && broker.has_records() {
            // If there are many records, some of them will certainly not cancel out.
            let urgency =
                if broker.bytes_to_record() < ENOUGH { broker.poll_commit_urgency() } else { CommitUrgency::Lasting };
            is_settled = urgency == CommitUrgency::Settled;
            let wait = self.commit_delay.wait(std::time::Instant::now(), urgency);
            if !broker.has_records() {
                self.commit_delay.end();
            } else if let Some(wait) = wait {
                self.due = now.plus_millis(1 + wait.as_millis() as u64);
            } else {
                self.hand_in(broker);
            }
        }
        self.ask_for_credit(broker);
        is_settled
    }

    /// When [`Persistence::record`] is to be called, if nothing happens before.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// Asks the store for more credit if half of the share is used up, or a message waits for credit.
    fn ask_for_credit(&mut self, broker: &Broker<'static>) {
        let credit = broker.store_credit();
        let aim = i64::try_from(self.credit_share.max(credit.wanted())).unwrap_or(i64::MAX);
        let half = i64::try_from(self.credit_share / 2).unwrap_or(i64::MAX);
        let lacking = aim.saturating_sub(credit.balance());
        if lacking > self.credit_asked && (lacking > half || credit.wanted() > 0) {
            self.credit_asked = lacking;
            self.store.want_credit(self.shard, lacking.unsigned_abs());
        }
    }

    /// Returns credit that goes far beyond this shard's share: other shards pass on credit for all that their messages might need, and then
    /// ask for more. Credit is returned only after all messages that waited for credit had their turn, and never if it is promised.
    pub(crate) fn return_credit(&mut self, broker: &mut Broker<'static>) {
        if self.credit_asked == 0 {
            let spare = broker.return_store_credit(self.credit_share);
            if spare > 0 {
                self.store.return_credit(spare);
            }
        }
    }

    /// Hands in all remaining records when the shard ends.
    pub(crate) fn record_last(&mut self, broker: &mut Broker<'static>) {
        if broker.has_records() {
            self.hand_in(broker);
        }
    }

    fn hand_in(&mut self, broker: &mut Broker<'static>) {
        let mut batch = std::mem::take(&mut self.spare);
        // The length of the buffer in bytes. Most records fit; for a record that does not fit, the core says how many bytes it needs.
        let mut room = 1024;
        loop {
            match broker.poll_record(batch.room(room)) {
                Polled::Record { key, delete, len } => {
                    let key = key_in_store(self.shard, key);
                    if delete { batch.delete(key) } else { batch.put(key, len) }
                }
                Polled::TooSmall(needed) => room = needed,
                Polled::Nothing => break,
            }
        }
        self.under_way = Some(broker.end_batch());
        self.handed_in = std::time::Instant::now();
        self.tickets += 1;
        broker.spend_store_credit(batch.bytes_in_log() as u64);
        self.store.commit(self.shard, self.tickets, batch);
    }

    /// Asks the store for the bodies of messages that are to be transmitted soon.
    pub(crate) fn fetch(&mut self, broker: &mut Broker<'static>) {
        let known = self.asked.len();
        self.asked.extend(std::iter::from_fn(|| broker.poll_fetch()));
        if self.asked.len() > known {
            let key = |fetch: &Fetch| key_in_store(self.shard, fetch.key());
            self.store.fetch(self.shard, self.asked.range(known..).map(key).collect());
        }
    }

    /// Handles an answer of the store.
    pub(crate) fn receive(&mut self, broker: &mut Broker<'static>, answer: Answer) {
        match answer {
            Answer::Persisted { ticket, batch } => {
                self.spare = batch;
                if ticket == self.tickets
                    && let Some(batch) = self.under_way.take()
                {
                    self.commit_delay.note(self.handed_in.elapsed());
                    broker.handle_persisted(batch);
                }
            }
            Answer::Full(is_full) => {
                self.credit_asked = 0;
                broker.set_store_full(is_full);
            }
            Answer::HalfFull(half_full) => broker.set_store_half_full(half_full),
            Answer::Credit(bytes) => {
                self.credit_asked = self.credit_asked.saturating_sub_unsigned(bytes).max(0);
                broker.grant_store_credit(bytes);
            }
            Answer::Fetched(results) => {
                let count = results.len().min(self.asked.len());
                for (fetch, result) in self.asked.drain(..count).zip(results) {
                    match result {
                        Ok(Some(sealed)) => broker.handle_fetched(fetch, &sealed),
                        Ok(None) => broker.handle_fetch_failed(fetch),
                        Err(error) => {
                            tracing::error!(%error, "a message could not be read from the store, and is lost");
                            broker.handle_fetch_failed(fetch);
                        }
                    }
                }
            }
            // A store that failed ends the gateway.
            Answer::Failed => {}
        }
    }
}

/// Credit takes one part in so many of the ceiling.
pub(crate) const CREDIT_PARTS: usize = 32;

/// The most bytes of credit that a shard has at once, unless one message wants more. A batch is a copy of what the credit was spent for, and stands in
/// memory beside the messages.
pub(crate) fn credit_below(ceiling: &MemoryCeiling, shards: u16) -> u64 {
    const LEAST: usize = 64 << 10;
    (ceiling.bytes() / CREDIT_PARTS / usize::from(shards.max(1))).max(LEAST) as u64
}

pub(crate) fn key_in_store(shard: u16, key: goldcrest_core::record::Key) -> Key {
    Key { shard, kind: key.kind as u8, slot: key.slot }
}

/// The share of one shard in the memory for bodies of messages, in bytes. 0 means that there is no bound.
pub(crate) fn body_budget(bytes: u64, shards: u16) -> usize {
    usize::try_from(bytes.div_ceil(shards.into())).unwrap_or(usize::MAX)
}
