//! Owned memory below a ceiling: what each table claims.

use alloc::sync::Arc;

use super::{Memory, Tables};
use crate::config::Config;
use crate::engine::connections::Draft;
use crate::engine::router::RouterMemory;
use crate::engine::sessions::Lost;
use crate::mem::Bytes;
use crate::mem::heap::{MemoryAccount, MemoryCeiling, MemoryUse, allocated};

/// The bytes that hang at a connection in the lists of those that wait for siblings.
const WAITING: usize = 96;
/// The bytes that hang at a replay: its place in the tree of replays, whose nodes are half full at least.
const REPLAYING: usize = 40;
/// The bytes that hang at a message whose body may be left to the store: its places in two lists that double, of bodies that are recorded and of
/// bodies that may be evicted.
const IN_STORE: usize = 96;
/// The bytes that hang at a delivery where queues are searched by topic: its places in the index of its queue, with a short topic.
const BY_TOPIC: usize = 192;
/// The bytes of the mark on a durable slot and of its place in the list of marked slots, while both grow by an eighth.
const MARK: usize = 6;

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
            self.sessions.add_beside(MARK);
            self.messages.add_beside(2 * MARK);
            self.deliveries.add_beside(MARK);
            self.receipts.add_beside(MARK);
            self.router.subscriptions.add_beside(MARK);
            self.router.groups.add_beside(MARK);
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
