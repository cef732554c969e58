//! Bounded memory: slots, pools, lists, indexes, timers and bytes. This module knows nothing of MQTT.
//!
//! Everything that the broker remembers is in a few tables whose size is decided once. Entries refer to
//! each other by [`Handle`]s of four bytes, never by pointers, so that an entry may be in several lists
//! and indexes at the same time: the links are fields of the entry (intrusive), and joining a list can't
//! fail for want of memory.
//!
//! There are two kinds of memory, and everything here works the same on both:
//!
//! - **Borrowed**: `&'m mut [T]` handed in once, usually `'static`. Its length is the limit. Without the
//!   feature `alloc` this is the only kind; microcontrollers use it.
//! - **Owned** (feature `alloc`): a vector that grows as it is filled, up to a limit. Places of removed
//!   entries are used again. A pool that is far larger than its contents gives free places at its end back ([`Pool::give_back`]). Entries never
//!   move, so an entry at the end keeps all places before it. The buckets of an index stay.
//!
//! [`Slots`] is a table of either kind. The other types are built on it:
//!
//! | type | what it is |
//! |---|---|
//! | [`Pool`] | a slab: insert returns a handle, remove returns the entry, both in O(1) |
//! | [`Fifo`], [`List`] | lists through a pool's entries, singly and doubly linked |
//! | [`HashIndex`] | finds a pool's entries by a keyed hash |
//! | [`Hasher`] | the keyed hash of the index |
//! | [`Bytes`] | everything that varies in size: level texts, names, payloads |
//! | [`Timers`] | deadlines, the earliest first |
//!
//! Nothing here panics in a release build. No count here wraps around silently: a count that could is saturated or checked. A count
//! that is bounded by the number of places is asserted not to wrap, where debug assertions are on ([`one_more`], [`one_less`]).
//!
//! # Handles that went stale
//!
//! A handle must not be used when its entry is gone: another client's entry may have the same place. Two rules ensure this.
//!
//! **A handle that may outlive its entry is kept together with a number** that no other entry ever has. Its user asks [`Pool::at`]
//! for the entry that has the place now, and compares the number in the entry, in release builds too:
//!
//! | handle is kept by | of | number |
//! |---|---|---|
//! | [`ConnectionId`](crate::ConnectionId), in the embedder and in all lists of connections that wait for other shards | connection | its generation |
//! | a member of a group, on its own shard and on another; a publisher that waits for answers of other shards | Session | the Session's number |
//! | a request for a body on disk; the order in which bodies are evicted | message | its sequence number, see `Message::name` |
//! | a question to other shards on which a reply waits | reply | the connection's generation; the reply is in the connection's queue until the answer |
//!
//! **All other handles end with the entry.** Each is kept in a field or list that is cleared by the function that removes the
//! entry, whatever the reason for its end:
//!
//! | handle is kept in | of | cleared before the entry is removed, by |
//! |---|---|---|
//! | a connection | its Session, timer, aliases, replies, the delivery that is partly transmitted | `end_connection`, which ends or unbinds all of them |
//! | a Session | its connection, timer, Will, queue, deliveries in flight, receipts, replays, subscriptions | `end_session`, and `end_connection` for the connection |
//! | a delivery | its message | nothing: the delivery holds a reference to the message, which is removed with the last reference |
//! | a delivery | the group it came through, further identifiers | `forget_left_groups`, when the Session leaves; `end_delivery` |
//! | a connection | the delivery that is partly transmitted | `forget_sending`; an acknowledgement before that is ignored (`is_half_sent`) |
//! | the router's entries | each other: levels, subscriptions, groups | `unsubscribe`, which removes a subscription from all its lists, and then a group or level that nothing needs |
//! | a timer | its connection or Session | the end of the connection or Session, which cancels the timer |
//! | an index or list | any entry | the function that removes the entry, which unlinks it first: a removed entry that is still linked is noticed at the next walk |
//!
//! Tests check these rules: where debug assertions are on, thus in all tests, simulations and fuzzers, each place counts the entries
//! that it had, and each handle has the count of its own entry (`handle.rs`, `link.rs`). A test that uses a handle after its entry
//! is gone stops with "another entry is there", whichever entry has the place. In a release build each access to an entry would cost
//! a comparison more, 40 to 110 % more instructions in all; there `--cfg goldcrest_check_handles` turns the check on.

