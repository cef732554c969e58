//! One Network Connection as its shard sees it: bytes in, bytes out, and what waits in between.

use crate::backlog::Backlog;
use crate::listener::Seat;
use goldcrest_core::ConnectionId;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Bytes that one read takes at most, and one write gives.
pub(crate) const CHUNK: usize = 64 * 1024;

/// A rest of up to this many bytes is copied in front of what is read next; behind a longer one the new bytes are
/// put.
const SHORT_REST: usize = 16 * 1024;

/// The length of a buffer for [`Socket::poll_read`].
pub(crate) const READ_BUFFER: usize = SHORT_REST + CHUNK;

/// A connection that has nothing to do holds no buffer.
pub(crate) struct Socket {
    pub(crate) id: ConnectionId,
    pub(crate) reading: Reading,
    stream: TcpStream,
    /// Has the shard look after this socket.
    waker: Waker,
    /// Read, but not consumed by the core.
    unread: Backlog,
    /// Handed out by the core, but not taken by the system.
    unsent: Backlog,
    is_blocked: bool,
    seat: Seat,
}

/// Whether bytes are taken from the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// As they come.
    Open,
    /// Not before the core has named the connection.
    Waiting,
    /// Never again.
    Closed,
}

/// Where the bytes are that the core is to see.
pub(crate) enum Arrived {
    /// The first so many of the buffer; the socket itself holds none.
    InBuffer(usize),
    /// In the socket: [`Socket::unread`].
    InSocket,
    /// There will be no more.
    End,
}

impl Socket {
    /// The most that waits in both directions, as vectors that doubled: a packet that is not whole and what was read last,
    /// and the rest of one write.
    pub(crate) const fn most_bytes(packet_bytes: usize) -> usize {
        packet_bytes.saturating_add(CHUNK).saturating_mul(2).saturating_add(CHUNK)
    }

    pub(crate) fn new(id: ConnectionId, stream: TcpStream, waker: Waker, seat: Seat) -> Self {
        let (unread, unsent) = (Backlog::default(), Backlog::default());
        Self { id, reading: Reading::Open, stream, waker, unread, unsent, is_blocked: false, seat }
    }

    /// Whom it is connected with, as far as the system still knows.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.stream.peer_addr().ok()
    }

    pub(crate) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Lets the shard look after the socket again.
    pub(crate) fn wake(&self) {
        self.waker.wake_by_ref();
    }

    /// Reads once. `buffer` has [`READ_BUFFER`] bytes.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<Arrived>> {
        let rest = if self.unread.len() <= SHORT_REST { self.unread.len() } else { 0 };
        buffer[..rest].copy_from_slice(&self.unread.as_slice()[..rest]);
        let mut read = ReadBuf::new(&mut buffer[rest..rest + CHUNK]);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
        let filled = read.filled();
        Poll::Ready(Ok(if filled.is_empty() {
            Arrived::End
        } else if self.unread.len() > rest {
            self.unread.push(filled);
            Arrived::InSocket
        } else {
            let len = rest + filled.len();
            self.unread.clear();
            Arrived::InBuffer(len)
        }))
    }

    /// What was read and not consumed.
    pub(crate) fn unread(&self) -> &[u8] {
        self.unread.as_slice()
    }

    /// Keeps what the core did not consume of the buffer.
    pub(crate) fn keep_unread(&mut self, rest: &[u8]) {
        if !rest.is_empty() {
            self.unread.push(rest);
        }
    }

    /// The core consumed `count` of the unread bytes.
    pub(crate) fn consume_unread(&mut self, count: usize) {
        self.unread.consume(count);
    }

    /// Whether the system took less than it was given, and then no more yet: the core is not asked for more.
    pub(crate) fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// Writes once, `bytes` and then `payload`. Keeps what the system did not take of `bytes`, and says how much it took of
    /// `payload`.
    pub(crate) fn write(&mut self, bytes: &[u8], payload: &[u8]) -> io::Result<usize> {
        debug_assert!(!self.is_blocked);
        let attempt = match (bytes, payload) {
            ([], []) => return Ok(0),
            (bytes, []) | ([], bytes) => self.stream.try_write(bytes),
            _ => self.stream.try_write_vectored(&[IoSlice::new(bytes), IoSlice::new(payload)]),
        };
        let written = match attempt {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        if written < bytes.len() + payload.len() {
            self.is_blocked = true;
            self.wake();
        }
        self.unsent.push(bytes.get(written..).unwrap_or(&[]));
        Ok(written.saturating_sub(bytes.len()))
    }

    /// Writes what is kept, as far as the system takes it. Ready when nothing is left, and the system takes more.
    pub(crate) fn poll_unblock(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.is_blocked {
            ready!(self.stream.poll_write_ready(cx))?;
            if !self.unsent.is_empty() {
                match self.stream.try_write(self.unsent.as_slice()) {
                    Ok(written) => self.unsent.consume(written),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            self.is_blocked = !self.unsent.is_empty();
        }
        Poll::Ready(Ok(()))
    }

    /// Takes leave after the core has said all it had to say: writes the rest, tells the peer that nothing follows, and
    /// gives it a moment to read that. Closing at once, with bytes of the peer unread, would make the system send a
    /// reset that overtakes a last DISCONNECT.
    pub(crate) async fn linger(self) {
        const WRITE: Duration = Duration::from_secs(5);
        const DRAIN: Duration = Duration::from_secs(1);
        let Self { stream, unsent, seat: _seat, .. } = self;
        let said = timeout(WRITE, write_rest(&stream, unsent)).await;
        if matches!(said, Ok(Ok(()))) && socket2::SockRef::from(&stream).shutdown(Shutdown::Write).is_ok() {
            let _ = timeout(DRAIN, drain(&stream)).await;
        }
    }
}

async fn write_rest(stream: &TcpStream, mut unsent: Backlog) -> io::Result<()> {
    while !unsent.is_empty() {
        stream.writable().await?;
        match stream.try_write(unsent.as_slice()) {
            Ok(written) => unsent.consume(written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads and forgets until the peer has closed its side too, or has sent more than it could not know to be in vain.
async fn drain(stream: &TcpStream) -> io::Result<()> {
    let mut budget = 1024 * 1024;
    while budget > 0 {
        stream.readable().await?;
        match stream.try_read(&mut [0; 4096]) {
            Ok(0) => break,
            Ok(read) => budget -= read.min(budget),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
