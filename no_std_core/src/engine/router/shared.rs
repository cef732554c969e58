//! Shared subscriptions: groups, and which member of a group gets a message. Section 4.8.2 of MQTT 5.0.

use super::entries::{ByPlace, Group, Node, Subscription};
use super::{Router, SHARED, Subscriber};
use crate::config::ShareStrategy;
use crate::mem::{Claim, Handle, Hasher, Linked, Pool, one_more};
use crate::topic::TopicFilter;

impl Group {
    /// The number of members. It is at least one, except for a restored group whose members are not restored yet.
    pub fn member_count(&self) -> usize {
        self.count as usize
    }

    /// The number that the caller keeps with the group, see [`Router::set_group_tag`]; 0 at first.
    pub fn tag(&self) -> u32 {
        self.tag
    }

    pub(super) fn join(&mut self, subscriptions: &mut Pool<'_, Subscription>, handle: Handle<Subscription>) {
        self.members.push_back(subscriptions, handle);
        self.count = one_more(self.count);
    }

    pub(super) fn leave(&mut self, subscriptions: &mut Pool<'_, Subscription>, handle: Handle<Subscription>) {
        if self.cursor == Some(handle) {
            self.cursor = behind(subscriptions, handle);
        }
        self.members.unlink(subscriptions, handle);
        self.count = self.count.saturating_sub(1);
    }

    /// Every member once, beginning at the cursor, as if the list were a ring.
    fn ring<'a>(&self, subscriptions: &'a Pool<'_, Subscription>) -> impl Iterator<Item = Handle<Subscription>> + 'a {
        let first = self.members.front();
        let start = self.cursor.or(first);
        let next = move |handle: &Handle<Subscription>| behind(subscriptions, *handle).or(first);
        core::iter::successors(start, next).take(self.count as usize)
    }
}

/// The keys by which some strategies choose.
#[derive(Clone, Copy, Debug, Default)]
pub struct PickKeys {
    /// A fresh random number.
    pub random: u32,
    /// A hash of the publisher's Client Identifier.
    pub publisher: u32,
    /// A hash of the Topic Name.
    pub topic: u32,
}

