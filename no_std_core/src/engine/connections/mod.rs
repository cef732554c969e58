//! A Network Connection: its phase, the values of its CONNECT, the replies that it is owed, and the packet that is being transmitted.
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
//! While the broker awaits a verdict, it reads no packets of the client. On a Closing connection it may still transmit
//! the owed replies and a DISCONNECT. On a Dead connection it transmits nothing.

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

/// Names a Network Connection: a slot, and how often the slot was used, so that an old id names no later connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    pub(crate) slot: Handle<Connection>,
    pub(crate) generation: u32,
}

impl ConnectionId {
    /// The slot, counted from 0. The slots in use lie close together, and a slot is used again when its connection is gone,
    /// so the embedder can use the number as an index into its own table.
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
    /// Whether the connection is in the list of connections that have work to do.
    pub(crate) is_ready: bool,
    /// Whether the connection is in the list of connections that wait for a batch.
    pub(crate) is_waiting: bool,
    /// Whether the embedder has forgotten the connection. Its slot is freed when the connection leaves the list of
    /// connections that have work to do.
    pub(crate) is_gone: bool,
    /// Whether the broker stopped reading packets because it owes the client too many replies.
    pub(crate) is_choked: bool,
    /// Whether the broker does not read packets for now, for reasons of its own: that time does not count against the
    /// client.
    pub(crate) is_held: bool,
    pub(crate) generation: u32,
    pub(crate) phase: Phase,
    /// The protocol version of the client; MQTT 3.1.1 until CONNECT has named it.
    pub(crate) version: Version,
    /// Whether the client subscribes as a bridge does, see [`Connect::is_bridge`](crate::codec::Connect::is_bridge).
    pub(crate) is_bridge: bool,
    /// Whether the client has a mount, and sees only a part of the topic tree.
    pub(crate) mounted: Mounted,
    pub(crate) session: Option<Handle<Session>>,
    /// The time without a packet after which the connection is closed, in ms: 1.5 times the Keep Alive `[MQTT-3.1.2-22]`;
    /// 0: never.
    pub(crate) idle_limit_ms: u32,
    /// When the client was last active: when it sent a packet, or enough bytes of an unfinished packet.
    pub(crate) last_active: Instant,
    /// How many bytes of the unfinished packet have counted as activity.
    pub(crate) counted: OwnedOnly<u32>,
    pub(crate) timer: Option<TimerId>,
    /// The client's Receive Maximum, or the broker's own bound if that is lower.
    pub(crate) window: u16,
    /// The client's Maximum Packet Size.
    pub(crate) maximum_packet_size: u32,
    /// How many Topic Aliases the broker has set on this connection; `aliases_out_limit` is how many it may set.
    pub(crate) aliases_out: u16,
    pub(crate) aliases_out_limit: u16,
    pub(crate) aliases: List<Alias>,
    /// Request Problem Information: whether Reason Strings may be sent elsewhere than in CONNACK and DISCONNECT
    /// `[MQTT-3.1.2-29]`.
    pub(crate) problem_information: bool,
    /// Whether a re-authentication is going on.
    pub(crate) reauthenticating: bool,
    /// Whether the re-authentication waits for the embedder's verdict. Meanwhile the broker reads nothing from the client.
    pub(crate) awaits_verdict: bool,
    /// The Authentication Method of an enhanced authentication.
    pub(crate) method: Blob,
    /// Authentication Data for a CONNACK or AUTH that is still to be sent.
    pub(crate) auth_data: Blob,
    /// Until the connection is open, the values of CONNECT. Then, until CONNACK is transmitted, the values of CONNACK.
    /// Last, what is known of a connection that ends.
    pub(crate) draft: LazyBox<Draft>,
    pub(crate) owed: Fifo<Owed>,
    /// How many PINGRESPs the client is owed. They are not in the queue of replies, because they need not wait for the
    /// disk.
    pub(crate) pings: u16,
    /// For which answers of other shards the connection waits, if there are other shards.
    pub(crate) shards: <Shards as Neighbour>::OfConnection,
    /// Whether the next message of the client waits for room in the store.
    pub(crate) waits_for_credit: OwnedOnly<bool>,
    /// Whether the broker is to close the connection. An open connection with this mark is closed once it is old enough.
    /// The next two fields are the reason.
    pub(crate) has_reason: bool,
    pub(crate) reason: ReasonText,
    pub(crate) reason_code: ReasonCode,
    /// Whether a DISCONNECT with the reason is still to be transmitted; in MQTT 5.0 only.
    pub(crate) goodbye: bool,
    /// The packet of which a part is transmitted.
    pub(crate) sending: Sending,
}

