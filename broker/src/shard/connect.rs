//! The first packet of a connection. The Client Identifier in CONNECT says which shard is the connection's home.

use super::connection_ends::{ConnectionEnd, EndReason};
use super::mailbox::{Handover, LocalConnection, Mailboxes};
use super::shared::Shard;
use crate::net::{
    Admission, ConnectPermit, ConnectionPermit, Expected, GRACE, HeaderError, HeaderFault, LayerError, Newcomer,
    Protocol, Reception, TlsFault, Transport, read_header,
};
use crate::output::log::Escaped;
use goldcrest_core::codec::{Connect, PacketType, ReasonCode, peek_type, split};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::task::{spawn_local, yield_now};
use tokio::time::timeout;

/// Who reads the first packet of connections: a shard, or a thread that only does that.
pub(super) trait Lobby: Clone + 'static {
    fn mailboxes(&self) -> &Mailboxes;

    fn admission(&self) -> &Arc<Admission>;

    /// The shard of this thread.
    fn shard(&self) -> Option<&Rc<Shard>>;

    /// Counts and logs that a connection is closed for want of room.
    fn turn_away(&self, peer: Option<SocketAddr>, why: &str) {
        self.mailboxes().connection_ends.count(EndReason::NoRoom);
        self.admission().turn_away(peer, why);
    }

    /// Counts and logs why a connection ends before its CONNECT.
    fn tell(&self, peer: Option<SocketAddr>, end: EndReason, why: fmt::Arguments<'_>) {
        let connection_end = ConnectionEnd { end, client: "", address: peer, was_open: false, why };
        self.mailboxes().connection_ends.tell(&connection_end);
    }
}

impl Lobby for Rc<Shard> {
    fn mailboxes(&self) -> &Mailboxes {
        &self.mailboxes
    }

    fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    fn shard(&self) -> Option<&Rc<Shard>> {
        Some(self)
    }
}

impl<L: Lobby> Reception for L {
    fn admission(&self) -> &Arc<Admission> {
        Lobby::admission(self)
    }

    fn count_accepted(&self) {
        self.mailboxes().accepted.fetch_add(1, Ordering::Relaxed);
    }

    fn refuse(&self, peer: Option<SocketAddr>, why: &str) {
        self.turn_away(peer, why);
    }

    fn receive(&self, newcomer: Newcomer) {
        spawn_local(receive(self.clone(), newcomer));
    }
}

impl Shard {
    /// Serves a new connection from within this process.
    pub(super) fn accept_local(self: &Rc<Self>, connection: LocalConnection) {
        let shard = self.clone();
        spawn_local(async move {
            let LocalConnection { stream, permit } = connection;
            let connect_permit = shard.admission.wait_for_connect_permit().await;
            let transport = Transport::Memory(stream);
            let newcomer = Newcomer { transport, peer: None, listener: None, permit, connect_permit };
            receive(shard, newcomer).await;
        });
    }
}

/// Reads up to the end of CONNECT, and hands the connection to its home shard. A connection without a whole CONNECT is closed.
async fn receive(lobby: impl Lobby, newcomer: Newcomer) {
    let Newcomer { mut transport, mut peer, listener, mut permit, mut connect_permit } = newcomer;
    let since = Instant::now();
    if let Some(listener) = listener {
        let is_proxy = listener.is_proxy(peer);
        if is_proxy {
            match client_of_proxy(&lobby, &mut transport, since).await {
                Ok(Some(client)) => {
                    permit.comes_from(client);
                    peer = Some(client);
                }
                Ok(None) => {}
                Err(failure) => return fail(&lobby, transport, peer, failure).await,
            }
        }
        if is_proxy && let Err(why) = listener.admit_from(&mut permit, peer) {
            return lobby.turn_away(peer, why);
        }
        transport = match listener.with_layers(transport) {
            Ok(transport) => transport,
            Err(error) => return lobby.tell(peer, EndReason::HandshakeFailed, format_args!("{error}")),
        };
    }
    let reading = read(&lobby, &mut transport, peer, (&mut permit, &mut connect_permit), since);
    let (home, bytes) = match in_time(&lobby, since, reading).await {
        Ok(first) => first,
        Err(failure) => return fail(&lobby, transport, peer, failure).await,
    };
    drop(connect_permit);
    // What the handshake took beyond this is free again.
    permit.claim_for_transport(transport.idle_bytes());
    if let Some(shard) = lobby.shard().filter(|shard| shard.index == home) {
        return shard.clone().open_connection(transport, peer, bytes, permit).await;
    }
    match transport.detach() {
        Ok(transport) => lobby.mailboxes().send_home(home, Handover { transport, peer, bytes, permit }),
        Err(error) => {
            tracing::warn!(address = peer.map(tracing::field::display), %error, "a connection could not be sent home")
        }
    }
}

