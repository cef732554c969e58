//! The event loop of a shard with sockets, over TCP.

mod last_words;

use super::*;
use crate::net::{Admission, memory_pair};
use crate::testing::WakeCounter;
use goldcrest_core::codec::{PacketType, split};
use goldcrest_core::{AllowAll, Capacity, Config, Limits, LocalPublish, Memory, Shard, TopicName};
use std::pin::Pin;
use std::time::Duration;
use tokio::io::AsyncWrite as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// An event loop with one client that subscribed to `t`, and the client's end of the connection.
struct LoopWithClient {
    event_loop: EventLoop,
    woken: Arc<WakeCounter>,
    id: ConnectionId,
    peer: TcpStream,
}

impl LoopWithClient {
    async fn new() -> Self {
        let memory = Memory::owned(&Capacity::GATEWAY, &Limits::GATEWAY, Shard::ONLY);
        let broker = Broker::new(memory, Config::gateway(1), &AllowAll);
        let mut event_loop = EventLoop::new(0, Arc::new(Mailboxes::new(1)), Clock::start_at(0), broker, None);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let permit = Arc::new(Admission::new(1, 1, Duration::from_secs(1), 1024)).permit().unwrap();
        let begin = b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01a\x82\x06\0\x01\0\x01t\0";
        let id = event_loop.open_connection(Transport::Plain(stream.into()), begin, permit).unwrap();
        let mut client = Self { event_loop, woken: Arc::default(), id, peer };
        client.cycle();
        client
    }

    fn cycle(&mut self) {
        self.event_loop.begin_turn(&Waker::from(self.woken.clone()));
        self.event_loop.poll_sockets(&mut Vec::new());
        self.event_loop.flush(usize::MAX);
    }

    /// Publishes a message, which the event loop then has to send to the client.
    fn publish(&mut self, payload: &[u8]) {
        let topic = TopicName::new("t").unwrap();
        let message = LocalPublish { topic, payload, qos: Default::default(), retain: false, expiry_secs: None };
        self.event_loop.broker.publish(Instant::from_millis(0), message).unwrap();
    }

    /// Publishes until the system takes no more bytes for the client, which does not read.
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
}

