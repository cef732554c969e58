//! The flash as two areas of whole sectors.

use core::ops::Range;

use embedded_storage::nor_flash::NorFlash;

use crate::format::{Crc, ENTRIES, ENTRY, HEADER};
use crate::place::Area;
use crate::{Error, Place};

/// The largest unit that is supported, in bytes.
const MAX_UNIT: usize = 32;
/// How many bytes are read or copied at once.
pub(crate) const CHUNK: usize = 64;
const _: () = assert!(CHUNK.is_multiple_of(MAX_UNIT));

/// The flash with its two areas. A place in an area is an offset in bytes from the area's beginning, and a multiple of the unit.
pub(crate) struct Device<F> {
    flash: F,
    start: u32,
    /// The length of an area in bytes, as far as places can name it.
    pub(crate) len: u32,
    /// Bytes from the beginning of one area to that of the other. This is more than `len` if the areas are longer than places can
    /// name.
    stride: u32,
}

impl<F: NorFlash> Device<F> {
    /// The unit in bytes: everything begins at a multiple of it. A unit can be written and read, and is at least as long as a
    /// header.
    pub(crate) const UNIT: usize = {
        let least = if F::WRITE_SIZE > HEADER { F::WRITE_SIZE } else { HEADER };
        let unit = if F::READ_SIZE > least { F::READ_SIZE } else { least };
        assert!(
            unit <= MAX_UNIT && unit.is_power_of_two(),
            "the flash is written or read in pieces that are too large"
        );
        assert!(unit.is_multiple_of(F::WRITE_SIZE) && unit.is_multiple_of(F::READ_SIZE));
        assert!(F::ERASE_SIZE.is_multiple_of(unit), "a sector is not a whole number of units");
        unit
    };
    /// Where the snapshot begins.
    pub(crate) const DATA: u32 = ENTRIES * Self::padded(ENTRY);

    pub(crate) fn new(flash: F, range: Range<u32>) -> Result<Self, Error<F::Error>> {
        let sector = F::ERASE_SIZE as u32;
        let most = Place::UNITS * Self::UNIT as u32;
        let len = range.end.saturating_sub(range.start);
        let stride = len / 2 / sector * sector;
        let len = stride.min(most / sector * sector);
        let fits = range.start.is_multiple_of(sector) && range.end as usize <= flash.capacity();
        if !fits || len <= Self::DATA {
            return Err(Error::Geometry);
        }
        Ok(Self { flash, start: range.start, len, stride })
    }

    /// How many bytes `len` bytes take with their padding.
    pub(crate) const fn padded(len: usize) -> u32 {
        len.next_multiple_of(Self::UNIT) as u32
    }

    pub(crate) fn sectors(&self) -> u32 {
        self.len / F::ERASE_SIZE as u32
    }

    pub(crate) fn flash(&self) -> &F {
        &self.flash
    }

    pub(crate) fn into_flash(self) -> F {
        self.flash
    }

    /// Reads any number of bytes from a place on.
    fn read(&mut self, area: Area, at: u32, out: &mut [u8]) -> Result<(), Error<F::Error>> {
        let whole = out.len() / F::READ_SIZE * F::READ_SIZE;
        let (head, tail) = out.split_at_mut_checked(whole).ok_or(Error::Geometry)?;
        let address = self.address(area, at);
        self.flash.read(address, head).map_err(Error::Flash)?;
        if !tail.is_empty() {
            let mut last = [0; MAX_UNIT];
            let piece = last.get_mut(..F::READ_SIZE).ok_or(Error::Geometry)?;
            self.flash.read(address + whole as u32, piece).map_err(Error::Flash)?;
            tail.copy_from_slice(piece.get(..tail.len()).ok_or(Error::Geometry)?);
        }
        Ok(())
    }

    /// Reads `N` bytes from a place on; bytes beyond the end of the area are 0xFF.
    pub(crate) fn read_array<const N: usize>(&mut self, area: Area, at: u32) -> Result<[u8; N], Error<F::Error>> {
        let mut bytes = [0xFF; N];
        let len = self.len.saturating_sub(at).min(N as u32) as usize;
        self.read(area, at, bytes.get_mut(..len).unwrap_or(&mut []))?;
        Ok(bytes)
    }

    /// Passes `len` bytes from a place on, without the first `skip` of them, to `each` in pieces.
    pub(crate) fn pieces(
        &mut self,
        area: Area,
        at: u32,
        mut skip: usize,
        len: u32,
        mut each: impl FnMut(&mut Self, &[u8]) -> Result<(), Error<F::Error>>,
    ) -> Result<(), Error<F::Error>> {
        let mut buffer = [0; CHUNK];
        let mut done = 0;
        while done < len {
            let piece = buffer.get_mut(..(len - done).min(CHUNK as u32) as usize).ok_or(Error::Geometry)?;
            self.read(area, at + done, piece)?;
            done += piece.len() as u32;
            each(self, piece.get(skip..).unwrap_or(&[]))?;
            skip = 0;
        }
        Ok(())
    }

    /// The checksum of `len` bytes from a place on, without the first `skip` of them.
    pub(crate) fn crc(&mut self, area: Area, at: u32, skip: usize, len: u32) -> Result<u32, Error<F::Error>> {
        let mut crc = Crc::NEW;
        self.pieces(area, at, skip, len, |_, piece| {
            crc = crc.with(piece);
            Ok(())
        })?;
        Ok(crc.value())
    }

    /// Programs whole units. They must have been erased.
    pub(crate) fn write(&mut self, area: Area, at: u32, units: &[u8]) -> Result<(), Error<F::Error>> {
        self.flash.write(self.address(area, at), units).map_err(Error::Flash)
    }

    /// Programs bytes that are fewer than a chunk, and pads the last unit.
    pub(crate) fn write_padded(&mut self, area: Area, at: u32, bytes: &[u8]) -> Result<(), Error<F::Error>> {
        let mut buffer = [0xFF; CHUNK];
        buffer.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        let units = buffer.get(..Self::padded(bytes.len()) as usize).ok_or(Error::Geometry)?;
        self.write(area, at, units)
    }

    /// Erases a sector. Sectors are counted from the beginning of the area.
    pub(crate) fn erase(&mut self, area: Area, sector: u32) -> Result<(), Error<F::Error>> {
        let size = F::ERASE_SIZE as u32;
        let from = self.address(area, sector * size);
        self.flash.erase(from, from + size).map_err(Error::Flash)
    }

    fn address(&self, area: Area, at: u32) -> u32 {
        match area {
            Area::A => self.start + at,
            Area::B => self.start + self.stride + at,
        }
    }
}
