//! Operations that the runtime's TCP stream does not offer.

use socket2::SockRef;
use std::io::{self, Read as _};
use std::net::Shutdown;
use std::task::Poll;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;

/// Reads by asking the system, whether or not the runtime has heard of bytes. No waker is registered.
pub(super) fn poll_read(stream: &TcpStream, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
    match try_read(stream, into.initialize_unfilled()) {
        Ok(read) => {
            into.advance(read);
            Poll::Ready(Ok(()))
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        Err(error) => Poll::Ready(Err(error)),
    }
}

pub(super) fn try_read(stream: &TcpStream, into: &mut [u8]) -> io::Result<usize> {
    (&*SockRef::from(stream)).read(into)
}

pub(super) fn end_writing(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).shutdown(Shutdown::Write)
}
