//! Counts the instructions that a PUBLISH takes from the bytes of its publisher to the bytes of its subscribers, and
//! their acknowledgements. The script `tests/firmware/instructions` runs this program in QEMU, where each instruction
//! takes 1,024 ns.
//!
//! The broker has the memory and the configuration of the firmware. Each line of output has the QoS, the number of
//! subscribers, and the instructions of each step.

#![no_std]
#![no_main]

#[path = "../src/memory.rs"]
#[allow(unreachable_pub, reason = "the tests of the core use it too")]
mod memory;
#[path = "../src/board/vectors.rs"]
mod vectors;

use core::hint::black_box;
use core::panic::PanicInfo;

use cortex_m::Peripherals;
use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::entry;
use cortex_m_semihosting::debug::{self, EXIT_FAILURE, EXIT_SUCCESS};
use cortex_m_semihosting::hprintln;
use goldcrest_core::codec::{Packet, QoS, Version, split};
use goldcrest_core::{AllowAll, Broker, ConnectionId, Instant};
use memory::Memory;

const MOST_SUBSCRIBERS: usize = 8;

/// Rounds before the counted one: by then every table has been used, and Packet Identifiers have their usual length.
const WARM_UP: usize = 20;

const NOW: Instant = Instant::from_millis(1_000);

/// A CONNECT of MQTT 5.0 with Clean Start. The last byte is the Client Identifier.
const CONNECT: [u8; 16] = *b"\x10\x0e\0\x04MQTT\x05\x02\0\0\0\0\x01?";
const SUBSCRIBE: [u8; 30] = *b"\x82\x1c\0\x01\0\0\x16building/+/temperature?";
const QOS_0: &[u8] = b"\x30\x33\0\x1cbuilding/kitchen/temperature\x0021.5 degrees Celsius";
const QOS_1: &[u8] = b"\x32\x35\0\x1cbuilding/kitchen/temperature\0\x07\x0021.5 degrees Celsius";
/// The offset of the Packet Identifier in such a PUBLISH.
const IDENTIFIER_AT: usize = 32;

/// The instructions of each step of one PUBLISH.
#[derive(Clone, Copy)]
struct Steps {
    /// Decoding alone, which `receive` includes.
    decode: u32,
    /// Decoding, matching and queueing.
    receive: u32,
    /// Encoding for all subscribers, and PUBACK for the publisher.
    transmit: u32,
    /// Handling the PUBACK of all subscribers.
    acknowledge: u32,
}

struct Bench {
    broker: &'static mut Broker<'static>,
    publisher: ConnectionId,
    /// The last packet sent to each subscriber.
    sent: [[u8; 64]; MOST_SUBSCRIBERS],
    subscribers: [Option<ConnectionId>; MOST_SUBSCRIBERS],
    overhead: u32,
}

#[entry]
fn main() -> ! {
    static mut MEMORY: Memory = Memory::new();
    // A `static`, because the stack has no room for a broker.
    static mut BROKER: Option<Broker<'static>> = None;

    let Some(Peripherals { SYST: mut timer, .. }) = Peripherals::take() else { panic!("main runs once") };
    timer.set_clock_source(SystClkSource::Core);
    timer.set_reload(0x00FF_FFFF);
    timer.clear_current();
    timer.enable_counter();

    let broker = BROKER.insert(Broker::new(MEMORY.memory(), memory::config(0x5EED), &AllowAll));
    let publisher = connect(broker, b'p');
    let overhead = ticks(|| ());
    let (sent, subscribers) = ([[0; 64]; MOST_SUBSCRIBERS], [None; MOST_SUBSCRIBERS]);
    let mut bench = Bench { broker, publisher, sent, subscribers, overhead };
    for (qos, packet) in [(QoS::AtMostOnce, QOS_0), (QoS::AtLeastOnce, QOS_1)] {
        for count in [1, MOST_SUBSCRIBERS] {
            bench.subscribe(count, qos);
            for _ in 0..WARM_UP {
                bench.publish(packet, qos);
            }
            let Steps { decode, receive, transmit, acknowledge } = bench.publish(packet, qos);
            hprintln!("{} {} {} {} {} {}", qos.bits(), count, decode, receive, transmit, acknowledge);
        }
    }
    loop {
        debug::exit(EXIT_SUCCESS);
    }
}

