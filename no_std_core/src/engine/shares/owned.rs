//! Where memory is owned: what queues and retained messages may take now, and what is claimed with the tables.

use alloc::sync::Arc;

use super::ALWAYS;
use crate::config::{Config, Limits};
use crate::engine::Engine;
use crate::engine::connections::Draft;
use crate::engine::deliver::Bound;
use crate::engine::memory::{Memory, Tables};
use crate::engine::messages::{Message, Messages};
use crate::engine::router::{Retained, RouterMemory};
use crate::engine::sessions::{Lost, Outbound};
use crate::mem::{Bytes, Claim, Handle, MemoryAccount, MemoryCeiling, MemoryUse, allocated};
use crate::seam::journal::MARK_BYTES;
use crate::topic::TopicName;

/// So many messages wait for a client however short memory is, if they are no longer than [`ALWAYS`] together.
const MESSAGES: usize = 2;
/// What a message in a queue takes beside its body: its places in the tables of messages, deliveries and bodies.
const QUEUED: usize = 192;
/// After so many messages it is looked again how much is free.
const LOOKS: u64 = 16;
/// Memory for the next messages is looked for at once: for bodies of so many bytes, if each counts for so many more.
const AHEAD: usize = 32 << 10;
const AHEAD_EACH: usize = 1 << 10;
/// What hangs at a connection in the lists of those that wait for siblings, in bytes.
const WAITING: usize = 96;
/// What hangs at a replay: its place in the tree of those that are going on, whose nodes are half full at least.
const REPLAYING: usize = 40;
/// What hangs at a message whose body may be left to the store: its places in lists of those that are recorded and of those that may go,
/// which double.
const IN_STORE: usize = 96;
/// What hangs at a delivery where queues are looked through by topic: its places in the index of its queue, with a short topic.
const BY_TOPIC: usize = 192;

/// The configured limits, with the bounds that queues have as memory gets short.
#[derive(Debug)]
pub(crate) struct LimitsInForce {
    limits: Limits,
    /// When so many messages were handed out it is looked again how much memory is free.
    looks_at: u64,
}

impl LimitsInForce {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { limits: *limits, looks_at: 0 }
    }

    /// These limits, where `configured` is what they are made of.
    #[inline(always)]
    pub(crate) fn limits<'a>(&'a self, _configured: &'a Limits) -> &'a Limits {
        &self.limits
    }
}

/// What is known of the memory of messages.
#[derive(Debug, Default)]
pub(crate) struct MessageShares {
    /// For so many more bytes there is memory, with places for the messages they are of: not each of them looks for it.
    ahead: usize,
    /// What retained messages take.
    retained: usize,
}

