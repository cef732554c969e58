//! Something happened: connections, bytes, time.

use super::broker::Broker;
use crate::engine::connections::ConnectionId;
use crate::engine::outcomes::Full;
use crate::engine::outcomes::Next;
use crate::engine::outcomes::Received;
use crate::seam::authorize::Verdict;
use crate::time::Instant;

impl Broker<'_> {
    /// A Network Connection was opened. `Err` if there is no room: close it.
    pub fn handle_connected(&mut self, now: Instant) -> Result<ConnectionId, Full> {
        self.engine.open_connection(now)
    }

    /// Bytes arrived. All whole packets in them are taken, unless [`Next`] says otherwise.
    ///
    /// A connection that is gone takes everything and is [`Next::Close`].
    pub fn handle_bytes<'b>(&mut self, now: Instant, id: ConnectionId, bytes: &'b [u8]) -> Received<'b> {
        self.engine.see(now);
        match self.engine.find(id) {
            Some(connection) => self.engine.receive(now, connection, bytes),
            None => Received { consumed: bytes.len(), next: Next::Close },
        }
    }

    /// The client sends no more, but may still read: it closed its side, and all that it sent was taken. What it is owed is
    /// still transmitted, [`Then::Close`](crate::Then::Close) follows when that is out. New deliveries are not sent; without a DISCONNECT before
    /// it this is an abnormal end, and a Will is published.
    pub fn handle_input_end(&mut self, now: Instant, id: ConnectionId) {
        if let Some(connection) = self.engine.find(id) {
            self.engine.end_input(now, connection);
        }
    }

    /// The Network Connection is gone, whoever closed it. The id refers to nothing from now on.
    pub fn handle_closed(&mut self, now: Instant, id: ConnectionId) {
        if let Some(connection) = self.engine.find(id) {
            self.engine.end_connection(now, connection);
        }
    }

    /// The answer to [`Next::Ask`]. Without an open question it is ignored.
    pub fn handle_verdict(&mut self, now: Instant, id: ConnectionId, verdict: Verdict<'_>) {
        if let Some(connection) = self.engine.find(id) {
            self.engine.on_verdict(now, connection, verdict);
        }
    }

    /// The moment of [`Broker::poll_timeout`] has come; an early call does nothing. Where very much is due at once, a part is still
    /// due after it.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.engine.see(now);
        self.engine.on_timeout(now);
    }
}
