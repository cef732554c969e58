//! A NOR flash chip that may lose its power at any moment.
//!
//! The chip panics if its driver breaks a rule of such chips: a unit of `WRITE_SIZE` bytes is programmed at most once after
//! each erase of its sector; programming only clears bits; addresses and lengths are aligned.
//!
//! A power cut may leave the operation that it interrupts in these states:
//! - Of a write, some units are whole, some untouched, some torn. In a torn unit each bit that was to be cleared is cleared, or
//!   is still set, or is *loose*: it reads differently each time, until its sector is erased.
//! - In a sector that was being erased any bit may be anything, and loose.
//! - A torn unit may look erased. The driver may program it again with the same bytes, which completes the write, but not with
//!   others.
//!
//! A power cut never damages bytes outside the interrupted operation, never reorders operations, and never undoes a completed
//! operation.

use std::cell::RefCell;
use std::cmp::Ordering::{Equal, Greater, Less};
use std::collections::BTreeMap;
use std::rc::Rc;

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};

use crate::random::Random;

/// An operation that changes the chip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Programs these bytes from this address on.
    Write(usize, Vec<u8>),
    /// Erases the sector that begins at this address.
    Erase(usize),
}

/// The contents of the chip. A test copies a small chip to try many power cuts at the same moment.
#[derive(Clone, Debug)]
pub struct Chip {
    bytes: Vec<u8>,
    /// Bits that read differently each time.
    loose: Vec<u8>,
    /// Units that were programmed since the last erase.
    used: Vec<bool>,
    /// The bytes that each torn unit was to hold, by address.
    torn: BTreeMap<usize, Vec<u8>>,
    /// How often the erase of each sector was begun.
    erases: Vec<u32>,
    unit: usize,
    sector: usize,
}

impl Chip {
    /// An erased chip.
    pub fn new(unit: usize, sector: usize, sectors: usize) -> Self {
        let len = sector * sectors;
        Self {
            bytes: vec![0xFF; len],
            loose: vec![0; len],
            used: vec![false; len],
            torn: BTreeMap::new(),
            erases: vec![0; sectors],
            unit,
            sector,
        }
    }

    /// How often the erase of each sector was begun.
    pub fn erases(&self) -> &[u32] {
        &self.erases
    }

    /// Flips a bit.
    pub fn rot(&mut self, address: usize, bit: usize) {
        self.bytes[address] ^= 1 << bit;
    }

    /// Completes the operation.
    pub fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Write(address, bytes) => {
                for (at, unit) in self.units(*address, bytes) {
                    self.check(at, unit);
                    self.program(at, unit);
                }
            }
            Operation::Erase(address) => {
                self.wear(*address);
                let sector = *address..*address + self.sector;
                self.bytes[sector.clone()].fill(0xFF);
                self.loose[sector.clone()].fill(0);
                self.used[sector.clone()].fill(false);
                self.torn.retain(|at, _| !sector.contains(at));
            }
        }
    }

    /// The power is lost in the middle of the operation.
    pub fn tear(&mut self, operation: &Operation, random: &mut Random) {
        match operation {
            Operation::Write(address, bytes) => {
                let units = self.units(*address, bytes);
                // A plain chip writes one unit after the other; a chip with a page buffer writes many units at a time.
                let in_order = random.percent(50);
                let whole = if random.percent(50) { units.len() - 1 } else { random.below(units.len()) };
                for (index, (at, unit)) in units.into_iter().enumerate() {
                    self.check(at, unit);
                    let fate = if in_order { index.cmp(&whole) } else { random.choose(&[Less, Equal, Greater]) };
                    match fate {
                        Less => self.program(at, unit),
                        Equal => self.half_program(at, unit, random),
                        Greater => {}
                    }
                }
            }
            Operation::Erase(address) => {
                self.wear(*address);
                let sector = *address..*address + self.sector;
                self.used[sector.clone()].fill(true);
                match random.below(3) {
                    // The erase has hardly begun: a few zeros turn into ones.
                    0 => {
                        for _ in 0..1 + random.below(3) {
                            let at = address + random.below(self.sector);
                            self.loose[at] |= !self.bytes[at] & 1 << random.below(8);
                        }
                    }
                    1 => sector.for_each(|at| self.loose[at] |= !self.bytes[at] & random.draw() as u8),
                    _ => sector.for_each(|at| {
                        self.bytes[at] = random.draw() as u8;
                        self.loose[at] = random.draw() as u8;
                    }),
                }
                self.torn.retain(|at, _| !(*address..*address + self.sector).contains(at));
            }
        }
    }

    /// Panics if the unit was programmed before: the driver may do so only to complete a torn unit.
    fn check(&self, at: usize, unit: &[u8]) {
        let completes = self.torn.get(&at).is_some_and(|was_to_be| was_to_be == unit);
        assert!(completes || !self.used[at], "the unit at {at} was not erased");
    }

    fn program(&mut self, at: usize, unit: &[u8]) {
        self.bytes[at..at + self.unit].copy_from_slice(unit);
        self.loose[at..at + self.unit].fill(0);
        self.used[at..at + self.unit].fill(true);
        self.torn.remove(&at);
    }

    fn half_program(&mut self, at: usize, unit: &[u8], random: &mut Random) {
        let units = at..at + self.unit;
        match random.below(4) {
            // The unit looks erased.
            0 => {}
            // The write is almost complete: one bit is loose.
            1 | 2 => {
                self.bytes[units.clone()].copy_from_slice(unit);
                let index = random.below(unit.len());
                self.loose[at + index] |= !unit[index] & 1 << random.below(8);
            }
            _ => {
                for (at, byte) in units.clone().zip(unit) {
                    self.bytes[at] &= !(!byte & random.draw() as u8);
                    self.loose[at] |= !byte & random.draw() as u8;
                }
            }
        }
        self.used[units].fill(true);
        self.torn.insert(at, unit.to_vec());
    }

    fn wear(&mut self, address: usize) {
        self.erases[address / self.sector] += 1;
    }

    fn units<'b>(&self, address: usize, bytes: &'b [u8]) -> Vec<(usize, &'b [u8])> {
        bytes.chunks(self.unit).enumerate().map(|(index, unit)| (address + index * self.unit, unit)).collect()
    }
}

