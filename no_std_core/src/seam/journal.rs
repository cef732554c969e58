//! What has changed since it was last recorded, and what waits until that is safe.
//!
//! Nothing is written down when it happens. A change leaves a mark on the thing that changed, and `control/persist.rs` makes
//! a record of the thing as it is when the shell asks: put, if it lives and is durable, or deleted, if the store has it
//! and it is gone. So a message that came and went between two questions costs no record at all.
//!
//! Records that are polled together are a batch, which the store shows whole or not at all. A reply that promises
//! something waits for the batch that is being gathered when it is decided on; what the reply is about is in that one or
//! in an earlier one.

use crate::durable::record::Kind;
use crate::mem::Slots;

/// The store has a record of the slot.
const STORED: u8 = 1;
/// What is in the slot is to be recorded.
const DIRTY: u8 = 2;

/// About what a record takes in a store, besides the body of a message. Texts are mostly short.
#[cfg(feature = "alloc")]
pub(crate) const RECORD_BYTES: u64 = 128;

/// Memory for the marks: a byte for each slot of the tables that are named here. All may be empty where
/// [`Config::durable`](crate::Config::durable) is not set.
#[derive(Debug)]
pub struct JournalMemory<'m> {
    /// As many as there may be Sessions.
    pub sessions: Slots<'m, u8>,
    /// As many as there may be groups of shared subscriptions.
    pub groups: Slots<'m, u8>,
    /// As many as there may be subscriptions.
    pub subscriptions: Slots<'m, u8>,
    /// As many as there may be messages.
    pub messages: Slots<'m, u8>,
    /// The same again.
    pub retained: Slots<'m, u8>,
    /// As many as there may be deliveries.
    pub deliveries: Slots<'m, u8>,
    /// As many as there may be receipts.
    pub receipts: Slots<'m, u8>,
}

/// Records that become safe together; see [`Broker::seal`](crate::Broker::seal).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Batch(pub(crate) u32);

/// Marks on what is durable, and the batches.
///
/// Batches are numbered on the circle of `u32`. A number that something waits for is unsafe only while it is one of the few
/// between the last safe one and the one being gathered; so a number that was forgotten for a whole circle holds nobody up.
#[derive(Debug)]
pub(crate) struct Journal<'m> {
    on: bool,
    /// What is restored needs no marks.
    is_paused: bool,
    sessions: Marks<'m>,
    groups: Marks<'m>,
    subscriptions: Marks<'m>,
    messages: Marks<'m>,
    retained: Marks<'m>,
    deliveries: Marks<'m>,
    receipts: Marks<'m>,
    #[cfg(feature = "alloc")]
    transits: Marks<'m>,
    #[cfg(feature = "alloc")]
    siblings: Marks<'m>,
    /// There is but one slot.
    counters: u8,
    /// Counts changes that somebody may have to wait for.
    changes: u32,
    /// Such a change is not recorded yet.
    is_urgent: bool,
    /// About how many bytes the records of the batch that is being gathered take.
    #[cfg(feature = "alloc")]
    gathered: u64,
    /// Something waits for the batch that is being gathered.
    is_awaited: bool,
    /// Records were polled for it.
    has_records: bool,
    gathering: u32,
    /// The batch before it.
    sealed: u32,
    safe: u32,
}

impl<'m> Journal<'m> {
    pub(crate) fn new(memory: JournalMemory<'m>, on: bool) -> Self {
        Self {
            on,
            is_paused: false,
            sessions: Marks::new(memory.sessions),
            groups: Marks::new(memory.groups),
            subscriptions: Marks::new(memory.subscriptions),
            messages: Marks::new(memory.messages),
            retained: Marks::new(memory.retained),
            deliveries: Marks::new(memory.deliveries),
            receipts: Marks::new(memory.receipts),
            #[cfg(feature = "alloc")]
            transits: Marks::new(Slots::owned(crate::shards::links::MAX_TRANSITS)),
            #[cfg(feature = "alloc")]
            siblings: Marks::new(Slots::owned(usize::from(u16::MAX))),
            counters: 0,
            changes: 0,
            is_urgent: false,
            #[cfg(feature = "alloc")]
            gathered: 0,
            is_awaited: false,
            has_records: false,
            gathering: 1,
            sealed: 0,
            safe: 0,
        }
    }

