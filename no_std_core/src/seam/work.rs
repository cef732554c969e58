//! How much a broker has done: so that no client can make one call last for long.
//!
//! What a packet costs is not known by its bytes. One PUBLISH may lead through thousands of levels of the tree, one DISCONNECT may
//! end thousands of subscriptions. So what is done is counted where it is done, in steps of a few dozen nanoseconds, and
//! calls that take many packets stop when they have done their share: see [`Next::Yield`](crate::Next::Yield).

use crate::mem::{OWNED, OwnedOnly};

/// A level of the tree that a walk came by.
pub(crate) const LEVEL: u32 = 2;
/// A packet, whatever is in it.
pub(crate) const PACKET: u32 = 1;
/// A message that was put into a queue or taken from it, or that was looked at there.
pub(crate) const DELIVERY: u32 = 1;
/// A subscription that was made, changed or ended, or a filter that was looked for.
pub(crate) const SUBSCRIPTION: u32 = 8;
/// What is looked for retained messages before a client that waits for them lets others go first.
pub(crate) const LOOK: u32 = 16_384;
/// A timer that came.
pub(crate) const TIMER: u32 = 4;

/// Topics of so many bytes make each level of a walk so much dearer.
const LONG_TOPIC: usize = 1_024;

/// What was done so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Work {
    done: OwnedOnly<u64>,
}

impl Work {
    /// Counts `each` so many times. Without the feature `alloc` tables are small, and nothing is counted.
    #[inline]
    pub(crate) fn count(&mut self, each: u32, times: usize) {
        self.done.set(self.done.get().wrapping_add(u64::from(each).wrapping_mul(times as u64)));
    }

    /// Counts a walk through so many levels of the tree for a text of so many bytes.
    #[inline]
    pub(crate) fn count_walk(&mut self, levels: u32, text_len: usize) {
        self.count(LEVEL, (levels as usize).saturating_mul((text_len / LONG_TOPIC).saturating_add(1)));
    }

    pub(crate) fn done(self) -> u64 {
        self.done.get()
    }

    /// Whether as much as `share` was done since `before`.
    #[inline]
    pub(crate) fn has_done(self, before: Self, share: u32) -> bool {
        OWNED && self.done().wrapping_sub(before.done()) >= u64::from(share)
    }
}