impl Messages<'_> {
    /// What may wait in one queue: half of its share for bodies, and half for what they take beside.
    pub(crate) fn fair_bound(&self) -> Bound {
        let half = self.share() / 2;
        let least = if half > 0 { ALWAYS / QUEUED } else { MESSAGES };
        let (messages, bytes) = ((half / QUEUED).max(least), half.max(ALWAYS));
        let bounded = |number| u32::try_from(number).unwrap_or(u32::MAX);
        Bound { messages: bounded(messages), bytes: bounded(bytes) }
    }

    /// The same, but no less than what waits in `queue` now, for a policy that drops one message for another.
    pub(crate) fn fair_bound_for(&self, queue: &Outbound) -> Bound {
        let fair = self.fair_bound();
        let queued = u32::try_from(queue.queued()).unwrap_or(u32::MAX);
        Bound { messages: fair.messages.max(queued), bytes: fair.bytes.max(queue.queued_bytes()) }
    }

    /// A message is the retained one of its topic from now on.
    pub(crate) fn count_retained(&mut self, message: Handle<Message>) {
        self.shares.retained = self.shares.retained.saturating_add(kept(self.get(message).body.len()));
    }

    /// It is so no more.
    pub(crate) fn discount_retained(&mut self, message: Handle<Message>) {
        self.shares.retained = self.shares.retained.saturating_sub(kept(self.get(message).body.len()));
    }

    /// Whether there is memory below the ceiling for a message with a body of `len` bytes.
    #[inline]
    pub(crate) fn has_memory(&mut self, len: usize) -> bool {
        match self.shares.ahead.checked_sub(len.saturating_add(AHEAD_EACH)) {
            Some(rest) => {
                self.shares.ahead = rest;
                true
            }
            None => self.finds_memory(len),
        }
    }

    /// The same, for the next few too if there is so much.
    #[inline(never)]
    fn finds_memory(&mut self, len: usize) -> bool {
        let (few, all) = (AHEAD / AHEAD_EACH, len.saturating_add(AHEAD));
        if self.pool.has_room(self.reserved.saturating_add(few)) && self.bytes.make_room(few, all, Claim::Share) {
            self.shares.ahead = AHEAD;
            return true;
        }
        if self.pool.has_room(self.reserved) && self.bytes.has_room(len, Claim::Share) {
            return true;
        }
        // As memory gets short it is the queues that are: a message that is short itself is stored.
        len <= ALWAYS
            && self.pool.reserve(self.pool.len().saturating_add(1), Claim::Reserved)
            && self.bytes.has_room(len, Claim::Reserved)
    }

    fn share(&self) -> usize {
        self.bytes.account().map_or(usize::MAX, MemoryAccount::share)
    }
}

/// What a stored message takes with a body of so many bytes.
fn kept(body: usize) -> usize {
    crate::mem::allocated(body.saturating_add(16)).saturating_add(QUEUED)
}

impl Engine<'_> {
    /// Another message is about to be handed out: now and then it is looked how much is free.
    #[inline]
    pub(crate) fn look_at_memory(&mut self) {
        if self.routed >= self.in_force.looks_at {
            self.look_at_memory_now();
        }
    }

    #[cold]
    pub(crate) fn look_at_memory_now(&mut self) {
        let (limits, fair) = (self.config.limits, self.messages.fair_bound());
        let is_bounded = self.messages.bytes.account().is_some_and(MemoryAccount::is_bounded);
        self.in_force.looks_at = if is_bounded { self.routed.saturating_add(LOOKS) } else { u64::MAX };
        let (queued_messages, queued_bytes) =
            (limits.queued_messages.min(fair.messages), limits.queued_bytes.min(fair.bytes));
        if is_bounded {
            self.give_back_memory();
        }
        self.in_force.limits = Limits { queued_messages, queued_bytes, ..limits };
    }

    /// Tables that are empty and have been long give back what they take.
    pub(crate) fn give_back_memory(&mut self) {
        self.messages.pool.give_back_if_empty();
        self.messages.deliveries.give_back_if_empty();
        self.messages.bytes.give_back_if_empty();
        self.receipts.pool.give_back_if_empty();
        self.aliases.give_back_if_empty();
        self.owed.give_back_if_empty();
        self.replays.give_back_if_empty();
        self.group_queues.give_back_if_empty();
    }

    /// Whether one more message with a body of so many bytes may be retained for this topic: all of them together take no more than what is left
    /// for other messages, with what they take on each sibling.
    pub(crate) fn has_share_for_retained(&self, topic: TopicName<'_>, cost: impl FnOnce() -> u32) -> bool {
        let Some(account) = self.messages.bytes.account().filter(|account| account.is_bounded()) else { return true };
        let replaced = self.router.retained_at(topic).map(|Retained(old)| old.cast());
        let old = replaced.map_or(0, |message| kept(self.messages.get(message).body.len()));
        let new = kept(cost() as usize);
        let all = self.messages.shares.retained.saturating_sub(old).saturating_add(new);
        let on_all_shards = all.saturating_mul(self.config.shard.count.into());
        all <= ALWAYS || new <= old || account.is_within(account.available(), on_all_shards)
    }
}

