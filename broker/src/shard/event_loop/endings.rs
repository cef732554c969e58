//! How a client's last words are taken, whatever the turn finds out first about its connection.

use super::*;
use crate::net::Admission;
use crate::testing::WakeCounter;
use goldcrest_core::{AllowAll, Capacity, Config, LocalPublish, Memory, Shard, TopicName};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::sleep;

/// A turn with one client that subscribed to `t`, and its peer.
struct Bench {
    event_loop: EventLoop,
    waker: Waker,
    id: ConnectionId,
    peer: TcpStream,
}

impl Bench {
    async fn new() -> Self {
        let memory = Memory::owned(&Capacity::GATEWAY, &Limits::GATEWAY, Shard::ONLY);
        let broker = Broker::new(memory, Config::gateway(1), &AllowAll);
        let mut event_loop = EventLoop::new(0, Arc::new(Mailboxes::new(1)), Clock::start_at(0), broker, None);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let permit = Arc::new(Admission::new(1, 1, Duration::from_secs(1), 1024)).permit().unwrap();
        let begin = b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01a\x82\x06\0\x01\0\x01t\0";
        let id = event_loop.open_connection(stream, begin, permit).unwrap();
        let mut bench = Self { event_loop, waker: Waker::from(Arc::new(WakeCounter::default())), id, peer };
        bench.cycle();
        bench
    }

    fn cycle(&mut self) {
        self.event_loop.begin_turn(&self.waker);
        self.event_loop.poll_sockets(&mut Vec::new());
        self.event_loop.flush(usize::MAX);
    }

    /// There is something to be sent to the client.
    fn publish(&mut self, payload: &[u8]) {
        let topic = TopicName::new("t").unwrap();
        let message = LocalPublish { topic, payload, qos: Default::default(), retain: false, expiry_secs: None };
        self.event_loop.broker.publish(Instant::from_millis(0), message).unwrap();
    }

    /// The client takes no more, and the system neither.
    async fn block(&mut self) {
        let mut blocked_for = 0;
        while blocked_for < 50 {
            if self.event_loop.socket(self.id).unwrap().is_blocked() {
                blocked_for += 1;
            } else {
                blocked_for = 0;
                self.publish(&[7; 200_000]);
            }
            self.cycle();
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// The peer publishes ten messages, says DISCONNECT, and closes with something unread: its system sends a reset.
    async fn leave(&mut self) {
        self.peer.readable().await.unwrap();
        let mut last_words = b"\x30\x04\0\x01xp".repeat(10);
        last_words.extend(b"\xe0\0");
        assert_eq!(self.peer.try_write(&last_words).unwrap(), last_words.len());
        let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let other = TcpStream::connect(elsewhere.local_addr().unwrap()).await.unwrap();
        drop(std::mem::replace(&mut self.peer, other));
    }

    /// All that the client said last is taken, and the connection ends by its DISCONNECT.
    async fn expect_last_words(&mut self) {
        for _ in 0..2_000 {
            if self.event_loop.socket(self.id).is_none() {
                break;
            }
            sleep(Duration::from_millis(1)).await;
            self.cycle();
        }
        assert!(self.event_loop.socket(self.id).is_none(), "the connection is gone");
        let counters = self.event_loop.broker.counters();
        assert_eq!(counters.publish_received, [10, 0, 0]);
        // CONNECT and SUBSCRIBE, ten PUBLISH, DISCONNECT.
        assert_eq!(counters.packets_received, 13);
    }
}

/// Runs a test as a shard runs: a connection that takes leave has a task of its own.
async fn run(test: impl Future<Output = ()>) {
    tokio::task::LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn last_words_are_taken_though_the_rest_of_a_write_fails_first() {
    run(async {
        let mut bench = Bench::new().await;
        bench.block().await;
        bench.leave().await;
        bench.expect_last_words().await;
    })
    .await;
}

#[tokio::test]
async fn last_words_are_taken_though_a_write_fails_first() {
    run(async {
        let mut bench = Bench::new().await;
        bench.leave().await;
        // A write that the system takes no more shows it, in a turn in which nobody has looked for what came.
        while bench.event_loop.socket(bench.id).is_some_and(|socket| !socket.is_broken()) {
            bench.publish(b"p");
            bench.event_loop.begin_turn(&bench.waker);
            bench.event_loop.flush(usize::MAX);
        }
        bench.expect_last_words().await;
    })
    .await;
}

/// What clients say while the gateway is told to stop was forgotten, and their Wills sent.
#[tokio::test]
async fn last_words_are_taken_before_the_gateway_stops() {
    run(async {
        let mut bench = Bench::new().await;
        bench.publish(b"p");
        bench.cycle();
        bench.leave().await;
        bench.event_loop.mailboxes.shut_down();
        bench.event_loop.begin_turn(&bench.waker);
        bench.event_loop.collect();
        assert_eq!(bench.event_loop.broker.counters().publish_received, [10, 0, 0]);
        bench.expect_last_words().await;
    })
    .await;
}
