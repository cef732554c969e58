//! Which things have changed since they were last recorded, and which batch a promise about a change has to wait for.
//!
//! Nothing is recorded at the moment of a change. A change leaves a mark on the slot of the thing that has changed: the slot is
//! dirty ([`dirty`]). When the embedder polls, a record is made of each dirty slot as it is at that moment. The record is a put
//! if something durable lives in the slot, and a delete if that is gone and the store has a record of it. So a message that came
//! and went between two polls costs no record at all.
//!
//! Records that are polled together are a batch, which the store shows whole or not at all ([`batches`]). A reply that promises
//! something waits for the batch that is being gathered when the reply is decided on. The thing that the reply is about is
//! recorded in that batch or in an earlier one.

mod batches;
mod dirty;
#[cfg(all(test, feature = "durable"))]
mod tests;

pub use batches::Batch;

use batches::Batches;
use dirty::{DIRTY, Dirty, STORED};

use crate::mem::{OWNED, Slots};
use crate::seam::kind::Kind;

/// About how many bytes a record takes in a store, besides the body of a message. Texts are mostly short.
pub(crate) const RECORD_BYTES: u64 = 128;

/// The most messages to other shards that are recorded until they are safe there.
pub(crate) const MAX_TRANSITS: usize = 1 << 20;

/// Memory for the marks: a byte for each slot of the tables that are named here. All may be empty where
/// [`Config::durable`](crate::Config::durable) is not set.
#[derive(Debug)]
pub struct JournalMemory<'m> {
    /// One for each Session that there may be.
    pub sessions: Slots<'m, u8>,
    /// One for each group of a shared subscription that there may be.
    pub groups: Slots<'m, u8>,
    /// One for each subscription that there may be.
    pub subscriptions: Slots<'m, u8>,
    /// One for each message that there may be.
    pub messages: Slots<'m, u8>,
    /// One more for each message that there may be.
    pub retained: Slots<'m, u8>,
    /// One for each delivery that there may be.
    pub deliveries: Slots<'m, u8>,
    /// One for each receipt that there may be.
    pub receipts: Slots<'m, u8>,
}

/// Marks on what is durable, and the batches.
#[derive(Debug)]
pub(crate) struct Journal<'m> {
    is_on: bool,
    /// Whether changes leave no marks, as while records are restored.
    is_paused: bool,
    dirty: Dirty<'m>,
    batches: Batches,
    /// Counts the changes that a reply may have to wait for.
    changes: u32,
    /// Whether a change that a reply may have to wait for is not recorded yet.
    is_urgent: bool,
    /// About how many bytes the records of the batch that is being gathered take; in owned memory only.
    gathered: u64,
}

impl<'m> Journal<'m> {
    pub(crate) fn new(memory: JournalMemory<'m>, is_on: bool) -> Self {
        Self {
            is_on,
            is_paused: false,
            dirty: Dirty::new(memory),
            batches: Batches::NEW,
            changes: 0,
            is_urgent: false,
            gathered: 0,
        }
    }

