//! Looks up the next topics together, before the first of them is matched.
//!
//! In a tree that is larger than the caches, each step of a walk waits for memory, and the next step waits for the previous one.
//! Several walks side by side wait at the same time. So a few topics are looked up once, step by step together, and the result
//! is not used: the memory that matching them needs is in the caches then. Only the way without wildcards is looked up; the
//! other matches are mostly needed for each message anyway.

use super::Router;
use super::entries::Node;
use super::position::find_slash;
use super::trie::Trie;
use crate::mem::{Chained, Handle};

/// How many topics are looked up together.
pub(crate) const SIDE_BY_SIDE: usize = 16;

/// A look-up of a child node that was begun by `seek`, and is finished by `found`.
#[derive(Clone, Copy)]
struct Sought<'t> {
    parent: Handle<Node>,
    text: &'t [u8],
    hash: u32,
    /// The first candidate: the head of the hash chain, or the only child.
    first: Option<Handle<Node>>,
}

/// A walk straight down the levels of a topic.
#[derive(Clone, Copy, Default)]
struct Walk<'t> {
    /// The node of the walk; `None` if the topic has no node here.
    node: Option<Handle<Node>>,
    /// The levels below the node that were not looked up yet.
    rest: Option<&'t [u8]>,
    next: Option<Sought<'t>>,
}

impl Router<'_> {
    /// Whether the tree is so large that [`Router::look_ahead`] is worth it.
    #[inline]
    pub(crate) fn is_vast(&self) -> bool {
        self.trie.index.is_vast()
    }

    /// Loads the memory that matching these topics needs, for the first [`SIDE_BY_SIDE`] of them.
    pub(crate) fn look_ahead(&self, topics: &[&[u8]]) {
        let nodes = self.find_together(topics).into_iter().flatten();
        let first = nodes.filter_map(|node| self.trie.nodes[node].subscriptions.front());
        core::hint::black_box(first.fold(0, |sum, first| sum ^ self.subscriptions[first].subscriber().0));
    }

    /// The nodes of these topics; `+` stands for a level that does not exist.
    fn find_together(&self, topics: &[&[u8]]) -> [Option<Handle<Node>>; SIDE_BY_SIDE] {
        let trie = &self.trie;
        let mut walks = [Walk::default(); SIDE_BY_SIDE];
        for (walk, topic) in walks.iter_mut().zip(topics) {
            *walk = Walk { node: trie.root, rest: Some(topic), next: None };
        }
        while walks.iter().any(|walk| walk.node.is_some() && walk.rest.is_some()) {
            for walk in &mut walks {
                walk.next = walk.node.zip(walk.rest).map(|(node, rest)| {
                    let (text, behind) = rest.split_at_checked(find_slash(rest)).unwrap_or_default();
                    walk.rest = behind.get(1..);
                    trie.seek(node, text)
                });
            }
            for walk in &mut walks {
                if let Some(next) = walk.next {
                    walk.node = trie.found(next).or_else(|| trie.plus(walk.node?));
                }
            }
        }
        walks.map(|walk| walk.node)
    }
}

impl Trie<'_> {
    /// Begins to look for a child. Others may be begun before this one is [`found`](Trie::found).
    #[inline]
    fn seek<'t>(&self, parent: Handle<Node>, text: &'t [u8]) -> Sought<'t> {
        if let Some(only) = self.only_child(parent, text) {
            return Sought { parent, text, hash: only.map_or(0, |child| self.nodes[child].hash()), first: only };
        }
        let hash = self.hash_of(parent, self.hasher.hash_bytes(text));
        Sought { parent, text, hash, first: self.index.first(hash) }
    }

    /// Finishes a look-up.
    #[inline]
    fn found(&self, sought: Sought<'_>) -> Option<Handle<Node>> {
        let Sought { parent, text, hash, first } = sought;
        self.index.find_from(first, &self.nodes, hash, |node| self.is_child(node, parent, text))
    }
}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use super::super::{RouterLimits, RouterMemory, Subscriber, SubscriptionOptions};
    use super::*;
    use crate::mem::Hasher;
    use crate::topic::TopicFilter;
    use std::vec::Vec;

    #[test]
    fn topics_looked_up_together_are_found_as_each_alone() {
        let limits = RouterLimits { nodes: 100, subscriptions: 100, subscribers: 1, groups: 0, text_bytes: 1000 };
        let mut router = Router::new(RouterMemory::owned(limits), Hasher::new(1));
        let long = "a level of more than fifteen bytes";
        let filters = ["a", "a/b", "a/b/c", "//", "a//b", long, "d/+/e", "d/f/g", "+/+/#", "a/#", "/x/y/z/0/1/2/3"];
        assert!(!router.is_vast());
        for filter in filters {
            let filter = TopicFilter::new(filter).unwrap();
            router.subscribe(filter, Subscriber(0), SubscriptionOptions::default(), 0).unwrap();
        }
        assert!(router.is_vast(), "a debug build looks ahead early");
        let mut topics: Vec<_> = filters.into_iter().filter(|filter| !filter.contains('#')).collect();
        let exact = topics.len();
        topics.extend(["d/x/e", "d/x", "nobody", "a/b/nobody", "", "a/b/c/"]);
        let bytes: Vec<_> = topics.iter().map(|topic| topic.as_bytes()).collect();
        for together in [1, 2, topics.len()] {
            for (topics, bytes) in topics.chunks(together).zip(bytes.chunks(together)) {
                let found = router.find_together(bytes);
                for (topic, found) in topics.iter().zip(found) {
                    let as_filter = match *topic {
                        "d/x/e" => "d/+/e",
                        "d/x" => "d/+",
                        "nobody" => "+",
                        topic => topic,
                    };
                    assert_eq!(found, router.trie.find(as_filter), "{topic}");
                }
                router.look_ahead(bytes);
            }
        }
        let found = router.find_together(&bytes);
        assert!(found[..exact].iter().all(Option::is_some));
        assert!(found[topics.len()..].iter().all(Option::is_none));
        router.look_ahead(&[&b"a/b"[..]; 3 * SIDE_BY_SIDE]);
        router.look_ahead(&[]);
    }
}
