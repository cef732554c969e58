//! The position of a walk through the tree in a Topic Name or Topic Filter.

use crate::mem::{Hasher, OWNED};

/// How many of the deepest levels are remembered: a power of two, or 0 in firmware, where texts are short and flash is scarce.
const REMEMBERED: usize = if OWNED { 16 } else { 0 };

/// A position between two levels of a text, which moves forward and back.
///
/// Walks move back and forth over the last levels of long texts many times. The position remembers where these levels begin and
/// end, and their hashes, so that each step is O(1), whatever the length of the level. Without the feature `alloc` nothing is
/// remembered.
#[derive(Clone, Debug)]
pub(super) struct Position<'t> {
    /// The text, of at most 65,535 bytes.
    text: &'t [u8],
    /// Where the next level begins. Behind the last level this is `text.len() + 1`.
    start: usize,
    /// The number of levels before the position.
    depth: usize,
    remembered: [Remembered; REMEMBERED],
}

/// What is remembered of a level; nothing while `start > end`.
#[derive(Clone, Copy, Debug)]
struct Remembered {
    start: u16,
    end: u16,
    /// The hash of the level; 0: not known. The few texts whose hash is 0 are hashed anew each time.
    hash: u32,
}

impl<'t> Position<'t> {
    /// The position before the first level of `text`.
    pub(super) fn new(text: &'t str) -> Self {
        debug_assert!(text.len() <= usize::from(u16::MAX));
        let nothing = Remembered { start: 1, end: 0, hash: 0 };
        Self { text: text.as_bytes(), start: 0, depth: 0, remembered: [nothing; REMEMBERED] }
    }

    /// Goes back before the first level.
    #[inline]
    pub(super) fn restart(&mut self) {
        // The remembered levels stay valid: they are recognized by where they begin.
        (self.start, self.depth) = (0, 0);
    }

    #[inline]
    pub(super) fn text_len(&self) -> usize {
        self.text.len()
    }

    /// Whether the position is before the first level.
    #[inline]
    pub(super) fn is_start(&self) -> bool {
        self.depth == 0
    }

    /// Whether the position is behind the last level.
    #[inline]
    pub(super) fn is_end(&self) -> bool {
        self.start > self.text.len()
    }

    /// The text behind the position.
    pub(super) fn rest(&self) -> &'t [u8] {
        self.text.get(self.start..).unwrap_or(&[])
    }

    /// The position at a [`place`](Self::place) of the same text.
    pub(super) fn at(text: &'t str, start: usize, depth: usize) -> Self {
        Self { start, depth, ..Self::new(text) }
    }

    /// How many bytes and levels are before the position.
    pub(super) fn place(&self) -> (usize, usize) {
        (self.start, self.depth)
    }

    /// The next level.
    #[inline]
    pub(super) fn ahead(&mut self) -> Option<&'t [u8]> {
        let rest = self.text.get(self.start..)?;
        let Some(slot) = slot_of(self.depth).and_then(|slot| self.remembered.get_mut(slot)) else {
            return rest.get(..find_slash(rest));
        };
        if !(usize::from(slot.start) == self.start && slot.start <= slot.end) {
            let text = rest.get(..find_slash(rest))?;
            // The level ends in the text, which has at most 65,535 bytes, so neither number is cut off.
            let end = self.start.wrapping_add(text.len());
            *slot = Remembered { start: self.start as u16, end: end as u16, hash: 0 };
        }
        self.text.get(self.start..usize::from(slot.end))
    }

    /// The hash of `level`, which is the next level.
    #[inline]
    pub(super) fn hash(&mut self, hasher: &Hasher, level: &[u8]) -> u32 {
        let Some(slot) = slot_of(self.depth).and_then(|slot| self.remembered.get_mut(slot)) else {
            return hasher.hash_bytes(level);
        };
        if slot.hash == 0 {
            slot.hash = hasher.hash_bytes(level);
        }
        slot.hash
    }

    /// Moves forward over `level`, which is the next level.
    #[inline]
    pub(super) fn forward(&mut self, level: &[u8]) {
        debug_assert!(level.len() <= self.rest().len(), "the level ahead is a part of the text");
        // The position is at most one byte beyond the text, so neither number is more than 65,536.
        self.start = self.start.wrapping_add(level.len()).wrapping_add(1);
        self.depth = self.depth.wrapping_add(1);
    }

    /// Moves back by one level.
    #[inline]
    pub(super) fn back(&mut self) {
        let (Some(end), Some(depth)) = (self.start.checked_sub(1), self.depth.checked_sub(1)) else { return };
        self.depth = depth;
        self.start = match slot_of(depth).and_then(|slot| self.remembered.get(slot)) {
            Some(slot) if usize::from(slot.end) == end && slot.start <= slot.end => slot.start.into(),
            _ => {
                let before = self.text.get(..end).unwrap_or(&[]);
                before.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash.saturating_add(1))
            }
        };
    }
}

/// Where in `remembered` a level of this depth is.
#[inline]
const fn slot_of(depth: usize) -> Option<usize> {
    depth.checked_rem(REMEMBERED)
}

/// Where the first level of `text` ends.
#[inline]
pub(super) fn find_slash(text: &[u8]) -> usize {
    text.iter().position(|byte| *byte == b'/').unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[test]
    fn a_position_moves_forward_and_back_over_any_number_of_levels() {
        let hasher = Hasher::new(1);
        let long = std::format!("{}/x/", "ab/".repeat(40));
        for text in ["a", "/", "//", "a/b", "/a", "a/", "/a//b/", &long] {
            let levels: Vec<_> = text.split('/').collect();
            let mut position = Position::new(text);
            for _ in 0..2 {
                assert!(position.is_start());
                for level in &levels {
                    assert!(!position.is_end());
                    for _ in 0..2 {
                        let ahead = position.ahead().unwrap();
                        let hash = position.hash(&hasher, ahead);
                        assert_eq!((ahead, hash), (level.as_bytes(), hasher.hash_bytes(level.as_bytes())));
                    }
                    let ahead = position.ahead().unwrap();
                    position.forward(ahead);
                }
                assert!(position.is_end() && position.ahead().is_none());
                // A position that is made from a place remembers nothing.
                let (start, depth) = position.place();
                let mut resumed = Position::at(text, start, depth);
                for level in levels.iter().rev() {
                    position.back();
                    resumed.back();
                    assert_eq!(resumed.place(), position.place());
                    assert_eq!(position.clone().ahead().unwrap(), level.as_bytes());
                }
            }
        }
    }
}
