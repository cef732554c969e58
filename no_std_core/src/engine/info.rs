//! What is known of a Session and of a Network Connection.

use crate::codec::{ReasonCode, Version};

/// What is known of a Session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// Whether a client is connected to the Session.
    pub is_connected: bool,
    /// The number of subscriptions, the shared ones included.
    pub subscriptions: u32,
    /// The number of messages that wait for the client.
    pub queued: usize,
    /// The topics, Properties and payloads of the waiting messages, in bytes.
    pub queued_bytes: u32,
    /// The number of messages that the client has not acknowledged.
    pub in_flight: usize,
    /// The number of QoS 2 messages of the client that wait for their PUBREL.
    pub receipts: u16,
    /// The messages that were lost to the Session, by reason.
    pub dropped: crate::seam::counters::Dropped,
}

/// What is known of a Network Connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// The protocol version; MQTT 3.1.1 until CONNECT has named it.
    pub version: Version,
    /// Whether CONNECT was accepted and the connection is not closing.
    pub is_open: bool,
    /// Why the connection is being closed, with a sentence for people; `None` while it is not.
    pub closing: Option<(ReasonCode, &'static str)>,
    /// Whether the connection is open, or was open when it began to close. For a closing connection, this field and those below are known
    /// only with the feature `alloc`.
    pub was_open: bool,
    /// Whether the client closes the connection by a DISCONNECT, whose Reason Code `closing` has.
    pub is_by_client: bool,
    /// The length in bytes of the packet for which the connection is closed as too large.
    pub too_large: Option<u32>,
    /// Which memory had no room for the client, if the connection is closed for that reason. Known only with the feature `alloc`.
    pub shortage: Option<Shortage>,
    /// The Session of the client, while the connection is open.
    pub session: Option<SessionInfo>,
}

/// Which memory had no room for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shortage {
    /// The table of Sessions, or the part of it for Sessions that are kept:
    /// [`Counters::sessions_limit`](crate::Counters::sessions_limit).
    Sessions,
    /// The store, see `Broker::set_store_full`.
    Store,
    /// The memory for the values that clients send in CONNECT.
    Memory,
}