/// Says which fields of an entry are its links. Examples: `links!(Linked<ByPlace> for Subscription: place_next)`, `links!(DoublyLinked for
/// Node: prev)` in addition to `Linked`, `links!(Chained for Node: hash, chain)`.
macro_rules! links {
    (Linked $(<$list:ty>)? for $entry:ty: $next:ident) => {
        impl $crate::mem::Linked $(<$list>)? for $entry {
            fn next(&self) -> Option<$crate::mem::Handle<Self>> {
                self.$next
            }

            fn set_next(&mut self, next: Option<$crate::mem::Handle<Self>>) {
                self.$next = next;
            }
        }
    };
    (DoublyLinked $(<$list:ty>)? for $entry:ty: $prev:ident) => {
        impl $crate::mem::DoublyLinked $(<$list>)? for $entry {
            fn prev(&self) -> Option<$crate::mem::Handle<Self>> {
                self.$prev
            }

            fn set_prev(&mut self, prev: Option<$crate::mem::Handle<Self>>) {
                self.$prev = prev;
            }
        }
    };
    (Chained for $entry:ty: $hash:ident, $chain:ident) => {
        impl $crate::mem::Chained for $entry {
            fn hash(&self) -> u32 {
                self.$hash
            }

            fn chain(&self) -> Option<$crate::mem::Handle<Self>> {
                self.$chain
            }

            fn set_chain(&mut self, chain: Option<$crate::mem::Handle<Self>>) {
                self.$chain = chain;
            }
        }
    };
}

#[cfg_attr(not(feature = "alloc"), path = "heap/none.rs")]
pub(crate) mod heap;

mod bytes;
mod free_list;
mod handle;
mod hasher;
mod index;
mod link;
mod list;
#[cfg(feature = "alloc")]
mod owned;
mod pool;
mod slots;
mod timers;

pub(crate) use links;

pub(crate) use bytes::{BLOCK, Blob, OWNED_BLOB, TEXT_ON_STACK};
pub use bytes::{Block, Bytes};
pub use handle::Handle;
pub use hasher::Hasher;
pub(crate) use heap::{
    Claim, GrowingList, GrowingMap, LazyBox, OWNED, OwnedOnly, QueueIndex, SharedBytes, reserve_an_eighth,
};
pub(crate) use index::{Chained, HashIndex};
pub use link::PoolSlot;
pub(crate) use list::{DoublyLinked, Fifo, Linked, List};
pub(crate) use pool::Pool;
pub use slots::Slots;
pub use timers::{HeapSlot, TimerSlot};
pub(crate) use timers::{Timer, TimerId, Timers};

/// A type for a [`LazyBox`].
pub(crate) trait Initial: Copy + 'static {
    /// The value that a [`LazyBox`] has while it needs no memory.
    const INITIAL: &'static Self;
}

/// `count` plus one, for a number of entries or of levels of a topic: these are far fewer than a `u32` can count.
#[inline(always)]
pub(crate) const fn one_more(count: u32) -> u32 {
    debug_assert!(count < u32::MAX, "more than any pool or topic has");
    count.wrapping_add(1)
}

/// `count` minus one, for a number of entries of which one is removed, so it is not 0.
#[inline(always)]
pub(crate) const fn one_less(count: u32) -> u32 {
    debug_assert!(count > 0, "an entry less than none");
    count.wrapping_sub(1)
}

/// Copies as much of `source` as `target` has room for. `copy_from_slice` would have a path to a panic.
#[inline]
pub(crate) fn copy(target: &mut [u8], source: &[u8]) {
    let len = target.len().min(source.len());
    if let (Some(target), Some(source)) = (target.get_mut(..len), source.get(..len)) {
        target.copy_from_slice(source);
    }
}

#[cfg(test)]
pub(crate) mod testing;
