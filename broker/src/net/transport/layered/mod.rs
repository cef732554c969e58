//! A stream of the system whose bytes are not those of MQTT: there are layers between them.
//!
//! A layer reads and writes nothing itself. It turns bytes into other bytes, and what it wants to send by itself, as in a handshake, is added to the
//! bytes that wait to be sent. So a handshake is a part of reading: while it goes on, reading yields nothing.
//!
//! Between two calls only these bytes are kept: the beginning of a record that has not come whole, what a read yielded beyond the room of its reader,
//! and what the system has not taken. Each is bounded by about the length of a record or of a write, is part of [`Layered::held`], and is gone when the
//! client is idle.

mod frames;
mod layer_error;
mod scratch;
mod tls;
mod upgrade;
mod websocket;

pub(crate) use self::layer_error::LayerError;
use self::scratch::Scratch;
use self::tls::Tls;
use self::websocket::WebSocket;
use super::Asking;
use super::certificate::ClientCertificate;
use super::stream::{DetachedStream, Stream};
use crate::net::foreign::Expected;
use crate::net::{ByteQueue, Protocol};
use rustls::ServerConfig;
use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::ReadBuf;

/// The most bytes that are read from the system, and the most of a payload that are encoded, at once.
const MOST: usize = 64 * 1024;
/// The least, however little room the reader has.
const LEAST: usize = 4 * 1024;
/// A record has at most so many bytes: 16,384 of contents, 256 of overhead and a header (RFC 5246, section 6.2.3).
const RECORD: usize = 16_384 + 256 + 5;
/// A client gets its handshake done within so many bytes, or is closed: a chain of certificates has a few thousand.
const MOST_OF_HANDSHAKE: usize = 64 * 1024;
/// If a client makes the layers answer, and reads no answer, it is closed when so many bytes wait for it.
const MOST_UNSENT: usize = 4 * MOST;
/// So many reads in a row may yield nothing before others come first.
const MOST_READS: usize = 8;

/// A stream of the system with layers.
pub(crate) struct Layered {
    stream: Stream,
    layers: Layers,
}

/// The layers of one connection, without its socket.
pub(crate) struct Layers {
    tls: Option<Box<Tls>>,
    websocket: Option<WebSocket>,
    /// The beginning of a record.
    begun: ByteQueue,
    /// Bytes for the reader that it had no room for.
    decoded: ByteQueue,
    /// Bytes for the system.
    unsent: ByteQueue,
    /// Nothing more comes from the client.
    has_ended: bool,
    /// So many bytes have come since the last call of [`Layered::take_arrived`].
    arrived: usize,
    /// Some bytes have come.
    has_begun: bool,
    /// So many bytes have come while the handshake was not done.
    of_handshake: usize,
}

thread_local! {
    static INCOMING: RefCell<Scratch> = RefCell::default();
    /// Bytes before they are encoded, if they come in several pieces, and after.
    static OUTGOING: RefCell<(Scratch, Scratch)> = RefCell::default();
}

impl Layered {
    /// The most bytes of memory that all connections of a thread share.
    pub(crate) const BYTES_OF_THREAD: usize = RECORD + MOST + 2 * (2 * MOST + RECORD);
    /// The bytes that an idle connection takes beyond those of one without layers.
    pub(crate) const BYTES: usize = size_of::<Self>() + tls::BYTES + websocket::BYTES;
    /// The same during the handshake, in which the library keeps keys and messages.
    pub(crate) const HANDSHAKE_BYTES: usize = Self::BYTES + 12 * 1024;
    /// The most bytes that wait in both directions.
    pub(crate) const MOST_HELD: usize = RECORD + (RECORD + LEAST) + 2 * MOST_UNSENT;

