//! A serial line, and the Network Connection on it.
//!
//! A line does not tell when a peer comes or goes, so the packets must. The first bytes open a Network Connection. The
//! connection ends when the broker closes it (after DISCONNECT, for a fault, for Keep Alive), or when another CONNECT comes: a
//! peer that was reset begins again. In the latter case the broker takes the connection for lost, and publishes the Will.

use embedded_io::{Read, ReadReady, Write, WriteReady};
use goldcrest_core::codec::{PacketType, peek_type, split};
use goldcrest_core::{Broker, ConnectionId, Instant, Limits};

use crate::buffer::Buffer;
use crate::connection::{Connection, Ends};

const PACKET: usize = Limits::FIRMWARE.packet_bytes as usize;
const OUTPUT: usize = 128;

/// The buffers of a line. Declare them as a `static`.
pub(crate) struct Buffers {
    /// Received bytes that the broker has not consumed. They begin with the first byte of a packet. The buffer has room for
    /// the largest packet.
    input: Buffer<PACKET>,
    output: Buffer<OUTPUT>,
}

impl Buffers {
    pub(crate) const fn new() -> Self {
        Self { input: Buffer::new(), output: Buffer::new() }
    }
}

/// A line on any byte stream with two directions.
pub(crate) struct Line<'b, U> {
    uart: U,
    connection: Option<Connection>,
    /// Whether the broker has received the connection's CONNECT: the next CONNECT begins another connection.
    has_begun: bool,
    input: &'b mut Buffer<PACKET>,
    output: &'b mut Buffer<OUTPUT>,
    /// How often bytes were lost.
    damages: u32,
}

impl<'b, U: Read + ReadReady + Write + WriteReady> Line<'b, U> {
    pub(crate) fn new(uart: U, buffers: &'b mut Buffers) -> Self {
        let Buffers { input, output } = buffers;
        Self { uart, connection: None, has_begun: false, input, output, damages: 0 }
    }

    /// Whether received bytes wait to be read.
    pub(crate) fn has_input(&mut self) -> bool {
        // A failing line has an error to report.
        self.uart.read_ready().unwrap_or(true)
    }

    /// Whether bytes wait to be written. No event tells when the line has room for them.
    pub(crate) fn has_output(&self) -> bool {
        !self.output.filled().is_empty()
    }

    /// How often bytes were lost or damaged on the line.
    pub(crate) fn damages(&self) -> u32 {
        self.damages
    }

    /// Hands received bytes to the broker. Returns whether there were any.
    pub(crate) fn receive(&mut self, now: Instant, broker: &mut Broker<'_>) -> bool {
        let mut has_moved = self.fill(now, broker);
        // The former connection ends after its last replies are sent.
        let is_done = self.connection.as_ref().is_some_and(|former| !former.is_waiting() && !former.is_ready());
        if self.is_at_next_connect() && is_done {
            self.end(now, broker);
            has_moved = true;
        }
        while !self.is_at_next_connect() && self.hand_in(now, broker) {
            has_moved = true;
        }
        has_moved
    }

    /// The broker has named `id`: the line will transmit, and hand in bytes that waited. Returns whether `id` is the line's
    /// connection.
    pub(crate) fn wake(&mut self, id: ConnectionId) -> bool {
        self.connection.as_mut().is_some_and(|connection| connection.wake(id))
    }

    /// Writes as many bytes as the line accepts now. Returns whether there were any.
    pub(crate) fn transmit(&mut self, now: Instant, broker: &mut Broker<'_>) -> bool {
        let mut has_moved = false;
        loop {
            while !self.output.filled().is_empty() {
                if !self.uart.write_ready().unwrap_or(true) {
                    return has_moved;
                }
                // Errors of the line are reported when it is read.
                let written = self.uart.write(self.output.filled()).unwrap_or(usize::MAX);
                self.output.take(written);
                has_moved = true;
            }
            let Some(connection) = self.connection.as_mut().filter(|connection| connection.is_ready()) else {
                return has_moved;
            };
            let (written, ends) = connection.transmit(now, broker, self.output.space());
            self.output.put(written);
            if ends == Ends::Yes {
                self.end(now, broker);
            }
        }
    }

    fn fill(&mut self, now: Instant, broker: &mut Broker<'_>) -> bool {
        let mut has_moved = false;
        while !self.input.space().is_empty() && self.has_input() {
            has_moved = true;
            match self.uart.read(self.input.space()) {
                Ok(count) => self.input.put(count),
                // After lost bytes the beginning of the next packet is unknown.
                Err(_) => {
                    self.damages = self.damages.wrapping_add(1);
                    self.input.take(usize::MAX);
                    self.end(now, broker);
                }
            }
        }
        has_moved
    }

    /// Whether the next received packet is the CONNECT of another connection.
    fn is_at_next_connect(&self) -> bool {
        self.has_begun && peek_type(self.input.filled()) == Some(PacketType::Connect)
    }

    /// Hands in all whole packets up to the next CONNECT. Returns whether the broker consumed any bytes.
    fn hand_in(&mut self, now: Instant, broker: &mut Broker<'_>) -> bool {
        if self.input.filled().is_empty() {
            return false;
        }
        let connection = match &mut self.connection {
            Some(connection) => connection,
            // The slot of a connection that has just ended may become free only in the next turn.
            none => match Connection::open(now, broker) {
                Ok(connection) => none.insert(connection),
                Err(_) => return false,
            },
        };
        let consumed = connection.hand_in(now, broker, until_next_connect(self.input.filled()));
        self.has_begun |= consumed > 0;
        self.input.take(consumed);
        consumed > 0
    }

    fn end(&mut self, now: Instant, broker: &mut Broker<'_>) {
        if let Some(connection) = self.connection.take() {
            connection.end(now, broker);
        }
        self.has_begun = false;
    }
}

/// The part of `bytes` that belongs to one Network Connection: all bytes before a CONNECT that is not the first packet.
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
