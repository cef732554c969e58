//! TCP/IP, and the Network Connections of its sockets.
//!
//! smoltcp has no queue of clients that wait to be accepted: each socket that listens takes one. Sockets that are not in use
//! all listen. One that is only being closed does not keep new clients out: it is given up when none listens.

use goldcrest_core::{Broker, ConnectionId, Instant, Limits};
use smoltcp::iface::{Config, Interface, PollIngressSingleResult, SocketHandle, SocketSet, SocketStorage};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Duration;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr, Ipv4Address};

use crate::board::{Ethernet, SPARE};
use crate::connection::{Connection, Ends};

const PORT: u16 = 1883;
/// What QEMU's user network expects. A product would have DHCP.
const ADDRESS: Ipv4Address = Ipv4Address::new(10, 0, 2, 15);
const PREFIX_BITS: u8 = 24;
const GATEWAY: Ipv4Address = Ipv4Address::new(10, 0, 2, 2);

/// How many clients there can be at once. One more is refused with a reset.
pub(crate) const SOCKETS: usize = 8;
/// A packet lies in the receive buffer until it is whole.
const RECEIVE: usize = Limits::FIRMWARE.packet_bytes as usize;
/// Longer packets go out in pieces.
const TRANSMIT: usize = 256;
/// Frames that are read in one turn, so that a flood of them leaves time for the rest.
const FRAMES_IN_A_TURN: usize = 8;

/// A host that does not answer for this time is gone: the Will of its client is published, even with Keep Alive 0.
const SILENCE: Duration = Duration::from_secs(60);
const PROBE: Duration = Duration::from_secs(20);
/// The time that opening or closing a connection may take, in milliseconds; and what closing may take while a client may be
/// waiting for a socket.
const HANDSHAKE_MILLIS: u64 = 10_000;
const HURRIED_MILLIS: u64 = 500;

/// The memory of all of it. Declare them as `static`s: apart, because the buffers begin as zeros and take no flash.
pub(crate) struct Buffers {
    ethernet: Ethernet,
    received: [[u8; RECEIVE]; SOCKETS],
    transmitted: [[u8; TRANSMIT]; SOCKETS],
}
pub(crate) type Sockets = heapless::Vec<SocketStorage<'static>, SOCKETS>;

impl Buffers {
    pub(crate) const fn new() -> Self {
        Self { ethernet: Ethernet::new(), received: [[0; RECEIVE]; SOCKETS], transmitted: [[0; TRANSMIT]; SOCKETS] }
    }

    /// Turns Ethernet on, so that frames can come. Returns its hardware address.
    pub(crate) fn start(&mut self) -> [u8; 6] {
        self.ethernet.start()
    }

    /// As [`Network::spare`].
    pub(crate) fn spare(&mut self) -> &mut [u8; SPARE] {
        self.ethernet.spare()
    }
}

/// The network, and its clients.
pub(crate) struct Network {
    interface: Interface,
    ethernet: &'static mut Ethernet,
    sockets: SocketSet<'static>,
    ports: [Port; SOCKETS],
    /// Clients for whom the broker had no room.
    refused: u32,
}

/// A socket, and the Network Connection on it.
struct Port {
    socket: SocketHandle,
    connection: Option<Connection>,
    /// When it was last listening or had a connection.
    used: Instant,
}

impl Network {
    /// `seed` makes sequence numbers hard to guess.
    pub(crate) fn new(
        now: Instant,
        buffers: &'static mut Buffers,
        sockets: &'static mut Sockets,
        address: [u8; 6],
        seed: u64,
    ) -> Self {
        let Buffers { ethernet, received, transmitted } = buffers;
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(address)));
        config.random_seed = seed;
        let mut interface = Interface::new(config, ethernet, time(now));
        // There is room for one address and one route.
        interface.update_ip_addrs(|addresses| {
            let _ = addresses.push(IpCidr::new(IpAddress::Ipv4(ADDRESS), PREFIX_BITS));
        });
        let _ = interface.routes_mut().add_default_ipv4_route(GATEWAY);

        while sockets.push(SocketStorage::EMPTY).is_ok() {}
        let mut sockets = SocketSet::new(sockets.as_mut_slice());
        let mut buffers = received.iter_mut().zip(transmitted);
        let ports = core::array::from_fn(|_| {
            let (received, transmitted): (&mut [u8], &mut [u8]) = match buffers.next() {
                Some((received, transmitted)) => (received, transmitted),
                None => (&mut [], &mut []),
            };
            let mut socket = Socket::new(SocketBuffer::new(received), SocketBuffer::new(transmitted));
            socket.set_nagle_enabled(false);
            socket.set_ack_delay(None);
            socket.set_timeout(Some(SILENCE));
            socket.set_keep_alive(Some(PROBE));
            Port { socket: sockets.add(socket), connection: None, used: now }
        });
        let mut network = Self { interface, ethernet, sockets, ports, refused: 0 };
        network.listen(now);
        network
    }

    /// Takes frames, and hands in what they brought. Whether there were any.
    pub(crate) fn receive(&mut self, now: Instant, broker: &mut Broker<'_>) -> bool {
        let mut has_moved = false;
        for _ in 0..FRAMES_IN_A_TURN {
            let ingress = self.interface.poll_ingress_single(time(now), self.ethernet, &mut self.sockets);
            if matches!(ingress, PollIngressSingleResult::None) {
                break;
            }
            has_moved = true;
        }
        for port in &mut self.ports {
            let socket = self.sockets.get_mut::<Socket<'_>>(port.socket);
            has_moved |= port.receive(now, socket, self.ethernet.spare(), broker, &mut self.refused);
        }
        self.listen(now);
        has_moved
    }

    /// The broker has named `id`: its socket will transmit. Whether it is one of these.
    pub(crate) fn wake(&mut self, id: ConnectionId) -> bool {
        self.ports.iter_mut().filter_map(|port| port.connection.as_mut()).any(|connection| connection.wake(id))
    }

    /// Sends as much as sockets and the other sides take now. Whether anything was.
    pub(crate) fn transmit(&mut self, now: Instant, broker: &mut Broker<'_>) -> bool {
        let mut has_moved = false;
        for port in &mut self.ports {
            has_moved |= port.transmit(now, self.sockets.get_mut(port.socket), broker);
        }
        self.interface.poll_maintenance(time(now));
        self.interface.poll_egress(time(now), self.ethernet, &mut self.sockets);
        has_moved
    }

    /// Memory for others, between receiving and transmitting.
    pub(crate) fn spare(&mut self) -> &mut [u8; SPARE] {
        self.ethernet.spare()
    }

    /// Whether frames wait to be read.
    pub(crate) fn has_input(&self) -> bool {
        self.ethernet.has_frame()
    }

    /// When [`Network::transmit`] is to be called, though nothing has come.
    pub(crate) fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        let due = self.interface.poll_at(time(now), &self.sockets)?;
        Some(Instant::from_millis(u64::try_from(due.total_millis()).unwrap_or(0)))
    }

    /// Clients that were refused, because the broker had no room for them.
    pub(crate) fn refused(&self) -> u32 {
        self.refused
    }

    /// Frames that were thrown away because they were too long.
    pub(crate) fn oversized(&self) -> u32 {
        self.ethernet.oversized()
    }

    /// Makes free sockets listen.
    fn listen(&mut self, now: Instant) {
        let is_any_listening = self.sockets.iter().any(|(_, socket)| {
            let smoltcp::socket::Socket::Tcp(socket) = socket;
            socket.is_listening()
        });
        for port in &mut self.ports {
            port.listen(now, self.sockets.get_mut(port.socket), !is_any_listening);
        }
    }
}

