//! Retained messages: one for each topic, and the walk from a Topic Filter to all that match.

use super::entries::Node;
use super::position::Position;
use super::trie::Trie;
use super::{Retained, Router, RouterFull};
use crate::mem::{Handle, one_less, one_more};
use crate::topic::{TopicFilter, TopicName};

impl Router<'_> {
    /// Keeps `retained` as the retained message of `topic`. Returns the message that it replaces `[MQTT-3.3.1-5]`.
    pub fn retain(&mut self, topic: TopicName<'_>, retained: Retained) -> Result<Option<Retained>, RouterFull> {
        let node = self.trie.ensure(topic.as_str())?;
        let old = self.trie.nodes[node].retained.replace(retained);
        if old.is_none() {
            self.trie.count_retained(node);
        }
        Ok(old)
    }

    /// Removes and returns the retained message of `topic` `[MQTT-3.3.1-6]`.
    pub fn unretain(&mut self, topic: TopicName<'_>) -> Option<Retained> {
        let node = self.trie.find(topic.as_str())?;
        let old = self.trie.nodes[node].retained.take()?;
        self.trie.uncount_retained(node);
        self.trie.prune(node);
        Some(old)
    }

    /// The retained message of `topic`.
    pub fn retained_at(&self, topic: TopicName<'_>) -> Option<Retained> {
        self.trie.nodes[self.trie.find(topic.as_str())?].retained
    }

    /// Starts a walk through the retained messages that match `filter` (without its ShareName).
    pub fn retained<'t>(&self, filter: TopicFilter<'t>) -> RetainedMatches<'t> {
        RetainedMatches { position: Position::new(filter.proper()), at: At::Start, choices: 0 }
    }
}

/// A walk through all retained messages whose topic matches one Topic Filter, each once.
///
/// The walk visits only nodes with retained messages at or below them: filters of subscribers cost it nothing.
#[derive(Clone, Debug)]
pub struct RetainedMatches<'t> {
    position: Position<'t>,
    at: At,
    /// How many levels on the way from the root were matched by `+`, so that further nodes beside them may have to be visited.
    choices: u32,
}

/// The place of an interrupted walk: a node with retained messages at it or below, or before the first node.
///
/// Meanwhile retained messages and subscriptions may come and go. Before the last retained message at or below the node is
/// removed, the walk has to go on: [`Router::loses`] tells. Whether the walk finds a message that comes meanwhile is left open.
#[derive(Clone, Copy, Debug, Default)]
pub struct RetainedCursor {
    at: At,
    start: u32,
    // A filter has at most 65,535 levels.
    choices: u16,
    depth: u16,
}

impl Router<'_> {
    /// Goes on with a walk through the retained messages that match `filter`.
    pub fn resume_retained<'t>(&self, filter: &'t str, cursor: RetainedCursor) -> RetainedMatches<'t> {
        let position = Position::at(filter, cursor.start as usize, cursor.depth as usize);
        RetainedMatches { position, at: cursor.at, choices: cursor.choices.into() }
    }

    /// The retained message at the place of a walk.
    pub fn retained_under(&self, cursor: RetainedCursor) -> Option<Retained> {
        self.trie.nodes[cursor.node()?].retained
    }

    /// Whether the place of a walk loses its last retained message, at it or below, when the message of this topic is removed.
    pub fn loses(&self, cursor: RetainedCursor, topic: Handle<Node>) -> bool {
        let Some(stands_on) = cursor.node() else { return false };
        let mut next = Some(topic);
        while let Some(node) = next.filter(|node| self.trie.nodes[*node].retained_below <= 1) {
            if node == stands_on {
                return true;
            }
            next = self.trie.nodes[node].parent;
        }
        false
    }

    /// The node of `topic` in the tree, for [`Router::loses`]; `None` if there is none.
    pub fn node_of(&self, topic: TopicName<'_>) -> Option<Handle<Node>> {
        self.trie.find(topic.as_str())
    }
}

impl RetainedCursor {
    /// The place before the first retained message.
    pub const START: Self = Self { at: At::Start, choices: 0, start: 0, depth: 0 };

    /// The place behind the last retained message.
    pub const END: Self = Self { at: At::End, ..Self::START };

    /// Whether the walk is at its end.
    pub fn is_over(self) -> bool {
        matches!(self.at, At::End)
    }

    fn node(self) -> Option<Handle<Node>> {
        match self.at {
            At::Node(node) | At::Below(node, _) => Some(node),
            At::Start | At::End => None,
        }
    }
}

/// The node at which the walk is.
#[derive(Clone, Copy, Debug, Default)]
enum At {
    #[default]
    Start,
    /// A node; the way from the root to it matches the filter's levels before the position.
    Node(Handle<Node>),
    /// A node below one where `#` is the next level of the filter, and by how many levels it is below.
    Below(Handle<Node>, u32),
    End,
}

