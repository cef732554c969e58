//! What the calls of a broker give back, and what they take.

use crate::codec::QoS;
use crate::seam::authorize::Ask;
use crate::topic::TopicName;

/// There is no room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl core::fmt::Display for Full {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the broker's memory for it is full")
    }
}

impl core::error::Error for Full {}

/// What [`Broker::handle_bytes`](crate::Broker::handle_bytes) made of the bytes.
#[derive(Clone, Copy, Debug)]
pub struct Received<'b> {
    /// Bytes that are done with. The shell keeps the rest and puts what arrives next behind it.
    pub consumed: usize,
    /// What the shell does now.
    pub next: Next<'b>,
}

/// What a shell does after [`Broker::handle_bytes`](crate::Broker::handle_bytes).
#[derive(Clone, Copy, Debug)]
pub enum Next<'b> {
    /// Call again when more bytes have arrived.
    Read,
    /// As [`Next::Read`], but there may be more whole packets in the rest: call again with that, after other connections had their
    /// turn. What was taken has cost as much as [`Config::work_share`](crate::Config::work_share). Only with the feature `alloc`.
    Yield,
    /// Don't read: call again with the rest once [`Broker::poll_ready`](crate::Broker::poll_ready) has named the connection.
    Wait,
    /// Decide, call [`Broker::handle_verdict`](crate::Broker::handle_verdict), and go on as after [`Next::Wait`].
    Ask(Ask<'b>),
    /// Transmit what is left, close the Network Connection, and call [`Broker::handle_closed`](crate::Broker::handle_closed). Nothing more is taken
    /// from the client.
    Close,
}

/// What [`Broker::poll_transmit`](crate::Broker::poll_transmit) did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Bytes of the buffer that are to be written.
    pub written: usize,
    /// What the shell does then.
    pub then: Then,
}

/// What a shell does after [`Broker::poll_transmit`](crate::Broker::poll_transmit).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Call again: the buffer was too small for all there is. Or, if nothing was written, retained messages are still looked for:
    /// then call again after other connections had their turn.
    More,
    /// Nothing more now; [`Broker::poll_ready`](crate::Broker::poll_ready) will name the connection.
    Idle,
    /// Everything is out: close the Network Connection and call [`Broker::handle_closed`](crate::Broker::handle_closed).
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
