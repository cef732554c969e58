//! Interest: all shards know that a shard has a subscriber to a filter.
//!
//! When a filter gets its first subscriber on a shard, all other shards are told, and when it loses its last one. They keep three bytes
//! of each filter ([`FilterTable`]), and know the shapes of filters with wildcards ([`Shape`]). For a message they look up the hash of
//! its topic, and one hash for each shape. They may find more than there is, but never less. A message that goes to a shard in vain is
//! looked up there once more, and has no subscriber. That shard answers so, and it counts nothing as lost if the message has expired or
//! can't be stored.
//!
//! Hashes mean the same on all shards only if these have the same [`Config::seed`](crate::Config::seed). So each shard tells a hash of a
//! fixed text with its filters. To a shard that has another seed every message is sent, and the embedder is told.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::codec::QoS;
use crate::config::Shard;
use crate::engine::Engine;
use crate::engine::neighbour_state::WantedElsewhere;
use crate::engine::router::{SIDE_BY_SIDE, Subscription};
use crate::engine::sessions::Session;
use crate::mem::heap::MemoryAccount;
use crate::mem::{Handle, Hasher, one_less, one_more};
use crate::seam::work;
use crate::shards::filters::shape::{FilterHasher, Shape};
use crate::shards::filters::{Change, FilterChange, FilterTable, TOLD_AT_ONCE, ToldFilters};
use crate::shards::forward::{Content, SeedMismatch};
use crate::shards::groups_elsewhere::as_subscribed;
use crate::shards::set::SiblingSet;
use crate::topic::{TopicFilter, TopicName};

/// The longest Topic Filter, `$share/group/` included.
const LONGEST_FILTER: usize = 65_535;

/// What other shards want, and what they were told that this shard wants.
#[derive(Debug)]
pub(super) struct Interest {
    hasher: FilterHasher,
    told: ToldFilters,
    filters: FilterTable,
    /// The shapes of other shards' filters, and how many filters have each.
    shapes: Vec<(Shape, u32)>,
    /// The most levels that one of these shapes has.
    deepest: u8,
    /// How many filters of other shards have no wildcards.
    exact: u32,
    /// How many filters each shard has told.
    counts: Vec<u32>,
    /// Shards that get every message, until they have no filter at all: there was no room for one of their filters.
    everything: SiblingSet,
    /// The first shard that was found to have another seed.
    foreign: Option<u16>,
    /// Memory for the text of one filter.
    filter_space: Vec<u8>,
}

impl Interest {
    /// Interest with room for so many filters of each other shard.
    pub(super) fn new(shard: Shard, filters: usize, hasher: Hasher, account: MemoryAccount) -> Self {
        Self {
            hasher: FilterHasher::new(hasher),
            told: ToldFilters::new(shard, account.clone()),
            filters: FilterTable::new(shard, filters, account),
            shapes: Vec::new(),
            deepest: 0,
            exact: 0,
            counts: alloc::vec![0; shard.siblings() as usize],
            everything: SiblingSet::default(),
            foreign: None,
            filter_space: Vec::new(),
        }
    }

    /// Adds the shards that may want a message to a topic. Returns how many shapes were looked at.
    #[inline(always)]
    pub(super) fn add_wanted(&self, wanted: &mut SiblingSet, topic: TopicName<'_>) -> usize {
        if !self.everything.is_empty() {
            *wanted = self.everything;
        }
        self.each_hash(topic, |hash| self.filters.visit(hash, |sibling, durable| wanted.insert(sibling, durable)));
        self.shapes.len()
    }

    /// Calls `act` with the hash of each filter that may match a topic.
    #[inline(always)]
    fn each_hash(&self, topic: TopicName<'_>, mut act: impl FnMut(u32)) {
        if self.exact > 0 {
            act(self.hasher.hash_exactly(topic.as_str().as_bytes()));
        }
        if !self.shapes.is_empty() {
            let sums = self.hasher.sums(topic, self.deepest);
            self.shapes.iter().filter_map(|(shape, _)| self.hasher.hash(&sums, *shape)).for_each(act);
        }
    }

