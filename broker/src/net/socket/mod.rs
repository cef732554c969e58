//! One Network Connection as its shard sees it: bytes in, bytes out, and bytes that wait in between.

mod holding;

use self::holding::BegunPacket;
pub(crate) use self::holding::Holding;
use super::transport::{Asking, ClientCertificate, Source, Transport};
use super::{ByteQueue, ConnectionPermit};
use goldcrest_core::ConnectionId;
use goldcrest_core::codec::packet_len;
use std::future::Future as _;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, ReadBuf};
use tokio::time::timeout;

/// The most bytes that one read takes, unless packets are long; and the most bytes that are copied for one write.
pub(crate) const CHUNK: usize = 64 * 1024;

/// If the unread beginning of a packet has at most so many bytes, it is copied in front of the bytes that are read next. A longer beginning
/// stays in place, and the rest of the packet is read behind it.
const SHORT_REST: usize = 16 * 1024;

/// Packets of so many bytes are long: a read should end where such a packet ends, so that little is copied.
const LONG_PACKET: usize = 2 * SHORT_REST;

/// The length of a buffer for [`Socket::poll_read`].
pub(crate) const READ_BUFFER: usize = 2 * CHUNK;

/// One Network Connection. While it has nothing to do it holds no buffer.
pub(crate) struct Socket {
    pub(crate) id: ConnectionId,
    pub(crate) reading: Reading,
    transport: Transport,
    /// The waker that puts this socket into the event loop's list of ready sockets.
    waker: Waker,
    /// Bytes that were read and that the core has not consumed.
    unread: ByteQueue,
    /// Bytes that the core gave for writing and that the transport has not accepted.
    unsent: ByteQueue,
    /// The transport accepts no more bytes for now.
    is_blocked: bool,
    /// Nothing can be written any more.
    is_broken: bool,
    /// The core did much work for this connection, so others come first: see `EventLoop::deferred`.
    pub(crate) is_deferred: bool,
    permit: ConnectionPermit,
    /// The packet that has begun can't go on before there is memory for it: nothing is read meanwhile.
    pub(crate) waits_for_memory: bool,
    /// The packet of which a part has come. In a box, because most connections wait for no rest of a packet.
    begun: Option<Box<BegunPacket>>,
    /// The length of the first packet of the last read: the next packets are likely to be as long.
    packet_len: u32,
}

// A gateway may have ten thousands of idle connections.
const _: () = assert!(size_of::<Socket>() <= 128);

/// Whether the socket reads bytes from the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// The socket reads bytes as they come.
    Open,
    /// The socket reads no bytes until the core names the connection as ready.
    Waiting,
    /// The socket reads no bytes any more.
    Closed,
}

/// Where the bytes of a read are.
pub(crate) enum ReadOutcome {
    /// So many bytes were read to the beginning of the shard's buffer; the socket itself holds none.
    InBuffer(usize),
    /// So many bytes were added to [`Socket::unread`].
    InSocket(usize),
    /// No bytes were read: the peer sends no more.
    End,
}

impl Socket {
    /// The most bytes that wait in both directions. Unread: an unfinished packet with the bytes that came with CONNECT, or the last read.
    /// Unsent: the rest of one write. The rest of a long payload stays with the core.
    pub(crate) const fn most_bytes(packet_bytes: usize) -> usize {
        let begun = packet_bytes.saturating_add(CHUNK);
        let unread = if begun > READ_BUFFER { begun } else { READ_BUFFER };
        unread.saturating_add(ByteQueue::most_bytes(CHUNK))
    }

    pub(crate) fn new(id: ConnectionId, transport: Transport, waker: Waker, permit: ConnectionPermit) -> Self {
        let (unread, unsent) = (ByteQueue::default(), ByteQueue::default());
        Self {
            id,
            reading: Reading::Open,
            transport,
            waker,
            unread,
            unsent,
            is_blocked: false,
            is_broken: false,
            is_deferred: false,
            permit,
            waits_for_memory: false,
            begun: None,
            packet_len: 0,
        }
    }

