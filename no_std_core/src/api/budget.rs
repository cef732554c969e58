//! The memory of a broker: how many entries each table has, and the bytes of an entry.
//!
//! [`Resources::SIZE`](crate::Resources::SIZE) is exact on the machine that compiles it. [`EntryBytes::FIRMWARE`] has the sizes of a
//! microcontroller on any other machine, so that a budget can be planned there.

use crate::config::Limits;
use crate::engine::connections::{Alias, Connection, Owed};
use crate::engine::groups::GroupQueue;
use crate::engine::messages::{Delivery, Message, RESERVED_BYTES};
use crate::engine::neighbour_state::{Neighbour, Shards};
use crate::engine::router::{Group, Node, SubscriberSlot, Subscription};
use crate::engine::sessions::{Receipt, Replay, Session};
use crate::engine::timeout::TimerKey;
use crate::mem::{BLOCK, Block, Handle, HeapSlot, OWNED_BLOB, PoolSlot, TimerSlot};

/// The entries that [`Resources`](crate::Resources) have room for, as [`resources!`](crate::resources) names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Network Connections.
    pub connections: usize,
    /// Sessions, at least as many as connections.
    pub sessions: usize,
    /// Subscriptions of all Sessions.
    pub subscriptions: usize,
    /// Levels of all Topic Filters and retained topics, where a level that several share counts once, and one more.
    pub levels: usize,
    /// Stored Application Messages.
    pub messages: usize,
    /// Messages on their way: one for each Session that must get a message.
    pub deliveries: usize,
    /// Blocks of 60 bytes for bodies, Client Identifiers, aliased topics.
    pub blocks: usize,
}

impl Counts {
    /// The same counts with blocks for `messages` messages of `message_bytes` bytes each (topic, Properties and payload together), for
    /// Client Identifiers of up to 60 bytes, and for the reserve that is kept for CONNECT.
    pub const fn holding(self, messages: usize, message_bytes: usize) -> Self {
        let blocks = messages.saturating_mul(message_bytes.div_ceil(BLOCK)).saturating_add(self.sessions);
        Self {
            messages: beside_reserve(messages, self.connections),
            blocks: beside_reserve(blocks, self.connections.saturating_mul(RESERVED_BYTES / BLOCK)),
            ..self
        }
    }
}

/// The length of the smallest table in which `wanted` entries and one more fit beside the part that is kept back: `reserve`
/// entries, or an eighth of the table if that is less.
const fn beside_reserve(wanted: usize, reserve: usize) -> usize {
    let eighth = wanted.saturating_add(1).saturating_mul(8).div_ceil(7);
    let all = wanted.saturating_add(reserve).saturating_add(1);
    if eighth < all { eighth } else { all }
}

/// The entries of each table of [`Memory`](crate::Memory), without its indexes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// Network Connections. Beyond them [`Broker::handle_connected`](crate::Broker::handle_connected) returns an error.
    pub connections: usize,
    /// Sessions, connected or not. Beyond them: CONNACK 0x97.
    pub sessions: usize,
    /// Stored Application Messages: queued, retained, Wills. Beyond them: PUBACK or PUBREC 0x97. Up to an eighth of these, and of the
    /// bytes, is reserved for CONNECT.
    pub messages: usize,
    /// Messages on their way to Sessions. Beyond them a message is lost to a Session, and counted.
    pub deliveries: usize,
    /// Replies owed to clients: [`Limits::owed_replies`](crate::Limits::owed_replies) for each connection. If there are fewer, each
    /// connection may be owed its share of them.
    pub owed: usize,
    /// QoS 2 messages that wait for their PUBREL. Beyond them: 0x97.
    pub receipts: usize,
    /// Topic Aliases, both ways. Beyond them: DISCONNECT 0x97 for an alias that a client sets; the server sets no more.
    pub aliases: usize,
    /// New subscriptions whose retained messages are being sent. Beyond them: SUBACK 0x97.
    pub replays: usize,
    /// Groups of shared subscriptions with messages that wait for a member.
    pub group_queues: usize,
    /// Timers: one for each connection and each Session.
    pub timers: usize,
    /// Levels of topics; one of them is the root.
    pub nodes: usize,
    /// Subscriptions of all Sessions.
    pub subscriptions: usize,
    /// Sessions that may subscribe.
    pub subscribers: usize,
    /// Groups of shared subscriptions.
    pub groups: usize,
    /// Entries of all indexes.
    pub buckets: usize,
    /// Blocks of 60 bytes for bodies of messages, Client Identifiers, aliased topics, long levels and ShareNames, in borrowed memory.
    pub blocks: usize,
    /// Bytes of bodies and texts in owned memory, including memory that is kept for later ones.
    pub bytes: usize,
    /// How many bodies and texts there may be in owned memory.
    pub blobs: usize,
    /// Bytes in which texts are put together: at least as many as the longest topic with its Properties that may come.
    pub scratch: usize,
    /// Bytes of marks on things that are to be recorded.
    pub marks: usize,
    /// Bytes of the lists of free slots in owned tables.
    pub free_lists: usize,
    /// Topic Filters of other shards, and the room that is kept free among them. A shard with more filters gets every message.
    pub filters_elsewhere: usize,
}

