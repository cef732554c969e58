//! The stream of bytes below a [`Socket`](super::Socket): over TCP, with TLS between, or in memory.
//!
//! To add a transport, add a variant to [`Transport`], with its part in each method; [`Detached`] is how it goes from one thread to
//! another. An event loop hears of bytes only when they arrive. So a transport that keeps bytes inside, such as decrypted ones, must report
//! them in [`Transport::wake_when_readable`].

mod certificate;
mod layered;
pub(crate) mod memory;
mod stream;

pub use self::certificate::ClientCertificate;
pub(super) use self::certificate::sha256;
pub(crate) use self::layered::{LayerError, Layered, check_websocket};
pub(crate) use self::stream::Stream;

use layered::Layers;
use memory::MemoryStream;
use rustls::ServerConfig;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use stream::DetachedStream;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

/// The stream of one Network Connection. It is registered with the runtime of the thread that it is used on.
pub(crate) enum Transport {
    /// A socket of the system.
    Plain(Stream),
    /// A socket of the system whose bytes are not those of MQTT.
    Layered(Box<Layered>),
    /// The other end is in this process.
    Memory(Box<MemoryStream>),
}

// The other variants make `Transport` no larger than a TCP connection and the word that tells them apart.
const _: () = assert!(size_of::<Transport>() <= size_of::<TcpStream>() + size_of::<usize>());

/// Who is asked whether there are bytes to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asking {
    /// The runtime, which knows what the system reported last.
    Runtime,
    /// The system, at the price of a call: the runtime may not have heard of it yet.
    System,
}

