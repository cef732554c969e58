//! Deadlines, the earliest first.

use super::{Claim, Handle, OWNED, Pool, PoolSlot, Slots};
use crate::time::Instant;

/// The number of children of each place of the heap. Four children lie in one cache line.
const ARITY: usize = 4;

/// Refers to a timer that is set. It is not valid any more when the timer has fired or was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TimerId(Handle<()>);

impl TimerId {
    fn handle<K>(self) -> Handle<Timer<K>> {
        self.0.cast()
    }
}

/// The memory for the key of one timer.
pub type TimerSlot<K> = PoolSlot<Timer<K>>;

/// A timer in its pool.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timer<K> {
    key: K,
    /// The index of its deadline in the heap.
    position: u32,
}

impl<K> Timer<K> {
    /// The value of a [`TimerSlot`] in an array that firmware declares; `key` must equal `K::default()`.
    pub const fn vacant(key: K) -> Self {
        Self { key, position: 0 }
    }
}

/// The memory for the deadline of one timer.
#[derive(Clone, Copy, Debug)]
pub struct HeapSlot {
    deadline: Instant,
    /// `None` in places that the heap does not use.
    timer: Option<Handle<()>>,
}

impl HeapSlot {
    /// The value of a slot in an array that firmware declares.
    pub const EMPTY: Self = Self { deadline: Instant::from_millis(0), timer: None };
}

impl Default for HeapSlot {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// Timers, each with a key that says to what it belongs. Setting, changing and cancelling a timer take O(log n).
///
/// If several timers are due at the same moment, any of them may come first.
#[derive(Debug)]
pub(crate) struct Timers<'m, K> {
    timers: Pool<'m, Timer<K>>,
    /// A heap: no deadline is earlier than that of its parent. The first `timers.len()` places are in use.
    heap: Slots<'m, HeapSlot>,
}

impl<'m, K: Copy + Default> Timers<'m, K> {
    /// No timers, with memory for as many as fit in the smaller of both tables.
    pub(crate) fn new(timers: Slots<'m, TimerSlot<K>>, heap: Slots<'m, HeapSlot>) -> Self {
        Self { timers: Pool::new(timers), heap }
    }

    /// Whether there is memory for `len` timers in all, which then stays so. Memory of our own grows for that now, if it may.
    pub(crate) fn reserve(&mut self, len: usize, claim: Claim) -> bool {
        self.heap.reserve(len, claim) && self.timers.reserve(len, claim)
    }

    /// Gives memory back as [`Pool::give_back`]. There stays memory for at least `least` timers.
    pub(crate) fn give_back(&mut self, least: usize) {
        if self.timers.give_back(least) {
            self.heap.truncate(self.timers.slots().max(least));
        }
    }

    /// Sets a timer that is due at `deadline`. `None` if there is no room.
    pub(crate) fn arm(&mut self, deadline: Instant, key: K) -> Option<TimerId> {
        let position = self.timers.len();
        // Without its timer a Session would never end.
        if OWNED && !self.reserve(position.saturating_add(1), Claim::Reserved) {
            return None;
        }
        if !self.heap.grow_to(position.saturating_add(1)) {
            return None;
        }
        let timer = self.timers.insert(Timer { key, position: position as u32 })?;
        let id = TimerId(timer.cast());
        self.settle(position, HeapSlot { deadline, timer: Some(id.0) });
        Some(id)
    }

    /// Changes the deadline of a timer.
    pub(crate) fn rearm(&mut self, id: TimerId, deadline: Instant) {
        if self.timers.is_live(id.handle()) {
            let position = self.timers[id.handle()].position as usize;
            self.settle(position, HeapSlot { deadline, timer: Some(id.0) });
        }
    }

    /// Cancels a timer before it is due. Returns its key.
    pub(crate) fn cancel(&mut self, id: TimerId) -> Option<K> {
        if !self.timers.is_live(id.handle()) {
            return None;
        }
        let timer = self.timers.remove(id.handle());
        let position = timer.position as usize;
        // The last deadline of the heap fills the gap.
        let last = self.timers.len();
        if position < last {
            let moved = self.at(last);
            self.settle(position, moved);
        }
        Some(timer.key)
    }

