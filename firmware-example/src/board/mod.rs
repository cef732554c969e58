//! The parts of an LM3S6965 evaluation board that the firmware uses, as QEMU models the board: three UARTs, Ethernet, flash, an
//! LED, a clock, a watchdog, a console, and a guard of the stack.
//!
//! This is the only folder with `unsafe`: here registers are addresses, and the hardware calls the interrupt handlers.

mod clock;
mod console;
mod ethernet;
mod flash;
mod led;
mod memmove;
mod register;
pub(crate) mod stack;
mod uart;
mod vectors;
mod watchdog;

pub(crate) use clock::Clock;
pub(crate) use console::{give_up, say};
pub(crate) use cortex_m_rt::entry;
pub(crate) use ethernet::{Ethernet, SPARE};
pub(crate) use flash::{Flash, FlashError};
pub(crate) use led::Led;
pub(crate) use uart::{COUNT as UARTS, Uart};
pub(crate) use watchdog::Watchdog;

use core::cell::Cell;

use cortex_m::Peripherals;
use cortex_m::interrupt::InterruptNumber;
use cortex_m::peripheral::NVIC;
use critical_section::{CriticalSection, Mutex};

use crate::shown::Decimal;

/// The frequency of the oscillator from which QEMU's model runs after a reset, in Hz.
const CORE_HZ: u32 = 12_500_000;

/// The devices of the board, each once. Ethernet is not among them: it holds frames, and is a `static` of its user.
pub(crate) struct Board {
    pub(crate) clock: Clock,
    pub(crate) uarts: [Uart; UARTS],
    pub(crate) led: Led,
    pub(crate) watchdog: Watchdog,
}

impl Board {
    /// Starts the clock and the UARTs. The watchdog stays off until it is started. `None` on a second call.
    pub(crate) fn take() -> Option<Self> {
        let core = Peripherals::take()?;
        let clock = Clock::start(core.SYST);
        Some(Self { clock, uarts: uart::start(), led: Led::start(), watchdog: Watchdog::new() })
    }
}

/// Whether a device has something for the main loop since the main loop last slept.
static HAS_NEWS: Mutex<Cell<bool>> = Mutex::new(Cell::new(false));

/// Ends the sleep of the main loop, or its next sleep.
fn wake(cs: CriticalSection<'_>) {
    HAS_NEWS.borrow(cs).set(true);
}

/// Sleeps until a device has received something since the last sleep, or until the clock shows `until`, in milliseconds.
pub(crate) fn sleep(clock: &Clock, until: u64) {
    loop {
        // With interrupts disabled, none comes between the check and the sleep. A pending interrupt ends the sleep even so.
        let is_over = critical_section::with(|cs| {
            let is_over = HAS_NEWS.borrow(cs).take() || clock.millis() >= until;
            if !is_over {
                cortex_m::asm::wfi();
            }
            is_over
        });
        if is_over {
            return;
        }
    }
}

#[derive(Clone, Copy)]
struct Interrupt(u16);

// SAFETY: the number of an interrupt is a constant.
unsafe impl InterruptNumber for Interrupt {
    fn number(self) -> u16 {
        self.0
    }
}

fn unmask(interrupt: u16) {
    // SAFETY: interrupt handlers share data with other code by critical sections alone.
    unsafe { NVIC::unmask(Interrupt(interrupt)) };
}

/// Handles the interrupts of all devices by their number, since the board has no table with a name for each.
#[cortex_m_rt::exception]
unsafe fn DefaultHandler(number: i16) {
    critical_section::with(|cs| match u16::try_from(number) {
        Ok(ethernet::INTERRUPT) => ethernet::on_interrupt(cs),
        Ok(watchdog::INTERRUPT) => watchdog::on_interrupt(cs),
        Ok(number) => uart::on_interrupt(cs, number),
        // In the numbering of the manuals, in which the interrupts of devices begin at 16.
        Err(_) => console::give_up(format_args!(
            "exception {}, which nobody expects",
            Decimal(i32::from(number).wrapping_add(16) as u32)
        )),
    });
}
