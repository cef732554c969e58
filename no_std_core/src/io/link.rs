//! One byte stream, driven by a main loop that never waits.

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
    /// The peer of a socket sends no more.
    input_has_ended: bool,
    has_ended: bool,
    error: Option<T::Error>,
    connection: Option<Open>,
    /// What has arrived and was not taken by the broker; it begins with the first byte of a packet.
    input: Buffer<'b>,
    output: Buffer<'b>,
}

#[derive(Debug)]
struct Open {
    id: ConnectionId,
    /// The broker has taken its CONNECT: another one is another connection's.
    has_begun: bool,
    /// The broker takes no more bytes until it names the connection again.
    is_waiting: bool,
    /// The broker takes more bytes in the next turn.
    yields: bool,
    /// The broker has named it: there may be something to transmit.
    is_ready: bool,
}

/// Turns the crank once for all links: receives, looks at the time, transmits. Whether any bytes moved; otherwise it is time
/// to sleep until bytes arrive or [`Broker::poll_timeout`](crate::Broker::poll_timeout) is due.
///
/// Use it where these links are all connections of the broker: it takes whatever
/// [`Broker::poll_ready`](crate::Broker::poll_ready) names. With [`Authentication::Ask`](crate::Authentication::Ask) use
/// [`Link::receive_asking`] by hand instead: here each client is refused with 0x87 Not authorized.
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
        // Of a connection that has ended there may be a last word.
        let _ = links.iter_mut().any(|link| link.wake(id));
    }
    for link in links {
        has_moved |= link.transmit(now, broker);
    }
    has_moved
}

impl<'b, T: Read + ReadReady + Write + WriteReady> Link<'b, T> {
    /// A stream that is open and will be closed.
    ///
    /// `input` holds the largest packet that is to be taken: [`Limits::packet_bytes`](crate::Limits::packet_bytes), or larger
    /// ones end the connection. `output` may be of any size but 0; a larger one means fewer writes.
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

    /// A wire that is always there; the buffers are those of [`Link::socket`].
    pub fn line(transport: T, input: &'b mut [u8], output: &'b mut [u8]) -> Self {
        Self { is_line: true, ..Self::socket(transport, input, output) }
    }

    /// The Network Connection, if there is one now.
    pub fn id(&self) -> Option<ConnectionId> {
        self.connection.as_ref().map(|connection| connection.id)
    }

    /// The socket is to be closed. To the broker the connection is gone; it does nothing any more.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// The latest error of the transport, once. It has ended the connection, as a lost one.
    pub fn take_error(&mut self) -> Option<T::Error> {
        self.error.take()
    }

    /// The transport, to be asked or closed.
    pub fn transport(&mut self) -> &mut T {
        &mut self.transport
    }

    /// Takes what has arrived and hands it in. Whether there was anything.
    ///
    /// With [`Authentication::Ask`](crate::Authentication::Ask) each client is refused with 0x87 Not authorized.
    pub fn receive(&mut self, now: Instant, broker: &mut Broker<'_>) -> bool {
        self.receive_asking(now, broker, &mut |_| Some(Verdict::Refuse(ReasonCode::NotAuthorized)))
    }

