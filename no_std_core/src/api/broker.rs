//! The broker and its verbs. What each Control Packet does is told in `control/`.

use crate::api::resources::Memory;
use crate::codec::{QoS, ReasonCode, Version};
use crate::config::Config;
use crate::durable::persist::Polled;
use crate::durable::record::Record;
use crate::durable::restore::{Restored, Unfit};
use crate::engine::connections::{Aliases, Connection, ConnectionId, Owed, Phase, Waiting};
use crate::engine::groups::GroupQueue;
use crate::engine::messages::Messages;
use crate::engine::router::Router;
use crate::engine::sessions::{Receipts, Replay, Session};
use crate::engine::sweep::Sweep;
use crate::engine::timeout::TimerKey;
use crate::engine::transmit::Payloads;
use crate::mem::{Fifo, Handle, HashIndex, Hasher, List, Pool, Slots, Timers};
use crate::seam::authorize::{Ask, Authorize, Verdict};
use crate::seam::counters::Counters;
use crate::seam::journal::{Batch, Journal};
use crate::seam::work::Work;
use crate::seed::random::Random;
use crate::seed::secret::{Purpose, Secret};
use crate::time::Instant;
use crate::topic::TopicName;
use core::ops::ControlFlow;

/// A whole MQTT broker without sockets, files, clock or threads.
///
/// - Something happened: [`handle_connected`](Self::handle_connected), [`handle_bytes`](Self::handle_bytes),
///   [`handle_input_end`](Self::handle_input_end), [`handle_closed`](Self::handle_closed),
///   [`handle_verdict`](Self::handle_verdict), [`handle_timeout`](Self::handle_timeout), with siblings `handle_forward`,
///   after a pause of the shell `handle_pause`
/// - Commands: [`publish`](Self::publish), [`shut_down`](Self::shut_down), [`set_store_full`](Self::set_store_full),
///   with the feature `alloc` `set_store_room`
/// - What survives a restart: [`poll_record`](Self::poll_record), [`has_records`](Self::has_records),
///   [`seal`](Self::seal), [`persisted`](Self::persisted); [`restore`](Self::restore), [`restored`](Self::restored);
///   with the feature `alloc` what is fetched from there: `poll_fetch`, `fetched`, `fetch_failed`
/// - What is to be done: [`poll_ready`](Self::poll_ready), [`poll_transmit`](Self::poll_transmit), with the feature `alloc`
///   `poll_transmit_apart` and `payload_written`; [`poll_timeout`](Self::poll_timeout), with siblings `poll_forward`
/// - Getters: [`counters`](Self::counters), [`describe`](Self::describe), [`client_id`](Self::client_id),
///   [`session`](Self::session), [`visit_sessions`](Self::visit_sessions), [`is_serving`](Self::is_serving)
///
/// A fault of a peer is not an error of these calls: its connection moves to closing, which its shell learns from
/// [`Next::Close`] and [`Then::Close`].
pub struct Broker<'m> {
    pub(crate) config: Config<'m>,
    pub(crate) authorize: &'m dyn Authorize,
    pub(crate) hasher: Hasher,
    pub(crate) random: Random,
    pub(crate) connections: Pool<'m, Connection>,
    pub(crate) sessions: Pool<'m, Session>,
    pub(crate) session_index: HashIndex<'m, Session>,
    pub(crate) messages: Messages<'m>,
    pub(crate) router: Router<'m>,
    pub(crate) receipts: Receipts<'m>,
    pub(crate) aliases: Aliases<'m>,
    pub(crate) owed: Pool<'m, Owed>,
    pub(crate) replays: Pool<'m, Replay>,
    pub(crate) group_queues: Pool<'m, GroupQueue>,
    pub(crate) timers: Timers<'m, TimerKey>,
    pub(crate) scratch: Slots<'m, u8>,
    /// Connections that have something to do.
    pub(crate) ready: Fifo<Connection>,
    pub(crate) generations: u32,
    /// Messages handed out so far.
    pub(crate) routed: u64,
    pub(crate) sweep: Sweep,
    /// Sessions made so far.
    #[cfg(feature = "alloc")]
    pub(crate) session_numbers: u32,
    /// Whether some message could have to be refused for a full queue.
    pub(crate) may_refuse: bool,
    /// Nothing may need another record.
    pub(crate) store_is_full: bool,
    #[cfg(feature = "alloc")]
    pub(crate) store_is_half_full: bool,
    /// Records that were not taken back.
    pub(crate) left_out: u32,
    /// The time of the last call that may have handed out messages.
    #[cfg(feature = "alloc")]
    pub(crate) clock: Instant,
    /// The shell did not run for a while, and what came due meanwhile was not judged yet.
    #[cfg(feature = "alloc")]
    pub(crate) was_paused: bool,
    /// Connections with something that waits for a batch.
    pub(crate) waiting: List<Connection, Waiting>,
    pub(crate) counters: Counters,
    pub(crate) work: Work,
    /// What was done when the last call to transmit began; and whether it left retained messages to be looked for.
    pub(crate) transmitting_since: Work,
    pub(crate) looks_on: bool,
    /// The replays that are going on, by their subscriptions.
    #[cfg(feature = "alloc")]
    pub(crate) replaying: alloc::collections::BTreeMap<Handle<crate::engine::router::Subscription>, Handle<Replay>>,
    /// Links to the sibling brokers.
    #[cfg(feature = "alloc")]
    pub(crate) mesh: crate::shards::links::Mesh,
    #[cfg(feature = "alloc")]
    pub(crate) room: crate::durable::room::Room,
}

