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
//! Nothing here panics in a release build. A handle that refers to nothing is a bug of ours: tests meet an
//! assertion, a release build meets an empty spare entry.

/// Says which fields of an entry are its links: `links!(Linked<ByPlace> for Subscription: place_next)`,
/// `links!(DoublyLinked for Node: prev)` beside that, `links!(Chained for Node: hash, chain)`.
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
mod heap;
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

pub(crate) use backing::{GrowingList, LazyBox, OWNED, OWNED_BLOB};
pub(crate) use bytes::{BLOCK, Blob, TEXT_ON_STACK};
pub use bytes::{Block, Bytes};
pub use handle::Handle;
pub use hasher::Hasher;
pub(crate) use index::{Chained, HashIndex};
pub(crate) use list::{DoublyLinked, Fifo, Linked, List};
pub(crate) use pool::Pool;
pub use pool::PoolSlot;
pub use slots::Slots;
pub use timers::{HeapSlot, TimerSlot};
pub(crate) use timers::{Timer, TimerId, Timers};

#[cfg(feature = "alloc")]
pub(crate) use heap::{SharedBytes, SpareBuffers, free_list_bytes};

/// What a [`LazyBox`] holds while it takes no memory.
pub(crate) trait Initial: Copy + 'static {
    /// The value that it begins with.
    const INITIAL: &'static Self;
}

/// The number of entries once there is one more: a pool has far fewer than a number counts.
#[inline(always)]
pub(crate) const fn one_more(count: u32) -> u32 {
    debug_assert!(count < u32::MAX, "more entries than any pool has");
    count.wrapping_add(1)
}

/// The number of entries once there is one less: who takes one away has seen it there.
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
