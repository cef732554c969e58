//! Buffers on the heap that are used again.
//!
//! A message that goes from one shard to another is freed by another thread than the one that allocated it, and the allocator takes
//! a lock for each such piece of memory. So a shard keeps the buffers of messages that have ended, and uses them for new messages.
//! A shard that has too many gives some back to the shard that allocated them. A used buffer need not be filled with zeros either.

use alloc::vec::Vec;
use core::ops::Deref;

use super::account::{Claim, MemoryAccount, MemoryCredit, allocated};

#[cfg(not(target_has_atomic = "ptr"))]
use alloc::rc::Rc as Counted;
#[cfg(target_has_atomic = "ptr")]
use alloc::sync::Arc as Counted;

/// Bytes on the heap to which several shards may hold references.
#[derive(Clone, Debug)]
pub struct SharedBytes {
    buffer: HeapBuffer,
    len: usize,
}

/// A buffer as long as the bytes that it was made for, or somewhat longer.
pub(in crate::mem) type HeapBuffer = Counted<[u8]>;

impl SharedBytes {
    /// The first `len` bytes of `buffer`.
    pub(in crate::mem) fn new(buffer: HeapBuffer, len: usize) -> Self {
        Self { buffer, len }
    }

    pub(in crate::mem) fn into_buffer(self) -> HeapBuffer {
        self.buffer
    }

    /// How many bytes the buffer takes, as they are counted below a ceiling.
    pub(crate) fn cost(&self) -> usize {
        cost_of(self.buffer.len())
    }
}

impl Deref for SharedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or(&[])
    }
}

/// Buffers that nobody holds any more, by their size.
#[derive(Debug)]
pub(in crate::mem) struct BufferPool {
    /// The spare buffers of each size class.
    classes: Vec<Vec<HeapBuffer>>,
    /// The sum of the lengths of all spare buffers.
    bytes: usize,
    /// The bytes that are claimed for all buffers that this pool has given out or keeps, and for the lists of spare buffers. A buffer that
    /// siblings hold too is claimed by each of them.
    credit: MemoryCredit,
}

/// Buffers that one shard does not need, on their way to another shard.
#[derive(Debug, Default)]
pub(crate) struct SpareBuffers(Vec<HeapBuffer>);

/// How many buffers of one size a shard keeps for itself in any case, unless these take more than half of [`MOST`].
const OWN: usize = 512;
/// How many other buffers of one size go to another shard at once.
const AT_ONCE: usize = 256;

/// The most bytes that a shard keeps in spare buffers.
const MOST: usize = 4 << 20;

/// An allocation also has two counts and a word of the allocator. So the buffer itself is shorter than a multiple of 16 by this
/// number of bytes.
const BESIDE: usize = 8;

/// How many bytes a buffer of so many bytes takes with its two counts.
fn cost_of(capacity: usize) -> usize {
    allocated(capacity.saturating_add(size_of::<[usize; 2]>()))
}

impl BufferPool {
    /// No buffers yet; they are claimed from this account.
    pub(in crate::mem) fn new(account: MemoryAccount) -> Self {
        Self { classes: Vec::new(), bytes: 0, credit: MemoryCredit::of(account) }
    }

    /// The account from which the buffers are claimed.
    pub(in crate::mem) fn account(&self) -> &MemoryAccount {
        self.credit.account()
    }

    /// Whether there is memory for `len` bytes. The answer holds until something is stored. Spare buffers are freed for that if need be.
    #[inline]
    pub(in crate::mem) fn has_room(&mut self, len: usize, claim: Claim) -> bool {
        // No buffer takes more than that for `len` bytes.
        self.credit.covers(len.saturating_add(len / 8).saturating_add(64)) || self.finds_room(len, claim)
    }

    #[inline(never)]
    fn finds_room(&mut self, len: usize, claim: Claim) -> bool {
        let (class, capacity) = class_of(len);
        let has_spare = self.classes.get(class).is_some_and(|spares| !spares.is_empty());
        has_spare || self.claim(cost_of(capacity), claim)
    }

    #[inline]
    fn claim(&mut self, cost: usize, claim: Claim) -> bool {
        self.credit.has(cost, claim) || (self.bytes > 0 && self.let_go_and_claim(cost, claim))
    }

    #[cold]
    fn let_go_and_claim(&mut self, cost: usize, claim: Claim) -> bool {
        self.clear();
        self.credit.has(cost, claim)
    }

