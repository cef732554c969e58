//! All memory of a broker, sized once.

use crate::api::budget::{self, Counts, Entries};
use crate::engine::connections::{Alias, Connection, Owed};
use crate::engine::groups::GroupQueue;
use crate::engine::memory::{Memory, Tables};
use crate::engine::messages::{Delivery, Message};
use crate::engine::router::{Group, Node, RouterMemory, SubscriberSlot, Subscription};
use crate::engine::sessions::{Receipt, Replay, Session};
use crate::engine::timeout::TimerKey;
use crate::mem::{Block, Bytes, Handle, HeapSlot, PoolSlot, Slots, Timer, TimerSlot};
use crate::seam::journal::JournalMemory;

/// The type of all memory of a broker, for firmware: [`Resources`] with these numbers of entries.
///
/// | name | entries | also as many |
/// |---|---|---|
/// | `connections` | Network Connections | the replies and Topic Aliases of [`Limits::FIRMWARE`](crate::Limits::FIRMWARE) for each |
/// | `sessions` | Sessions, at least as many as `connections` | 2 timers, the QoS 2 receipts of [`Limits::FIRMWARE`](crate::Limits::FIRMWARE) and 2 replays of retained messages for each; as many groups of shared subscriptions |
/// | `subscriptions` | subscriptions of all Sessions | blocks of 60 bytes for levels of more than 15 bytes and ShareNames |
/// | `levels` | levels of all Topic Filters and retained topics, where a shared level counts once, and one more | |
/// | `messages` | stored Application Messages: queued, retained, Wills | |
/// | `deliveries` | messages on their way: one for each Session that must get a message | |
/// | `blocks` | blocks of 60 bytes for bodies (topic, Properties and payload in one), Client Identifiers, aliased topics | |
///
/// There is also 1 KiB in which texts are put together. The names are the fields of [`Counts`], in any order; each is a constant, and
/// the compiler reports a missing one. Use the type with [`Config::firmware`](crate::Config::firmware).
///
/// ```
/// use goldcrest_core::{AllowAll, Broker, Config, resources};
///
/// // 8 clients with 16 subscriptions, and 32 messages of up to 60 bytes.
/// type Small = resources! {
///     connections: 8,
///     sessions: 8,
///     subscriptions: 16,
///     levels: 48,
///     messages: 32,
///     deliveries: 32,
///     blocks: 48,
/// };
///
/// // In firmware this is a `static`, lent out once: `static RESOURCES: ConstStaticCell<Small>`.
/// let mut resources = const { Small::new() };
/// let broker = Broker::new(resources.memory(), Config::firmware(7), &AllowAll);
/// assert_eq!(broker.counters().connections, 0);
///
/// // The size is exact, and a build in which it exceeds this number of bytes fails.
/// const _: () = Small::assert_fits::<{ 24 * 1024 }>();
/// ```
///
/// Here the compiler stops and says "these Resources take … bytes, … more than the 16384 that they may take", with the bytes
/// of each table:
///
/// ```compile_fail,E0080
/// # use goldcrest_core::resources;
/// # type Small = resources! {
/// #     connections: 8, sessions: 8, subscriptions: 16, levels: 48, messages: 32, deliveries: 32, blocks: 48
/// # };
/// const _: () = Small::assert_fits::<{ 16 * 1024 }>();
/// ```
///
/// And here the compiler says "missing field `levels`":
///
/// ```compile_fail,E0063
/// # use goldcrest_core::resources;
/// type Flat = resources! { connections: 1, sessions: 1, subscriptions: 1, messages: 1, deliveries: 1, blocks: 1 };
/// # let flat = Flat::new();
/// ```
#[macro_export]
macro_rules! resources {
    ($($name:ident: $count:expr),+ $(,)?) => {
        $crate::Resources<
            { $crate::Counts { $($name: $count),+ }.connections },
            { $crate::Counts { $($name: $count),+ }.sessions },
            { $crate::Counts { $($name: $count),+ }.subscriptions },
            { $crate::Counts { $($name: $count),+ }.levels },
            { $crate::Counts { $($name: $count),+ }.messages },
            { $crate::Counts { $($name: $count),+ }.deliveries },
            { $crate::Counts { $($name: $count),+ }.blocks },
        >
    };
}

