//! Offers the core the bytes that have arrived on sockets.

use super::EventLoop;
use crate::net::{Asking, CHUNK, ReadOutcome, Reading, Socket};
use crate::shard::decisions::Decisions;
use goldcrest_core::{Broker, ConnectionId, Instant, Next};
use std::task::{Context, Poll};

impl EventLoop {
    /// Reads the bytes that have arrived on a socket and offers them to the core. After `share` bytes other sockets come first.
    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>, id: ConnectionId, asking: Asking, share: usize) {
        let mut taken = 0;
        while taken < share {
            let Self { sockets, read_buffer, .. } = self;
            let Some(Some(socket)) = sockets.get_mut(id.index()) else { return };
            match socket.reading {
                Reading::Open if socket.is_deferred || socket.waits_for_memory => return,
                Reading::Open => {}
                Reading::Closed if socket.is_broken() => return self.lose(id),
                Reading::Waiting | Reading::Closed => return,
            }
            let arrived = match socket.poll_read(cx, asking, share, read_buffer) {
                Poll::Pending => {
                    if socket.holds_in_transport() {
                        let now = self.begin();
                        self.claim_memory(now, id, 0);
                    }
                    return;
                }
                Poll::Ready(Err(_)) => return self.lose(id),
                Poll::Ready(Ok(arrived)) => arrived,
            };
            let now = self.begin();
            match arrived {
                ReadOutcome::End => return self.end_input(now, id),
                ReadOutcome::InSocket(added) => {
                    taken += added;
                    self.hand_in_unread(id);
                }
                ReadOutcome::InBuffer(len) => {
                    taken += len;
                    let Self { broker, sockets, read_buffer, decisions, .. } = self;
                    let Some(Some(socket)) = sockets.get_mut(id.index()) else { return };
                    let (bytes, before) = (&read_buffer[..len], broker.work());
                    let received = broker.handle_bytes(now, id, bytes);
                    socket.keep_unread(&bytes[received.consumed..]);
                    let consumed = received.consumed;
                    let reading = after(broker, decisions, now, socket, &received.next);
                    socket.reading = reading;
                    self.note_paused(now, reading);
                    self.charge(id, before);
                    self.claim_memory(now, id, consumed);
                }
            }
        }
        if let Some(socket) = self.socket(id) {
            socket.wake_when_readable();
        }
    }

    /// As [`EventLoop::poll_receive`] for all sockets, whether or not the runtime knows that bytes have arrived.
    pub(super) fn receive_all(&mut self) {
        for place in 0..self.sockets.len() {
            let Some(socket) = &self.sockets[place] else { continue };
            let (id, waker) = (socket.id, socket.waker());
            self.poll_receive(&mut Context::from_waker(&waker), id, Asking::System, CHUNK);
        }
    }

    /// Offers the core the bytes that it has not consumed yet, together with those that have arrived since.
    pub(super) fn hand_in_unread(&mut self, id: ConnectionId) {
        let now = self.begin();
        let Self { broker, sockets, decisions, .. } = self;
        let Some(Some(socket)) = sockets.get_mut(id.index()) else { return };
        let before = broker.work();
        let received = broker.handle_bytes(now, id, socket.unread());
        let consumed = received.consumed;
        let reading = after(broker, decisions, now, socket, &received.next);
        socket.consume_unread(consumed);
        let goes_on = socket.reading == Reading::Waiting && reading == Reading::Open;
        if goes_on {
            socket.wake();
        }
        socket.reading = reading;
        self.note_paused(now, reading);
        self.charge(id, before);
        self.claim_memory(now, id, if goes_on { consumed.max(1) } else { consumed });
    }

    /// The peer sends no more, and may still read. So before the connection is closed all replies that are owed to the peer are sent,
    /// including those that wait for the disk.
    pub(super) fn end_input(&mut self, now: Instant, id: ConnectionId) {
        // While the connection is open, messages in its queue are sent too, as many as the system takes.
        self.transmit(now, id);
        let Some(socket) = self.socket(id) else { return };
        if socket.is_broken() {
            return self.lose(id);
        }
        socket.reading = Reading::Closed;
        self.broker.handle_input_end(now, id);
    }
}

/// How to go on reading from the socket, as the core wants it.
fn after(
    broker: &mut Broker<'static>,
    decisions: &Decisions,
    now: Instant,
    socket: &Socket,
    next: &Next<'_>,
) -> Reading {
    match next {
        // After `Yield` the connection is deferred, and reads on when its turn comes.
        Next::Read | Next::Yield => Reading::Open,
        Next::Wait => Reading::Waiting,
        Next::Ask(ask) => {
            decisions.ask(now, broker, socket, ask);
            Reading::Waiting
        }
        Next::Close => Reading::Closed,
    }
}