/// Values that are needed to open a connection and for its CONNACK, and values that few connections have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draft {
    pub(crate) client_id: Blob,
    pub(crate) clean_start: bool,
    pub(crate) keep_alive: u16,
    pub(crate) expiry_secs: u32,
    pub(crate) will: Option<StoredWill>,
    pub(crate) wants_response_information: bool,
    /// The number in the Client Identifier that the broker assigned, see [`assigned_client_id`].
    pub(crate) assigned_number: Option<u64>,
    pub(crate) server_keep_alive: Option<u16>,
    pub(crate) granted_expiry_secs: Option<u32>,
    /// When the permission of the client to be connected expires.
    pub(crate) expires: Expiry,
    /// The length of the packet for which the connection is closed as too large; 0: none.
    pub(crate) too_large: OwnedOnly<u32>,
    /// How many of the next PINGREQs were answered already, while the broker did not read packets.
    pub(crate) answered: OwnedOnly<u16>,
    /// Whether a CONNACK with success was owed before the connection began to close.
    pub(crate) was_open: OwnedOnly<bool>,
    /// Whether the client closes the connection, by DISCONNECT.
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

/// The length of a Client Identifier that the Server assigns, in bytes.
pub(crate) const ASSIGNED_LEN: usize = 26;

/// The Client Identifier that the Server assigns with this number. CONNACK names it even if the Session has ended since.
pub(crate) fn assigned_client_id(mut number: u64) -> [u8; ASSIGNED_LEN] {
    let mut id = *b"goldcrest-0000000000000000";
    for digit in id.iter_mut().skip(10) {
        *digit = b"0123456789abcdef".get((number & 15) as usize).copied().unwrap_or(b'0');
        number >>= 4;
    }
    id
}

/// A packet of which a part is transmitted: its description, and the length of that part. For the rest the packet is
/// encoded again from the same values, and cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sending {
    pub(crate) what: Outgoing,
    /// How many bytes of the packet are transmitted.
    pub(crate) written: u32,
    /// The length of the packet in bytes; 0: no packet is being transmitted.
    pub(crate) len: u32,
}

/// A packet that the broker has decided to send and will not change any more.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum Outgoing {
    /// The first reply in the queue of replies.
    Owed,
    Publish(Publishing),
    /// PUBREL, sent again after a reconnection.
    PubRel(u16),
    PingResp,
    Disconnect,
}

/// A PUBLISH that is being transmitted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Publishing {
    pub(crate) delivery: Handle<Delivery>,
    pub(crate) dup: bool,
    /// The Message Expiry Interval in seconds, as of when the transmission began.
    pub(crate) message_expiry_interval: Option<u32>,
    /// The Topic Alias; 0: the PUBLISH has none.
    pub(crate) topic_alias: u16,
    /// Whether the alias stands instead of the topic.
    pub(crate) alias_known: bool,
}

impl Sending {
    pub(crate) const NONE: Self = Self { what: Outgoing::Owed, written: 0, len: 0 };

    /// Removes the packet that is partly transmitted, and returns it.
    pub(crate) fn take(&mut self) -> Option<Self> {
        let begun = self.begun()?;
        self.len = 0;
        Some(begun)
    }

    /// This packet, if a part of it is transmitted.
    pub(crate) fn begun(self) -> Option<Self> {
        (self.len > 0).then_some(self)
    }
}

impl Connection {
    /// Fills an empty slot for a connection that was just opened.
    pub(crate) fn begin(&mut self, generation: u32, now: Instant) {
        self.generation = generation;
        self.version = Version::V3_1_1;
        self.maximum_packet_size = u32::MAX;
        self.problem_information = true;
        self.last_active = now;
    }

    /// Why the broker closes the connection; `None` while it does not.
    pub(crate) fn closing(&self) -> Option<Refusal> {
        (self.has_reason && self.phase != Phase::Open).then_some(Refusal { code: self.reason_code, why: self.reason })
    }

    /// The value of unused memory: all bits are 0.
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

/// Names the list of connections that wait for a batch.
#[derive(Debug)]
pub(crate) struct Waiting;

links!(Linked<Waiting> for Connection: next_waiting);
links!(DoublyLinked<Waiting> for Connection: previous_waiting);
