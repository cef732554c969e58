//! The entries in the pools of the router: levels, subscriptions and groups. They refer to each other by handles.

use super::{Retained, SHARED, Subscriber};
use crate::mem::{Blob, Bytes, Handle, List, PoolSlot, links};

/// The longest text of a level, in bytes, that is kept in the node itself. With this length a node is 64 bytes long in
/// its slot.
pub(super) const SHORT: usize = 15;

/// One level of the tree.
///
/// The fields that a PUBLISH needs come first and are 48 bytes long, so that they mostly lie in one cache line.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Node {
    pub(super) level: Level,
    /// The parent; `None` for the root.
    pub(super) parent: Option<Handle<Node>>,
    /// The hash of the parent and of the level's text, by which the index finds the node.
    hash: u32,
    chain: Option<Handle<Node>>,
    pub(super) next: Option<Handle<Node>>,
    /// The child for `+`, then the child for `#`, if they exist.
    pub(super) wildcards: List<Node>,
    /// The subscriptions to this filter that are not shared; those of other shards come first.
    pub(super) subscriptions: List<Subscription, ByPlace>,
    pub(super) groups: List<Group>,
    /// The children that are no wildcards; those with `retained_below` above 0 come first.
    pub(super) children: List<Node>,
    prev: Option<Handle<Node>>,
    pub(super) retained: Option<Retained>,
    /// How many retained messages there are at this node and below.
    pub(super) retained_below: u32,
}

/// The level for which a node stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Level {
    /// A text of up to [`SHORT`] bytes, padded with U+0000, which no topic contains `[MQTT-4.7.3-2]`.
    Short([u8; SHORT]),
    Long(Blob),
    Plus,
    Pound,
}

impl Node {
    /// The value of unused memory.
    pub const EMPTY: Self = Self {
        level: Level::Short([0; SHORT]),
        parent: None,
        hash: 0,
        chain: None,
        next: None,
        wildcards: List::EMPTY,
        subscriptions: List::EMPTY,
        groups: List::EMPTY,
        children: List::EMPTY,
        prev: None,
        retained: None,
        retained_below: 0,
    };

    #[inline]
    pub(super) fn new(level: Level, parent: Handle<Node>, hash: u32) -> Self {
        Self { level, parent: Some(parent), hash, ..Self::EMPTY }
    }

    pub(super) fn is_needed(&self) -> bool {
        !(self.subscriptions.is_empty()
            && self.groups.is_empty()
            && self.retained.is_none()
            && self.children.is_empty()
            && self.wildcards.is_empty())
    }

    /// Whether the node is found by the text of the level and not by a wildcard.
    #[inline]
    pub(super) fn is_exact(&self) -> bool {
        matches!(self.level, Level::Short(_) | Level::Long(_))
    }
}

impl Default for Node {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Level {
    #[inline]
    pub(super) fn is(&self, text: &[u8], texts: &Bytes<'_>) -> bool {
        match self {
            Self::Short(short) => short
                .split_at_checked(text.len())
                .is_some_and(|(head, tail)| head == text && tail.first().is_none_or(|fill| *fill == 0)),
            Self::Long(blob) => texts.equals(*blob, text),
            Self::Plus | Self::Pound => false,
        }
    }
}

links!(Linked for Node: next);
links!(DoublyLinked for Node: prev);
links!(Chained for Node: hash, chain);

const _: () = assert!(size_of::<PoolSlot<Node>>() == 64);

/// A subscription of one subscriber.
///
/// The fields that a PUBLISH needs come first: these 12 bytes mostly lie in one cache line.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Subscription {
    pub(super) subscriber: Subscriber,
    /// The Subscription Identifier (bits 0 to 27) and the options.
    pub(super) packed: u32,
    pub(super) place_next: Option<Handle<Subscription>>,
    pub(super) place: Place,
    /// The hash of the place and of the subscriber.
    hash: u32,
    chain: Option<Handle<Subscription>>,
    place_prev: Option<Handle<Subscription>>,
    subscriber_next: Option<Handle<Subscription>>,
    subscriber_prev: Option<Handle<Subscription>>,
}

impl Subscription {
    /// The value of unused memory.
    pub const EMPTY: Self = Self {
        place: Place(0),
        subscriber: Subscriber(0),
        packed: 0,
        hash: 0,
        chain: None,
        place_next: None,
        place_prev: None,
        subscriber_next: None,
        subscriber_prev: None,
    };

