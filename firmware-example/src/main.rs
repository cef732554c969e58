//! The Goldcrest MQTT broker on a Cortex-M3 without a heap. Its clients are on Ethernet and UARTs, and the board itself is a
//! client.

#![no_std]
#![no_main]
#![deny(unsafe_code)]

#[allow(unsafe_code)]
mod board;
mod buffer;
mod connection;
mod faults;
mod keeper;
mod line;
#[allow(unreachable_pub, reason = "tests include this file")]
mod memory;
mod network;
mod shown;
#[cfg_attr(not(feature = "stall"), allow(dead_code, reason = "only tests stall"))]
mod stall;
mod station;
mod supervisor;

use core::mem::MaybeUninit;

use goldcrest_core::{AllowAll, Broker, Config, Instant, derive_seed};

use board::{Board, Clock, Uart};
use faults::Faults;
use keeper::Keeper;
use line::Line;
use memory::Memory;
use network::Network;
use stall::is_stalled;
use station::Station;
use supervisor::{Supervisor, Task};

// The broker may take this much of the 64 KiB of RAM. If it takes more, the build fails and prints the size of each table.
const _: () = Memory::assert_fits::<{ 40 * 1024 }>();

type Lines = [Line<'static, Uart>; board::UARTS];

/// The largest packet that the board's own client receives, in bytes.
const LOCAL_BYTES: usize = 64;
/// The buffer for CONNECT and SUBSCRIBE of the board's own client, in bytes.
const LOCAL_OUTGOING_BYTES: usize = 32;

#[board::entry]
#[allow(clippy::too_many_arguments, reason = "`entry` makes arguments of what is `static` in it")]
fn main() -> ! {
    // `entry` makes these variables `static` and lends them once. All begin as zeros, which take no flash; `None` would not be
    // all zeros.
    static mut MEMORY: Memory = Memory::new();
    static mut BROKER: MaybeUninit<Broker<'static>> = MaybeUninit::uninit();
    static mut KEPT: keeper::Memory<{ goldcrest_flash::places(&Memory::ENTRIES) }> = keeper::Memory::new();
    static mut FRAMES: network::Buffers = network::Buffers::new();
    static mut SOCKETS: network::Sockets = network::Sockets::new();
    static mut NETWORK: MaybeUninit<Network> = MaybeUninit::uninit();
    static mut BUFFERS: [line::Buffers; board::UARTS] = [const { line::Buffers::new() }; board::UARTS];
    static mut LOCAL: [u8; LOCAL_BYTES] = [0; LOCAL_BYTES];
    static mut LOCAL_OUTGOING: [u8; LOCAL_OUTGOING_BYTES] = [0; LOCAL_OUTGOING_BYTES];

    let Some(Board { clock, uarts, led, watchdog }) = Board::take() else { panic!("main runs once") };
    let [uart0, uart1, uart2] = uarts;
    let [buffers0, buffers1, buffers2] = BUFFERS;
    let mut lines = [Line::new(uart0, buffers0), Line::new(uart1, buffers1), Line::new(uart2, buffers2)];
    let address = FRAMES.start();
    board::say(format_args!("MQTT on TCP port 1883, UART0, UART1 and UART2"));
    board::say(format_args!("after cargo run: mosquitto_sub -p 1889 -t 'board/#' -v (UARTs: -p 1890, 1891, 1892)"));
    board::say(format_args!("after cargo run: mosquitto_pub -p 1889 -t board/led/set -m on"));

    let memory = MEMORY.memory();
    let mut keeper = Keeper::open(&memory, KEPT);
    // Message expiry counts only the time during which the board ran.
    clock.go_on(keeper.clock());
    board::sleep(&clock, u64::MAX);
    // The board has no source of random numbers. The processor cycle at the first received byte is the best substitute.
    let seed = clock.jitter().into();
    let now = time(&clock);
    let broker = open_broker(BROKER, memory, seed);
    keeper.restore(now, broker, FRAMES.spare());
    let network = open_network(NETWORK, now, FRAMES, SOCKETS, address, derive_seed(seed, 0));
    let mut station = Station::new(now, led, LOCAL, LOCAL_OUTGOING);
    let mut supervisor = Supervisor::start(watchdog);
    let mut faults = Faults::NONE;

    loop {
        let now = time(&clock);
        let mut has_moved = false;

        // Receive bytes and hand them to the broker.
        for (line, task) in lines.iter_mut().zip(Task::UARTS) {
            let has_received = !is_stalled(task) && line.receive(now, broker);
            supervisor.note(task, has_received || !line.has_input());
            has_moved |= has_received;
        }
        let has_received = !is_stalled(Task::Network) && network.receive(now, broker);
        supervisor.note(Task::Network, has_received || !network.has_input());
        has_moved |= has_received;
        if !is_stalled(Task::Broker) && broker.poll_timeout().is_some_and(|due| due <= now) {
            broker.handle_timeout(now);
        }
        supervisor.note(Task::Broker, broker.poll_timeout().is_none_or(|due| due > now));
        let has_published = !is_stalled(Task::Station) && station.turn(now, broker, &mut faults);
        supervisor.note(Task::Station, has_published);

        // Store records: replies that are transmitted below may promise them.
        keeper.persist(now, broker, network.spare(), &mut faults);

        // Transmit replies and messages.
        while let Some(id) = broker.poll_ready() {
            // Even a connection that has ended may have a last packet to send.
            has_moved |= station.is(id) || network.wake(id) || lines.iter_mut().any(|line| line.wake(id));
        }
        for line in lines.iter_mut() {
            has_moved |= line.transmit(now, broker);
        }
        has_moved |= network.transmit(now, broker);

        faults.damages = lines.iter().map(Line::damages).sum();
        (faults.refused, faults.oversized) = (network.refused(), network.oversized());
        supervisor.end_turn();
        if !has_moved && !keeper.tidy(broker, &mut faults) {
            board::sleep(&clock, next_turn(now, broker, network, &station, &lines).as_millis());
        }
    }
}

// The broker and its store are so large that `main` must not keep them on its stack; they are on the stack only while they are
// made.

#[inline(never)]
fn open_broker(
    place: &'static mut MaybeUninit<Broker<'static>>,
    memory: goldcrest_core::Memory<'static>,
    seed: u128,
) -> &'static mut Broker<'static> {
    let config = Config { durable: true, ..memory::config(seed) };
    place.write(Broker::new(memory, config, &AllowAll))
}

#[inline(never)]
fn open_network(
    place: &'static mut MaybeUninit<Network>,
    now: Instant,
    buffers: &'static mut network::Buffers,
    sockets: &'static mut network::Sockets,
    address: [u8; 6],
    seed: u64,
) -> &'static mut Network {
    place.write(Network::new(now, buffers, sockets, address, seed))
}

/// The time of the next turn of the main loop, if no device has anything before.
fn next_turn(
    now: Instant,
    broker: &Broker<'_>,
    network: &mut Network,
    station: &Station<'_>,
    lines: &Lines,
) -> Instant {
    // No event tells when a UART accepts more bytes.
    let retry = if lines.iter().any(Line::has_output) { now.plus_millis(1) } else { Instant::NEVER };
    let network = network.poll_timeout(now).unwrap_or(Instant::NEVER);
    let broker = broker.poll_timeout().unwrap_or(Instant::NEVER);
    station.due().min(broker).min(network).min(retry)
}

fn time(clock: &Clock) -> Instant {
    Instant::from_millis(clock.millis())
}
