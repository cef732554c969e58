//! Interest: that somebody on a shard has subscribed to a filter is known to all siblings.
//!
//! The first subscriber to a filter makes it known, the last one takes it back. Siblings keep three bytes of each filter
//! ([`FilterTable`]), and of filters with wildcards they know the shapes ([`Shape`]). For a message they look up its topic, and
//! what each shape makes of it. What they find may be more than is there, never less: a message that goes to a sibling in vain is looked
//! up there once more, and nobody gets it. The sibling answers that nobody was to get it, and what it can't take or record is no
//! loss then.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::codec::QoS;
use crate::config::Shard;
use crate::engine::Engine;
use crate::engine::neighbour_state::WantedElsewhere;
use crate::engine::router::{SIDE_BY_SIDE, Subscription};
use crate::engine::routing::is_reserved_for_server;
use crate::engine::sessions::Session;
use crate::mem::heap::MemoryAccount;
use crate::mem::{Handle, Hasher, one_less, one_more};
use crate::seam::work;
use crate::shards::filters::shape::{FilterHasher, Shape};
use crate::shards::filters::{Change, FilterChange, FilterTable, TOLD_AT_ONCE, ToldFilters};
use crate::shards::forward::Content;
use crate::shards::groups_elsewhere::as_subscribed;
use crate::shards::links::ShardLinks;
use crate::shards::set::SiblingSet;
use crate::topic::{TopicFilter, TopicName};

/// The longest Topic Filter, `$share/group/` included.
const LONGEST_FILTER: usize = 65_535;

/// What siblings want, and what they were told that we want.
#[derive(Debug)]
pub(super) struct Interest {
    hasher: FilterHasher,
    told: ToldFilters,
    filters: FilterTable,
    /// The shapes of siblings' filters, and how many filters have each.
    shapes: Vec<(Shape, u32)>,
    /// How many levels those have that have most.
    deepest: u8,
    /// Siblings' filters without wildcards.
    exact: u32,
    /// How many filters each sibling has told of.
    counts: Vec<u32>,
    /// Siblings that had a filter for which there was no room: they get every message, until they have no filter at all.
    everything: SiblingSet,
    /// Where filters are put together.
    filter_space: Vec<u8>,
}

impl Interest {
    /// Interest with room for so many filters of each sibling.
    pub(super) fn new(shard: Shard, filters: usize, hasher: Hasher, account: MemoryAccount) -> Self {
        Self {
            hasher: FilterHasher::new(hasher),
            told: ToldFilters::new(shard),
            filters: FilterTable::new(shard, filters, account),
            shapes: Vec::new(),
            deepest: 0,
            exact: 0,
            counts: alloc::vec![0; shard.siblings() as usize],
            everything: SiblingSet::default(),
            filter_space: Vec::new(),
        }
    }

    /// Adds the siblings that may want a message to a topic, all if it is to be retained. Gives how many shapes were looked at.
    pub(super) fn add_wanted(
        &self,
        wanted: &mut SiblingSet,
        links: &ShardLinks,
        topic: TopicName<'_>,
        retain: bool,
    ) -> usize {
        if !self.everything.is_empty() {
            *wanted = self.everything;
        }
        if retain {
            // Each of them records the retained messages it keeps.
            let is_durable = !is_reserved_for_server(topic);
            links.others().for_each(|other| wanted.insert(other, is_durable));
        }
        self.each_hash(topic, |hash| self.filters.visit(hash, |sibling, durable| wanted.insert(sibling, durable)));
        self.shapes.len()
    }

    /// Calls `act` with the hash of each filter that may match a topic.
    #[inline]
    fn each_hash(&self, topic: TopicName<'_>, mut act: impl FnMut(u32)) {
        if self.exact > 0 {
            act(self.hasher.hash_exactly(topic.as_str().as_bytes()));
        }
        if !self.shapes.is_empty() {
            let sums = self.hasher.sums(topic, self.deepest);
            self.shapes.iter().filter_map(|(shape, _)| self.hasher.hash(&sums, *shape)).for_each(act);
        }
    }

    /// Looks at what [`Interest::add_wanted`] needs for these topics, the first [`SIDE_BY_SIDE`] of them; see `router/ahead.rs`.
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

    /// A sibling tells of a filter.
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

    /// Counts a filter of a sibling, by its shape too; how many filters the sibling has.
    fn count(&mut self, from: u16, shape: Option<Shape>, change: fn(u32) -> u32) -> u32 {
        match shape {
            None => self.exact = change(self.exact),
            Some(shape) => {
                // Siblings tell of few shapes, so this list is short.
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
    /// Whether siblings were told that somebody here has subscribed to a filter, or waits to do so.
    fn is_told(&self, filter: TopicFilter<'_>) -> bool {
        self.shards.promises.is_promised(filter.proper()) || self.router.has_subscriber(filter)
    }

    /// Tells siblings of a filter before a Session subscribes to it with this QoS.
    pub(super) fn promise_filter(
        &mut self,
        generation: u32,
        session: Handle<Session>,
        filter: TopicFilter<'_>,
        qos: QoS,
    ) {
        let (is_told, is_durable) = (self.is_told(filter), self.sessions[session].is_durable && qos > QoS::AtMostOnce);
        self.shards.promises.add(generation, filter.proper());
        self.tell_subscriber(filter, is_durable, is_told);
    }

    /// Somebody has subscribed to a filter that nobody had subscribed to here.
    pub(super) fn tell_first_subscriber(&mut self, filter: TopicFilter<'_>, is_durable: bool) {
        self.tell_subscriber(filter, is_durable, self.shards.promises.is_promised(filter.proper()));
    }

    /// Tells siblings of one more subscriber to a filter, as far as they have not heard of it.
    pub(super) fn tell_subscriber(&mut self, filter: TopicFilter<'_>, is_durable: bool, is_told: bool) {
        if !is_told {
            self.tell_change(filter, Change::First { is_durable });
        } else if is_durable {
            self.tell_change(filter, Change::Durable);
        }
    }

    /// Nobody has subscribed to a filter any more, or waits to do so no longer: siblings hear of it unless that other thing holds.
    pub(super) fn withdraw_interest(&mut self, filter: TopicFilter<'_>) {
        if !self.is_told(filter) {
            self.tell_change(filter, Change::Last);
        }
    }

    pub(super) fn tell_change(&mut self, filter: TopicFilter<'_>, change: Change) {
        if !self.shards.links.has_siblings() {
            return;
        }
        let interest = &mut self.shards.interest;
        let Some(change) = interest.told.change(interest.hasher.describe(filter), change) else { return };
        for other in self.shards.links.others() {
            match self.shards.links.last_to(other) {
                Some(Content::Interest(changes)) if changes.len() < TOLD_AT_ONCE => changes.push(change),
                _ => self.shards.links.send(other, Content::Interest(alloc::vec![change])),
            }
        }
    }

    pub(super) fn take_interest(&mut self, from: u16, changes: &[FilterChange]) {
        self.work.count(work::SUBSCRIPTION, changes.len());
        changes.iter().for_each(|change| self.shards.interest.take(from, *change));
        self.work.count(work::SUBSCRIPTION, self.shards.interest.filters.take_moved());
    }

    /// What siblings have to hear when a subscription ends: its filter as they know it.
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
