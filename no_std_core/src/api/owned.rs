//! A broker that owns its memory: its capacity, functions for it alone, and the work that its calls have done.

pub use crate::mem::heap::{MemoryCeiling, MemoryClaim, MemoryUse};

use super::broker::Broker;
use super::budget::Entries;
use crate::config::{Limits, Shard};
use crate::engine::connections::ConnectionId;
use crate::engine::memory::{Memory, Tables};
use crate::engine::neighbour_state::{Neighbour, Shards};
use crate::engine::router::{RouterLimits, RouterMemory};
use crate::engine::siblings::Siblings;
use crate::mem::heap::free_list_bytes;
use crate::mem::{Bytes, Slots};
use crate::seam::authorize::Principal;
use crate::seam::grant::WhollyGranted;
use crate::seam::journal::JournalMemory;
use crate::time::Instant;

/// The capacity of a broker that owns its memory: upper limits, up to which memory is allocated when it is needed.
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

impl Capacity {
    /// The capacity of a gateway.
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

impl Entries {
    /// The entries of [`Memory::owned`](crate::Memory::owned) when all tables are full.
    pub fn of_owned(capacity: &Capacity, limits: &Limits, shard: Shard) -> Self {
        let per_connection = |each: u16| capacity.connections.saturating_mul(usize::from(each));
        let aliases = per_connection(limits.topic_aliases_in.saturating_add(limits.topic_aliases_out));
        let receipts = capacity.sessions.saturating_mul(usize::from(limits.receive_maximum));
        let marked = [
            capacity.sessions,
            capacity.subscriptions,
            capacity.subscriptions,
            capacity.messages,
            capacity.messages,
            capacity.deliveries,
            receipts,
        ];
        // A text for each Client Identifier, three texts for each connection, and one for each aliased topic, level and ShareName.
        let texts = [capacity.sessions, per_connection(3), aliases, capacity.topic_levels, capacity.subscriptions];
        let indexed = [capacity.sessions, receipts, aliases, capacity.topic_levels];
        let mut entries = Self {
            connections: capacity.connections,
            sessions: capacity.sessions,
            messages: capacity.messages,
            deliveries: capacity.deliveries,
            owed: per_connection(limits.owed_replies),
            receipts,
            aliases,
            replays: capacity.subscriptions,
            group_queues: capacity.subscriptions,
            timers: capacity.connections.saturating_add(capacity.sessions),
            nodes: capacity.topic_levels.saturating_add(1),
            subscriptions: capacity.subscriptions,
            subscribers: capacity.sessions,
            groups: capacity.subscriptions,
            // Subscriptions and groups have indexes, too.
            buckets: indexed.into_iter().fold(capacity.subscriptions.saturating_mul(2), usize::saturating_add),
            blocks: 0,
            // The texts of the router have a limit of their own, which is as high.
            bytes: capacity.bytes.saturating_mul(2),
            blobs: texts.into_iter().fold(capacity.messages, usize::saturating_add),
            scratch: limits.packet_bytes as usize,
            marks: marked.into_iter().fold(0, usize::saturating_add),
            free_lists: 0,
            filters_elsewhere: Shards::filter_slots(shard, capacity.subscriptions),
        };
        entries.free_lists = entries.pooled().map(free_list_bytes).into_iter().fold(0, usize::saturating_add);
        entries
    }