    /// Removes the earliest timer, if it is due at `now`. Returns its key.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<K> {
        if self.next()? > now {
            return None;
        }
        self.cancel(TimerId(self.at(0).timer?))
    }

    /// When the earliest timer is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        (!self.timers.is_empty()).then(|| self.at(0).deadline)
    }

    /// Puts `slot` where it belongs in the heap. The place `position` is free.
    fn settle(&mut self, position: usize, slot: HeapSlot) {
        let up = self.sift_up(position, slot.deadline);
        let place = if up == position { self.sift_down(position, slot.deadline) } else { up };
        self.put(place, slot);
    }

    /// Moves parents with a later deadline down. Returns the place that became free.
    fn sift_up(&mut self, mut place: usize, deadline: Instant) -> usize {
        while let Some(above) = place.checked_sub(1) {
            let parent = above / ARITY;
            let slot = self.at(parent);
            if slot.deadline <= deadline {
                break;
            }
            self.put(place, slot);
            place = parent;
        }
        place
    }

    /// Moves children with an earlier deadline up. Returns the place that became free.
    fn sift_down(&mut self, mut place: usize, deadline: Instant) -> usize {
        loop {
            let first = place.saturating_mul(ARITY).saturating_add(1);
            let children = first..first.saturating_add(ARITY).min(self.timers.len());
            let Some(child) = children.min_by_key(|child| self.at(*child).deadline) else { return place };
            let slot = self.at(child);
            if slot.deadline >= deadline {
                return place;
            }
            self.put(place, slot);
            place = child;
        }
    }

    fn at(&self, place: usize) -> HeapSlot {
        self.heap.as_slice().get(place).copied().unwrap_or_default()
    }

    fn put(&mut self, place: usize, slot: HeapSlot) {
        if let Some(target) = self.heap.as_mut_slice().get_mut(place) {
            *target = slot;
            if let Some(timer) = slot.timer {
                self.timers[TimerId(timer).handle()].position = place as u32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::vec::Vec;

    use super::super::testing::{Random, with_slots};
    use super::*;

    impl<K: Copy + Default> Timers<'_, K> {
        fn len(&self) -> usize {
            self.timers.len()
        }

        fn is_empty(&self) -> bool {
            self.timers.is_empty()
        }

        fn deadline(&self, id: TimerId) -> Option<Instant> {
            self.timers.is_live(id.handle()).then(|| self.at(self.timers[id.handle()].position as usize).deadline)
        }
    }

    #[test]
    fn timers_fire_in_order_after_any_changes() {
        with_slots(64, |slots| {
            let mut heap = [HeapSlot::EMPTY; 100];
            let mut timers = Timers::new(slots, Slots::borrowed(&mut heap));
            let mut random = Random::new(8);
            let mut model: Vec<(u64, u32, TimerId)> = Vec::new();
            let mut now = 0;
            for key in 0..20_000u32 {
                match random.below(10) {
                    0..=4 => {
                        let at = now + random.below(1_000) as u64;
                        match timers.arm(Instant::from_millis(at), key) {
                            Some(id) => model.push((at, key, id)),
                            None => assert_eq!(model.len(), 64),
                        }
                    }
                    5 | 6 if !model.is_empty() => {
                        let entry = random.below(model.len());
                        model[entry].0 = now + random.below(1_000) as u64;
                        timers.rearm(model[entry].2, Instant::from_millis(model[entry].0));
                    }
                    7 if !model.is_empty() => {
                        let (at, key, id) = model.swap_remove(random.below(model.len()));
                        assert_eq!(timers.deadline(id), Some(Instant::from_millis(at)));
                        assert_eq!(timers.cancel(id), Some(key));
                        assert_eq!(timers.cancel(id), None);
                    }
                    _ => {
                        now += random.below(100) as u64;
                        let due: BTreeSet<_> =
                            model.extract_if(.., |(at, ..)| *at <= now).map(|(_, key, _)| key).collect();
                        let popped: BTreeSet<_> =
                            core::iter::from_fn(|| timers.pop_due(Instant::from_millis(now))).collect();
                        assert_eq!(popped, due);
                    }
                }
                assert_eq!((timers.len(), timers.is_empty()), (model.len(), model.is_empty()));
                let earliest = model.iter().map(|(at, ..)| Instant::from_millis(*at)).min();
                assert_eq!(timers.next(), earliest);
            }
        });
    }

    #[test]
    fn the_smaller_table_limits_the_number_of_timers() {
        let mut heap = [HeapSlot::EMPTY; 1];
        with_slots(3, |slots| {
            let mut timers = Timers::new(slots, Slots::borrowed(&mut heap));
            let first = timers.arm(Instant::from_millis(5), 1u8).unwrap();
            assert_eq!(timers.arm(Instant::from_millis(4), 2), None);
            timers.cancel(first);
            assert!(timers.arm(Instant::from_millis(4), 2).is_some());
        });
    }
}