/// A driver's view of a chip that writes `UNIT` bytes at a time and erases `SECTOR` bytes at a time. It keeps a list of all
/// operations. Clones share one chip.
#[derive(Clone, Debug)]
pub struct Nor<const UNIT: usize, const SECTOR: usize>(Rc<RefCell<State>>);

#[derive(Debug)]
struct State {
    chip: Chip,
    noise: Random,
    done: Vec<Operation>,
}

impl<const UNIT: usize, const SECTOR: usize> Nor<UNIT, SECTOR> {
    /// A driver for this chip. The values of loose bits follow from `seed`.
    ///
    /// # Panics
    /// If the chip has other sizes.
    pub fn new(chip: Chip, seed: u64) -> Self {
        assert_eq!((chip.unit, chip.sector), (UNIT, SECTOR));
        Self(Rc::new(RefCell::new(State { chip, noise: Random::new(seed), done: Vec::new() })))
    }

    /// A copy of the chip as it is now.
    pub fn chip(&self) -> Chip {
        self.0.borrow().chip.clone()
    }

    /// The number of operations so far.
    pub fn operations(&self) -> usize {
        self.0.borrow().done.len()
    }

    /// All operations so far, in order.
    pub fn done(&self) -> Vec<Operation> {
        self.0.borrow().done.clone()
    }

    fn act(&self, operation: Operation) {
        let state = &mut *self.0.borrow_mut();
        state.chip.apply(&operation);
        state.done.push(operation);
    }
}

/// The error for a call that this flash does not support.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misuse;

impl NorFlashError for Misuse {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

impl<const UNIT: usize, const SECTOR: usize> ErrorType for Nor<UNIT, SECTOR> {
    type Error = Misuse;
}

impl<const UNIT: usize, const SECTOR: usize> ReadNorFlash for Nor<UNIT, SECTOR> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        let state = &mut *self.0.borrow_mut();
        for (index, byte) in bytes.iter_mut().enumerate() {
            let at = offset as usize + index;
            let loose = *state.chip.loose.get(at).ok_or(Misuse)?;
            let flips = if loose == 0 { 0 } else { loose & state.noise.draw() as u8 };
            *byte = state.chip.bytes[at] ^ flips;
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.borrow().chip.bytes.len()
    }
}

impl<const UNIT: usize, const SECTOR: usize> NorFlash for Nor<UNIT, SECTOR> {
    const WRITE_SIZE: usize = UNIT;
    const ERASE_SIZE: usize = SECTOR;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        let (from, to) = (from as usize, to as usize);
        if !from.is_multiple_of(SECTOR) || !to.is_multiple_of(SECTOR) || to > self.capacity() {
            return Err(Misuse);
        }
        (from..to).step_by(SECTOR).for_each(|sector| self.act(Operation::Erase(sector)));
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        let offset = offset as usize;
        let is_aligned = offset.is_multiple_of(UNIT) && bytes.len().is_multiple_of(UNIT);
        if !is_aligned || bytes.is_empty() || offset + bytes.len() > self.capacity() {
            return Err(Misuse);
        }
        self.act(Operation::Write(offset, bytes.to_vec()));
        Ok(())
    }
}
