//! A store that writes on a thread of its own: how urgent it is to commit, and what the store has set aside for records.

use super::broker::Broker;

impl Broker<'_> {
    /// Tells how urgent it is to commit what is to be recorded. What came and went since the last batch need not be recorded.
    /// What waited for that alone, or for records that say that something is over, is transmittable at once, as after
    /// [`Broker::handle_persisted`]. The call is cheap where few things have changed.
    pub fn poll_commit_urgency(&mut self) -> crate::CommitUrgency {
        self.engine.commit_urgency()
    }

    /// About how many bytes the next batch will take.
    pub fn bytes_to_record(&self) -> u64 {
        self.engine.messages.journal.gathered()
    }

    /// Half of the store is in use, or is no more. Meanwhile no queue grows beyond
    /// [`queued_messages`](crate::Limits::queued_messages) and [`queued_bytes`](crate::Limits::queued_bytes), so that long ones
    /// leave room for the others.
    pub fn set_store_half_full(&mut self, half_full: bool) {
        self.engine.store_is_half_full.set(half_full);
    }

    /// The store sets so many bytes aside for records of this broker, and adds them to its [account](Self::store_credit): for those of
    /// the batch that is being gathered, and for what siblings will record of messages that go to them. A message that may need
    /// more than the balance waits, as after [`Next::Wait`](crate::Next::Wait), until there is more or the store
    /// [is full](Self::set_store_full). Acknowledgements and what else does not wait are paid from it too.
    ///
    /// Before the first call there is no bound: for a store that knows at once what it has room for. A store that does not grants
    /// 0 before the first message is taken.
    pub fn grant_store_credit(&mut self, bytes: u64) {
        self.engine.grant_credit(bytes);
    }

    /// A batch that was polled takes so many bytes in the store: they are taken off the account. To be called before
    /// [`Broker::handle_persisted`].
    pub fn spend_store_credit(&mut self, bytes: u64) {
        self.engine.spend_credit(bytes);
    }

    /// Takes off the account what is beyond `share` bytes and beyond what is promised, if that is more than `share` again and no message
    /// waits: so many bytes, which are the store's again. Siblings pass credit on for as much as their messages might take, so one
    /// broker may come to have what others lack.
    pub fn return_store_credit(&mut self, share: u64) -> u64 {
        self.engine.return_credit(share)
    }

    /// The account with the store. What siblings pass on, and what is passed on to them, is in it as soon as the message with which it
    /// goes is polled or handed in; so the accounts of all brokers, with what is on its way between them, add up to what the store has
    /// granted and neither got back nor written.
    pub fn store_credit(&self) -> crate::StoreCredit {
        self.engine.store_credit()
    }
}
