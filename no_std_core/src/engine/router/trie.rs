//! The tree of topic levels.

use super::RouterFull;
use super::entries::{Level, Node, SHORT};
use super::position::Position;
use crate::mem::{Bytes, Claim, Handle, HashIndex, Hasher, List, OWNED, Pool, PoolSlot, Slots, copy};

/// The tree, without the subscriptions at its nodes.
#[derive(Debug)]
pub(super) struct Trie<'m> {
    pub(super) nodes: Pool<'m, Node>,
    /// An index of all nodes but the root and the wildcards.
    pub(super) index: HashIndex<'m, Node>,
    pub(super) texts: Bytes<'m>,
    pub(super) hasher: Hasher,
    /// The root; `None` if there is no memory at all.
    pub(super) root: Option<Handle<Node>>,
}

impl<'m> Trie<'m> {
    pub(super) fn new(
        nodes: Slots<'m, PoolSlot<Node>>,
        buckets: Slots<'m, Option<Handle<Node>>>,
        texts: Bytes<'m>,
        hasher: Hasher,
    ) -> Self {
        let mut nodes = Pool::new(nodes);
        let root = nodes.insert(Node::EMPTY);
        Self { nodes, index: HashIndex::new(buckets), texts, hasher, root }
    }

    /// The number of nodes without the root.
    pub(super) fn len(&self) -> usize {
        self.nodes.len().saturating_sub(1)
    }

    pub(super) fn retained_count(&self) -> usize {
        self.root.map_or(0, |root| self.nodes[root].retained_below as usize)
    }

    /// The child of `parent` with exactly this text. `hash` is called only if it is needed: most levels have at most one child,
    /// and then the text decides.
    #[inline]
    pub(super) fn child(&self, parent: Handle<Node>, text: &[u8], hash: impl FnOnce() -> u32) -> Option<Handle<Node>> {
        // In firmware hashing is quicker than this comparison.
        if OWNED && let Some(child) = self.only_child(parent, text) {
            return child;
        }
        let hash = self.hash_of(parent, hash());
        self.index.find(&self.nodes, hash, |node| self.is_child(node, parent, text))
    }

    /// The child of `parent` with this text, if that is clear without a hash: at most one child exists.
    #[inline]
    pub(super) fn only_child(&self, parent: Handle<Node>, text: &[u8]) -> Option<Option<Handle<Node>>> {
        let Some(first) = self.nodes[parent].children.front() else { return Some(None) };
        let child = &self.nodes[first];
        child.next.is_none().then(|| child.level.is(text, &self.texts).then_some(first))
    }

    #[inline]
    pub(super) fn is_child(&self, node: &Node, parent: Handle<Node>, text: &[u8]) -> bool {
        node.parent == Some(parent) && node.level.is(text, &self.texts)
    }

    /// The `+` child.
    #[inline]
    pub(super) fn plus(&self, parent: Handle<Node>) -> Option<Handle<Node>> {
        let first = self.nodes[parent].wildcards.front()?;
        matches!(self.nodes[first].level, Level::Plus).then_some(first)
    }

    /// The `#` child.
    #[inline]
    pub(super) fn pound(&self, parent: Handle<Node>) -> Option<Handle<Node>> {
        let first = self.nodes[parent].wildcards.front()?;
        match self.nodes[first].level {
            Level::Pound => Some(first),
            _ => self.nodes[first].next,
        }
    }

    /// Whether the level's text starts with `$`.
    pub(super) fn is_reserved(&self, node: Handle<Node>) -> bool {
        match self.nodes[node].level {
            Level::Short(text) => text.first() == Some(&b'$'),
            Level::Long(blob) => self.texts.chunks(blob, 0..1).next() == Some(b"$"),
            Level::Plus | Level::Pound => false,
        }
    }

    /// The node of a Topic Name, or of a Topic Filter without its ShareName.
    pub(super) fn find(&self, path: &str) -> Option<Handle<Node>> {
        let mut position = Position::new(path);
        let mut node = self.root?;
        while let Some(level) = position.ahead() {
            node = self.step(node, level)?;
            position.forward(level);
        }
        Some(node)
    }

    /// The node of a Topic Name or Topic Filter. Makes the missing nodes; then the caller has to add something there, or call
    /// [`Trie::prune`].
    pub(super) fn ensure(&mut self, path: &str) -> Result<Handle<Node>, RouterFull> {
        let mut position = Position::new(path);
        let mut node = self.root.ok_or(RouterFull)?;
        while let Some(level) = position.ahead() {
            node = match self.step(node, level).or_else(|| self.add(node, level)) {
                Some(child) => child,
                None => {
                    self.prune(node);
                    return Err(RouterFull);
                }
            };
            position.forward(level);
        }
        Ok(node)
    }

