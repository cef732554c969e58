//! What survives a restart: records to store, and restoring from them.

use super::broker::Broker;
use crate::durable::record::Record;
use crate::durable::{Polled, RestoreError, Restored};
use crate::engine::neighbours::credit::Credit;
use crate::mem::OWNED;
use crate::seam::journal::Batch;
use crate::time::Instant;

impl Broker<'_> {
    /// Whether there is something for [`Broker::poll_record`] or [`Broker::end_batch`].
    pub fn has_records(&self) -> bool {
        self.engine.messages.journal.has_records()
    }

    /// The next record that is to be stored, sealed into `out`: a thing as it is now, or that it is gone.
    ///
    /// Poll until there is [`Polled::Nothing`], then [`Broker::end_batch`] the batch, store it, and report it by
    /// [`Broker::handle_persisted`]; meanwhile the next batch may be gathered. Within a batch records have no order, and no key
    /// comes twice if nothing else was called between. A store must show a batch whole or not at all, and none without
    /// all those before it.
    pub fn poll_record(&mut self, out: &mut [u8]) -> Polled {
        self.engine.next_record(out)
    }

    /// Has everything durable recorded anew with the next batch, as if the store had nothing but what it has to delete, and the
    /// messages whose bodies are there alone.
    pub fn record_all(&mut self) {
        self.engine.mark_all();
    }

    /// Ends the batch of all records that were polled since the last call: which one it is. To be called when there is
    /// [`Polled::Nothing`] more; before that, or if there is nothing to wait for, it gives the last batch again.
    ///
    /// A batch may have no records: there is something that waits for it all the same.
    pub fn end_batch(&mut self) -> Batch {
        self.engine.messages.journal.end_batch()
    }

    /// The batch, and all before it, are safe: what waited for that is transmittable, and [`Broker::poll_ready`] names the
    /// connections. If this call is forgotten they wait; nothing is lost.
    pub fn handle_persisted(&mut self, batch: Batch) {
        self.engine.on_persisted(batch);
    }

    /// Takes one record back after a restart, before the first connection: each key once, as it was stored last, without those
    /// that were deleted, and all of one [`Kind`](crate::durable::record::Kind) before those of the next one.
    ///
    /// `Err`: this record is left out, with a reason that is worth a line in a log; go on with the others. What is left out is
    /// deleted by the first records that are polled then, unless its slot is beyond the table: who would rather not lose
    /// it stops here. The shell's clock must go on where it stood when the records were made, see [`Instant`].
    pub fn restore(&mut self, record: Record<'_>) -> Result<(), RestoreError> {
        self.engine.take_back(record)
    }

    /// Ends restoring: what refers to nothing is dropped, queues get their order, absent clients their timers. What all
    /// that has changed is to be polled as records.
    ///
    /// With siblings nothing is taken from clients before all have told each other of what they restored: each has to be
    /// restored before it is handed a forward.
    pub fn finish_restore(&mut self, now: Instant) -> Restored {
        self.engine.end_restoring(now)
    }

    /// The store takes no more, or does again. While it is full what needs another record is refused like at any other limit:
    /// 0x97, in MQTT 3.1 and 3.1.1 by withholding the acknowledgement and closing the connection. QoS 0 flows on, acknowledgements and what ends too.
    pub fn set_store_full(&mut self, full: bool) {
        let was_full = core::mem::replace(&mut self.engine.store_is_full, full);
        // Firmware does not record Wills that came while its store was full: that takes flash, and firmware has few
        // clients.
        if OWNED && was_full && !full {
            self.engine.record_wills_left_out();
        }
        self.engine.wake_for_credit();
    }
}
