//! The Goldcrest MQTT broker on a Cortex-M3 without a heap: each UART is a Network Connection.

#![no_std]
#![no_main]
#![deny(unsafe_code)]

#[allow(unsafe_code)]
mod board;
mod buffer;
mod line;
mod memory;

use goldcrest_core::{AllowAll, Broker, Instant};

use board::Board;
use line::Line;
use memory::Memory;

// Of the 64 KiB of RAM. Beyond it the build fails and says how much each table takes.
const _: () = Memory::assert_fits::<{ 38 * 1024 }>();

#[board::entry]
fn main() -> ! {
    // `entry` makes it a `static`, lent out once.
    static mut MEMORY: Memory = Memory::new();

    let Some(Board { clock, uarts }) = Board::take() else { panic!("main runs once") };
    let mut lines = uarts.map(Line::new);
    board::say("goldcrest: MQTT on UART0, UART1 and UART2; README.md says how to connect to them");

    while !lines.iter_mut().any(Line::has_input) {
        board::sleep();
    }
    // The board has no source of random numbers. The moment of the first byte is the best there is.
    let config = memory::config(clock.jitter());
    let mut broker = Broker::new(MEMORY.memory(), config, &AllowAll);

    loop {
        let now = Instant::from_millis(clock.millis());
        let mut has_moved = false;

        for line in &mut lines {
            has_moved |= line.receive(now, &mut broker);
        }
        if broker.poll_timeout().is_some_and(|due| due <= now) {
            broker.handle_timeout(now);
        }
        while let Some(id) = broker.poll_ready() {
            // Of a connection that has ended there may be a last word.
            let _ = lines.iter_mut().any(|line| line.wake(id));
        }
        for line in &mut lines {
            has_moved |= line.transmit(now, &mut broker);
        }

        if !has_moved {
            board::sleep();
        }
    }
}