    /// The entries of each table that is a pool.
    const fn pooled(&self) -> [usize; 14] {
        [
            self.connections,
            self.sessions,
            self.messages,
            self.deliveries,
            self.owed,
            self.receipts,
            self.aliases,
            self.replays,
            self.group_queues,
            self.timers,
            self.nodes,
            self.subscriptions,
            self.groups,
            self.blobs,
        ]
    }
}

impl Memory<'_> {
    /// Memory on the heap, which grows up to `capacity`.
    pub fn owned(capacity: &Capacity, limits: &Limits, shard: Shard) -> Self {
        let entries = Entries::of_owned(capacity, limits, shard);
        Self(Tables {
            connections: Slots::owned(entries.connections),
            sessions: Slots::owned(entries.sessions),
            session_buckets: Slots::owned(entries.sessions),
            messages: Slots::owned(entries.messages),
            deliveries: Slots::owned(entries.deliveries),
            bytes: Bytes::owned(capacity.bytes),
            owed: Slots::owned(entries.owed),
            receipts: Slots::owned(entries.receipts),
            receipt_buckets: Slots::owned(entries.receipts),
            aliases: Slots::owned(entries.aliases),
            alias_buckets: Slots::owned(entries.aliases),
            replays: Slots::owned(entries.replays),
            group_queues: Slots::owned(entries.group_queues),
            timers: Slots::owned(entries.timers),
            timer_heap: Slots::owned(entries.timers),
            router: RouterMemory::owned(RouterLimits {
                nodes: capacity.topic_levels,
                subscriptions: entries.subscriptions,
                subscribers: entries.subscribers,
                groups: entries.groups,
                text_bytes: capacity.bytes,
            }),
            scratch: Slots::owned(entries.scratch),
            journal: JournalMemory {
                sessions: Slots::owned(entries.sessions),
                groups: Slots::owned(entries.groups),
                subscriptions: Slots::owned(entries.subscriptions),
                messages: Slots::owned(entries.messages),
                retained: Slots::owned(entries.messages),
                deliveries: Slots::owned(entries.deliveries),
                receipts: Slots::owned(entries.receipts),
            },
        })
    }
}

impl Broker<'_> {
    /// The principal of the client of a connection; `None` if the connection is gone, or has no Session yet.
    pub fn principal(&self, id: ConnectionId) -> Option<Principal> {
        let session = self.engine.connections[self.engine.find(id)?].session?;
        Some(self.engine.sessions[session].principal)
    }

    /// Gives the Session of a client that is not connected from one principal to another, with its queue and its subscriptions. Subscriptions that
    /// the new principal may not have end. What the Session has or gets is sent only if [`Authorize::receive`](crate::Authorize::receive) permits it,
    /// until the next change of the rules. Returns whether there was such a Session of `from`.
    pub fn give_session(&mut self, now: Instant, client_id: &str, from: Principal, to: Principal) -> bool {
        self.engine.see(now);
        let Some(session) = self.engine.session_named(client_id) else { return false };
        let entry = &mut self.engine.sessions[session];
        if entry.principal != from || entry.connection.is_some() {
            return false;
        }
        entry.principal = to;
        self.engine.review_session(now, session);
        // The queue may have messages of subscriptions that have ended.
        self.engine.sessions[session].wholly_granted = WhollyGranted::NO;
        self.engine.note_session(session);
        true
    }

    /// Answers the PINGREQs in `bytes` while the broker reads nothing from the client, after [`Next::Wait`](crate::Next::Wait): otherwise
    /// the client would take the connection for lost. `bytes` are the waiting bytes from the first packet on that this call has not seen.
    /// Returns how many of them are whole packets, and need not be shown again.
    pub fn handle_pings(&mut self, id: ConnectionId, bytes: &[u8]) -> usize {
        self.engine.find(id).map_or(0, |connection| self.engine.answer_ahead(connection, bytes))
    }

    /// The embedder did not run for a while: its process or its machine was stopped. It hands in the bytes that have come meanwhile before
    /// the next [`Broker::handle_timeout`]. Until then a client that comes back resumes its Session, and its delayed Will is not published,
    /// though their time has passed: the client may have come in time.
    pub fn handle_pause(&mut self) {
        self.engine.was_paused.set(true);
    }

    /// How much work the broker has done so far, in small steps: levels of the tree that were visited, messages put into queues, and the
    /// like. The difference between two calls tells what the calls in between have cost, in no unit of time but on a scale that is the same
    /// for all.
    pub fn work(&self) -> u64 {
        self.engine.work.done()
    }

    /// The most entries that a look-up may have to pass in any table. A few are usual; many would mean that an attacker has found keys that
    /// collide. The call looks at all tables, so it is for tests and diagnosis.
    pub fn longest_chain(&self) -> usize {
        let others = [
            self.engine.session_index.longest_chain(&self.engine.sessions),
            self.engine.receipts.longest_chain(),
            self.engine.aliases.longest_chain(),
            self.engine.longest_chain_elsewhere(),
        ];
        others.into_iter().fold(self.engine.router.longest_chain(), usize::max)
    }
}
