//! The first packet of a connection. The Client Identifier in CONNECT says which shard is the connection's home.

use super::connection_ends::{ConnectionEnd, EndReason};
use super::mailbox::{Handover, LocalConnection};
use super::shared::Shard;
use crate::net::{Admission, ConnectPermit, ConnectionPermit, GRACE, Protocol, Reception, Transport};
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
use tokio::time::error::Elapsed;
use tokio::time::timeout;

impl Reception for Rc<Shard> {
    fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    fn count_accepted(&self) {
        self.mailboxes.accepted.fetch_add(1, Ordering::Relaxed);
    }

    fn refuse(&self, peer: SocketAddr, why: &str) {
        self.turn_away(Some(peer), why);
    }

    fn receive(&self, transport: Transport, peer: SocketAddr, permit: ConnectionPermit, connect_permit: ConnectPermit) {
        spawn_local(receive(self.clone(), transport, Some(peer), permit, connect_permit));
    }
}

impl Shard {
    /// Serves a new connection from within this process.
    pub(super) fn accept_local(self: &Rc<Self>, connection: LocalConnection) {
        let shard = self.clone();
        spawn_local(async move {
            let LocalConnection { stream, permit } = connection;
            let connect_permit = shard.admission.wait_for_connect_permit().await;
            receive(shard, Transport::Memory(stream), None, permit, connect_permit).await;
        });
    }
}

/// Reads up to the end of CONNECT, and hands the connection to its home shard. A connection without a whole CONNECT is closed.
async fn receive(
    shard: Rc<Shard>,
    transport: Transport,
    peer: Option<SocketAddr>,
    mut permit: ConnectionPermit,
    mut connect_permit: ConnectPermit,
) {
    let tell = |end, why: fmt::Arguments<'_>| {
        shard.mailboxes.connection_ends.tell(&ConnectionEnd { end, client: "", address: peer, was_open: false, why });
    };
    let (home, bytes) = match read_in_time(&shard, &transport, peer, (&mut permit, &mut connect_permit)).await {
        Ok(Ok(first)) => first,
        // A health check connects, sends nothing and closes: that is not worth a log line.
        Ok(Err(ConnectFailure::Peer(error, 0))) => {
            shard.mailboxes.connection_ends.count(EndReason::LostBeforeConnect);
            return tracing::debug!(address = peer.map(tracing::field::display), %error, "closed before CONNECT");
        }
        Ok(Err(ConnectFailure::Peer(_, read))) => {
            return tell(
                EndReason::LostBeforeConnect,
                format_args!("it closed the connection after {read} bytes, in the midst of its CONNECT"),
            );
        }
        Ok(Err(ConnectFailure::Foreign(protocol))) => {
            return tell(EndReason::Foreign(protocol), format_args!("{protocol}"));
        }
        Ok(Err(ConnectFailure::Pressed(why))) => return shard.turn_away(peer, why),
        Err(_) => {
            let why = format_args!("no whole CONNECT came in time");
            return tell(EndReason::Code(ReasonCode::MaximumConnectTime), why);
        }
    };
    drop(connect_permit);
    if home == shard.index {
        return shard.open_connection(transport, peer, bytes, permit).await;
    }
    match transport.detach() {
        Ok(transport) => shard.mailboxes.send_home(home, Handover { transport, peer, bytes, permit }),
        Err(error) => {
            tracing::warn!(address = peer.map(tracing::field::display), %error, "a connection could not be sent home")
        }
    }
}

/// Why a connection has no CONNECT.
enum ConnectFailure {
    /// The peer closed the connection, or the network lost it, after so many bytes.
    Peer(io::Error, usize),
    /// The client speaks another protocol than MQTT.
    Foreign(Protocol),
    Pressed(&'static str),
}

/// As [`read`], but with a time limit.
async fn read_in_time(
    shard: &Shard,
    transport: &Transport,
    peer: Option<SocketAddr>,
    permits: (&mut ConnectionPermit, &mut ConnectPermit),
) -> Result<Result<(u16, Vec<u8>), ConnectFailure>, Elapsed> {
    let mut reading = pin!(read(shard, transport, peer, permits));
    match timeout(shard.admission.connect_timeout, &mut reading).await {
        Err(_) => {
            // After the process was stopped for a while, the time may be over before the runtime has asked the system for arrived bytes.
            yield_now().await;
            timeout(Duration::ZERO, reading).await
        }
        first => first,
    }
}

/// Reads up to the end of CONNECT. Returns the home shard, and all bytes that were read.
async fn read(
    shard: &Shard,
    transport: &Transport,
    peer: Option<SocketAddr>,
    (permit, connect_permit): (&mut ConnectionPermit, &mut ConnectPermit),
) -> Result<(u16, Vec<u8>), ConnectFailure> {
    let since = Instant::now();
    let mut bytes = Vec::new();
    loop {
        tokio::select! {
            ready = transport.readable() => ready.map_err(|error| ConnectFailure::Peer(error, bytes.len()))?,
            () = shard.admission.pressure.notified() => {
                if since.elapsed() < GRACE {
                    continue;
                }
                // Perhaps CONNECT arrived while the process was stopped.
                yield_now().await;
                if timeout(Duration::ZERO, transport.readable()).await.is_err() {
                    return Err(ConnectFailure::Pressed("too many others wait to say CONNECT too"));
                }
            }
        }
        let read = match read_chunk(transport, &mut bytes) {
            Ok(0) => return Err(ConnectFailure::Peer(io::ErrorKind::UnexpectedEof.into(), bytes.len())),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(ConnectFailure::Peer(error, bytes.len())),
        };
        if !connect_permit.grow(read) || !claim(permit, bytes.capacity()) {
            return Err(ConnectFailure::Pressed("unfinished CONNECT packets fill the memory set apart for them"));
        }
        if let Some(protocol) = Protocol::of(&bytes) {
            return Err(ConnectFailure::Foreign(protocol));
        }
        if let Some(home) = home(&bytes, shard, peer) {
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

fn read_chunk(transport: &Transport, bytes: &mut Vec<u8>) -> io::Result<usize> {
    let mut chunk = [0; 4096];
    let read = transport.try_read_ready(&mut chunk)?;
    bytes.extend_from_slice(&chunk[..read]);
    Ok(read)
}

/// The home shard, once there are enough `bytes` to tell. If the packet is anything but a correct CONNECT, this shard is the home: its core refuses
/// the packet as the specification says.
fn home(bytes: &[u8], shard: &Shard, peer: Option<SocketAddr>) -> Option<u16> {
    let here = Some(shard.index);
    if peek_type(bytes) != Some(PacketType::Connect) {
        return here;
    }
    let Ok(whole) = split(bytes, shard.admission.connect_bytes) else { return here };
    let (frame, _) = whole?;
    let Ok(connect) = Connect::decode(frame) else { return here };
    tracing::debug!(client = %Escaped(connect.client_id), address = peer.map(tracing::field::display), version = %connect.version, "CONNECT");
    let shards = shard.mailboxes.shards();
    Some(match connect.client_id {
        // The core of that shard assigns a Client Identifier whose home is the same shard.
        "" => shard.admission.any_home(shards),
        id => goldcrest_core::Shard::home_of(id.as_bytes(), shards),
    })
}