/// There is no room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl core::fmt::Display for Full {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the broker's memory for it is full")
    }
}

impl core::error::Error for Full {}

/// What [`Broker::handle_bytes`] made of the bytes.
#[derive(Clone, Copy, Debug)]
pub struct Received<'b> {
    /// Bytes that are done with. The shell keeps the rest and puts what arrives next behind it.
    pub consumed: usize,
    /// What the shell does now.
    pub next: Next<'b>,
}

/// What a shell does after [`Broker::handle_bytes`].
#[derive(Clone, Copy, Debug)]
pub enum Next<'b> {
    /// Call again when more bytes have arrived.
    Read,
    /// As [`Next::Read`], but there may be more whole packets in the rest: call again with that, after other connections had their
    /// turn. What was taken has cost as much as [`Config::work_share`](crate::Config::work_share). Only with the feature `alloc`.
    Yield,
    /// Don't read: call again with the rest once [`Broker::poll_ready`] has named the connection.
    Wait,
    /// Decide, call [`Broker::handle_verdict`], and go on as after [`Next::Wait`].
    Ask(Ask<'b>),
    /// Transmit what is left, close the Network Connection, and call [`Broker::handle_closed`]. Nothing more is taken
    /// from the client.
    Close,
}

/// What [`Broker::poll_transmit`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Bytes of the buffer that are to be written.
    pub written: usize,
    /// What the shell does then.
    pub then: Then,
}

/// What a shell does after [`Broker::poll_transmit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Call again: the buffer was too small for all there is. Or, if nothing was written, retained messages are looked for, which
    /// takes its time: then after others had their turn.
    More,
    /// Nothing more now; [`Broker::poll_ready`] will name the connection.
    Idle,
    /// Everything is out: close the Network Connection and call [`Broker::handle_closed`].
    Close,
}

/// A message of the embedder's own.
#[derive(Clone, Copy, Debug)]
pub struct LocalPublish<'a> {
    /// Its topic; `$SYS/` is allowed here. What is retained there does not survive a restart: it tells of this run.
    pub topic: TopicName<'a>,
    /// The payload.
    pub payload: &'a [u8],
    /// The QoS it is routed with.
    pub qos: QoS,
    /// Whether it becomes the retained message of its topic.
    pub retain: bool,
    /// Message Expiry Interval in seconds.
    pub expiry_secs: Option<u32>,
}

