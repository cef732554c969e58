//! Watchdog timer 0. When it runs out first, it interrupts, and the handler prints which task made no progress. When it
//! runs out again, it resets the board.

use core::cell::Cell;

use critical_section::{CriticalSection, Mutex};

use super::register::Register;
use super::{CORE_HZ, console};
use crate::shown::Words;

pub(super) const INTERRUPT: u16 = 18;

/// Run Mode Clock Gating Control 0: the watchdog.
// SAFETY: the data sheet of the LM3S6965 has these registers at these addresses.
const CLOCK_GATES: Register = unsafe { Register::at(0x400F_E100) };
const CLOCK: u32 = 1 << 3;
const LOAD: Register = unsafe { Register::at(0x4000_0000) };
const CONTROL: Register = unsafe { Register::at(0x4000_0008) };
const INTERRUPT_CLEAR: Register = unsafe { Register::at(0x4000_000C) };

const INTERRUPT_ON: u32 = 1 << 0;
const RESET_ON: u32 = 1 << 1;

/// After this time without `feed` the watchdog interrupts; after the same time again it resets the board.
const PERIOD_SECONDS: u32 = 2;

/// The task whose progress the watchdog waits for, to be printed before a reset.
static AWAITED: Mutex<Cell<&'static str>> = Mutex::new(Cell::new(""));

/// The watchdog.
pub(crate) struct Watchdog(());

impl Watchdog {
    pub(super) fn new() -> Self {
        Self(())
    }

    /// Starts the watchdog, which must be fed from now on. Only a reset stops it.
    pub(crate) fn start(&mut self) {
        CLOCK_GATES.write(CLOCK_GATES.read() | CLOCK);
        LOAD.write(CORE_HZ * PERIOD_SECONDS);
        CONTROL.write(INTERRUPT_ON | RESET_ON);
        super::unmask(INTERRUPT);
    }

    /// Starts the whole period again.
    pub(crate) fn feed(&mut self) {
        INTERRUPT_CLEAR.write(1);
        // The watchdog may have interrupted before, which masks the interrupt.
        super::unmask(INTERRUPT);
    }

    /// Notes that the watchdog was not fed because `task` made no progress.
    pub(crate) fn blame(&mut self, task: &'static str) {
        critical_section::with(|cs| AWAITED.borrow(cs).set(task));
    }
}

/// Prints which task made no progress. Because the interrupt is not cleared, the next timeout resets the board.
pub(super) fn on_interrupt(cs: CriticalSection<'_>) {
    cortex_m::peripheral::NVIC::mask(super::Interrupt(INTERRUPT));
    console::say(format_args!("watchdog: no progress of {}", Words(AWAITED.borrow(cs).get())));
}