/// Replies owed to one connection, in [`Resources`](crate::Resources).
pub(crate) const OWED_EACH: usize = Limits::FIRMWARE.owed_replies as usize;
/// QoS 2 receipts of one Session, in [`Resources`](crate::Resources).
pub(crate) const RECEIPTS_EACH: usize = Limits::FIRMWARE.receive_maximum as usize;
/// Topic Aliases of one connection, in [`Resources`](crate::Resources).
pub(crate) const ALIASES_EACH: usize =
    Limits::FIRMWARE.topic_aliases_in as usize + Limits::FIRMWARE.topic_aliases_out as usize;
/// How many subscriptions of one Session may be sent retained messages at the same time, in [`Resources`](crate::Resources).
pub(crate) const REPLAYS_EACH: usize = 2;
/// Timers of one Session, in [`Resources`](crate::Resources): its own and that of its connection.
pub(crate) const TIMERS_EACH: usize = 2;
/// Bytes in which texts are put together, in [`Resources`](crate::Resources).
pub(crate) const SCRATCH: usize = Limits::FIRMWARE.packet_bytes as usize;

impl Entries {
    /// The entries of [`Resources`](crate::Resources) with these parameters.
    pub const fn of_resources(counts: &Counts) -> Self {
        let Counts { connections, sessions, subscriptions, levels, messages, deliveries, blocks } = *counts;
        let receipts = sessions.saturating_mul(RECEIPTS_EACH);
        Self {
            connections,
            sessions,
            messages,
            deliveries,
            owed: connections.saturating_mul(OWED_EACH),
            receipts,
            aliases: connections.saturating_mul(ALIASES_EACH),
            replays: sessions.saturating_mul(REPLAYS_EACH),
            group_queues: sessions,
            timers: sessions.saturating_mul(TIMERS_EACH),
            nodes: levels,
            subscriptions,
            subscribers: sessions,
            groups: sessions,
            // The indexes of Sessions, receipts and groups have as many buckets as there are Sessions.
            buckets: total(&[sessions, sessions, sessions, connections, levels, subscriptions]),
            blocks: total(&[blocks, subscriptions]),
            bytes: 0,
            blobs: 0,
            scratch: SCRATCH,
            marks: total(&[sessions, sessions, subscriptions, messages, messages, deliveries, receipts]),
            free_lists: 0,
            filters_elsewhere: 0,
        }
    }

    /// The tables, one by one.
    pub const fn tables(&self, bytes: &EntryBytes) -> [Table; TABLES] {
        [
            Table::new("connections", self.connections, bytes.connection),
            Table::new("owed replies", self.owed, bytes.owed),
            Table::new("topic aliases", self.aliases, bytes.alias),
            Table::new("sessions", self.sessions, bytes.session),
            Table::new("QoS 2 receipts", self.receipts, bytes.receipt),
            Table::new("replays of retained messages", self.replays, bytes.replay),
            Table::new("timers", self.timers, bytes.timer),
            Table::new("timer heap", self.timers, bytes.heap_slot),
            Table::new("subscribers", self.subscribers, bytes.subscriber),
            Table::new("subscriptions", self.subscriptions, bytes.subscription),
            Table::new("shared groups", self.groups, bytes.group),
            Table::new("queues of shared groups", self.group_queues, bytes.group_queue),
            Table::new("topic levels", self.nodes, bytes.node),
            Table::new("messages", self.messages, bytes.message),
            Table::new("deliveries", self.deliveries, bytes.delivery),
            Table::new("blocks of bytes", self.blocks, bytes.block),
            Table::new("bodies and texts", self.blobs, bytes.blob),
            Table::new("their bytes", self.bytes, 1),
            Table::new("index buckets", self.buckets, bytes.bucket),
            Table::new("scratch", self.scratch, 1),
            Table::new("marks on what is durable", self.marks, 1),
            Table::new("marks on free places", self.free_lists, 1),
            Table::new("filters of other shards", self.filters_elsewhere, bytes.filter_elsewhere),
        ]
    }