    /// Whether anything is durable.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        cfg!(feature = "durable") && self.on
    }

    /// A durable thing has changed, has come or gone.
    #[inline]
    pub(crate) fn mark(&mut self, kind: Kind, slot: usize) {
        self.mark_with_body(kind, slot, 0);
    }

    /// As [`Journal::mark`], for what is recorded with a body of so many bytes.
    pub(crate) fn mark_with_body(&mut self, kind: Kind, slot: usize, body: usize) {
        if self.is_on() && !self.is_paused {
            let is_new = self.set(kind, slot, DIRTY);
            self.count(is_new, body);
            self.changes = self.changes.wrapping_add(1);
            self.is_urgent = true;
        }
    }

    /// A mark was made, on a slot that may have had one, of what was in it before.
    #[inline]
    fn count(&mut self, is_new: bool, body: usize) {
        #[cfg(feature = "alloc")]
        {
            let record = if is_new { RECORD_BYTES } else { 0 };
            self.gathered = self.gathered.saturating_add(record + body as u64);
        }
        let _ = (is_new, body);
    }

    /// About how many bytes the batch that is being gathered will take.
    #[cfg(feature = "alloc")]
    pub(crate) fn gathered(&self) -> u64 {
        self.gathered
    }

    /// As [`Journal::mark`], for what is recorded with the next batch that there is anyway.
    pub(crate) fn mark_lazily(&mut self, kind: Kind, slot: usize) {
        if self.is_on() && !self.is_paused {
            self.set(kind, slot, DIRTY);
        }
    }

    /// Whether changes leave no marks.
    pub(crate) fn pause(&mut self, paused: bool) {
        self.is_paused = paused;
    }

    /// The store has a record of the slot already. `false` if there can't be such a slot.
    pub(crate) fn mark_stored(&mut self, kind: Kind, slot: usize) -> bool {
        match self.marks(kind) {
            Some(marks) if slot >= marks.bits.limit() => return false,
            None if kind != Kind::Counters || slot > 0 => return false,
            _ => {}
        }
        self.set(kind, slot, STORED);
        true
    }

    /// Changes so far: to see whether there was one between two looks.
    #[inline]
    pub(crate) fn changes(&self) -> u32 {
        self.changes
    }

    /// The batch that a promise about the latest change waits for; 0, none, if there was none since `changes`.
    #[inline]
    pub(crate) fn batch_since(&mut self, changes: u32) -> u32 {
        if self.changes == changes { 0 } else { self.gathering() }
    }

    /// The batch that is being gathered, for something that waits for it; 0 if nothing is durable.
    pub(crate) fn gathering(&mut self) -> u32 {
        if !self.is_on() {
            return 0;
        }
        self.is_awaited = true;
        self.gathering
    }

    /// The batch with which all that has changed so far is safe; 0 if it is now.
    pub(crate) fn barrier(&mut self) -> u32 {
        if self.is_urgent || self.has_records {
            return self.gathering();
        }
        if self.sealed == self.safe { 0 } else { self.sealed }
    }

    /// Whether what waits for `batch` has to wait still.
    #[inline]
    pub(crate) fn is_unsafe(&self, batch: u32) -> bool {
        batch != 0 && batch.wrapping_sub(self.safe).wrapping_sub(1) < self.gathering.wrapping_sub(self.safe)
    }

    /// Whether there is something to be polled or sealed.
    pub(crate) fn has_records(&self) -> bool {
        self.is_urgent || self.is_awaited || self.has_records
    }

    /// The next thing that is to be recorded. It stays so until [`Journal::recorded`].
    pub(crate) fn next(&mut self) -> Option<(Kind, u32)> {
        if !self.has_records() {
            return None;
        }
        let marked = Kind::ALL.iter().find_map(|kind| match kind {
            Kind::Counters => (self.counters & DIRTY != 0).then_some((*kind, 0)),
            _ => Some((*kind, self.marks(*kind)?.next()?)),
        });
        if marked.is_none() {
            self.is_urgent = false;
        }
        marked
    }

    /// Whether the store has, or will have with this batch, a record of the slot.
    pub(crate) fn is_stored(&mut self, kind: Kind, slot: u32) -> bool {
        match kind {
            Kind::Counters => self.counters & STORED != 0,
            _ => self.marks(kind).is_some_and(|marks| marks.get(slot) & STORED != 0),
        }
    }

    /// Whether the latest record of the slot says how it is.
    #[cfg(feature = "alloc")]
    pub(crate) fn is_clean(&mut self, kind: Kind, slot: u32) -> bool {
        self.marks(kind).is_some_and(|marks| marks.get(slot) == STORED)
    }

    /// The batch that is being gathered.
    #[cfg(feature = "alloc")]
    pub(crate) fn under_way(&self) -> Batch {
        Batch(self.gathering)
    }

    /// A record of the slot was made: it `is_stored` then or it is not. Or there was nothing to be recorded.
    pub(crate) fn recorded(&mut self, kind: Kind, slot: u32, is_stored: bool, any: bool) {
        let bits = if is_stored { STORED } else { 0 };
        match self.marks(kind) {
            Some(marks) => marks.clean(slot, bits),
            None => self.counters = bits,
        }
        self.has_records |= any;
    }

    /// Ends the batch that is being gathered; gives its number, or that of the one before if there is nothing in it, or
    /// not everything yet.
    pub(crate) fn seal(&mut self) -> Batch {
        if !self.is_urgent && self.has_records() {
            self.sealed = self.gathering;
            // 0 stands for no batch.
            self.gathering = self.sealed.checked_add(1).unwrap_or(1);
            self.is_awaited = false;
            self.has_records = false;
            #[cfg(feature = "alloc")]
            {
                self.gathered = 0;
            }
        }
        Batch(self.sealed)
    }

    /// Kinds of things that come and go with each message.
    #[cfg(feature = "alloc")]
    pub(crate) const PASSING: [Kind; 3] = [Kind::Transit, Kind::Delivery, Kind::Message];

    /// Whether there is a list of what is dirty: in owned memory.
    #[cfg(feature = "alloc")]
    pub(crate) fn lists_what_is_dirty(&self) -> bool {
        matches!(self.messages.bits, Slots::Owned { .. })
    }

    /// How many of a kind are to be recorded.
    #[cfg(feature = "alloc")]
    pub(crate) fn dirty(&mut self, kind: Kind) -> u32 {
        self.marks(kind).map_or(0, |marks| marks.dirty)
    }

    /// The dirty slot at a place in the list of those of its kind.
    #[cfg(feature = "alloc")]
    pub(crate) fn dirty_at(&mut self, kind: Kind, place: usize) -> Option<u32> {
        self.marks(kind)?.queue.get(place).copied()
    }

    /// What is in the slot at a place of that list need not be recorded; another slot may take the place.
    #[cfg(feature = "alloc")]
    pub(crate) fn forget(&mut self, kind: Kind, place: usize) {
        if let Some(marks) = self.marks(kind) {
            marks.forget(place);
        }
    }

    /// Nothing that anybody waits for is left to be recorded: what waited for the batch that is being gathered waits no more,
    /// and what is marked is for the next one. Whether anything waited. Not while records are polled, or made safe.
    #[cfg(feature = "alloc")]
    pub(crate) fn release(&mut self) -> bool {
        let dirty: u64 = Self::PASSING.iter().map(|kind| u64::from(self.dirty(*kind))).sum();
        self.is_urgent = dirty > 0;
        self.gathered = dirty * RECORD_BYTES;
        if self.is_awaited {
            self.sealed = self.gathering;
            self.safe = self.gathering;
            self.gathering = self.sealed.checked_add(1).unwrap_or(1);
        }
        core::mem::take(&mut self.is_awaited)
    }

    /// Whether the batch that is being gathered has been begun to be polled, or the one before it is not safe yet.
    #[cfg(feature = "alloc")]
    pub(crate) fn is_under_way(&self) -> bool {
        self.has_records || self.sealed != self.safe
    }

    /// `batch` and all before are safe. A number that is none of those that are sealed and unsafe changes nothing.
    pub(crate) fn persisted(&mut self, batch: Batch) {
        if batch.0 != self.gathering && self.is_unsafe(batch.0) {
            self.safe = batch.0;
        }
    }

    /// Whether that is new.
    fn set(&mut self, kind: Kind, slot: usize, bit: u8) -> bool {
        match self.marks(kind) {
            Some(marks) => marks.set(slot, bit),
            None => {
                let is_new = self.counters & bit == 0;
                self.counters |= bit;
                is_new
            }
        }
    }

    #[inline]
    fn marks(&mut self, kind: Kind) -> Option<&mut Marks<'m>> {
        Some(match kind {
            Kind::Session => &mut self.sessions,
            Kind::Group => &mut self.groups,
            Kind::Subscription => &mut self.subscriptions,
            Kind::Message => &mut self.messages,
            Kind::Retained => &mut self.retained,
            Kind::Delivery => &mut self.deliveries,
            Kind::Receipt => &mut self.receipts,
            #[cfg(feature = "alloc")]
            Kind::Transit => &mut self.transits,
            #[cfg(feature = "alloc")]
            Kind::Sibling => &mut self.siblings,
            _ => return None,
        })
    }
}

