//! The tables a broker works in.

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
    /// Buckets to find Sessions by their Client Identifier; may be fewer than the Sessions.
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
    /// Buckets to find receipts; may be fewer than the receipts.
    pub receipt_buckets: Slots<'m, Option<Handle<Receipt>>>,
    /// Topic Aliases, both ways. Beyond them: DISCONNECT 0x97 for one that a client sets; the server sets none.
    pub aliases: Slots<'m, PoolSlot<Alias>>,
    /// Buckets to find Topic Aliases; may be fewer than the aliases.
    pub alias_buckets: Slots<'m, Option<Handle<Alias>>>,
    /// New subscriptions whose retained messages are being sent. Beyond them: SUBACK 0x97.
    pub replays: Slots<'m, PoolSlot<Replay>>,
    /// Groups of shared subscriptions with messages that no member could take yet.
    pub group_queues: Slots<'m, PoolSlot<GroupQueue>>,
    /// One for each connection and each Session.
    pub timers: Slots<'m, TimerSlot<TimerKey>>,
    /// The order of the timers: as many entries.
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

impl<'m> From<Tables<'m>> for Memory<'m> {
    fn from(tables: Tables<'m>) -> Self {
        Self(tables)
    }
}