impl Memory<'_> {
    /// The same below a ceiling, which all brokers of a process share: what tables, bodies and texts grow by is claimed from it before. What
    /// is refused is refused to clients as if that table were full: see [`Entries`](crate::Entries) for what they get then.
    ///
    /// Borrowed memory stays as it is: it was taken before.
    ///
    /// ```
    /// use goldcrest_core::{AllowAll, Broker, Capacity, Config, Limits, Memory, MemoryCeiling, Shard};
    ///
    /// let ceiling = MemoryCeiling::new(64 << 20);
    /// let memory = Memory::owned(&Capacity::GATEWAY, &Limits::GATEWAY, Shard::ONLY).under(&ceiling);
    /// let broker = Broker::new(memory, Config::gateway(7), &AllowAll);
    /// assert!(ceiling.taken_in_all() < 4096);
    /// ```
    #[must_use]
    pub fn under(mut self, ceiling: &Arc<MemoryCeiling>) -> Self {
        let account = |purpose| MemoryAccount::under(ceiling, purpose);
        let tables = &mut self.0;
        tables.connections.set_account(account(MemoryUse::Connections));
        tables.owed.set_account(account(MemoryUse::Connections));
        tables.aliases.set_account(account(MemoryUse::Connections));
        tables.alias_buckets.set_account(account(MemoryUse::Connections));
        tables.sessions.set_account(account(MemoryUse::Sessions));
        tables.session_buckets.set_account(account(MemoryUse::Sessions));
        tables.receipts.set_account(account(MemoryUse::Sessions));
        tables.receipt_buckets.set_account(account(MemoryUse::Sessions));
        tables.replays.set_account(account(MemoryUse::Sessions));
        tables.timers.set_account(account(MemoryUse::Sessions));
        tables.timer_heap.set_account(account(MemoryUse::Sessions));
        tables.messages.set_account(account(MemoryUse::Messages));
        tables.deliveries.set_account(account(MemoryUse::Messages));
        tables.group_queues.set_account(account(MemoryUse::Messages));
        tables.scratch.set_account(account(MemoryUse::Receiving));
        tables.router.set_account(account(MemoryUse::Subscriptions));
        let Self(tables) = self;
        Self(Tables { bytes: tables.bytes.under(account(MemoryUse::Messages)), ..tables })
    }
}

impl Tables<'_> {
    /// What hangs at the entries of some tables is claimed with them: what few of them have, and where it is durable a mark on each.
    pub(crate) fn claim_what_hangs_at_entries(&mut self, config: &Config<'_>) {
        self.connections.add_beside(allocated(size_of::<Draft>()));
        self.sessions.add_beside(allocated(size_of::<Lost>()));
        self.replays.add_beside(REPLAYING);
        if config.shard.siblings() > 0 {
            self.connections.add_beside(WAITING);
        }
        if config.may_keep_latest() {
            self.deliveries.add_beside(BY_TOPIC);
        }
        if config.durable && config.body_budget > 0 {
            self.messages.add_beside(IN_STORE);
        }
        if config.durable {
            let marks = MARK_BYTES;
            self.sessions.add_beside(marks);
            self.messages.add_beside(marks.saturating_mul(2));
            self.deliveries.add_beside(marks);
            self.receipts.add_beside(marks);
            self.router.subscriptions.add_beside(marks);
            self.router.groups.add_beside(marks);
        }
    }
}

impl RouterMemory<'_> {
    /// All of it is claimed from this account.
    pub(crate) fn set_account(&mut self, account: MemoryAccount) {
        self.nodes.set_account(account.clone());
        self.node_buckets.set_account(account.clone());
        self.subscriptions.set_account(account.clone());
        self.subscription_buckets.set_account(account.clone());
        self.subscribers.set_account(account.clone());
        self.groups.set_account(account.clone());
        self.group_buckets.set_account(account.clone());
        let texts = core::mem::replace(&mut self.texts, Bytes::borrowed(&mut []));
        self.texts = texts.under(account);
    }
}
