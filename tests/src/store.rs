//! A store in memory: it decides which records survive when a broker is dropped in the middle of its work.
//!
//! The store knows only keys and bytes, and forgives nothing: a batch that is not synced when the power is lost is lost
//! whole, and a record that makes no sense fails the test.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use goldcrest_core::record::{self, Key, Record, Value};
use goldcrest_core::{Batch, Broker, Fetch, Instant, Polled, Restored};

/// The records of one broker.
#[derive(Default)]
pub struct Store {
    /// Records that are safe, by [`Key::to_bits`].
    safe: BTreeMap<u64, Vec<u8>>,
    /// Batches that the broker handed over and that are not safe yet.
    waiting: VecDeque<(Batch, Changes)>,
    /// Requests for bodies that are not answered yet.
    fetches: VecDeque<Fetch>,
    /// The number of requests that were answered.
    pub fetched: u64,
    /// All requests for bodies fail from now on.
    pub is_unreadable: bool,
    buffer: Vec<u8>,
    /// The number of batches and of records handed over so far.
    pub taken: (u64, u64),
}

type Changes = Vec<(Key, Option<Vec<u8>>)>;

impl Store {
    /// Adds safe records from before the test. Of two records with one key the later one counts.
    pub fn believe(&mut self, records: impl IntoIterator<Item = (Key, Vec<u8>)>) {
        self.safe.extend(records.into_iter().map(|(key, sealed)| (key.to_bits(), sealed)));
    }

    /// Polls the broker's records as one batch. Returns whether there were any.
    ///
    /// # Panics
    /// If the broker deletes a record that is not there, records one key twice, or makes a record that can't be opened.
    pub fn take(&mut self, broker: &mut Broker<'_>) -> bool {
        if !broker.has_records() {
            return false;
        }
        let mut changes = Vec::new();
        let mut seen = BTreeSet::new();
        while let Some((key, record)) = poll(broker, &mut self.buffer) {
            assert!(seen.insert(key), "{key:?} comes twice in one batch");
            let stands = self.stands(key);
            assert!(record.is_some() || stands, "{key:?} is deleted, and the store never had it");
            changes.push((key, record));
        }
        let batch = broker.end_batch();
        self.taken.0 += 1;
        self.taken.1 += changes.len() as u64;
        self.waiting.push_back((batch, changes));
        true
    }

    /// Whether the key has a record once all batches are safe.
    fn stands(&self, key: Key) -> bool {
        let last = self.waiting.iter().rev().flat_map(|(_, changes)| changes).find(|(other, _)| *other == key);
        last.map_or_else(|| self.safe.contains_key(&key.to_bits()), |(_, record)| record.is_some())
    }

    /// Makes the oldest batch safe. Returns whether there was one.
    pub fn sync(&mut self, broker: &mut Broker<'_>) -> bool {
        let Some((batch, changes)) = self.waiting.pop_front() else { return false };
        for (key, record) in changes {
            match record {
                Some(record) => self.safe.insert(key.to_bits(), record),
                None => self.safe.remove(&key.to_bits()),
            };
        }
        broker.handle_persisted(batch);
        true
    }

    /// Polls the broker's requests for bodies. Returns whether there were any.
    pub fn take_fetches(&mut self, broker: &mut Broker<'_>) -> bool {
        let before = self.fetches.len();
        self.fetches.extend(std::iter::from_fn(|| broker.poll_fetch()));
        self.fetches.len() > before
    }

    /// Answers the oldest request for a body. Returns whether there was one.
    pub fn fetch(&mut self, broker: &mut Broker<'_>) -> bool {
        let Some(fetch) = self.fetches.pop_front() else { return false };
        match self.safe.get(&fetch.key().to_bits()).filter(|_| !self.is_unreadable) {
            Some(sealed) => broker.handle_fetched(fetch, sealed),
            None => broker.handle_fetch_failed(fetch),
        }
        self.fetched += 1;
        true
    }

    /// Loses all that is not safe. Returns the size of the lost batches, as [`Store::last_bytes`] counts it.
    pub fn lose_power(&mut self) -> (usize, usize) {
        let lost = self.waiting.drain(..).map(|(_, changes)| bytes_of(&changes));
        let lost = lost.fold((0, 0), |(all, messages), (more, of_them)| (all + more, messages + of_them));
        self.fetches.clear();
        lost
    }

    /// The bytes of the newest batch: of all records, and of messages alone.
    pub fn last_bytes(&self) -> (usize, usize) {
        self.waiting.back().map_or((0, 0), |(_, changes)| bytes_of(changes))
    }

