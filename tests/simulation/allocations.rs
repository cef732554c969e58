//! Between warm connections a delivery takes nothing from the heap, and a message at most its body.

use goldcrest_core::codec::split;
use goldcrest_core::{AllowAll, Broker, Capacity, Config, ConnectionId, Instant, Limits, Memory, Shard, Then};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::Range;

const NOW: Instant = Instant::from_millis(0);
const SUBSCRIBERS: usize = 100;
const MESSAGES: usize = 10;

thread_local! {
    // Of this thread alone: tests run side by side.
    static TAKEN: Cell<usize> = const { Cell::new(0) };
}

/// The system's heap; it counts how often something is taken or grows.
struct Counting;

#[global_allocator]
static HEAP: Counting = Counting;

// SAFETY: every call goes to the system's allocator as it came; the counter has no destructor and takes nothing itself.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TAKEN.set(TAKEN.get() + 1);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        TAKEN.set(TAKEN.get() + 1);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[test]
fn the_allocator_counts() {
    let before = TAKEN.get();
    std::hint::black_box(Vec::<u8>::with_capacity(1));
    assert_eq!(TAKEN.get() - before, 1);
}

#[test]
fn a_message_is_one_allocation_and_a_delivery_none() {
    for qos in 0..3 {
        for len in [16, 1024, 64 * 1024] {
            let mut bed = Bed::new(qos);
            let packets: Vec<u8> = (1..).take(MESSAGES).flat_map(|id| publish(qos, id, len)).collect();
            for _ in 0..3 {
                bed.round(&packets);
            }
            let (messages, deliveries) = bed.round(&packets);
            assert_eq!(bed.delivered, MESSAGES * SUBSCRIBERS, "QoS {qos}, {len} bytes");
            assert!(messages <= MESSAGES, "QoS {qos}, {len} bytes: {messages} allocations for {MESSAGES} messages");
            assert_eq!(deliveries, 0, "QoS {qos}, {len} bytes: allocations for {} deliveries", bed.delivered);
        }
    }
}

/// A publisher and its subscribers.
struct Bed {
    broker: Broker<'static>,
    publisher: ConnectionId,
    out: Vec<u8>,
    /// Which part of `out` went to whom.
    sent: Vec<(ConnectionId, Range<usize>)>,
    /// PUBLISH packets of the last round.
    delivered: usize,
}

impl Bed {
    fn new(qos: u8) -> Self {
        let memory = Memory::owned(&Capacity::GATEWAY, &Limits::GATEWAY, Shard::ONLY);
        let mut broker = Broker::new(memory, Config::gateway(1), &AllowAll);
        let mut connect = |name: &str| {
            let id = broker.handle_connected(NOW).unwrap();
            let head = [&b"\0\x04MQTT\x04\x02\0\0\0"[..], &[name.len() as u8], name.as_bytes()].concat();
            hand_in(&mut broker, id, &frame(0x10, &head));
            id
        };
        let publisher = connect("publisher");
        let subscribers: Vec<_> = (0..SUBSCRIBERS).map(|n| connect(&format!("subscriber {n}"))).collect();
        for id in subscribers {
            hand_in(&mut broker, id, &frame(0x82, &[&b"\0\x01\0\x04heap"[..], &[qos]].concat()));
        }
        let out = vec![0; (MESSAGES * SUBSCRIBERS) << 17];
        let mut bed = Self { broker, publisher, out, sent: Vec::with_capacity(10_000), delivered: 0 };
        bed.transmit();
        bed
    }

    /// Lets messages in, and everybody acknowledge until nothing is left. How often the broker took memory while it took
    /// the messages, and while it delivered them.
    fn round(&mut self, packets: &[u8]) -> (usize, usize) {
        self.delivered = 0;
        let messages = counted(|| hand_in(&mut self.broker, self.publisher, packets));
        let mut deliveries = 0;
        loop {
            deliveries += counted(|| self.transmit());
            let answers = self.answers();
            if answers.is_empty() {
                return (messages, deliveries);
            }
            for (id, bytes) in answers {
                deliveries += counted(|| hand_in(&mut self.broker, id, &bytes));
            }
        }
    }

    fn transmit(&mut self) {
        self.sent.clear();
        let mut start = 0;
        while let Some(id) = self.broker.poll_ready() {
            let transmit = self.broker.poll_transmit(NOW, id, &mut self.out[start..]);
            assert_eq!(transmit.then, Then::Idle);
            self.sent.push((id, start..start + transmit.written));
            start += transmit.written;
        }
    }

    /// What clients acknowledge of that.
    fn answers(&mut self) -> Vec<(ConnectionId, Vec<u8>)> {
        let mut answers = Vec::new();
        for (id, part) in &self.sent {
            let (mut bytes, mut answer) = (&self.out[part.clone()], Vec::new());
            while let Ok(Some((frame, len))) = split(bytes, 1 << 20) {
                let body = frame.body();
                self.delivered += usize::from(bytes[0] >> 4 == 3);
                match bytes[0] {
                    // The Packet Identifier stands behind the topic, elsewhere at the front.
                    0x32 => answer.extend([0x40, 2, body[6], body[7]]),
                    0x34 => answer.extend([0x50, 2, body[6], body[7]]),
                    0x50 => answer.extend([0x62, 2, body[0], body[1]]),
                    0x62 => answer.extend([0x70, 2, body[0], body[1]]),
                    _ => {}
                }
                bytes = &bytes[len..];
            }
            if !answer.is_empty() {
                answers.push((*id, answer));
            }
        }
        answers
    }
}

fn counted(work: impl FnOnce()) -> usize {
    let before = TAKEN.get();
    work();
    TAKEN.get() - before
}

fn hand_in(broker: &mut Broker<'_>, id: ConnectionId, bytes: &[u8]) {
    assert_eq!(broker.handle_bytes(NOW, id, bytes).consumed, bytes.len());
}

fn publish(qos: u8, packet_id: u16, len: usize) -> Vec<u8> {
    let mut body = b"\0\x04heap".to_vec();
    if qos > 0 {
        body.extend(packet_id.to_be_bytes());
    }
    body.resize(body.len() + len, b'x');
    frame(0x30 | qos << 1, &body)
}

fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let (mut bytes, mut len) = (vec![first], body.len());
    while len > 127 {
        bytes.push(len as u8 | 128);
        len >>= 7;
    }
    bytes.push(len as u8);
    bytes.extend(body);
    bytes
}
