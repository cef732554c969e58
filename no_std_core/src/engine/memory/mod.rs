//! The tables in which a broker keeps all its state.

#[cfg_attr(not(feature = "alloc"), path = "no_ceiling.rs")]
mod ceiling;

use crate::engine::connections::{Alias, Connection, Owed};
use crate::engine::groups::GroupQueue;
use crate::engine::messages::{Delivery, Message};
use crate::engine::router::RouterMemory;
use crate::engine::sessions::{Receipt, Replay, Session};
use crate::engine::timeout::TimerKey;
use crate::mem::{Bytes, Handle, HeapSlot, PoolSlot, Slots, TimerSlot};
use crate::seam::journal::JournalMemory;
use crate::seam::kind::Kind;

/// All memory of a [`Broker`](crate::Broker): the memory that [`Resources::memory`](crate::Resources::memory) lends it, or
/// `Memory::owned` (feature `alloc`). [`Entries`](crate::Entries) says how much each table holds, and what happens beyond.
#[derive(Debug)]
pub struct Memory<'m>(pub(crate) Tables<'m>);

/// The tables of a broker. The length of each table is a limit.
#[derive(Debug)]
pub struct Tables<'m> {
    /// Network Connections. Beyond this limit [`Broker::handle_connected`](crate::Broker::handle_connected) refuses.
    pub connections: Slots<'m, PoolSlot<Connection>>,
    /// Sessions, connected or not. Beyond this limit: CONNACK 0x97.
    pub sessions: Slots<'m, PoolSlot<Session>>,
    /// Buckets to find Sessions by their Client Identifier; there may be fewer buckets than Sessions.
    pub session_buckets: Slots<'m, Option<Handle<Session>>>,
    /// Stored Application Messages: queued, retained, Wills. Beyond this limit: PUBACK or PUBREC 0x97. Up to an eighth of
    /// these, and of the bytes, is reserved for CONNECT.
    pub messages: Slots<'m, PoolSlot<Message>>,
    /// Messages on their way to Sessions. Beyond this limit a message is lost to a Session, and counted.
    pub deliveries: Slots<'m, PoolSlot<Delivery>>,
    /// Memory for bodies of messages, Client Identifiers, and topics with an alias.
    pub bytes: Bytes<'m>,
    /// Replies owed to clients: [`Limits::owed_replies`](crate::Limits::owed_replies) for each connection. With fewer entries,
    /// each connection may be owed its share of them.
    pub owed: Slots<'m, PoolSlot<Owed>>,
    /// QoS 2 messages that wait for their PUBREL. Beyond this limit: 0x97.
    pub receipts: Slots<'m, PoolSlot<Receipt>>,
    /// Buckets to find receipts; there may be fewer buckets than receipts.
    pub receipt_buckets: Slots<'m, Option<Handle<Receipt>>>,
    /// Topic Aliases in both directions. Beyond this limit: DISCONNECT 0x97 for an alias that a client sets; the server sets
    /// none.
    pub aliases: Slots<'m, PoolSlot<Alias>>,
    /// Buckets to find Topic Aliases; there may be fewer buckets than aliases.
    pub alias_buckets: Slots<'m, Option<Handle<Alias>>>,
    /// New subscriptions whose retained messages are being sent. Beyond this limit: SUBACK 0x97.
    pub replays: Slots<'m, PoolSlot<Replay>>,
    /// Groups of shared subscriptions with messages that no member could receive yet.
    pub group_queues: Slots<'m, PoolSlot<GroupQueue>>,
    /// Timers: one for each connection and each Session.
    pub timers: Slots<'m, TimerSlot<TimerKey>>,
    /// The order of the timers; it needs as many entries as `timers`.
    pub timer_heap: Slots<'m, HeapSlot>,
    /// Memory for subscriptions and retained topics.
    pub router: RouterMemory<'m>,
    /// Scratch memory in which texts are put together. Its length in bytes bounds a topic with its Properties.
    pub scratch: Slots<'m, u8>,
    /// Marks for the things that are to be recorded.
    pub journal: JournalMemory<'m>,
}

impl Memory<'_> {
    /// The most slots that the broker's records can have, for each kind that has a table: for a store that needs to know.
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

impl<'m> From<Tables<'m>> for Memory<'m> {
    fn from(tables: Tables<'m>) -> Self {
        Self(tables)
    }
}
