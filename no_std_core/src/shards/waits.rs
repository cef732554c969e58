//! What a connection waits for siblings with.

use crate::engine::neighbour_state::Empty;

/// What a connection waits for. Packed, so that each idle connection takes no more for the sake of alignment.
#[derive(Clone, Copy, Debug)]
#[repr(Rust, packed)]
pub(crate) struct Waits {
    /// The packet that comes next waits until the siblings have passed this fence; 0: none.
    pub(super) fence: u64,
    /// Which of [`Waits::REFUSED`], [`Waits::CONGESTED`] and [`Waits::AGREED`] hold.
    marks: u8,
}

impl Waits {
    /// A sibling has no room for the message that waits.
    pub(super) const REFUSED: u8 = 1;
    /// It waits until siblings have confirmed more.
    pub(super) const CONGESTED: u8 = 2;
    /// Siblings were asked whether they have to record the message that waits. It is taken only if none of them has.
    pub(super) const AGREED: u8 = 4;

    /// Sets or takes away a mark; whether it was there.
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
