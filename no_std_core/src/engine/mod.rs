//! The broker's engine: what each Control Packet and each happening does to Network Connections, Sessions, subscriptions and messages.

pub(crate) mod absence;
pub(crate) mod ahead;
pub(crate) mod connections;
pub(crate) mod deliver;
pub(crate) mod grants;
pub(crate) mod groups;
pub(crate) mod info;
pub(crate) mod memory;
pub(crate) mod messages;
pub(crate) mod mount;
pub(crate) mod neighbour_state;
pub(crate) mod neighbours;
pub(crate) mod outcomes;
pub(crate) mod packets;
pub(crate) mod receive;
pub(crate) mod replay;
pub(crate) mod route_plan;
pub(crate) mod router;
pub(crate) mod routing;
pub(crate) mod rules;
pub(crate) mod sessions;
mod shares;
pub(crate) mod siblings;
pub(crate) mod sweep;
pub(crate) mod timeout;
pub(crate) mod transmit;
pub(crate) mod waiting;
pub(crate) mod will;

use crate::config::{Config, Unchangeable};
use crate::engine::connections::{Aliases, Connection, ConnectionId, Owed, Waiting};
use crate::engine::groups::GroupQueue;
use crate::engine::memory::Memory;
use crate::engine::messages::{Messages, Residency};
use crate::engine::mount::Mounts;
use crate::engine::neighbour_state::{Account, CreditState, Neighbour, ObserverState, Observers, Shards};
use crate::engine::router::{Router, Subscription};
use crate::engine::rules::Rules;
use crate::engine::sessions::{Receipts, Replay, Session};
use crate::engine::shares::LimitsInForce;
use crate::engine::siblings::Siblings;
use crate::engine::sweep::Sweep;
use crate::engine::timeout::TimerKey;
use crate::mem::{Fifo, GrowingMap, Handle, HashIndex, Hasher, List, OwnedOnly, Pool, Slots, Timers};
use crate::seam::authorize::Permissions;
use crate::seam::counters::Counters;
use crate::seam::journal::Journal;
use crate::seam::work::Work;
use crate::seed::random::Random;
use crate::seed::secret::{Purpose, Secret};
use crate::time::Instant;

/// A handle of a Session's Network Connection. The module `sessions` can't look into the connection.
pub(crate) type ConnectionHandle = Handle<Connection>;

/// A handle of the Session to which a message is delivered. The module `messages` can't look into the Session.
pub(crate) type SessionHandle = Handle<Session>;

/// The state of a broker, and the functions that change it. [`Broker`](crate::Broker) is its API for the embedder.
pub(crate) struct Engine<'m> {
    pub(crate) config: Config<'m>,
    pub(crate) authorize: Permissions<'m>,
    pub(crate) rules: Rules,
    pub(crate) hasher: Hasher,
    pub(crate) random: Random,
    pub(crate) connections: Pool<'m, Connection>,
    pub(crate) sessions: Pool<'m, Session>,
    pub(crate) session_index: HashIndex<'m, Session>,
    pub(crate) messages: Messages<'m>,
    pub(crate) router: Router<'m>,
    pub(crate) receipts: Receipts<'m>,
    pub(crate) aliases: Aliases<'m>,
    pub(crate) mounts: Mounts,
    pub(crate) owed: Pool<'m, Owed>,
    pub(crate) replays: Pool<'m, Replay>,
    pub(crate) group_queues: Pool<'m, GroupQueue>,
    pub(crate) timers: Timers<'m, TimerKey>,
    pub(crate) scratch: Slots<'m, u8>,
    /// Connections that have work to do.
    pub(crate) ready: Fifo<Connection>,
    pub(crate) generations: u32,
    /// How many messages were routed so far.
    pub(crate) routed: u64,
    /// The limits with the bounds that queues have as memory gets short.
    pub(crate) in_force: LimitsInForce,
    pub(crate) sweep: Sweep,
    /// Whether the policy may refuse a message because a queue is full.
    pub(crate) may_refuse: bool,
    /// Whether the store is full: no message may be accepted that needs another record.
    pub(crate) store_is_full: bool,
    pub(crate) store_is_half_full: OwnedOnly<bool>,
    /// How many records were left out when the broker was restored.
    pub(crate) left_out: u32,
    /// The time of the last call that may have routed messages.
    pub(crate) clock: OwnedOnly<Instant>,
    /// Whether the embedder did not run for a while, and timers that came due meanwhile have not fired yet.
    pub(crate) was_paused: OwnedOnly<bool>,
    /// Connections that wait for a batch.
    pub(crate) waiting: List<Connection, Waiting>,
    pub(crate) counters: Counters,
    pub(crate) work: Work,
    /// The work done when the last call to transmit began; and whether that call stopped in the search for retained messages.
    pub(crate) transmitting_since: Work,
    pub(crate) looks_on: bool,
    /// The replays that are going on, by their subscriptions. In borrowed memory a Session has so few that they are searched instead.
    pub(crate) replaying: GrowingMap<Handle<Subscription>, Handle<Replay>>,
    /// The state of the observer of happenings.
    #[allow(dead_code, reason = "without the feature `events` nobody observes")]
    pub(crate) observers: <Observers as ObserverState>::OfBroker,
    /// The state of the links to other shards.
    pub(crate) shards: <Shards as Neighbour>::OfBroker,
    /// The account of the credit that the store has granted.
    pub(crate) account: <Account as CreditState>::OfBroker,
}

