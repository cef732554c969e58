//! The second beat of a shard: what must survive a restart goes to the store, and what waits for it hears when it is safe.
//!
//! One batch is under way at a time. Meanwhile the core gathers the next one, in which what has come and gone cancels out.
//!
//! From there also come bodies that are not in memory, when they are to be transmitted.

mod commit_delay;
mod damage;
mod open_store;
mod redistribute;
mod restore;

pub(crate) use damage::{describe_damage, kind_name};
pub(crate) use open_store::{OpenStore, StoreStartError};
pub(crate) use restore::restore;

use self::commit_delay::{CommitDelay, ENOUGH};
use goldcrest_core::{Broker, Fetch, Instant, Outlook, Polled};
use goldcrest_store::{Answer, Batch, Handle, Key};
use std::collections::VecDeque;

/// What a shard has of the store.
pub(crate) struct Persistence {
    shard: u16,
    store: Handle,
    /// The batch that is being made safe.
    under_way: Option<goldcrest_core::Batch>,
    /// When it was handed in.
    handed_in: std::time::Instant,
    commit_delay: CommitDelay,
    /// When to look again whether what is gathered is to be handed in.
    due: Instant,
    /// Empty; kept for its memory.
    spare: Batch,
    tickets: u64,
    /// How many bytes the store has granted, less those of all batches since, with what siblings passed on to here and without
    /// what was passed on to them. Below 0 where what can't be refused took more.
    room: i64,
    /// How much of that there is to be, as long as nobody wants more.
    room_share: i64,
    /// How much the store was asked for and has not granted.
    room_asked: i64,
    /// Bodies that were asked for and have not come.
    asked: VecDeque<Fetch>,
}

impl Persistence {
    /// The shard's share of the store's room is so many bytes. Until the store has granted it nothing may be promised.
    pub(crate) fn new(shard: u16, store: Handle, room_share: u64, broker: &mut Broker<'static>) -> Self {
        let (under_way, spare, asked) = (None, Batch::default(), VecDeque::new());
        let room_share = i64::try_from(room_share).unwrap_or(i64::MAX);
        broker.set_store_room(0);
        Self {
            shard,
            store,
            under_way,
            handed_in: std::time::Instant::now(),
            commit_delay: CommitDelay::new(),
            due: Instant::NEVER,
            spare,
            tickets: 0,
            room: 0,
            room_share,
            room_asked: 0,
            asked,
        }
    }

    /// Hands what is to be recorded to the store, unless a batch is under way, or it is worth to wait: then it is gathered
    /// further. Whether that made something transmittable.
    pub(crate) fn record(&mut self, broker: &mut Broker<'static>, now: Instant) -> bool {
        self.due = Instant::NEVER;
        let mut is_settled = false;
        if self.under_way.is_none() && broker.has_records() {
            // With many records some are sure to stay.
            let outlook = if broker.bytes_to_record() < ENOUGH { broker.record_outlook(now) } else { Outlook::Lasting };
            is_settled = outlook == Outlook::Settled;
            let wait = self.commit_delay.wait(std::time::Instant::now(), outlook);
            if !broker.has_records() {
                self.commit_delay.end();
            } else if let Some(wait) = wait {
                self.due = now.plus_millis(1 + wait.as_millis() as u64);
            } else {
                self.hand_in(broker);
            }
        }
        self.want_room(broker);
        is_settled
    }

    /// When [`Persistence::record`] is to be called, whatever happens.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// Counts what siblings passed on. Asks for more room when half of it is gone, or a message waits for it.
    fn want_room(&mut self, broker: &mut Broker<'static>) {
        // Told of more room, those that wait try again first.
        let waited_for = i64::try_from(broker.store_room_wanted()).unwrap_or(i64::MAX);
        let passed = broker.take_passed_room();
        if passed != 0 {
            self.room += passed;
            self.tell_room(broker);
        }
        let lacking = self.room_share.max(waited_for).saturating_sub(self.room);
        if lacking > self.room_asked && (lacking > self.room_share / 2 || waited_for > 0) {
            self.room_asked = lacking;
            self.store.want_room(self.shard, lacking.unsigned_abs());
        }
    }

