//! A connection in memory: both ends are in this process.
//!
//! Each direction is a queue of at most [`CAPACITY`] bytes behind a lock, which is held only to copy bytes. A writer that finds the
//! queue full waits, as it would for a TCP peer that does not read. Dropping an end closes both directions; the other end can still
//! read the bytes that were written before.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most bytes that wait in one direction.
pub(crate) const CAPACITY: usize = 64 * 1024;

/// Memory that an empty direction keeps at most, in bytes: an idle connection is to be small.
const KEPT: usize = 4 * 1024;

/// One end of a connection in memory. The other end reads the bytes that are written to this end, and the other way round. Dropping
/// an end closes the connection.
#[derive(Debug)]
pub struct MemoryStream {
    incoming: Arc<Pipe>,
    outgoing: Arc<Pipe>,
}

/// Both ends of a new connection.
pub(crate) fn pair() -> (MemoryStream, MemoryStream) {
    let (one, other) = (Arc::<Pipe>::default(), Arc::<Pipe>::default());
    let first = MemoryStream { incoming: one.clone(), outgoing: other.clone() };
    (first, MemoryStream { incoming: other, outgoing: one })
}

/// The bytes of one direction of a connection.
#[derive(Debug, Default)]
struct Pipe(Mutex<Flow>);

#[derive(Debug, Default)]
struct Flow {
    bytes: VecDeque<u8>,
    /// Nothing more is written: after all of `bytes` a reader has reached the end.
    has_ended: bool,
    /// Whether the reading end is gone, so that a write is an error.
    is_abandoned: bool,
    /// The waker of a reader that found nothing to read.
    reader: Option<Waker>,
    /// The waker of a writer that found no room.
    writer: Option<Waker>,
}

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, Flow> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves as many bytes as fit to `into`; none at the end of the stream. If there are no bytes yet, returns `Pending`, and wakes
    /// `cx` when some arrive.
    fn poll_take(&self, cx: Option<&Context<'_>>, into: &mut [u8]) -> Poll<usize> {
        let mut flow = self.lock();
        if flow.bytes.is_empty() && !flow.has_ended && !into.is_empty() {
            if let Some(cx) = cx {
                keep(&mut flow.reader, cx);
            }
            return Poll::Pending;
        }
        let count = flow.bytes.len().min(into.len());
        let (front, back) = flow.bytes.as_slices();
        let of_front = front.len().min(count);
        into[..of_front].copy_from_slice(&front[..of_front]);
        into[of_front..count].copy_from_slice(&back[..count - of_front]);
        flow.bytes.drain(..count);
        if flow.bytes.is_empty() && flow.bytes.capacity() > KEPT {
            flow.bytes = VecDeque::new();
        }
        let writer = flow.writer.take();
        drop(flow);
        wake(writer);
        Poll::Ready(count)
    }

    /// Adds as many bytes to the queue as there is room for.
    fn put(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut flow = self.lock();
        if flow.is_abandoned || flow.has_ended {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut room = CAPACITY - flow.bytes.len();
        let mut count = 0;
        for part in parts {
            let taken = &part[..part.len().min(room)];
            flow.bytes.extend(taken);
            room -= taken.len();
            count += taken.len();
        }
        let wanted: usize = parts.iter().map(|part| part.len()).sum();
        if count == 0 && wanted > 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let reader = flow.reader.take();
        drop(flow);
        wake(reader);
        Ok(count)
    }

    /// Ready when there is room, or when there never will be.
    fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        let mut flow = self.lock();
        if flow.bytes.len() < CAPACITY || flow.is_abandoned || flow.has_ended {
            return Poll::Ready(());
        }
        keep(&mut flow.writer, cx);
        Poll::Pending
    }

    /// Ready when there are bytes, or the end.
    fn poll_bytes(&self, cx: &Context<'_>) -> Poll<()> {
        let mut flow = self.lock();
        if !flow.bytes.is_empty() || flow.has_ended {
            return Poll::Ready(());
        }
        keep(&mut flow.reader, cx);
        Poll::Pending
    }

    fn end(&self) {
        let mut flow = self.lock();
        flow.has_ended = true;
        let (reader, writer) = (flow.reader.take(), flow.writer.take());
        drop(flow);
        wake(reader);
        wake(writer);
    }

    fn abandon(&self) {
        let mut flow = self.lock();
        flow.is_abandoned = true;
        flow.bytes = VecDeque::new();
        let writer = flow.writer.take();
        drop(flow);
        wake(writer);
    }
}

