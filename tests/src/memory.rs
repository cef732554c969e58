//! Both kinds of memory for brokers under test.

use crate::firmware;
use goldcrest_core::router::RouterMemory;
use goldcrest_core::storage::{Block, Bytes, Slots};
use goldcrest_core::{Capacity, JournalMemory, Limits, Memory, Shard};

/// Where a broker keeps everything, and how much that is.
#[derive(Clone, Copy, Debug)]
pub enum Storage {
    /// On the heap, growing up to the capacity.
    Owned(Capacity),
    /// Tables of that length, filled once and leaked: what firmware hands in.
    Borrowed(Capacity),
    /// Exactly what the firmware example hands in.
    Firmware,
}

/// Enough for any test of a few clients, small enough to be leaked by each.
pub const MODEST: Capacity = Capacity {
    connections: 24,
    sessions: 48,
    subscriptions: 512,
    topic_levels: 2_048,
    messages: 2_048,
    deliveries: 4_096,
    bytes: 2 << 20,
};

impl Storage {
    /// Memory for one broker.
    pub fn memory(&self, limits: &Limits, shard: Shard) -> Memory<'static> {
        match self {
            Self::Owned(capacity) => Memory::owned(capacity, limits, shard),
            Self::Borrowed(capacity) => borrowed(capacity, limits, shard),
            Self::Firmware => Box::leak(Box::new(firmware::Memory::new())).memory(),
        }
    }
}

/// As [`Memory::owned`], with tables that are there from the start.
fn borrowed(capacity: &Capacity, limits: &Limits, shard: Shard) -> Memory<'static> {
    let per_connection = |each: u16| capacity.connections * usize::from(each);
    let aliases = per_connection(limits.topic_aliases_in + limits.topic_aliases_out);
    let receipts = capacity.sessions * usize::from(limits.receive_maximum);
    let timers = capacity.connections + capacity.sessions;
    let siblings = if shard.count > 1 { usize::from(shard.count) } else { 0 };
    Memory {
        connections: table(capacity.connections),
        sessions: table(capacity.sessions),
        session_buckets: table(capacity.sessions),
        messages: table(capacity.messages),
        deliveries: table(capacity.deliveries),
        bytes: blocks(capacity.bytes),
        owed: table(per_connection(limits.owed_replies)),
        receipts: table(receipts),
        receipt_buckets: table(receipts / 4),
        aliases: table(aliases),
        alias_buckets: table(aliases / 4),
        replays: table(capacity.subscriptions),
        group_queues: table(capacity.subscriptions),
        timers: table(timers),
        timer_heap: table(timers),
        router: RouterMemory {
            nodes: table(capacity.topic_levels + 1),
            node_buckets: table(capacity.topic_levels),
            subscriptions: table(capacity.subscriptions),
            subscription_buckets: table(capacity.subscriptions),
            subscribers: table(capacity.sessions + siblings),
            groups: table(capacity.subscriptions),
            group_buckets: table(capacity.subscriptions),
            texts: blocks(capacity.topic_levels * 60),
        },
        scratch: table(limits.packet_bytes as usize),
        journal: JournalMemory {
            sessions: table(capacity.sessions),
            groups: table(capacity.subscriptions),
            subscriptions: table(capacity.subscriptions),
            messages: table(capacity.messages),
            retained: table(capacity.messages),
            deliveries: table(capacity.deliveries),
            receipts: table(receipts),
        },
    }
}

fn table<T: Default>(len: usize) -> Slots<'static, T> {
    let entries: Box<[T]> = (0..len).map(|_| T::default()).collect();
    Slots::borrowed(Box::leak(entries))
}

fn blocks(bytes: usize) -> Bytes<'static> {
    Bytes::borrowed(vec![Block::EMPTY; bytes.div_ceil(60)].leak())
}
