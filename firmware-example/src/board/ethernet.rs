//! The Ethernet controller, MAC and PHY in one, as a device of smoltcp.
//!
//! Frames are read from the controller's FIFO and written to it word by word; there is no DMA. The controller does not count
//! frames that it had no room for.

use critical_section::CriticalSection;
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

use super::register::Register;

pub(super) const INTERRUPT: u16 = 42;

/// The longest frame in bytes, without its checksum: the headers of Ethernet, IPv4 and TCP, and the payload that fits into a
/// receive window of 1 KiB. Other hosts are told the latter as Maximum Segment Size.
const FRAME: usize = 14 + 20 + 20 + 1024;
/// The bytes before each frame in the FIFO, which hold its length. Behind the frame is a checksum; the whole takes an
/// integral number of words.
const PREFIX: usize = 2;
const CHECKSUM: usize = 4;
const BUFFER: usize = (PREFIX + FRAME + CHECKSUM).next_multiple_of(4);
/// The buffer for a received frame, in bytes. A little longer than a frame, because the buffer has other uses too.
pub(crate) const SPARE: usize = 1152;
const _: () = assert!(SPARE >= BUFFER && SPARE.is_multiple_of(4));
/// The Ethernet header in bytes: two addresses and the type. The length before a frame to be sent does not include it.
const HEADER: usize = 14;

/// Run Mode Clock Gating Control 2: the controller and its PHY.
// SAFETY: the data sheet of the LM3S6965 has this register at this address.
const CLOCK_GATES: Register = unsafe { Register::at(0x400F_E108) };
const CLOCKS: u32 = 1 << 28 | 1 << 30;

const BASE: usize = 0x4004_8000;
const INTERRUPT_STATUS: Register = register(0x00);
const INTERRUPT_MASK: Register = register(0x04);
const RECEIVE_CONTROL: Register = register(0x08);
const TRANSMIT_CONTROL: Register = register(0x0C);
const DATA: Register = register(0x10);
const ADDRESS_LOW: Register = register(0x14);
const ADDRESS_HIGH: Register = register(0x18);
const FRAMES_RECEIVED: Register = register(0x34);
const TRANSMIT_REQUEST: Register = register(0x38);

const RECEIVED: u32 = 1 << 0;
const ALL_INTERRUPTS: u32 = 0x7F;
/// Receive control: on, also for multicasts, with a reset of the FIFO.
const RECEIVE_ON: u32 = 1 << 0 | 1 << 1;
const RECEIVE_RESET: u32 = 1 << 4;
/// Transmit control: on, with padding, with a checksum, full duplex.
const TRANSMIT_ON: u32 = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 4;
const TRANSMIT_BUSY: u32 = 1 << 0;

const fn register(offset: usize) -> Register {
    // SAFETY: the offsets above are those of the controller's registers.
    unsafe { Register::at(BASE + offset) }
}

/// The controller. Declare it as a `static`: it holds one frame in each direction.
pub(crate) struct Ethernet {
    received: [u8; SPARE],
    sent: [u8; BUFFER],
    /// How many frames were discarded because they were longer than any frame for this board.
    oversized: u32,
}

impl Ethernet {
    pub(crate) const fn new() -> Self {
        Self { received: [0; SPARE], sent: [0; BUFFER], oversized: 0 }
    }

    /// Turns the controller on. Returns its hardware address.
    pub(crate) fn start(&mut self) -> [u8; 6] {
        CLOCK_GATES.write(CLOCK_GATES.read() | CLOCKS);
        RECEIVE_CONTROL.write(RECEIVE_RESET);
        TRANSMIT_CONTROL.write(TRANSMIT_ON);
        RECEIVE_CONTROL.write(RECEIVE_ON);
        INTERRUPT_STATUS.write(ALL_INTERRUPTS);
        INTERRUPT_MASK.write(RECEIVED);
        super::unmask(INTERRUPT);
        let ([a, b, c, d], [e, f, ..]) = (ADDRESS_LOW.read().to_le_bytes(), ADDRESS_HIGH.read().to_le_bytes());
        [a, b, c, d, e, f]
    }

    /// Whether a received frame waits.
    pub(crate) fn has_frame(&self) -> bool {
        FRAMES_RECEIVED.read() != 0
    }

    /// How many frames were discarded because they were longer than any frame for this board.
    pub(crate) fn oversized(&self) -> u32 {
        self.oversized
    }

    /// The buffer for a received frame, for other uses while no frame is being read.
    pub(crate) fn spare(&mut self) -> &mut [u8; SPARE] {
        &mut self.received
    }

    /// Reads the next frame from the FIFO. Returns the frame's length, or 0 if it was too long.
    fn read(&mut self) -> usize {
        let first = DATA.read().to_le_bytes();
        let [low, high, ..] = first;
        let whole = usize::from(u16::from_le_bytes([low, high]));
        let (head, rest) = self.received.as_chunks_mut::<4>().0.split_at_mut(1);
        head.fill(first);
        let mut places = rest.iter_mut();
        for _ in 1..whole.div_ceil(4) {
            let word = DATA.read().to_le_bytes();
            if let Some(place) = places.next() {
                *place = word;
            }
        }
        if whole > BUFFER {
            self.oversized = self.oversized.wrapping_add(1);
            return 0;
        }
        whole.saturating_sub(PREFIX + CHECKSUM)
    }
}

impl Device for Ethernet {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received<'_>, Room<'_>)> {
        if !self.has_frame() || is_sending() {
            return None;
        }
        let len = self.read();
        let frame = self.received.get(PREFIX..PREFIX + len).unwrap_or(&[]);
        Some((Received(frame), Room(&mut self.sent)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Room<'_>> {
        (!is_sending()).then_some(Room(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME;
        capabilities
    }
}

fn is_sending() -> bool {
    TRANSMIT_REQUEST.read() & TRANSMIT_BUSY != 0
}

/// A received frame.
pub(crate) struct Received<'a>(&'a [u8]);

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(self.0)
    }
}

/// A buffer for a frame to be sent.
pub(crate) struct Room<'a>(&'a mut [u8; BUFFER]);

impl TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let (prefix, frame) = self.0.split_at_mut(PREFIX);
        let len = len.min(FRAME);
        prefix.copy_from_slice(&(len.saturating_sub(HEADER) as u16).to_le_bytes());
        let result = write(frame.get_mut(..len).unwrap_or(&mut []));
        for word in self.0.as_chunks::<4>().0.iter().take((PREFIX + len).div_ceil(4)) {
            DATA.write(u32::from_le_bytes(*word));
        }
        TRANSMIT_REQUEST.write(TRANSMIT_BUSY);
        result
    }
}

/// A frame has arrived, and waits in the FIFO.
pub(super) fn on_interrupt(cs: CriticalSection<'_>) {
    INTERRUPT_STATUS.write(RECEIVED);
    super::wake(cs);
}
