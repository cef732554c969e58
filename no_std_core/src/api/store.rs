//! Functions between the broker and a store: records to store, and restoring from them.

use super::broker::Broker;
use crate::durable::record::Record;
use crate::durable::{Polled, RestoreError, Restored};
use crate::engine::neighbours::credit::Credit;
use crate::mem::OWNED;
use crate::seam::journal::Batch;
use crate::time::Instant;

impl Broker<'_> {
    /// Whether [`Broker::poll_record`] or [`Broker::end_batch`] has something for the store.
    pub fn has_records(&self) -> bool {
        self.engine.messages.journal.has_records()
    }

    /// The next record for the store, sealed into `out`: a thing as it is now, or the note that it is gone.
    ///
    /// Poll until there is [`Polled::Nothing`], then call [`Broker::end_batch`], store the batch, and report it by
    /// [`Broker::handle_persisted`]; meanwhile the next batch may be gathered. Within a batch records have no order, and no key comes twice
    /// if no other function was called in between. A store must show a batch whole or not at all, and no batch without all batches before
    /// it.
    pub fn poll_record(&mut self, out: &mut [u8]) -> Polled {
        self.engine.next_record(out)
    }

    /// Has everything durable recorded again with the next batch, as if the store had no records. Messages whose bodies are in the store
    /// alone are left out, and so are deletions that the store has already.
    pub fn record_all(&mut self) {
        self.engine.mark_all();
    }

    /// Ends the batch of all records that were polled since the last call, and returns its number. To be called after [`Polled::Nothing`];
    /// if more records are to be polled, or if nothing waits for a batch, the call returns the last batch again.
    ///
    /// A batch may have no records and still have something that waits for it.
    pub fn end_batch(&mut self) -> Batch {
        self.engine.messages.journal.end_batch()
    }

    /// The batch and all batches before it are safe. Packets that waited for them can be transmitted, and [`Broker::poll_ready`] names
    /// their connections. If this call is forgotten they wait; nothing is lost.
    pub fn handle_persisted(&mut self, batch: Batch) {
        self.engine.on_persisted(batch);
    }

    /// Restores one record after a restart, before the first connection: each key once, as it was stored last, without deleted ones, and
    /// all records of one [`Kind`](crate::durable::record::Kind) before those of the next.
    ///
    /// After an error this record is left out, for a reason that is worth a line in a log; go on with the others. Records that are left out
    /// are deleted by the first records that are polled then, unless their slot is beyond the table: an embedder that must not lose them
    /// stops here. The embedder's clock must go on from where it stood when the records were made, see [`Instant`].
    pub fn restore(&mut self, record: Record<'_>) -> Result<(), RestoreError> {
        self.engine.take_back(record)
    }

    /// Ends restoring: records that refer to nothing are dropped, queues get their order, absent clients their timers. These changes are to
    /// be polled as records.
    ///
    /// With several shards no packet of a client is handled before all shards have told each other what they restored. Each shard must be
    /// restored before it is handed a forward.
    pub fn finish_restore(&mut self, now: Instant) -> Restored {
        self.engine.end_restoring(now)
    }

    /// Says whether the store is full. While it is full, packets that need another record are refused as at any other limit: with 0x97, in
    /// MQTT 3.1 and 3.1.1 by withholding the acknowledgement and closing the connection. Messages of QoS 0, acknowledgements and everything
    /// that ends are still handled.
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
