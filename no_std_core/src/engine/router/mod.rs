//! The router finds the subscriptions that match a PUBLISH, and the retained messages that match a SUBSCRIBE.
//!
//! The router knows subscribers ([`Subscriber`]) and retained messages ([`Retained`]) by numbers only. The engine
//! knows for which Session or message a number stands.
//!
//! One tree of topic levels serves both purposes. A node is one level of a Topic Filter or a Topic Name; the way from
//! the root to it is the filter. Filters with `+` and `#` are in the tree as they are written:
//!
//! ```text
//!              root
//!             /    \
//!          home     +  ............ wildcards are linked directly
//!         /    \      \
//!     kitchen   #      state
//!        |
//!   temperature  .................. all other children are found by hash
//! ```
//!
//! A node has the subscriptions to exactly this filter, the groups of shared subscriptions to it, and the
//! retained message of this topic. A node that has none of these and no child is removed at once.
//!
//! Invariants:
//!
//! - Walks go up again by the links to the parent. There is no recursion and no stack, so a deep topic costs
//!   nothing but time. No walk visits a node twice: its time is linear in the number of nodes whose way from the
//!   root matches the beginning of the topic, however many other filters there are.
//! - A call that returns [`RouterFull`] has changed nothing.
//! - A walk ([`Matches`], [`RetainedMatches`]) borrows the router only for each step. Between two steps no
//!   subscription and no retained message may come or go, or the rest of the walk is arbitrary.

mod ahead;
mod entries;
mod matching;
mod position;
mod retained;
mod shared;
mod subscription;
mod trie;

pub(crate) use ahead::SIDE_BY_SIDE;
pub use entries::{Group, Node, Subscription};
pub use matching::{Match, Matches};
pub use retained::{RetainedCursor, RetainedMatches};
pub use shared::PickKeys;
pub use subscription::{Subscribed, SubscriptionOptions, Unsubscribed};

use crate::mem::{Bytes, Handle, HashIndex, Hasher, List, Pool, PoolSlot, Slots};
use crate::topic::TopicName;
use entries::{BySubscriber, MOST_PLACES};
use trie::Trie;

/// Whether there are shared subscriptions. Without them no group is ever made, and the code for groups is not linked.
pub(crate) const SHARED: bool = cfg!(feature = "shared-subscriptions");

/// The number of a subscriber.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subscriber(pub u32);

/// A retained message, as the caller refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Retained(pub Handle<()>);

/// A table of the router is full, or the allocator refused memory. The call has changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterFull;

impl core::fmt::Display for RouterFull {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("no room for another subscription or retained message")
    }
}

impl core::error::Error for RouterFull {}

/// The state of one [`Subscriber`].
#[derive(Clone, Copy, Debug, Default)]
pub struct SubscriberSlot {
    subscriptions: List<Subscription, BySubscriber>,
    count: u32,
}

impl SubscriberSlot {
    /// The value of a slot in an array that firmware declares: a subscriber without subscriptions.
    pub const EMPTY: Self = Self { subscriptions: List::EMPTY, count: 0 };
}

/// All memory of a [`Router`]. There may be fewer buckets than entries, or none; then look-ups take longer.
#[derive(Debug)]
pub struct RouterMemory<'m> {
    /// Levels of topics; one of them is the root.
    pub nodes: Slots<'m, PoolSlot<Node>>,
    /// Buckets to find nodes.
    pub node_buckets: Slots<'m, Option<Handle<Node>>>,
    /// Subscriptions of all subscribers.
    pub subscriptions: Slots<'m, PoolSlot<Subscription>>,
    /// Buckets to find all subscriptions but the first one of each filter.
    pub subscription_buckets: Slots<'m, Option<Handle<Subscription>>>,
    /// A slot for each [`Subscriber`].
    pub subscribers: Slots<'m, SubscriberSlot>,
    /// Groups of shared subscriptions.
    pub groups: Slots<'m, PoolSlot<Group>>,
    /// Buckets to find groups.
    pub group_buckets: Slots<'m, Option<Handle<Group>>>,
    /// Memory for levels of more than 15 bytes, and for ShareNames.
    pub texts: Bytes<'m>,
}

