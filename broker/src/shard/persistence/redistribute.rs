//! Restoring a store with another number of shards than it was made for.
//!
//! Sessions go to the home shards of their Client Identifiers, shared subscriptions to the home shards of their filters, and records
//! that belong to either go with them. Retained messages go to the owners of their topics. Cores restore the new records on trial before the store
//! adopts them: if a core has no room, the store stays as it was.

use crate::config::Config;
use goldcrest_core::record::{self, Kind, Receiver, Record, Through, Value};
use goldcrest_core::{AllowAll, Broker, Memory, RestoreError, Shard};
use goldcrest_store::{Batch, Failure, Key, LogStore, Store as _};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

/// Why the number of shards stays as it is.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Messages are under way between shards; they arrive while the gateway runs.
    UnderWay,
    /// The caller gave the start up.
    GivenUp,
    /// A record cannot be read.
    Unreadable,
    /// The memory of so many shards would not suffice for all records.
    NoMemory,
    Store(Failure),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnderWay => {
                write!(f, "messages are on their way between shards; another start after this one changes it")
            }
            Self::GivenUp => write!(f, "the start was given up"),
            Self::Unreadable => write!(f, "a record of it cannot be read"),
            Self::NoMemory => write!(f, "they would have no room for all that is in it"),
            Self::Store(failure) => failure.fmt(f),
        }
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::Store(failure)
    }
}

impl From<io::Error> for Refused {
    fn from(_: io::Error) -> Self {
        Self::Unreadable
    }
}

/// Turns the store of `old` shards into a store of `new` shards, as a whole or not at all. If `gives_up` becomes true meanwhile, the
/// store stays as it is.
pub(crate) fn redistribute(
    log: &mut LogStore,
    (old, new): (u16, u16),
    config: &Config,
    gives_up: &AtomicBool,
) -> Result<(), Refused> {
    let plan = Plan::make(log, old, new, gives_up)?;
    log.change_layout(new, |log| {
        plan.write(log, gives_up)?;
        (0..new).try_for_each(|shard| check(log, Shard { index: shard, count: new }, config, gives_up))
    })
}

fn unless_given_up(gives_up: &AtomicBool) -> Result<(), Refused> {
    if gives_up.load(Ordering::Relaxed) { Err(Refused::GivenUp) } else { Ok(()) }
}

