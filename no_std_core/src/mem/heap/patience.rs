//! When memory that is kept for later is given back.

/// Counts looks at a table or pool that takes far more memory than it needs. The memory is given back after a number of such looks in a row. A pool that
/// needs the memory again waits for twice as many looks the next time, so one that fills and empties again and again keeps its memory.
#[derive(Debug)]
pub(super) struct Patience {
    looks: u32,
    /// From so many looks on memory is given back.
    needed: u32,
    /// Memory was given back, and was not needed again yet.
    has_given_back: bool,
}

impl Default for Patience {
    fn default() -> Self {
        Self { looks: 0, needed: FIRST, has_given_back: false }
    }
}

/// The looks that are needed for the first time.
const FIRST: u32 = if cfg!(debug_assertions) { 2 } else { 32 };
/// The looks that are needed where memory is always needed again.
const MOST: u32 = 1 << 16;

impl Patience {
    /// A look found that far too much memory is kept, or that this is not so. Returns whether memory may be given back.
    #[inline]
    pub(super) fn look(&mut self, is_too_much: bool) -> bool {
        self.looks = if is_too_much { self.looks.saturating_add(1) } else { 0 };
        self.looks > self.needed
    }

    /// Nothing could be given back: as many looks follow before the next attempt.
    pub(super) fn start_again(&mut self) {
        self.looks = 0;
    }

    /// Memory is given back.
    pub(super) fn give_back(&mut self) {
        self.has_given_back = true;
    }

    /// Memory is needed.
    #[inline]
    pub(super) fn need(&mut self) {
        if self.has_given_back {
            *self = Self { needed: self.needed.saturating_mul(2).min(MOST), ..Self::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_was_needed_again_is_given_back_later_the_next_time() {
        let mut patience = Patience::default();
        let looks = |patience: &mut Patience| (1..).find(|_| patience.look(true)).unwrap();
        assert_eq!(looks(&mut patience), FIRST + 1);
        assert!(patience.look(true) && !patience.look(false));
        assert_eq!(looks(&mut patience), FIRST + 1);
        patience.need();
        patience.give_back();
        assert!(patience.look(true), "nothing was needed");
        patience.need();
        assert_eq!(looks(&mut patience), 2 * FIRST + 1);
        for _ in 0..100 {
            patience.give_back();
            patience.need();
        }
        assert_eq!(looks(&mut patience), MOST + 1);
    }
}
