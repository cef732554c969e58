//! Between warm connections a message causes no allocation on its whole way through a shard. If it crosses to another shard
//! it causes at most one, for its body, whatever the number of its subscribers. Both hold even if reads end amid a burst of
//! packets.

mod support;

use goldcrest::{Config, Gateway};
use goldcrest_core::codec::{
    Ack, ConnAck, Connect, MAX_PACKET_LEN, Packet, PacketId, Properties, Property, Publish, QoS, ReasonCode, Version,
    split,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::{Client, connect_packet, local, runtime};

const SUBSCRIBERS: usize = 10;
const MESSAGES: usize = 20;
const ROUNDS: usize = 20;
const SPELLS: usize = 4;

/// How many allocations threads other than the clients made.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static IS_CLIENT: Cell<bool> = const { Cell::new(false) };
}

/// The system's allocator, with a count of allocations and growths.
struct Counting;

#[global_allocator]
static HEAP: Counting = Counting;

fn count() {
    if !IS_CLIENT.get() {
        TAKEN.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call is passed to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of this function, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of this function, which is the same.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of this function, which is the same.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// One test for all cases: allocations of another test at the same time would be counted too.
#[test]
fn a_message_causes_at_most_one_allocation_in_the_gateway() {
    IS_CLIENT.set(true);
    for (shards, is_stored) in [(1, false), (2, false), (1, true), (2, true)] {
        for filter in ["a/heap", "$share/group/a/heap"] {
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                // Payloads of 64 KiB are written from where they are stored. They take long, so they are tested in one
                // setting only.
                let is_simple = !is_stored && qos == QoS::AtLeastOnce;
                for bytes in [16, 8 * 1024, 64 * 1024].into_iter().filter(|&bytes| bytes < 64 * 1024 || is_simple) {
                    let mut bed = Bed::new(shards, is_stored, filter, qos, bytes);
                    let taken = (0..SPELLS).map(|_| bed.spell()).min().unwrap();
                    let messages = ROUNDS * MESSAGES;
                    // Lists still grow now and then, and the queue to the thread of the store allocates a block for each 31
                    // batches. The test allows for these allocations; an allocation in each round would exceed the allowance.
                    let bodies = if shards == 1 { 0 } else { messages };
                    let may_take = bodies + if is_stored { messages / 10 } else { ROUNDS / 2 };
                    assert!(
                        taken <= may_take,
                        "{shards} shards, stored: {is_stored}, {filter}, {qos:?}, {bytes} bytes: {taken} for {messages} messages",
                    );
                    bed.end();
                }
            }
        }
    }
}

/// A gateway, and a publisher and its subscribers, which speak MQTT 5.0.
struct Bed {
    gateway: Gateway,
    data_dir: Option<PathBuf>,
    qos: QoS,
    /// The clients; the first is the publisher.
    clients: Vec<Peer>,
    /// The packets that the publisher sends in a round.
    packets: Vec<u8>,
    /// How many subscribers get each message.
    copies: usize,
}

/// A client that answers each packet of the broker as MQTT demands.
struct Peer {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Bed {
    fn new(shards: u16, is_stored: bool, filter: &str, qos: QoS, bytes: usize) -> Self {
        let folder = std::env::temp_dir().join(format!("goldcrest-allocations-{}", std::process::id()));
        let data_dir = is_stored.then_some(folder);
        let gateway = Gateway::start(&Config { shards, data_dir: data_dir.clone(), ..local() }).unwrap();
        let expiry = [Property::SessionExpiryInterval(3600)];
        let connect = |name: String| {
            let mut client = Client::open(gateway.addresses()[0]);
            client.send(Packet::Connect(Connect { properties: Properties::new(&expiry), ..connect_packet(&name) }));
            client.expect(Packet::ConnAck(ConnAck::new(ReasonCode::Success)));
            client
        };
        let mut clients = vec![connect("publisher".to_owned())];
        for n in 0..SUBSCRIBERS {
            let mut subscriber = connect(format!("subscriber {n}"));
            subscriber.subscribe(filter, qos);
            clients.push(subscriber);
        }
        let peer = |client: Client| {
            client.stream.set_nonblocking(true).unwrap();
            Peer { stream: client.stream, received: Vec::new() }
        };
        let payload = vec![b'x'; bytes];
        let list = [Property::UserProperty("name", "value"), Property::ContentType("text/plain")];
        let mut packets = Vec::new();
        for id in 1..=MESSAGES as u16 {
            let packet_id = (qos > QoS::AtMostOnce).then(|| PacketId::new(id).unwrap());
            let (topic, properties) = ("a/heap", Properties::new(&list));
            let publish = Publish { dup: false, qos, retain: false, topic, packet_id, properties, payload: &payload };
            Packet::Publish(publish).encode(Version::V5, &mut packets);
        }
        let copies = if filter.starts_with('$') { 1 } else { SUBSCRIBERS };
        Self { gateway, data_dir, qos, clients: clients.into_iter().map(peer).collect(), packets, copies }
    }

    /// The number of allocations of the gateway in several rounds.
    fn spell(&mut self) -> usize {
        let before = TAKEN.load(Ordering::Relaxed);
        for _ in 0..ROUNDS {
            self.round();
        }
        TAKEN.load(Ordering::Relaxed) - before
    }

    /// Sends a round of messages, and waits for all of their acknowledgements.
    fn round(&mut self) {
        let wanted = match self.qos {
            QoS::AtMostOnce => [self.copies * MESSAGES, 0, 0],
            QoS::AtLeastOnce => [self.copies * MESSAGES, MESSAGES, 0],
            QoS::ExactlyOnce => [self.copies * MESSAGES, MESSAGES, self.copies * MESSAGES],
        };
        self.clients[0].send(&self.packets);
        let mut done = [0; 3];
        let begun = Instant::now();
        while done != wanted {
            assert!(begun.elapsed() < Duration::from_secs(20), "{done:?} of {wanted:?}");
            let before = done;
            self.clients.iter_mut().for_each(|client| client.answer(&mut done));
            if done == before {
                std::thread::sleep(Duration::from_micros(100));
            }
        }
    }

    fn end(self) {
        drop(self.clients);
        runtime().block_on(self.gateway.shut_down());
        if let Some(folder) = self.data_dir {
            std::fs::remove_dir_all(folder).unwrap();
        }
    }
}

impl Peer {
    fn send(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(Duration::from_micros(100)),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Answers the packets that have arrived. Counts received messages, messages acknowledged to the end, and released
    /// messages.
    fn answer(&mut self, done: &mut [usize; 3]) {
        let mut chunk = [0; 65_536];
        match self.stream.read(&mut chunk) {
            Ok(0) => panic!("the gateway closed the connection"),
            Ok(read) => self.received.extend_from_slice(&chunk[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("{error}"),
        }
        let (mut answers, mut taken) = (Vec::new(), 0);
        while let Some((frame, len)) = split(&self.received[taken..], MAX_PACKET_LEN).unwrap() {
            let ack = |id| Ack::new(id, ReasonCode::Success);
            let answer = match Packet::decode(Version::V5, frame).unwrap() {
                Packet::Publish(publish) => {
                    done[0] += 1;
                    publish.packet_id.map(|id| match publish.qos {
                        QoS::ExactlyOnce => Packet::PubRec(ack(id)),
                        _ => Packet::PubAck(ack(id)),
                    })
                }
                Packet::PubRec(received) => Some(Packet::PubRel(ack(received.packet_id))),
                Packet::PubRel(released) => {
                    done[2] += 1;
                    Some(Packet::PubComp(ack(released.packet_id)))
                }
                _ => {
                    done[1] += 1;
                    None
                }
            };
            if let Some(answer) = answer {
                answer.encode(Version::V5, &mut answers);
            }
            taken += len;
        }
        self.received.drain(..taken);
        self.send(&answers);
    }
}
