//! Bodies of messages that are on disk alone.
//!
//! A body may be evicted once its record is safe and only durable deliveries hold its message. The bodies that could be evicted may take
//! `Config::body_budget` bytes; beyond that the body that has been in memory for longest is evicted. The message stays, and its slot tells
//! under which key the store has the body. When the turn of the message comes, the broker requests the body and some behind it
//! (`poll_fetch`); the client waits as it does for a batch, and nothing overtakes the message. Bodies that may be needed at any moment are
//! pinned in memory: those of retained messages, Wills, messages on their way to another shard, messages of shared subscriptions, and
//! topics with the overflow policy `KeepLatest`. Restoring leaves bodies in the store too.

pub(crate) mod bodies;
pub(crate) mod engine;
pub(crate) mod eviction;
pub(crate) mod fetch;
pub(crate) mod requests;

pub use fetch::Fetch;
