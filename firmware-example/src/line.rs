//! One serial line, and the Network Connection on it.
//!
//! A line has no moment at which a peer comes or goes, so packets stand for it. The first bytes open a Network Connection.
//! It ends when the broker closes it (after DISCONNECT, for a fault, for Keep Alive) and when the next CONNECT comes: a peer
//! that was reset starts over. To the broker that is a connection that was lost: the Will is published.

use embedded_io::{Read, ReadReady, Write, WriteReady};
use goldcrest_core::codec::{PacketType, peek_type, split};
use goldcrest_core::{Broker, ConnectionId, Instant, Limits, Next, Then};

use crate::buffer::Buffer;

const PACKET: usize = Limits::FIRMWARE.packet_bytes as usize;
const OUTPUT: usize = 256;

/// A line of whatever is a byte stream both ways.
pub(crate) struct Line<U> {
    uart: U,
    connection: Option<Connection>,
    /// What has arrived and was not taken by the broker. Begins with the first byte of a packet, and has room for the largest.
    input: Buffer<PACKET>,
    output: Buffer<OUTPUT>,
}

struct Connection {
    id: ConnectionId,
    /// The broker has taken its CONNECT: another one is another connection's.
    has_begun: bool,
    /// The broker takes no more bytes until it names the connection again.
    is_waiting: bool,
    /// The broker has named it: there may be something to transmit.
    is_ready: bool,
}

impl<U: Read + ReadReady + Write + WriteReady> Line<U> {
    pub(crate) fn new(uart: U) -> Self {
        Self { uart, connection: None, input: Buffer::new(), output: Buffer::new() }
    }

    pub(crate) fn has_input(&mut self) -> bool {
        // A line that fails has news too.
        self.uart.read_ready().unwrap_or(true)
    }

    /// Hands in what has arrived. Whether anything was.
    pub(crate) fn receive(&mut self, now: Instant, broker: &mut Broker<'_>) -> bool {
        let mut has_moved = self.fill(now, broker);
        while self.hand_in(now, broker) {
            has_moved = true;
        }
        has_moved
    }

    /// The broker has named `id`: its line will transmit, and hand in what waited. Whether it is this one's.
    pub(crate) fn wake(&mut self, id: ConnectionId) -> bool {
        let Some(connection) = self.connection.as_mut().filter(|connection| connection.id == id) else {
            return false;
        };
        connection.is_ready = true;
        connection.is_waiting = false;
        true
    }

    /// Writes as much as the line takes now. Whether anything was.
    pub(crate) fn transmit(&mut self, now: Instant, broker: &mut Broker<'_>) -> bool {
        let mut has_moved = false;
        loop {
            while !self.output.filled().is_empty() {
                if !self.uart.write_ready().unwrap_or(true) {
                    return has_moved;
                }
                // A line that fails says so where it is read.
                let written = self.uart.write(self.output.filled()).unwrap_or(usize::MAX);
                self.output.take(written);
                has_moved = true;
            }
            let Some(connection) = self.connection.as_mut().filter(|connection| connection.is_ready) else {
                return has_moved;
            };
            let transmit = broker.poll_transmit(now, connection.id, self.output.space());
            self.output.put(transmit.written);
            match transmit.then {
                Then::More => {}
                Then::Idle => connection.is_ready = false,
                Then::Close => self.end(now, broker),
            }
        }
    }

    fn fill(&mut self, now: Instant, broker: &mut Broker<'_>) -> bool {
        let mut has_moved = false;
        while !self.input.space().is_empty() && self.has_input() {
            has_moved = true;
            match self.uart.read(self.input.space()) {
                Ok(count) => self.input.put(count),
                // Where the next packet begins is not known any more.
                Err(_) => {
                    self.input.take(usize::MAX);
                    self.end(now, broker);
                }
            }
        }
        has_moved
    }

    /// Hands in all whole packets up to the next CONNECT. Whether the broker took any of it.
    fn hand_in(&mut self, now: Instant, broker: &mut Broker<'_>) -> bool {
        let bytes = self.input.filled();
        if bytes.is_empty() {
            return false;
        }
        let begins = peek_type(bytes) == Some(PacketType::Connect);
        if self.connection.as_ref().is_some_and(|connection| connection.has_begun && !connection.is_waiting && begins) {
            self.end(now, broker);
        }
        if self.connection.is_none() {
            // The slot of one that has just ended may be free in the next turn only.
            let Ok(id) = broker.handle_connected(now) else { return false };
            self.connection = Some(Connection { id, has_begun: false, is_waiting: false, is_ready: false });
        }
        let Some(connection) = self.connection.as_mut().filter(|connection| !connection.is_waiting) else {
            return false;
        };
        let bytes = self.input.filled();
        let received = broker.handle_bytes(now, connection.id, until_next_connect(bytes));
        connection.has_begun |= received.consumed > 0;
        // After Close the broker names the connection, and `transmit` learns when it has ended.
        connection.is_waiting = !matches!(received.next, Next::Read);
        let consumed = received.consumed;
        self.input.take(consumed);
        consumed > 0
    }

    fn end(&mut self, now: Instant, broker: &mut Broker<'_>) {
        if let Some(connection) = self.connection.take() {
            broker.handle_closed(now, connection.id);
        }
    }
}

/// The beginning of `bytes` that belongs to one Network Connection: up to a CONNECT that is not its first packet.
fn until_next_connect(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let Ok(Some((_, len))) = split(rest, Limits::FIRMWARE.packet_bytes) {
        rest = rest.get(len..).unwrap_or(&[]);
        if peek_type(rest) == Some(PacketType::Connect) {
            return bytes.get(..bytes.len() - rest.len()).unwrap_or(bytes);
        }
    }
    bytes
}