/// The marks on one kind of things.
#[derive(Debug)]
struct Marks<'m> {
    /// [`STORED`] and [`DIRTY`] of each slot.
    bits: Slots<'m, u8>,
    /// How many are dirty.
    dirty: u32,
    /// In borrowed memory, where the tables are short: all dirty ones are looked for from here on, all around.
    at: u32,
    /// In owned memory: the dirty ones.
    #[cfg(feature = "alloc")]
    queue: alloc::vec::Vec<u32>,
}

impl<'m> Marks<'m> {
    fn new(mut bits: Slots<'m, u8>) -> Self {
        bits.as_mut_slice().fill(0);
        Self {
            bits,
            dirty: 0,
            at: 0,
            #[cfg(feature = "alloc")]
            queue: alloc::vec::Vec::new(),
        }
    }

    fn get(&self, slot: u32) -> u8 {
        self.bits.as_slice().get(slot as usize).copied().unwrap_or(0)
    }

    /// Whether it was made dirty by that.
    fn set(&mut self, slot: usize, bit: u8) -> bool {
        let there = self.bits.grow_to(slot.saturating_add(1));
        debug_assert!(there, "the marks are as many as the slots");
        let Some(bits) = self.bits.as_mut_slice().get_mut(slot) else { return false };
        let is_new = bit == DIRTY && *bits & DIRTY == 0;
        *bits |= bit;
        if is_new {
            self.dirty += 1;
            #[cfg(feature = "alloc")]
            if matches!(self.bits, Slots::Owned { .. }) {
                self.queue.push(slot as u32);
            }
        }
        is_new
    }

