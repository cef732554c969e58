//! Who subscribed to what.

use super::entries::{BySubscriber, Group, Node, Place, Subscription};
use super::trie::write_before;
use super::{Router, RouterFull, Subscriber};
use crate::mem::{Claim, Handle, Linked, one_more};
use crate::topic::TopicFilter;

/// A Subscription Identifier is at most 268,435,455, see section 3.8.2.1.2 of MQTT 5.0.
const IDENTIFIER: u32 = (1 << 28) - 1;
const QOS_SHIFT: u32 = 28;
const NO_LOCAL: u32 = 1 << 30;
const RETAIN_AS_PUBLISHED: u32 = 1 << 31;

/// What a subscriber asked for, so far as it matters for each message. Section 3.8.3.1 of MQTT 5.0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// The Maximum QoS, 0 to 2.
    pub qos: u8,
    /// No Local: the subscriber does not get what it published itself.
    pub no_local: bool,
    /// Retain As Published: the subscriber gets the RETAIN flag as the publisher set it.
    pub retain_as_published: bool,
}

impl Subscription {
    /// Who subscribed.
    pub fn subscriber(&self) -> Subscriber {
        self.subscriber
    }

    /// The group, if this is a shared subscription.
    pub fn group(&self) -> Option<Handle<Group>> {
        self.place.group()
    }

    /// The options of the last SUBSCRIBE.
    pub fn options(&self) -> SubscriptionOptions {
        SubscriptionOptions {
            qos: (self.packed >> QOS_SHIFT & 3) as u8,
            no_local: self.packed & NO_LOCAL != 0,
            retain_as_published: self.packed & RETAIN_AS_PUBLISHED != 0,
        }
    }

    /// The Subscription Identifier of the last SUBSCRIBE; 0 if it had none.
    pub fn identifier(&self) -> u32 {
        self.packed & IDENTIFIER
    }
}

/// What [`Router::subscribe`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribed {
    /// The subscription, new or not.
    pub handle: Handle<Subscription>,
    /// It was there already, and has new options now `[MQTT-3.8.4-3]`.
    pub replaced: bool,
    /// Whether the filter, shared or not, had no subscriber before: other shards have to be told.
    pub first: bool,
}

/// What ended with a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribed {
    /// Whether the filter, shared or not, has no subscriber any more: other shards have to be told.
    pub last: bool,
    /// Its group had no other member and ended; this was its [`Group::tag`].
    pub group_ended: Option<u32>,
}

