//! The broker. Its verbs stand in the files beside this one, by who calls them.

use crate::config::Config;
use crate::engine::Engine;
use crate::engine::memory::Memory;
use crate::seam::authorize::Permissions;

/// A whole MQTT broker without sockets, files, clock or threads.
///
/// - Something happened: [`handle_connected`](Self::handle_connected), [`handle_bytes`](Self::handle_bytes),
///   [`handle_input_end`](Self::handle_input_end), [`handle_closed`](Self::handle_closed),
///   [`handle_verdict`](Self::handle_verdict), [`handle_timeout`](Self::handle_timeout), with siblings `handle_forward`,
///   after a pause of the shell `handle_pause`
/// - Commands: [`publish`](Self::publish), [`shut_down`](Self::shut_down), [`set_store_full`](Self::set_store_full),
///   with the feature `alloc` `grant_store_credit`, `spend_store_credit`, `return_store_credit`, `store_credit`
/// - What survives a restart: [`poll_record`](Self::poll_record), [`has_records`](Self::has_records),
///   [`seal`](Self::seal), [`handle_persisted`](Self::handle_persisted); [`restore`](Self::restore), [`finish_restore`](Self::finish_restore);
///   with the feature `alloc` what is fetched from there: `poll_fetch`, `handle_fetched`, `handle_fetch_failed`
/// - What is to be done: [`poll_ready`](Self::poll_ready), [`poll_transmit`](Self::poll_transmit), with the feature `alloc`
///   `poll_transmit_apart` and `payload_written`; [`poll_timeout`](Self::poll_timeout), with siblings `poll_forward`
/// - Getters: [`counters`](Self::counters), [`describe`](Self::describe), [`client_id`](Self::client_id),
///   [`session`](Self::session), [`visit_sessions`](Self::visit_sessions), [`is_serving`](Self::is_serving)
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
