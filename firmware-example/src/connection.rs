//! The part of a Network Connection that TCP and serial lines have in common.

use goldcrest_core::{Broker, ConnectionId, Full, Instant, Next, Then};

/// A Network Connection of the broker.
pub(crate) struct Connection {
    id: ConnectionId,
    /// Whether the broker accepts no more bytes until `poll_ready` names the connection.
    is_waiting: bool,
    /// Whether `poll_ready` has named the connection: there may be something to transmit.
    is_ready: bool,
}

impl Connection {
    pub(crate) fn open(now: Instant, broker: &mut Broker<'_>) -> Result<Self, Full> {
        Ok(Self { id: broker.handle_connected(now)?, is_waiting: false, is_ready: false })
    }

    /// Whether received bytes must wait.
    pub(crate) fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// Hands received bytes to the broker. Returns how many of them the broker has consumed.
    pub(crate) fn hand_in(&mut self, now: Instant, broker: &mut Broker<'_>, bytes: &[u8]) -> usize {
        if self.is_waiting {
            return 0;
        }
        let received = broker.handle_bytes(now, self.id, bytes);
        // After `Next::Close` the broker names the connection, and `transmit` learns when it ends.
        self.is_waiting = !matches!(received.next, Next::Read | Next::Yield);
        received.consumed
    }

    /// The broker has named `id`. Returns whether `id` is this connection.
    pub(crate) fn wake(&mut self, id: ConnectionId) -> bool {
        if self.id != id {
            return false;
        }
        self.is_ready = true;
        self.is_waiting = false;
        true
    }

    /// Fills `out` with bytes for the client. Returns how many there are, and whether they are the last.
    pub(crate) fn transmit(&mut self, now: Instant, broker: &mut Broker<'_>, out: &mut [u8]) -> (usize, Ends) {
        if !self.is_ready {
            return (0, Ends::No);
        }
        let transmit = broker.poll_transmit(now, self.id, out);
        self.is_ready = transmit.then == Then::More;
        (transmit.written, if transmit.then == Then::Close { Ends::Yes } else { Ends::No })
    }

    /// Whether there may be something to transmit.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// The connection has ended: no more bytes come or go.
    pub(crate) fn end(self, now: Instant, broker: &mut Broker<'_>) {
        broker.handle_closed(now, self.id);
    }
}

/// Whether the broker has ended a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    No,
    Yes,
}
