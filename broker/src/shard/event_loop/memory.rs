//! Memory for unfinished packets, and for bytes that clients do not read.
//!
//! A large packet waits while the ceiling refuses memory for it: the event loop reads nothing from the client until there is memory. Packets get
//! memory in the order in which they began to wait. While packets wait, or memory is short, connections that hold memory for a packet and send
//! nothing more of it are closed with 0x97 Quota exceeded, first the one that has sent nothing for longest. A small packet never waits.

use super::EventLoop;
use crate::net::{Holding, Reading};
use goldcrest_core::codec::ReasonCode;
use goldcrest_core::{ConnectionId, Instant, MemoryCeiling, MemoryUse};
use std::collections::VecDeque;
use std::sync::Arc;

/// How often the event loop looks for memory for the packets that wait, in milliseconds.
const LOOK_MS: u64 = 100;
/// While packets wait, a connection is closed that holds memory for a packet and has sent less than 16 KiB of it in this time.
const PATIENCE_MS: u64 = 5_000;
/// The same time if [`MANY`] packets wait, or if memory is short.
const LITTLE_PATIENCE_MS: u64 = 1_000;
/// If more packets than this wait, the patience is [`LITTLE_PATIENCE_MS`].
const MANY: usize = 8;
/// A connection whose packet has waited for this long is closed.
const LONGEST_WAIT_MS: u64 = 60_000;
/// Memory is short if less than this part of the ceiling can be claimed for bytes of clients: one in 32.
const SHORT: usize = 32;
/// Connections are closed until they have given back this part of the ceiling: one in 8.
const TAKEN_BACK: usize = 8;

/// The connections whose packets wait for memory, and the ceiling that the memory is claimed from.
pub(super) struct MemoryWaits {
    pub(super) ceiling: Arc<MemoryCeiling>,
    /// The connections in the order in which they began to wait, and when each began.
    waiting: VecDeque<(ConnectionId, Instant)>,
    /// When the event loop looks for memory again.
    pub(super) due: Instant,
}

impl Default for MemoryWaits {
    fn default() -> Self {
        Self { ceiling: MemoryCeiling::new(usize::MAX), waiting: VecDeque::new(), due: Instant::NEVER }
    }
}

impl MemoryWaits {
    fn is_short(&self) -> bool {
        self.ceiling.available(MemoryUse::Receiving) < self.ceiling.bytes() / SHORT
    }

    fn look_soon(&mut self, now: Instant) {
        if self.due == Instant::NEVER {
            self.due = now.plus_millis(LOOK_MS);
        }
    }
}

impl EventLoop {
    /// From now on the memory of sockets is claimed from `ceiling`.
    pub(crate) fn claim_from(&mut self, ceiling: &Arc<MemoryCeiling>) {
        self.memory_waits.ceiling = ceiling.clone();
    }

    /// Claims memory for the bytes that wait in a socket, after the core has consumed `consumed` bytes. Returns whether the socket may read on.
    pub(super) fn claim_memory(&mut self, now: Instant, id: ConnectionId, consumed: usize) -> bool {
        let Some(socket) = self.socket(id) else { return false };
        if socket.waits_for_memory {
            return false;
        }
        let holding = socket.claim_memory(now, consumed);
        let has_begun = socket.stalled_since().is_some();
        match holding {
            Holding::Granted => {
                if has_begun && self.memory_waits.is_short() {
                    self.memory_waits.look_soon(now);
                }
                true
            }
            Holding::Waits => {
                socket.waits_for_memory = true;
                self.memory_waits.waiting.push_back((id, now));
                self.memory_waits.look_soon(now);
                false
            }
            Holding::Refused => {
                self.refuse_for_memory(now, id);
                false
            }
        }
    }

    /// Closes a connection because there is no memory for its bytes.
    pub(super) fn refuse_for_memory(&mut self, now: Instant, id: ConnectionId) {
        let Some(socket) = self.socket(id) else { return };
        socket.forget_unread();
        socket.reading = Reading::Closed;
        if socket.is_broken() {
            return self.lose(id);
        }
        let why = "memory is short, and a packet that has begun does not come to its end";
        self.broker.disconnect_connection(now, id, ReasonCode::QuotaExceeded, why);
    }

    /// Gives memory to packets that wait, as far as there is some, and closes connections that hold memory and send nothing.
    pub(super) fn look_for_memory(&mut self, now: Instant) {
        if self.memory_waits.due > now {
            return;
        }
        self.memory_waits.due = Instant::NEVER;
        self.let_waiting_go_on(now);
        let waiting = self.memory_waits.waiting.len();
        let is_short = self.memory_waits.is_short();
        if waiting > 0 || is_short {
            let patience = if is_short || waiting > MANY { LITTLE_PATIENCE_MS } else { PATIENCE_MS };
            if self.take_back(now, patience) || self.open > 0 && (waiting > 0 || is_short) {
                self.memory_waits.look_soon(now);
            }
        }
    }

    fn let_waiting_go_on(&mut self, now: Instant) {
        while let Some((id, since)) = self.memory_waits.waiting.pop_front() {
            let Some(socket) = self.socket(id).filter(|socket| socket.waits_for_memory) else { continue };
            // The time in which the connection could not send counts as no stall, so one byte counts as consumed.
            match socket.claim_memory_as(now, 1, true) {
                Holding::Granted => {
                    socket.waits_for_memory = false;
                    socket.wake();
                }
                Holding::Waits if now.millis_since(since) < LONGEST_WAIT_MS => {
                    return self.memory_waits.waiting.push_front((id, since));
                }
                Holding::Waits | Holding::Refused => self.refuse_for_memory(now, id),
            }
        }
    }