    /// Whether things are recorded at all.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        cfg!(feature = "durable") && self.is_on
    }

    // What the engine reports.

    /// Notes that a durable thing has changed, has come or has gone.
    #[inline]
    pub(crate) fn mark(&mut self, kind: Kind, slot: usize) {
        self.mark_with_body(kind, slot, 0);
    }

    /// As [`Journal::mark`], for a thing whose record has a body of `body` bytes.
    pub(crate) fn mark_with_body(&mut self, kind: Kind, slot: usize, body: usize) {
        if self.is_on() && !self.is_paused {
            let is_new = self.dirty.set(kind, slot, DIRTY);
            if OWNED {
                // If the slot was dirty already, its record is counted already, but not the body of what is in the slot now.
                let record = if is_new { RECORD_BYTES } else { 0 };
                self.gathered = self.gathered.saturating_add(record).saturating_add(body as u64);
            }
            self.changes = self.changes.wrapping_add(1);
            self.is_urgent = true;
        }
    }

    /// As [`Journal::mark`], for a change that no batch is begun for: it is recorded with the next batch that there is anyway.
    pub(crate) fn mark_lazily(&mut self, kind: Kind, slot: usize) {
        if self.is_on() && !self.is_paused {
            self.dirty.set(kind, slot, DIRTY);
        }
    }

    // Which batch a promise waits for.

    /// How many changes there were so far: two equal answers mean that there was no change in between.
    #[inline]
    pub(crate) fn changes(&self) -> u32 {
        self.changes
    }

    /// The batch that a promise about the latest change waits for; 0, for no batch, if there was no change since `changes`.
    #[inline]
    pub(crate) fn batch_since(&mut self, changes: u32) -> u32 {
        if self.changes == changes { 0 } else { self.gathering() }
    }

    /// The batch that is being gathered, for a reply that waits for it; 0 if the broker is not durable.
    pub(crate) fn gathering(&mut self) -> u32 {
        if self.is_on() { self.batches.await_gathering() } else { 0 }
    }

    /// The batch that has to be safe for all changes so far to be safe; 0 if they are safe now.
    pub(crate) fn barrier(&mut self) -> u32 {
        if self.is_urgent || self.batches.has_records { self.gathering() } else { self.batches.unsafe_ended() }
    }

    /// Whether `batch` is not safe yet.
    #[inline]
    pub(crate) fn is_unsafe(&self, batch: u32) -> bool {
        self.batches.is_unsafe(batch)
    }

    // How the marks are used, for `durable/`.

    /// Sets whether changes leave no marks.
    pub(crate) fn pause(&mut self, paused: bool) {
        self.is_paused = paused;
    }

    /// Notes that the store has a record of the slot already. `false` if the table has no such slot.
    pub(crate) fn mark_stored(&mut self, kind: Kind, slot: usize) -> bool {
        let can_be = self.dirty.has(kind, slot);
        if can_be {
            self.dirty.set(kind, slot, STORED);
        }
        can_be
    }

    /// Whether there is a record to be polled, or a batch to be ended.
    pub(crate) fn has_records(&self) -> bool {
        self.is_urgent || self.batches.is_begun()
    }

    /// The next thing that is to be recorded. It stays the next one until [`Journal::recorded`] is called for it.
    pub(crate) fn next(&mut self) -> Option<(Kind, u32)> {
        if !self.has_records() {
            return None;
        }
        let marked = self.dirty.next();
        if marked.is_none() {
            self.is_urgent = false;
        }
        marked
    }

    /// Whether the store has, or will have with this batch, a record of the slot.
    pub(crate) fn is_stored(&self, kind: Kind, slot: u32) -> bool {
        self.dirty.bits(kind, slot) & STORED != 0
    }

    /// Whether the thing in the slot has not changed since its latest record.
    pub(crate) fn is_clean(&self, kind: Kind, slot: u32) -> bool {
        self.dirty.bits(kind, slot) == STORED
    }

    /// Notes that the slot needs no record for now. `is_stored`: the store has a record of it then. `any`: a record was made.
    pub(crate) fn recorded(&mut self, kind: Kind, slot: u32, is_stored: bool, any: bool) {
        self.dirty.clean(kind, slot, if is_stored { STORED } else { 0 });
        self.batches.has_records |= any;
    }

    /// The batch that is being gathered.
    pub(crate) fn under_way(&self) -> Batch {
        Batch(self.batches.gathering)
    }

    /// About how many bytes the batch that is being gathered will take.
    pub(crate) fn gathered(&self) -> u64 {
        self.gathered
    }

    /// Ends the batch that is being gathered, and returns its number. Returns the number of the batch before if the batch is
    /// empty, or if some of its records are not polled yet.
    pub(crate) fn end_batch(&mut self) -> Batch {
        if !self.is_urgent && self.has_records() {
            self.batches.end();
            self.gathered = 0;
        }
        Batch(self.batches.ended)
    }

    /// `batch` and all batches before it are safe. A number that is not one of the ended and unsafe batches changes nothing.
    pub(crate) fn set_safe(&mut self, batch: Batch) {
        self.batches.set_safe(batch);
    }

    // Whether a commit can be put off or left out.

    /// Kinds of things that come and go with each message.
    pub(crate) const PASSING: [Kind; 3] = [Kind::Transit, Kind::Delivery, Kind::Message];

    /// Whether there are lists of the dirty slots: only in owned memory.
    pub(crate) fn lists_what_is_dirty(&self) -> bool {
        self.dirty.table(Kind::Message).is_some_and(|messages| messages.list().is_some())
    }

    /// How many slots of a kind are dirty.
    pub(crate) fn dirty(&self, kind: Kind) -> u32 {
        self.dirty.table(kind).map_or(0, |table| table.count())
    }

    /// The dirty slot at a place in the list of those of its kind.
    pub(crate) fn dirty_at(&self, kind: Kind, place: usize) -> Option<u32> {
        self.dirty.table(kind)?.list()?.get(place).copied()
    }

    /// The thing in the slot at a place of that list need not be recorded. Another slot may take the place.
    pub(crate) fn forget(&mut self, kind: Kind, place: usize) {
        if let Some(table) = self.dirty.table_mut(kind) {
            table.forget(place);
        }
    }

    /// Lets everything go on that waited for the batch that is being gathered, because nothing that is waited for is left to be
    /// recorded. The remaining marks are for the next batch. Returns whether anything waited. Must not be called while records
    /// are being polled or made safe.
    pub(crate) fn release(&mut self) -> bool {
        let dirty: u64 = Self::PASSING.iter().map(|kind| u64::from(self.dirty(*kind))).sum();
        self.is_urgent = dirty > 0;
        self.gathered = dirty.saturating_mul(RECORD_BYTES);
        self.batches.release()
    }

    /// Whether polling the batch that is being gathered has begun, or the batch before it is not safe yet.
    pub(crate) fn is_under_way(&self) -> bool {
        self.batches.is_under_way()
    }
}
