//! All memory of a broker, sized once.

use crate::config::Limits;
use crate::connection::{Alias, Connection, Owed};
use crate::control::{GroupQueue, TimerKey};
use crate::journal::JournalMemory;
use crate::message::{Delivery, Message};
use crate::router::{Group, Node, RouterMemory, SubscriberSlot, Subscription};
use crate::session::{Receipt, Replay, Session};
use crate::storage::{Block, Bytes, Handle, HeapSlot, PoolSlot, Slots, Timer, TimerSlot};

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

const OWED_EACH: usize = Limits::FIRMWARE.owed_replies as usize;
const RECEIPTS_EACH: usize = Limits::FIRMWARE.receive_maximum as usize;
const ALIASES_EACH: usize = Limits::FIRMWARE.topic_aliases_in as usize + Limits::FIRMWARE.topic_aliases_out as usize;
const PACKET: usize = Limits::FIRMWARE.packet_bytes as usize;

/// All tables of a broker in one struct, for firmware: declare it `static`, and hand its [`memory`](Self::memory) in once.
///
/// The numbers are:
///
/// | parameter | entries | what also has so many |
/// |---|---|---|
/// | `CONNECTIONS` | Network Connections | the replies and Topic Aliases of [`Limits::FIRMWARE`] for each |
/// | `SESSIONS` | Sessions, at least `CONNECTIONS` | 2 timers, the QoS 2 receipts of [`Limits::FIRMWARE`] and 2 runs of retained messages for each; as many groups of shared subscriptions |
/// | `SUBSCRIPTIONS` | subscriptions of all Sessions | blocks of 60 bytes for levels of more than 15 bytes and ShareNames |
/// | `LEVELS` | levels of all Topic Filters and retained topics, those that they share once, and one more | |
/// | `MESSAGES` | stored Application Messages: queued, retained, Wills | |
/// | `DELIVERIES` | messages on their way, one for each Session that is to get one | |
/// | `BLOCKS` | blocks of 60 bytes for bodies (topic, Properties and payload in one), Client Identifiers, aliased topics | |
///
/// and 1 KiB to put texts together in. Use it with [`Config::firmware`](crate::Config::firmware).
///
/// ```
/// use goldcrest_core::{AllowAll, Broker, Config, Resources};
///
/// // 8 clients with 16 subscriptions, and 32 messages of up to 60 bytes.
/// type Small = Resources<8, 8, 16, 48, 32, 32, 48>;
///
/// // In firmware this is a `static`, lent out once: `static RESOURCES: ConstStaticCell<Small>`.
/// let mut resources = const { Small::new() };
/// let broker = Broker::new(resources.memory(), Config::firmware(7), &AllowAll);
/// assert_eq!(broker.counters().connections, 0);
///
/// // On a machine with pointers of 8 bytes; on a microcontroller it is less.
/// assert!(size_of::<Small>() <= 24 * 1024);
/// ```
#[derive(Debug)]
pub struct Resources<
    const CONNECTIONS: usize,
    const SESSIONS: usize,
    const SUBSCRIPTIONS: usize,
    const LEVELS: usize,
    const MESSAGES: usize,
    const DELIVERIES: usize,
    const BLOCKS: usize,