/// All tables of a broker in one struct, for firmware: name its type with [`resources!`](crate::resources), declare it `static`, and hand
/// its [`memory`](Self::memory) to the broker once.
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
    owed: [[PoolSlot<Owed>; budget::OWED_EACH]; CONNECTIONS],
    receipts: [[PoolSlot<Receipt>; budget::RECEIPTS_EACH]; SESSIONS],
    receipt_buckets: [Option<Handle<Receipt>>; SESSIONS],
    aliases: [[PoolSlot<Alias>; budget::ALIASES_EACH]; CONNECTIONS],
    alias_buckets: [Option<Handle<Alias>>; CONNECTIONS],
    replays: [[PoolSlot<Replay>; budget::REPLAYS_EACH]; SESSIONS],
    group_queues: [PoolSlot<GroupQueue>; SESSIONS],
    timers: [[TimerSlot<TimerKey>; budget::TIMERS_EACH]; SESSIONS],
    timer_heap: [[HeapSlot; budget::TIMERS_EACH]; SESSIONS],
    nodes: [PoolSlot<Node>; LEVELS],
    node_buckets: [Option<Handle<Node>>; LEVELS],
    subscriptions: [PoolSlot<Subscription>; SUBSCRIPTIONS],
    subscription_buckets: [Option<Handle<Subscription>>; SUBSCRIPTIONS],
    subscribers: [SubscriberSlot; SESSIONS],
    groups: [PoolSlot<Group>; SESSIONS],
    group_buckets: [Option<Handle<Group>>; SESSIONS],
    texts: [Block; SUBSCRIPTIONS],
    scratch: [u8; budget::SCRATCH],
    session_marks: [u8; SESSIONS],
    group_marks: [u8; SESSIONS],
    subscription_marks: [u8; SUBSCRIPTIONS],
    message_marks: [u8; MESSAGES],
    retained_marks: [u8; MESSAGES],
    delivery_marks: [u8; DELIVERIES],
    receipt_marks: [[u8; budget::RECEIPTS_EACH]; SESSIONS],
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
    /// The exact bytes of RAM on the machine that this is compiled for.
    pub const SIZE: usize = size_of::<Self>();

    /// How many entries each table has; [`Entries::tables`] tells their bytes.
    pub const ENTRIES: Entries = Entries::of_resources(&Counts {
        connections: CONNECTIONS,
        sessions: SESSIONS,
        subscriptions: SUBSCRIPTIONS,
        levels: LEVELS,
        messages: MESSAGES,
        deliveries: DELIVERIES,
        blocks: BLOCKS,
    });

    /// Fails to compile if the tables take more than `BYTES` bytes, and says how much each table takes: write `const _: () =
    /// Memory::assert_fits::<{ 24 * 1024 }>();` beside your `type Memory = resources! {…}`.
    pub const fn assert_fits<const BYTES: usize>() {
        const { assert!(Self::SIZE <= BYTES, "{}", budget::complaint(&Self::ENTRIES, Self::SIZE, BYTES).as_str()) }
    }

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
            owed: [[PoolSlot::vacant(Owed::EMPTY); budget::OWED_EACH]; CONNECTIONS],
            receipts: [[PoolSlot::vacant(Receipt::EMPTY); budget::RECEIPTS_EACH]; SESSIONS],
            receipt_buckets: [None; SESSIONS],
            aliases: [[PoolSlot::vacant(Alias::EMPTY); budget::ALIASES_EACH]; CONNECTIONS],
            alias_buckets: [None; CONNECTIONS],
            replays: [const { [const { PoolSlot::vacant(Replay::EMPTY) }; budget::REPLAYS_EACH] }; SESSIONS],
            group_queues: [const { PoolSlot::vacant(GroupQueue::EMPTY) }; SESSIONS],
            timers: [[PoolSlot::vacant(Timer::vacant(TimerKey::None)); budget::TIMERS_EACH]; SESSIONS],
            timer_heap: [[HeapSlot::EMPTY; budget::TIMERS_EACH]; SESSIONS],
            nodes: [const { PoolSlot::vacant(Node::EMPTY) }; LEVELS],
            node_buckets: [None; LEVELS],
            subscriptions: [const { PoolSlot::vacant(Subscription::EMPTY) }; SUBSCRIPTIONS],
            subscription_buckets: [None; SUBSCRIPTIONS],
            subscribers: [SubscriberSlot::EMPTY; SESSIONS],
            groups: [const { PoolSlot::vacant(Group::EMPTY) }; SESSIONS],
            group_buckets: [None; SESSIONS],
            texts: [Block::EMPTY; SUBSCRIPTIONS],
            scratch: [0; budget::SCRATCH],
            session_marks: [0; SESSIONS],
            group_marks: [0; SESSIONS],
            subscription_marks: [0; SUBSCRIPTIONS],
            message_marks: [0; MESSAGES],
            retained_marks: [0; MESSAGES],
            delivery_marks: [0; DELIVERIES],
            receipt_marks: [[0; budget::RECEIPTS_EACH]; SESSIONS],
        }
    }

    /// The memory for [`Broker::new`](crate::Broker::new).
    pub fn memory(&mut self) -> Memory<'_> {
        Memory(Tables {
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
        })
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
