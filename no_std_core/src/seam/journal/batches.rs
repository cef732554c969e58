//! Records that become safe together, and what waits until they are.

/// Records that become safe together; see [`Broker::end_batch`](crate::Broker::end_batch).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Batch(pub(crate) u32);

/// The batch that is being gathered, and those that the store has but has not synced.
///
/// Batches are numbered on the circle of `u32`, without 0, which stands for no batch. A number that something waits for is
/// unsafe only while it is one of the few between the last safe one and the one being gathered; so a number that was
/// forgotten for a whole circle holds nobody up.
#[derive(Debug)]
pub(super) struct Batches {
    /// Something waits for the batch that is being gathered.
    is_awaited: bool,
    /// Records were polled for it.
    pub(super) has_records: bool,
    pub(super) gathering: u32,
    /// The batch before it.
    pub(super) ended: u32,
    /// The last one that the store has synced.
    pub(super) safe: u32,
}

impl Batches {
    pub(super) const NEW: Self = Self { is_awaited: false, has_records: false, gathering: 1, ended: 0, safe: 0 };

    /// The batch that is being gathered, for something that waits for it.
    pub(super) fn await_gathering(&mut self) -> u32 {
        self.is_awaited = true;
        self.gathering
    }

    /// Whether there is something in the batch that is being gathered, or something waits for it.
    pub(super) fn is_begun(&self) -> bool {
        self.is_awaited || self.has_records
    }

    /// The last batch that was ended; 0 if it is safe.
    pub(super) fn unsafe_ended(&self) -> u32 {
        if self.ended == self.safe { 0 } else { self.ended }
    }

    /// Whether what waits for `batch` has to wait still.
    #[inline]
    pub(super) fn is_unsafe(&self, batch: u32) -> bool {
        batch != 0 && batch.wrapping_sub(self.safe).wrapping_sub(1) < self.gathering.wrapping_sub(self.safe)
    }

    /// Whether the batch that is being gathered has been begun to be polled, or the one before it is not safe yet.
    pub(super) fn is_under_way(&self) -> bool {
        self.has_records || self.ended != self.safe
    }

    /// Ends the batch that is being gathered, and begins the next one.
    pub(super) fn end(&mut self) {
        self.ended = self.gathering;
        self.gathering = self.ended.checked_add(1).unwrap_or(1);
        self.is_awaited = false;
        self.has_records = false;
    }

    /// `batch` and all before are safe. A number that is none of those that are ended and unsafe changes nothing.
    pub(super) fn set_safe(&mut self, batch: Batch) {
        if batch.0 != self.gathering && self.is_unsafe(batch.0) {
            self.safe = batch.0;
        }
    }

    /// What waits for the batch that is being gathered waits no more, as if it were ended and safe. Whether anything waited. Not
    /// while a batch [is under way](Self::is_under_way).
    pub(super) fn release(&mut self) -> bool {
        let was_awaited = self.is_awaited;
        if was_awaited {
            self.end();
            self.safe = self.ended;
        }
        was_awaited
    }
}