    /// Removes `node` and those above it that nothing needs.
    pub(super) fn prune(&mut self, mut node: Handle<Node>) {
        while let Some(parent) = self.nodes[node].parent {
            if self.nodes[node].is_needed() {
                return;
            }
            if self.nodes[node].is_exact() {
                self.index.remove(&mut self.nodes, node);
                self.with_children(parent, |list, nodes| list.unlink(nodes, node));
            } else {
                let mut wildcards = self.nodes[parent].wildcards;
                wildcards.unlink(&mut self.nodes, node);
                self.nodes[parent].wildcards = wildcards;
            }
            if let Level::Long(text) = self.nodes.remove(node).level {
                self.texts.release(text);
            }
            node = parent;
        }
    }

    /// Lets `change` change the list of children, whose head is in the same pool as the children.
    pub(super) fn with_children(
        &mut self,
        parent: Handle<Node>,
        change: impl FnOnce(&mut List<Node>, &mut Pool<'_, Node>),
    ) {
        let mut list = self.nodes[parent].children;
        change(&mut list, &mut self.nodes);
        self.nodes[parent].children = list;
    }

    /// Writes the text from the root to `node` to the end of `out`. Returns where in `out` it begins.
    pub(super) fn write_path(&self, mut node: Handle<Node>, out: &mut [u8]) -> Option<usize> {
        let mut start = out.len();
        let mut parent = self.nodes[node].parent;
        while let Some(above) = parent {
            start = match &self.nodes[node].level {
                Level::Short(text) => write_before(out, start, text.split(|byte| *byte == 0).next()?)?,
                Level::Long(blob) => {
                    let to = start.checked_sub(blob.len())?;
                    self.texts.copy(*blob, 0, out.get_mut(to..start)?);
                    to
                }
                Level::Plus => write_before(out, start, b"+")?,
                Level::Pound => write_before(out, start, b"#")?,
            };
            node = above;
            parent = self.nodes[node].parent;
            if parent.is_some() {
                start = write_before(out, start, b"/")?;
            }
        }
        Some(start)
    }

    pub(super) fn hash_of(&self, parent: Handle<Node>, level: u32) -> u32 {
        self.hasher.combine(parent.index() as u32, level)
    }

    /// The child for a level of a filter, which may be a wildcard. A Topic Name has no such level.
    fn step(&self, parent: Handle<Node>, level: &[u8]) -> Option<Handle<Node>> {
        match level {
            b"+" => self.plus(parent),
            b"#" => self.pound(parent),
            _ => self.child(parent, level, || self.hasher.hash_bytes(level)),
        }
    }

    fn add(&mut self, parent: Handle<Node>, level: &[u8]) -> Option<Handle<Node>> {
        let hash = self.hash_of(parent, self.hasher.hash_bytes(level));
        let kind = match level {
            b"+" => Level::Plus,
            b"#" => Level::Pound,
            text => {
                let mut short = [0; SHORT];
                match short.get_mut(..text.len()) {
                    Some(place) => {
                        copy(place, text);
                        Level::Short(short)
                    }
                    None => Level::Long(self.texts.store_claimed(text, Claim::Ordinary)?),
                }
            }
        };
        let Some(node) = self.nodes.insert(Node::new(kind, parent, hash)) else {
            if let Level::Long(text) = kind {
                self.texts.release(text);
            }
            return None;
        };
        match kind {
            Level::Short(_) | Level::Long(_) => {
                self.index.insert(&mut self.nodes, node);
                self.with_children(parent, |list, nodes| list.push_back(nodes, node));
            }
            Level::Plus | Level::Pound => {
                let mut wildcards = self.nodes[parent].wildcards;
                if matches!(kind, Level::Plus) {
                    wildcards.push_front(&mut self.nodes, node);
                } else {
                    wildcards.push_back(&mut self.nodes, node);
                }
                self.nodes[parent].wildcards = wildcards;
            }
        }
        Some(node)
    }
}

/// Writes `text` to `out` so that it ends at `end`. Returns where it begins.
pub(super) fn write_before(out: &mut [u8], end: usize, text: &[u8]) -> Option<usize> {
    let start = end.checked_sub(text.len())?;
    copy(out.get_mut(start..end)?, text);
    Some(start)
}
