//! Where connections come in: a listener accepts them, reads CONNECT, and sends them to their home shard.

mod connect;
mod lobby;

pub(crate) use lobby::{Lobby, Seat, UNFINISHED_BYTES};

use crate::shard::Shard;
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::spawn_local;
use tokio::time::sleep;

/// Connections that the system completes before they are accepted: a crowd that reconnects at once fits in.
const BACKLOG: i32 = 4096;

/// Opens a listening socket.
pub(crate) fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // The connections of a gateway that ran before don't keep the next one from listening.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // [::] is IPv6 alone on every system, and can stand beside 0.0.0.0.
        socket.set_only_v6(true)?;
    }
    // Clients that vanish without Keep Alive are noticed all the same. The sockets that are accepted inherit it.
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(Duration::from_secs(300)))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Accepts connections for ever.
pub(crate) async fn accept(shard: Rc<Shard>, listener: TcpListener) {
    let mut reserve = Reserve::open();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let Some(seat) = shard.lobby.seat() else {
                    shard
                        .lobby
                        .turn_away(peer, "as many connections are open as capacity.connections or the system allows");
                    continue;
                };
                // Answers are whole packets already; to hold them back for more would only delay them.
                let _ = stream.set_nodelay(true);
                let ticket = shard.lobby.wait_for_ticket().await;
                spawn_local(connect::receive(shard.clone(), stream, peer, seat, ticket));
            }
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::MFILE | Errno::NFILE) => {
                    shard.lobby.complain("no file descriptor is left for another connection", &error);
                    if !reserve.turn_one_away(&listener).await {
                        sleep(PAUSE).await;
                    }
                }
                // The fault of one connection, which is gone.
                Some(Errno::CONNABORTED | Errno::CONNRESET | Errno::PROTO | Errno::INTR) => {}
                _ => {
                    shard.lobby.complain("could not accept a connection", &error);
                    sleep(PAUSE).await;
                }
            },
        }
    }
}

/// Time to wait where trying again at once would only keep the processor busy.
const PAUSE: Duration = Duration::from_millis(100);

/// A file descriptor that is given up to accept a connection when there is no other, so that its peer is told by a close
/// and does not wait in vain.
struct Reserve(Option<File>);

impl Reserve {
    fn open() -> Self {
        Self(File::open("/dev/null").ok())
    }

    /// Closes the connection that waits to be accepted, if one does: without a free descriptor the system does not even
    /// look. Whether that could be found out.
    async fn turn_one_away(&mut self, listener: &TcpListener) -> bool {
        if self.0.take().is_none() {
            *self = Self::open();
            return false;
        }
        let accepted = poll_fn(|cx| Poll::Ready(listener.poll_accept(cx))).await;
        let is_known = !matches!(accepted, Poll::Ready(Err(_)));
        drop(accepted);
        *self = Self::open();
        is_known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_an_error() {
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = bind(first.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_port_is_free_again_after_its_connections_were_closed() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(address).unwrap();
        listener.set_nonblocking(false).unwrap();
        // Closed on this side first: it is this side that remembers the connection.
        drop(listener.accept().unwrap());
        drop((listener, client));
        bind(address).unwrap();
    }
}