    /// Bytes of a struct that holds all these tables.
    pub const fn bytes(&self, entry: &EntryBytes) -> usize {
        let mut rest: &[Table] = &self.tables(entry);
        let mut sum: usize = 0;
        while let [table, others @ ..] = rest {
            sum = sum.saturating_add(table.bytes());
            rest = others;
        }
        // Some entries hold times of 8 bytes, so the struct is aligned to 8.
        match sum.checked_next_multiple_of(8) {
            Some(bytes) => bytes,
            None => usize::MAX,
        }
    }
}

/// The sum of these counts. A sum that overflows is more than there is memory for.
const fn total(mut counts: &[usize]) -> usize {
    let mut total: usize = 0;
    while let [count, others @ ..] = counts {
        total = total.saturating_add(*count);
        counts = others;
    }
    total
}

/// The length of the array that [`Entries::tables`] returns.
pub const TABLES: usize = 23;

/// One table of [`Memory`](crate::Memory).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// The kind of its entries.
    pub name: &'static str,
    /// How many entries the table has.
    pub entries: usize,
    /// Bytes of one entry.
    pub entry_bytes: usize,
}

impl Table {
    const fn new(name: &'static str, entries: usize, entry_bytes: usize) -> Self {
        Self { name, entries, entry_bytes }
    }

    /// Bytes of all entries.
    pub const fn bytes(&self) -> usize {
        self.entries.saturating_mul(self.entry_bytes)
    }
}

/// Bytes of one entry of each table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryBytes {
    connection: usize,
    session: usize,
    message: usize,
    delivery: usize,
    owed: usize,
    receipt: usize,
    alias: usize,
    replay: usize,
    group_queue: usize,
    timer: usize,
    heap_slot: usize,
    node: usize,
    subscription: usize,
    subscriber: usize,
    group: usize,
    bucket: usize,
    block: usize,
    blob: usize,
    filter_elsewhere: usize,
}

impl EntryBytes {
    /// The bytes on this machine and with these features.
    pub const HERE: Self = Self {
        connection: size_of::<PoolSlot<Connection>>(),
        session: size_of::<PoolSlot<Session>>(),
        message: size_of::<PoolSlot<Message>>(),
        delivery: size_of::<PoolSlot<Delivery>>(),
        owed: size_of::<PoolSlot<Owed>>(),
        receipt: size_of::<PoolSlot<Receipt>>(),
        alias: size_of::<PoolSlot<Alias>>(),
        replay: size_of::<PoolSlot<Replay>>(),
        group_queue: size_of::<PoolSlot<GroupQueue>>(),
        timer: size_of::<TimerSlot<TimerKey>>(),
        heap_slot: size_of::<HeapSlot>(),
        node: size_of::<PoolSlot<Node>>(),
        subscription: size_of::<PoolSlot<Subscription>>(),
        subscriber: size_of::<SubscriberSlot>(),
        group: size_of::<PoolSlot<Group>>(),
        bucket: size_of::<Option<Handle<()>>>(),
        block: size_of::<Block>(),
        blob: OWNED_BLOB,
        filter_elsewhere: <Shards as Neighbour>::FILTER_BYTES,
    };

    /// The bytes on a 32-bit ARM or RISC-V without the feature `alloc`.
    pub const FIRMWARE: Self = Self {
        connection: 216,
        session: 184,
        message: 48,
        delivery: 32,
        owed: 32,
        receipt: 28,
        alias: 36,
        replay: 56,
        group_queue: 48,
        timer: 16,
        heap_slot: 16,
        node: 64,
        subscription: 40,
        subscriber: 8,
        group: 48,
        bucket: 4,
        block: 64,
        blob: 0,
        filter_elsewhere: 0,
    };
}