/// How much a [`Router`] that owns its memory may hold.
#[derive(Clone, Copy, Debug)]
pub struct RouterLimits {
    /// The number of levels of topics, the root not counted.
    pub nodes: usize,
    /// The number of subscriptions of all subscribers.
    pub subscriptions: usize,
    /// How many numbers a [`Subscriber`] can have.
    pub subscribers: usize,
    /// The number of groups of shared subscriptions.
    pub groups: usize,
    /// The memory for levels of more than 15 bytes, and for ShareNames, in bytes.
    pub text_bytes: usize,
}

#[cfg(feature = "alloc")]
impl RouterMemory<'_> {
    /// Memory that grows up to `limits`.
    pub fn owned(limits: RouterLimits) -> Self {
        Self {
            nodes: Slots::owned(limits.nodes.saturating_add(1).min(MOST_PLACES)),
            node_buckets: Slots::owned(limits.nodes),
            subscriptions: Slots::owned(limits.subscriptions),
            subscription_buckets: Slots::owned(limits.subscriptions),
            subscribers: Slots::owned(limits.subscribers),
            groups: Slots::owned(limits.groups.min(MOST_PLACES)),
            group_buckets: Slots::owned(limits.groups),
            texts: Bytes::owned(limits.text_bytes),
        }
    }
}

/// Subscriptions and retained messages by topic.
///
/// - Subscriptions: [`subscribe`](Self::subscribe), [`unsubscribe`](Self::unsubscribe), [`remove`](Self::remove),
///   [`pop_subscription`](Self::pop_subscription), [`find`](Self::find),
///   [`subscriptions_of`](Self::subscriptions_of), [`filter_of`](Self::filter_of)
/// - A PUBLISH: [`matches`](Self::matches), [`pick`](Self::pick)
/// - Retained messages: [`retain`](Self::retain), [`unretain`](Self::unretain),
///   [`retained_at`](Self::retained_at), [`retained`](Self::retained)
#[derive(Debug)]
pub struct Router<'m> {
    trie: Trie<'m>,
    subscriptions: Pool<'m, Subscription>,
    subscription_index: HashIndex<'m, Subscription>,
    subscribers: Slots<'m, SubscriberSlot>,
    groups: Pool<'m, Group>,
    group_index: HashIndex<'m, Group>,
}

impl<'m> Router<'m> {
    /// Gives memory of tables and texts back; see [`Pool::give_back`].
    pub(crate) fn give_back(&mut self) {
        self.trie.nodes.give_back(0);
        self.trie.texts.give_back();
        self.subscriptions.give_back(0);
        self.groups.give_back(0);
    }

    /// A router without subscriptions.
    pub fn new(memory: RouterMemory<'m>, hasher: Hasher) -> Self {
        let mut subscribers = memory.subscribers;
        subscribers.as_mut_slice().fill(SubscriberSlot::EMPTY);
        Self {
            trie: Trie::new(memory.nodes, memory.node_buckets, memory.texts, hasher),
            subscriptions: Pool::new(memory.subscriptions),
            subscription_index: HashIndex::new(memory.subscription_buckets),
            subscribers,
            groups: Pool::new(memory.groups),
            group_index: HashIndex::new(memory.group_buckets),
        }
    }

    /// The number of subscriptions of all subscribers.
    pub fn subscription_count(&self) -> usize {
        self.subscriptions.len()
    }

    /// The number of groups of shared subscriptions.
    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// The number of levels in the tree, the root not counted.
    pub fn node_count(&self) -> usize {
        self.trie.len()
    }

    /// The number of retained messages.
    pub fn retained_count(&self) -> usize {
        self.trie.retained_count()
    }

    /// The number of retained messages whose topic is `level` or below it.
    pub fn retained_count_below(&self, level: TopicName<'_>) -> usize {
        self.trie.find(level.as_str()).map_or(0, |node| self.trie.nodes[node].retained_below as usize)
    }

    /// The most entries of a table that a look-up has to pass.
    pub fn longest_chain(&self) -> usize {
        let levels = self.trie.index.longest_chain(&self.trie.nodes);
        let subscriptions = self.subscription_index.longest_chain(&self.subscriptions);
        levels.max(subscriptions).max(self.group_index.longest_chain(&self.groups))
    }

    /// The memory in use for long levels and ShareNames, in bytes.
    pub fn text_bytes(&self) -> usize {
        self.trie.texts.used()
    }
}

#[cfg(test)]
mod tests;
