//! Bytes out: what the core has for a connection is written.

use super::EventLoop;
use crate::net::Reading;
use goldcrest_core::{ConnectionId, Instant, Then};

/// Bytes that are taken at once from the core for a client to which nothing can be written any more: replies, and few messages.
const DISCARDED: usize = 4096;

impl EventLoop {
    /// Writes once what the core has for a connection, unless an earlier write is not through: then it comes after that.
    pub(super) fn transmit(&mut self, now: Instant, id: ConnectionId) {
        let Self { broker, sockets, write_buffer, .. } = self;
        let Some(Some(socket)) = sockets.get_mut(id.index()) else { return };
        if socket.is_broken() {
            let reading = socket.reading;
            // Answers go nowhere, but the core takes no more from a client that it owes too many.
            let is_closed = reading == Reading::Closed
                || (reading == Reading::Waiting
                    && broker.poll_transmit(now, id, &mut write_buffer[..DISCARDED]).then == Then::Close);
            if is_closed {
                self.lose(id);
            }
            return;
        }
        if socket.is_blocked() {
            // The core gives up in the end on a client that does not even read why it is disconnected.
            let is_closing = broker.describe(id).is_some_and(|info| info.closing.is_some());
            if is_closing && broker.poll_transmit(now, id, &mut []).then == Then::Close {
                self.finish(now, id);
            }
            return;
        }
        let before = broker.work();
        let (transmit, payload) = broker.poll_transmit_apart(now, id, write_buffer);
        match socket.write(&write_buffer[..transmit.written], payload) {
            Ok(0) => {}
            Ok(written) => broker.payload_written(id, written),
            Err(_) if transmit.then == Then::Close => return self.lose(id),
            Err(_) => return self.break_off(id),
        }
        match transmit.then {
            Then::Idle => {}
            Then::More if socket.is_blocked() => {}
            Then::More => {
                self.again.push(id);
                self.charge(id, before);
            }
            Then::Close => self.finish(now, id),
        }
    }

    /// The core has closed a connection: it keeps nothing of it, but the peer is to read what was said last.
    pub(super) fn finish(&mut self, now: Instant, id: ConnectionId) {
        if let Some(socket) = self.take(now, id) {
            let leaving = self.leaving.clone();
            tokio::task::spawn_local(async move {
                socket.linger().await;
                drop(leaving);
            });
        }
    }

    /// Nothing can be written to the client any more. What it sent before may still be there to be read: its last messages, and
    /// perhaps a DISCONNECT behind them.
    pub(super) fn break_off(&mut self, id: ConnectionId) {
        let Some(socket) = self.socket(id) else { return };
        if socket.reading == Reading::Closed {
            return self.lose(id);
        }
        socket.break_off();
        if socket.reading == Reading::Waiting {
            // What the core waits for may be that answers leave.
            self.again.push(id);
        }
    }
}