impl EntryBytes {
    /// The bytes of all tables with their names, in the order of the struct's fields.
    const fn fields(&self) -> [(&'static str, usize); 19] {
        [
            ("connection", self.connection),
            ("session", self.session),
            ("message", self.message),
            ("delivery", self.delivery),
            ("owed", self.owed),
            ("receipt", self.receipt),
            ("alias", self.alias),
            ("replay", self.replay),
            ("group_queue", self.group_queue),
            ("timer", self.timer),
            ("heap_slot", self.heap_slot),
            ("node", self.node),
            ("subscription", self.subscription),
            ("subscriber", self.subscriber),
            ("group", self.group),
            ("bucket", self.bucket),
            ("block", self.block),
            ("blob", self.blob),
            ("filter_elsewhere", self.filter_elsewhere),
        ]
    }

    /// The bytes as Rust code, to be copied into this file.
    #[cfg_attr(not(goldcrest_check_sizes), allow(dead_code))]
    const fn code(&self) -> Text {
        let mut text = Text::EMPTY.then("EntryBytes::FIRMWARE must be:");
        let mut rest: &[(&str, usize)] = &self.fields();
        while let [(name, bytes), others @ ..] = rest {
            text = text.then("\n        ").then(name).then(": ").number(*bytes).then(",");
            rest = others;
        }
        text
    }

    #[cfg_attr(not(goldcrest_check_sizes), allow(dead_code))]
    const fn equals(&self, other: &Self) -> bool {
        let (mut rest, mut expected): (&[_], &[_]) = (&self.fields(), &other.fields());
        while let ([(_, one), ones @ ..], [(_, other), others @ ..]) = (rest, expected) {
            if *one != *other {
                return false;
            }
            (rest, expected) = (ones, others);
        }
        true
    }
}

// tests/run bare-metal compiles this for each kind of microcontroller.
#[cfg(goldcrest_check_sizes)]
const _: () = assert!(EntryBytes::HERE.equals(&EntryBytes::FIRMWARE), "{}", EntryBytes::HERE.code().as_str());

/// The compiler's error for [`Resources`](crate::Resources) that are too large.
pub(crate) const fn complaint(entries: &Entries, bytes: usize, allowed: usize) -> Text {
    let text = Text::EMPTY.then("these Resources take ").number(bytes).then(" bytes, ");
    let mut text = text.number(bytes.saturating_sub(allowed)).then(" more than the ").number(allowed);
    text = text.then(" that they may take:");
    let mut rest: &[Table] = &entries.tables(&EntryBytes::HERE);
    while let [table, others @ ..] = rest {
        text = text.then("\n  ").number(table.bytes()).then(" for ").number(table.entries).then(" ").then(table.name);
        rest = others;
    }
    text
}

/// A text that is put together at compile time, where `format!` is not available. Text that does not fit is left out.
pub(crate) struct Text {
    bytes: [u8; 1024],
    len: usize,
}

impl Text {
    const EMPTY: Self = Self { bytes: [0; 1024], len: 0 };

    pub(crate) const fn as_str(&self) -> &str {
        match self.bytes.split_at_checked(self.len) {
            Some((text, _)) => match core::str::from_utf8(text) {
                Ok(text) => text,
                Err(_) => "",
            },
            None => "",
        }
    }

    const fn then(mut self, text: &str) -> Self {
        if let Some((_, free)) = self.bytes.split_at_mut_checked(self.len)
            && let Some((place, _)) = free.split_at_mut_checked(text.len())
        {
            place.copy_from_slice(text.as_bytes());
            self.len = self.len.saturating_add(text.len());
        }
        self
    }

    const fn number(self, number: usize) -> Self {
        let before = if number < 10 { self } else { self.number(number / 10) };
        // The lower four bits of '0' are free for the digit.
        match core::str::from_utf8(&[b'0' | (number % 10) as u8]) {
            Ok(digit) => before.then(digit),
            Err(_) => before,
        }
    }
}

#[cfg(test)]
mod tests;
