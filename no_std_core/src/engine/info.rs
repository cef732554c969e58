//! What is known of a Session and of a Network Connection.

use crate::codec::{ReasonCode, Version};

/// What is known of a Session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
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
#[non_exhaustive]
pub struct ConnectionInfo {
    /// The protocol version, once CONNECT was taken.
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
    /// What had no room for the client, where that is why the connection is closed. Known with the feature `alloc`
    /// only.
    pub shortage: Option<Shortage>,
    /// Its Session, while it is open.
    pub session: Option<SessionInfo>,
}

/// What had no room for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shortage {
    /// The table of Sessions, or the part of it for Sessions that are kept:
    /// [`Counters::sessions_limit`](crate::Counters::sessions_limit).
    Sessions,
    /// The store, see [`Broker::set_store_full`](crate::Broker::set_store_full).
    Store,
    /// The memory for what clients say.
    Memory,
}
