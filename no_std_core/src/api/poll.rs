//! Functions that ask the broker what is to be done: which connection has something to transmit, what, and when a timer is due.

use super::broker::Broker;
use crate::engine::connections::ConnectionId;
use crate::engine::neighbours::bodies::Paged;
use crate::engine::outcomes::Then;
use crate::engine::outcomes::Transmit;
use crate::engine::transmit::Payloads;
use crate::time::Instant;

impl Broker<'_> {
    /// A connection that has something to transmit, that accepts bytes again after [`Next::Wait`](crate::Next::Wait), or that must be
    /// closed. Call [`Broker::poll_transmit`] for it and, after [`Next::Wait`](crate::Next::Wait), [`Broker::handle_bytes`].
    pub fn poll_ready(&mut self) -> Option<ConnectionId> {
        self.engine.wake_for_bodies();
        loop {
            let slot = self.engine.ready.pop_front(&mut self.engine.connections)?;
            let connection = &mut self.engine.connections[slot];
            connection.is_ready = false;
            if !connection.is_gone {
                return Some(ConnectionId { slot, generation: connection.generation });
            }
            self.engine.connections.remove(slot);
        }
    }

    /// Puts bytes for the client into `out`.
    pub fn poll_transmit(&mut self, now: Instant, id: ConnectionId, out: &mut [u8]) -> Transmit {
        match self.engine.find(id) {
            Some(connection) => self.engine.transmit(now, connection, out, Payloads::InBuffer),
            None => Transmit { written: 0, then: Then::Close },
        }
    }

    /// As [`Broker::poll_transmit`], for an embedder that writes from two places at once: a long payload is not copied into `out` but
    /// returned as it is stored, to be written behind the bytes in `out`. [`Broker::handle_payload_written`] must be called before any
    /// other function; the next call returns the bytes that were not written. Until then the payload belongs to the broker, and counts
    /// as queued; with [`Config::body_budget`](crate::Config::body_budget) it may be left to the disk meanwhile.
    ///
    /// A broker in borrowed memory returns no payload, because no payload is stored in one piece there.
    pub fn poll_transmit_apart(&mut self, now: Instant, id: ConnectionId, out: &mut [u8]) -> (Transmit, &[u8]) {
        let Some(connection) = self.engine.find(id) else { return (Transmit { written: 0, then: Then::Close }, &[]) };
        let transmit = self.engine.transmit(now, connection, out, Payloads::Apart);
        let payload = if transmit.then == Then::More { self.engine.payload_apart(connection) } else { &[] };
        (transmit, payload)
    }

    /// `count` bytes of the payload that [`Broker::poll_transmit_apart`] returned were written.
    pub fn handle_payload_written(&mut self, id: ConnectionId, count: usize) {
        if let Some(connection) = self.engine.find(id) {
            self.engine.sent_apart(connection, count);
        }
    }

    /// When [`Broker::handle_timeout`] must be called. The time may be another one after each other call.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.engine.next_timeout()
    }
}
