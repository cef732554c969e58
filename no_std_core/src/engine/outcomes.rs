//! The types that calls of a broker return, and the arguments of some of them.

use crate::codec::QoS;
use crate::seam::authorize::Ask;
use crate::topic::TopicName;

/// The broker has no room for one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl core::fmt::Display for Full {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the broker's memory for it is full")
    }
}

impl core::error::Error for Full {}

/// What [`Broker::handle_bytes`](crate::Broker::handle_bytes) did with the bytes.
#[derive(Clone, Copy, Debug)]
pub struct Received<'b> {
    /// How many bytes the broker has handled. The embedder keeps the rest, and puts the bytes that arrive next behind it.
    pub consumed: usize,
    /// What the embedder has to do now.
    pub next: Next<'b>,
}

/// What an embedder has to do after [`Broker::handle_bytes`](crate::Broker::handle_bytes).
#[derive(Clone, Copy, Debug)]
pub enum Next<'b> {
    /// Call again when more bytes have arrived.
    Read,
    /// As [`Next::Read`], but the rest may have more whole packets: call again with the rest, after other connections had their turn. The
    /// handled packets have cost as much as [`Config::work_share`](crate::Config::work_share). Only with the feature `alloc`.
    Yield,
    /// Don't read: call again with the rest once [`Broker::poll_ready`](crate::Broker::poll_ready) has named the connection.
    Wait,
    /// Decide, call [`Broker::handle_verdict`](crate::Broker::handle_verdict), and go on as after [`Next::Wait`].
    Ask(Ask<'b>),
    /// Transmit the remaining packets, close the Network Connection, and call [`Broker::handle_closed`](crate::Broker::handle_closed). The
    /// broker handles no more packets of the client.
    Close,
}

/// What [`Broker::poll_transmit`](crate::Broker::poll_transmit) did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// How many bytes of the buffer are to be written to the client.
    pub written: usize,
    /// What the embedder has to do after that.
    pub then: Then,
}

/// What an embedder has to do after [`Broker::poll_transmit`](crate::Broker::poll_transmit).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Call again: the buffer was too small for all packets. If nothing was written, the broker is still looking for retained messages:
    /// call again after other connections had their turn.
    More,
    /// There is nothing more to transmit now; [`Broker::poll_ready`](crate::Broker::poll_ready) will name the connection.
    Idle,
    /// All packets are transmitted: close the Network Connection and call [`Broker::handle_closed`](crate::Broker::handle_closed).
    Close,
}

/// A message of the embedder's own.
#[derive(Clone, Copy, Debug)]
pub struct LocalPublish<'a> {
    /// The topic; `$SYS/` is allowed here. A message retained below `$SYS/` does not survive a restart, because it describes this run.
    pub topic: TopicName<'a>,
    /// The payload.
    pub payload: &'a [u8],
    /// The QoS with which the message is routed.
    pub qos: QoS,
    /// Whether the message becomes the retained message of its topic.
    pub retain: bool,
    /// The Message Expiry Interval in seconds.
    pub expiry_secs: Option<u32>,
}
