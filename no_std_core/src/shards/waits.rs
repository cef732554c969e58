//! For which answers of other shards a connection waits.

use crate::engine::neighbour_state::Empty;

/// For which answers a connection waits. The struct is packed, so that alignment makes no idle connection larger.
#[derive(Clone, Copy, Debug)]
#[repr(Rust, packed)]
pub(crate) struct Waits {
    /// The next packet waits until the other shards have passed the fence with this number; 0: it does not wait.
    pub(super) fence: u64,
    /// The marks [`Waits::REFUSED`], [`Waits::CONGESTED`] and [`Waits::AGREED`].
    marks: u8,
}

impl Waits {
    /// Another shard has no room for the next message.
    pub(super) const REFUSED: u8 = 1;
    /// The connection waits until other shards have confirmed more messages.
    pub(super) const CONGESTED: u8 = 2;
    /// Siblings were asked whether they have to record the message that waits. It is taken only if none of them has.
    pub(super) const AGREED: u8 = 4;

    /// Sets or removes a mark. Returns whether it was set before.
    #[inline]
    pub(super) fn mark(&mut self, mark: u8, on: bool) -> bool {
        let before = self.marks & mark != 0;
        self.marks = if on { self.marks | mark } else { self.marks & !mark };
        before
    }
}

impl Empty for Waits {
    const EMPTY: Self = Self { fence: 0, marks: 0 };
}

const _: () = assert!(size_of::<Waits>() == 9);