    /// A buffer with all `parts` one behind the other, of `len` bytes in all. `None` if its memory is refused.
    pub(in crate::mem) fn store<'a>(
        &mut self,
        parts: impl Iterator<Item = &'a [u8]>,
        len: usize,
        claim: Claim,
    ) -> Option<HeapBuffer> {
        let (class, capacity) = class_of(len);
        let spare = self.classes.get_mut(class).and_then(Vec::pop);
        let mut buffer: HeapBuffer = match spare {
            Some(spare) => {
                self.bytes = self.bytes.saturating_sub(capacity);
                spare
            }
            None => {
                let cost = cost_of(capacity);
                if !self.take(cost, claim) {
                    return None;
                }
                core::iter::repeat_n(0, capacity).collect()
            }
        };
        if let Some(mut rest) = Counted::get_mut(&mut buffer) {
            for part in parts {
                let Some((head, tail)) = rest.split_at_mut_checked(part.len()) else { break };
                head.copy_from_slice(part);
                rest = tail;
            }
        }
        Some(buffer)
    }

    /// Claims a buffer that another shard has claimed too. Returns whether the claim is granted.
    pub(in crate::mem) fn adopt(&mut self, buffer: &HeapBuffer, claim: Claim) -> bool {
        let cost = cost_of(buffer.len());
        self.take(cost, claim)
    }

    #[inline]
    fn take(&mut self, cost: usize, claim: Claim) -> bool {
        self.claim(cost, claim) && self.credit.take(cost, claim)
    }

    /// A buffer of this pool goes to siblings, each of which claims it. So the claim of this pool ends.
    pub(in crate::mem) fn give_away(&mut self, buffer: &HeapBuffer) {
        self.credit.give(cost_of(buffer.len()));
    }

    /// Removes spare buffers of a size of which there are more than enough, and returns them.
    pub(in crate::mem) fn take_spare(&mut self) -> SpareBuffers {
        let own = |spares: &[HeapBuffer]| {
            spares.first().map_or(0, |buffer| (MOST / 2).checked_div(buffer.len()).unwrap_or(OWN).clamp(1, OWN))
        };
        let Some(spares) = self.classes.iter_mut().find(|spares| spares.len() > own(spares)) else {
            return SpareBuffers::default();
        };
        let kept = spares.len().saturating_sub(AT_ONCE).max(own(spares));
        let taken = spares.split_off(kept.min(spares.len()));
        self.bytes = self.bytes.saturating_sub(taken.iter().map(|buffer| buffer.len()).sum());
        let spare = SpareBuffers(taken);
        self.credit.hand_over(spare.cost());
        spare
    }

    /// Keeps buffers that another shard did not need, as long as all spare buffers together are no longer than `room`.
    pub(in crate::mem) fn put_spare(&mut self, spare: SpareBuffers, room: usize) {
        self.credit.receive(spare.cost());
        spare.0.into_iter().for_each(|buffer| self.put(buffer, room));
    }

    /// The sum of the lengths of all spare buffers.
    pub(in crate::mem) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Frees all spare buffers.
    pub(in crate::mem) fn clear(&mut self) {
        let classes = core::mem::take(&mut self.classes);
        let kept = classes.iter().flatten().map(|buffer| cost_of(buffer.len())).fold(0, usize::saturating_add);
        let lists = classes.iter().map(list_cost).fold(0, usize::saturating_add);
        drop(classes);
        self.bytes = 0;
        self.credit.give(kept.saturating_add(lists));
    }

    /// Keeps a buffer if nobody else holds a reference to it, and all spare buffers together are no longer than `room` then. Larger spare buffers
    /// are freed for it.
    pub(in crate::mem) fn put(&mut self, buffer: HeapBuffer, room: usize) {
        let len = buffer.len();
        if self.keep(buffer, room).is_none() {
            self.credit.give(cost_of(len));
        }
    }

    #[inline]
    fn keep(&mut self, buffer: HeapBuffer, room: usize) -> Option<()> {
        let (class, capacity) = class_of(buffer.len());
        if capacity != buffer.len() || Counted::strong_count(&buffer) > 1 {
            return None;
        }
        while self.bytes.saturating_add(capacity) > room.min(MOST) {
            let larger = self.classes.iter_mut().skip(class.saturating_add(1)).rev().find_map(Vec::pop)?;
            self.bytes = self.bytes.saturating_sub(larger.len());
            self.credit.give(cost_of(larger.len()));
        }
        if class >= self.classes.len() {
            self.classes.resize_with(class.saturating_add(1), Vec::new);
        }
        let spares = self.classes.get_mut(class)?;
        if spares.len() == spares.capacity() {
            let before = list_cost(spares);
            spares.try_reserve(1).ok()?;
            let more = list_cost(spares).saturating_sub(before);
            if !self.credit.take(more, Claim::Ordinary) {
                // The list is as long as it was.
                spares.shrink_to_fit();
                return None;
            }
        }
        self.bytes = self.bytes.saturating_add(capacity);
        spares.push(buffer);
        Some(())
    }
}

