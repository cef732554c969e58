//! The status LED: pin 0 of GPIO port F.

use super::register::Register;

/// Run Mode Clock Gating Control 2: port F.
// SAFETY: the data sheet of the LM3S6965 has these registers at these addresses. In the address of the data register, bits 2
// to 9 choose the pins that are written: pin 0 alone.
const CLOCK_GATES: Register = unsafe { Register::at(0x400F_E108) };
const CLOCK: u32 = 1 << 5;
const DATA: Register = unsafe { Register::at(0x4002_5000 + (PIN << 2) as usize) };
const DIRECTION: Register = unsafe { Register::at(0x4002_5400) };
const DIGITAL: Register = unsafe { Register::at(0x4002_551C) };
const PIN: u32 = 1 << 0;

/// The LED.
pub(crate) struct Led(());

impl Led {
    pub(super) fn start() -> Self {
        CLOCK_GATES.write(CLOCK_GATES.read() | CLOCK);
        DIRECTION.write(DIRECTION.read() | PIN);
        DIGITAL.write(DIGITAL.read() | PIN);
        let mut led = Self(());
        led.switch(false);
        led
    }

    pub(crate) fn switch(&mut self, on: bool) {
        DATA.write(if on { PIN } else { 0 });
    }

    pub(crate) fn is_on(&self) -> bool {
        DATA.read() & PIN != 0
    }
}
