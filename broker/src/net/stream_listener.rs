//! A socket that accepts connections of the system.

use super::transport::Stream;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use tokio::net::{TcpListener, UnixListener};

/// A socket that accepts connections. It is registered with the runtime of the thread that it is used on.
#[derive(Debug)]
pub(crate) enum StreamListener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl StreamListener {
    /// Accepts a connection. The address is that of the peer; a peer at a Unix socket has none.
    ///
    /// # Errors
    /// The system refuses, for example for want of a descriptor, or the connection is gone already.
    pub(super) async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// As [`StreamListener::accept`].
    pub(super) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, Option<SocketAddr>)>> {
        match self {
            Self::Tcp(listener) => listener.poll_accept(cx).map_ok(|(stream, peer)| (stream.into(), Some(peer))),
            Self::Unix(listener) => listener.poll_accept(cx).map_ok(|(stream, _)| (Stream::Unix(stream), None)),
        }
    }
}