impl Bench {
    /// Connects `count` subscribers, and closes all earlier ones.
    fn subscribe(&mut self, count: usize, qos: QoS) {
        for id in self.subscribers.iter_mut().filter_map(Option::take) {
            self.broker.handle_closed(NOW, id);
        }
        settle(self.broker);
        for (number, place) in self.subscribers.iter_mut().enumerate().take(count) {
            let id = connect(self.broker, b'a' + number as u8);
            let mut packet = SUBSCRIBE;
            packet[29] = qos.bits();
            hand_in(self.broker, id, &packet);
            settle(self.broker);
            *place = Some(id);
        }
    }

    fn publish(&mut self, packet: &[u8], qos: QoS) -> Steps {
        let decode = self.count(|_| {
            let (frame, _) = split(black_box(packet), 1024).unwrap().unwrap();
            let Ok(Packet::Publish(publish)) = Packet::decode(Version::V5, frame) else { panic!("it is a PUBLISH") };
            black_box(publish);
        });
        let receive = self.count(|bench| hand_in(bench.broker, bench.publisher, packet));
        let mut taken = 0;
        let transmit = self.count(|bench| {
            let mut other = [0; 64];
            while let Some(id) = bench.broker.poll_ready() {
                let at = bench.subscribers.iter().position(|subscriber| *subscriber == Some(id));
                let out = at.and_then(|at| bench.sent.get_mut(at)).unwrap_or(&mut other);
                taken += usize::from(bench.broker.poll_transmit(NOW, id, out).written > 0);
            }
        });
        let subscribers = self.subscribers.iter().flatten().count();
        assert!(taken == subscribers + usize::from(qos == QoS::AtLeastOnce), "everybody gets a packet");
        let mut acknowledge = 0;
        if qos == QoS::AtLeastOnce {
            let mut acks = [[0x40, 2, 0, 0]; MOST_SUBSCRIBERS];
            for (ack, sent) in acks.iter_mut().zip(&self.sent) {
                ack[2..].copy_from_slice(&sent[IDENTIFIER_AT..IDENTIFIER_AT + 2]);
            }
            acknowledge = self.count(|bench| {
                for (id, ack) in bench.subscribers.into_iter().flatten().zip(&acks) {
                    hand_in(bench.broker, id, ack);
                }
            });
        }
        let left = self.broker.counters();
        assert!((left.messages, left.deliveries) == (0, 0), "it is done with");
        Steps { decode, receive, transmit, acknowledge }
    }

    /// How many instructions `act` takes.
    fn count(&mut self, act: impl FnOnce(&mut Self)) -> u32 {
        let overhead = self.overhead;
        let counted = ticks(|| act(self)) - overhead;
        // A tick of the core's clock is 80 ns.
        (counted * 80 + 512) / 1024
    }
}

/// How many ticks of the core's clock `act` takes.
#[inline(never)]
fn ticks(act: impl FnOnce()) -> u32 {
    let before = SYST::get_current();
    act();
    before.wrapping_sub(SYST::get_current()) & 0x00FF_FFFF
}

fn connect(broker: &mut Broker<'_>, name: u8) -> ConnectionId {
    let Ok(id) = broker.handle_connected(NOW) else { panic!("there is room") };
    let mut packet = CONNECT;
    packet[15] = name;
    hand_in(broker, id, &packet);
    settle(broker);
    id
}

fn hand_in(broker: &mut Broker<'_>, id: ConnectionId, packet: &[u8]) {
    assert!(broker.handle_bytes(NOW, id, packet).consumed == packet.len(), "it was taken");
}

/// Transmits all packets that are due, and discards them.
fn settle(broker: &mut Broker<'_>) {
    while let Some(id) = broker.poll_ready() {
        broker.poll_transmit(NOW, id, &mut [0; 256]);
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    hprintln!("{}", info);
    loop {
        debug::exit(EXIT_FAILURE);
    }
}