impl SpareBuffers {
    /// How many bytes the buffers take, as they are counted below a ceiling.
    fn cost(&self) -> usize {
        self.0.iter().map(|buffer| cost_of(buffer.len())).fold(0, usize::saturating_add)
    }
}

/// How many bytes the list of the spare buffers of one class takes.
fn list_cost(spares: &Vec<HeapBuffer>) -> usize {
    allocated(spares.capacity().saturating_mul(size_of::<HeapBuffer>()))
}

/// The index and the length of the size class for `len` bytes. Up to 1 KiB the classes go in steps of 16 bytes, to which allocators
/// round up anyway. Above there are sixteen steps from each power of two to the next.
fn class_of(len: usize) -> (usize, usize) {
    let whole = len.saturating_add(BESIDE);
    // Up to 1 KiB there are 64 classes in steps of 2^4. Then each doubling has 16 classes: in steps of 2^6 up to 2 KiB, of 2^7 up to 4 KiB …
    let (first, shift) = match whole.saturating_sub(1).checked_ilog2() {
        Some(power @ 10..) => ((power as usize).saturating_mul(16).saturating_sub(112), power.saturating_sub(4)),
        _ => (0, 4),
    };
    let steps = whole.div_ceil(1 << shift);
    (first.saturating_add(steps), (steps << shift).saturating_sub(BESIDE).max(len))
}

#[cfg(test)]
mod tests {
    use super::super::ceiling::{MemoryCeiling, MemoryUse};
    use super::*;

