//! The three PL011 UARTs, 115,200 baud 8N1, as byte streams of `embedded-io`.
//!
//! An interrupt moves received bytes into a queue in RAM. While the queue is full the interrupt is off. QEMU then makes its
//! peer wait; a real line without flow control loses bytes, and [`Uart::read`] reports that. Sending polls the FIFO of the
//! hardware.

use core::cell::RefCell;

use critical_section::{CriticalSection, Mutex};
use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write, WriteReady};
use heapless::Deque;

use super::CORE_HZ;
use super::register::Register;

pub(crate) const COUNT: usize = 3;
const RECEIVED_BYTES: usize = 256;
const BAUD: u32 = 115_200;

/// Run Mode Clock Gating Control 1: the lowest bits turn the UARTs on.
// SAFETY: the data sheet of the LM3S6965 has this register at this address.
const CLOCK_GATES: Register = unsafe { Register::at(0x400F_E104) };
const BASES: [usize; COUNT] = [0x4000_C000, 0x4000_D000, 0x4000_E000];
const INTERRUPTS: [u16; COUNT] = [5, 6, 33];

/// Data register: bits 8 to 11 say that the byte is damaged, or that bytes before it were lost.
const DATA_ERRORS: u32 = 0xF00;
const FLAG_BUSY: u32 = 1 << 3;
const FLAG_RECEIVE_EMPTY: u32 = 1 << 4;
const FLAG_TRANSMIT_FULL: u32 = 1 << 5;
/// Line control: 8 bits, with FIFOs.
const LINE_8N1: u32 = 0x70;
/// Control: transmit, receive, and the UART itself are on.
const CONTROL_ON: u32 = 0x301;
/// Interrupts: several bytes are in the FIFO, or fewer bytes are there and a pause follows.
const INTERRUPT_RECEIVED: u32 = 1 << 4 | 1 << 6;

struct Received {
    bytes: Deque<u8, RECEIVED_BYTES>,
    is_damaged: bool,
}

static RECEIVED: [Mutex<RefCell<Received>>; COUNT] =
    [const { Mutex::new(RefCell::new(Received { bytes: Deque::new(), is_damaged: false })) }; COUNT];

/// One UART.
pub(crate) struct Uart {
    registers: Registers,
    received: &'static Mutex<RefCell<Received>>,
}

/// The error after bytes were lost or damaged on the line. Bytes that had not been read yet were discarded with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damaged;

impl core::fmt::Display for Damaged {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("bytes were lost or damaged on the line")
    }
}

impl core::error::Error for Damaged {}

impl embedded_io::Error for Damaged {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidData
    }
}

impl ErrorType for Uart {
    type Error = Damaged;
}

impl ReadReady for Uart {
    fn read_ready(&mut self) -> Result<bool, Damaged> {
        Ok(critical_section::with(|cs| self.received.borrow_ref(cs).has_news()))
    }
}

impl Read for Uart {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Damaged> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while !self.read_ready()? {
            cortex_m::asm::wfi();
        }
        critical_section::with(|cs| {
            let taken = self.received.borrow_ref_mut(cs).take(buffer);
            self.registers.interrupt_mask().write(INTERRUPT_RECEIVED);
            taken
        })
    }
}

impl WriteReady for Uart {
    fn write_ready(&mut self) -> Result<bool, Damaged> {
        Ok(self.registers.flags().read() & FLAG_TRANSMIT_FULL == 0)
    }
}

impl Write for Uart {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Damaged> {
        let mut written = 0;
        for byte in bytes {
            while !self.write_ready()? {
                if written > 0 {
                    return Ok(written);
                }
            }
            self.registers.data().write(u32::from(*byte));
            written += 1;
        }
        Ok(written)
    }

    fn flush(&mut self) -> Result<(), Damaged> {
        while self.registers.flags().read() & FLAG_BUSY != 0 {}
        Ok(())
    }
}

impl Received {
    fn has_news(&self) -> bool {
        self.is_damaged || !self.bytes.is_empty()
    }

    fn take(&mut self, buffer: &mut [u8]) -> Result<usize, Damaged> {
        if core::mem::take(&mut self.is_damaged) {
            self.bytes.clear();
            return Err(Damaged);
        }
        let mut taken = 0;
        for place in buffer {
            let Some(byte) = self.bytes.pop_front() else { break };
            *place = byte;
            taken += 1;
        }
        Ok(taken)
    }
}

/// The registers of one UART, by the address of the first register.
#[derive(Clone, Copy)]
struct Registers(usize);

impl Registers {
    fn data(self) -> Register {
        self.at(0x000)
    }

    fn flags(self) -> Register {
        self.at(0x018)
    }

    fn interrupt_mask(self) -> Register {
        self.at(0x038)
    }

    fn at(self, offset: usize) -> Register {
        // SAFETY: the address is one of BASES plus the offset of a PL011 register.
        unsafe { Register::at(self.0 + offset) }
    }

    fn start(self) {
        let (integer_divisor, fraction, line, control) =
            (self.at(0x024), self.at(0x028), self.at(0x02C), self.at(0x030));
        // The divisor in 64ths, rounded to the nearest.
        let divisor = (CORE_HZ * 8 / BAUD).div_ceil(2);
        control.write(0);
        integer_divisor.write(divisor / 64);
        fraction.write(divisor % 64);
        line.write(LINE_8N1);
        self.interrupt_mask().write(INTERRUPT_RECEIVED);
        control.write(CONTROL_ON);
    }
}

/// Starts all UARTs. To be called once.
pub(super) fn start() -> [Uart; COUNT] {
    CLOCK_GATES.write(CLOCK_GATES.read() | ((1 << COUNT) - 1));
    core::array::from_fn(|index| {
        let registers = Registers(BASES[index]);
        registers.start();
        super::unmask(INTERRUPTS[index]);
        Uart { registers, received: &RECEIVED[index] }
    })
}

pub(super) fn on_interrupt(cs: CriticalSection<'_>, number: u16) {
    let Some(index) = INTERRUPTS.iter().position(|interrupt| *interrupt == number) else {
        return;
    };
    super::wake(cs);
    let registers = Registers(BASES[index]);
    let mut received = RECEIVED[index].borrow_ref_mut(cs);
    while registers.flags().read() & FLAG_RECEIVE_EMPTY == 0 {
        if received.bytes.is_full() {
            // Reading from the queue turns the interrupt on again.
            registers.interrupt_mask().write(0);
            return;
        }
        let data = registers.data().read();
        received.is_damaged |= data & DATA_ERRORS != 0;
        let _ = received.bytes.push_back(data as u8);
    }
}
