//! What is to be done: who has something to transmit, what, and when time is due.

use super::broker::Broker;
use crate::engine::connections::ConnectionId;
use crate::engine::neighbours::bodies::Paged;
use crate::engine::outcomes::Then;
use crate::engine::outcomes::Transmit;
use crate::engine::transmit::Payloads;
use crate::time::Instant;

impl Broker<'_> {
    /// A connection that has something to transmit, that can take bytes again after [`Next::Wait`](crate::Next::Wait), or that is to be
    /// closed: call [`Broker::poll_transmit`] and, after [`Next::Wait`](crate::Next::Wait), [`Broker::handle_bytes`].
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

    /// Puts what the client is to be sent into `out`.
    pub fn poll_transmit(&mut self, now: Instant, id: ConnectionId, out: &mut [u8]) -> Transmit {
        match self.engine.find(id) {
            Some(connection) => self.engine.transmit(now, connection, out, Payloads::InBuffer),
            None => Transmit { written: 0, then: Then::Close },
        }
    }

    /// As [`Broker::poll_transmit`], for a shell that writes from two places at once: a long payload is not copied into `out`
    /// but shown where it is stored, to be written behind what is in `out`. [`Broker::handle_payload_written`] is to be called
    /// before anything else; what was not written is shown again by the next call. Until then it is the broker's, and counted
    /// as what is queued; with [`Config::body_budget`](crate::Config::body_budget) it may go to disk meanwhile.
    ///
    /// Nothing is shown of a broker in borrowed memory, where no payload stands in one piece.
    pub fn poll_transmit_apart(&mut self, now: Instant, id: ConnectionId, out: &mut [u8]) -> (Transmit, &[u8]) {
        let Some(connection) = self.engine.find(id) else { return (Transmit { written: 0, then: Then::Close }, &[]) };
        let transmit = self.engine.transmit(now, connection, out, Payloads::Apart);
        let payload = if transmit.then == Then::More { self.engine.payload_apart(connection) } else { &[] };
        (transmit, payload)
    }

    /// So many bytes of the payload that [`Broker::poll_transmit_apart`] has shown were written.
    pub fn handle_payload_written(&mut self, id: ConnectionId, count: usize) {
        if let Some(connection) = self.engine.find(id) {
            self.engine.sent_apart(connection, count);
        }
    }

    /// When [`Broker::handle_timeout`] is to be called; after each other call it may be another time.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.engine.next_timeout()
    }
}