    /// The index of the listener that the connection came through; `None` if the peer is in this process.
    pub(crate) fn listener(&self) -> Option<u16> {
        self.permit.listener()
    }

    /// The certificate that the peer has shown.
    pub(crate) fn certificate(&self) -> Option<&Arc<ClientCertificate>> {
        self.transport.certificate()
    }

    /// The address of the client, also behind a proxy; `None` if the client is in this process or has connected through a Unix socket, or the system does not
    /// know the address any more.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.permit.client().or_else(|| self.transport.peer())
    }

    /// The user of the client's process, if the client has connected through a Unix socket.
    pub(crate) fn peer_uid(&self) -> Option<u32> {
        self.transport.peer_uid()
    }

    /// Makes the shard look after the socket when there is something to be read. For a shard that stops reading before
    /// [`Socket::poll_read`] has said `Pending`.
    pub(crate) fn wake_when_readable(&self) {
        self.transport.wake_when_readable(&Context::from_waker(&self.waker));
    }

    pub(crate) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Makes the event loop look after the socket again.
    pub(crate) fn wake(&self) {
        self.waker.wake_by_ref();
    }

    /// Reads once, if `asking` says that there are bytes: at most `share` bytes, or one packet that is longer. `buffer` is [`READ_BUFFER`] bytes
    /// long. Bytes that are unread already must be the beginning of one packet.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        asking: Asking,
        share: usize,
        buffer: &mut [u8],
    ) -> Poll<io::Result<ReadOutcome>> {
        if self.is_broken {
            // Bytes that have arrived can still be read; no more will come.
            return match self.poll_read_from(cx, Asking::System, share, buffer) {
                Poll::Ready(Ok(arrived)) => Poll::Ready(Ok(arrived)),
                Poll::Ready(Err(_)) | Poll::Pending => Poll::Ready(Ok(ReadOutcome::End)),
            };
        }
        self.poll_read_from(cx, asking, share, buffer)
    }

    fn poll_read_from(
        &mut self,
        cx: &mut Context<'_>,
        asking: Asking,
        share: usize,
        buffer: &mut [u8],
    ) -> Poll<io::Result<ReadOutcome>> {
        let read = self.poll_read_into(cx, asking, share, buffer);
        // The transport may have answered by itself.
        if self.transport.holds_unsent() == Some(true) && !self.is_blocked && !self.is_broken {
            self.is_blocked = true;
            self.wake();
        }
        read
    }

    fn poll_read_into(
        &mut self,
        cx: &mut Context<'_>,
        asking: Asking,
        share: usize,
        buffer: &mut [u8],
    ) -> Poll<io::Result<ReadOutcome>> {
        if self.unread.as_slice().len() > SHORT_REST {
            return self.poll_read_on(cx, asking);
        }
        let rest = self.unread.as_slice();
        let most = self.permit.most_at_once(CHUNK);
        let goal = match self.packet_len as usize {
            len @ ..LONG_PACKET => rest.len() + most.min(share.max(len)),
            len @ ..=READ_BUFFER if most.min(share) == CHUNK => READ_BUFFER / len * len,
            LONG_PACKET..=READ_BUFFER => rest.len() + SHORT_REST,
            // The rest of the packet is so long that it is read in place.
            _ => LONG_PACKET,
        };
        let (front, behind) = buffer[..goal].split_at_mut(rest.len());
        front.copy_from_slice(rest);
        let mut read = ReadBuf::new(behind);
        ready!(self.transport.poll_read(cx, asking, &mut read))?;
        let len = front.len() + read.filled().len();
        if read.filled().is_empty() {
            return Poll::Ready(Ok(ReadOutcome::End));
        }
        self.unread.clear();
        self.packet_len = packet_len(&buffer[..len]).unwrap_or(0);
        Poll::Ready(Ok(ReadOutcome::InBuffer(len)))
    }

    /// Reads the rest of a packet in place, behind its beginning.
    fn poll_read_on(&mut self, cx: &mut Context<'_>, asking: Asking) -> Poll<io::Result<ReadOutcome>> {
        let begun = self.unread.as_slice();
        self.packet_len = packet_len(begun).unwrap_or(0);
        let goal = (self.packet_len as usize).max(begun.len() + 1);
        let source = Source { transport: &mut self.transport, asking };
        let mut rest_of_packet = source.take((goal - begun.len()) as u64);
        let added = ready!(pin!(rest_of_packet.read_buf(self.unread.with_room(goal))).poll(cx))?;
        Poll::Ready(Ok(if added == 0 { ReadOutcome::End } else { ReadOutcome::InSocket(added) }))
    }

    /// The bytes that were read and not consumed.
    pub(crate) fn unread(&self) -> &[u8] {
        self.unread.as_slice()
    }

    /// Reads on while the core accepts nothing from the peer, so that the core can look for PINGREQ. Reads at most as much as one read
    /// does.
    pub(crate) fn read_ahead(&mut self) {
        let most = self.permit.most_at_once(READ_BUFFER);
        loop {
            let waiting = self.unread.as_slice().len();
            if waiting >= most {
                return;
            }
            let into = self.unread.with_room(most);
            into.resize(into.capacity().min(most).max(waiting), 0);
            // An error, or the end, shows again at the next read.
            let read = self.transport.try_read(&mut into[waiting..]).unwrap_or(0);
            into.truncate(waiting + read);
            if read == 0 {
                if waiting == 0 {
                    self.unread.clear();
                }
                return;
            }
        }
    }

    /// The bytes that were read ahead, and that the core has not seen yet.
    pub(crate) fn unseen(&self) -> &[u8] {
        self.unread.unseen()
    }

    /// Notes that the core has seen `count` more of the bytes that were read ahead.
    pub(crate) fn see(&mut self, count: usize) {
        self.unread.see(count);
    }

    /// Keeps the bytes of the buffer that the core did not consume. If a good part of a packet has come, reserves memory for the whole
    /// packet.
    pub(crate) fn keep_unread(&mut self, rest: &[u8]) {
        let is_short = rest.len() <= SHORT_REST;
        self.unread.push(rest, if is_short { 0 } else { packet_len(rest).unwrap_or(0) as usize });
    }

    /// Removes `count` bytes, which the core has consumed, from the unread bytes.
    pub(crate) fn consume_unread(&mut self, count: usize) {
        self.unread.consume(count);
    }

    /// Whether the transport accepts no more bytes for now. Meanwhile the core is not asked for more.
    pub(crate) fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// Notes that nothing can be written any more. If a peer closes without having read all that was sent to it, its system sends a reset; bytes that
    /// the peer sent before the reset have arrived, and can still be read.
    pub(crate) fn break_off(&mut self) {
        self.is_broken = true;
        self.is_blocked = false;
        self.unsent.clear();
        self.wake();
    }

    /// Whether nothing can be written any more.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Writes once: `bytes`, and then `payload`. Keeps the rest of `bytes` if the transport did not accept all. Returns how many bytes of
    /// `payload` the transport accepted.
    pub(crate) fn write(&mut self, bytes: &[u8], payload: &[u8]) -> io::Result<usize> {
        debug_assert!(!self.is_blocked && !self.is_broken);
        let attempt = match (bytes, payload) {
            ([], []) => return Ok(0),
            (bytes, []) | ([], bytes) => self.transport.try_write(bytes),
            _ => self.transport.try_write_vectored(&[IoSlice::new(bytes), IoSlice::new(payload)]),
        };
        let written = match attempt {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        // A transport that keeps bytes accepts all of `bytes` or nothing.
        let is_short = written < bytes.len() + payload.len();
        self.is_blocked = match self.transport.holds_unsent() {
            Some(holds_unsent) => holds_unsent || written < bytes.len(),
            None => is_short,
        };
        if self.is_blocked {
            self.wake();
        }
        self.unsent.push(bytes.get(written..).unwrap_or(&[]), 0);
        Ok(written.saturating_sub(bytes.len()))
    }

    /// Writes the bytes that were kept. Ready when none of them is left, and the transport accepts more.
    pub(crate) fn poll_unblock(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.is_blocked {
            ready!(self.transport.poll_write_ready(cx))?;
            write_once(&mut self.transport, &mut self.unsent)?;
            self.is_blocked = is_left(&self.transport, &self.unsent);
        }
        Poll::Ready(Ok(()))
    }

    /// Closes the connection after the core has given its last bytes: writes the rest, tells the peer that nothing follows, and gives the
    /// peer a moment to read these bytes. If the socket were closed at once, with unread bytes of the peer, the system would send a reset
    /// that overtakes a last DISCONNECT.
    pub(crate) async fn linger(self) {
        const WRITE: Duration = Duration::from_secs(5);
        const DRAIN: Duration = Duration::from_secs(1);
        // More than the largest packet of the default limits: a client may be halfway through a packet that is refused.
        const MOST_DRAINED: usize = 16 * 1024 * 1024;
        let Self { mut transport, unsent, permit: _permit, .. } = self;
        let said = timeout(WRITE, write_rest(&mut transport, unsent)).await;
        if matches!(said, Ok(Ok(()))) && transport.end_writing().is_ok() {
            let _ = timeout(DRAIN, transport.drain(MOST_DRAINED)).await;
        }
    }
}

