//! What the firmware needs of an LM3S6965 evaluation board, as QEMU models it: three UARTs, Ethernet, flash, an LED, a
//! clock, a watchdog, a console, and the stack's guard.
//!
//! The only place with `unsafe`: registers are addresses here, and handlers are called by the hardware.

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

/// The oscillator that QEMU's model runs from after a reset.
const CORE_HZ: u32 = 12_500_000;

/// The hardware, each part of it once. Ethernet holds frames and is a `static` of its user's.
pub(crate) struct Board {
    pub(crate) clock: Clock,
    pub(crate) uarts: [Uart; UARTS],
    pub(crate) led: Led,
    pub(crate) watchdog: Watchdog,
}

impl Board {
    /// Starts the clock and the UARTs; the watchdog sleeps until it is started. `None` if that was done before.
    pub(crate) fn take() -> Option<Self> {
        let core = Peripherals::take()?;
        let clock = Clock::start(core.SYST);
        Some(Self { clock, uarts: uart::start(), led: Led::start(), watchdog: Watchdog::new() })
    }
}

/// A device has something for the main loop since that last slept.
static HAS_NEWS: Mutex<Cell<bool>> = Mutex::new(Cell::new(false));

/// Ends the sleep of the main loop, or its next one.
fn wake(cs: CriticalSection<'_>) {
    HAS_NEWS.borrow(cs).set(true);
}

/// Sleeps until a device has received something since the last sleep, or until the clock shows `until`.
pub(crate) fn sleep(clock: &Clock, until: u64) {
    loop {
        // With interrupts held back none comes between the look and the sleep; one that is pending ends the sleep all the same.
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

// SAFETY: a number never changes.
unsafe impl InterruptNumber for Interrupt {
    fn number(self) -> u16 {
        self.0
    }
}

fn unmask(interrupt: u16) {
    // SAFETY: the handlers share nothing with others but through critical sections.
    unsafe { NVIC::unmask(Interrupt(interrupt)) };
}

/// Interrupts of devices come here by their number, as there is no table with a name for each.
#[cortex_m_rt::exception]
unsafe fn DefaultHandler(number: i16) {
    critical_section::with(|cs| match u16::try_from(number) {
        Ok(ethernet::INTERRUPT) => ethernet::on_interrupt(cs),
        Ok(watchdog::INTERRUPT) => watchdog::on_interrupt(cs),
        Ok(number) => uart::on_interrupt(cs, number),
        // As the manuals count them: interrupts are those from 16 on.
        Err(_) => console::give_up(format_args!(
            "exception {}, which nobody expects",
            Decimal(i32::from(number).wrapping_add(16) as u32)
        )),
    });
}
