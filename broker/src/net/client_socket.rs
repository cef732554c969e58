//! A socket that clients connect to, of either kind.

use super::listen_socket::ListenSocket;
use super::stream_listener::StreamListener;
use super::unix_socket::UnixSocket;
use crate::config::ListenerAddress;
use std::io;
use std::net::SocketAddr;

/// A socket that clients connect to, on its way from being bound to listening.
pub(crate) enum ClientSocket {
    Network(ListenSocket),
    Unix(UnixSocket),
}

impl ClientSocket {
    /// The address of the socket, once it is known. A Unix socket has none.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Network(socket) => socket.address(),
            Self::Unix(_) => None,
        }
    }

    /// The place of its listener in the configuration.
    pub(crate) fn index(&self) -> usize {
        match self {
            Self::Network(socket) => socket.index(),
            Self::Unix(socket) => socket.index,
        }
    }

    /// Makes the system accept connections from now on.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn listen(self) -> Result<Self, (ListenerAddress, io::Error)> {
        match self {
            Self::Network(socket) => {
                socket.listen().map(Self::Network).map_err(|(address, error)| (address.into(), error))
            }
            Self::Unix(socket) => socket.listen().map(|()| Self::Unix(socket)),
        }
    }

    /// Runs `accept` while the socket is there, and waits for its address while there is none. `accept` never ends by itself.
    ///
    /// # Errors
    /// The socket is lost.
    pub(crate) async fn serve<A: Future>(self, accept: impl Fn(StreamListener) -> A) -> io::Result<()> {
        match self {
            Self::Network(socket) => socket.serve(|listener| accept(StreamListener::Tcp(listener))).await,
            Self::Unix(socket) => {
                let listener = tokio::net::UnixListener::from_std(socket.into_listener())?;
                accept(StreamListener::Unix(listener)).await;
                Ok(())
            }
        }
    }
}
