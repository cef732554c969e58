//! Batches of records that become safe together, and which of them replies have to wait for.

/// Records that become safe together; see `Broker::end_batch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Batch(pub(crate) u32);

/// The batch that is being gathered, and the batches that the store has but has not synced.
///
/// Batches are numbered on the circle of `u32`, without 0, which stands for no batch. The number of a batch is unsafe only while
/// it lies between the last safe batch and the one that is being gathered. So an old number that nobody cleared makes nobody
/// wait, even after the numbers have gone round.
#[derive(Debug)]
pub(super) struct Batches {
    /// Something waits for the batch that is being gathered.
    is_awaited: bool,
    /// Records were polled for the batch that is being gathered.
    pub(super) has_records: bool,
    pub(super) gathering: u32,
    /// The last batch that was ended.
    pub(super) ended: u32,
    /// The last batch that the store has synced.
    pub(super) safe: u32,
}

impl Batches {
    pub(super) const NEW: Self = Self { is_awaited: false, has_records: false, gathering: 1, ended: 0, safe: 0 };

    /// The batch that is being gathered. The caller waits for it.
    pub(super) fn await_gathering(&mut self) -> u32 {
        self.is_awaited = true;
        self.gathering
    }

    /// Whether the batch that is being gathered has records, or something waits for it.
    pub(super) fn is_begun(&self) -> bool {
        self.is_awaited || self.has_records
    }

    /// The last batch that was ended; 0 if it is safe.
    pub(super) fn unsafe_ended(&self) -> u32 {
        if self.ended == self.safe { 0 } else { self.ended }
    }

    /// Whether `batch` is not safe yet.
    #[inline]
    pub(super) fn is_unsafe(&self, batch: u32) -> bool {
        batch != 0 && batch.wrapping_sub(self.safe).wrapping_sub(1) < self.gathering.wrapping_sub(self.safe)
    }

    /// Whether polling the batch that is being gathered has begun, or the batch before it is not safe yet.
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

    /// `batch` and all batches before it are safe. A number that is not one of the ended and unsafe batches changes nothing.
    pub(super) fn set_safe(&mut self, batch: Batch) {
        if batch.0 != self.gathering && self.is_unsafe(batch.0) {
            self.safe = batch.0;
        }
    }

    /// Lets go on what waits for the batch that is being gathered, as if that batch were ended and safe. Returns whether anything
    /// waited. Must not be called while a batch [is under way](Self::is_under_way).
    pub(super) fn release(&mut self) -> bool {
        let was_awaited = self.is_awaited;
        if was_awaited {
            self.end();
            self.safe = self.ended;
        }
        was_awaited
    }
}
