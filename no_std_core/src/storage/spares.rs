//! Bytes on the heap, and what ended of them for those that come next.
//!
//! The allocator takes a lock for memory that another thread has taken: of a message that goes from one shard to another,
//! for each. Here it keeps out of the way of most messages, and none is filled with zeros first.

use alloc::vec::Vec;
use core::ops::Deref;

#[cfg(not(target_has_atomic = "ptr"))]
use alloc::rc::Rc as Counted;
#[cfg(target_has_atomic = "ptr")]
use alloc::sync::Arc as Counted;

/// Bytes on the heap that several may hold.
#[derive(Clone, Debug)]
pub struct SharedBytes {
    memory: Memory,
    len: usize,
}

/// What they stand in: as long as they, or somewhat longer.
pub(super) type Memory = Counted<[u8]>;

impl SharedBytes {
    /// The first `len` bytes of `memory`.
    pub(super) fn new(memory: Memory, len: usize) -> Self {
        Self { memory, len }
    }

    pub(super) fn into_memory(self) -> Memory {
        self.memory
    }
}

impl Deref for SharedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.memory.get(..self.len).unwrap_or(&[])
    }
}

/// Memory that nobody holds any more, by its size.
#[derive(Debug, Default)]
pub(super) struct Spares {
    classes: Vec<Vec<Memory>>,
    bytes: usize,
}

/// What is kept at most, in bytes.
const MOST: usize = 2 << 20;

/// What is larger is not kept.
const LARGEST: usize = 256 << 10;

/// Beside the bytes stand two counts and a word of the allocator's: so much less than a multiple of 16 they take.
const BESIDE: usize = 8;

impl Spares {
    /// Memory that holds `parts`, of `len` bytes in all, one behind the other.
    pub(super) fn store<'a>(&mut self, parts: impl Iterator<Item = &'a [u8]>, len: usize) -> Memory {
        let (class, capacity) = class_of(len);
        let spare = self.classes.get_mut(class).and_then(Vec::pop);
        let mut memory = match spare {
            Some(spare) => {
                self.bytes = self.bytes.saturating_sub(capacity);
                spare
            }
            None => core::iter::repeat_n(0, capacity).collect(),
        };
        if let Some(mut rest) = Counted::get_mut(&mut memory) {
            for part in parts {
                let Some((head, tail)) = rest.split_at_mut_checked(part.len()) else { break };
                head.copy_from_slice(part);
                rest = tail;
            }
        }
        memory
    }

    /// The bytes that are kept.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps nothing any more.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Keeps memory, if nobody else holds it, and there is not enough yet and `room` for all of it.
    pub(super) fn put(&mut self, memory: Memory, room: usize) {
        let (class, capacity) = class_of(memory.len());
        let is_wanted = capacity == memory.len() && capacity <= LARGEST && self.bytes + capacity <= room.min(MOST);
        if !is_wanted || Counted::strong_count(&memory) > 1 {
            return;
        }
        if class >= self.classes.len() {
            self.classes.resize_with(class + 1, Vec::new);
        }
        if let Some(spares) = self.classes.get_mut(class)
            && spares.try_reserve(1).is_ok()
        {
            self.bytes += capacity;
            spares.push(memory);
        }
    }
}

/// The size that holds `len` bytes, and its number: up to 1 KiB in steps of 16 bytes, which allocators round up to anyway,
/// beyond in sixteen steps from each power of two to the next.
fn class_of(len: usize) -> (usize, usize) {
    let whole = len.saturating_add(BESIDE);
    // The step is 2^shift; 64 classes have the shift 4, and 16 each of those that follow.
    let (first, shift) = match whole.saturating_sub(1).checked_ilog2() {
        Some(power @ 10..) => (16 * (power as usize - 10) + 48, power - 4),
        _ => (0, 4),
    };
    let steps = whole.div_ceil(1 << shift);
    (first + steps, (steps << shift).saturating_sub(BESIDE).max(len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_hold_what_they_are_for_and_waste_little() {
        let mut last = class_of(1);
        for len in 1..300_000 {
            let (class, capacity) = class_of(len);
            assert!(capacity >= len && capacity - len <= 15.max(len / 16 + 1), "{len}");
            assert_eq!(class_of(capacity), (class, capacity));
            assert_eq!(class == last.0, capacity == last.1);
            assert!(class == last.0 || class == last.0 + 1);
            last = (class, capacity);
        }
        class_of(usize::MAX);
    }

    #[test]
    fn memory_is_used_again_for_what_is_about_as_long_and_shows_nothing_of_before() {
        let mut spares = Spares::default();
        let memory = spares.store([&b"before"[..], b" that"].into_iter(), 11);
        let place = memory.as_ptr();
        spares.put(memory, usize::MAX);
        let other = spares.store([&[7; 100][..]].into_iter(), 100);
        assert_ne!(other.as_ptr(), place);
        let again = SharedBytes::new(spares.store([&b"after it"[..]].into_iter(), 8), 8);
        assert_ne!(again.memory.as_ptr(), place);
        let again = SharedBytes::new(spares.store([&b"after that"[..]].into_iter(), 10), 10);
        assert_eq!((again.memory.as_ptr(), &*again), (place, &b"after that"[..]));
        assert_eq!(spares.bytes, 0);
    }

    #[test]
    fn what_somebody_holds_is_not_kept_nor_more_than_enough() {
        let mut spares = Spares::default();
        let memory = spares.store([&b"body"[..]].into_iter(), 4);
        spares.put(memory.clone(), usize::MAX);
        assert_eq!((spares.bytes, &memory[..4]), (0, &b"body"[..]));
        spares.put(Memory::from(&[0; 5][..]), usize::MAX);
        assert_eq!(spares.bytes, 0, "no size of a class");
        let memory = spares.store([&b"body"[..]].into_iter(), 4);
        spares.put(memory, 7);
        assert_eq!(spares.bytes, 0, "no room");
        for _ in 0..MOST / 40_000 + 10 {
            let memory = spares.store([&[][..]].into_iter(), 40_000);
            spares.put(memory.iter().copied().collect(), usize::MAX);
            spares.put(memory, usize::MAX);
        }
        assert!(spares.bytes > MOST - 50_000 && spares.bytes <= MOST);
    }
}
