//! Session State: what the broker stores about a client, connected or not (section 4.1).

mod bound;
mod inbound;
mod outbound;
mod outcome;

pub(crate) use bound::Bound;
pub use inbound::Receipt;
pub(crate) use inbound::{Inbound, Receipts};
pub(crate) use outbound::Outbound;
pub(crate) use outcome::{Acknowledged, Deadline, Replayed, Started};

use crate::config::Limits;
use crate::engine::ConnectionHandle;
use crate::engine::info::SessionInfo;
use crate::engine::messages::Message;
use crate::engine::neighbour_state::{Empty, MayLiveElsewhere, Neighbour, Shards};
use crate::mem::{Blob, Fifo, Handle, Initial, LazyBox, TimerId, links};
use crate::seam::authorize::Principal;
use crate::seam::counters::Dropped;
use crate::seam::grant::{Bounded, Granted, WhollyGranted};
use crate::time::Instant;

/// A Session in the pool.
#[derive(Debug)]
pub struct Session {
    hash: u32,
    chain: Option<Handle<Session>>,
    pub(crate) client_id: Blob,
    /// The principal to whom the Session belongs: no other principal can resume it.
    pub(crate) principal: Principal,
    /// Whether the Session has to survive a restart: its first Session Expiry Interval was above 0.
    pub(crate) is_durable: bool,
    /// Whether the Will is recorded, and with it as much of the Session as the Will needs.
    pub(crate) will_is_recorded: bool,
    /// Whether the client was connected when the broker stopped, and has not come back.
    pub(crate) was_cut_off: bool,
    /// Whether the client was granted limits of its own.
    pub(crate) bounded: Bounded,
    /// Whether the client may receive every message that matches its subscriptions.
    pub(crate) wholly_granted: WhollyGranted,
    /// The present Network Connection.
    pub(crate) connection: Option<ConnectionHandle>,
    /// The Session Expiry Interval in seconds; `u32::MAX`: it never ends by itself.
    pub(crate) expiry_secs: u32,
    /// When the Session ends; [`Instant::NEVER`] while the client is connected.
    pub(crate) ends: Instant,
    /// The Will, until it is published or removed.
    pub(crate) will: Option<StoredWill>,
    /// A timer for an absent client. It fires when the Will is due or the Session ends, whichever comes first.
    pub(crate) timer: Option<TimerId>,
    pub(crate) outbound: Outbound,
    pub(crate) inbound: Inbound,
    /// The number of subscriptions, the shared ones included.
    pub(crate) subscriptions: u32,
    /// The searches for retained messages that are still to be sent for new subscriptions.
    pub(crate) replays: Fifo<Replay>,
    pub(crate) lost: LazyBox<Lost>,
    /// The home of the Session, if there are other shards.
    pub(crate) shards: <Shards as Neighbour>::OfSession,
}

/// Values that few Sessions have: losses, and limits of their own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lost {
    pub(crate) dropped: Dropped,
    /// What the client was granted.
    pub(crate) granted: Granted,
    /// The last message that was lost while it was routed: the lower half of its [`Message::order`].
    pub(crate) last: u32,
    /// The last Packet Identifier that had been used when a message was dropped that the client may have received; 0 if there was
    /// none. With QoS 2 the client may remember the identifier of that message. So after a restart the next identifier comes behind
    /// this one.
    pub(crate) last_packet_id: u16,
}

impl Initial for Lost {
    const INITIAL: &Self = &Self { dropped: Dropped::NONE, granted: Granted::NOTHING, last: 0, last_packet_id: 0 };
}

/// A Will Message. It is stored when the client connects.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoredWill {
    /// The message, to which the Will holds a reference.
    pub(crate) message: Handle<Message>,
    /// The Will Delay Interval in seconds.
    pub(crate) delay_secs: u32,
    /// When the Will is published; [`Instant::NEVER`] while the client is connected.
    pub(crate) due: Instant,
    /// The Message Expiry Interval in seconds; `u64::MAX` if there is none. It begins when the Will is published.
    pub(crate) expiry_secs: u64,
}