/// Reads the header with which the connection of a proxy begins. Returns the address of the client; `None` if the proxy connects for itself.
async fn client_of_proxy(
    lobby: &impl Lobby,
    transport: &mut Transport,
    since: Instant,
) -> Result<Option<SocketAddr>, ConnectFailure> {
    let reading = async {
        let failure = |error| match error {
            HeaderError::Lost(error, read) => ConnectFailure::Peer(error, read),
            HeaderError::Fault(fault) => ConnectFailure::Header(fault),
        };
        let mut reading = pin!(read_header(transport));
        loop {
            tokio::select! {
                read = &mut reading => return read.map_err(failure),
                () = lobby.admission().pressure.notified() => {
                    if since.elapsed() < GRACE {
                        continue;
                    }
                    // Perhaps the header arrived while the process was stopped.
                    yield_now().await;
                    let last = timeout(Duration::ZERO, &mut reading).await;
                    return last.map_or(Err(ConnectFailure::Pressed(TOO_MANY)), |read| read.map_err(failure));
                }
            }
        }
    };
    in_time(lobby, since, reading).await
}

/// Counts and logs why a connection has no CONNECT. A client whose handshake failed gets a moment to read why.
async fn fail(lobby: &impl Lobby, mut transport: Transport, peer: Option<SocketAddr>, failure: ConnectFailure) {
    match failure {
        // A health check connects, sends nothing and closes: that is not worth a log line.
        ConnectFailure::Peer(error, 0) => {
            lobby.mailboxes().connection_ends.count(EndReason::LostBeforeConnect);
            tracing::debug!(address = peer.map(tracing::field::display), %error, "closed before CONNECT");
        }
        ConnectFailure::Peer(_, read) => lobby.tell(
            peer,
            EndReason::LostBeforeConnect,
            format_args!("it closed the connection after {read} bytes, in the midst of its CONNECT"),
        ),
        ConnectFailure::Foreign(protocol, expected) => {
            lobby.tell(peer, EndReason::Foreign(protocol), format_args!("{}", protocol.instead_of(expected)));
        }
        ConnectFailure::Handshake(error) => {
            lobby.tell(peer, EndReason::HandshakeFailed, format_args!("{}", TlsFault(&error)));
            // The last bytes would be lost if the socket were closed with bytes of the client unread.
            if transport.end_writing().is_ok() {
                let _ = timeout(LAST_WORDS, transport.drain(MOST_DRAINED)).await;
            }
        }
        ConnectFailure::Header(fault) => lobby.tell(peer, EndReason::HandshakeFailed, format_args!("{fault}")),
        ConnectFailure::Pressed(why) => lobby.turn_away(peer, why),
        ConnectFailure::TooLate => {
            let why = format_args!("no whole CONNECT came in time");
            lobby.tell(peer, EndReason::Code(ReasonCode::MaximumConnectTime), why);
        }
    }
}

/// Why a connection is closed that has waited for its CONNECT.
const TOO_MANY: &str = "too many others wait to say CONNECT too";

/// A client whose handshake failed has this time to read why, and may send so many bytes meanwhile.
const LAST_WORDS: Duration = Duration::from_secs(1);
const MOST_DRAINED: usize = 64 * 1024;

/// Why a connection has no CONNECT.
enum ConnectFailure {
    /// The peer closed the connection, or the network lost it, after so many bytes.
    Peer(io::Error, usize),
    /// The client speaks another protocol than the listener.
    Foreign(Protocol, Expected),
    /// The client breaks the protocol that is to come before MQTT, or is not let in by it.
    Handshake(io::Error),
    /// The peer is a proxy, and does not say who its client is.
    Header(HeaderFault),
    Pressed(&'static str),
    /// The time for CONNECT is over.
    TooLate,
}

impl ConnectFailure {
    /// The failure for an `error` of reading, after so many bytes of MQTT.
    fn of(error: io::Error, read: usize) -> Self {
        if error.kind() != io::ErrorKind::InvalidData {
            return Self::Peer(error, read);
        }
        match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(LayerError::Foreign(protocol, expected)) => Self::Foreign(*protocol, *expected),
            _ => Self::Handshake(error),
        }
    }
}

