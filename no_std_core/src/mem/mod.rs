//! Bounded memory: slots, pools, lists, indexes, timers and bytes. It knows no MQTT.
//!
//! Everything the broker remembers stands in a few tables whose size is decided once. Entries refer to
//! each other by [`Handle`]s of four bytes, never by pointers, so that an entry may be in several lists
//! and indexes at the same time: the links are fields of the entry (intrusive), and joining a list can't
//! fail for want of memory.
//!
//! There are two kinds of memory, and everything here works the same on both:
//!
//! - **Borrowed**: `&'m mut [T]` handed in once, usually `'static`. Its length is the limit. This is all
//!   there is without the feature `alloc`, and what a microcontroller uses.
//! - **Owned** (feature `alloc`): a vector that grows as it is filled, up to a limit. Entries given back
//!   are used again; a vector does not shrink.
//!
//! [`Slots`] is that choice. Above it:
//!
//! | type | what it is |
//! |---|---|
//! | [`Pool`] | a slab: insert gives a handle, remove gives the entry back, both in O(1) |
//! | [`Fifo`], [`List`] | lists through a pool's entries, singly and doubly linked |
//! | [`HashIndex`] | finds a pool's entries by a keyed hash |
//! | [`Hasher`] | that keyed hash |
//! | [`Bytes`] | everything that varies in size: level texts, names, payloads |
//! | [`Timers`] | deadlines, the earliest first |
//!
//! Nothing here panics in a release build. No count here wraps around silently: what could is saturated or checked, and what is
//! bounded by the number of places is asserted where debug assertions are on ([`one_more`], [`one_less`]).
//!
//! # Handles that went stale
//!
//! A handle must not be used when its entry is gone: another client's entry may stand in its place. Two things see to that.
//!
//! **Whoever may keep a handle longer than its entry lives keeps a number beside it** that is never used again, and asks
//! [`Pool::at`] for what stands in the place; the number in the entry decides, in release builds too:
//!
//! | who keeps it | of what | number |
//! |---|---|---|
//! | [`ConnectionId`](crate::ConnectionId), in the shell and in all lists of connections that wait for siblings | connection | its generation |
//! | a member of a group, as its own shard and a sibling know it; who waits for siblings' answers | Session | the Session's number |
//! | a body on disk: requests for it, and the order in which bodies are evicted | message | its order, see `Message::name` |
//! | a reply that waits for siblings | reply | the connection's generation; it is in the connection's queue until it is answered |
//!
//! **All others end with the entry.** Each of these handles stands in a place that the function which removes the entry clears,
//! whatever the reason for its end:
//!
//! | kept in | of what | cleared before the entry is removed, by |
//! |---|---|---|
//! | a connection | its Session, timer, aliases, replies, the delivery half transmitted | `end_connection`, which ends or unbinds all of them |
//! | a Session | its connection, timer, Will, queue, deliveries in flight, receipts, replays, subscriptions | `end_session`, and `end_connection` for the connection |
//! | a delivery | its message | nothing: the delivery holds the message, which goes when nobody does |
//! | a delivery | the group it came through, further identifiers | `forget_left_groups`, when the Session leaves; `end_delivery` |
//! | a connection | the delivery half transmitted | `forget_sending`; an acknowledgement before that is ignored (`is_half_sent`) |
//! | the router | levels, subscriptions, groups, of each other | `unsubscribe`, which takes a subscription out of all its lists, and a group or level that nothing needs |
//! | a timer | the connection or Session it is for | their ends, which cancel it |
//! | an index or list | any entry | who removes the entry unlinks it first: an entry that is linked but removed is noticed at the next walk |
//!
//! This is tested and not only written: where debug assertions are on, thus in all tests, simulations and fuzzers, each place
//! counts its entries and each handle has the count of its own (`handle.rs`, `link.rs`). To use a handle after its entry has gone
//! stops the test with "another entry is there", whichever entry took the place. In a release build that would cost each
//! access to an entry a comparison, 40 to 110 % more instructions in all; `--cfg goldcrest_check_handles` turns it on there.

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

#[cfg(feature = "alloc")]
pub(crate) mod heap;
#[cfg(not(feature = "alloc"))]
mod no_heap;

#[cfg(feature = "alloc")]
use heap as backing;
#[cfg(not(feature = "alloc"))]
use no_heap as backing;

mod bytes;
mod free_list;
mod handle;
mod hasher;
mod index;
mod link;
mod list;
mod pool;
mod slots;
mod timers;

pub(crate) use links;

pub(crate) use backing::{GrowingList, GrowingMap, LazyBox, OWNED, OWNED_BLOB, OwnedOnly, QueueIndex, SharedBytes};
pub(crate) use bytes::{BLOCK, Blob, TEXT_ON_STACK};
pub use bytes::{Block, Bytes};
pub use handle::Handle;
pub use hasher::Hasher;
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
