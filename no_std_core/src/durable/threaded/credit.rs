//! The credit that the store has granted, so that the broker accepts no message that may turn out to need too much room.
//!
//! A store that writes on a thread of its own reports only later that it is full. A message that was accepted by then could
//! neither be stored nor refused. So the store grants credit for bytes of records. A message waits, unread, until there is credit
//! for its records and for the records that other shards will make of it, or until the store is known to be full. In that case
//! the message is refused.
//!
//! Each shard keeps one account of its own. Credit goes to another shard with the message that it is for: a debit in one account
//! and the same credit in the other. So over all shards no credit is created or lost.

use alloc::vec::Vec;

use crate::codec::{Publish, Will};
use crate::engine::Engine;
use crate::engine::connections::{Connection, ConnectionId};
use crate::engine::messages::Message;
use crate::engine::neighbour_state::{Account, CreditState};
use crate::engine::neighbours::credit::Credit;
use crate::mem::Handle;
use crate::mem::heap::forget_gone;
use crate::seam::journal::RECORD_BYTES;
use crate::seam::work;
use crate::topic::TopicName;

/// The account of a broker with its store: bytes of records, added up since the first grant. See
/// [`Broker::grant_store_credit`](crate::Broker::grant_store_credit).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreCredit {
    /// Before the first grant there is no bound.
    is_bounded: bool,
    granted: u64,
    spent: u64,
    returned: u64,
    /// Credit that came from other shards with their messages.
    taken: u64,
    /// Credit that went to other shards with this shard's messages.
    passed: u64,
    wanted: u64,
}

impl StoreCredit {
    /// Bytes that the store has granted.
    pub fn granted(&self) -> u64 {
        self.granted
    }

    /// Bytes that batches took.
    pub fn spent(&self) -> u64 {
        self.spent
    }

    /// Bytes that were given back to the store.
    pub fn returned(&self) -> u64 {
        self.returned
    }

    /// Bytes that came from other shards.
    pub fn taken_from_siblings(&self) -> u64 {
        self.taken
    }

    /// Bytes that went to other shards.
    pub fn passed_to_siblings(&self) -> u64 {
        self.passed
    }

    /// How high the balance must be for a message that waits; 0 if none waits.
    pub fn wanted(&self) -> u64 {
        self.wanted
    }

    /// Bytes that may still be recorded, including those of the batch that is being gathered. Below 0 if records that can't be
    /// refused took more.
    #[inline]
    pub fn balance(&self) -> i64 {
        let credit = self.granted.wrapping_add(self.taken);
        let debit = self.spent.wrapping_add(self.returned).wrapping_add(self.passed);
        // The sums may wrap around. Their difference is right all the same while it fits into an `i64`.
        credit.wrapping_sub(debit) as i64
    }

    /// Whether records of `bytes` bytes may be promised.
    #[inline]
    fn covers(&self, bytes: u64) -> bool {
        !self.is_bounded || i64::try_from(bytes).is_ok_and(|bytes| bytes <= self.balance())
    }
}

/// The account, and the connections that wait.
#[derive(Debug, Default)]
pub(crate) struct OpenAccount {
    credit: StoreCredit,
    /// Connections whose next message waits.
    waiting: Vec<ConnectionId>,
}

impl CreditState for Account {
    type OfBroker = OpenAccount;
}

impl Engine<'_> {
    pub(crate) fn store_credit(&self) -> StoreCredit {
        self.account.credit
    }

    pub(crate) fn grant_credit(&mut self, bytes: u64) {
        let credit = &mut self.account.credit;
        credit.is_bounded = true;
        credit.granted = credit.granted.wrapping_add(bytes);
        self.wake_for_credit();
    }

    pub(crate) fn spend_credit(&mut self, bytes: u64) {
        let credit = &mut self.account.credit;
        credit.spent = credit.spent.wrapping_add(bytes);
        // The connections that wait for credit may go on if the store has already granted enough.
        self.wake_for_credit();
    }

    pub(crate) fn return_credit(&mut self, share: u64) -> u64 {
        let promised = self.messages.journal.gathered();
        let kept = i64::try_from(share.saturating_add(promised)).unwrap_or(i64::MAX);
        let spare = u64::try_from(self.account.credit.balance().saturating_sub(kept)).unwrap_or(0);
        let credit = &mut self.account.credit;
        if spare <= share || credit.wanted > 0 {
            return 0;
        }
        credit.returned = credit.returned.wrapping_add(spare);
        spare
    }

    /// Notes that the connection is to be woken when there may be credit for `needed` bytes.
    fn wait_for_credit(&mut self, handle: Handle<Connection>, needed: u64) {
        self.account.credit.wanted = self.account.credit.wanted.max(needed);
        if !self.connections[handle].waits_for_credit.get() {
            self.connections[handle].waits_for_credit.set(true);
            // While the store does not answer, any number of connections may come, wait and go.
            let mut waiting = core::mem::take(&mut self.account.waiting);
            let looked_at = forget_gone(&mut waiting, self.connections.len(), |id| self.find(*id).is_some());
            self.work.count(work::PACKET, looked_at);
            waiting.push(self.id_of(handle));
            self.account.waiting = waiting;
        }
    }

    /// Whether a message has to wait because there is no credit for it.
    fn must_wait_for_credit(&mut self, handle: Handle<Connection>, publish: &Publish<'_>, needed: u64) -> bool {
        let aliased = self.aliased_topic(handle, publish);
        let topic = TopicName::new(crate::engine::packets::publish::topic_text(publish, aliased.as_deref()));
        let keeps = publish.retain && !publish.payload.is_empty();
        if topic.is_ok_and(|topic| self.needs_record(topic, publish.qos, keeps)) {
            self.wait_for_credit(handle, needed);
            return true;
        }
        false
    }
}

