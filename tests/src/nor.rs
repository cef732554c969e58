//! A NOR flash chip that may lose its power at any moment.
//!
//! What it holds its driver to, by panics: a unit of `WRITE_SIZE` is programmed once after each erase of its sector and not
//! again; only bits are cleared; addresses and lengths are aligned.
//!
//! What a power cut does to the operation it meets:
//! - Of a write, some units are whole, some untouched, some torn. In a torn unit each bit that was to be cleared is cleared, or
//!   is not, or is *loose*: it reads differently each time, until its sector is erased.
//! - In a sector that was being erased any bit may be anything, and loose.
//! - A torn unit may look erased. Programming what it was to hold over it is allowed, as that only completes it; programming
//!   anything else is not.
//!
//! What it cannot do: damage what is not part of the operation, reorder operations, forget what was completed.

use std::cell::RefCell;
use std::cmp::Ordering::{Equal, Greater, Less};
use std::collections::BTreeMap;
use std::rc::Rc;

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};

use crate::random::Random;

/// A change of the chip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// From this address on.
    Write(usize, Vec<u8>),
    /// The sector that begins at this address.
    Erase(usize),
}

/// What the chip holds. Cheap to copy when it is small, which is how many power cuts are tried at the same moment.
#[derive(Clone, Debug)]
pub struct Chip {
    bytes: Vec<u8>,
    /// Bits that read anything.
    loose: Vec<u8>,
    /// Programmed since the last erase.
    used: Vec<bool>,
    /// What torn units were to hold, by address.
    torn: BTreeMap<usize, Vec<u8>>,
    /// How often each sector was erased, or begun to be.
    erases: Vec<u32>,
    unit: usize,
    sector: usize,
}

impl Chip {
    /// An erased one.
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

    /// How often each sector was erased.
    pub fn erases(&self) -> &[u32] {
        &self.erases
    }

    /// Flips a bit.
    pub fn rot(&mut self, address: usize, bit: usize) {
        self.bytes[address] ^= 1 << bit;
    }

    /// The operation is completed.
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

    /// The power goes in the middle of the operation.
    pub fn tear(&mut self, operation: &Operation, random: &mut Random) {
        match operation {
            Operation::Write(address, bytes) => {
                let units = self.units(*address, bytes);
                // A plain chip writes one unit after the other, one with a page buffer many at a time.
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
                    // It has hardly begun: a few zeros are on their way.
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

    /// What the unit was programmed with before, if it was, is a fault of the driver.
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
            // It looks erased.
            0 => {}
            // All but done: one bit is not sure of itself.
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

/// A driver's view of a chip that writes `UNIT` bytes at a time and erases `SECTOR`. It notes all that is done to the chip;
/// copies are the same flash.
#[derive(Clone, Debug)]
pub struct Nor<const UNIT: usize, const SECTOR: usize>(Rc<RefCell<State>>);

#[derive(Debug)]
struct State {
    chip: Chip,
    noise: Random,
    done: Vec<Operation>,
}

impl<const UNIT: usize, const SECTOR: usize> Nor<UNIT, SECTOR> {
    /// With this chip; what is loose in it follows `seed`.
    ///
    /// # Panics
    /// If the chip has other sizes.
    pub fn new(chip: Chip, seed: u64) -> Self {
        assert_eq!((chip.unit, chip.sector), (UNIT, SECTOR));
        Self(Rc::new(RefCell::new(State { chip, noise: Random::new(seed), done: Vec::new() })))
    }

    /// As it is now.
    pub fn chip(&self) -> Chip {
        self.0.borrow().chip.clone()
    }

    /// How many operations there were.
    pub fn operations(&self) -> usize {
        self.0.borrow().done.len()
    }

    /// What was done to the chip, in order.
    pub fn done(&self) -> Vec<Operation> {
        self.0.borrow().done.clone()
    }

    fn act(&self, operation: Operation) {
        let state = &mut *self.0.borrow_mut();
        state.chip.apply(&operation);
        state.done.push(operation);
    }
}

/// The driver asked for what this flash does not do.
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