impl Router<'_> {
    /// Adds a subscription or replaces the options of the one that has the same filter `[MQTT-3.8.4-3]`.
    ///
    /// A filter with a ShareName joins or makes a group. `identifier` is the Subscription Identifier (1 to
    /// 268,435,455), or 0. How many levels a filter may have is for the caller to limit.
    pub fn subscribe(
        &mut self,
        filter: TopicFilter<'_>,
        subscriber: Subscriber,
        options: SubscriptionOptions,
        identifier: u32,
    ) -> Result<Subscribed, RouterFull> {
        if !self.subscribers.grow_to((subscriber.0 as usize).saturating_add(1)) {
            return Err(RouterFull);
        }
        let packed = pack(options, identifier);
        let node = self.trie.ensure(filter.proper())?;
        if let Some(handle) = self.find_at(node, filter.share_name(), subscriber) {
            self.subscriptions[handle].packed = packed;
            return Ok(Subscribed { handle, replaced: true, first: false });
        }
        let first = !self.is_subscribed_to(node);
        let added = match filter.share_name() {
            None => self.add_subscription(node, None, subscriber, packed),
            Some(name) => self.ensure_group(node, name).and_then(|group| {
                let added = self.add_subscription(node, Some(group), subscriber, packed);
                if added.is_none() {
                    self.end_group_without_members(group);
                }
                added
            }),
        };
        let Some(handle) = added else {
            self.trie.prune(node);
            return Err(RouterFull);
        };
        Ok(Subscribed { handle, replaced: false, first })
    }

    /// Puts a subscription back into its slot after a restart; `None` if that is taken, if there is the same already, or if there
    /// is no room. [`Router::end_restoring`] is due after the last one.
    pub(crate) fn restore_subscription(
        &mut self,
        slot: usize,
        filter: TopicFilter<'_>,
        subscriber: Subscriber,
        options: SubscriptionOptions,
        identifier: u32,
    ) -> Option<Subscribed> {
        if !self.subscribers.grow_to((subscriber.0 as usize).saturating_add(1)) {
            return None;
        }
        let packed = pack(options, identifier);
        let node = self.trie.ensure(filter.proper()).ok()?;
        let first = !self.is_subscribed_to(node);
        let is_new = self.find_at(node, filter.share_name(), subscriber).is_none();
        let group = filter.share_name().filter(|_| is_new).map(|name| self.ensure_group(node, name));
        let mut restored = None;
        if is_new && group != Some(None) {
            let place = Place::new(node, group.flatten());
            let hash = self.subscription_hash(place, subscriber);
            let new = Subscription::new(place, subscriber, packed, hash);
            restored = self.subscriptions.restore(slot, new);
        }
        match restored {
            Some(handle) => self.join(handle),
            // A group without members ends when restoring does.
            None => self.trie.prune(node),
        }
        restored.map(|handle| Subscribed { handle, replaced: false, first })
    }

    /// Ends restoring: all free slots are known then.
    pub(crate) fn end_restoring(&mut self) {
        self.subscriptions.end_restoring();
        self.groups.end_restoring();
    }

    /// Removes the subscription with exactly this filter `[MQTT-3.10.4-1]`. None if there was none.
    pub fn unsubscribe(&mut self, filter: TopicFilter<'_>, subscriber: Subscriber) -> Option<Unsubscribed> {
        let handle = self.find(filter, subscriber)?;
        Some(self.remove(handle))
    }

    /// Removes one subscription of `subscriber`; called until it gives None, all of them.
    pub fn pop_subscription(&mut self, subscriber: Subscriber) -> Option<Unsubscribed> {
        let handle = self.subscriber_slot(subscriber)?.subscriptions.front()?;
        Some(self.remove(handle))
    }

    /// Removes a subscription.
    pub fn remove(&mut self, handle: Handle<Subscription>) -> Unsubscribed {
        let subscription = &self.subscriptions[handle];
        let (place, subscriber, behind) = (subscription.place, subscription.subscriber, subscription.place_next);
        let node = self.node_of_place(place);
        let indexed = if self.first_at(place) == Some(handle) { behind } else { Some(handle) };
        if let Some(indexed) = indexed {
            self.subscription_index.remove(&mut self.subscriptions, indexed);
        }
        if let Some(slot) = self.subscribers.as_mut_slice().get_mut(subscriber.0 as usize) {
            slot.subscriptions.unlink(&mut self.subscriptions, handle);
            slot.count = slot.count.saturating_sub(1);
        }
        let mut group_ended = None;
        match (place.group(), node) {
            (Some(group), _) => {
                self.groups[group].leave(&mut self.subscriptions, handle);
                group_ended = self.end_group_without_members(group);
            }
            (None, Some(node)) => self.trie.nodes[node].subscriptions.unlink(&mut self.subscriptions, handle),
            (None, None) => {}
        }
        self.subscriptions.remove(handle);
        let Some(node) = node else { return Unsubscribed { last: false, group_ended } };
        let last = !self.is_subscribed_to(node);
        self.trie.prune(node);
        Unsubscribed { last, group_ended }
    }

    /// The subscription of `subscriber` with exactly this filter.
    pub fn find(&self, filter: TopicFilter<'_>, subscriber: Subscriber) -> Option<Handle<Subscription>> {
        self.find_at(self.trie.find(filter.proper())?, filter.share_name(), subscriber)
    }

    /// A subscription that [`Router::subscribe`] or a walk gave.
    #[inline]
    pub fn subscription(&self, handle: Handle<Subscription>) -> &Subscription {
        &self.subscriptions[handle]
    }

    /// Slots in use or used before.
    pub(crate) fn subscription_slots(&self) -> usize {
        self.subscriptions.slots()
    }

    /// The subscription in a slot, if there is one.
    pub(crate) fn live_subscription(&self, handle: Handle<Subscription>) -> Option<&Subscription> {
        self.subscriptions.is_live(handle).then(|| &self.subscriptions[handle])
    }

    /// All subscriptions, in no order that means anything.
    pub fn subscriptions(&self) -> impl Iterator<Item = (Handle<Subscription>, &Subscription)> {
        self.subscriptions.iter()
    }

    /// The subscriptions of `subscriber`, in the order in which they were made.
    pub fn subscriptions_of(&self, subscriber: Subscriber) -> impl Iterator<Item = Handle<Subscription>> {
        let list = self.subscriber_slot(subscriber).map(|slot| slot.subscriptions).unwrap_or_default();
        list.iter(&self.subscriptions)
    }

    /// Whether `handle` is a subscription of `subscriber`, whatever it was before.
    pub fn holds(&self, handle: Handle<Subscription>, subscriber: Subscriber) -> bool {
        let subscription = self.subscriptions.at(handle.index());
        subscription.is_some_and(|found| self.subscriptions[found].subscriber == subscriber)
    }

    /// Whether anybody has subscribed to this filter, shared or not.
    pub fn has_subscriber(&self, filter: TopicFilter<'_>) -> bool {
        self.trie.find(filter.proper()).is_some_and(|node| self.is_subscribed_to(node))
    }

    /// Whether this is the first of all subscriptions to its filter, shared or not.
    pub fn is_first_to_filter(&self, handle: Handle<Subscription>) -> bool {
        let node = self.node_of_place(self.subscriptions[handle].place);
        node.and_then(|node| self.subscriptions_at(node).next()) == Some(handle)
    }

    /// The other subscriptions to the filter of this one, shared or not.
    pub fn others_to_filter(&self, handle: Handle<Subscription>) -> impl Iterator<Item = Handle<Subscription>> {
        let node = self.node_of_place(self.subscriptions[handle].place);
        node.into_iter().flat_map(|node| self.subscriptions_at(node)).filter(move |other| *other != handle)
    }

    /// Whether any subscription to the filter of this one, shared or not, has a Maximum QoS above 0.
    pub fn filter_has_qos(&self, handle: Handle<Subscription>) -> bool {
        let node = self.node_of_place(self.subscriptions[handle].place);
        node.is_some_and(|node| self.subscriptions_at(node).any(|other| self.subscriptions[other].options().qos > 0))
    }

    /// The subscription behind `handle` in [`subscriptions_of`](Self::subscriptions_of) its subscriber.
    pub fn next_of_subscriber(&self, handle: Handle<Subscription>) -> Option<Handle<Subscription>> {
        Linked::<BySubscriber>::next(&self.subscriptions[handle])
    }

    /// How many subscriptions `subscriber` has.
    pub fn subscription_count_of(&self, subscriber: Subscriber) -> usize {
        self.subscriber_slot(subscriber).map_or(0, |slot| slot.count as usize)
    }

    /// The Topic Filter of a subscription as the subscriber wrote it, `$share/group/` included. It is put at the end of
    /// `out`; None if that is too short (65,535 bytes are enough for any).
    pub fn filter_of<'b>(&self, handle: Handle<Subscription>, out: &'b mut [u8]) -> Option<&'b str> {
        let place = self.subscriptions[handle].place;
        self.filter_at(self.node_of_place(place)?, place.group(), out)
    }

    /// The filter of a node, with the ShareName of a group there.
    pub(super) fn filter_at<'b>(
        &self,
        node: Handle<Node>,
        group: Option<Handle<Group>>,
        out: &'b mut [u8],
    ) -> Option<&'b str> {
        let mut start = self.trie.write_path(node, out)?;
        if let Some(group) = group {
            let name = self.groups[group].name;
            start = write_before(out, start, b"/")?;
            let end = start;
            start = start.checked_sub(name.len())?;
            self.trie.texts.copy(name, 0, out.get_mut(start..end)?);
            start = write_before(out, start, b"$share/")?;
        }
        core::str::from_utf8(out.get(start..)?).ok()
    }

    fn find_at(
        &self,
        node: Handle<Node>,
        share_name: Option<&str>,
        subscriber: Subscriber,
    ) -> Option<Handle<Subscription>> {
        let group = match share_name {
            Some(name) => Some(self.find_group(node, name)?),
            None => None,
        };
        self.find_in(node, group, subscriber)
    }

    /// The subscription of `subscriber` at a node, or in a group of that node.
    pub(super) fn find_in(
        &self,
        node: Handle<Node>,
        group: Option<Handle<Group>>,
        subscriber: Subscriber,
    ) -> Option<Handle<Subscription>> {
        let place = Place::new(node, group);
        let first = self.first_at(place)?;
        if self.subscriptions[first].subscriber == subscriber {
            return Some(first);
        }
        let hash = self.subscription_hash(place, subscriber);
        self.subscription_index
            .find(&self.subscriptions, hash, |found| found.subscriber == subscriber && found.place == place)
    }

    /// Makes room for a subscription to this filter, as far as it is granted.
    pub(crate) fn make_room(&mut self, filter: TopicFilter<'_>, subscriber: Subscriber, claim: Claim) {
        let (levels, text) = (filter.levels().count(), filter.as_str().len());
        let nodes = self.trie.nodes.len().saturating_add(levels);
        let _ = self.trie.nodes.reserve(nodes, claim)
            && self.trie.texts.make_room(levels.saturating_add(1), text, claim)
            && self.subscriptions.reserve(self.subscriptions.len().saturating_add(1), claim)
            && self.groups.reserve(self.groups.len().saturating_add(1), claim)
            && self.subscribers.reserve((subscriber.0 as usize).saturating_add(1), claim);
    }

    /// Whether a client whose filters would take so many bytes has no more than its share below a ceiling.
    pub(crate) fn is_in_share(&self, holds: usize) -> bool {
        self.subscriptions.is_in_share(holds)
    }

    fn add_subscription(
        &mut self,
        node: Handle<Node>,
        group: Option<Handle<Group>>,
        subscriber: Subscriber,
        packed: u32,
    ) -> Option<Handle<Subscription>> {
        let place = Place::new(node, group);
        let hash = self.subscription_hash(place, subscriber);
        let handle = self.subscriptions.insert(Subscription::new(place, subscriber, packed, hash))?;
        self.join(handle);
        Some(handle)
    }

    /// Puts a subscription, which is in the pool, where it is found.
    fn join(&mut self, handle: Handle<Subscription>) {
        let Subscription { place, subscriber, .. } = self.subscriptions[handle];
        if self.first_at(place).is_some() {
            self.subscription_index.insert(&mut self.subscriptions, handle);
        }
        if let Some(slot) = self.subscribers.as_mut_slice().get_mut(subscriber.0 as usize) {
            slot.subscriptions.push_back(&mut self.subscriptions, handle);
            slot.count = one_more(slot.count);
        }
        match (place.group(), place.node()) {
            (Some(group), _) => self.groups[group].join(&mut self.subscriptions, handle),
            (None, Some(node)) => self.trie.nodes[node].subscriptions.push_back(&mut self.subscriptions, handle),
            (None, None) => {}
        }
    }

    /// The first subscription of a group, or to a level's filter. All others are in the index; most filters have this one alone.
    #[cfg_attr(not(feature = "alloc"), inline(never))]
    fn first_at(&self, place: Place) -> Option<Handle<Subscription>> {
        match place.group() {
            Some(group) => self.groups[group].members.front(),
            None => self.trie.nodes[place.node()?].subscriptions.front(),
        }
    }

    /// The level of the filter.
    fn node_of_place(&self, place: Place) -> Option<Handle<Node>> {
        match place.group() {
            Some(group) => self.groups[group].node,
            None => place.node(),
        }
    }

    /// Whether anybody has subscribed to the filter of `node`. After a restart a group may wait for members.
    fn is_subscribed_to(&self, node: Handle<Node>) -> bool {
        self.subscriptions_at(node).next().is_some()
    }

    /// All subscriptions to the filter of `node`, those of groups behind the others.
    fn subscriptions_at(&self, node: Handle<Node>) -> impl Iterator<Item = Handle<Subscription>> {
        let node = &self.trie.nodes[node];
        let members = |group| self.groups[group].members.iter(&self.subscriptions);
        node.subscriptions.iter(&self.subscriptions).chain(node.groups.iter(&self.groups).flat_map(members))
    }

    fn subscriber_slot(&self, subscriber: Subscriber) -> Option<&super::SubscriberSlot> {
        self.subscribers.as_slice().get(subscriber.0 as usize)
    }

    fn subscription_hash(&self, place: Place, subscriber: Subscriber) -> u32 {
        self.trie.hasher.combine(place.number(), subscriber.0)
    }
}

fn pack(options: SubscriptionOptions, identifier: u32) -> u32 {
    debug_assert!(options.qos <= 2 && identifier <= IDENTIFIER);
    identifier & IDENTIFIER
        | u32::from(options.qos & 3) << QOS_SHIFT
        | if options.no_local { NO_LOCAL } else { 0 }
        | if options.retain_as_published { RETAIN_AS_PUBLISHED } else { 0 }
}