impl Credit for Engine<'_> {
    #[inline]
    fn has_credit_for(&mut self, handle: Handle<Connection>, publish: &Publish<'_>) -> bool {
        let brokers = u64::from(self.config.shard.count.max(1));
        let len = publish.topic.len().saturating_add(publish.payload.len());
        let len = len.saturating_add(publish.properties.forwardable_len() as usize);
        let cost = credit_for(len).saturating_mul(brokers);
        let needed = self.messages.journal.gathered().saturating_add(cost);
        self.account.credit.covers(needed) || self.store_is_full || !self.must_wait_for_credit(handle, publish, needed)
    }

    fn has_credit_for_will(&mut self, handle: Handle<Connection>, will: &Will<'_>) -> bool {
        let len = will.topic.len().saturating_add(will.payload.len());
        let len = len.saturating_add(will.properties.forwardable_len() as usize);
        let needed = self.messages.journal.gathered().saturating_add(credit_for(len));
        let may = !self.messages.journal.is_on() || self.account.credit.covers(needed) || self.store_is_full;
        if !may {
            self.wait_for_credit(handle, needed);
        }
        may
    }

    fn pass_credit(&mut self, message: Handle<Message>) {
        let bytes = credit_for(self.messages.get(message).body.len());
        let credit = &mut self.account.credit;
        credit.passed = credit.passed.wrapping_add(bytes);
    }

    fn take_credit(&mut self, body: usize) {
        let credit = &mut self.account.credit;
        credit.taken = credit.taken.wrapping_add(credit_for(body));
        if !self.account.waiting.is_empty() {
            self.wake_for_credit();
        }
    }

    fn wake_for_credit(&mut self) {
        self.account.credit.wanted = 0;
        let mut waiting = core::mem::take(&mut self.account.waiting);
        for id in waiting.drain(..) {
            if let Some(connection) = self.find(id) {
                self.connections[connection].waits_for_credit.set(false);
                self.mark_ready(connection);
            }
        }
        self.account.waiting = waiting;
    }
}

/// How many bytes of records one shard makes, at most, of a message with a body of `body` bytes.
fn credit_for(body: usize) -> u64 {
    (body as u64).saturating_add(2 * RECORD_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AllowAll, Broker, Capacity, Config, Instant, Limits, Memory, Next, Shard};

    #[test]
    fn before_the_first_grant_the_account_covers_everything_and_then_its_balance() {
        let mut credit = StoreCredit::default();
        assert!(credit.covers(u64::MAX));
        credit.is_bounded = true;
        assert!(credit.covers(0) && !credit.covers(1));
        credit.granted = 10;
        assert!(credit.covers(10) && !credit.covers(11));
    }

    #[test]
    fn a_negative_balance_covers_nothing_and_sums_may_wrap_around() {
        let mut credit = StoreCredit { is_bounded: true, granted: 5, spent: 7, ..StoreCredit::default() };
        assert_eq!(credit.balance(), -2);
        assert!(!credit.covers(0) && !credit.covers(u64::MAX));
        (credit.taken, credit.passed) = (u64::MAX, u64::MAX - 20);
        assert_eq!(credit.balance(), 18);
    }

    /// A bug of the past: clients that waited for credit and gave up, one after the other, left an entry each while the store did
    /// not answer.
    #[test]
    fn clients_that_wait_and_disconnect_are_forgotten_while_the_store_is_silent() {
        let memory = Memory::owned(&Capacity::GATEWAY, &Limits::GATEWAY, Shard::ONLY);
        let config = Config { durable: true, ..Config::gateway(1) };
        let mut broker = Broker::new(memory, config, &AllowAll);
        broker.grant_store_credit(0);
        let now = Instant::from_millis(0);
        for _ in 0..100 {
            let id = broker.handle_connected(now).unwrap();
            let received = broker.handle_bytes(now, id, b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01c\x33\x06\0\x01t\0\x01x");
            assert!(
                matches!(received.next, Next::Wait) && received.consumed == 15,
                "a retained message needs a record"
            );
            broker.handle_closed(now, id);
            while broker.poll_ready().is_some() {}
        }
        assert!(broker.engine.account.waiting.len() <= 2, "{}", broker.engine.account.waiting.len());
    }
}
