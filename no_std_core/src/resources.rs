//! All memory of a broker, sized once.

use crate::connection::{Alias, Connection, Owed};
use crate::control::{GroupQueue, TimerKey};
use crate::message::{Delivery, Message};
use crate::router::RouterMemory;
use crate::session::{Receipt, Replay, Session};
use crate::storage::{Bytes, Handle, HeapSlot, PoolSlot, Slots, TimerSlot};

/// The tables a [`Broker`](crate::Broker) works in. Each one's length is a limit; what happens at it is told in
/// [`Limits`](crate::Limits) and [`DropReason::OutOfMemory`](crate::DropReason::OutOfMemory).
#[derive(Debug)]
pub struct Memory<'m> {
    /// Network Connections. Beyond them [`Broker::handle_connected`](crate::Broker::handle_connected) refuses.
    pub connections: Slots<'m, PoolSlot<Connection>>,
    /// Sessions, connected or not. Beyond them: CONNACK 0x97.
    pub sessions: Slots<'m, PoolSlot<Session>>,
    /// To find Sessions by their Client Identifier; may be fewer than these.
    pub session_buckets: Slots<'m, Option<Handle<Session>>>,
    /// Stored Application Messages: queued, retained, Wills. Beyond them: PUBACK or PUBREC 0x97.
    pub messages: Slots<'m, PoolSlot<Message>>,
    /// Messages on their way to Sessions. Beyond them a message is lost to a Session, and counted.
    pub deliveries: Slots<'m, PoolSlot<Delivery>>,
    /// Bodies of messages, Client Identifiers, aliased topics.
    pub bytes: Bytes<'m>,
    /// Replies owed to clients: [`Limits::owed_replies`](crate::Limits::owed_replies) for each connection.
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
}

/// How much a broker that owns its memory may hold: upper limits, nothing is taken before it is needed.
#[cfg(feature = "alloc")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Network Connections.
    pub connections: usize,
    /// Sessions, connected or not.
    pub sessions: usize,
    /// Subscriptions of all Sessions.
    pub subscriptions: usize,
    /// Levels of all Topic Filters and retained topics.
    pub topic_levels: usize,
    /// Stored Application Messages.
    pub messages: usize,
    /// Messages on their way to Sessions.
    pub deliveries: usize,
    /// Bytes of bodies and texts.
    pub bytes: usize,
}

#[cfg(feature = "alloc")]
impl Capacity {
    /// For a gateway.
    pub const GATEWAY: Self = Self {
        connections: 65_536,
        sessions: 262_144,
        subscriptions: 4_194_304,
        topic_levels: 8_388_608,
        messages: 4_194_304,
        deliveries: 16_777_216,
        bytes: 1 << 30,
    };
}

#[cfg(feature = "alloc")]
impl Memory<'_> {
    /// Memory that is owned, and grows up to `capacity`.
    pub fn owned(capacity: &Capacity, limits: &crate::Limits, shard: crate::Shard) -> Self {
        let per_connection = |each: u16| capacity.connections.saturating_mul(usize::from(each));
        let aliases = per_connection(limits.topic_aliases_in.saturating_add(limits.topic_aliases_out));
        let receipts = capacity.sessions.saturating_mul(usize::from(limits.receive_maximum));
        let timers = capacity.connections.saturating_add(capacity.sessions);
        Self {
            connections: Slots::owned(capacity.connections),
            sessions: Slots::owned(capacity.sessions),
            session_buckets: Slots::owned(capacity.sessions),
            messages: Slots::owned(capacity.messages),
            deliveries: Slots::owned(capacity.deliveries),
            bytes: Bytes::owned(capacity.bytes),
            owed: Slots::owned(per_connection(limits.owed_replies)),
            receipts: Slots::owned(receipts),
            receipt_buckets: Slots::owned(receipts),
            aliases: Slots::owned(aliases),
            alias_buckets: Slots::owned(aliases),
            replays: Slots::owned(capacity.subscriptions),
            group_queues: Slots::owned(capacity.subscriptions),
            timers: Slots::owned(timers),
            timer_heap: Slots::owned(timers),
            router: RouterMemory::owned(crate::router::RouterLimits {
                nodes: capacity.topic_levels,
                subscriptions: capacity.subscriptions,
                subscribers: capacity.sessions.saturating_add(usize::from(shard.count)),
                groups: capacity.subscriptions,
                text_bytes: capacity.bytes,
            }),
            scratch: Slots::owned(limits.packet_bytes as usize),
        }
    }
}
