//! A store that writes on a thread of its own: how urgent a commit is, and how much room the store has granted for records.

use super::broker::Broker;

impl Broker<'_> {
    /// Returns how urgent it is to commit the changes so far. Messages that came and went since the last batch need no record. Packets
    /// that waited for these records alone, or for records about the end of something, can be transmitted at once, as after
    /// [`Broker::handle_persisted`]. The call is cheap if few things have changed.
    pub fn poll_commit_urgency(&mut self) -> crate::CommitUrgency {
        self.engine.commit_urgency()
    }

    /// The approximate number of bytes of the next batch.
    pub fn bytes_to_record(&self) -> u64 {
        self.engine.messages.journal.gathered()
    }

    /// Says whether half of the store is in use. While it is, no queue grows beyond [`queued_messages`](crate::Limits::queued_messages)
    /// and [`queued_bytes`](crate::Limits::queued_bytes), so that long queues leave room for others.
    pub fn set_store_half_full(&mut self, half_full: bool) {
        self.engine.store_is_half_full.set(half_full);
    }

    /// Adds bytes to the broker's [account](Self::store_credit): the store has set them aside for records of the batch that is being
    /// gathered, and for records that other shards will make of messages that go to them. A message that may need more than the balance
    /// waits, as after [`Next::Wait`](crate::Next::Wait), until there is more or the store [is full](Self::set_store_full).
    /// Acknowledgements and other records that can't wait are charged to the account too.
    ///
    /// Before the first call there is no bound, for a store that always knows at once whether it has room. A store that does not must
    /// grant 0 before the first message comes.
    pub fn grant_store_credit(&mut self, bytes: u64) {
        self.engine.grant_credit(bytes);
    }

    /// Charges a polled batch to the account with the bytes that it takes in the store. To be called before
    /// [`Broker::handle_persisted`].
    pub fn spend_store_credit(&mut self, bytes: u64) {
        self.engine.spend_credit(bytes);
    }

    /// Returns surplus credit to the store, and the number of its bytes. Surplus is what the account has beyond `share` bytes and beyond
    /// all promises, if that is more than `share` again and no message waits. Shards pass on credit for as much as their messages might
    /// take, so one shard may come to have credit that others lack.
    pub fn return_store_credit(&mut self, share: u64) -> u64 {
        self.engine.return_credit(share)
    }

    /// The account with the store. Credit goes from shard to shard with messages: it leaves one account when the message is polled, and
    /// enters the other when the message is handed in. So the accounts of all shards, and the credit on its way between them, add up to
    /// what the store has granted, less what was returned and spent.
    pub fn store_credit(&self) -> crate::StoreCredit {
        self.engine.store_credit()
    }
}