    /// Closes connections that have sent nothing of an unfinished packet for `patience` milliseconds, the longest stall first, until they have given
    /// back one part in [`TAKEN_BACK`] of the ceiling. Returns whether there was such a connection.
    fn take_back(&mut self, now: Instant, patience: u64) -> bool {
        let stalled = |socket: &crate::net::Socket| {
            let since = socket.stalled_since().filter(|_| !socket.waits_for_memory)?;
            (now.millis_since(since) >= patience).then_some((since, socket.id, socket.claimed()))
        };
        let mut stalled: Vec<_> = self.sockets.iter().flatten().filter_map(stalled).collect();
        stalled.sort_unstable_by_key(|(since, ..)| *since);
        let mut wanted = self.memory_waits.ceiling.bytes() / TAKEN_BACK;
        let is_any = !stalled.is_empty();
        for (_, id, claimed) in stalled {
            self.refuse_for_memory(now, id);
            wanted = wanted.saturating_sub(claimed);
            if wanted == 0 {
                break;
            }
        }
        if !is_any && self.memory_waits.is_short() {
            // No packet has stalled, and the parts of packets that wait take too much memory: the first of them is given up.
            let oldest = self.memory_waits.waiting.front().filter(|(_, since)| now.millis_since(*since) >= PATIENCE_MS);
            if let Some(&(id, _)) = oldest {
                self.memory_waits.waiting.pop_front();
                self.refuse_for_memory(now, id);
            }
        }
        is_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Admission, Transport};
    use crate::shard::{Clock, Mailboxes};
    use crate::testing::WakeCounter;
    use goldcrest_core::{AllowAll, Broker, Capacity, Config, Limits, Memory, Shard};
    use std::task::Waker;
    use std::time::Duration;
    use tokio::net::{TcpListener, TcpStream};

    async fn connect(event_loop: &mut EventLoop, admission: &Arc<Admission>, name: u8) -> (ConnectionId, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let connect = [b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01", &[name][..]].concat();
        let id =
            event_loop.open_connection(Transport::Plain(stream.into()), &connect, admission.permit().unwrap()).unwrap();
        (id, peer)
    }

    /// Runs turns of the event loop until `is_done`, for some seconds at most.
    async fn turn(event_loop: &mut EventLoop, mut is_done: impl FnMut(&mut EventLoop) -> bool) {
        let waker = Waker::from(Arc::new(WakeCounter::default()));
        for _ in 0..5_000 {
            event_loop.begin_turn(&waker);
            event_loop.poll_sockets(&mut Vec::new());
            event_loop.flush(usize::MAX);
            if is_done(event_loop) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("it never came so far");
    }

    #[tokio::test]
    async fn a_large_packet_waits_for_memory_and_small_ones_go_on() {
        tokio::task::LocalSet::new().run_until(large_and_small()).await;
    }

    async fn large_and_small() {
        let memory = Memory::owned(&Capacity::GATEWAY, &Limits::GATEWAY, Shard::ONLY);
        let broker = Broker::new(memory, Config::gateway(1), &AllowAll);
        let mut event_loop = EventLoop::new(0, Arc::new(Mailboxes::new(1)), Clock::start_at(0), broker, None);
        let ceiling = MemoryCeiling::new(16 << 20);
        let admission = Arc::new(Admission::new(2, 1, Duration::from_secs(1), 1024).under(&ceiling));
        event_loop.claim_from(&ceiling);
        let (large, large_peer) = connect(&mut event_loop, &admission, b'a').await;
        let (_, small_peer) = connect(&mut event_loop, &admission, b'b').await;
        ceiling.take_anyway(MemoryUse::Other, 14 << 20);
        // The first half of a PUBLISH of 200,000 bytes.
        let half = [b"\x30\xc3\x9a\x0c\0\x01x", &[7; 100_000][..]].concat();
        let mut sent = 0;
        turn(&mut event_loop, |event_loop| {
            sent += large_peer.try_write(&half[sent..]).unwrap_or(0);
            event_loop.socket(large).unwrap().waits_for_memory
        })
        .await;
        assert!(ceiling.refused(MemoryUse::Receiving) > 0);
        assert_eq!(small_peer.try_write(b"\xc0\0").unwrap(), 2);
        let mut came = Vec::new();
        turn(&mut event_loop, |_| {
            let _ = small_peer.try_read_buf(&mut came);
            came == b"\x20\x02\0\0\xd0\0"
        })
        .await;
        assert!(event_loop.socket(large).unwrap().waits_for_memory);
        ceiling.give_back(MemoryUse::Other, 14 << 20);
        turn(&mut event_loop, |event_loop| {
            sent += large_peer.try_write(&half[sent..]).unwrap_or(0);
            sent == half.len() && event_loop.socket(large).unwrap().unread().len() == half.len()
        })
        .await;
        assert!(ceiling.taken(MemoryUse::Receiving) >= 200_000);
        // Memory is short again, and the second half of the PUBLISH does not come: the connection is closed.
        ceiling.take_anyway(MemoryUse::Other, 14 << 20);
        event_loop.memory_waits.due = Instant::from_millis(0);
        turn(&mut event_loop, |event_loop| event_loop.socket(large).is_none()).await;
    }
}