    /// Layers on `stream`: TLS, and WebSocket for pages of these origins above it.
    ///
    /// # Errors
    /// A layer can't begin.
    pub(crate) fn new(
        stream: Stream,
        tls: Option<Arc<ServerConfig>>,
        origins: Option<Arc<[String]>>,
    ) -> io::Result<Self> {
        let tls = tls.map(|config| Tls::new(config).map(Box::new)).transpose()?;
        let layers = Layers {
            tls,
            websocket: origins.map(WebSocket::new),
            begun: ByteQueue::default(),
            decoded: ByteQueue::default(),
            unsent: ByteQueue::default(),
            has_ended: false,
            arrived: 0,
            has_begun: false,
            of_handshake: 0,
        };
        Ok(Self { stream, layers })
    }

    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.stream.peer()
    }

    pub(super) fn peer_uid(&self) -> Option<u32> {
        self.stream.peer_uid()
    }

    /// The certificate of the client, if it has shown one.
    pub(super) fn certificate(&self) -> Option<&Arc<ClientCertificate>> {
        self.layers.tls.as_ref()?.certificate()
    }

    /// The bytes of memory for bytes that wait.
    pub(super) fn held(&self) -> usize {
        let Layers { begun, decoded, unsent, websocket, .. } = &self.layers;
        let request = websocket.as_ref().map_or(0, WebSocket::held);
        begun.capacity() + decoded.capacity() + unsent.capacity() + request
    }

    /// The bytes that an idle connection takes, with what its client's certificate says.
    pub(super) fn idle_bytes(&self) -> usize {
        let certificate = self.certificate().map_or(0, |it| size_of::<ClientCertificate>() + it.bytes());
        let tls = if self.layers.tls.is_some() { tls::BYTES } else { 0 };
        size_of::<Self>() + tls + websocket::BYTES + certificate
    }

    /// How many bytes have come and are not whole yet.
    pub(super) fn begun(&self) -> usize {
        self.layers.begun.as_slice().len()
    }

    /// How many bytes have come since the last call.
    pub(super) fn take_arrived(&mut self) -> usize {
        std::mem::take(&mut self.layers.arrived)
    }

    /// Whether bytes wait that the system has not taken.
    pub(super) fn holds_unsent(&self) -> bool {
        !self.layers.unsent.is_empty()
    }

    /// Whether something can be read though the system does not report anything.
    pub(super) fn holds_decoded(&self) -> bool {
        !self.layers.decoded.is_empty() || self.layers.has_ended
    }

    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        asking: Asking,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = self.read_with(into, |stream, bytes| match asking {
            Asking::Runtime => {
                let mut bytes = ReadBuf::new(bytes);
                stream.poll_read(cx, &mut bytes).map_ok(|()| bytes.filled().len())
            }
            Asking::System => poll(stream.try_read_of_system(bytes)),
        });
        match outcome {
            Ok(Outcome::Read) => Poll::Ready(Ok(())),
            Ok(Outcome::Nothing) => Poll::Pending,
            Ok(Outcome::NothingYet) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Reads once. `asking` says who is asked whether there are bytes.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`]: there is nothing yet.
    pub(super) fn try_read(&mut self, asking: Asking, into: &mut [u8]) -> io::Result<usize> {
        let mut into = ReadBuf::new(into);
        let outcome = self.read_with(&mut into, |stream, bytes| match asking {
            Asking::Runtime => poll(stream.try_read(bytes)),
            Asking::System => poll(stream.try_read_of_system(bytes)),
        })?;
        match outcome {
            Outcome::Read => Ok(into.filled().len()),
            Outcome::Nothing | Outcome::NothingYet => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn read_with(
        &mut self,
        into: &mut ReadBuf<'_>,
        mut read: impl FnMut(&mut Stream, &mut [u8]) -> Poll<io::Result<usize>>,
    ) -> io::Result<Outcome> {
        let Self { stream, layers } = self;
        if layers.give_decoded(into) || layers.has_ended {
            return Ok(Outcome::Read);
        }
        INCOMING.with_borrow_mut(|incoming| {
            for _ in 0..MOST_READS {
                let begun = layers.begun.as_slice();
                let (from, room) = (begun.len(), into.remaining().clamp(LEAST, MOST));
                incoming.used = 0;
                incoming.push(begun);
                let arrived = match read(stream, &mut incoming.room(room)[..room]) {
                    Poll::Pending => return Ok(Outcome::Nothing),
                    Poll::Ready(Err(error)) => return Err(error),
                    Poll::Ready(Ok(arrived)) => arrived,
                };
                layers.begun.clear();
                if arrived == 0 {
                    layers.has_ended = true;
                    return Ok(Outcome::Read);
                }
                incoming.add(arrived);
                let bytes = &mut incoming.bytes[..from + arrived];
                layers.arrived += arrived;
                let mut answers = Vec::new();
                let decoded = layers.decode(bytes, arrived, into, &mut answers);
                layers.send(&answers)?;
                // Also after an error: the peer is to be told of it.
                flush(stream, &mut layers.unsent)?;
                layers.begun.push(&bytes[decoded?..], 0);
                if layers.unsent.as_slice().len() > MOST_UNSENT {
                    return Err(LayerError::ReadsNothing.into());
                }
                if !into.filled().is_empty() || layers.has_ended {
                    return Ok(Outcome::Read);
                }
            }
            Ok(Outcome::NothingYet)
        })
    }

    /// Encodes bytes and writes as many as the system takes; the rest is kept. Returns how many bytes were accepted: at most [`MOST`] of each part.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`]: bytes that were accepted earlier wait, and no others are accepted.
    pub(super) fn try_write(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.flush()?;
        if self.holds_unsent() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        OUTGOING.with_borrow_mut(|(gathered, encoded)| {
            (gathered.used, encoded.used) = (0, 0);
            let parts = parts.iter().map(|part| &part[..part.len().min(MOST)]);
            let accepted = parts.clone().map(<[u8]>::len).sum();
            if self.layers.websocket.is_some() {
                let (header, len) = WebSocket::header(accepted);
                gathered.push(&header[..len]);
            }
            parts.for_each(|part| gathered.push(part));
            match &mut self.layers.tls {
                Some(tls) => {
                    tls.encrypt(gathered.used(), encoded)?;
                    self.write_encoded(encoded)?;
                }
                None => self.write_encoded(gathered)?,
            }
            Ok(accepted)
        })
    }

    /// Writes what was encoded, and keeps what the system does not take.
    fn write_encoded(&mut self, encoded: &Scratch) -> io::Result<()> {
        let written = match self.stream.try_write(encoded.used()) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        self.layers.unsent.push(&encoded.used()[written..], 0);
        Ok(())
    }

    /// Writes bytes that were kept, as many as the system takes.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        flush(&self.stream, &mut self.layers.unsent)
    }

    pub(super) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_write_ready(cx)
    }

    pub(super) async fn readable(&self) -> io::Result<()> {
        if self.holds_decoded() {
            return Ok(());
        }
        if !self.holds_unsent() {
            return self.stream.readable().await;
        }
        tokio::select! {
            ready = self.stream.readable() => ready,
            // The next read writes first what waits.
            ready = self.stream.writable() => ready,
        }
    }

    /// Tells the peer that no more bytes follow.
    pub(super) fn end_writing(&mut self) -> io::Result<()> {
        let said = self.say_end();
        self.stream.end_writing()?;
        said
    }

    /// Tells the layers of the peer that nothing follows.
    fn say_end(&mut self) -> io::Result<()> {
        const NORMAL: u16 = 1000;
        let close = self.layers.websocket.as_mut().map_or(Vec::new(), |websocket| websocket.end(NORMAL));
        self.layers.send(&close)?;
        if let Some(tls) = &mut self.layers.tls {
            OUTGOING.with_borrow_mut(|(_, encoded)| {
                encoded.used = 0;
                tls.end(encoded)?;
                self.layers.unsent.push(encoded.used(), 0);
                Ok::<_, io::Error>(())
            })?;
        }
        self.flush()
    }

    /// Ends when the system has bytes, or the end.
    pub(super) async fn arrival(&self) -> io::Result<()> {
        self.stream.readable().await
    }

    /// Reads bytes of the system and discards them.
    pub(super) fn try_discard(&self, into: &mut [u8]) -> io::Result<usize> {
        self.stream.try_read(into)
    }

    /// Removes the socket from the runtime of this thread.
    pub(super) fn detach(self) -> io::Result<(DetachedStream, Box<Layers>)> {
        Ok((self.stream.detach()?, Box::new(self.layers)))
    }

    /// Gives the socket to the runtime of this thread.
    pub(super) fn attach(stream: DetachedStream, layers: Layers) -> io::Result<Self> {
        Ok(Self { stream: stream.attach()?, layers })
    }
}

