//! Functions that tell the broker what happened: connections, bytes, time.

use super::broker::Broker;
use crate::engine::connections::ConnectionId;
use crate::engine::outcomes::Full;
use crate::engine::outcomes::Next;
use crate::engine::outcomes::Received;
use crate::seam::authorize::Verdict;
use crate::time::Instant;

impl Broker<'_> {
    /// A Network Connection was opened. If this fails there is no room: close the connection.
    pub fn handle_connected(&mut self, now: Instant) -> Result<ConnectionId, Full> {
        self.engine.open_connection(now)
    }

    /// Bytes have arrived. The broker handles all whole packets in them, unless [`Next`] says otherwise.
    ///
    /// For a connection that is gone, all bytes are consumed, and the result is [`Next::Close`].
    pub fn handle_bytes<'b>(&mut self, now: Instant, id: ConnectionId, bytes: &'b [u8]) -> Received<'b> {
        self.engine.see(now);
        match self.engine.find(id) {
            Some(connection) => self.engine.receive(now, connection, bytes),
            None => Received { consumed: bytes.len(), next: Next::Close },
        }
    }

    /// The client has closed its sending side, but may still read, and the broker has consumed all its bytes. Replies that the client is
    /// owed are still transmitted; after the last one comes [`Then::Close`](crate::Then::Close). New deliveries are not sent. Without a
    /// DISCONNECT before, this is an abnormal end, and a Will is published.
    pub fn handle_input_end(&mut self, now: Instant, id: ConnectionId) {
        if let Some(connection) = self.engine.find(id) {
            self.engine.end_input(now, connection);
        }
    }

    /// The Network Connection is gone, whoever closed it. The id names no connection from now on.
    pub fn handle_closed(&mut self, now: Instant, id: ConnectionId) {
        if let Some(connection) = self.engine.find(id) {
            self.engine.end_connection(now, connection);
        }
    }

    /// The answer to [`Next::Ask`]. Ignored if no question is open.
    pub fn handle_verdict(&mut self, now: Instant, id: ConnectionId, verdict: Verdict<'_>) {
        if let Some(connection) = self.engine.find(id) {
            self.engine.on_verdict(now, connection, verdict);
        }
    }

    /// The time of [`Broker::poll_timeout`] has come; an early call does nothing. If very much is due at once, a part stays due after the
    /// call.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.engine.see(now);
        self.engine.on_timeout(now);
    }
}