impl RetainedMatches<'_> {
    /// Interrupts the walk, and returns its place.
    pub fn suspend(&self) -> RetainedCursor {
        let (start, depth) = self.position.place();
        RetainedCursor { at: self.at, choices: self.choices as u16, start: start as u32, depth: depth as u16 }
    }

    /// The next retained message. The retained messages must be the same as at the last call.
    pub fn next(&mut self, router: &Router<'_>) -> Option<Retained> {
        while !self.is_over() {
            let found = self.step(router);
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// Whether there are no more retained messages.
    pub fn is_over(&self) -> bool {
        matches!(self.at, At::End)
    }

    /// Moves to the next node of the walk. Returns the retained message there, if it matches.
    pub fn step(&mut self, router: &Router<'_>) -> Option<Retained> {
        let trie = &router.trie;
        self.at = match self.at {
            At::Start => trie.root.map_or(At::End, At::Node),
            At::Node(node) => self.descend(trie, node).unwrap_or_else(|| self.backtrack(trie, node)),
            At::Below(node, depth) => self.wander(trie, node, depth),
            At::End => At::End,
        };
        match self.at {
            // `#` also matches the level above it, see section 4.7.1.2.
            At::Node(node) if self.position.is_end() || self.position.rest() == b"#" => trie.nodes[node].retained,
            At::Below(node, _) => trie.nodes[node].retained,
            _ => None,
        }
    }

    /// Moves down to the first child that matches the next level.
    fn descend(&mut self, trie: &Trie<'_>, node: Handle<Node>) -> Option<At> {
        let level = self.position.ahead()?;
        match level {
            b"#" => {
                let child = first_from(trie, trie.nodes[node].children.front(), self.position.is_start())?;
                Some(At::Below(child, 1))
            }
            b"+" => {
                let child = first_from(trie, trie.nodes[node].children.front(), self.position.is_start())?;
                self.choices = one_more(self.choices);
                self.position.forward(level);
                Some(At::Node(child))
            }
            _ => {
                let child = trie
                    .child(node, level, || self.position.hash(&trie.hasher, level))
                    .filter(|child| trie.nodes[*child].retained_below > 0)?;
                self.position.forward(level);
                Some(At::Node(child))
            }
        }
    }

    /// Moves up to a node that `+` matched and that has another node beside it, and to that node.
    fn backtrack(&mut self, trie: &Trie<'_>, mut node: Handle<Node>) -> At {
        while self.choices > 0 {
            self.position.back();
            let (Some(parent), Some(level)) = (trie.nodes[node].parent, self.position.ahead()) else {
                break;
            };
            if level == b"+" {
                if let Some(sibling) = first_from(trie, trie.nodes[node].next, self.position.is_start()) {
                    self.position.forward(level);
                    return At::Node(sibling);
                }
                self.choices = one_less(self.choices);
            }
            node = parent;
        }
        At::End
    }

    /// Moves to the next of all nodes below the one where `#` is the next level. A node comes before those below it.
    fn wander(&mut self, trie: &Trie<'_>, mut node: Handle<Node>, mut depth: u32) -> At {
        if let Some(child) = first_from(trie, trie.nodes[node].children.front(), false) {
            return At::Below(child, one_more(depth));
        }
        loop {
            if let Some(sibling) = first_from(trie, trie.nodes[node].next, depth == 1 && self.position.is_start()) {
                return At::Below(sibling, depth);
            }
            let Some(parent) = trie.nodes[node].parent else { return At::End };
            (node, depth) = (parent, one_less(depth));
            if depth == 0 {
                return self.backtrack(trie, node);
            }
        }
    }
}

/// The first node with retained messages among `node` and those behind it in the same list. On the `first_level`, where a wildcard
/// does not match `$` `[MQTT-4.7.2-1]`, the first such node without `$`.
fn first_from(trie: &Trie<'_>, mut node: Option<Handle<Node>>, first_level: bool) -> Option<Handle<Node>> {
    while let Some(found) = node {
        // Nodes without retained messages are at the end of the list.
        if trie.nodes[found].retained_below == 0 {
            return None;
        }
        if !(first_level && trie.is_reserved(found)) {
            return Some(found);
        }
        node = trie.nodes[found].next;
    }
    None
}

impl Trie<'_> {
    /// Counts a new retained message at `node`. Nodes with retained messages are moved to the front of their list.
    fn count_retained(&mut self, node: Handle<Node>) {
        let mut next = Some(node);
        while let Some(node) = next {
            next = self.nodes[node].parent;
            self.nodes[node].retained_below = one_more(self.nodes[node].retained_below);
            if let Some(parent) = next.filter(|_| self.nodes[node].retained_below == 1) {
                self.with_children(parent, |list, nodes| {
                    list.unlink(nodes, node);
                    list.push_front(nodes, node);
                });
            }
        }
    }

    /// Counts a retained message less at `node`. Nodes without retained messages are moved to the end of their list.
    fn uncount_retained(&mut self, node: Handle<Node>) {
        let mut next = Some(node);
        while let Some(node) = next {
            next = self.nodes[node].parent;
            self.nodes[node].retained_below = self.nodes[node].retained_below.saturating_sub(1);
            if let Some(parent) = next.filter(|_| self.nodes[node].retained_below == 0) {
                self.with_children(parent, |list, nodes| {
                    list.unlink(nodes, node);
                    list.push_back(nodes, node);
                });
            }
        }
    }
}