> {
    connections: [PoolSlot<Connection>; CONNECTIONS],
    sessions: [PoolSlot<Session>; SESSIONS],
    session_buckets: [Option<Handle<Session>>; SESSIONS],
    messages: [PoolSlot<Message>; MESSAGES],
    deliveries: [PoolSlot<Delivery>; DELIVERIES],
    blocks: [Block; BLOCKS],
    owed: [[PoolSlot<Owed>; OWED_EACH]; CONNECTIONS],
    receipts: [[PoolSlot<Receipt>; RECEIPTS_EACH]; SESSIONS],
    receipt_buckets: [Option<Handle<Receipt>>; SESSIONS],
    aliases: [[PoolSlot<Alias>; ALIASES_EACH]; CONNECTIONS],
    alias_buckets: [Option<Handle<Alias>>; CONNECTIONS],
    replays: [[PoolSlot<Replay>; 2]; SESSIONS],
    group_queues: [PoolSlot<GroupQueue>; SESSIONS],
    timers: [[TimerSlot<TimerKey>; 2]; SESSIONS],
    timer_heap: [[HeapSlot; 2]; SESSIONS],
    nodes: [PoolSlot<Node>; LEVELS],
    node_buckets: [Option<Handle<Node>>; LEVELS],
    subscriptions: [PoolSlot<Subscription>; SUBSCRIPTIONS],
    subscription_buckets: [Option<Handle<Subscription>>; SUBSCRIPTIONS],
    subscribers: [SubscriberSlot; SESSIONS],
    groups: [PoolSlot<Group>; SESSIONS],
    group_buckets: [Option<Handle<Group>>; SESSIONS],
    texts: [Block; SUBSCRIPTIONS],
    scratch: [u8; PACKET],
    session_marks: [u8; SESSIONS],
    group_marks: [u8; SESSIONS],
    subscription_marks: [u8; SUBSCRIPTIONS],
    message_marks: [u8; MESSAGES],
    retained_marks: [u8; MESSAGES],
    delivery_marks: [u8; DELIVERIES],
    receipt_marks: [[u8; RECEIPTS_EACH]; SESSIONS],
}

impl<
    const CONNECTIONS: usize,
    const SESSIONS: usize,
    const SUBSCRIPTIONS: usize,
    const LEVELS: usize,
    const MESSAGES: usize,
    const DELIVERIES: usize,
    const BLOCKS: usize,
