//! Accepting connections, as many as admission allows.

use super::admission::{Admission, ConnectPermit, ConnectionPermit};
use super::listener_setup::ListenerSetup;
use super::stream_listener::StreamListener;
use super::transport::{Layered, Stream, Transport};
use rustix::io::Errno;
use socket2::SockRef;
use std::fs::File;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::time::sleep;

/// Bytes that the system takes for a connection beyond those that are on their way. By default it takes megabytes for a peer that does not read.
const MOST_UNSENT: u32 = 128 * 1024;

/// Serves the connections that a listener accepts.
pub(crate) trait Reception {
    /// The bounds on connections.
    fn admission(&self) -> &Arc<Admission>;

    /// Counts a connection that was accepted, whatever becomes of it.
    fn count_accepted(&self);

    /// Counts and logs that a connection is closed for want of room.
    fn refuse(&self, peer: Option<SocketAddr>, why: &str);

    /// Serves a new connection.
    fn receive(&self, newcomer: Newcomer);
}

/// A connection that was accepted.
pub(crate) struct Newcomer {
    /// The stream below the layers of its listener.
    pub(crate) transport: Transport,
    /// The address of the client; `None` if it is no address of the network.
    pub(crate) peer: Option<SocketAddr>,
    /// The listener that it came through; `None` if the client is in this process.
    pub(crate) listener: Option<Arc<ListenerSetup>>,
    pub(crate) permit: ConnectionPermit,
    pub(crate) connect_permit: ConnectPermit,
}

/// Accepts connections for ever.
pub(crate) async fn accept(reception: impl Reception, setup: &Arc<ListenerSetup>, listener: StreamListener) {
    let mut reserve = Reserve::open();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                reception.count_accepted();
                let Some(mut permit) = reception.admission().permit_at(Some(setup.index)) else {
                    reception.refuse(
                        peer,
                        "as many are open as connections in [capacity], max in [memory] or the system allows",
                    );
                    continue;
                };
                if let Err(why) = setup.admit(&mut permit, peer) {
                    reception.refuse(peer, why);
                    continue;
                }
                if let Stream::Tcp(stream) = &stream {
                    // Each write has whole packets: waiting for more bytes would only delay them.
                    let _ = stream.set_nodelay(true);
                    // The rest of what a client does not read stays with the core, which counts it.
                    let _ = SockRef::from(stream).set_tcp_notsent_lowat(MOST_UNSENT);
                }
                let connect_permit = reception.admission().wait_for_connect_permit().await;
                if setup.has_layers() && !permit.claim_for_transport(Layered::HANDSHAKE_BYTES) {
                    reception.refuse(peer, "memory is short, and its handshake would need some");
                    continue;
                }
                let (transport, listener) = (Transport::Plain(stream), Some(setup.clone()));
                reception.receive(Newcomer { transport, peer, listener, permit, connect_permit });
            }
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::MFILE | Errno::NFILE) => {
                    reception.admission().complain("no file descriptor is left for another connection", &error);
                    if !reserve.turn_one_away(&listener).await {
                        sleep(PAUSE).await;
                    }
                }
                // The error belongs to one connection, which is gone.
                Some(Errno::CONNABORTED | Errno::CONNRESET | Errno::PROTO | Errno::INTR) => {}
                _ => {
                    reception.admission().complain("could not accept a connection", &error);
                    sleep(PAUSE).await;
                }
            },
        }
    }
}

/// How long to wait when trying again at once would only keep the processor busy.
const PAUSE: Duration = Duration::from_millis(100);

/// A file descriptor that is given up when no other is left. With it a connection can be accepted and closed at once, so that its peer does not
/// wait in vain.
struct Reserve(Option<File>);

impl Reserve {
    fn open() -> Self {
        Self(File::open("/dev/null").ok())
    }

    /// Closes one of the connections that wait to be accepted, if there is any. Without a free descriptor the system does not even look for
    /// such a connection. Returns whether the system has looked.
    async fn turn_one_away(&mut self, listener: &StreamListener) -> bool {
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