/// Checks that a core has room for all records that a shard would get.
fn check(log: &LogStore, shard: Shard, config: &Config, gives_up: &AtomicBool) -> Result<(), Refused> {
    let body_budget = super::body_budget(config.store.body_bytes, shard.count);
    let core = goldcrest_core::Config { shard, durable: true, body_budget, ..config.broker.clone() };
    let capacity = config.capacity.below(config.memory_max.bound().bytes);
    let memory = Memory::owned(&capacity, &core.limits, shard);
    let mut broker = Broker::new(memory, core, &AllowAll);
    let mut taken = Ok(());
    broker.expect_retained(log.slots(shard.index, record::Kind::Retained as u8));
    log.each(shard.index, &mut |_, sealed| {
        let fits = record::open(sealed).is_ok_and(|record| broker.restore(record) != Err(RestoreError::NoRoom));
        taken = if fits { unless_given_up(gives_up) } else { Err(Refused::NoMemory) };
        if taken.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    taken
}

/// A shard's index, and a slot in that shard.
type Place = (u16, u32);

/// The new place of every record. A record that refers to a missing record gets no place.
#[derive(Default)]
struct Plan {
    new: u16,
    /// All records, in the order in which they are read.
    keys: Vec<Key>,
    sessions: HashMap<Place, Place>,
    /// The filter of each group, by its old place.
    groups: HashMap<Place, String>,
    /// The groups of the new shards, by filter.
    owners: HashMap<String, Place>,
    subscriptions: HashMap<Place, Place>,
    /// The filter of each shared subscription, by its old place.
    shared: HashMap<Place, String>,
    /// The slot of each shared subscription in the new shards, by Session and filter.
    members: HashMap<(Place, String), u32>,
    /// The slot of each message in each new shard that needs it.
    messages: HashMap<(Place, u16), u32>,
    /// The latest retained message of each topic, and the owner of the topic.
    retained: HashMap<Place, u16>,
    counters: Option<record::CountersRecord>,
    /// How many slots of a kind are used in a new shard.
    taken: HashMap<(u16, u8), u32>,
}

impl Plan {
    fn make(log: &LogStore, old: u16, new: u16, gives_up: &AtomicBool) -> Result<Self, Refused> {
        let mut plan = Self { new, ..Self::default() };
        let mut retained: HashMap<Vec<u8>, (u64, Place)> = HashMap::new();
        for shard in 0..old {
            let mut topics = HashMap::new();
            let mut taken = Ok(());
            log.each(shard, &mut |key, sealed| {
                plan.keys.push(key);
                let read = match record::open(sealed) {
                    Ok(Record::Put(_, Value::Message(message))) => {
                        let topic = message.body.get(..message.topic_len.into()).unwrap_or_default();
                        // Before version 0.2 each shard had a copy, and a message without payload said that a message was removed. This is
                        // not needed: no older message is under way that could bring the removed one back.
                        if message.body.len() > topic.len() + message.properties_len as usize {
                            topics.insert(key.slot, (topic.to_vec(), message.stamp));
                        }
                        Ok(())
                    }
                    Ok(Record::Put(_, Value::Retained)) => {
                        if let Some((topic, stamp)) = topics.remove(&key.slot) {
                            let latest = retained.entry(topic).or_insert((stamp, (shard, key.slot)));
                            if stamp > latest.0 {
                                *latest = (stamp, (shard, key.slot));
                            }
                        }
                        Ok(())
                    }
                    Ok(Record::Put(_, value)) => plan.take((shard, key.slot), &value),
                    _ => Err(Refused::Unreadable),
                };
                taken = read.and_then(|()| unless_given_up(gives_up));
                if taken.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            taken?;
        }
        for (topic, (_, place)) in retained {
            let owner = Shard::owner_of_topic(&topic, new);
            plan.need(place, owner);
            plan.retained.insert(place, owner);
        }
        Ok(plan)
    }

    fn take(&mut self, (shard, slot): Place, value: &Value<'_>) -> Result<(), Refused> {
        match value {
            Value::Session(session) => {
                let home = Shard::home_of(session.client_id.as_bytes(), self.new);
                let place = self.next(home, Kind::Session);
                self.sessions.insert((shard, slot), place);
                if let Some(will) = session.will {
                    self.need((shard, will.message), home);
                }
            }
            Value::Group(group) => {
                self.own(group.filter);
                self.groups.insert((shard, slot), group.filter.to_owned());
            }
            Value::Subscription(subscription) => {
                let Some(&session) = self.sessions.get(&(shard, subscription.session)) else { return Ok(()) };
                let place = self.next(session.0, Kind::Subscription);
                self.subscriptions.insert((shard, slot), place);
                if subscription.filter.starts_with("$share/") {
                    self.own(subscription.filter);
                    self.shared.insert((shard, slot), subscription.filter.to_owned());
                    self.members.insert((session, subscription.filter.to_owned()), place.1);
                }
            }
            Value::Delivery(delivery) => {
                if let (Some(receiver), Some(message)) = (self.receiver(shard, delivery.to), delivery.message) {
                    self.need((shard, message), receiver.0);
                }
            }
            Value::Counters(counters) => {
                let sums = self.counters.get_or_insert(record::CountersRecord { dropped: Default::default() });
                for (sum, more) in sums.dropped.iter_mut().zip(counters.dropped) {
                    *sum = sum.saturating_add(more);
                }
            }
            Value::Transit(_) => return Err(Refused::UnderWay),
            // No messages are under way between shards, so all shards count their messages to each other from the beginning.
            Value::Sibling(_) | Value::Receipt(_) | Value::Message(_) | Value::Retained => {}
        }
        Ok(())
    }

    fn next(&mut self, shard: u16, kind: Kind) -> Place {
        let taken = self.taken.entry((shard, kind as u8)).or_default();
        *taken += 1;
        (shard, *taken - 1)
    }

    fn need(&mut self, message: Place, shard: u16) {
        if !self.messages.contains_key(&(message, shard)) {
            let (_, slot) = self.next(shard, Kind::Message);
            self.messages.insert((message, shard), slot);
        }
    }

    fn own(&mut self, filter: &str) {
        if !self.owners.contains_key(filter) {
            let place = self.next(Shard::home_of(filter.as_bytes(), self.new), Kind::Group);
            self.owners.insert(filter.to_owned(), place);
        }
    }

    fn receiver(&self, shard: u16, to: Receiver) -> Option<Place> {
        match to {
            Receiver::Session(slot) => self.sessions.get(&(shard, slot)).copied(),
            Receiver::Group(slot) => self.owners.get(self.groups.get(&(shard, slot))?).copied(),
        }
    }

    /// The group through which a delivery came, as the new shards name it for the receiver.
    fn through(&self, shard: u16, through: Through, receiver: Place) -> Through {
        let filter = match through {
            Through::Nothing => None,
            Through::Group(slot) => self.groups.get(&(shard, slot)),
            Through::Foreign(slot) => self.shared.get(&(shard, slot)),
        };
        let Some((filter, owner)) = filter.and_then(|filter| Some((filter, self.owners.get(filter)?))) else {
            return Through::Nothing;
        };
        match self.members.get(&(receiver, filter.clone())) {
            _ if owner.0 == receiver.0 => Through::Group(owner.1),
            Some(&subscription) => Through::Foreign(subscription),
            None => Through::Nothing,
        }
    }

    /// Writes the records of the new shards.
    fn write(mut self, log: &mut LogStore, gives_up: &AtomicBool) -> Result<(), Refused> {
        let mut writer = Writer { log, batch: Batch::default(), bytes: 0 };
        for (filter, place) in &self.owners {
            writer.put(*place, Kind::Group, Value::Group(record::GroupRecord { filter }))?;
        }
        if let Some(counters) = self.counters {
            writer.put((0, 0), Kind::Counters, Value::Counters(counters))?;
        }
        let mut sealed = Vec::new();
        for key in std::mem::take(&mut self.keys) {
            unless_given_up(gives_up)?;
            if writer.log.fetch_before(key, &mut sealed)?
                && let Ok(Record::Put(_, value)) = record::open(&sealed)
            {
                self.move_record((key.shard, key.slot), value, &mut writer)?;
            }
        }
        writer.flush()
    }

    fn move_record(&mut self, old: Place, value: Value<'_>, to: &mut Writer<'_>) -> Result<(), Refused> {
        let shard = old.0;
        match value {
            Value::Session(session) => {
                let Some(&place) = self.sessions.get(&old) else { return Ok(()) };
                let moved = |will: record::Will| {
                    Some(record::Will { message: self.message((shard, will.message), place.0)?, ..will })
                };
                let will = session.will.and_then(moved);
                to.put(place, Kind::Session, Value::Session(record::SessionRecord { will, ..session }))
            }
            Value::Subscription(subscription) => {
                let session = self.sessions.get(&(shard, subscription.session));
                let (Some(&place), Some(&(_, session))) = (self.subscriptions.get(&old), session) else {
                    return Ok(());
                };
                let value = record::SubscriptionRecord { session, ..subscription };
                to.put(place, Kind::Subscription, Value::Subscription(value))
            }
            Value::Message(_) => {
                for new in 0..self.new {
                    if let Some(slot) = self.message(old, new) {
                        to.put((new, slot), Kind::Message, value)?;
                    }
                }
                Ok(())
            }
            Value::Retained => match self.retained.get(&old) {
                Some(&owner) => match self.message(old, owner) {
                    Some(slot) => to.put((owner, slot), Kind::Retained, value),
                    None => Ok(()),
                },
                None => Ok(()),
            },
            Value::Delivery(delivery) => {
                let Some(receiver) = self.receiver(shard, delivery.to) else { return Ok(()) };
                let through = self.through(shard, delivery.through, receiver);
                let message = delivery.message.and_then(|message| self.message((shard, message), receiver.0));
                let new = match delivery.to {
                    Receiver::Session(_) => Receiver::Session(receiver.1),
                    Receiver::Group(_) => Receiver::Group(receiver.1),
                };
                let place = self.next(receiver.0, Kind::Delivery);
                let value = record::DeliveryRecord { to: new, message, through, ..delivery };
                to.put(place, Kind::Delivery, Value::Delivery(value))
            }
            Value::Receipt(receipt) => {
                let Some(&session) = self.sessions.get(&(shard, receipt.session)) else { return Ok(()) };
                let place = self.next(session.0, Kind::Receipt);
                to.put(place, Kind::Receipt, Value::Receipt(record::ReceiptRecord { session: session.1, ..receipt }))
            }
            Value::Group(_) | Value::Counters(_) | Value::Transit(_) | Value::Sibling(_) => Ok(()),
        }
    }

    fn message(&self, old: Place, new: u16) -> Option<u32> {
        self.messages.get(&(old, new)).copied()
    }
}

/// Seals records and appends them in batches.
struct Writer<'a> {
    log: &'a mut LogStore,
    batch: Batch,
    bytes: usize,
}

impl Writer<'_> {
    fn put(&mut self, (shard, slot): Place, kind: Kind, value: Value<'_>) -> Result<(), Refused> {
        const MANY_BYTES: usize = 1 << 20;
        // This is enough for any record without a body: a text has at most 65,535 bytes, and identifiers need less.
        const TEXT: usize = 1 << 17;
        let body = if let Value::Message(message) = value { message.body.len() } else { TEXT };
        let room = self.batch.room(record::OVERHEAD + body);
        let record = Record::Put(record::Key { kind, slot }, value);
        let len = record.seal(room).ok_or(Refused::Unreadable)?;
        self.batch.put(Key { shard, kind: kind as u8, slot }, len);
        self.bytes += len;
        if self.bytes >= MANY_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Refused> {
        self.bytes = 0;
        Ok(self.log.append_patiently(std::mem::take(&mut self.batch))?)
    }
}