impl Session {
    /// The value of unused memory: all bits are 0.
    pub const EMPTY: Self = Self {
        hash: 0,
        chain: None,
        client_id: Blob::EMPTY,
        principal: Principal::ANONYMOUS,
        is_durable: false,
        will_is_recorded: false,
        was_cut_off: false,
        bounded: Bounded::NO,
        wholly_granted: WhollyGranted::NO,
        connection: None,
        expiry_secs: 0,
        ends: Instant::from_millis(0),
        will: None,
        timer: None,
        outbound: Outbound::EMPTY,
        inbound: Inbound::EMPTY,
        subscriptions: 0,
        replays: Fifo::EMPTY,
        lost: LazyBox::EMPTY,
        shards: Empty::EMPTY,
    };

    /// Whether the client is connected, so that it can be sent a message now.
    pub(crate) fn is_here(&self) -> bool {
        match self.shards.elsewhere() {
            Some(elsewhere) => elsewhere.is_connected,
            None => self.connection.is_some(),
        }
    }

    /// Whether the Session has a record, for itself or for its Will alone.
    pub(crate) fn is_recorded(&self) -> bool {
        self.is_durable || self.will_is_recorded
    }

    /// Whether the home of the Session is this shard.
    pub(crate) fn is_local(&self) -> bool {
        self.shards.elsewhere().is_none()
    }

    pub(crate) fn info(&self) -> SessionInfo {
        SessionInfo {
            is_connected: self.connection.is_some(),
            subscriptions: self.subscriptions,
            queued: self.outbound.queued(),
            queued_bytes: self.outbound.queued_bytes(),
            in_flight: self.outbound.in_flight(),
            receipts: self.inbound.count(),
            dropped: self.lost.get().dropped,
        }
    }

    /// How many messages the client was sent, or is to be sent, and has not acknowledged.
    pub(crate) fn load(&self) -> u32 {
        if let Some(elsewhere) = self.shards.elsewhere() {
            return elsewhere.outstanding;
        }
        self.outbound.len() as u32
    }

    /// Whether the queue has room for one more message of so many bytes.
    #[inline]
    pub(crate) fn has_room(&self, limits: &Limits, cost: u32) -> bool {
        if let Some(elsewhere) = self.shards.elsewhere() {
            return elsewhere.has_room(limits, cost);
        }
        if self.bounded.is_so() {
            return self.has_granted_room(limits, cost);
        }
        self.outbound.queued() < limits.queued_messages as usize
            && self.outbound.queued_bytes().saturating_add(cost) <= limits.queued_bytes
    }

    #[cold]
    fn has_granted_room(&self, limits: &Limits, cost: u32) -> bool {
        let granted = &self.lost.get().granted;
        self.outbound.queued() < granted.queued_messages(limits) as usize
            && self.outbound.queued_bytes().saturating_add(cost) <= granted.queued_bytes(limits)
    }

    /// Fills an empty slot.
    pub(crate) fn begin(&mut self, hash: u32, client_id: Blob, principal: Principal) {
        self.hash = hash;
        self.client_id = client_id;
        self.principal = principal;
        self.ends = Instant::NEVER;
    }
}

impl Default for Session {
    fn default() -> Self {
        Self::EMPTY
    }
}

links!(Chained for Session: hash, chain);

/// A search for the retained messages that match a new subscription. They are sent one after another as the client has room. If another
/// shard asked for them, the replay belongs to no Session here.
#[derive(Debug)]
pub struct Replay {
    pub(crate) next: Option<Handle<Replay>>,
    pub(crate) subscription: Option<Handle<crate::engine::router::Subscription>>,
    /// How many messages had been routed at the SUBSCRIBE. Later messages of the topics are delivered through the queue.
    pub(crate) begun: u64,
    /// The Topic Filter.
    pub(crate) filter: Blob,
    /// The place of the search in the topic tree.
    pub(crate) cursor: crate::engine::router::RetainedCursor,
    /// Whether the message at this place is to be sent next. Otherwise the next message has to be looked for.
    pub(crate) has_next: bool,
    /// Whether the client has subscribed once more meanwhile: after its last message the replay begins anew.
    pub(crate) again: bool,
    /// What the replay has to do with other shards.
    pub(crate) shards: <Shards as Neighbour>::OfReplay,
}

impl Replay {
    /// The value of unused memory.
    pub const EMPTY: Self = Self {
        next: None,
        subscription: None,
        begun: 0,
        filter: Blob::EMPTY,
        cursor: crate::engine::router::RetainedCursor::START,
        has_next: false,
        again: false,
        shards: Empty::EMPTY,
    };
}

impl Default for Replay {
    fn default() -> Self {
        Self::EMPTY
    }
}

links!(Linked for Replay: next);
