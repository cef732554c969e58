//! Owned memory below a ceiling: what each table claims.

use alloc::sync::Arc;

use super::{Memory, Tables};
use crate::config::Config;
use crate::engine::connections::Draft;
use crate::engine::router::RouterMemory;
use crate::engine::sessions::Lost;
use crate::mem::Bytes;
use crate::mem::heap::{MemoryAccount, MemoryCeiling, MemoryUse, allocated};

/// The bytes that a connection takes in the lists of connections that wait for siblings.
const WAITING: usize = 96;
/// The bytes that a replay takes beside its entry: its place in the tree of replays, whose nodes are at least half full.
const REPLAYING: usize = 40;
/// The bytes that a replay of a broker with siblings takes beside its entry: what it wants of them, and its place among the open questions.
const READING: usize = 160;
/// What a replay knows of each sibling: how far the sibling had counted.
const HEARD: usize = 8;
/// The bytes that a message takes beside its entry where bodies may be left to the store: its places in the list of recorded bodies and in the list
/// of bodies that may be evicted. Both lists double when they grow.
const IN_STORE: usize = 96;
/// The bytes that a delivery takes beside its entry where queues are searched by topic: its places in the index of its queue, with a short topic.
const BY_TOPIC: usize = 192;
/// The bytes of the mark on a durable slot, and of the slot's place in the list of marked slots. Both tables grow by an eighth.
const MARK: usize = 6;

impl Memory<'_> {
    /// The same memory below a ceiling that all brokers of a process share. Tables, bodies and texts claim from the ceiling what they grow by,
    /// before they grow. Where a claim is refused the table counts as full: [`Entries`](crate::Entries) says what clients get then.
    ///
    /// Borrowed memory stays as it is, and claims nothing.
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
    /// The entries of some tables take further bytes elsewhere on the heap. Such bytes are claimed with the place of each entry, also where only few
    /// entries take them. In a durable broker the mark on each entry is claimed with its place too.
    pub(crate) fn claim_what_hangs_at_entries(&mut self, config: &Config<'_>) {
        self.connections.add_beside(allocated(size_of::<Draft>()));
        self.sessions.add_beside(allocated(size_of::<Lost>()));
        self.replays.add_beside(REPLAYING);
        if config.shard.siblings() > 0 {
            self.connections.add_lasting(WAITING);
            self.replays.add_beside(READING.saturating_add(HEARD.saturating_mul(config.shard.siblings() as usize)));
        }
        if config.may_keep_latest() {
            self.deliveries.add_beside(BY_TOPIC);
        }
        if config.durable && config.body_budget > 0 {
            self.messages.add_lasting(IN_STORE);
        }
        if config.durable {
            self.sessions.add_lasting(MARK);
            self.messages.add_lasting(2 * MARK);
            self.deliveries.add_lasting(MARK);
            self.receipts.add_lasting(MARK);
            self.router.subscriptions.add_lasting(MARK);
            self.router.groups.add_lasting(MARK);
        }
    }
}

impl RouterMemory<'_> {
    /// From now on all tables and texts of the router are claimed from `account`. None of them may have grown yet.
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