/// What is known of a Session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// A client is connected to it.
    pub is_connected: bool,
    /// Subscriptions, the shared ones included.
    pub subscriptions: u32,
    /// Messages that wait for the client.
    pub queued: usize,
    /// Topics, Properties and payloads of these, in bytes.
    pub queued_bytes: u32,
    /// Messages the client has not acknowledged.
    pub in_flight: usize,
    /// QoS 2 messages of the client that wait for their PUBREL.
    pub receipts: u16,
    /// Messages that were lost to it, by reason.
    pub dropped: crate::seam::counters::Dropped,
}

/// What is known of a Network Connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// What it speaks, once CONNECT was taken.
    pub version: Version,
    /// CONNECT was accepted, and the connection is not closing.
    pub is_open: bool,
    /// Why it is being closed, with a sentence for people.
    pub closing: Option<(ReasonCode, &'static str)>,
    /// It is open, or was when it began to be closed. Of a closing connection this and what follows is known with the feature `alloc` only.
    pub was_open: bool,
    /// It is closed by a DISCONNECT of the client, with this code.
    pub is_by_client: bool,
    /// The bytes of the packet for which it is closed, where that was too large.
    pub too_large: Option<u32>,
    /// What there was no room in for it, where that is why it is closed. Known with the feature `alloc` only.
    pub shortage: Option<Shortage>,
    /// Its Session, while it is open.
    pub session: Option<SessionInfo>,
}

/// What there was no room in for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// The table of Sessions, or what of it is for Sessions that are kept: [`Counters::sessions_limit`](crate::Counters::sessions_limit).
    Sessions,
    /// The store, see [`Broker::set_store_full`].
    Store,
    /// The memory for what clients say.
    Memory,
}

impl<'m> Broker<'m> {
    /// A broker without connections and Sessions.
    pub fn new(memory: Memory<'m>, mut config: Config<'m>, authorize: &'m dyn Authorize) -> Self {
        // A reply that is owed always has a place: no connection may be owed more than its share.
        let share = memory.owed.limit().checked_div(memory.connections.limit()).unwrap_or(0);
        config.limits.owed_replies = config.limits.owed_replies.min(u16::try_from(share).unwrap_or(u16::MAX));
        let secret = Secret::new(config.seed);
        let hasher = Hasher::new(secret.derive(Purpose::Indexes));
        let siblings = config.shard.siblings();
        #[cfg(feature = "alloc")]
        let filters = memory.router.subscriptions.limit();
        let connections = Pool::new(memory.connections);
        let (pool, deliveries) = (Pool::new(memory.messages), Pool::new(memory.deliveries));
        let journal = Journal::new(memory.journal, config.durable);
        #[cfg_attr(not(feature = "alloc"), allow(unused_mut))]
        let mut messages = Messages::new(pool, deliveries, memory.bytes, journal, connections.limit());
        #[cfg(feature = "alloc")]
        messages.set_body_budget(if config.durable { config.body_budget } else { 0 });
        Self {
            random: Random::new(secret.derive(Purpose::RandomNumbers), config.shard.index),
            connections,
            sessions: Pool::new(memory.sessions),
            session_index: HashIndex::new(memory.session_buckets),
            messages,
            router: Router::new(memory.router, hasher.clone(), siblings),
            receipts: Receipts::new(Pool::new(memory.receipts), HashIndex::new(memory.receipt_buckets), hasher.clone()),
            aliases: Aliases::new(Pool::new(memory.aliases), HashIndex::new(memory.alias_buckets), hasher.clone()),
            owed: Pool::new(memory.owed),
            replays: Pool::new(memory.replays),
            group_queues: Pool::new(memory.group_queues),
            timers: Timers::new(memory.timers, memory.timer_heap),
            scratch: memory.scratch,
            ready: Fifo::EMPTY,
            generations: 0,
            routed: 0,
            sweep: Sweep::NEW,
            #[cfg(feature = "alloc")]
            session_numbers: 0,
            may_refuse: config.may_refuse(),
            store_is_full: false,
            #[cfg(feature = "alloc")]
            store_is_half_full: false,
            left_out: 0,
            #[cfg(feature = "alloc")]
            clock: Instant::from_millis(0),
            #[cfg(feature = "alloc")]
            was_paused: false,
            waiting: List::EMPTY,
            counters: Counters::default(),
            work: Work::default(),
            transmitting_since: Work::default(),
            looks_on: false,
            #[cfg(feature = "alloc")]
            replaying: alloc::collections::BTreeMap::new(),
            #[cfg(feature = "alloc")]
            mesh: crate::shards::links::Mesh::new(config.shard, filters, hasher.clone()),
            #[cfg(feature = "alloc")]
            room: crate::durable::room::Room::default(),
            hasher,
            config,
            authorize,
        }
    }