> Resources<CONNECTIONS, SESSIONS, SUBSCRIPTIONS, LEVELS, MESSAGES, DELIVERIES, BLOCKS>
{
    /// Empty tables. Fails to compile with fewer Sessions than connections.
    pub const fn new() -> Self {
        const { assert!(SESSIONS >= CONNECTIONS, "each connection needs a Session") };
        Self {
            connections: [const { PoolSlot::vacant(Connection::EMPTY) }; CONNECTIONS],
            sessions: [const { PoolSlot::vacant(Session::EMPTY) }; SESSIONS],
            session_buckets: [None; SESSIONS],
            messages: [PoolSlot::vacant(Message::EMPTY); MESSAGES],
            deliveries: [PoolSlot::vacant(Delivery::EMPTY); DELIVERIES],
            blocks: [Block::EMPTY; BLOCKS],
            owed: [[PoolSlot::vacant(Owed::EMPTY); OWED_EACH]; CONNECTIONS],
            receipts: [[PoolSlot::vacant(Receipt::EMPTY); RECEIPTS_EACH]; SESSIONS],
            receipt_buckets: [None; SESSIONS],
            aliases: [[PoolSlot::vacant(Alias::EMPTY); ALIASES_EACH]; CONNECTIONS],
            alias_buckets: [None; CONNECTIONS],
            replays: [const { [const { PoolSlot::vacant(Replay::EMPTY) }; 2] }; SESSIONS],
            group_queues: [const { PoolSlot::vacant(GroupQueue::EMPTY) }; SESSIONS],
            timers: [[PoolSlot::vacant(Timer::vacant(TimerKey::None)); 2]; SESSIONS],
            timer_heap: [[HeapSlot::EMPTY; 2]; SESSIONS],
            nodes: [const { PoolSlot::vacant(Node::EMPTY) }; LEVELS],
            node_buckets: [None; LEVELS],
            subscriptions: [const { PoolSlot::vacant(Subscription::EMPTY) }; SUBSCRIPTIONS],
            subscription_buckets: [None; SUBSCRIPTIONS],
            subscribers: [SubscriberSlot::EMPTY; SESSIONS],
            groups: [const { PoolSlot::vacant(Group::EMPTY) }; SESSIONS],
            group_buckets: [None; SESSIONS],
            texts: [Block::EMPTY; SUBSCRIPTIONS],
            scratch: [0; PACKET],
            session_marks: [0; SESSIONS],
            group_marks: [0; SESSIONS],
            subscription_marks: [0; SUBSCRIPTIONS],
            message_marks: [0; MESSAGES],
            retained_marks: [0; MESSAGES],
            delivery_marks: [0; DELIVERIES],
            receipt_marks: [[0; RECEIPTS_EACH]; SESSIONS],
        }
    }

    /// What [`Broker::new`](crate::Broker::new) takes.
    pub fn memory(&mut self) -> Memory<'_> {
        Memory {
            connections: Slots::borrowed(&mut self.connections),
            sessions: Slots::borrowed(&mut self.sessions),
            session_buckets: Slots::borrowed(&mut self.session_buckets),
            messages: Slots::borrowed(&mut self.messages),
            deliveries: Slots::borrowed(&mut self.deliveries),
            bytes: Bytes::borrowed(&mut self.blocks),
            owed: Slots::borrowed(self.owed.as_flattened_mut()),
            receipts: Slots::borrowed(self.receipts.as_flattened_mut()),
            receipt_buckets: Slots::borrowed(&mut self.receipt_buckets),
            aliases: Slots::borrowed(self.aliases.as_flattened_mut()),
            alias_buckets: Slots::borrowed(&mut self.alias_buckets),
            replays: Slots::borrowed(self.replays.as_flattened_mut()),
            group_queues: Slots::borrowed(&mut self.group_queues),
            timers: Slots::borrowed(self.timers.as_flattened_mut()),
            timer_heap: Slots::borrowed(self.timer_heap.as_flattened_mut()),
            router: RouterMemory {
                nodes: Slots::borrowed(&mut self.nodes),
                node_buckets: Slots::borrowed(&mut self.node_buckets),
                subscriptions: Slots::borrowed(&mut self.subscriptions),
                subscription_buckets: Slots::borrowed(&mut self.subscription_buckets),
                subscribers: Slots::borrowed(&mut self.subscribers),
                groups: Slots::borrowed(&mut self.groups),
                group_buckets: Slots::borrowed(&mut self.group_buckets),
                texts: Bytes::borrowed(&mut self.texts),
            },
            scratch: Slots::borrowed(&mut self.scratch),
            journal: JournalMemory {
                sessions: Slots::borrowed(&mut self.session_marks),
                groups: Slots::borrowed(&mut self.group_marks),
                subscriptions: Slots::borrowed(&mut self.subscription_marks),
                messages: Slots::borrowed(&mut self.message_marks),
                retained: Slots::borrowed(&mut self.retained_marks),
                deliveries: Slots::borrowed(&mut self.delivery_marks),
                receipts: Slots::borrowed(self.receipt_marks.as_flattened_mut()),
            },
        }
    }
}

impl<
    const CONNECTIONS: usize,
    const SESSIONS: usize,
    const SUBSCRIPTIONS: usize,
    const LEVELS: usize,
    const MESSAGES: usize,
    const DELIVERIES: usize,
    const BLOCKS: usize,
> Default for Resources<CONNECTIONS, SESSIONS, SUBSCRIPTIONS, LEVELS, MESSAGES, DELIVERIES, BLOCKS>
{
    fn default() -> Self {
        Self::new()
    }
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
                subscribers: capacity.sessions.saturating_add(shard.siblings() as usize),
                groups: capacity.subscriptions,
                text_bytes: capacity.bytes,
            }),
            scratch: Slots::owned(limits.packet_bytes as usize),
            journal: JournalMemory {
                sessions: Slots::owned(capacity.sessions),
                groups: Slots::owned(capacity.subscriptions),
                subscriptions: Slots::owned(capacity.subscriptions),
                messages: Slots::owned(capacity.messages),
                retained: Slots::owned(capacity.messages),
                deliveries: Slots::owned(capacity.deliveries),
                receipts: Slots::owned(receipts),
            },
        }
    }
}