    /// The same, and `decide` answers [`Next::Ask`](crate::Next::Ask). With `None` the client waits for
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
        // The peer has closed its side. What it sent before that counts, and it may still read what it is owed.
        if self.input_has_ended
            && let Some(connection) = self.connection.as_ref().filter(|connection| !connection.is_waiting)
        {
            broker.handle_input_end(now, connection.id);
        }
        has_moved
    }

    /// The broker has named `id`. Whether it is this link's, which will then transmit and hand in what waited.
    pub fn wake(&mut self, id: ConnectionId) -> bool {
        let Some(connection) = self.connection.as_mut().filter(|connection| connection.id == id) else {
            return false;
        };
        connection.is_ready = true;
        connection.is_waiting = false;
        true
    }

    /// Writes as much as the transport takes now. Whether anything was.
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
                // What was put last is still written.
                Then::Close => self.end(now, broker),
            }
        }
    }

    /// Whether the broker had room.
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

    /// Hands in all whole packets, those of a line up to the next CONNECT. Whether the broker took any of it.
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
            // The slot of one that has just ended may be free in the next turn only.
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
        // After Close the broker names the connection, and `transmit` learns when it has ended.
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
            // A packet that the buffer can't hold would be waited for for ever.
            self.input.take(usize::MAX);
            self.end(now, broker);
        }
        consumed > 0
    }

    fn fail(&mut self, now: Instant, broker: &mut Broker<'_>, error: T::Error) -> bool {
        self.error = Some(error);
        // Where the next packet of a line begins is not known any more.
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

/// The beginning of `bytes` that belongs to one Network Connection: up to a CONNECT that is not its first packet.
fn until_next_connect(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let Ok(Some((_, len))) = split(rest, u32::MAX) {
        rest = rest.get(len..).unwrap_or(&[]);
        if peek_type(rest) == Some(PacketType::Connect) {
            return bytes.get(..bytes.len() - rest.len()).unwrap_or(bytes);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::super::testing::*;
    use super::*;
    use crate::{AllowAll, Authentication, Config, LocalPublish, TopicName};

    /// Runs `test` with a broker, a link of either kind over a wire, and its buffers.
    fn with_link(is_line: bool, config: Config<'static>, test: impl FnOnce(&mut Broker<'_>, Link<'_, Wire>, Peer)) {
        let mut resources = Memory::new();
        let mut broker = Broker::new(resources.memory(), config, &AllowAll);
        let (wire, peer) = wire();
        let (mut input, mut output) = ([0; 1024], [0; 7]);
        let link = if is_line {
            Link::line(wire, &mut input, &mut output)
        } else {
            Link::socket(wire, &mut input, &mut output)
        };
        test(&mut broker, link, peer);
        // The last slot is given back when the broker is asked for what is ready.
        while broker.poll_ready().is_some() {}
        assert_eq!(broker.counters().connections, 0);
    }

    fn drive(broker: &mut Broker<'_>, link: &mut Link<'_, Wire>) {
        while turn(NOW, broker, core::slice::from_mut(link)) {}
    }

    #[test]
    fn a_client_is_served_whatever_the_pieces_of_its_bytes() {
        for is_line in [false, true] {
            for (read, write) in [(1, 1), (3, 2), (1000, 1000)] {
                with_link(is_line, Config::firmware(1), |broker, mut link, peer| {
                    peer.cut_into(read, write);
                    peer.send(&[CONNECT, SUBSCRIBE, PUBLISH].concat());
                    drive(broker, &mut link);
                    assert_eq!(peer.received(), [CONNACK, SUBACK, PUBLISH].concat());
                    peer.send(DISCONNECT);
                    drive(broker, &mut link);
                    assert_eq!((link.has_ended(), link.id()), (!is_line, None));
                });
            }
        }
    }

    #[test]
    fn a_peer_that_takes_nothing_blocks_nobody_and_gets_the_rest_later() {
        with_link(false, Config::firmware(1), |broker, mut link, peer| {
            peer.take_only(5);
            peer.send(&[CONNECT, SUBSCRIBE, PUBLISH].concat());
            drive(broker, &mut link);
            assert_eq!(peer.received(), [CONNACK, SUBACK, PUBLISH].concat()[..5]);
            peer.take_only(usize::MAX);
            drive(broker, &mut link);
            assert_eq!(peer.received(), [CONNACK, SUBACK, PUBLISH].concat()[5..]);
            peer.send(DISCONNECT);
            drive(broker, &mut link);
        });
    }

    #[test]
    fn an_error_is_a_lost_connection_and_is_told_once() {
        for is_line in [false, true] {
            for fails_reading in [true, false] {
                with_link(is_line, Config::firmware(1), |broker, link, peer| {
                    let (wire, watcher) = wire();
                    let (mut input, mut output) = ([0; 1024], [0; 64]);
                    let mut links = [link, Link::socket(wire, &mut input, &mut output)];
                    peer.send(CONNECT_WITH_WILL);
                    watcher.send(&[CONNECT_OTHER, SUBSCRIBE_WILL].concat());
                    while turn(NOW, broker, &mut links) {}
                    assert_eq!((peer.received(), watcher.received()), (CONNACK.into(), [CONNACK, SUBACK].concat()));
                    peer.fail(fails_reading);
                    if !fails_reading {
                        peer.send(PING);
                    }
                    while turn(NOW, broker, &mut links) {}
                    assert_eq!((links[0].take_error(), links[0].take_error()), (Some(Broken), None));
                    assert_eq!((links[0].has_ended(), links[0].id()), (!is_line, None));
                    assert_eq!(watcher.received(), WILL, "the Will is published");
                    watcher.send(DISCONNECT);
                    while turn(NOW, broker, &mut links) {}
                });
            }
        }
    }

    #[test]
    fn the_end_of_the_stream_ends_a_socket_after_what_came_before_it() {
        with_link(false, Config::firmware(1), |broker, mut link, peer| {
            peer.send(&[CONNECT, PUBLISH].concat());
            peer.close();
            drive(broker, &mut link);
            assert!(link.has_ended() && link.take_error().is_none());
            assert_eq!(broker.counters().publish_received, [1, 0, 0]);
        });
    }

    /// CONNACK was not even sent: the end of the stream was the end of the connection.
    #[test]
    fn who_closes_its_side_still_gets_its_answers() {
        with_link(false, Config::firmware(1), |broker, mut link, peer| {
            peer.send(&[CONNECT, SUBSCRIBE, PING].concat());
            peer.close();
            drive(broker, &mut link);
            assert_eq!(peer.received(), [CONNACK, SUBACK, b"\xd0\0"].concat());
            assert!(link.has_ended());
        });
    }

    #[test]
    fn the_next_connect_on_a_line_is_the_next_connection() {
        with_link(true, Config::firmware(1), |broker, mut link, peer| {
            peer.send(&[CONNECT, SUBSCRIBE].concat());
            drive(broker, &mut link);
            let first = link.id();
            peer.send(CONNECT);
            drive(broker, &mut link);
            assert_ne!((link.id(), link.id().is_some()), (first, false));
            assert_eq!(peer.received(), [CONNACK, SUBACK, CONNACK].concat());
            peer.send(DISCONNECT);
            drive(broker, &mut link);
        });
    }

    #[test]
    fn a_packet_larger_than_the_buffer_ends_the_connection() {
        for is_line in [false, true] {
            let mut config = Config::firmware(1);
            config.limits.packet_bytes = 4096;
            with_link(is_line, config, |broker, mut link, peer| {
                let mut large: Vec<u8> = std::vec![0x30, 0x80, 0x10, 0, 1, b't'];
                large.resize(2048 + 3, b'x');
                peer.send(CONNECT);
                drive(broker, &mut link);
                assert!(link.id().is_some());
                peer.send(&large);
                // The rest of it means nothing on a line, and is thrown away or refused.
                drive(broker, &mut link);
                assert_eq!(link.has_ended(), !is_line);
                peer.fail(true);
                drive(broker, &mut link);
            });
        }
    }

    #[test]
    fn a_full_broker_ends_a_socket_and_lets_a_line_wait() {
        for is_line in [false, true] {
            let mut resources = Memory::new();
            let mut broker = Broker::new(resources.memory(), Config::firmware(1), &AllowAll);
            let others: Vec<_> = core::iter::from_fn(|| broker.handle_connected(NOW).ok()).collect();
            let (wire, peer) = wire();
            let (mut input, mut output) = ([0; 1024], [0; 64]);
            let mut link = if is_line {
                Link::line(wire, &mut input, &mut output)
            } else {
                Link::socket(wire, &mut input, &mut output)
            };
            peer.send(CONNECT);
            drive(&mut broker, &mut link);
            assert_eq!((link.has_ended(), link.id()), (!is_line, None));
            others.into_iter().for_each(|id| broker.handle_closed(NOW, id));
            drive(&mut broker, &mut link);
            drive(&mut broker, &mut link);
            assert_eq!(peer.received(), if is_line { CONNACK } else { b"" });
        }
    }

    #[test]
    fn who_may_connect_is_asked() {
        let config = Config { authentication: Authentication::Ask, ..Config::firmware(1) };
        for accept in [true, false] {
            with_link(false, config.clone(), |broker, mut link, peer| {
                peer.send(CONNECT);
                let mut decide = |ask: &Ask<'_>| {
                    assert!(matches!(ask, Ask::Connect(connect) if connect.client_id == "c"));
                    let accepted = Verdict::accept(crate::Principal(7));
                    Some(if accept { accepted } else { Verdict::Refuse(ReasonCode::NotAuthorized) })
                };
                link.receive_asking(NOW, broker, &mut decide);
                drive(broker, &mut link);
                assert_eq!(peer.received(), if accept { CONNACK } else { b"\x20\x02\0\x05" });
                peer.send(DISCONNECT);
                drive(broker, &mut link);
                assert!(link.has_ended());
            });
        }
    }

    #[test]
    fn what_the_firmware_publishes_itself_arrives() {
        with_link(false, Config::firmware(1), |broker, mut link, peer| {
            peer.send(&[CONNECT, SUBSCRIBE].concat());
            drive(broker, &mut link);
            peer.received();
            let topic = TopicName::new("t").unwrap();
            let qos = crate::codec::QoS::AtMostOnce;
            let message = LocalPublish { topic, payload: b"hi", qos, retain: false, expiry_secs: None };
            broker.publish(NOW, message).unwrap();
            drive(broker, &mut link);
            assert_eq!(peer.received(), PUBLISH);
            peer.send(DISCONNECT);
            drive(broker, &mut link);
        });
    }
}
