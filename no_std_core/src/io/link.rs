//! One byte stream, driven by a main loop that never blocks.

use embedded_io::{Read, ReadReady, Write, WriteReady};

use super::buffer::Buffer;
use crate::api::broker::Broker;
use crate::codec::{PacketType, ReasonCode, peek_type, split};
use crate::engine::connections::ConnectionId;
use crate::engine::outcomes::{Next, Then};
use crate::seam::authorize::{Ask, Verdict};
use crate::time::Instant;

/// A byte stream and the Network Connection on it.
///
/// There are two kinds of streams:
///
/// - [`Link::socket`]: an open TCP socket, TLS session or pipe. It is one Network Connection, and [`Link::has_ended`] says when
///   it is to be closed.
/// - [`Link::line`]: a UART or another wire without a moment at which a peer comes or goes. The first bytes open a Network
///   Connection. It ends with DISCONNECT, with a fault, with Keep Alive, and with the next CONNECT: a peer that was reset starts
///   over, and to the broker its former connection was lost. A line never ends.
///
/// [`turn`] drives any number of links. Where there are other transports too, do its steps by hand: [`receive`](Self::receive)
/// and [`transmit`](Self::transmit) in each turn of the loop, and [`wake`](Self::wake) for what
/// [`Broker::poll_ready`](crate::Broker::poll_ready) names.
#[derive(Debug)]
pub struct Link<'b, T: embedded_io::ErrorType> {
    transport: T,
    is_line: bool,
    /// The peer of a socket has closed its sending side.
    input_has_ended: bool,
    has_ended: bool,
    error: Option<T::Error>,
    connection: Option<Open>,
    /// Received bytes that the broker has not consumed. They begin with the first byte of a packet.
    input: Buffer<'b>,
    output: Buffer<'b>,
}

#[derive(Debug)]
struct Open {
    id: ConnectionId,
    /// The broker has received the connection's CONNECT: the next CONNECT begins another connection.
    has_begun: bool,
    /// The broker accepts no more bytes until `poll_ready` names the connection.
    is_waiting: bool,
    /// The broker accepts more bytes in the next turn.
    yields: bool,
    /// `poll_ready` has named the connection: there may be something to transmit.
    is_ready: bool,
}

/// One turn of the main loop for all links: receives, handles timers, transmits. Returns whether any bytes moved; if not, sleep
/// until bytes arrive or [`Broker::poll_timeout`](crate::Broker::poll_timeout) is due.
///
/// For a program in which these links are all connections of the broker: the call uses up everything that
/// [`Broker::poll_ready`](crate::Broker::poll_ready) names. With [`Authentication::Ask`](crate::Authentication::Ask) call
/// [`Link::receive_asking`] instead: here each client is refused with 0x87 Not authorized.
pub fn turn<T>(now: Instant, broker: &mut Broker<'_>, links: &mut [Link<'_, T>]) -> bool
where
    T: Read + ReadReady + Write + WriteReady,
{
    let mut has_moved = false;
    for link in links.iter_mut() {
        has_moved |= link.receive(now, broker);
    }
    broker.handle_timeout(now);
    while let Some(id) = broker.poll_ready() {
        // Even a connection that has ended may have a last packet to send.
        let _ = links.iter_mut().any(|link| link.wake(id));
    }
    for link in links {
        has_moved |= link.transmit(now, broker);
    }
    has_moved
}

impl<'b, T: Read + ReadReady + Write + WriteReady> Link<'b, T> {
    /// A link on an open stream that will be closed some time.
    ///
    /// `input` must hold the largest packet that may come: [`Limits::packet_bytes`](crate::Limits::packet_bytes); larger packets
    /// end the connection. `output` may be of any size but 0; a larger one means fewer writes.
    pub fn socket(transport: T, input: &'b mut [u8], output: &'b mut [u8]) -> Self {
        Self {
            transport,
            is_line: false,
            input_has_ended: false,
            has_ended: false,
            error: None,
            connection: None,
            input: Buffer::new(input),
            output: Buffer::new(output),
        }
    }

    /// A link on a wire that is always there. The buffers are those of [`Link::socket`].
    pub fn line(transport: T, input: &'b mut [u8], output: &'b mut [u8]) -> Self {
        Self { is_line: true, ..Self::socket(transport, input, output) }
    }

    /// The Network Connection, if there is one now.
    pub fn id(&self) -> Option<ConnectionId> {
        self.connection.as_ref().map(|connection| connection.id)
    }

    /// Whether the socket must be closed. The broker has forgotten the connection, and the link does nothing any more.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Returns the latest error of the transport, once. The error has ended the connection as a lost one.
    pub fn take_error(&mut self) -> Option<T::Error> {
        self.error.take()
    }

    /// The transport, for example to close it.
    pub fn transport(&mut self) -> &mut T {
        &mut self.transport
    }

    /// Receives bytes and hands them to the broker. Returns whether there were any.
    ///
    /// With [`Authentication::Ask`](crate::Authentication::Ask) each client is refused with 0x87 Not authorized.
    pub fn receive(&mut self, now: Instant, broker: &mut Broker<'_>) -> bool {
        self.receive_asking(now, broker, &mut |_| Some(Verdict::Refuse(ReasonCode::NotAuthorized)))
    }

