//! Retained messages: one a topic, and the walk from a Topic Filter to all that match it.

use super::entries::Node;
use super::position::Position;
use super::trie::Trie;
use super::{Retained, Router, RouterFull};
use crate::mem::{Handle, one_less, one_more};
use crate::topic::{TopicFilter, TopicName};

impl Router<'_> {
    /// Keeps `retained` as the retained message of `topic`; gives the one it replaces `[MQTT-3.3.1-5]`.
    pub fn retain(&mut self, topic: TopicName<'_>, retained: Retained) -> Result<Option<Retained>, RouterFull> {
        let node = self.trie.ensure(topic.as_str())?;
        let old = self.trie.nodes[node].retained.replace(retained);
        if old.is_none() {
            self.trie.count_retained(node);
        }
        Ok(old)
    }

    /// Takes the retained message of `topic` away `[MQTT-3.3.1-6]`.
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
/// It goes only where retained messages are: filters that others subscribed to cost it nothing.
#[derive(Clone, Debug)]
pub struct RetainedMatches<'t> {
    position: Position<'t>,
    at: At,
    /// How many levels on the way from the root were matched by `+`, and may have more siblings to visit.
    choices: u32,
}

/// A place in a walk that is interrupted: on a level at or below which there is a retained message, or before the first.
///
/// Retained messages may come and go meanwhile, and subscriptions too. Before one goes that is the last at or below that level the
/// walk has to go on: [`Router::loses`] tells. Those that come behind it may be met, or not.
#[derive(Clone, Copy, Debug, Default)]
pub struct RetainedCursor {
    at: At,
    start: u32,
    // A filter has fewer levels than that.
    choices: u16,
    depth: u16,
}

impl Router<'_> {
    /// Goes on with a walk through the retained messages that match `filter`.
    pub fn resume_retained<'t>(&self, filter: &'t str, cursor: RetainedCursor) -> RetainedMatches<'t> {
        let position = Position::at(filter, cursor.start as usize, cursor.depth as usize);
        RetainedMatches { position, at: cursor.at, choices: cursor.choices.into() }
    }

    /// The retained message a walk stands on.
    pub fn retained_under(&self, cursor: RetainedCursor) -> Option<Retained> {
        self.trie.nodes[cursor.node()?].retained
    }

    /// Whether a walk stands where nothing will be retained any more, at it or below, when the message of this topic goes.
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

    /// Where `topic` stands in the tree, for [`Router::loses`]; `None` if nothing is kept for it.
    pub fn node_of(&self, topic: TopicName<'_>) -> Option<Handle<Node>> {
        self.trie.find(topic.as_str())
    }
}

impl RetainedCursor {
    /// Before the first.
    pub const START: Self = Self { at: At::Start, choices: 0, start: 0, depth: 0 };

    /// Behind the last.
    pub const END: Self = Self { at: At::End, ..Self::START };

    /// Whether it is behind the last.
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

/// Where the walk stands.
#[derive(Clone, Copy, Debug, Default)]
enum At {
    #[default]
    Start,
    /// The way to this node matches the filter's levels before the position.
    Node(Handle<Node>),
    /// Somewhere below a node at which `#` is the level ahead: that many levels below.
    Below(Handle<Node>, u32),
    End,
}

impl RetainedMatches<'_> {
    /// Interrupts the walk where it is.
    pub fn suspend(&self) -> RetainedCursor {
        let (start, depth) = self.position.place();
        RetainedCursor { at: self.at, choices: self.choices as u16, start: start as u32, depth: depth as u16 }
    }

    /// The next one. The retained messages must be the same as at the last call.
    pub fn next(&mut self, router: &Router<'_>) -> Option<Retained> {
        while !self.is_over() {
            let found = self.step(router);
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// Whether there is no next one.
    pub fn is_over(&self) -> bool {
        matches!(self.at, At::End)
    }

    /// To the next level that the walk comes by; the retained message there, if it is one that matches.
    pub fn step(&mut self, router: &Router<'_>) -> Option<Retained> {
        let trie = &router.trie;
        self.at = match self.at {
            At::Start => trie.root.map_or(At::End, At::Node),
            At::Node(node) => self.descend(trie, node).unwrap_or_else(|| self.backtrack(trie, node)),
            At::Below(node, depth) => self.wander(trie, node, depth),
            At::End => At::End,
        };
        match self.at {
            // `#` matches the level above it too, see section 4.7.1.2.
            At::Node(node) if self.position.is_end() || self.position.rest() == b"#" => trie.nodes[node].retained,
            At::Below(node, _) => trie.nodes[node].retained,
            _ => None,
        }
    }

    /// Down to the first child that matches the level ahead.
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

    /// Up until a node that `+` matched has another sibling, and there.
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

    /// To the next of all nodes below the one at which `#` is ahead, each before those below it.
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

/// The first of `node` and its siblings behind that has retained messages; on the `first_level`, where a wildcard
/// does not match `$` `[MQTT-4.7.2-1]`, the first one without it.
fn first_from(trie: &Trie<'_>, mut node: Option<Handle<Node>>, first_level: bool) -> Option<Handle<Node>> {
    while let Some(found) = node {
        // Behind the first that has none nobody has any.
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
    /// A retained message came to `node`. Nodes with retained messages are moved before their siblings.
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

    /// A retained message left `node`. Nodes without any are moved behind their siblings.
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