    /// A Network Connection was opened. `Err` if there is no room: close it.
    pub fn handle_connected(&mut self, now: Instant) -> Result<ConnectionId, Full> {
        self.open_connection(now)
    }

    /// What has expired by then makes room in a full queue.
    #[inline]
    fn see(&mut self, now: Instant) {
        #[cfg(feature = "alloc")]
        {
            self.clock = now;
        }
        let _ = now;
    }

    /// Bytes arrived. All whole packets in them are taken, unless [`Next`] says otherwise.
    ///
    /// A connection that is gone takes everything and is [`Next::Close`].
    pub fn handle_bytes<'b>(&mut self, now: Instant, id: ConnectionId, bytes: &'b [u8]) -> Received<'b> {
        self.see(now);
        match self.find(id) {
            Some(connection) => self.receive(now, connection, bytes),
            None => Received { consumed: bytes.len(), next: Next::Close },
        }
    }

    /// Answers the PINGREQs in `bytes` while nothing is taken from the client, after [`Next::Wait`]: it would take the connection for
    /// lost. `bytes` are the first ones, on the border of a packet, that this call has not seen of those that wait to be handed in.
    /// How many were whole packets, and need not be shown again.
    #[cfg(feature = "alloc")]
    pub fn answer_pings(&mut self, id: ConnectionId, bytes: &[u8]) -> usize {
        self.find(id).map_or(0, |connection| self.answer_ahead(connection, bytes))
    }

    /// The client sends no more, but may still read: it closed its side, and all that it sent was taken. What it is owed is
    /// still transmitted, [`Then::Close`] follows when that is out. New deliveries are not sent; without a DISCONNECT before
    /// it this is an abnormal end, and a Will is published.
    pub fn handle_input_end(&mut self, now: Instant, id: ConnectionId) {
        if let Some(connection) = self.find(id) {
            self.end_input(now, connection);
        }
    }

    /// The Network Connection is gone, whoever closed it. The id refers to nothing from now on.
    pub fn handle_closed(&mut self, now: Instant, id: ConnectionId) {
        if let Some(connection) = self.find(id) {
            self.end_connection(now, connection);
        }
    }

    /// The answer to [`Next::Ask`]. Without an open question it is ignored.
    pub fn handle_verdict(&mut self, now: Instant, id: ConnectionId, verdict: Verdict<'_>) {
        if let Some(connection) = self.find(id) {
            self.on_verdict(now, connection, verdict);
        }
    }

    /// The moment of [`Broker::poll_timeout`] has come; an early call does nothing. Where very much is due at once, a part is still
    /// due after it.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.see(now);
        self.on_timeout(now);
    }

    /// The shell did not run for a while: its process was stopped, or its machine was. It hands in what has come meanwhile before the next
    /// [`Broker::handle_timeout`]. Until that a client that comes back goes on with its Session, and no delayed Will of it is sent, though
    /// their time has passed: the client may have come in time.
    #[cfg(feature = "alloc")]
    pub fn handle_pause(&mut self) {
        self.was_paused = true;
    }

    /// Publishes a message of the embedder's own to all who subscribed to it.
    ///
    /// # Errors
    /// There is no room for it. Or it is not retained, and siblings have not told yet, after a restart, who subscribed.
    pub fn publish(&mut self, now: Instant, message: LocalPublish<'_>) -> Result<(), Full> {
        self.see(now);
        self.publish_local(now, message)
    }

    /// Closes every connection, with DISCONNECT 0x8B in MQTT 5.0. Transmit what is left, then drop the broker.
    pub fn shut_down(&mut self, now: Instant) {
        self.close_all(now);
    }

    /// A connection that has something to transmit, that can take bytes again after [`Next::Wait`], or that is to be
    /// closed: call [`Broker::poll_transmit`] and, after [`Next::Wait`], [`Broker::handle_bytes`].
    pub fn poll_ready(&mut self) -> Option<ConnectionId> {
        #[cfg(feature = "alloc")]
        if self.messages.has_arrived() {
            self.wake_for_bodies();
        }
        loop {
            let slot = self.ready.pop_front(&mut self.connections)?;
            let connection = &mut self.connections[slot];
            connection.is_ready = false;
            if !connection.is_gone {
                return Some(ConnectionId { slot, generation: connection.generation });
            }
            self.connections.remove(slot);
        }
    }

    /// What a sibling broker is to be handed, and the sibling's index. Hand all of them over, in order, before writing to
    /// clients.
    #[cfg(feature = "alloc")]
    pub fn poll_forward(&mut self) -> Option<(u16, crate::Forward)> {
        self.mesh.poll()
    }

    /// A sibling broker handed something over.
    #[cfg(feature = "alloc")]
    pub fn handle_forward(&mut self, now: Instant, from: u16, forward: crate::Forward) {
        self.see(now);
        self.on_forward(now, from, forward);
    }

    /// The same for those in the list, each with the number of the sibling, and sooner done than one by one. The list keeps its
    /// memory. What is left in it is to be handed in later, after connections had their turn: what was taken has cost as much as
    /// [`Config::work_share`](crate::Config::work_share).
    #[cfg(feature = "alloc")]
    pub fn handle_forwards(&mut self, now: Instant, forwards: &mut alloc::vec::Vec<(u16, crate::Forward)>) {
        self.see(now);
        self.on_forwards(now, forwards);
    }

    /// Whether there is something for [`Broker::poll_record`] or [`Broker::seal`].
    pub fn has_records(&self) -> bool {
        self.messages.journal.has_records()
    }

    /// Looks whether what is to be recorded has to be, and what it is worth to wait before it is polled. What came and went since
    /// the last batch has not; what waited for that alone, or for records that say that something is over, is transmittable at
    /// once, as after [`Broker::persisted`]. It is cheap where few things have changed.
    #[cfg(feature = "alloc")]
    pub fn record_outlook(&mut self, now: Instant) -> crate::Outlook {
        let _ = now;
        self.outlook()
    }

    /// About how many bytes the next batch will take.
    #[cfg(feature = "alloc")]
    pub fn bytes_to_record(&self) -> u64 {
        self.messages.journal.gathered()
    }

    /// The next record that is to be stored, sealed into `out`: a thing as it is now, or that it is gone.
    ///
    /// Poll until there is [`Polled::Nothing`], then [`Broker::seal`] the batch, store it, and report it by
    /// [`Broker::persisted`]; meanwhile the next batch may be gathered. Within a batch records have no order, and no key
    /// comes twice if nothing else was called between. A store must show a batch whole or not at all, and none without
    /// all those before it.
    pub fn poll_record(&mut self, out: &mut [u8]) -> Polled {
        self.next_record(out)
    }

    /// Has everything durable recorded anew with the next batch, as if the store had nothing but what it has to delete, and the
    /// messages whose bodies are there alone.
    pub fn record_all(&mut self) {
        self.mark_all();
    }

    /// All records that were polled since the last call are a batch: which one. To be called when there is
    /// [`Polled::Nothing`] more; before that, or if there is nothing to wait for, it gives the last batch again.
    ///
    /// A batch may have no records: there is something that waits for it all the same.
    pub fn seal(&mut self) -> Batch {
        self.messages.journal.seal()
    }

    /// The batch, and all before it, are safe: what waited for that is transmittable, and [`Broker::poll_ready`] names the
    /// connections. Forgotten, it lets them wait; nothing is lost.
    pub fn persisted(&mut self, now: Instant, batch: Batch) {
        let _ = now;
        self.on_persisted(batch);
    }

    /// Takes one record back after a restart, before the first connection: each key once, as it was stored last, without those
    /// that were deleted, and all of one [`Kind`](crate::durable::record::Kind) before those of the next one.
    ///
    /// `Err`: this record is left out, with a reason that is worth a line in a log; go on with the others. What is left out is
    /// deleted by the first records that are polled then, unless its slot is beyond the table: who would rather not lose
    /// it stops here. The shell's clock must go on where it stood when the records were made, see [`Instant`].
    pub fn restore(&mut self, now: Instant, record: Record<'_>) -> Result<(), Unfit> {
        let _ = now;
        self.take_back(record)
    }

    /// Tells before [`Broker::restore`] which messages are retained, all of them: the slots of the records of
    /// [`Kind::Retained`](crate::durable::record::Kind::Retained). Then the bodies of others that were published with RETAIN and only wait for
    /// Sessions may be left to the store, see [`Config::body_budget`](crate::Config::body_budget).
    #[cfg(feature = "alloc")]
    pub fn expect_retained(&mut self, slots: impl Iterator<Item = u32>) {
        self.messages.expect_retained(slots);
    }

    /// Ends restoring: what refers to nothing is dropped, queues get their order, absent clients their timers. What all
    /// that has changed is to be polled as records.
    ///
    /// With siblings nothing is taken from clients before all have told each other of what they restored: each has to be
    /// restored before it is handed a forward.
    pub fn restored(&mut self, now: Instant) -> Restored {
        self.end_restoring(now)
    }

    /// A body that is in the store alone and is to be transmitted soon: read its record, and answer with
    /// [`Broker::fetched`] or [`Broker::fetch_failed`], in the order in which they were polled. Meanwhile the client waits, and
    /// the others go on. To be polled in each turn, and once before [`Broker::restored`], until there are no more.
    #[cfg(feature = "alloc")]
    pub fn poll_fetch(&mut self) -> Option<crate::Fetch> {
        self.messages.next_fetch()
    }

    /// The record that was asked for. If it is not what was recorded the message is lost, as after
    /// [`Broker::fetch_failed`]. [`Broker::poll_ready`] names the connections that waited.
    #[cfg(feature = "alloc")]
    pub fn fetched(&mut self, now: Instant, fetch: crate::Fetch, sealed: &[u8]) {
        let _ = now;
        self.take_body(fetch, sealed);
    }

    /// The record that was asked for is not there or can't be read: the message is lost to all who wait for it, and
    /// counted as [`DropReason::Unreadable`](crate::DropReason::Unreadable) when its turn comes.
    #[cfg(feature = "alloc")]
    pub fn fetch_failed(&mut self, now: Instant, fetch: crate::Fetch) {
        let _ = now;
        self.lose_body(fetch);
    }

    /// The store takes no more, or does again. While it is full what needs another record is refused like at any other limit:
    /// 0x97, in MQTT 3.1 and 3.1.1 by withholding the acknowledgement and closing the connection. QoS 0 flows on, acknowledgements and what ends too.
    pub fn set_store_full(&mut self, full: bool) {
        let was_full = core::mem::replace(&mut self.store_is_full, full);
        #[cfg(feature = "alloc")]
        {
            if was_full && !full {
                self.record_wills_left_out();
            }
            self.wake_for_room();
        }
        let _ = was_full;
    }

    /// Half of the store is in use, or is no more. Meanwhile no queue grows beyond
    /// [`queued_messages`](crate::Limits::queued_messages) and [`queued_bytes`](crate::Limits::queued_bytes), so that long ones
    /// leave room for the others.
    #[cfg(feature = "alloc")]
    pub fn set_store_half_full(&mut self, half_full: bool) {
        self.store_is_half_full = half_full;
    }

    /// So many bytes of records are sure to find room in the store: those of the batch that is being gathered, and what
    /// siblings will record of messages that go to them. A message that may need more waits, as after
    /// [`Next::Wait`], until there is more or the store [is full](Self::set_store_full). To be told again when a batch was
    /// polled, which has taken its part, and after [`Broker::take_passed_room`]. Acknowledgements and what else does not wait are
    /// in it too.
    ///
    /// Without a call there is no bound: for a store that knows at once what it has room for.
    #[cfg(feature = "alloc")]
    pub fn set_store_room(&mut self, bytes: u64) {
        self.on_store_room(bytes);
    }

    /// So much room came from siblings, with their messages, since the last call; less than 0 if more went to them. The broker
    /// counts on it until now, and from now on on what [`Broker::set_store_room`] says, which is to follow.
    #[cfg(feature = "alloc")]
    pub fn take_passed_room(&mut self) -> i64 {
        self.take_passed()
    }

    /// A message waits for so much room in all; 0 if none waits.
    #[cfg(feature = "alloc")]
    pub fn store_room_wanted(&self) -> u64 {
        self.room_wanted()
    }

    /// Puts what the client is to be sent into `out`.
    pub fn poll_transmit(&mut self, now: Instant, id: ConnectionId, out: &mut [u8]) -> Transmit {
        match self.find(id) {
            Some(connection) => self.transmit(now, connection, out, Payloads::InBuffer),
            None => Transmit { written: 0, then: Then::Close },
        }
    }

    /// As [`Broker::poll_transmit`], for a shell that writes from two places at once: a long payload is not copied into `out`
    /// but shown where it is stored, to be written behind what is in `out`. [`Broker::payload_written`] is to be called
    /// before anything else; what was not written is shown again by the next call. Until then it is the broker's, and counted
    /// as what is queued; with [`Config::body_budget`](crate::Config::body_budget) it may go to disk meanwhile.
    ///
    /// Nothing is shown of a broker in borrowed memory, where no payload stands in one piece.
    #[cfg(feature = "alloc")]
    pub fn poll_transmit_apart(&mut self, now: Instant, id: ConnectionId, out: &mut [u8]) -> (Transmit, &[u8]) {
        let Some(connection) = self.find(id) else { return (Transmit { written: 0, then: Then::Close }, &[]) };
        let transmit = self.transmit(now, connection, out, Payloads::Apart);
        let payload = if transmit.then == Then::More { self.payload_apart(connection) } else { &[] };
        (transmit, payload)
    }

    /// So many bytes of the payload that [`Broker::poll_transmit_apart`] has shown were written.
    #[cfg(feature = "alloc")]
    pub fn payload_written(&mut self, id: ConnectionId, count: usize) {
        if let Some(connection) = self.find(id) {
            self.sent_apart(connection, count);
        }
    }

    /// When [`Broker::handle_timeout`] is to be called; after each other call it may be another time.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_timeout()
    }

    /// How much was done so far, in small steps: levels of the tree that were visited, messages put into queues, and the like. Who
    /// looks at it before and after a call knows what that cost, in no unit of time but on a scale that is the same for all.
    #[cfg(feature = "alloc")]
    pub fn work(&self) -> u64 {
        self.work.done()
    }

    /// The most entries of any table that a look-up may have to pass. A few are usual; many would mean that somebody has found what
    /// collides. It looks at all that there is, so it is for tests and for diagnosis.
    #[cfg(feature = "alloc")]
    pub fn longest_chain(&self) -> usize {
        let others = [
            self.session_index.longest_chain(&self.sessions),
            self.receipts.longest_chain(),
            self.aliases.longest_chain(),
            self.mesh.interests.longest_chain(),
        ];
        others.into_iter().fold(self.router.longest_chain(), usize::max)
    }

    /// What the broker has done and holds.
    pub fn counters(&self) -> Counters {
        let mut counters = self.counters;
        counters.connections = self.connections.len() as u32;
        counters.sessions = self.sessions.len() as u32;
        counters.sessions_limit = self.sessions.limit() as u32;
        counters.subscriptions = self.router.local_subscription_count() as u32;
        // Members of our groups that live elsewhere count there.
        #[cfg(feature = "alloc")]
        {
            counters.sessions -= self.mesh.remotes.len() as u32;
            counters.subscriptions = counters.subscriptions.saturating_sub(self.mesh.memberships.len() as u32);
        }
        counters.retained = self.retained_by_clients() as u32;
        counters.messages = self.messages.len() as u32;
        #[cfg(feature = "alloc")]
        {
            counters.bodies_on_disk = self.messages.away() as u32;
        }
        counters.deliveries = self.messages.deliveries.len() as u32;
        counters.bytes = self.messages.bytes.used() as u64;
        counters
    }

    /// What is known of a connection; `None` if it is gone.
    pub fn describe(&self, id: ConnectionId) -> Option<ConnectionInfo> {
        let connection = &self.connections[self.find(id)?];
        Some(ConnectionInfo {
            version: connection.version,
            is_open: connection.phase == Phase::Open,
            closing: connection.closing().map(|reason| (reason.code, reason.why.as_str())),
            #[cfg(feature = "alloc")]
            was_open: connection.draft.get().was_open || connection.phase == Phase::Open,
            #[cfg(not(feature = "alloc"))]
            was_open: connection.phase == Phase::Open,
            #[cfg(feature = "alloc")]
            is_by_client: connection.draft.get().is_by_client,
            #[cfg(not(feature = "alloc"))]
            is_by_client: false,
            #[cfg(feature = "alloc")]
            too_large: Some(connection.draft.get().too_large).filter(|len| *len > 0),
            #[cfg(not(feature = "alloc"))]
            too_large: None,
            #[cfg(feature = "alloc")]
            shortage: connection.closing().and_then(crate::engine::packets::connect::shortage),
            #[cfg(not(feature = "alloc"))]
            shortage: None,
            session: connection.session.map(|session| self.sessions[session].info()),
        })
    }

    /// Shows the Sessions, connected or not, with their Client Identifiers: from the place `from` on, where 0 is before the
    /// first, until `visit` breaks off. The place to go on from then, behind the one that was shown last; `None` after the last.
    ///
    /// A Session that comes between two calls is shown or not. Linear in the places between. In borrowed memory an identifier
    /// of more than 256 bytes is shown as an empty one.
    pub fn visit_sessions(
        &self,
        from: usize,
        mut visit: impl FnMut(&str, SessionInfo) -> ControlFlow<()>,
    ) -> Option<usize> {
        for (handle, session) in self.sessions.iter_from(from).filter(|(_, session)| session.is_local()) {
            let info = session.info();
            let shown = self
                .messages
                .bytes
                .with(session.client_id, |text| visit(core::str::from_utf8(text).unwrap_or(""), info));
            if shown.unwrap_or_else(|| visit("", info)).is_break() {
                return Some(handle.index() + 1);
            }
        }
        None
    }

    /// What is known of the Session with this Client Identifier.
    pub fn session(&self, client_id: &str) -> Option<SessionInfo> {
        let hash = self.hasher.hash_bytes(client_id.as_bytes());
        Some(self.sessions[self.find_session(hash, client_id.as_bytes())?].info())
    }

    /// Whether clients are served. They wait while siblings have not told yet, after a restart, who subscribed.
    pub fn is_serving(&self) -> bool {
        #[cfg(feature = "alloc")]
        if self.mesh.greeting != 0 {
            return false;
        }
        true
    }

    /// What clients may do: as configured, or less where memory is made for less.
    pub fn limits(&self) -> &crate::config::Limits {
        &self.config.limits
    }

    /// Copies the Client Identifier of a connection, cut to the size of `out`; how many bytes that are.
    ///
    /// Of a closing connection it is known with the feature `alloc` only.
    pub fn client_id(&self, id: ConnectionId, out: &mut [u8]) -> usize {
        let Some(connection) = self.find(id) else {
            return 0;
        };
        let connection = &self.connections[connection];
        let text =
            connection.session.map_or(connection.draft.get().client_id, |session| self.sessions[session].client_id);
        self.messages.bytes.copy(text, 0, out)
    }

    /// The slot, if the id is not stale.
    pub(crate) fn find(&self, id: ConnectionId) -> Option<Handle<Connection>> {
        if !self.connections.is_live(id.slot) {
            return None;
        }
        let connection = &self.connections[id.slot];
        (connection.generation == id.generation && !connection.is_gone).then_some(id.slot)
    }

    /// Has [`Broker::poll_ready`] name the connection.
    #[inline]
    pub(crate) fn mark_ready(&mut self, handle: Handle<Connection>) {
        let connection = &mut self.connections[handle];
        if !connection.is_ready {
            connection.is_ready = true;
            self.ready.push_back(&mut self.connections, handle);
        }
    }
}
