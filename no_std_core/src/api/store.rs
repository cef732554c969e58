//! What survives a restart: records to store, restoring from them, room in the store, bodies that are read from it.

use super::broker::Broker;
use crate::durable::persist::Polled;
use crate::durable::record::Record;
use crate::durable::restore::RestoreError;
use crate::durable::restore::Restored;
use crate::engine::neighbours::credit::Credit;
use crate::mem::OWNED;
use crate::seam::journal::Batch;
use crate::time::Instant;

impl Broker<'_> {
    /// Whether there is something for [`Broker::poll_record`] or [`Broker::seal`].
    pub fn has_records(&self) -> bool {
        self.engine.messages.journal.has_records()
    }

    /// Looks whether what is to be recorded has to be, and what it is worth to wait before it is polled. What came and went since
    /// the last batch has not; what waited for that alone, or for records that say that something is over, is transmittable at
    /// once, as after [`Broker::handle_persisted`]. It is cheap where few things have changed.
    #[cfg(feature = "alloc")]
    pub fn poll_commit_urgency(&mut self) -> crate::CommitUrgency {
        self.engine.commit_urgency()
    }

    /// About how many bytes the next batch will take.
    #[cfg(feature = "alloc")]
    pub fn bytes_to_record(&self) -> u64 {
        self.engine.messages.journal.gathered()
    }

    /// The next record that is to be stored, sealed into `out`: a thing as it is now, or that it is gone.
    ///
    /// Poll until there is [`Polled::Nothing`], then [`Broker::seal`] the batch, store it, and report it by
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

    /// All records that were polled since the last call are a batch: which one. To be called when there is
    /// [`Polled::Nothing`] more; before that, or if there is nothing to wait for, it gives the last batch again.
    ///
    /// A batch may have no records: there is something that waits for it all the same.
    pub fn seal(&mut self) -> Batch {
        self.engine.messages.journal.seal()
    }

    /// The batch, and all before it, are safe: what waited for that is transmittable, and [`Broker::poll_ready`] names the
    /// connections. Forgotten, it lets them wait; nothing is lost.
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

    /// Tells before [`Broker::restore`] which messages are retained, all of them: the slots of the records of
    /// [`Kind::Retained`](crate::durable::record::Kind::Retained). Then the bodies of others that were published with RETAIN and only wait for
    /// Sessions may be left to the store, see [`Config::body_budget`](crate::Config::body_budget).
    #[cfg(feature = "paging")]
    pub fn expect_retained(&mut self, slots: impl Iterator<Item = u32>) {
        self.engine.messages.expect_retained(slots);
    }

    /// Ends restoring: what refers to nothing is dropped, queues get their order, absent clients their timers. What all
    /// that has changed is to be polled as records.
    ///
    /// With siblings nothing is taken from clients before all have told each other of what they restored: each has to be
    /// restored before it is handed a forward.
    pub fn finish_restore(&mut self, now: Instant) -> Restored {
        self.engine.end_restoring(now)
    }

    /// A body that is in the store alone and is to be transmitted soon: read its record, and answer with
    /// [`Broker::handle_fetched`] or [`Broker::handle_fetch_failed`], in the order in which they were polled. Meanwhile the client waits, and
    /// the others go on. To be polled in each turn, and once before [`Broker::finish_restore`], until there are no more.
    #[cfg(feature = "paging")]
    pub fn poll_fetch(&mut self) -> Option<crate::Fetch> {
        self.engine.messages.next_fetch()
    }

    /// The record that was asked for. If it is not what was recorded the message is lost, as after
    /// [`Broker::handle_fetch_failed`]. [`Broker::poll_ready`] names the connections that waited.
    #[cfg(feature = "paging")]
    pub fn handle_fetched(&mut self, fetch: crate::Fetch, sealed: &[u8]) {
        self.engine.on_fetched(fetch, sealed);
    }

    /// The record that was asked for is not there or can't be read: the message is lost to all who wait for it, and
    /// counted as [`DropReason::Unreadable`](crate::DropReason::Unreadable) when its turn comes.
    #[cfg(feature = "paging")]
    pub fn handle_fetch_failed(&mut self, fetch: crate::Fetch) {
        self.engine.on_fetch_failed(fetch);
    }

    /// The store takes no more, or does again. While it is full what needs another record is refused like at any other limit:
    /// 0x97, in MQTT 3.1 and 3.1.1 by withholding the acknowledgement and closing the connection. QoS 0 flows on, acknowledgements and what ends too.
    pub fn set_store_full(&mut self, full: bool) {
        let was_full = core::mem::replace(&mut self.engine.store_is_full, full);
        // Firmware with a full store leaves them out: that takes flash, and comes with few clients.
        if OWNED && was_full && !full {
            self.engine.record_wills_left_out();
        }
        self.engine.wake_for_credit();
    }

    /// Half of the store is in use, or is no more. Meanwhile no queue grows beyond
    /// [`queued_messages`](crate::Limits::queued_messages) and [`queued_bytes`](crate::Limits::queued_bytes), so that long ones
    /// leave room for the others.
    #[cfg(feature = "alloc")]
    pub fn set_store_half_full(&mut self, half_full: bool) {
        self.engine.store_is_half_full = half_full;
    }

    /// The store sets so many bytes aside for records of this broker, and adds them to its [account](Self::store_credit): for those of
    /// the batch that is being gathered, and for what siblings will record of messages that go to them. A message that may need
    /// more than the balance waits, as after [`Next::Wait`](crate::Next::Wait), until there is more or the store
    /// [is full](Self::set_store_full). Acknowledgements and what else does not wait are paid from it too.
    ///
    /// Before the first call there is no bound: for a store that knows at once what it has room for. A store that does not grants
    /// 0 before the first message is taken.
    #[cfg(feature = "alloc")]
    pub fn grant_store_credit(&mut self, bytes: u64) {
        self.engine.grant_credit(bytes);
    }

    /// A batch that was polled takes so many bytes in the store: they are taken off the account. To be called before
    /// [`Broker::handle_persisted`].
    #[cfg(feature = "alloc")]
    pub fn spend_store_credit(&mut self, bytes: u64) {
        self.engine.spend_credit(bytes);
    }

    /// Takes off the account what is beyond `share` bytes and beyond what is promised, if that is more than `share` again and no message
    /// waits: so many bytes, which are the store's again. Siblings pass credit on for as much as their messages might take, so one
    /// broker may come to have what others lack.
    #[cfg(feature = "alloc")]
    pub fn return_store_credit(&mut self, share: u64) -> u64 {
        self.engine.return_credit(share)
    }

    /// The account with the store. What siblings pass on, and what is passed on to them, is in it as soon as the message with which it
    /// goes is polled or handed in; so the accounts of all brokers, with what is on its way between them, add up to what the store has
    /// granted and neither got back nor written.
    #[cfg(feature = "alloc")]
    pub fn store_credit(&self) -> crate::StoreCredit {
        self.engine.store_credit()
    }
}