impl<'m> Engine<'m> {
    pub(crate) fn new(memory: Memory<'m>, mut config: Config<'m>, authorize: Permissions<'m>) -> Self {
        let mut memory = memory.0;
        memory.claim_what_hangs_at_entries(&config);
        bound_replies(&mut config, memory.owed.limit(), memory.connections.limit());
        let secret = Secret::new(config.seed);
        let hasher = Hasher::new(secret.derive(Purpose::Indexes));
        let filters = memory.router.subscriptions.limit();
        let connections = Pool::new(memory.connections);
        let (pool, deliveries) = (Pool::new(memory.messages), Pool::new(memory.deliveries));
        let journal = Journal::new(memory.journal, config.durable);
        let mut messages = Messages::new(pool, deliveries, memory.bytes, journal, connections.limit());
        messages.set_body_budget(if config.durable { config.body_budget } else { 0 });
        let shards = Shards::of_broker(&config, filters, &hasher, &messages.bytes);
        Self {
            random: Random::new(secret.derive(Purpose::RandomNumbers), config.shard.index),
            connections,
            sessions: Pool::new(memory.sessions),
            session_index: HashIndex::new(memory.session_buckets),
            messages,
            router: Router::new(memory.router, hasher.clone()),
            receipts: Receipts::new(Pool::new(memory.receipts), HashIndex::new(memory.receipt_buckets), hasher.clone()),
            aliases: Aliases::new(Pool::new(memory.aliases), HashIndex::new(memory.alias_buckets), hasher.clone()),
            mounts: Default::default(),
            owed: Pool::new(memory.owed),
            replays: Pool::new(memory.replays),
            group_queues: Pool::new(memory.group_queues),
            timers: Timers::new(memory.timers, memory.timer_heap),
            scratch: memory.scratch,
            ready: Fifo::EMPTY,
            generations: 0,
            routed: 0,
            in_force: LimitsInForce::new(&config.limits),
            sweep: Sweep::NEW,
            may_refuse: config.may_refuse(),
            store_is_full: false,
            store_is_half_full: OwnedOnly::new(false),
            left_out: 0,
            clock: OwnedOnly::new(Instant::from_millis(0)),
            was_paused: OwnedOnly::new(false),
            waiting: List::EMPTY,
            counters: Counters::default(),
            work: Work::default(),
            transmitting_since: Work::default(),
            looks_on: false,
            observers: Default::default(),
            replaying: GrowingMap::default(),
            shards,
            account: Default::default(),
            hasher,
            config,
            authorize,
            rules: Rules::NEW,
        }
    }

    /// Replaces the configuration.
    pub(crate) fn reconfigure(&mut self, mut config: Config<'m>) -> Result<(), Unchangeable> {
        if let Some(unchangeable) = self.config.unchangeable(&config) {
            return Err(unchangeable);
        }
        bound_replies(&mut config, self.owed.limit(), self.connections.limit());
        self.may_refuse = config.may_refuse();
        self.messages.set_body_budget(if config.durable { config.body_budget } else { 0 });
        self.config = config;
        self.look_at_memory_now();
        Ok(())
    }

    /// Notes the time: messages that have expired by then make room in a full queue.
    #[inline]
    pub(crate) fn see(&mut self, now: Instant) {
        self.clock.set(now);
    }

    /// The handle of the connection with this id; `None` if the connection is gone.
    pub(crate) fn find(&self, id: ConnectionId) -> Option<Handle<Connection>> {
        let handle = self.connections.at(id.slot.index())?;
        let connection = &self.connections[handle];
        (connection.generation == id.generation && !connection.is_gone).then_some(handle)
    }

    /// The id of an existing connection.
    pub(crate) fn id_of(&self, handle: Handle<Connection>) -> ConnectionId {
        ConnectionId { slot: handle, generation: self.connections[handle].generation }
    }

    /// Makes [`Broker::poll_ready`](crate::Broker::poll_ready) name the connection.
    #[inline]
    pub(crate) fn mark_ready(&mut self, handle: Handle<Connection>) {
        let connection = &mut self.connections[handle];
        if !connection.is_ready {
            connection.is_ready = true;
            self.ready.push_back(&mut self.connections, handle);
        }
    }

    /// Counts of what the broker has done and holds.
    pub(crate) fn counters(&self) -> Counters {
        let mut counters = self.counters;
        counters.connections = self.connections.len() as u32;
        counters.sessions = self.sessions.len() as u32;
        counters.sessions_limit = self.sessions.limit() as u32;
        counters.subscriptions = self.router.subscription_count() as u32;
        // Members of groups here whose home is another shard are counted on that shard.
        let (sessions, subscriptions) = self.count_elsewhere();
        counters.sessions = counters.sessions.saturating_sub(sessions as u32);
        counters.subscriptions = counters.subscriptions.saturating_sub(subscriptions as u32);
        counters.retained = self.retained_by_clients() as u32;
        counters.messages = self.messages.len() as u32;
        counters.bodies_on_disk = self.messages.evicted() as u32;
        counters.deliveries = self.messages.deliveries.len() as u32;
        counters.bytes = self.messages.bytes.used() as u64;
        counters
    }
}

/// Bounds the replies of a connection to its share of the table, so that the table always has room for a reply.
fn bound_replies(config: &mut Config<'_>, replies: usize, connections: usize) {
    let share = replies.checked_div(connections).unwrap_or(0);
    config.limits.owed_replies = config.limits.owed_replies.min(u16::try_from(share).unwrap_or(u16::MAX));
}