    /// As [`Link::receive`], with answers to [`Next::Ask`] from `decide`. If `decide` returns `None` the client waits for
    /// [`Broker::handle_verdict`](crate::Broker::handle_verdict).
    pub fn receive_asking<'v>(
        &mut self,
        now: Instant,
        broker: &mut Broker<'_>,
        decide: &mut dyn FnMut(&Ask<'_>) -> Option<Verdict<'v>>,
    ) -> bool {
        if !self.is_line && self.connection.is_none() && !self.has_ended && !self.open(now, broker) {
            self.has_ended = true;
        }
        let mut has_moved = self.fill(now, broker);
        while self.hand_in(now, broker, decide) {
            has_moved = true;
            if self.connection.as_ref().is_some_and(|connection| connection.yields) {
                break;
            }
        }
        // The peer has closed its sending side. Packets that it sent before count, and it may still read the replies that it is
        // owed.
        if self.input_has_ended
            && let Some(connection) = self.connection.as_ref().filter(|connection| !connection.is_waiting)
        {
            broker.handle_input_end(now, connection.id);
        }
        has_moved
    }

    /// The broker has named `id`. Returns whether `id` is this link's connection, which will then transmit, and hand in bytes
    /// that waited.
    pub fn wake(&mut self, id: ConnectionId) -> bool {
        let Some(connection) = self.connection.as_mut().filter(|connection| connection.id == id) else {
            return false;
        };
        connection.is_ready = true;
        connection.is_waiting = false;
        true
    }

    /// Writes as many bytes as the transport accepts now. Returns whether there were any.
    pub fn transmit(&mut self, now: Instant, broker: &mut Broker<'_>) -> bool {
        let mut has_moved = false;
        loop {
            while !self.output.filled().is_empty() {
                match self.transport.write_ready() {
                    Ok(true) => {}
                    Ok(false) => return has_moved,
                    Err(error) => return self.fail(now, broker, error),
                }
                match self.transport.write(self.output.filled()) {
                    Ok(0) => return has_moved,
                    Ok(written) => self.output.take(written),
                    Err(error) => return self.fail(now, broker, error),
                }
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
                // The bytes that were put into the buffer last are still written.
                Then::Close => self.end(now, broker),
            }
        }
    }

    /// Opens a Network Connection. Returns whether the broker had room.
    fn open(&mut self, now: Instant, broker: &mut Broker<'_>) -> bool {
        let Ok(id) = broker.handle_connected(now) else { return false };
        self.connection = Some(Open { id, has_begun: false, is_waiting: false, yields: false, is_ready: false });
        true
    }

    fn fill(&mut self, now: Instant, broker: &mut Broker<'_>) -> bool {
        let mut has_moved = false;
        while !self.has_ended && !self.input_has_ended && !self.input.space().is_empty() {
            match self.transport.read_ready() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return self.fail(now, broker, error),
            }
            match self.transport.read(self.input.space()) {
                Ok(0) if self.is_line => break,
                Ok(0) => self.input_has_ended = true,
                Ok(count) => self.input.put(count),
                Err(error) => return self.fail(now, broker, error),
            }
            has_moved = true;
        }
        has_moved
    }

    /// Hands in all whole packets, those of a line up to the next CONNECT. Returns whether the broker consumed any bytes.
    fn hand_in<'v>(
        &mut self,
        now: Instant,
        broker: &mut Broker<'_>,
        decide: &mut dyn FnMut(&Ask<'_>) -> Option<Verdict<'v>>,
    ) -> bool {
        if self.input.filled().is_empty() {
            return false;
        }
        if self.is_line {
            let begins = peek_type(self.input.filled()) == Some(PacketType::Connect);
            if begins && self.connection.as_ref().is_some_and(|open| open.has_begun && !open.is_waiting) {
                self.end(now, broker);
            }
            // The slot of a connection that has just ended may become free only in the next turn.
            if self.connection.is_none() && !self.open(now, broker) {
                return false;
            }
        }
        let is_full = self.input.space().is_empty();
        let Some(connection) = self.connection.as_mut().filter(|connection| !connection.is_waiting) else {
            return false;
        };
        let bytes = self.input.filled();
        let bytes = if self.is_line { until_next_connect(bytes) } else { bytes };
        let received = broker.handle_bytes(now, connection.id, bytes);
        let (consumed, id) = (received.consumed, connection.id);
        connection.has_begun |= consumed > 0;
        // After `Next::Close` the broker names the connection, and `transmit` learns when it ends.
        connection.yields = matches!(received.next, Next::Yield);
        connection.is_waiting = !(connection.yields || matches!(received.next, Next::Read));
        let is_stuck = is_full && consumed == 0 && !connection.is_waiting;
        if let Next::Ask(ask) = received.next
            && let Some(verdict) = decide(&ask)
        {
            broker.handle_verdict(now, id, verdict);
        }
        self.input.take(consumed);
        if is_stuck {
            // The link would wait for ever for the end of a packet that the buffer can't hold.
            self.input.take(usize::MAX);
            self.end(now, broker);
        }
        consumed > 0
    }

    fn fail(&mut self, now: Instant, broker: &mut Broker<'_>, error: T::Error) -> bool {
        self.error = Some(error);
        // On a line the beginning of the next packet is unknown now.
        self.input.take(usize::MAX);
        self.output.take(usize::MAX);
        self.end(now, broker);
        true
    }

    fn end(&mut self, now: Instant, broker: &mut Broker<'_>) {
        if let Some(connection) = self.connection.take() {
            broker.handle_closed(now, connection.id);
        }
        self.has_ended = !self.is_line;
    }
}

/// The part of `bytes` that belongs to one Network Connection: all bytes before a CONNECT that is not the first packet.
fn until_next_connect(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let Ok(Some((_, len))) = split(rest, u32::MAX) {
        rest = rest.get(len..).unwrap_or(&[]);
        if peek_type(rest) == Some(PacketType::Connect) {
            return bytes.get(..bytes.len().saturating_sub(rest.len())).unwrap_or(bytes);
        }
    }
    bytes
}

#[cfg(all(test, feature = "v3"))]
mod tests;