/// Waits for `reading`, until the time for CONNECT is over.
async fn in_time<T>(
    lobby: &impl Lobby,
    since: Instant,
    reading: impl Future<Output = Result<T, ConnectFailure>>,
) -> Result<T, ConnectFailure> {
    let left = lobby.admission().connect_timeout.saturating_sub(since.elapsed());
    let mut reading = pin!(reading);
    let first = match timeout(left, &mut reading).await {
        Err(_) => {
            // After the process was stopped for a while, the time may be over before the runtime has asked the system for arrived bytes.
            yield_now().await;
            timeout(Duration::ZERO, reading).await
        }
        first => first,
    };
    first.unwrap_or(Err(ConnectFailure::TooLate))
}

/// Reads up to the end of CONNECT. Returns the home shard, and all bytes that were read.
async fn read(
    lobby: &impl Lobby,
    transport: &mut Transport,
    peer: Option<SocketAddr>,
    (permit, connect_permit): (&mut ConnectionPermit, &mut ConnectPermit),
    since: Instant,
) -> Result<(u16, Vec<u8>), ConnectFailure> {
    let mut bytes = Vec::new();
    loop {
        tokio::select! {
            ready = transport.readable() => ready.map_err(|error| ConnectFailure::Peer(error, bytes.len()))?,
            () = lobby.admission().pressure.notified() => {
                if since.elapsed() < GRACE {
                    continue;
                }
                // Perhaps CONNECT arrived while the process was stopped.
                yield_now().await;
                if timeout(Duration::ZERO, transport.readable()).await.is_err() {
                    return Err(ConnectFailure::Pressed(TOO_MANY));
                }
            }
        }
        let before = bytes.len();
        let read = read_chunk(transport, &mut bytes);
        let arrived = transport.take_arrived(bytes.len() - before);
        if !connect_permit.grow(arrived) || !claim(permit, bytes.capacity() + transport.held()) {
            return Err(ConnectFailure::Pressed("unfinished CONNECT packets fill the memory set apart for them"));
        }
        match read {
            Ok(0) => return Err(ConnectFailure::Peer(io::ErrorKind::UnexpectedEof.into(), bytes.len())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(ConnectFailure::of(error, bytes.len())),
        }
        if let Some(protocol) = Protocol::of(&bytes) {
            return Err(ConnectFailure::Foreign(protocol, Expected::Mqtt));
        }
        if let Some(home) = home(&bytes, lobby, peer) {
            return Ok((home, bytes));
        }
    }
}

/// Claims memory for an unfinished CONNECT. For a small one there is a reserve.
fn claim(permit: &mut ConnectionPermit, bytes: usize) -> bool {
    if bytes <= SMALL { permit.claim(bytes) } else { permit.claim_for_packet(bytes, false) }
}

/// A CONNECT of so many bytes is small.
const SMALL: usize = 4096;

fn read_chunk(transport: &mut Transport, bytes: &mut Vec<u8>) -> io::Result<usize> {
    let mut chunk = [0; 4096];
    let read = transport.try_read_ready(&mut chunk)?;
    bytes.extend_from_slice(&chunk[..read]);
    Ok(read)
}

/// The home shard, once there are enough `bytes` to tell. If the packet is anything but a correct CONNECT, this shard is the home, or any if this
/// thread has none: its core refuses the packet as the specification says.
fn home(bytes: &[u8], lobby: &impl Lobby, peer: Option<SocketAddr>) -> Option<u16> {
    let shards = lobby.mailboxes().shards();
    let any = || lobby.admission().any_home(shards);
    let here = || Some(lobby.shard().map_or_else(any, |shard| shard.index));
    if peek_type(bytes) != Some(PacketType::Connect) {
        return here();
    }
    let Ok(whole) = split(bytes, lobby.admission().connect_bytes) else { return here() };
    let (frame, _) = whole?;
    let Ok(connect) = Connect::decode(frame) else { return here() };
    tracing::debug!(client = %Escaped(connect.client_id), address = peer.map(tracing::field::display), version = %connect.version, "CONNECT");
    Some(match connect.client_id {
        // The core of that shard assigns a Client Identifier whose home is the same shard.
        "" => any(),
        id => goldcrest_core::Shard::home_of(id.as_bytes(), shards),
    })
}