/// In one turn the event loop reads only so many bytes. If no more bytes are there, it has not asked to be woken for later ones.
#[test]
fn a_client_in_memory_is_read_again_after_as_many_bytes_as_one_turn_takes() {
    let memory = Memory::owned(&Capacity::GATEWAY, &Limits::GATEWAY, Shard::ONLY);
    let broker = Broker::new(memory, Config::gateway(1), &AllowAll);
    let mut event_loop = EventLoop::new(0, Arc::new(Mailboxes::new(1)), Clock::start_at(0), broker, None);
    let (stream, mut peer) = memory_pair();
    let permit = Arc::new(Admission::new(1, 1, Duration::from_secs(1), 1024)).permit().unwrap();
    let transport = Transport::Memory(Box::new(stream));
    event_loop.open_connection(transport, b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01a", permit).unwrap();
    let woken = Arc::new(WakeCounter::default());
    let mut cycle = || {
        event_loop.begin_turn(&Waker::from(woken.clone()));
        event_loop.poll_sockets(&mut Vec::new());
        event_loop.flush(usize::MAX);
        event_loop.broker.counters().packets_received
    };
    cycle();
    // The PUBLISH has exactly `CHUNK` bytes: four of them are its fixed header.
    let mut publish = vec![b'p'; CHUNK];
    publish[..7].copy_from_slice(&[0x30, 0xfc, 0xff, 0x03, 0, 1, b't']);
    let mut write = |bytes: &[u8]| {
        let mut cx = Context::from_waker(Waker::noop());
        match Pin::new(&mut peer).poll_write(&mut cx, bytes) {
            Poll::Ready(Ok(written)) => written,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(write(&publish), CHUNK);
    let before = cycle();
    assert_eq!(before, 2, "CONNECT and PUBLISH");
    let seen = woken.count();
    assert_eq!(write(b"\xc0\0"), 2);
    assert!(woken.count() > seen, "nobody looks at what came");
    assert_eq!(cycle(), before + 1);
}

/// A bug of the past: 64 KiB were read from each client that had sent so much before the next client had its turn. Beside 500 such clients
/// an honest client waited for a third of a second.
#[test]
fn the_more_clients_have_sent_much_the_less_is_read_from_each_before_the_next_one_has_its_turn() {
    const CLIENTS: usize = 512;
    const EACH: usize = 16;
    let memory = Memory::owned(&Capacity::GATEWAY, &Limits::GATEWAY, Shard::ONLY);
    let broker = Broker::new(memory, Config::gateway(1), &AllowAll);
    let mut event_loop = EventLoop::new(0, Arc::new(Mailboxes::new(1)), Clock::start_at(0), broker, None);
    let admission = Arc::new(Admission::new(CLIENTS, 1, Duration::from_secs(1), 1024));
    let waker = Waker::from(Arc::new(WakeCounter::default()));
    let mut ready = Vec::new();
    let mut turn = |event_loop: &mut EventLoop| {
        event_loop.begin_turn(&waker);
        event_loop.poll_sockets(&mut ready);
        event_loop.flush(usize::MAX);
        event_loop.broker.counters().publish_received[0] as usize
    };
    // A PUBLISH of 1 KiB: three of its bytes are the fixed header.
    let mut publish = [b'p'; 1024];
    publish[..6].copy_from_slice(&[0x30, 0xfd, 0x07, 0, 1, b't']);
    let mut peers: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (stream, peer) = memory_pair();
            let connect = [b"\x10\x10\0\x04MQTT\x04\x02\0\0\0\x04", format!("{number:04}").as_bytes()].concat();
            let transport = Transport::Memory(Box::new(stream));
            event_loop.open_connection(transport, &connect, admission.permit().unwrap()).unwrap();
            peer
        })
        .collect();
    assert_eq!(turn(&mut event_loop), 0);
    for peer in &mut peers {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(
            matches!(Pin::new(peer).poll_write(&mut cx, &publish.repeat(EACH)), Poll::Ready(Ok(written)) if written == EACH * 1024)
        );
    }
    // With 512 clients that are ready, 4 KiB are read from each.
    assert_eq!(turn(&mut event_loop), CLIENTS * 4);
    while turn(&mut event_loop) < CLIENTS * EACH {}
}

/// A bug of the past: the core named the client as ready while the rest of an earlier write was sent, after the event loop had asked for
/// ready clients in that turn. So the client was never read again.
#[tokio::test]
async fn a_client_that_is_owed_too_many_replies_is_read_again_once_it_has_read_them() {
    const MESSAGES: u16 = 1500;
    let mut client = LoopWithClient::new().await;
    client.block().await;
    let mut seen = client.woken.count();
    // The broker owes a PUBACK for each of these messages, and the client does not read.
    let publish = |id: u16| [0x32, 6, 0, 1, b'x', (id >> 8) as u8, id as u8, b'p'];
    let packets: Vec<u8> = (1..=MESSAGES).flat_map(publish).collect();
    assert_eq!(client.peer.try_write(&packets).unwrap(), packets.len());
    let (mut come, mut acknowledged) = (Vec::new(), 0);
    for _ in 0..2_000 {
        sleep(Duration::from_millis(1)).await;
        if client.woken.count() > seen {
            seen = client.woken.count();
            client.cycle();
        }
        let is_choked = client.event_loop.socket(client.id).unwrap().reading == Reading::Waiting;
        let has_begun = !come.is_empty();
        while (is_choked || has_begun) && client.peer.try_read_buf(&mut come).is_ok_and(|read| read > 0) {}
        let mut rest = &come[..];
        while let Ok(Some((frame, len))) = split(rest, 1 << 20) {
            acknowledged += u16::from(frame.packet_type() == PacketType::PubAck);
            rest = &rest[len..];
        }
        come.drain(..come.len() - rest.len());
        come.reserve(1);
        if acknowledged == MESSAGES {
            return;
        }
    }
    panic!("{acknowledged} of {MESSAGES} acknowledgements come");
}
