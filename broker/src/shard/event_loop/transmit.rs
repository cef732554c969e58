//! Writes the bytes of the core to sockets.

use super::EventLoop;
use crate::net::{Holding, Reading};
use goldcrest_core::{ConnectionId, Instant, Then};

/// If nothing can be written to the client any more, so many bytes at most are read from the core at once, and discarded: replies, and few
/// messages.
const DISCARDED: usize = 4096;

impl EventLoop {
    /// Writes once the bytes that the core has for a connection. The rest of an earlier write comes first.
    pub(super) fn transmit(&mut self, now: Instant, id: ConnectionId) {
        let Self { broker, sockets, write_buffer, .. } = self;
        let Some(Some(socket)) = sockets.get_mut(id.index()) else { return };
        if socket.is_broken() {
            let reading = socket.reading;
            // The client does not read the replies. They are fetched from the core all the same: while the core owes a client too many, it
            // reads nothing more from that client.
            let is_closed = reading == Reading::Closed
                || (reading == Reading::Waiting
                    && broker.poll_transmit(now, id, &mut write_buffer[..DISCARDED]).then == Then::Close);
            if is_closed {
                self.lose(id);
            }
            return;
        }
        if socket.is_blocked() {
            // In the end the core closes the connection of a client that does not even read its last DISCONNECT.
            let is_closing = broker.describe(id).is_some_and(|info| info.closing.is_some());
            if is_closing && broker.poll_transmit(now, id, &mut []).then == Then::Close {
                self.finish(now, id);
            }
            return;
        }
        let before = broker.work();
        let (transmit, payload) = broker.poll_transmit_apart(now, id, &mut write_buffer[..socket.most_to_write()]);
        match socket.write(&write_buffer[..transmit.written], payload) {
            Ok(0) => {}
            Ok(written) => broker.handle_payload_written(id, written),
            Err(_) if transmit.then == Then::Close => return self.lose(id),
            Err(_) => return self.break_off(id),
        }
        if socket.is_blocked() && socket.claim_memory(now, 0) == Holding::Refused {
            // The rest of a packet can't be kept, so no other can follow.
            return self.lose(id);
        }
        match transmit.then {
            Then::Idle => {}
            Then::More if socket.is_blocked() => {}
            Then::More => {
                self.to_write_again.push(id);
                self.charge(id, before);
            }
            Then::Close => self.finish(now, id),
        }
    }

    /// The core has closed and forgotten a connection. A separate task still sends the last bytes.
    pub(super) fn finish(&mut self, now: Instant, id: ConnectionId) {
        if let Some(socket) = self.take(now, id) {
            let leaving = self.leaving.clone();
            tokio::task::spawn_local(async move {
                socket.linger().await;
                drop(leaving);
            });
        }
    }

    /// Nothing can be written to the client any more. Bytes that the client sent before may still wait to be read: its last messages, and perhaps
    /// a DISCONNECT behind them.
    pub(super) fn break_off(&mut self, id: ConnectionId) {
        let Some(socket) = self.socket(id) else { return };
        if socket.reading == Reading::Closed {
            return self.lose(id);
        }
        socket.break_off();
        if socket.reading == Reading::Waiting {
            // Perhaps the core waits until its replies are fetched.
            self.to_write_again.push(id);
        }
    }
}