/// For fuzzing: takes any bytes for the request that begins WebSocket, and for frames, which come in pieces of so many bytes.
pub(crate) fn check_websocket(bytes: &[u8], piece: usize) {
    let _ = upgrade::answer(bytes, &["https://page.example".to_owned()]);
    frames::check_any(bytes, piece);
}

/// What a read has come to.
enum Outcome {
    /// The reader has bytes, or the end is reached.
    Read,
    /// The system has no bytes.
    Nothing,
    /// There were bytes, but none for the reader; there may be more.
    NothingYet,
}

impl Layers {
    /// Moves decoded bytes to the reader. Returns whether there were any.
    fn give_decoded(&mut self, into: &mut ReadBuf<'_>) -> bool {
        let count = self.decoded.as_slice().len().min(into.remaining());
        into.put_slice(&self.decoded.as_slice()[..count]);
        self.decoded.consume(count);
        count > 0
    }

    fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
            || self.websocket.as_ref().is_some_and(WebSocket::is_handshaking)
    }

    /// Decodes `bytes`, of which the last `arrived` are new. Returns how many were used. What WebSocket answers is added to `answers`.
    fn decode(
        &mut self,
        bytes: &mut [u8],
        arrived: usize,
        into: &mut ReadBuf<'_>,
        answers: &mut Vec<u8>,
    ) -> io::Result<usize> {
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        let was_handshaking = self.is_handshaking();
        let Self { tls, websocket, decoded, unsent, has_ended, .. } = self;
        let mut give = |plain: &[u8]| {
            let (now, later) = plain.split_at(plain.len().min(into.remaining()));
            into.put_slice(now);
            decoded.push(later, 0);
        };
        let mut above = |plain: &[u8]| -> io::Result<()> {
            match websocket {
                Some(websocket) => {
                    *has_ended |= !*has_ended && websocket.receive(plain, answers, &mut give)?;
                    Ok(())
                }
                None => {
                    give(plain);
                    Ok(())
                }
            }
        };
        let taken = match tls {
            Some(tls) => {
                if let Some(protocol) = Protocol::instead_of_tls(bytes).filter(|_| is_first) {
                    return Err(LayerError::Foreign(protocol, Expected::Tls).into());
                }
                let received = tls.receive(bytes, unsent, above)?;
                *has_ended |= received.is_end;
                received.taken
            }
            None => {
                above(bytes)?;
                bytes.len()
            }
        };
        if was_handshaking {
            self.of_handshake += arrived;
            if self.is_handshaking() && self.of_handshake > MOST_OF_HANDSHAKE {
                return Err(LayerError::TooLong.into());
            }
        }
        Ok(taken)
    }

    /// Adds bytes of WebSocket to those that wait.
    fn send(&mut self, plain: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            _ if plain.is_empty() => {}
            None => self.unsent.push(plain, 0),
            Some(tls) => OUTGOING.with_borrow_mut(|(_, encoded)| {
                encoded.used = 0;
                tls.encrypt(plain, encoded)?;
                self.unsent.push(encoded.used(), 0);
                Ok::<_, io::Error>(())
            })?,
        }
        Ok(())
    }
}

fn flush(stream: &Stream, unsent: &mut ByteQueue) -> io::Result<()> {
    while !unsent.is_empty() {
        match stream.try_write(unsent.as_slice()) {
            Ok(written) => unsent.consume(written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn poll(read: io::Result<usize>) -> Poll<io::Result<usize>> {
    match read {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        result => Poll::Ready(result),
    }
}
