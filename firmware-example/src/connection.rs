//! What all Network Connections have in common, whatever carries their bytes.

use goldcrest_core::{Broker, ConnectionId, Full, Instant, Next, Then};

/// One Network Connection, as the broker knows it.
pub(crate) struct Connection {
    id: ConnectionId,
    /// The broker takes no more bytes until it names the connection again.
    is_waiting: bool,
    /// The broker has named it: there may be something to transmit.
    is_ready: bool,
}

impl Connection {
    pub(crate) fn open(now: Instant, broker: &mut Broker<'_>) -> Result<Self, Full> {
        Ok(Self { id: broker.handle_connected(now)?, is_waiting: false, is_ready: false })
    }

    /// Whether bytes that have arrived must stay where they are.
    pub(crate) fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// Hands in what has arrived. Returns how many bytes are done with.
    pub(crate) fn hand_in(&mut self, now: Instant, broker: &mut Broker<'_>, bytes: &[u8]) -> usize {
        if self.is_waiting {
            return 0;
        }
        let received = broker.handle_bytes(now, self.id, bytes);
        // After Close the broker names the connection, and `transmit` learns when it has ended.
        self.is_waiting = !matches!(received.next, Next::Read | Next::Yield);
        received.consumed
    }

    /// The broker has named `id`. Whether that is this one.
    pub(crate) fn wake(&mut self, id: ConnectionId) -> bool {
        if self.id != id {
            return false;
        }
        self.is_ready = true;
        self.is_waiting = false;
        true
    }

    /// Fills `out` with what the client is to be sent: how many bytes that are, and whether they are the last.
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

    /// Its bytes come and go no more.
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
