//! TCP/IP, and the Network Connections of its sockets.
//!
//! smoltcp has no queue of clients that wait to be accepted: each listening socket accepts one client. All unused sockets
//! listen. When none listens, a socket that is still closing is aborted, so that closing connections keep no new client out.

use goldcrest_core::{Broker, ConnectionId, Instant, Limits};
use smoltcp::iface::{Config, Interface, PollIngressSingleResult, SocketHandle, SocketSet, SocketStorage};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Duration;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr, Ipv4Address};

use crate::board::{Ethernet, SPARE};
use crate::connection::{Connection, Ends};

const PORT: u16 = 1883;
/// The address that QEMU's user network expects. A product would use DHCP.
const ADDRESS: Ipv4Address = Ipv4Address::new(10, 0, 2, 15);
const PREFIX_BITS: u8 = 24;
const GATEWAY: Ipv4Address = Ipv4Address::new(10, 0, 2, 2);

/// The most clients at once. A further client is refused by a TCP reset.
pub(crate) const SOCKETS: usize = 8;
/// The receive buffer in bytes. A packet stays in it until the packet is whole.
const RECEIVE: usize = Limits::FIRMWARE.packet_bytes as usize;
/// The transmit buffer in bytes. Longer packets are sent in pieces.
const TRANSMIT: usize = 256;
/// The most frames that are read in one turn, so that a flood of frames leaves time for other work.
const FRAMES_IN_A_TURN: usize = 8;

/// After this time without an answer a host counts as gone, and the Will of its client is published, even with Keep Alive 0.
const SILENCE: Duration = Duration::from_secs(60);
const PROBE: Duration = Duration::from_secs(20);
/// The time that opening or closing a connection may take, in milliseconds. The second constant holds for closing while a
/// new client may be waiting for a socket.
const HANDSHAKE_MILLIS: u64 = 10_000;
const HURRIED_MILLIS: u64 = 500;

/// The buffers of the network. Declare both as `static`s of their own: the second begins as zeros, which take no flash.
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

    /// Turns Ethernet on, so that frames can arrive. Returns the hardware address.
    pub(crate) fn start(&mut self) -> [u8; 6] {
        self.ethernet.start()
    }

    /// As [`Network::spare`].
    pub(crate) fn spare(&mut self) -> &mut [u8; SPARE] {
        self.ethernet.spare()
    }
}

/// The network and its clients.
pub(crate) struct Network {
    interface: Interface,
    ethernet: &'static mut Ethernet,
    sockets: SocketSet<'static>,
    ports: [Port; SOCKETS],
    /// Clients that were refused because the broker had no room.
    refused: u32,
}

/// A socket, and the Network Connection on it.
struct Port {
    socket: SocketHandle,
    connection: Option<Connection>,
    /// When the socket last listened or had a connection.
    used: Instant,
}

impl Network {
    /// Sets the network up. `seed` makes TCP sequence numbers hard to guess.
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
        // The list has room for this one address, and the table for this one route.
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

    /// Reads frames, and hands received bytes to the broker. Returns whether there were any frames.
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

    /// The broker has named `id`: its socket will transmit. Returns whether `id` is a connection of the network.
    pub(crate) fn wake(&mut self, id: ConnectionId) -> bool {
        self.ports.iter_mut().filter_map(|port| port.connection.as_mut()).any(|connection| connection.wake(id))
    }

    /// Sends as many bytes as sockets and peers accept now. Returns whether there were any.
    pub(crate) fn transmit(&mut self, now: Instant, broker: &mut Broker<'_>) -> bool {
        let mut has_moved = false;
        for port in &mut self.ports {
            has_moved |= port.transmit(now, self.sockets.get_mut(port.socket), broker);
        }
        self.interface.poll_maintenance(time(now));
        self.interface.poll_egress(time(now), self.ethernet, &mut self.sockets);
        has_moved
    }

    /// A buffer for other uses, between receiving and transmitting.
    pub(crate) fn spare(&mut self) -> &mut [u8; SPARE] {
        self.ethernet.spare()
    }

    /// Whether received frames wait to be read.
    pub(crate) fn has_input(&self) -> bool {
        self.ethernet.has_frame()
    }

    /// When [`Network::transmit`] must be called even if no frame arrives.
    pub(crate) fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        let due = self.interface.poll_at(time(now), &self.sockets)?;
        Some(Instant::from_millis(u64::try_from(due.total_millis()).unwrap_or(0)))
    }

    /// How many clients were refused because the broker had no room.
    pub(crate) fn refused(&self) -> u32 {
        self.refused
    }

    /// How many frames were discarded because they were too long.
    pub(crate) fn oversized(&self) -> u32 {
        self.ethernet.oversized()
    }

    /// Lets unused sockets listen.
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
    /// Lets the socket listen if it is unused, or if it has been opening or closing for too long.
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
        // After `abort` smoltcp first sends a reset. A delayed duplicate of an old segment is recognized by its sequence
        // number.
        if socket.state() == State::Closed && socket.remote_endpoint().is_none() || socket.state() == State::TimeWait {
            // `listen` fails only for a socket in use, and this socket is unused.
            let _ = socket.listen(PORT);
        }
    }

    /// Opens a connection for a new client, hands its bytes to the broker, and ends the connection when the client has
    /// closed it.
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
            // The bytes come in one piece, even where they wrap around the end of the ring buffer.
            let Ok(len @ 1..) = socket.peek_slice(space) else { break };
            let consumed = connection.hand_in(now, broker, space.get(..len).unwrap_or(&[]));
            if consumed == 0 {
                break;
            }
            has_moved = true;
            take(socket, consumed);
        }
        // A client that has closed its sending side may still read the replies to its last whole packets.
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

    /// Ends the connection. Bytes in the socket are still sent, for a limited time.
    fn close(&mut self, now: Instant, socket: &mut Socket<'_>, broker: &mut Broker<'_>) {
        if let Some(connection) = self.connection.take() {
            connection.end(now, broker);
        }
        socket.close();
    }
}

/// Removes `count` bytes from the receive buffer, where they may be in two pieces.
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