impl Port {
    /// Listens if the socket is free, or if it has been opening or closing for too long.
    fn listen(&mut self, now: Instant, socket: &mut Socket<'_>, is_urgent: bool) {
        if socket.is_listening() || self.connection.is_some() {
            self.used = now;
            return;
        }
        let is_closing = socket.state() != State::SynReceived;
        let limit = if is_closing && is_urgent { HURRIED_MILLIS } else { HANDSHAKE_MILLIS };
        if now.millis_since(self.used) > limit {
            socket.abort();
        }
        // After `abort` a reset is sent first; a delayed duplicate of a segment is told by its sequence number.
        if socket.state() == State::Closed && socket.remote_endpoint().is_none() || socket.state() == State::TimeWait {
            // Fails for a socket in use only, and this is none.
            let _ = socket.listen(PORT);
        }
    }

    /// Opens a connection for a client that has come, hands in what it sent, and ends it when the client has gone.
    fn receive(
        &mut self,
        now: Instant,
        socket: &mut Socket<'_>,
        space: &mut [u8],
        broker: &mut Broker<'_>,
        refused: &mut u32,
    ) -> bool {
        if self.connection.is_none() && socket.may_send() {
            match Connection::open(now, broker) {
                Ok(connection) => self.connection = Some(connection),
                Err(_) => {
                    *refused = refused.wrapping_add(1);
                    socket.abort();
                }
            }
        }
        let Some(connection) = &mut self.connection else { return false };
        let mut has_moved = false;
        while !connection.is_waiting() {
            // In one piece even where it lies around the end of the ring.
            let Ok(len @ 1..) = socket.peek_slice(space) else { break };
            let consumed = connection.hand_in(now, broker, space.get(..len).unwrap_or(&[]));
            if consumed == 0 {
                break;
            }
            has_moved = true;
            take(socket, consumed);
        }
        // A client that has closed its side may still read what is to be sent for the last whole packets that came before.
        let is_done = !has_moved && !connection.is_waiting() && !connection.is_ready();
        if !socket.may_send() || socket.state() == State::CloseWait && is_done {
            self.close(now, socket, broker);
            has_moved = true;
        }
        has_moved
    }

    fn transmit(&mut self, now: Instant, socket: &mut Socket<'_>, broker: &mut Broker<'_>) -> bool {
        let mut has_moved = false;
        while let Some(connection) = self.connection.as_mut().filter(|connection| connection.is_ready())
            && socket.can_send()
        {
            let sent = socket.send(|space| {
                let (written, ends) = connection.transmit(now, broker, space);
                (written, (written, ends))
            });
            let Ok((written, ends)) = sent else { break };
            has_moved |= written > 0;
            if ends == Ends::Yes {
                self.close(now, socket, broker);
            }
        }
        has_moved
    }

    /// Ends the connection; what is in the socket still goes out, for some time.
    fn close(&mut self, now: Instant, socket: &mut Socket<'_>, broker: &mut Broker<'_>) {
        if let Some(connection) = self.connection.take() {
            connection.end(now, broker);
        }
        socket.close();
    }
}

/// Takes `count` bytes out of the receive buffer, in which they may lie in two pieces.
fn take(socket: &mut Socket<'_>, count: usize) {
    let mut left = count;
    while left > 0 {
        let taken = socket.recv(|bytes| {
            let taken = bytes.len().min(left);
            (taken, taken)
        });
        match taken {
            Ok(taken @ 1..) => left -= taken,
            _ => return,
        }
    }
}

fn time(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_millis(i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}
