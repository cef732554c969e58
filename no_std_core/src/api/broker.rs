//! The broker. Its functions stand in the files beside this one, sorted by who calls them.

use crate::config::Config;
use crate::engine::Engine;
use crate::engine::memory::Memory;
use crate::seam::authorize::Permissions;

/// A whole MQTT broker without sockets, files, clock or threads.
///
/// Functions whose names begin with `handle_` tell the broker what happened; those that begin with `poll_` ask what is to be done, until they
/// return nothing more. The others are commands and queries, which may be called at any time, but for those that stand in the order below: the
/// commands `restore`, `expect_retained`, `finish_restore` and `end_batch`, and the query `has_records`. A function with a feature in brackets
/// exists with that feature only.
///
/// At the start of a durable broker, once (`durable`):
///
/// | when | function | what it returns |
/// |---|---|---|
/// | before all other functions, for each stored record | `restore` | whether the record was understood |
/// | before, if bodies of messages may stay in the store (`paging`) | `expect_retained` | |
/// | then, even if there was no record | `finish_restore` | how much was restored |
///
/// In each turn of the event loop, in this order:
///
/// | when | function | what it returns |
/// |---|---|---|
/// | the loop did not run for a while (`alloc`) | `handle_pause` | |
/// | a Network Connection was opened | [`handle_connected`](Self::handle_connected) | its [`ConnectionId`](crate::ConnectionId), or no room |
/// | bytes have arrived | [`handle_bytes`](Self::handle_bytes) | how many bytes are consumed, and what to do [`Next`](crate::Next) |
/// | after [`Next::Ask`](crate::Next::Ask), with the decision | [`handle_verdict`](Self::handle_verdict) | |
/// | after [`Next::Wait`](crate::Next::Wait), for bytes that arrive meanwhile (`alloc`) | `handle_pings` | how many bytes were looked at |
/// | the client sends no more, but may read | [`handle_input_end`](Self::handle_input_end) | |
/// | the Network Connection is gone | [`handle_closed`](Self::handle_closed) | |
/// | other shards have sent forwards (`shards`) | `handle_forward`, `handle_forwards` | |
/// | the time of `poll_timeout` has come | [`handle_timeout`](Self::handle_timeout) | |
/// | there may be something to store (`durable`) | `has_records`, with `alloc` `poll_commit_urgency` | whether there is, and how urgent it is |
/// | until there is none (`durable`) | `poll_record` | the next record of this batch |
/// | after the last record of a batch (`durable`) | `end_batch` | the [`Batch`](crate::Batch) |
/// | a batch and all before it are safe (`durable`) | `handle_persisted` | |
/// | until there is none (`paging`) | `poll_fetch` | a body to be read from the store |
/// | the body was read, or can't be read (`paging`) | `handle_fetched`, `handle_fetch_failed` | |
/// | until there is none (`shards`) | `poll_forward`, `poll_forwards` | forwards to another shard |
/// | until there is none | [`poll_ready`](Self::poll_ready) | a connection with something to do |
/// | for each of these, while there is [`Then::More`](crate::Then::More) | [`poll_transmit`](Self::poll_transmit) | bytes to write, and what to do [`Then`](crate::Then) |
/// | the same without a copy of the payload (`alloc`) | `poll_transmit_apart`, then `handle_payload_written` | the same, and a payload |
/// | until there is none (`events`) | `poll_event` | an event that the embedder has asked for |
/// | before the loop sleeps | [`poll_timeout`](Self::poll_timeout) | how long the loop may sleep |
///
/// Commands:
///
/// | what for | function |
/// |---|---|
/// | messages of the embedder's own (see [`LocalClient`](crate::LocalClient) for more) | [`publish`](Self::publish), [`remove_retained`](Self::remove_retained) |
/// | permissions have changed | [`rules_changed`](Self::rules_changed), [`set_authorize`](Self::set_authorize) |
/// | clients | [`disconnect`](Self::disconnect), [`end_session`](Self::end_session) |
/// | the whole broker | [`reconfigure`](Self::reconfigure), [`shut_down`](Self::shut_down) |
/// | the store (`durable`) | `record_all`, `set_store_full`, with `alloc` `set_store_half_full`, `grant_store_credit`, `spend_store_credit`, `return_store_credit` |
///
/// Queries, which change nothing:
///
/// | about | function |
/// |---|---|
/// | the broker | [`counters`](Self::counters), [`limits`](Self::limits), [`is_serving`](Self::is_serving), with `alloc` `store_credit`, `bytes_to_record`, with `events` `lost_events` |
/// | a connection | [`describe`](Self::describe), [`client_id`](Self::client_id) |
/// | Sessions | [`session`](Self::session), [`visit_sessions`](Self::visit_sessions) |
/// | the contents of Sessions and topics, in portions | [`visit_subscriptions`](Self::visit_subscriptions), [`visit_deliveries`](Self::visit_deliveries), [`visit_retained`](Self::visit_retained) |
/// | the cost of calls (`alloc`) | `work`, `longest_chain` |
///
/// A fault of a peer is not an error of these calls: the broker closes its connection, and the embedder learns so from
/// [`Next::Close`](crate::Next::Close) and [`Then::Close`](crate::Then::Close).
pub struct Broker<'m> {
    pub(crate) engine: Engine<'m>,
}

impl<'m> Broker<'m> {
    /// A broker without connections and Sessions. `authorize` is a reference to a type that implements [`Authorize`](crate::Authorize), or an `Arc` of it.
    pub fn new(memory: Memory<'m>, config: Config<'m>, authorize: impl Into<Permissions<'m>>) -> Self {
        Self { engine: Engine::new(memory, config, authorize.into()) }
    }
}