fn keep(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *place = Some(cx.waker().clone()),
    }
}

/// Wakes a task. Is never called with the lock held, because the woken task may use the lock at once.
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl MemoryStream {
    /// Reads what is there.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`]: there is nothing yet.
    pub(super) fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        match self.incoming.poll_take(None, into) {
            Poll::Ready(count) => Ok(count),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Ready when there is something to be read, or the end.
    pub(super) fn poll_readable(&self, cx: &Context<'_>) -> Poll<()> {
        self.incoming.poll_bytes(cx)
    }

    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.put(&[IoSlice::new(bytes)])
    }

    pub(super) fn try_write_vectored(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.outgoing.put(parts)
    }

    pub(super) fn poll_write_ready(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.poll_room(cx).map(Ok)
    }

    pub(super) async fn readable(&self) {
        std::future::poll_fn(|cx| self.poll_readable(cx)).await;
    }

    pub(super) fn end_writing(&self) {
        self.outgoing.end();
    }
}

impl Drop for MemoryStream {
    fn drop(&mut self) {
        self.outgoing.end();
        self.incoming.abandon();
    }
}

impl AsyncRead for MemoryStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let taken = self.incoming.poll_take(Some(cx), into.initialize_unfilled());
        taken.map(|count| {
            into.advance(count);
            Ok(())
        })
    }
}

impl AsyncWrite for MemoryStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.outgoing.put(parts) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.outgoing.poll_room(cx).is_pending() {
                        return Poll::Pending;
                    }
                }
                result => return Poll::Ready(result),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The other end reads all bytes that were written, and then the end. The other end may still send.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.end();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn bytes_arrive_in_order_however_much_is_written() {
        let (mut one, mut other) = pair();
        let all: Vec<u8> = (0..5 * CAPACITY).map(|at| (at / 253 + at) as u8).collect();
        let sent = all.clone();
        let writing = async move {
            for part in sent.chunks(30_011) {
                one.write_all(part).await.unwrap();
            }
        };
        let mut come = Vec::new();
        let (_, read) = tokio::join!(writing, other.read_to_end(&mut come));
        assert_eq!(read.unwrap(), all.len());
        assert!(come == all, "the end that was dropped had written all of it");
    }

    #[test]
    fn a_writer_waits_for_a_peer_that_does_not_read_and_is_woken_when_it_does() {
        use crate::testing::WakeCounter;
        let (one, other) = pair();
        assert_eq!(one.try_write(&[7; CAPACITY + 1]).unwrap(), CAPACITY);
        assert_eq!(one.try_write(b"p").unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let counter = Arc::new(WakeCounter::default());
        let waker = Waker::from(counter.clone());
        assert!(one.poll_write_ready(&Context::from_waker(&waker)).is_pending());
        assert_eq!(other.try_read(&mut [0; 1]).unwrap(), 1);
        assert_eq!(counter.count(), 1);
        assert_eq!(one.try_write(b"pp").unwrap(), 1);
    }

    #[test]
    fn after_one_end_is_dropped_reading_ends_and_writing_fails() {
        let (one, other) = pair();
        one.try_write(b"last words").unwrap();
        drop(one);
        let mut read = [0; 32];
        assert_eq!(other.try_read(&mut read).unwrap(), 10);
        assert_eq!(other.try_read(&mut read).unwrap(), 0);
        assert_eq!(other.try_write(b"p").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn an_end_that_stops_writing_can_still_read() {
        let (one, other) = pair();
        one.end_writing();
        assert_eq!(other.try_read(&mut [0; 1]).unwrap(), 0);
        other.try_write(b"p").unwrap();
        assert_eq!(one.try_read(&mut [0; 1]).unwrap(), 1);
        assert_eq!(one.try_write(b"p").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