    /// Loads the memory that [`Interest::add_wanted`] needs for the first [`SIDE_BY_SIDE`] of these topics; see `router/ahead.rs`.
    pub(super) fn look_ahead(&self, topics: &[&[u8]]) {
        let topics = topics.iter().take(SIDE_BY_SIDE).filter_map(|topic| core::str::from_utf8(topic).ok());
        for topic in topics.filter_map(|topic| TopicName::new(topic).ok()) {
            self.each_hash(topic, |hash| self.filters.look_at(hash));
        }
    }

    /// Whether there are so many filters that [`Interest::look_ahead`] is worth it.
    #[inline]
    pub(super) fn is_vast(&self) -> bool {
        self.filters.is_vast()
    }

    /// The most filters that can't be told apart.
    pub(super) fn most_alike(&self) -> usize {
        self.filters.most_alike()
    }

    /// Another shard tells what has happened to its filters. `seed` is the hash of a fixed text there.
    fn take_all(&mut self, from: u16, seed: u32, changes: &[FilterChange]) {
        if seed == self.hasher.seed_hash() {
            changes.iter().for_each(|change| self.take(from, *change));
        } else {
            self.foreign.get_or_insert(from);
            self.everything.insert(from, true);
        }
    }

    /// Something has happened to a filter of another shard.
    fn take(&mut self, from: u16, FilterChange { key, change }: FilterChange) {
        match change {
            Change::First { is_durable } => {
                self.count(from, key.shape, one_more);
                if !self.filters.insert(key.hash, from, is_durable) {
                    self.everything.insert(from, true);
                }
            }
            Change::Durable => self.filters.make_durable(key.hash, from),
            Change::Last => {
                let was_there = self.filters.remove(key.hash, from);
                debug_assert!(was_there || self.everything.contains(from), "a filter ends that has not begun");
                if self.count(from, key.shape, one_less) == 0 {
                    self.everything.remove(from);
                }
            }
        }
    }

    /// Counts a filter of another shard, by its shape too. Returns how many filters that shard has.
    fn count(&mut self, from: u16, shape: Option<Shape>, change: fn(u32) -> u32) -> u32 {
        match shape {
            None => self.exact = change(self.exact),
            Some(shape) => {
                // Shards tell few shapes, so this list is short.
                match self.shapes.iter_mut().find(|(known, _)| *known == shape) {
                    Some((_, filters)) => *filters = change(*filters),
                    None => self.shapes.push((shape, change(0))),
                }
                self.shapes.retain(|(_, filters)| *filters > 0);
                self.deepest = self.shapes.iter().map(|(shape, _)| shape.levels()).max().unwrap_or(0);
            }
        }
        let Some(count) = self.counts.get_mut(usize::from(from)) else { return 0 };
        *count = change(*count);
        *count
    }
}