    #[test]
    fn size_classes_have_room_for_their_lengths_and_waste_little() {
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
    fn buffers_are_used_again_for_similar_lengths_and_show_no_old_bytes() {
        let mut spares = BufferPool::new(MemoryAccount::UNBOUNDED);
        let memory = spares.store([&b"before"[..], b" that"].into_iter(), 11, Claim::Ordinary).unwrap();
        let place = memory.as_ptr();
        spares.put(memory, usize::MAX);
        let other = spares.store([&[7; 100][..]].into_iter(), 100, Claim::Ordinary).unwrap();
        assert_ne!(other.as_ptr(), place);
        let again = SharedBytes::new(spares.store([&b"after it"[..]].into_iter(), 8, Claim::Ordinary).unwrap(), 8);
        assert_ne!(again.buffer.as_ptr(), place);
        let again = SharedBytes::new(spares.store([&b"after that"[..]].into_iter(), 10, Claim::Ordinary).unwrap(), 10);
        assert_eq!((again.buffer.as_ptr(), &*again), (place, &b"after that"[..]));
        assert_eq!(spares.bytes, 0);
    }

    #[test]
    fn spare_buffers_of_one_pool_are_kept_by_another() {
        let (mut here, mut there) =
            (BufferPool::new(MemoryAccount::UNBOUNDED), BufferPool::new(MemoryAccount::UNBOUNDED));
        let memory: Vec<_> =
            (0..OWN + 300).map(|_| here.store([&b"body"[..]].into_iter(), 4, Claim::Ordinary).unwrap()).collect();
        memory.into_iter().for_each(|memory| here.put(memory, usize::MAX));
        let (all, each) = (here.bytes, class_of(4).1);
        there.put_spare(here.take_spare(), usize::MAX);
        assert_eq!((here.bytes, there.bytes), (all - AT_ONCE * each, AT_ONCE * each));
        there.put_spare(here.take_spare(), 0);
        assert_eq!((here.bytes, there.bytes), (OWN * each, AT_ONCE * each), "no room for more");
        assert!(here.take_spare().0.is_empty(), "the pool keeps the rest");
        let memory: Vec<_> =
            (0..5).map(|_| here.store([&[][..]].into_iter(), MOST / 8, Claim::Ordinary).unwrap()).collect();
        memory.into_iter().for_each(|memory| here.put(memory, usize::MAX));
        assert_eq!(here.take_spare().0.len(), 2, "half of what is kept at most");
    }

    #[test]
    fn buffers_that_are_held_or_too_many_are_not_kept() {
        let mut spares = BufferPool::new(MemoryAccount::UNBOUNDED);
        let memory = spares.store([&b"body"[..]].into_iter(), 4, Claim::Ordinary).unwrap();
        spares.put(memory.clone(), usize::MAX);
        assert_eq!((spares.bytes, &memory[..4]), (0, &b"body"[..]));
        spares.put(HeapBuffer::from(&[0; 5][..]), usize::MAX);
        assert_eq!(spares.bytes, 0, "no size of a class");
        let memory = spares.store([&b"body"[..]].into_iter(), 4, Claim::Ordinary).unwrap();
        spares.put(memory, 7);
        assert_eq!(spares.bytes, 0, "no room");
        for _ in 0..MOST / 40_000 + 10 {
            let memory = spares.store([&[][..]].into_iter(), 40_000, Claim::Ordinary).unwrap();
            spares.put(memory.iter().copied().collect(), usize::MAX);
            spares.put(memory, usize::MAX);
        }
        assert!(spares.bytes > MOST - 50_000 && spares.bytes <= MOST);
    }

    #[test]
    fn allocated_buffers_are_claimed_once_and_spare_buffers_are_freed_for_new_ones() {
        let ceiling = MemoryCeiling::new(3 << 20);
        let mut spares = BufferPool::new(MemoryAccount::under(&ceiling, MemoryUse::Messages));
        let claimed = |spares: &BufferPool| spares.credit.taken();
        let long = spares.store([&[1; 300_000][..]].into_iter(), 300_000, Claim::Ordinary).unwrap();
        let cost = claimed(&spares);
        assert!((300_000..320_000).contains(&cost));
        spares.put(long, usize::MAX);
        assert!(claimed(&spares) > cost, "the buffer is kept, and the list of spare buffers takes memory too");
        let again = spares.store([&[1; 300_000][..]].into_iter(), 300_000, Claim::Ordinary).unwrap();
        spares.put(again, usize::MAX);
        let mut others = Vec::new();
        while let Some(other) = spares.store([&[2; 100_000][..]].into_iter(), 100_000, Claim::Ordinary) {
            others.push(other);
            assert!(ceiling.taken_in_all() <= 2 << 20);
        }
        assert_eq!(spares.bytes, 0, "the spare buffer was freed");
        assert!(others.len() >= 19, "{}", others.len());
        assert!(!spares.has_room(100_000, Claim::Ordinary) && spares.has_room(1000, Claim::Reserved));
        others.drain(..).for_each(|other| spares.put(other, 0));
        assert_eq!(claimed(&spares), 0);
        drop(spares);
        assert_eq!(ceiling.taken_in_all(), 0);
    }

    #[test]
    fn what_goes_to_a_sibling_is_claimed_by_the_sibling() {
        let ceiling = MemoryCeiling::new(3 << 20);
        let pool = || BufferPool::new(MemoryAccount::under(&ceiling, MemoryUse::Messages));
        let (mut here, mut there) = (pool(), pool());
        let memory: Vec<_> =
            (0..OWN + 300).map(|_| here.store([&b"body"[..]].into_iter(), 4, Claim::Ordinary).unwrap()).collect();
        memory.into_iter().for_each(|memory| here.put(memory, usize::MAX));
        let all = here.credit.taken();
        there.put_spare(here.take_spare(), usize::MAX);
        assert!(here.credit.taken() < all && here.credit.taken() + there.credit.taken() >= all);
        there.clear();
        here.clear();
        assert_eq!((here.credit.taken(), there.credit.taken()), (0, 0));
        drop((here, there));
        assert_eq!(ceiling.taken_in_all(), 0);
    }

    /// Otherwise a burst of long messages would leave no buffers for short ones.
    #[test]
    fn larger_buffers_make_room_for_smaller_ones() {
        let mut spares = BufferPool::new(MemoryAccount::UNBOUNDED);
        let memory = |len| HeapBuffer::from(std::vec![0; class_of(len).1]);
        for len in [3 << 20, 512 << 10, 300 << 10] {
            spares.put(memory(len), usize::MAX);
        }
        let before = spares.bytes;
        assert!(before > MOST - (300 << 10));
        spares.put(memory(300 << 10), usize::MAX);
        assert!(spares.bytes < before - (2 << 20), "the largest is gone");
        let before = spares.bytes;
        spares.put(memory(MOST - before + 1), usize::MAX);
        assert_eq!(spares.bytes, before, "there is none larger");
    }
}