    fn clean(&mut self, slot: u32, left: u8) {
        let Some(bits) = self.bits.as_mut_slice().get_mut(slot as usize) else { return };
        if *bits & DIRTY != 0 {
            self.dirty = self.dirty.saturating_sub(1);
            #[cfg(feature = "alloc")]
            if self.queue.last() == Some(&slot) {
                self.queue.pop();
            }
        }
        *bits = left;
    }

    #[cfg(feature = "alloc")]
    fn forget(&mut self, place: usize) {
        if place < self.queue.len() {
            let slot = self.queue.swap_remove(place);
            self.dirty = self.dirty.saturating_sub(1);
            if let Some(bits) = self.bits.as_mut_slice().get_mut(slot as usize) {
                *bits &= !DIRTY;
            }
        }
    }

    fn next(&mut self) -> Option<u32> {
        if self.dirty == 0 {
            return None;
        }
        #[cfg(feature = "alloc")]
        if matches!(self.bits, Slots::Owned { .. }) {
            return self.queue.last().copied();
        }
        let (before, from) = self.bits.as_slice().split_at_checked(self.at as usize)?;
        let is_dirty = |bits: &u8| bits & DIRTY != 0;
        let found = from.iter().position(is_dirty).map(|place| place + before.len());
        self.at = found.or_else(|| before.iter().position(is_dirty))? as u32;
        Some(self.at)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::mem::testing::Random;

    fn journal<'m>(slots: impl Fn() -> Slots<'m, u8>) -> Journal<'m> {
        let memory = JournalMemory {
            sessions: slots(),
            groups: slots(),
            subscriptions: slots(),
            messages: slots(),
            retained: slots(),
            deliveries: slots(),
            receipts: slots(),
        };
        Journal::new(memory, true)
    }

    fn both(mut test: impl FnMut(Journal<'_>)) {
        test(journal(|| Slots::borrowed(std::vec![0xFF; 100].leak())));
        #[cfg(feature = "alloc")]
        test(journal(|| Slots::owned(100)));
    }

    #[test]
    fn each_mark_is_met_once() {
        both(|mut journal| {
            let mut random = Random::new(11);
            let mut dirty = BTreeSet::new();
            for _ in 0..5_000 {
                let (kind, slot) = (Kind::ALL[random.below(7)], random.below(100));
                match random.below(3) {
                    0 => match journal.next() {
                        Some((kind, slot)) => {
                            assert!(dirty.remove(&(kind, slot as usize)));
                            journal.recorded(kind, slot, true, true);
                        }
                        None => assert!(dirty.is_empty()),
                    },
                    _ => {
                        journal.mark(kind, slot);
                        dirty.insert((kind, slot));
                    }
                }
            }
        });
    }

    #[test]
    fn a_lazy_mark_waits_for_company() {
        both(|mut journal| {
            journal.mark_lazily(Kind::Session, 3);
            assert!(!journal.has_records() && journal.next().is_none());
            journal.mark(Kind::Message, 1);
            for expected in [(Kind::Session, 3), (Kind::Message, 1)] {
                assert_eq!(journal.next(), Some(expected));
                journal.recorded(expected.0, expected.1, true, true);
            }
            assert_eq!(journal.next(), None);
        });
    }

    /// It was not counted where the message before it in that slot had just ended.
    #[cfg(feature = "alloc")]
    #[test]
    fn a_body_counts_though_its_slot_is_marked_already() {
        both(|mut journal| {
            journal.mark(Kind::Message, 1);
            assert_eq!(journal.gathered(), RECORD_BYTES);
            journal.mark_with_body(Kind::Message, 1, 1_000);
            assert_eq!(journal.gathered(), RECORD_BYTES + 1_000);
            journal.recorded(Kind::Message, 1, true, true);
            assert_eq!(journal.next(), None);
            journal.seal();
            assert_eq!(journal.gathered(), 0);
        });
    }

    #[test]
    fn what_waits_for_a_batch_waits_for_those_before_it_and_no_longer() {
        both(|mut journal| {
            let first = journal.gathering();
            assert!(journal.is_unsafe(first) && !journal.is_unsafe(0));
            let one = journal.seal();
            let second = journal.gathering();
            let two = journal.seal();
            assert!(first != second && journal.is_unsafe(first) && journal.is_unsafe(second));
            journal.persisted(one);
            assert!(!journal.is_unsafe(first) && journal.is_unsafe(second));
            journal.persisted(two);
            journal.persisted(one);
            assert!(!journal.is_unsafe(second));
            assert_eq!((journal.seal(), journal.barrier()), (two, 0), "there is nothing new");
        });
    }

    #[test]
    fn a_batch_is_not_sealed_before_all_of_it_was_polled() {
        both(|mut journal| {
            let before = journal.seal();
            journal.mark(Kind::Receipt, 5);
            let batch = journal.gathering();
            assert_eq!(journal.seal(), before);
            journal.persisted(before);
            assert!(journal.is_unsafe(batch));
            assert_eq!(journal.next(), Some((Kind::Receipt, 5)));
            journal.recorded(Kind::Receipt, 5, true, true);
            assert_eq!(journal.next(), None);
            let sealed = journal.seal();
            assert_ne!(sealed, before);
            journal.persisted(sealed);
            assert!(!journal.is_unsafe(batch));
        });
    }

    #[test]
    fn numbers_go_round_and_none_is_held_up_by_one_that_was_forgotten() {
        both(|mut journal| {
            let forgotten = journal.gathering();
            (journal.gathering, journal.sealed, journal.safe) = (u32::MAX - 1, u32::MAX - 2, u32::MAX - 2);
            for _ in 0..5 {
                let batch = journal.gathering();
                assert!(batch != 0 && journal.is_unsafe(batch));
                let sealed = journal.seal();
                assert!(journal.is_unsafe(batch));
                journal.persisted(sealed);
                assert!(!journal.is_unsafe(batch) && !journal.is_unsafe(u32::MAX / 2));
            }
            assert!(!journal.is_unsafe(forgotten));
        });
    }

    #[cfg(feature = "alloc")]
    #[test]
    fn what_is_forgotten_is_not_met_and_may_be_marked_again() {
        let mut journal = journal(|| Slots::owned(100));
        for slot in [3, 5, 7] {
            journal.mark(Kind::Message, slot);
        }
        assert_eq!(journal.dirty_at(Kind::Message, 1), Some(5));
        journal.forget(Kind::Message, 1);
        assert_eq!(journal.dirty(Kind::Message), 2);
        journal.mark(Kind::Message, 5);
        journal.mark(Kind::Message, 3);
        let mut met = BTreeSet::new();
        while let Some((kind, slot)) = journal.next() {
            assert!(met.insert(slot));
            journal.recorded(kind, slot, true, true);
        }
        assert_eq!(met, BTreeSet::from([3, 5, 7]));
    }

    #[cfg(feature = "alloc")]
    #[test]
    fn what_waited_for_a_batch_that_is_released_waits_no_more() {
        let mut journal = journal(|| Slots::owned(100));
        assert!(!journal.release());
        journal.mark(Kind::Message, 3);
        let waited_for = journal.gathering();
        journal.mark_lazily(Kind::Message, 4);
        assert!(journal.is_unsafe(waited_for) && !journal.is_under_way());
        assert!(journal.release() && !journal.is_unsafe(waited_for));
        // What is marked stays so, for the next batch.
        assert!(journal.has_records());
        assert!(journal.is_unsafe(journal.gathering));
        while let Some((kind, slot)) = journal.next() {
            journal.recorded(kind, slot, true, true);
            assert!(journal.is_under_way());
        }
        let batch = journal.seal();
        assert!(journal.is_under_way());
        journal.persisted(batch);
        assert!(!journal.is_under_way() && !journal.has_records());
    }
}