    /// Gives back what is far more than this shard's share: siblings pass on room for as much as their messages might take, and ask
    /// for more. Not before all that waited for room had their turn, and nothing of what is promised.
    pub(crate) fn give_back_room(&mut self, broker: &mut Broker<'static>) {
        let promised = i64::try_from(broker.bytes_to_record()).unwrap_or(i64::MAX);
        let spare = self.room.saturating_sub(promised).saturating_sub(self.room_share);
        if spare > self.room_share && broker.store_room_wanted() == 0 && self.room_asked == 0 {
            self.store.give_back_room(spare.unsigned_abs());
            self.room -= spare;
            self.tell_room(broker);
        }
    }

    fn tell_room(&self, broker: &mut Broker<'static>) {
        broker.set_store_room(self.room.max(0).unsigned_abs());
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
                    let key = key_in_store(self.shard, key);
                    if delete { batch.delete(key) } else { batch.put(key, len) }
                }
                Polled::TooSmall(needed) => room = needed,
                Polled::Nothing => break,
            }
        }
        self.under_way = Some(broker.seal());
        self.handed_in = std::time::Instant::now();
        self.tickets += 1;
        self.room -= batch.bytes_in_log() as i64;
        self.tell_room(broker);
        self.store.commit(self.shard, self.tickets, batch);
    }

    /// Asks for the bodies that are to be transmitted soon.
    pub(crate) fn fetch(&mut self, broker: &mut Broker<'static>) {
        let known = self.asked.len();
        self.asked.extend(std::iter::from_fn(|| broker.poll_fetch()));
        if self.asked.len() > known {
            let key = |fetch: &Fetch| key_in_store(self.shard, fetch.key());
            self.store.fetch(self.shard, self.asked.range(known..).map(key).collect());
        }
    }

    /// The store has answered.
    pub(crate) fn receive(&mut self, broker: &mut Broker<'static>, now: Instant, answer: Answer) {
        match answer {
            Answer::Persisted { ticket, batch } => {
                self.spare = batch;
                if ticket == self.tickets
                    && let Some(batch) = self.under_way.take()
                {
                    self.commit_delay.note(self.handed_in.elapsed());
                    broker.persisted(now, batch);
                }
            }
            Answer::Full(is_full) => {
                self.room_asked = 0;
                broker.set_store_full(is_full);
            }
            Answer::HalfFull(half_full) => broker.set_store_half_full(half_full),
            Answer::Room(bytes) => {
                self.room += bytes as i64;
                self.room_asked = (self.room_asked - bytes as i64).max(0);
                self.tell_room(broker);
            }
            Answer::Fetched(results) => {
                let count = results.len().min(self.asked.len());
                for (fetch, result) in self.asked.drain(..count).zip(results) {
                    match result {
                        Ok(Some(sealed)) => broker.fetched(now, fetch, &sealed),
                        Ok(None) => broker.fetch_failed(now, fetch),
                        Err(error) => {
                            tracing::error!(%error, "a message could not be read from the store, and is lost");
                            broker.fetch_failed(now, fetch);
                        }
                    }
                }
            }
            // That ends the gateway.
            Answer::Failed => {}
        }
    }
}

pub(crate) fn key_in_store(shard: u16, key: goldcrest_core::record::Key) -> Key {
    Key { shard, kind: key.kind as u8, slot: key.slot }
}

/// The share of a shard. 0 means that there is no bound.
pub(crate) fn body_budget(bytes: u64, shards: u16) -> usize {
    usize::try_from(bytes.div_ceil(shards.into())).unwrap_or(usize::MAX)
}
