//! How much work a broker has done, so that no client can make one call last for long.
//!
//! The number of bytes of a packet does not show its cost. One PUBLISH may lead through thousands of levels of the tree, one
//! DISCONNECT may end thousands of subscriptions. So work is counted where it is done, in steps of a few dozen nanoseconds. A
//! call that handles many packets stops when it has done its share: see [`Next::Yield`](crate::Next::Yield).

use crate::mem::{OWNED, OwnedOnly};

/// A level of the tree that a walk visited.
pub(crate) const LEVEL: u32 = 2;
/// A packet, whatever it contains.
pub(crate) const PACKET: u32 = 1;
/// A message that was put into a queue or taken from it, or that was looked at there.
pub(crate) const DELIVERY: u32 = 1;
/// A subscription that was made, changed or ended, or a filter that was looked for.
pub(crate) const SUBSCRIPTION: u32 = 8;
/// The work of searching for retained messages after which a waiting client lets others go first.
pub(crate) const LOOK: u32 = 16_384;
/// A timer that fired.
pub(crate) const TIMER: u32 = 4;

/// Each level of a walk counts once more for every this many bytes of the topic.
const LONG_TOPIC: usize = 1_024;

/// The work that was done so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Work {
    done: OwnedOnly<u64>,
}

impl Work {
    /// Counts `each` for each of `times` times. Without the feature `alloc` tables are small, and nothing is counted.
    #[inline]
    pub(crate) fn count(&mut self, each: u32, times: usize) {
        self.done.set(self.done.get().wrapping_add(u64::from(each).wrapping_mul(times as u64)));
    }

    /// Counts a walk through `levels` levels of the tree, for a topic of `text_len` bytes.
    #[inline]
    pub(crate) fn count_walk(&mut self, levels: u32, text_len: usize) {
        self.count(LEVEL, (levels as usize).saturating_mul((text_len / LONG_TOPIC).saturating_add(1)));
    }

    pub(crate) fn done(self) -> u64 {
        self.done.get()
    }

    /// Whether at least `share` was done since `before`.
    #[inline]
    pub(crate) fn has_done(self, before: Self, share: u32) -> bool {
        OWNED && self.done().wrapping_sub(before.done()) >= u64::from(share)
    }
}