    #[inline]
    pub(super) fn new(place: Place, subscriber: Subscriber, packed: u32, hash: u32) -> Self {
        Self { place, subscriber, packed, hash, ..Self::EMPTY }
    }
}

impl Default for Subscription {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// Where a subscription is: at a level, or in a group, which itself is at a level. 0 in unused memory only.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place(u32);

impl PartialEq for Place {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        self.number() == other.number()
    }
}

/// The most levels, and the most groups: a [`Place`] has 31 bits for their index.
pub(super) const MOST_PLACES: usize = (1 << 31) - 1;

impl Place {
    /// The bit that marks a group.
    const GROUP: u32 = 1 << 31;

    pub(super) fn new(node: Handle<Node>, group: Option<Handle<Group>>) -> Self {
        Self(match group.filter(|_| SHARED) {
            Some(group) => group.tag() | Self::GROUP,
            None => node.tag() & !Self::GROUP,
        })
    }

    /// The place as a number, which no other place has. It does not depend on the generation in the handle.
    #[inline(always)]
    pub(super) fn number(self) -> u32 {
        let handle = Handle::<()>::from_tag(self.0 & !Self::GROUP);
        self.0 & Self::GROUP | handle.map_or(0, Handle::place)
    }

    pub(super) fn group(self) -> Option<Handle<Group>> {
        if SHARED && self.0 & Self::GROUP != 0 { Handle::from_tag(self.0 & !Self::GROUP) } else { None }
    }

    /// The level; `None` for a group.
    pub(super) fn node(self) -> Option<Handle<Node>> {
        if SHARED && self.0 & Self::GROUP != 0 { None } else { Handle::from_tag(self.0) }
    }
}

/// Names the list of a node's subscriptions, or of a group's members.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ByPlace;

/// Names the list of a subscriber's subscriptions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BySubscriber;

links!(Linked<ByPlace> for Subscription: place_next);
links!(DoublyLinked<ByPlace> for Subscription: place_prev);
links!(Linked<BySubscriber> for Subscription: subscriber_next);
links!(DoublyLinked<BySubscriber> for Subscription: subscriber_prev);
links!(Chained for Subscription: hash, chain);

const _: () = assert!(size_of::<PoolSlot<Subscription>>() == 40);

/// The subscribers that share one Topic Filter under one ShareName.
#[derive(Clone, Debug)]
pub struct Group {
    pub(super) node: Option<Handle<Node>>,
    pub(super) name: Blob,
    /// The hash of the node and the name.
    hash: u32,
    chain: Option<Handle<Group>>,
    next: Option<Handle<Group>>,
    prev: Option<Handle<Group>>,
    /// Members in the order in which they joined.
    pub(super) members: List<Subscription, ByPlace>,
    pub(super) count: u32,
    /// The member to try first for the next message; `None`: the first member.
    pub(super) cursor: Option<Handle<Subscription>>,
    pub(super) tag: u32,
}

impl Group {
    /// The value of unused memory.
    pub const EMPTY: Self = Self {
        node: None,
        name: Blob::EMPTY,
        hash: 0,
        chain: None,
        next: None,
        prev: None,
        members: List::EMPTY,
        count: 0,
        cursor: None,
        tag: 0,
    };

    /// A group without members.
    #[inline]
    pub(super) fn new(node: Handle<Node>, name: Blob, hash: u32) -> Self {
        Self { node: Some(node), name, hash, ..Self::EMPTY }
    }
}

impl Default for Group {
    fn default() -> Self {
        Self::EMPTY
    }
}

links!(Linked for Group: next);
links!(DoublyLinked for Group: prev);
links!(Chained for Group: hash, chain);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::Block;

    #[test]
    fn a_level_equals_its_whole_text_only() {
        let mut blocks = [Block::EMPTY; 2];
        let mut texts = Bytes::borrowed(&mut blocks);
        let mut short = [0; SHORT];
        short[..2].copy_from_slice(b"ab");
        let levels = [
            (Level::Short([0; SHORT]), &b""[..]),
            (Level::Short(short), b"ab"),
            (Level::Short(*b"fifteen-bytes-x"), b"fifteen-bytes-x"),
            (Level::Long(texts.store(&[b"sixteen-bytes-xx"]).unwrap()), b"sixteen-bytes-xx"),
        ];
        for (level, text) in levels {
            for other in [&b""[..], b"a", b"ab", b"abc", b"fifteen-bytes-x", b"sixteen-bytes-xx", b"sixteen-bytes-xy"] {
                assert_eq!(level.is(other, &texts), other == text);
            }
        }
    }
}