impl Engine<'_> {
    /// Whether all shards that have told filters have the seed of this shard.
    #[inline]
    pub(crate) fn check_seeds(&self) -> Result<(), SeedMismatch> {
        self.shards.interest.foreign.map_or(Ok(()), |shard| Err(SeedMismatch { shard }))
    }

    /// Whether other shards were told that a filter has a subscriber here, or that a connection waits to subscribe to it.
    fn is_told(&self, filter: TopicFilter<'_>) -> bool {
        self.shards.promises.is_promised(filter.proper()) || self.router.has_subscriber(filter)
    }

    /// Tells other shards of a filter before a Session subscribes to it with this QoS.
    pub(super) fn promise_filter(
        &mut self,
        generation: u32,
        session: Handle<Session>,
        filter: TopicFilter<'_>,
        qos: QoS,
    ) {
        let is_told = self.is_told(filter);
        self.shards.promises.add(generation, filter.proper());
        self.tell_subscriber(session, filter, self.is_durable_with(session, qos), is_told);
    }

    /// A Session has subscribed to a filter that had no subscriber here.
    pub(super) fn tell_first_subscriber(
        &mut self,
        session: Handle<Session>,
        filter: TopicFilter<'_>,
        is_durable: bool,
    ) {
        self.tell_subscriber(session, filter, is_durable, self.shards.promises.is_promised(filter.proper()));
    }

    /// Tells other shards that a filter has one more subscriber, unless they know all of that.
    pub(super) fn tell_subscriber(
        &mut self,
        session: Handle<Session>,
        filter: TopicFilter<'_>,
        is_durable: bool,
        is_told: bool,
    ) {
        if !is_told {
            self.tell_change(Some(session), filter, Change::First { is_durable });
        } else if is_durable {
            self.tell_change(Some(session), filter, Change::Durable);
        }
    }

    /// Whether messages for a subscription with this QoS are recorded, if its Session is at home here.
    pub(super) fn is_durable_with(&self, session: Handle<Session>, qos: QoS) -> bool {
        self.sessions[session].is_durable && qos > QoS::AtMostOnce
    }

    /// A subscription has ended, or a connection waits no longer to subscribe: tells other shards if the filter has no subscriber any
    /// more.
    pub(super) fn withdraw_interest(&mut self, filter: TopicFilter<'_>) {
        if !self.is_told(filter) {
            self.tell_change(None, filter, Change::Last);
        }
    }

    /// Tells other shards what has happened to a filter: for its first subscriber, by which Session.
    fn tell_change(&mut self, session: Option<Handle<Session>>, filter: TopicFilter<'_>, change: Change) {
        if !self.shards.links.has_siblings() {
            return;
        }
        let subscriber = session.map(|session| self.subscriber_of(session));
        let interest = &mut self.shards.interest;
        let Some(change) = interest.told.change(interest.hasher.describe(filter), change, subscriber) else { return };
        let seed = interest.hasher.seed_hash();
        for other in self.shards.links.others() {
            match self.shards.links.last_to(other) {
                Some(Content::Interest { changes, .. }) if changes.len() < TOLD_AT_ONCE => changes.push(change),
                _ => self.shards.links.send(other, Content::Interest { seed, changes: alloc::vec![change] }),
            }
        }
    }

    pub(super) fn take_interest(&mut self, from: u16, seed: u32, changes: &[FilterChange]) {
        self.work.count(work::SUBSCRIPTION, changes.len());
        self.shards.interest.take_all(from, seed, changes);
        self.work.count(work::SUBSCRIPTION, self.shards.interest.filters.take_moved());
    }

    /// The filter of a subscription, which other shards have to be told when the subscription ends.
    pub(super) fn filter_for_siblings(&mut self, subscription: Handle<Subscription>) -> Option<Box<str>> {
        if !self.shards.links.has_siblings() {
            return None;
        }
        let mut space = core::mem::take(&mut self.shards.interest.filter_space);
        space.resize(LONGEST_FILTER, 0);
        let filter = self.router.filter_of(subscription, &mut space).map(Box::from);
        self.shards.interest.filter_space = space;
        filter
    }

    /// A subscription ended; `filter` is what [`filter_for_siblings`](Self::filter_for_siblings) gave for it.
    pub(super) fn subscription_ended(
        &mut self,
        session: Handle<Session>,
        subscription: Handle<Subscription>,
        filter: &str,
        last: bool,
    ) {
        self.shards.members.forget(subscription);
        if let Some(subscribed) = as_subscribed(filter) {
            self.leave_foreign(session, subscription, subscribed);
        } else if last && let Ok(filter) = TopicFilter::new(filter) {
            self.withdraw_interest(filter);
        }
    }
}

#[cfg(test)]
mod tests;