impl Router<'_> {
    /// Chooses the member of `group` that gets a message. `None` if no member is available.
    ///
    /// `load` returns how many messages a subscriber has not acknowledged yet, or `None` if it can't receive one now.
    /// With the two hash strategies a member that leaves gives only its own share to others, and a member that joins
    /// gets its share evenly from all. Round robin and sticky take O(1) while members are available; the other
    /// strategies call `load` for all members.
    pub fn pick(
        &mut self,
        group: Handle<Group>,
        strategy: ShareStrategy,
        keys: PickKeys,
        mut load: impl FnMut(Subscriber) -> Option<u32>,
    ) -> Option<Handle<Subscription>> {
        let subscriptions = &self.subscriptions;
        let hasher = &self.trie.hasher;
        let group = &mut self.groups[group];
        let mut available = group.ring(subscriptions).filter_map(|handle| {
            let subscriber = subscriptions[handle].subscriber();
            load(subscriber).map(|load| (handle, subscriber, load))
        });
        match strategy {
            ShareStrategy::RoundRobin => {
                let (chosen, ..) = available.next()?;
                drop(available);
                group.cursor = behind(subscriptions, chosen);
                Some(chosen)
            }
            ShareStrategy::Sticky => {
                let (chosen, ..) = available.next()?;
                drop(available);
                group.cursor = Some(chosen);
                Some(chosen)
            }
            ShareStrategy::LeastInflight => {
                let mut least = available.next()?;
                // No load is below 0, so the search can stop there.
                while least.2 > 0 {
                    match available.next() {
                        Some(other) if other.2 < least.2 => least = other,
                        Some(_) => {}
                        None => break,
                    }
                }
                drop(available);
                group.cursor = behind(subscriptions, least.0);
                Some(least.0)
            }
            ShareStrategy::Random => highest(hasher, keys.random, available),
            ShareStrategy::HashPublisher => highest(hasher, keys.publisher, available),
            ShareStrategy::HashTopic => highest(hasher, keys.topic, available),
        }
    }

    /// Whether the slot has a group.
    pub(crate) fn is_live_group(&self, group: Handle<Group>) -> bool {
        SHARED && self.groups.is_live(group)
    }

    /// As [`Router::filter_of`] for a group, which may have no members yet.
    pub(crate) fn filter_of_group<'b>(&self, group: Handle<Group>, out: &'b mut [u8]) -> Option<&'b str> {
        self.filter_at(self.groups[group].node?, Some(group), out)
    }

    /// Whether the subscriber is a member of the group in this slot.
    pub(crate) fn is_member(&self, group: Handle<Group>, subscriber: Subscriber) -> bool {
        let node = if self.groups.is_live(group) { self.groups[group].node } else { None };
        node.is_some_and(|node| self.find_in(node, Some(group), subscriber).is_some())
    }

    /// The group with this handle, which a walk returned.
    pub fn group(&self, group: Handle<Group>) -> &Group {
        &self.groups[group]
    }

    /// The group of a shared subscription, if it has members.
    pub fn group_of(&self, filter: TopicFilter<'_>) -> Option<Handle<Group>> {
        self.find_group(self.trie.find(filter.proper())?, filter.share_name()?)
    }

    /// Whether `name` is the group's ShareName.
    pub fn group_has_name(&self, group: Handle<Group>, name: &str) -> bool {
        self.trie.texts.equals(self.groups[group].name, name.as_bytes())
    }

    /// Keeps a number with the group for the caller, for example where its queue is.
    pub fn set_group_tag(&mut self, group: Handle<Group>, tag: u32) {
        self.groups[group].tag = tag;
    }

    /// The members of a group in the order in which they joined.
    pub fn members_of(&self, group: Handle<Group>) -> impl Iterator<Item = Handle<Subscription>> {
        self.groups[group].members.iter(&self.subscriptions)
    }

    pub(super) fn find_group(&self, node: Handle<Node>, name: &str) -> Option<Handle<Group>> {
        if !SHARED {
            return None;
        }
        let hash = self.group_hash(node, name);
        self.group_index.find(&self.groups, hash, |group| {
            group.node == Some(node) && self.trie.texts.equals(group.name, name.as_bytes())
        })
    }

    /// The group with this name. Makes one if there is none; then the caller has to add a member, or end the group.
    pub(super) fn ensure_group(&mut self, node: Handle<Node>, name: &str) -> Option<Handle<Group>> {
        if let Some(group) = self.find_group(node, name) {
            return Some(group);
        }
        if !SHARED {
            return None;
        }
        let hash = self.group_hash(node, name);
        let name = self.trie.texts.store_claimed(name.as_bytes(), Claim::Ordinary)?;
        let Some(group) = self.groups.insert(Group::new(node, name, hash)) else {
            self.trie.texts.release(name);
            return None;
        };
        self.group_index.insert(&mut self.groups, group);
        self.trie.nodes[node].groups.push_back(&mut self.groups, group);
        Some(group)
    }

    /// Restores a group to its slot. Returns false if there is no room, or there is such a group already.
    pub(crate) fn restore_group(&mut self, slot: usize, filter: TopicFilter<'_>) -> bool {
        let Some(share_name) = filter.share_name().filter(|_| SHARED) else {
            return false;
        };
        let Ok(node) = self.trie.ensure(filter.proper()) else { return false };
        let mut restored = None;
        if self.find_group(node, share_name).is_none()
            && let Some(name) = self.trie.texts.store(&[share_name.as_bytes()])
        {
            let hash = self.group_hash(node, share_name);
            restored = self.groups.restore(slot, Group::new(node, name, hash));
            if restored.is_none() {
                self.trie.texts.release(name);
            }
        }
        match restored {
            Some(group) => {
                self.group_index.insert(&mut self.groups, group);
                self.trie.nodes[node].groups.push_back(&mut self.groups, group);
            }
            None => self.trie.prune(node),
        }
        restored.is_some()
    }

    /// Ends a restored group without members. Returns its tag.
    pub(crate) fn end_restored_group(&mut self, slot: usize) -> Option<u32> {
        let group = Handle::from_index(slot);
        if !self.groups.is_live(group) {
            return None;
        }
        let node = self.groups[group].node;
        let ended = self.end_group_without_members(group)?;
        if let Some(node) = node {
            self.trie.prune(node);
        }
        Some(ended)
    }

    /// How many slots are used or were used before.
    pub(crate) fn group_slots(&self) -> usize {
        self.groups.slots()
    }

    /// Removes `group` if it has no members. Returns its tag. Its node stays, even if nothing needs it.
    pub(super) fn end_group_without_members(&mut self, group: Handle<Group>) -> Option<u32> {
        if !self.groups[group].members.is_empty() {
            return None;
        }
        self.group_index.remove(&mut self.groups, group);
        if let Some(node) = self.groups[group].node {
            self.trie.nodes[node].groups.unlink(&mut self.groups, group);
        }
        let ended = self.groups.remove(group);
        self.trie.texts.release(ended.name);
        Some(ended.tag)
    }

    fn group_hash(&self, node: Handle<Node>, name: &str) -> u32 {
        self.trie.hasher.combine(node.index() as u32, self.trie.hasher.hash_bytes(name.as_bytes()))
    }
}

/// The next member of the same group.
fn behind(subscriptions: &Pool<'_, Subscription>, handle: Handle<Subscription>) -> Option<Handle<Subscription>> {
    Linked::<ByPlace>::next(&subscriptions[handle])
}

/// Rendezvous hashing: each member has a weight for this key, and the member with the greatest weight is chosen.
fn highest(
    hasher: &Hasher,
    key: u32,
    members: impl Iterator<Item = (Handle<Subscription>, Subscriber, u32)>,
) -> Option<Handle<Subscription>> {
    let mut heaviest = None;
    for (handle, subscriber, _) in members {
        let weight = (hasher.weigh(key, subscriber.0), subscriber);
        if heaviest.is_none_or(|(most, _)| weight > most) {
            heaviest = Some((weight, handle));
        }
    }
    heaviest.map(|(_, handle)| handle)
}
