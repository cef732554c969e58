//! What has changed since it was last recorded, and what waits until that is safe.
//!
//! Nothing is written down when it happens. A change leaves a mark on the slot of what has changed: the slot is dirty
//! ([`dirty`]). When the shell polls, a record is made of each dirty slot as it is then: put, if something durable lives
//! there, or deleted, if the store has a record of it and it is gone. So a message that came and went between two polls
//! costs no record at all.
//!
//! Records that are polled together are a batch, which the store shows whole or not at all ([`batches`]). A reply that
//! promises something waits for the batch that is being gathered when it is decided on; what the reply is about is in that
//! batch or in an earlier one.

mod batches;
mod dirty;
#[cfg(test)]
mod tests;

pub use batches::Batch;

use batches::Batches;
use dirty::{DIRTY, Dirty, STORED};

use crate::mem::{OWNED, Slots};
use crate::seam::kind::Kind;

/// About how many bytes a record takes in a store, besides the body of a message. Texts are mostly short.
pub(crate) const RECORD_BYTES: u64 = 128;

/// What the mark on a slot takes with its place in the list of what is dirty, in bytes, while both grow by an eighth.
#[cfg(feature = "alloc")]
pub(crate) const MARK_BYTES: usize = 6;

/// The most messages to sibling brokers that are recorded until they are safe there.
pub(crate) const MAX_TRANSITS: usize = 1 << 20;

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

/// Marks on what is durable, and the batches.
#[derive(Debug)]
pub(crate) struct Journal<'m> {
    is_on: bool,
    /// What is restored needs no marks.
    is_paused: bool,
    dirty: Dirty<'m>,
    batches: Batches,
    /// Counts changes that somebody may have to wait for.
    changes: u32,
    /// Such a change is not recorded yet.
    is_urgent: bool,
    /// About how many bytes the records of the batch that is being gathered take, where memory is owned.
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

    /// Whether anything is durable.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        cfg!(feature = "durable") && self.is_on
    }

    // What the engine tells.

    /// A durable thing has changed, has come or gone.
    #[inline]
    pub(crate) fn mark(&mut self, kind: Kind, slot: usize) {
        self.mark_with_body(kind, slot, 0);
    }

    /// As [`Journal::mark`], for what is recorded with a body of so many bytes.
    pub(crate) fn mark_with_body(&mut self, kind: Kind, slot: usize, body: usize) {
        if self.is_on() && !self.is_paused {
            let is_new = self.dirty.set(kind, slot, DIRTY);
            if OWNED {
                // A slot that was dirty already has its record counted, but that was of what was in it before.
                let record = if is_new { RECORD_BYTES } else { 0 };
                self.gathered = self.gathered.saturating_add(record).saturating_add(body as u64);
            }
            self.changes = self.changes.wrapping_add(1);
            self.is_urgent = true;
        }
    }

    /// As [`Journal::mark`], for what is recorded with the next batch that there is anyway.
    pub(crate) fn mark_lazily(&mut self, kind: Kind, slot: usize) {
        if self.is_on() && !self.is_paused {
            self.dirty.set(kind, slot, DIRTY);
        }
    }

    // What promises wait for.

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
        if self.is_on() { self.batches.await_gathering() } else { 0 }
    }

    /// The batch with which all that has changed so far is safe; 0 if it is now.
    pub(crate) fn barrier(&mut self) -> u32 {
        if self.is_urgent || self.batches.has_records { self.gathering() } else { self.batches.unsafe_ended() }
    }

    /// Whether what waits for `batch` has to wait still.
    #[inline]
    pub(crate) fn is_unsafe(&self, batch: u32) -> bool {
        self.batches.is_unsafe(batch)
    }

    // What becomes of the marks: for `durable/`.

    /// Whether changes leave no marks.
    pub(crate) fn pause(&mut self, paused: bool) {
        self.is_paused = paused;
    }

    /// The store has a record of the slot already. `false` if there can't be such a slot.
    pub(crate) fn mark_stored(&mut self, kind: Kind, slot: usize) -> bool {
        let can_be = self.dirty.has(kind, slot);
        if can_be {
            self.dirty.set(kind, slot, STORED);
        }
        can_be
    }

    /// Whether there is something to be polled, or a batch to be ended.
    pub(crate) fn has_records(&self) -> bool {
        self.is_urgent || self.batches.is_begun()
    }

    /// The next thing that is to be recorded. It stays so until [`Journal::recorded`].
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

    /// Whether the latest record of the slot says how it is.
    pub(crate) fn is_clean(&self, kind: Kind, slot: u32) -> bool {
        self.dirty.bits(kind, slot) == STORED
    }

    /// A record of the slot was made: it `is_stored` then or it is not. Or there was nothing to be recorded.
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

    /// Ends the batch that is being gathered; gives its number, or that of the one before if there is nothing in it, or
    /// not everything yet.
    pub(crate) fn end_batch(&mut self) -> Batch {
        if !self.is_urgent && self.has_records() {
            self.batches.end();
            self.gathered = 0;
        }
        Batch(self.batches.ended)
    }

    /// `batch` and all before are safe. A number that is none of those that are ended and unsafe changes nothing.
    pub(crate) fn set_safe(&mut self, batch: Batch) {
        self.batches.set_safe(batch);
    }

    // Whether a commit can wait, or be left out.

    /// Kinds of things that come and go with each message.
    pub(crate) const PASSING: [Kind; 3] = [Kind::Transit, Kind::Delivery, Kind::Message];

    /// Whether there is a list of what is dirty: in owned memory.
    pub(crate) fn lists_what_is_dirty(&self) -> bool {
        self.dirty.table(Kind::Message).is_some_and(|messages| messages.list().is_some())
    }

    /// How many of a kind are to be recorded.
    pub(crate) fn dirty(&self, kind: Kind) -> u32 {
        self.dirty.table(kind).map_or(0, |table| table.count())
    }

    /// The dirty slot at a place in the list of those of its kind.
    pub(crate) fn dirty_at(&self, kind: Kind, place: usize) -> Option<u32> {
        self.dirty.table(kind)?.list()?.get(place).copied()
    }

    /// What is in the slot at a place of that list need not be recorded; another slot may take the place.
    pub(crate) fn forget(&mut self, kind: Kind, place: usize) {
        if let Some(table) = self.dirty.table_mut(kind) {
            table.forget(place);
        }
    }

    /// Nothing that anybody waits for is left to be recorded: what waited for the batch that is being gathered waits no more,
    /// and what is marked is for the next one. Whether anything waited. Not while records are polled, or made safe.
    pub(crate) fn release(&mut self) -> bool {
        let dirty: u64 = Self::PASSING.iter().map(|kind| u64::from(self.dirty(*kind))).sum();
        self.is_urgent = dirty > 0;
        self.gathered = dirty.saturating_mul(RECORD_BYTES);
        self.batches.release()
    }

    /// Whether the batch that is being gathered has been begun to be polled, or the one before it is not safe yet.
    pub(crate) fn is_under_way(&self) -> bool {
        self.batches.is_under_way()
    }
}
