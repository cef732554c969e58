//! Interest: the first subscriber to a filter makes it known to all siblings, which subscribe the sibling in their router. Of filters
//! without wildcards only a hash is kept, beside the tree.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::codec::QoS;
use crate::engine::Engine;
use crate::engine::router::{self, Subscriber, Subscription};
use crate::engine::routing::is_reserved_for_server;
use crate::engine::sessions::Session;
use crate::mem::heap::MemoryAccount;
use crate::mem::{Handle, Hasher};
use crate::seam::work;
use crate::shards::exact_filters::ExactFilters;
use crate::shards::forward::Content;
use crate::shards::groups_elsewhere::as_subscribed;
use crate::shards::links::ShardLinks;
use crate::shards::set::{DURABLE_INTEREST, PLAIN_INTEREST, SiblingSet};
use crate::topic::{TopicFilter, TopicName};

/// The longest Topic Filter, `$share/group/` included.
const LONGEST_FILTER: usize = 65_535;

/// What siblings want, as far as it does not stand in the router.
#[derive(Debug)]
pub(super) struct Interest {
    /// Their filters without wildcards.
    pub(super) exact: ExactFilters,
    /// Siblings with a filter for which there was no room: they get every message.
    everything: SiblingSet,
    /// Where filters are put together.
    filter_space: Vec<u8>,
}

impl Interest {
    pub(super) fn new(filters: usize, hasher: Hasher, account: MemoryAccount) -> Self {
        Self {
            exact: ExactFilters::new(filters, hasher, account),
            everything: SiblingSet::default(),
            filter_space: Vec::new(),
        }
    }
}

impl Interest {
    /// The siblings that get each message to a topic, whatever matches in the router: those with exactly this filter; and all, if it is
    /// to be retained.
    #[inline]
    pub(super) fn wanted(&self, links: &ShardLinks, topic: TopicName<'_>, retain: bool) -> SiblingSet {
        let mut wanted = self.everything;
        if retain {
            // Each of them records the retained messages it keeps.
            let is_durable = !is_reserved_for_server(topic);
            links.others().for_each(|other| wanted.insert(other, is_durable));
        }
        self.exact.visit(topic.as_str(), |sibling, is_durable| wanted.insert(sibling, is_durable));
        wanted
    }
}

impl Engine<'_> {
    pub(super) fn withdraw_interest(&mut self, filter: TopicFilter<'_>) {
        if !self.shards.promises.is_promised(filter.proper()) && !self.router.has_local_subscriber(filter) {
            self.tell_interest(filter, false, false);
        }
    }

    /// Tells all siblings that a Session subscribes to `filter` with this QoS.
    pub(super) fn tell_interest_of(&mut self, session: Handle<Session>, filter: TopicFilter<'_>, qos: QoS) {
        self.tell_interest(filter, true, self.sessions[session].is_durable && qos > QoS::AtMostOnce);
    }

    /// Tells all siblings that there is, or is no longer, a subscriber to `filter` here.
    pub(super) fn tell_interest(&mut self, filter: TopicFilter<'_>, wanted: bool, durable: bool) {
        for other in self.shards.links.others() {
            self.shards.links.send(other, Content::Interest { filter: filter.proper().into(), wanted, durable });
        }
    }

    pub(super) fn take_interest(&mut self, from: u16, filter: &str, wanted: bool, durable: bool) {
        if !filter.contains(['+', '#']) {
            if !wanted {
                self.shards.interest.exact.remove(from, filter);
            } else if !self.shards.interest.exact.add(from, filter, durable) {
                self.shards.interest.everything.insert(from, true);
            }
            return;
        }
        let filter = TopicFilter::assume_valid(filter);
        let sibling = Subscriber(u32::from(from));
        self.work.count(work::SUBSCRIPTION, 1);
        if wanted {
            let known = self.router.find(filter, sibling).map(|known| self.router.subscription(known).options().qos);
            // A durable filter stays durable until there is no subscriber at all.
            let qos = if durable || known == Some(DURABLE_INTEREST) { DURABLE_INTEREST } else { PLAIN_INTEREST };
            let options = router::SubscriptionOptions { qos, no_local: false, retain_as_published: true };
            if self.router.subscribe(filter, sibling, options, 0).is_err() {
                self.shards.interest.everything.insert(from, true);
            }
        } else {
            self.router.unsubscribe(filter, sibling);
            self.look_after_removal();
        }
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
