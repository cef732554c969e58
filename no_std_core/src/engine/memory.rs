//! The tables a broker works in.

use crate::config::Config;
use crate::engine::connections::{Alias, Connection, Owed};
use crate::engine::groups::GroupQueue;
use crate::engine::messages::{Delivery, Message};
use crate::engine::router::RouterMemory;
use crate::engine::sessions::{Receipt, Replay, Session};
use crate::engine::timeout::TimerKey;
#[cfg(feature = "alloc")]
use crate::mem::{Account, MemoryCeiling, MemoryUse};
use crate::mem::{Bytes, Handle, HeapSlot, PoolSlot, Slots, TimerSlot};
use crate::seam::journal::JournalMemory;
use crate::seam::kind::Kind;

/// All memory of a [`Broker`](crate::Broker): what [`Resources::memory`](crate::Resources::memory) lends it, or `Memory::owned`
/// (feature `alloc`). How much fits in, and what happens beyond, is told in [`Entries`](crate::Entries).
#[derive(Debug)]
pub struct Memory<'m>(pub(crate) Tables<'m>);

/// The tables a broker works in. Each one's length is a limit.
#[derive(Debug)]
pub struct Tables<'m> {
    /// Network Connections. Beyond them [`Broker::handle_connected`](crate::Broker::handle_connected) refuses.
    pub connections: Slots<'m, PoolSlot<Connection>>,
    /// Sessions, connected or not. Beyond them: CONNACK 0x97.
    pub sessions: Slots<'m, PoolSlot<Session>>,
    /// To find Sessions by their Client Identifier; may be fewer than these.
    pub session_buckets: Slots<'m, Option<Handle<Session>>>,
    /// Stored Application Messages: queued, retained, Wills. Beyond them: PUBACK or PUBREC 0x97. Of these and of the bytes
    /// up to an eighth is kept for those who connect.
    pub messages: Slots<'m, PoolSlot<Message>>,
    /// Messages on their way to Sessions. Beyond them a message is lost to a Session, and counted.
    pub deliveries: Slots<'m, PoolSlot<Delivery>>,
    /// Bodies of messages, Client Identifiers, aliased topics.
    pub bytes: Bytes<'m>,
    /// Replies owed to clients: [`Limits::owed_replies`](crate::Limits::owed_replies) for each connection. With fewer,
    /// each connection may be owed its share of them.
    pub owed: Slots<'m, PoolSlot<Owed>>,
    /// QoS 2 messages that wait for their PUBREL. Beyond them: 0x97.
    pub receipts: Slots<'m, PoolSlot<Receipt>>,
    /// To find these by; may be fewer.
    pub receipt_buckets: Slots<'m, Option<Handle<Receipt>>>,
    /// Topic Aliases, both ways. Beyond them: DISCONNECT 0x97 for one that a client sets; the server sets none.
    pub aliases: Slots<'m, PoolSlot<Alias>>,
    /// To find these by; may be fewer.
    pub alias_buckets: Slots<'m, Option<Handle<Alias>>>,
    /// New subscriptions whose retained messages are being sent. Beyond them: SUBACK 0x97.
    pub replays: Slots<'m, PoolSlot<Replay>>,
    /// Groups of shared subscriptions with messages for nobody yet.
    pub group_queues: Slots<'m, PoolSlot<GroupQueue>>,
    /// One for each connection and each Session.
    pub timers: Slots<'m, TimerSlot<TimerKey>>,
    /// As many.
    pub timer_heap: Slots<'m, HeapSlot>,
    /// Subscriptions and retained topics.
    pub router: RouterMemory<'m>,
    /// Where texts are put together: at least the longest topic with its Properties that is to be taken, in bytes.
    pub scratch: Slots<'m, u8>,
    /// Marks on what is to be recorded.
    pub journal: JournalMemory<'m>,
}

impl Memory<'_> {
    /// How many slots the broker's records have at most, of each kind that has a table: for a store that needs to know.
    pub fn record_slots(&self) -> [(Kind, usize); 7] {
        let journal = &self.0.journal;
        [
            (Kind::Session, journal.sessions.limit()),
            (Kind::Group, journal.groups.limit()),
            (Kind::Subscription, journal.subscriptions.limit()),
            (Kind::Message, journal.messages.limit()),
            (Kind::Retained, journal.retained.limit()),
            (Kind::Delivery, journal.deliveries.limit()),
            (Kind::Receipt, journal.receipts.limit()),
        ]
    }
}

#[cfg(feature = "alloc")]
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
    pub fn under(mut self, ceiling: &alloc::sync::Arc<MemoryCeiling>) -> Self {
        let account = |purpose| Account::under(ceiling, purpose);
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
    #[cfg(feature = "alloc")]
    pub(crate) fn claim_what_hangs_at_entries(&mut self, config: &Config<'_>) {
        self.connections.add_beside(Connection::BESIDE);
        self.sessions.add_beside(Session::BESIDE);
        self.replays.add_beside(Replay::BESIDE);
        if config.shard.siblings() > 0 {
            self.connections.add_beside(Connection::BESIDE_WITH_SIBLINGS);
        }
        if config.may_keep_latest() {
            self.deliveries.add_beside(Delivery::BESIDE_BY_TOPIC);
        }
        if config.durable && config.body_budget > 0 {
            self.messages.add_beside(Message::BESIDE_IN_STORE);
        }
        if config.durable {
            let marks = crate::seam::journal::MARK_BYTES;
            self.sessions.add_beside(marks);
            self.messages.add_beside(marks.saturating_mul(2));
            self.deliveries.add_beside(marks);
            self.receipts.add_beside(marks);
            self.router.subscriptions.add_beside(marks);
            self.router.groups.add_beside(marks);
        }
    }
}

impl<'m> From<Tables<'m>> for Memory<'m> {
    fn from(tables: Tables<'m>) -> Self {
        Self(tables)
    }
}
