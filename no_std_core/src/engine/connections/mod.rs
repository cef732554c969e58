//! A Network Connection: its phase, what its CONNECT said, the replies it is owed, and what is being transmitted.
//!
//! ```text
//!                    CONNECT                  Accept
//!  AwaitingConnect ──────────▶ AwaitingVerdict ─────▶ Open ◀──────────┐ Accept
//!        │      └── (nobody asks) ───────│───────────▶ │ ──AUTH 0x19──▶ AwaitingVerdict (re-authentication)
//!        │                      Continue ▼ ▲ AUTH 0x18 │
//!        │                        AwaitingAuth         │
//!        └──────────── any fault, time-out, DISCONNECT, takeover, shutdown ──────▶ Closing ──▶ Dead
//! ```
//!
//! While a verdict is awaited nothing is taken from the client. A Closing connection may still transmit the replies
//! that are owed and a DISCONNECT. A Dead connection transmits nothing.

mod alias;
mod reply;

pub use alias::Alias;
pub(crate) use alias::Aliases;
pub use reply::Owed;
pub(crate) use reply::{CODES_IN_OWED, Count, Reply};

use crate::codec::{ReasonCode, ReasonText, Refusal, Version};
use crate::engine::messages::Delivery;
use crate::engine::neighbour_state::{Empty, Neighbour, Shards};
use crate::engine::sessions::{Session, StoredWill};
use crate::mem::{Blob, Fifo, Handle, Initial, LazyBox, List, OwnedOnly, TimerId, links};
use crate::seam::grant::{Expiry, Mounted};
use crate::time::Instant;

/// Names a Network Connection: a slot, and how often the slot was used, so that a stale id refers to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    pub(crate) slot: Handle<Connection>,
    pub(crate) generation: u32,
}

impl ConnectionId {
    /// The slot, counted from 0: dense, and used again when the connection is gone. An index for the shell's own table.
    pub fn index(self) -> usize {
        self.slot.index()
    }
}

/// How far a Network Connection is; see the [diagram](self).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    #[default]
    AwaitingConnect,
    AwaitingVerdict,
    AwaitingAuth,
    Open,
    Closing,
    Dead,
}