    /// Restores all safe records to a new broker.
    ///
    /// # Panics
    /// If the broker leaves a record out.
    pub fn restore(&mut self, now: Instant, broker: &mut Broker<'_>) -> Restored {
        let keys = self.safe.keys().filter_map(|bits| Key::from_bits(*bits));
        let retained = keys.filter(|key| key.kind == record::Kind::Retained).map(|key| key.slot);
        broker.expect_retained(retained);
        for sealed in self.safe.values() {
            let record = record::open(sealed).expect("a store in memory damages nothing");
            broker.restore(record).unwrap_or_else(|error| panic!("{error}: {record:?}"));
        }
        while self.take_fetches(broker) {
            while self.fetch(broker) {}
        }
        let restored = broker.finish_restore(now);
        assert_eq!(restored.dropped, 0);
        restored
    }

    /// Compares the safe records with the whole state of the broker, which may have no record left to hand over. Records that
    /// the broker is allowed to delay may differ.
    ///
    /// # Panics
    /// If the two differ.
    pub fn check(&mut self, broker: &mut Broker<'_>) {
        assert!(self.waiting.is_empty() && !broker.has_records());
        broker.record_all();
        let mut all = BTreeMap::new();
        while let Some((key, record)) = poll(broker, &mut self.buffer) {
            all.insert(key.to_bits(), record.unwrap_or_else(|| panic!("{key:?} should have been deleted before")));
        }
        let comes_later = |bits: &u64| {
            let kind = Key::from_bits(*bits).map(|key| key.kind);
            matches!(kind, Some(record::Kind::Counters | record::Kind::Sibling))
        };
        // The broker can't record an evicted body again, because only the store has it.
        let messages = |bits: &u64| *bits >> 32 == record::Kind::Message as u64;
        let here: Vec<u64> =
            self.safe.keys().copied().filter(|bits| messages(bits) && !all.contains_key(bits)).collect();
        assert_eq!(here.len(), broker.counters().bodies_on_disk as usize);
        all.extend(here.into_iter().map(|bits| (bits, self.safe[&bits].clone())));
        for (bits, sealed) in self.safe.iter().filter(|(bits, _)| !comes_later(bits)) {
            let Some(now) = all.get(bits) else { panic!("there is no {:?} any more", record::open(sealed)) };
            assert_eq!(without_lazy(sealed), without_lazy(now), "what is stored, and what is");
        }
        let more = all.iter().find(|(bits, _)| !comes_later(bits) && !self.safe.contains_key(bits));
        assert!(more.is_none(), "it was never recorded: {:?}", more.map(|(_, sealed)| record::open(sealed)));
        self.safe = all;
        let batch = broker.end_batch();
        broker.handle_persisted(batch);
    }

    /// All safe records.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.safe.values().map(|sealed| record::open(sealed).expect("it was sealed"))
    }
}

fn bytes_of(changes: &Changes) -> (usize, usize) {
    let of = |wanted: fn(&Key) -> bool| {
        let chosen = changes.iter().filter(|(key, _)| wanted(key));
        chosen.map(|(_, record)| record.as_ref().map_or(0, Vec::len)).sum()
    };
    (of(|_| true), of(|key| key.kind == record::Kind::Message))
}

/// Polls the next record, with a longer buffer if the record does not fit.
fn poll(broker: &mut Broker<'_>, buffer: &mut Vec<u8>) -> Option<(Key, Option<Vec<u8>>)> {
    buffer.resize(24, 0);
    loop {
        match broker.poll_record(buffer) {
            Polled::Nothing => return None,
            Polled::TooSmall(enough) => {
                assert!(enough > buffer.len());
                buffer.resize(enough, 0);
            }
            Polled::Record { key, delete, len } => {
                let sealed = buffer[..len].to_vec();
                assert_eq!(record::key(&sealed), Some((key, delete)));
                assert_eq!(record::open(&sealed).map(|record| record.key()), Ok(key));
                return Some((key, (!delete).then_some(sealed)));
            }
        }
    }
}

/// The record without the fields that the broker may record later than the rest.
fn without_lazy(sealed: &[u8]) -> Record<'_> {
    let mut record = record::open(sealed).expect("it was sealed");
    match &mut record {
        Record::Put(_, Value::Session(session)) => session.dropped = Default::default(),
        Record::Put(_, Value::Subscription(subscription)) => subscription.replaying = false,
        _ => {}
    }
    record
}