async fn write_rest(transport: &mut Transport, mut unsent: ByteQueue) -> io::Result<()> {
    while is_left(transport, &unsent) {
        transport.writable().await?;
        write_once(transport, &mut unsent)?;
    }
    Ok(())
}

/// Whether bytes wait to be written, here or in the transport.
fn is_left(transport: &Transport, unsent: &ByteQueue) -> bool {
    !unsent.is_empty() || transport.holds_unsent() == Some(true)
}

/// Writes bytes that wait, as many as the system takes.
fn write_once(transport: &mut Transport, unsent: &mut ByteQueue) -> io::Result<()> {
    transport.flush()?;
    if !unsent.is_empty() {
        match transport.try_write(unsent.as_slice()) {
            Ok(written) => unsent.consume(written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Admission;
    use goldcrest_core::{AllowAll, Broker, Capacity, Config, Instant, Limits, Memory, Shard};
    use std::future::poll_fn;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::{TcpListener, TcpSocket, TcpStream};

    /// A socket and its peer, with small buffers in the system.
    async fn pair() -> (Socket, TcpStream) {
        let listening = TcpSocket::new_v4().unwrap();
        // Accepted sockets inherit these options.
        listening.set_send_buffer_size(1).unwrap();
        listening.set_recv_buffer_size(1).unwrap();
        listening.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener: TcpListener = listening.listen(1).unwrap();
        let peer = TcpSocket::new_v4().unwrap();
        peer.set_recv_buffer_size(1).unwrap();
        let peer = peer.connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let memory = Memory::owned(&Capacity::GATEWAY, &Limits::GATEWAY, Shard::ONLY);
        let id = Broker::new(memory, Config::gateway(1), &AllowAll).handle_connected(Instant::from_millis(0)).unwrap();
        let permit = Arc::new(Admission::new(1, 1, Duration::from_secs(1), 1024)).permit().unwrap();
        (Socket::new(id, Transport::Plain(stream.into()), Waker::noop().clone(), permit), peer)
    }

    fn numbered(count: usize) -> Vec<u8> {
        (0..count).map(|at| (at / 253 + at) as u8).collect()
    }

    #[tokio::test]
    async fn bytes_that_the_system_does_not_accept_at_once_are_sent_later_in_order() {
        let (mut socket, mut peer) = pair().await;
        let all = numbered(500_000);
        let writing = async {
            let (mut cut_in_bytes, mut cut_in_payload) = (0, 0);
            // A core hands bytes out in this way: some bytes, and a payload behind them.
            for part in all.chunks(100_000) {
                let (bytes, mut payload) = part.split_at(40_000);
                let mut bytes = bytes;
                while !(bytes.is_empty() && payload.is_empty()) {
                    let written = socket.write(bytes, payload).unwrap();
                    cut_in_bytes += usize::from(!socket.unsent.is_empty());
                    cut_in_payload += usize::from(written > 0 && written < payload.len());
                    assert!(socket.unsent.as_slice().len() <= bytes.len());
                    (bytes, payload) = (&[], &payload[written..]);
                    assert!(socket.is_blocked() || payload.is_empty());
                    poll_fn(|cx| socket.poll_unblock(cx)).await.unwrap();
                }
            }
            assert!(cut_in_bytes > 0 && cut_in_payload > 0);
        };
        let mut come = vec![0; all.len()];
        let (_, read) = tokio::join!(writing, peer.read_exact(&mut come));
        assert!(read.is_ok() && come == all);
    }

    /// A PUBLISH with a payload of so many bytes.
    fn packet(bytes: usize) -> Vec<u8> {
        use goldcrest_core::codec::{Packet, Properties, Publish, QoS, Version};
        let payload = numbered(bytes);
        let (qos, properties) = (QoS::AtMostOnce, Properties::EMPTY);
        let publish =
            Publish { dup: false, qos, retain: false, topic: "t", packet_id: None, properties, payload: &payload };
        let mut bytes = Vec::new();
        Packet::Publish(publish).encode(Version::V3_1_1, &mut bytes);
        bytes
    }

    /// Reads packets with payloads of these sizes, and consumes whole packets as a core does. Returns how often the rest of a packet was read in
    /// place.
    async fn read_all(sizes: &[usize], piece: usize) -> usize {
        let (mut socket, mut peer) = pair().await;
        let all: Vec<u8> = sizes.iter().flat_map(|&size| packet(size)).collect();
        let writing = async {
            for piece in all.chunks(piece) {
                peer.write_all(piece).await.unwrap();
            }
            drop(peer);
        };
        let reading = async {
            let (mut buffer, mut come, mut in_place) = (vec![0; READ_BUFFER], Vec::new(), 0);
            // Takes whole packets; the rest is left.
            let take = |bytes: &[u8], come: &mut Vec<u8>| {
                let mut taken = 0;
                while let Some(len) = packet_len(&bytes[taken..]).filter(|len| taken + *len as usize <= bytes.len()) {
                    taken += len as usize;
                }
                come.extend_from_slice(&bytes[..taken]);
                taken
            };
            loop {
                match poll_fn(|cx| socket.poll_read(cx, Asking::Runtime, CHUNK, &mut buffer)).await.unwrap() {
                    ReadOutcome::InBuffer(len) => {
                        let taken = take(&buffer[..len], &mut come);
                        socket.keep_unread(&buffer[taken..len]);
                    }
                    ReadOutcome::InSocket(added) => {
                        assert!(added > 0);
                        in_place += 1;
                        let taken = take(socket.unread(), &mut come);
                        socket.consume_unread(taken);
                    }
                    ReadOutcome::End => break,
                }
                assert!(socket.unread().len() < sizes.iter().max().unwrap() + 8, "a part of one packet");
            }
            assert!(come == all && socket.unread().is_empty());
            in_place
        };
        tokio::join!(writing, reading).1
    }

    #[tokio::test]
    async fn packets_of_any_length_come_whole_however_they_are_cut() {
        let long = [LONG_PACKET, READ_BUFFER / 2, READ_BUFFER - 4, READ_BUFFER, 3 * READ_BUFFER];
        for piece in [1_000, 33_333, 1 << 20] {
            assert_eq!(read_all(&[0, 5, 1_000, 10_000, 0, 16_000, 3], piece).await, 0);
            for size in long {
                read_all(&[size, size, size, 10, size, 3, 0, size + 1, size - 1, 20_000], piece).await;
            }
        }
        assert!(read_all(&[3 * READ_BUFFER; 4], 1 << 20).await > 0);
    }
}