/// A Network Connection in the pool.
#[derive(Debug)]
pub struct Connection {
    pub(crate) next_ready: Option<Handle<Connection>>,
    pub(crate) next_waiting: Option<Handle<Connection>>,
    pub(crate) previous_waiting: Option<Handle<Connection>>,
    /// It is in the list of those that have something to do.
    pub(crate) is_ready: bool,
    /// It is in the list of those that wait for a batch.
    pub(crate) is_waiting: bool,
    /// The shell does not know the connection any more. Its slot is given back when it leaves the list of those that
    /// have something to do.
    pub(crate) is_gone: bool,
    /// Nothing more was taken from it because it is owed too many replies.
    pub(crate) is_choked: bool,
    /// Nothing is taken from it for now, for reasons of the broker's: that time does not count against the client.
    pub(crate) is_held: bool,
    pub(crate) generation: u32,
    pub(crate) phase: Phase,
    /// The protocol version of the client; MQTT 3.1.1 until CONNECT has named it.
    pub(crate) version: Version,
    /// It subscribes as a bridge does, see [`Connect::is_bridge`](crate::codec::Connect::is_bridge).
    pub(crate) is_bridge: bool,
    /// Whether its client lives in a part of the tree of topics.
    pub(crate) mounted: Mounted,
    pub(crate) session: Option<Handle<Session>>,
    /// The time without a packet after which it is closed, in ms: 1.5 times the Keep Alive `[MQTT-3.1.2-22]`; 0: never.
    pub(crate) idle_limit_ms: u32,
    /// When the client was last active: when it sent a packet, or enough of one that is not whole yet.
    pub(crate) last_active: Instant,
    /// How many bytes of the packet that is not whole yet have counted as activity.
    pub(crate) counted: OwnedOnly<u32>,
    pub(crate) timer: Option<TimerId>,
    /// The client's Receive Maximum, or our own bound if that is lower.
    pub(crate) window: u16,
    /// The client's Maximum Packet Size.
    pub(crate) maximum_packet_size: u32,
    /// Topic Aliases we may still set towards the client, and have set.
    pub(crate) aliases_out: u16,
    pub(crate) aliases_out_limit: u16,
    pub(crate) aliases: List<Alias>,
    /// Request Problem Information: whether Reason Strings may be sent elsewhere than in CONNACK and DISCONNECT
    /// `[MQTT-3.1.2-29]`.
    pub(crate) problem_information: bool,
    /// A re-authentication is going on.
    pub(crate) reauthenticating: bool,
    /// The re-authentication waits for the embedder's verdict: nothing is taken from the client meanwhile.
    pub(crate) awaits_verdict: bool,
    /// The Authentication Method of an enhanced authentication.
    pub(crate) method: Blob,
    /// Authentication Data for the CONNACK or AUTH that is owed.
    pub(crate) auth_data: Blob,
    /// What CONNECT said, until the connection is open. Then what CONNACK says, until CONNACK is transmitted. Last, what is
    /// known of a connection that ends.
    pub(crate) draft: LazyBox<Draft>,
    pub(crate) owed: Fifo<Owed>,
    /// How many PINGRESPs are owed. They don't stand in the queue of replies: they need not wait for the disk.
    pub(crate) pings: u16,
    /// What the connection waits for siblings with, if there are siblings.
    pub(crate) shards: <Shards as Neighbour>::OfConnection,
    /// Its message waits for room in the store.
    pub(crate) waits_for_credit: OwnedOnly<bool>,
    /// Whether and why the broker closes it. An open connection with a reason is to be closed when it is old enough.
    pub(crate) has_reason: bool,
    pub(crate) reason: ReasonText,
    pub(crate) reason_code: ReasonCode,
    /// A DISCONNECT with the reason is still to be transmitted; MQTT 5.0 only.
    pub(crate) goodbye: bool,
    /// What is half transmitted.
    pub(crate) sending: Sending,
}

/// What is needed to open a connection and to say so; and what few connections have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draft {
    pub(crate) client_id: Blob,
    pub(crate) clean_start: bool,
    pub(crate) keep_alive: u16,
    pub(crate) expiry_secs: u32,
    pub(crate) will: Option<StoredWill>,
    pub(crate) wants_response_information: bool,
    /// The number in the Client Identifier that we gave, see [`assigned_client_id`].
    pub(crate) assigned_number: Option<u64>,
    pub(crate) server_keep_alive: Option<u16>,
    pub(crate) granted_expiry_secs: Option<u32>,
    /// When the client's proof of who it is expires.
    pub(crate) expires: Expiry,
    /// The length of the packet for which the connection is closed as too large; 0: none.
    pub(crate) too_large: OwnedOnly<u32>,
    /// How many of the PINGREQs that come next were answered already, while nothing was taken.
    pub(crate) answered: OwnedOnly<u16>,
    /// CONNACK with success was owed before the connection began to close.
    pub(crate) was_open: OwnedOnly<bool>,
    /// It is the client that closes it, by DISCONNECT.
    pub(crate) is_by_client: OwnedOnly<bool>,
}

impl Initial for Draft {
    const INITIAL: &Self = &Self {
        client_id: Blob::EMPTY,
        clean_start: false,
        keep_alive: 0,
        expiry_secs: 0,
        will: None,
        wants_response_information: false,
        assigned_number: None,
        server_keep_alive: None,
        granted_expiry_secs: None,
        expires: Expiry::NEVER,
        too_large: OwnedOnly::new(0),
        answered: OwnedOnly::new(0),
        was_open: OwnedOnly::new(false),
        is_by_client: OwnedOnly::new(false),
    };
}

/// Bytes of a Client Identifier that the Server assigns.
pub(crate) const ASSIGNED_LEN: usize = 26;

