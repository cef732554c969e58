//! The walk from a Topic Name to all matching subscriptions and groups.

use super::entries::{ByPlace, Group, Node, Subscription};
use super::position::Position;
use super::trie::Trie;
use super::{Router, SHARED};
use crate::mem::{Handle, Linked, OwnedOnly, one_less};
use crate::topic::TopicName;

/// What [`Matches`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// A subscription that is not shared.
    Subscription(Handle<Subscription>),
    /// A group of shared subscriptions, one member of which gets the message.
    Group(Handle<Group>),
}

/// A walk through all subscriptions and groups that match one Topic Name, each once.
#[derive(Clone, Debug)]
pub struct Matches<'t> {
    position: Position<'t>,
    /// The topic starts with `$`: wildcards on the first level don't match `[MQTT-4.7.2-1]`.
    reserved: bool,
    /// The node at which the walk is. `position` is how far the way from the root to this node reaches in the topic.
    node: Option<Handle<Node>>,
    /// How many `+` children beside the way from the root to `node` are still to be visited.
    open: u32,
    /// The subscription that `next` returns first, before the walk goes on.
    subscription: Option<Handle<Subscription>>,
    group: Option<Handle<Group>>,
    /// Another node that matches, and is handled next.
    also: Option<Handle<Node>>,
    /// How many nodes the walk has visited.
    visited: OwnedOnly<u32>,
}

impl Router<'_> {
    /// Starts a walk through all subscriptions and groups that match `topic`.
    #[inline]
    pub fn matches<'t>(&self, topic: TopicName<'t>) -> Matches<'t> {
        let mut matches = Matches {
            position: Position::new(topic.as_str()),
            reserved: topic.is_reserved(),
            node: None,
            open: 0,
            subscription: None,
            group: None,
            also: None,
            visited: OwnedOnly::new(0),
        };
        matches.arrive_at_root(&self.trie);
        matches
    }
}

impl Matches<'_> {
    /// How many levels of the tree the walk has visited so far; 0 without the feature `alloc`.
    #[inline]
    pub fn visited(&self) -> u32 {
        self.visited.get()
    }

    /// The length of the Topic Name in bytes.
    #[inline]
    pub fn text_len(&self) -> usize {
        self.position.text_len()
    }

    /// Starts the walk again from the root, for the same topic. The subscriptions may have changed. The count of visited levels
    /// begins at 0.
    pub fn restart(&mut self, router: &Router<'_>) {
        self.position.restart();
        (self.node, self.open, self.subscription, self.group, self.also) = (None, 0, None, None, None);
        self.visited.set(0);
        self.arrive_at_root(&router.trie);
    }

    #[inline]
    fn arrive_at_root(&mut self, trie: &Trie<'_>) {
        if let Some(root) = trie.root {
            self.arrive(trie, root);
        }
    }

    /// The next match. The subscriptions must be the same as at the last call.
    #[inline]
    pub fn next(&mut self, router: &Router<'_>) -> Option<Match> {
        loop {
            if let Some(handle) = self.subscription {
                self.subscription = Linked::<ByPlace>::next(&router.subscriptions[handle]);
                return Some(Match::Subscription(handle));
            }
            if let Some(handle) = self.group.filter(|_| SHARED) {
                self.group = router.groups[handle].next();
                return Some(Match::Group(handle));
            }
            if let Some(node) = self.also.take() {
                self.give(&router.trie, node);
                continue;
            }
            let trie = &router.trie;
            let node = self.node?;
            let next = self.descend(trie, node).or_else(|| self.backtrack(trie, node));
            self.node = None;
            self.arrive(trie, next?);
        }
    }

    /// Moves down to the child for the next level: to that with the text of the level if it exists, otherwise to `+`.
    #[inline]
    fn descend(&mut self, trie: &Trie<'_>, node: Handle<Node>) -> Option<Handle<Node>> {
        let level = self.position.ahead()?;
        let plus = self.plus(trie, node);
        let child = match trie.child(node, level, || self.position.hash(&trie.hasher, level)) {
            Some(child) => {
                // The count is at most the number of levels of the topic, which is at most 65,536.
                self.open = self.open.wrapping_add(u32::from(plus.is_some()));
                child
            }
            None => plus?,
        };
        self.position.forward(level);
        Some(child)
    }

    /// Moves up to the nearest node with a `+` child that was not visited, and down to that child.
    fn backtrack(&mut self, trie: &Trie<'_>, mut node: Handle<Node>) -> Option<Handle<Node>> {
        while self.open > 0 {
            let here = &trie.nodes[node];
            let was_exact = here.is_exact();
            node = here.parent?;
            self.position.back();
            if was_exact && let Some(plus) = self.plus(trie, node) {
                self.open = one_less(self.open);
                let level = self.position.ahead()?;
                self.position.forward(level);
                return Some(plus);
            }
        }
        None
    }

    /// Moves to `node` and notes its matches: `#` below the node, and the node itself if the topic has no more levels.
    #[inline]
    fn arrive(&mut self, trie: &Trie<'_>, node: Handle<Node>) {
        self.node = Some(node);
        self.visited.set(self.visited.get().wrapping_add(1));
        if self.position.is_end() {
            self.give(trie, node);
        }
        if !(self.reserved && self.position.is_start()) {
            self.also = trie.pound(node);
        }
    }

    #[inline]
    fn give(&mut self, trie: &Trie<'_>, node: Handle<Node>) {
        let node = &trie.nodes[node];
        self.subscription = node.subscriptions.front();
        self.group = node.groups.front();
    }

    #[inline]
    fn plus(&self, trie: &Trie<'_>, node: Handle<Node>) -> Option<Handle<Node>> {
        if self.reserved && self.position.is_start() { None } else { trie.plus(node) }
    }
}
