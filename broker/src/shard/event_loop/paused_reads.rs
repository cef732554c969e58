//! PINGREQs of clients whose packets the core does not read for a while, because the disk hangs, other shards are slow, or the core owes
//! the client too many replies. Such a client still sends PINGREQ, and takes the connection for lost if no PINGRESP comes.

use super::EventLoop;
use crate::net::{Holding, Reading};
use goldcrest_core::Instant;

/// How often these clients' bytes are searched for PINGREQ. Clients wait some seconds for PINGRESP.
const PAUSE_MS: u64 = 500;

impl EventLoop {
    /// Notes that the core does not read a client's packets, if `reading` says so.
    #[inline]
    pub(super) fn note_paused(&mut self, now: Instant, reading: Reading) {
        if reading == Reading::Waiting && self.paused_due == Instant::NEVER {
            self.paused_due = now.plus_millis(PAUSE_MS);
        }
    }

    /// Reads on for clients that still wait, and lets the core answer the PINGREQs in the bytes that have arrived. All sockets are looked
    /// at: most clients wait only for a moment, so a list of them is not worth keeping.
    pub(super) fn answer_pings_of_paused(&mut self, now: Instant) {
        if self.paused_due > now {
            return;
        }
        self.paused_due = Instant::NEVER;
        let mut refused = Vec::new();
        let Self { broker, sockets, paused_due, .. } = self;
        for socket in sockets.iter_mut().flatten() {
            if socket.reading == Reading::Waiting && !socket.is_broken() {
                socket.read_ahead();
                let seen = broker.handle_pings(socket.id, socket.unseen());
                socket.see(seen);
                *paused_due = now.plus_millis(PAUSE_MS);
                if socket.claim_memory(now, 0) == Holding::Refused {
                    refused.push(socket.id);
                }
            }
        }
        for id in refused {
            self.refuse_for_memory(now, id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Admission, Transport};
    use crate::shard::Clock;
    use crate::shard::Mailboxes;
    use crate::testing::WakeCounter;
    use goldcrest_core::{AllowAll, Broker, Capacity, Config, Limits, Memory, Shard};
    use std::sync::Arc;
    use std::task::Waker;
    use std::time::Duration;
    use tokio::net::{TcpListener, TcpStream};

    /// [MQTT-3.12.4-1]
    #[tokio::test]
    async fn pings_are_answered_while_the_disk_hangs_and_no_packets_are_read() {
        let memory = Memory::owned(&Capacity::GATEWAY, &Limits::GATEWAY, Shard::ONLY);
        // No embedder polls records in this test, so nothing ever becomes safe.
        let broker = Broker::new(memory, Config { durable: true, ..Config::gateway(1) }, &AllowAll);
        let mut event_loop = EventLoop::new(0, Arc::new(Mailboxes::new(1)), Clock::start_at(0), broker, None);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let permit = Arc::new(Admission::new(1, 1, Duration::from_secs(1), 1024)).permit().unwrap();
        let connect = b"\x10\x0d\0\x04MQTT\x04\x02\0\x04\0\x01a";
        event_loop.open_connection(Transport::Plain(stream.into()), connect, permit).unwrap();
        // The client sends more messages than the core may owe replies for, so the core does not read the PINGREQ behind them.
        let kept = |id: u16| [0x33, 6, 0, 1, b'x', (id >> 8) as u8, id as u8, b'p'];
        let packets: Vec<u8> = (1..=Limits::GATEWAY.owed_replies + 100).flat_map(kept).collect();
        assert_eq!(peer.try_write(&packets).unwrap(), packets.len());
        let waker = Waker::from(Arc::new(WakeCounter::default()));
        let mut came = Vec::new();
        for pings in 1..=2 {
            assert_eq!(peer.try_write(b"\xc0\0").unwrap(), 2);
            for _ in 0..5_000 {
                event_loop.begin_turn(&waker);
                event_loop.poll_sockets(&mut Vec::new());
                event_loop.flush(usize::MAX);
                let _ = peer.try_read_buf(&mut came);
                if came.len() >= 4 + 2 * pings {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(came, [&b"\x20\x02\0\0"[..], &b"\xd0\0".repeat(pings)].concat());
        }
    }
}