/// The Client Identifier that the Server assigns with this number. CONNACK says it even if the Session has ended since.
pub(crate) fn assigned_client_id(mut number: u64) -> [u8; ASSIGNED_LEN] {
    let mut id = *b"goldcrest-0000000000000000";
    for digit in id.iter_mut().skip(10) {
        *digit = b"0123456789abcdef".get((number & 15) as usize).copied().unwrap_or(b'0');
        number >>= 4;
    }
    id
}

/// A packet that did not fit: what it is, and how much of it is out. It is encoded again from the same values and cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sending {
    pub(crate) what: Outgoing,
    /// Bytes that are out already.
    pub(crate) written: u32,
    /// Bytes in all; 0: nothing is being sent.
    pub(crate) len: u32,
}

/// One outgoing packet, decided and not to be changed any more.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum Outgoing {
    /// The first reply that is owed.
    Owed,
    Publish(Publishing),
    /// PUBREL, sent again after a reconnection.
    PubRel(u16),
    PingResp,
    Disconnect,
}

/// A PUBLISH on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Publishing {
    pub(crate) delivery: Handle<Delivery>,
    pub(crate) dup: bool,
    /// Seconds, as of when it was begun.
    pub(crate) message_expiry_interval: Option<u32>,
    /// 0: without.
    pub(crate) topic_alias: u16,
    /// The alias stands instead of the topic.
    pub(crate) alias_known: bool,
}

impl Sending {
    pub(crate) const NONE: Self = Self { what: Outgoing::Owed, written: 0, len: 0 };

    /// Takes the packet that was begun; none is begun afterwards.
    pub(crate) fn take(&mut self) -> Option<Self> {
        let begun = self.begun()?;
        self.len = 0;
        Some(begun)
    }

    /// Gives itself if a packet was begun.
    pub(crate) fn begun(self) -> Option<Self> {
        (self.len > 0).then_some(self)
    }
}

impl Connection {
    /// Fills an empty entry for a connection that was just opened.
    pub(crate) fn begin(&mut self, generation: u32, now: Instant) {
        self.generation = generation;
        self.version = Version::V3_1_1;
        self.maximum_packet_size = u32::MAX;
        self.problem_information = true;
        self.last_active = now;
    }

    /// Why the broker closes it, once it does.
    pub(crate) fn closing(&self) -> Option<Refusal> {
        (self.has_reason && self.phase != Phase::Open).then_some(Refusal { code: self.reason_code, why: self.reason })
    }

    /// What fills unused memory: all bits are 0.
    pub const EMPTY: Self = Self {
        next_ready: None,
        next_waiting: None,
        previous_waiting: None,
        is_ready: false,
        is_waiting: false,
        is_gone: false,
        is_choked: false,
        is_held: false,
        generation: 0,
        phase: Phase::AwaitingConnect,
        version: Version::V3_1,
        is_bridge: false,
        mounted: Mounted::NOWHERE,
        session: None,
        idle_limit_ms: 0,
        last_active: Instant::from_millis(0),
        counted: OwnedOnly::new(0),
        timer: None,
        window: 0,
        maximum_packet_size: 0,
        aliases_out: 0,
        aliases_out_limit: 0,
        aliases: List::EMPTY,
        problem_information: false,
        reauthenticating: false,
        awaits_verdict: false,
        method: Blob::EMPTY,
        auth_data: Blob::EMPTY,
        draft: LazyBox::EMPTY,
        owed: Fifo::EMPTY,
        pings: 0,
        shards: Empty::EMPTY,
        waits_for_credit: OwnedOnly::new(false),
        has_reason: false,
        reason: ReasonText::NONE,
        reason_code: ReasonCode::Success,
        goodbye: false,
        sending: Sending::NONE,
    };
}

impl Default for Connection {
    fn default() -> Self {
        Self::EMPTY
    }
}

links!(Linked for Connection: next_ready);

/// Names the list of those that wait for a batch.
#[derive(Debug)]
pub(crate) struct Waiting;

links!(Linked<Waiting> for Connection: next_waiting);
links!(DoublyLinked<Waiting> for Connection: previous_waiting);
