//! The broker. Its verbs stand in the files beside this one, by who calls them.

use crate::config::Config;
use crate::engine::Engine;
use crate::engine::memory::Memory;
use crate::seam::authorize::Permissions;

/// A whole MQTT broker without sockets, files, clock or threads.
///
/// What happened is told by verbs that begin with `handle_`; what is to be done is asked for by those that begin with `poll_`, until they
/// have nothing more. The others are commands and queries, which may come at any time, but for those that stand in the order below: the commands
/// `restore`, `expect_retained`, `finish_restore` and `end_batch`, and the query `has_records`. A verb with a feature in brackets is there with
/// that feature only.
///
/// At the start of a broker that is durable, once:
///
/// | when | verb | what it gives |
/// |---|---|---|
/// | before all other verbs, for each stored record | [`restore`](Self::restore) | whether it was understood |
/// | before, if bodies of messages may stay in the store (`paging`) | `expect_retained` | |
/// | then, also if there was no record | [`finish_restore`](Self::finish_restore) | what came back |
///
/// In each turn of the event loop, in this order:
///
/// | when | verb | what it gives |
/// |---|---|---|
/// | the loop did not run for a while (`alloc`) | `handle_pause` | |
/// | a Network Connection was opened | [`handle_connected`](Self::handle_connected) | its [`ConnectionId`](crate::ConnectionId), or no room |
/// | bytes have arrived | [`handle_bytes`](Self::handle_bytes) | how many are done with, and what is [`Next`](crate::Next) |
/// | after [`Next::Ask`](crate::Next::Ask), when it is decided | [`handle_verdict`](Self::handle_verdict) | |
/// | after [`Next::Wait`](crate::Next::Wait), for bytes that arrive meanwhile (`alloc`) | `handle_pings` | how many were looked at |
/// | the client sends no more, but may read | [`handle_input_end`](Self::handle_input_end) | |
/// | the Network Connection is gone | [`handle_closed`](Self::handle_closed) | |
/// | siblings have sent something (`shards`) | `handle_forward`, `handle_forwards` | |
/// | the time of `poll_timeout` has come | [`handle_timeout`](Self::handle_timeout) | |
/// | there may be something to store | [`has_records`](Self::has_records), with `alloc` `poll_commit_urgency` | whether there is, and how much it hurries |
/// | until there is none | [`poll_record`](Self::poll_record) | the next record of this batch |
/// | after the last record of a batch | [`end_batch`](Self::end_batch) | the [`Batch`](crate::Batch) |
/// | a batch, and all before it, can't be lost any more | [`handle_persisted`](Self::handle_persisted) | |
/// | until there is none (`paging`) | `poll_fetch` | a body that is wanted from the store |
/// | it was read, or can't be (`paging`) | `handle_fetched`, `handle_fetch_failed` | |
/// | until there is none (`shards`) | `poll_forward`, `poll_forwards` | what a sibling is to be sent |
/// | until there is none | [`poll_ready`](Self::poll_ready) | a connection with something to do |
/// | for each of these, while there is [`Then::More`](crate::Then::More) | [`poll_transmit`](Self::poll_transmit) | bytes to write, and what is [`Then`](crate::Then) |
/// | the same without a copy of the payload (`alloc`) | `poll_transmit_apart`, then `handle_payload_written` | the same, and a payload |
/// | until there is none (`events`) | `poll_event` | what happened, for who wants to know |
/// | before the loop sleeps | [`poll_timeout`](Self::poll_timeout) | how long it may sleep |
///
/// Commands:
///
/// | what for | verb |
/// |---|---|
/// | messages of the embedder's own; for more, a [`LocalClient`](crate::LocalClient) | [`publish`](Self::publish), [`remove_retained`](Self::remove_retained) |
/// | permissions have changed | [`rules_changed`](Self::rules_changed), [`set_authorize`](Self::set_authorize) |
/// | clients | [`disconnect`](Self::disconnect), [`end_session`](Self::end_session) |
/// | the whole broker | [`reconfigure`](Self::reconfigure), [`shut_down`](Self::shut_down) |
/// | the store | [`record_all`](Self::record_all), [`set_store_full`](Self::set_store_full), with `alloc` `set_store_half_full`, `grant_store_credit`, `spend_store_credit`, `return_store_credit` |
///
/// Queries, which change nothing:
///
/// | about | verb |
/// |---|---|
/// | the broker | [`counters`](Self::counters), [`limits`](Self::limits), [`is_serving`](Self::is_serving), with `alloc` `store_credit`, `bytes_to_record`, with `events` `lost_events` |
/// | a connection | [`describe`](Self::describe), [`client_id`](Self::client_id) |
/// | Sessions | [`session`](Self::session), [`visit_sessions`](Self::visit_sessions) |
/// | what Sessions and topics have, in portions | [`visit_subscriptions`](Self::visit_subscriptions), [`visit_deliveries`](Self::visit_deliveries), [`visit_retained`](Self::visit_retained) |
/// | what it costs (`alloc`) | `work`, `longest_chain` |
///
/// A fault of a peer is not an error of these calls: its connection moves to closing, which its shell learns from
/// [`Next::Close`](crate::Next::Close) and [`Then::Close`](crate::Then::Close).
pub struct Broker<'m> {
    pub(crate) engine: Engine<'m>,
}

impl<'m> Broker<'m> {
    /// A broker without connections and Sessions. `authorize` is a reference to what implements [`Authorize`](crate::Authorize), or an `Arc` of that.
    pub fn new(memory: Memory<'m>, config: Config<'m>, authorize: impl Into<Permissions<'m>>) -> Self {
        Self { engine: Engine::new(memory, config, authorize.into()) }
    }
}