impl Transport {
    /// The address of the peer, if it is known. A peer in this process has no address.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Plain(stream) => stream.peer(),
            Self::Layered(stream) => stream.peer(),
            Self::Memory(_) => None,
        }
    }

    /// The user of the peer's process, if it has connected through a Unix socket.
    pub(crate) fn peer_uid(&self) -> Option<u32> {
        match self {
            Self::Plain(stream) => stream.peer_uid(),
            Self::Layered(stream) => stream.peer_uid(),
            Self::Memory(_) => None,
        }
    }

    /// The same stream with these layers between its bytes and those of MQTT.
    ///
    /// # Errors
    /// A layer can't begin.
    pub(crate) fn with_layers(
        self,
        tls: Option<Arc<ServerConfig>>,
        origins: Option<Arc<[String]>>,
    ) -> io::Result<Self> {
        match self {
            Self::Plain(stream) if tls.is_some() || origins.is_some() => {
                Layered::new(stream, tls, origins).map(|stream| Self::Layered(Box::new(stream)))
            }
            transport => Ok(transport),
        }
    }

    /// The certificate that the peer has shown.
    pub(crate) fn certificate(&self) -> Option<&Arc<ClientCertificate>> {
        match self {
            Self::Layered(stream) => stream.certificate(),
            Self::Plain(_) | Self::Memory(_) => None,
        }
    }

    /// The bytes of memory that it holds for bytes that wait.
    pub(crate) fn held(&self) -> usize {
        match self {
            Self::Layered(stream) => stream.held(),
            // The bytes in a memory stream are bounded, and few have one.
            Self::Plain(_) | Self::Memory(_) => 0,
        }
    }

    /// The bytes of memory that it takes while it is idle, beyond those of a connection over TCP.
    pub(crate) fn idle_bytes(&self) -> usize {
        match self {
            Self::Layered(stream) => stream.idle_bytes(),
            Self::Plain(_) | Self::Memory(_) => 0,
        }
    }

    /// How many bytes have come that can't be read before others have come.
    pub(crate) fn begun(&self) -> usize {
        match self {
            Self::Layered(stream) => stream.begun(),
            Self::Plain(_) | Self::Memory(_) => 0,
        }
    }

    /// How many bytes have come from the peer since the last call, where the last read yielded `read`.
    pub(crate) fn take_arrived(&mut self, read: usize) -> usize {
        match self {
            Self::Layered(stream) => stream.take_arrived(),
            Self::Plain(_) | Self::Memory(_) => read,
        }
    }

    /// Whether it has accepted bytes that the system has not. It accepts no others meanwhile. `None`: it keeps none, so what it has not accepted stays
    /// with the writer.
    pub(crate) fn holds_unsent(&self) -> Option<bool> {
        match self {
            Self::Layered(stream) => Some(stream.holds_unsent()),
            Self::Plain(_) | Self::Memory(_) => None,
        }
    }

    /// Writes bytes that it has accepted, as many as the system takes.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Layered(stream) => stream.flush(),
            Self::Plain(_) | Self::Memory(_) => Ok(()),
        }
    }

    /// Reads once. At the end of the peer's bytes nothing is read, which is no error.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        asking: Asking,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match (self, asking) {
            (Self::Plain(stream), Asking::Runtime) => stream.poll_read(cx, into),
            (Self::Plain(stream), Asking::System) => stream.poll_read_of_system(into),
            (Self::Layered(stream), asking) => stream.poll_read(cx, asking, into),
            (Self::Memory(stream), _) => Pin::new(&mut **stream).poll_read(cx, into),
        }
    }

    /// Reads once, whether or not the runtime has heard of bytes.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`]: there is nothing yet.
    pub(crate) fn try_read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.try_read_of_system(into),
            Self::Layered(stream) => stream.try_read(Asking::System, into),
            Self::Memory(stream) => stream.try_read(into),
        }
    }

    /// Makes the runtime wake `cx` when there is something to read: for a reader that stops before [`Transport::poll_read`] has said
    /// `Pending`. If bytes may be waiting already, `cx` is woken at once. Over TCP it always is: only a system call would tell whether
    /// bytes are waiting.
    pub(crate) fn wake_when_readable(&self, cx: &Context<'_>) {
        let may_be_readable = match self {
            Self::Plain(_) | Self::Layered(_) => true,
            Self::Memory(stream) => stream.poll_readable(cx).is_ready(),
        };
        if may_be_readable {
            cx.waker().wake_by_ref();
        }
    }

    /// Writes once. Returns how many bytes the transport accepted.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`]: the transport accepts no bytes now. Any other error: it never will again.
    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.try_write(bytes),
            Self::Layered(stream) => stream.try_write(&[IoSlice::new(bytes)]),
            Self::Memory(stream) => stream.try_write(bytes),
        }
    }

    /// As [`Transport::try_write`], for bytes that stand in several places.
    pub(crate) fn try_write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.try_write_vectored(parts),
            Self::Layered(stream) => stream.try_write(parts),
            Self::Memory(stream) => stream.try_write_vectored(parts),
        }
    }

    /// Ready when a write may be tried again.
    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => stream.poll_write_ready(cx),
            Self::Layered(stream) => stream.poll_write_ready(cx),
            Self::Memory(stream) => stream.poll_write_ready(cx),
        }
    }

    /// Ends when there is something to read, or the end is reached.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.readable().await,
            Self::Layered(stream) => stream.readable().await,
            Self::Memory(stream) => {
                stream.readable().await;
                Ok(())
            }
        }
    }

    /// As [`Transport::try_read`], but asks the runtime first: after [`Transport::readable`].
    pub(crate) fn try_read_ready(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.try_read(into),
            Self::Layered(stream) => stream.try_read(Asking::Runtime, into),
            Self::Memory(stream) => stream.try_read(into),
        }
    }

    /// As [`Transport::try_read_ready`], for bytes that nobody wants.
    fn try_discard(&self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.try_read(into),
            Self::Layered(stream) => stream.try_discard(into),
            Self::Memory(stream) => stream.try_read(into),
        }
    }

    /// Ends when a write may be tried again.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_write_ready(cx)).await
    }

    /// Tells the peer that no more bytes follow. The peer may still send.
    pub(crate) fn end_writing(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.end_writing(),
            Self::Layered(stream) => stream.end_writing(),
            Self::Memory(stream) => {
                stream.end_writing();
                Ok(())
            }
        }
    }

    /// Reads bytes and discards them, until the peer has closed its side too, or has sent `budget` bytes.
    pub(crate) async fn drain(&self, mut budget: usize) -> io::Result<()> {
        while budget > 0 {
            self.arrival().await?;
            match self.try_discard(&mut [0; 4096]) {
                Ok(0) => break,
                Ok(read) => budget -= read.min(budget),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Ends when the system has bytes of the peer, or the end.
    async fn arrival(&self) -> io::Result<()> {
        match self {
            Self::Layered(stream) => stream.arrival().await,
            Self::Plain(_) | Self::Memory(_) => self.readable().await,
        }
    }

    /// Removes the stream from the runtime of this thread.
    ///
    /// # Errors
    /// The runtime or the system refuses.
    pub(crate) fn detach(self) -> io::Result<Detached> {
        match self {
            Self::Plain(stream) => Ok(Detached::Plain(stream.detach()?)),
            Self::Layered(stream) => {
                let (stream, layers) = stream.detach()?;
                Ok(Detached::Layered(stream, layers))
            }
            Self::Memory(stream) => Ok(Detached::Memory(stream)),
        }
    }
}

/// A [`Transport`] on its way to another thread, which has another runtime.
pub(crate) enum Detached {
    Plain(DetachedStream),
    Layered(DetachedStream, Box<Layers>),
    Memory(Box<MemoryStream>),
}

impl Detached {
    /// Gives the stream to the runtime of this thread.
    ///
    /// # Errors
    /// The runtime or the system refuses.
    pub(crate) fn attach(self) -> io::Result<Transport> {
        match self {
            Self::Plain(stream) => Ok(Transport::Plain(stream.attach()?)),
            Self::Layered(stream, layers) => Ok(Transport::Layered(Box::new(Layered::attach(stream, *layers)?))),
            Self::Memory(stream) => Ok(Transport::Memory(stream)),
        }
    }
}

/// A transport as a source of bytes for one read.
pub(super) struct Source<'t> {
    pub(super) transport: &'t mut Transport,
    pub(super) asking: Asking,
}

impl AsyncRead for Source<'_> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let asking = self.asking;
        self.transport.poll_read(cx, asking, into)
    }
}
