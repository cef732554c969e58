//! NOR flash for data that must survive a reset: 64 KiB in sectors of 1 KiB and words of 4 bytes, as the LM3S6965 has.
//! `memory.x` keeps code out of that part of the 256 KiB.
//!
//! QEMU does not model the board's flash controller. So the contents are in a file on the machine that runs QEMU, by
//! semihosting, and outlive the emulator. On silicon, replace this source file by a driver of the real flash.

use cortex_m_semihosting::nr::open::{RW_APPEND_BINARY, RW_BINARY};
use cortex_m_semihosting::syscall;
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};

/// The file, in the folder where QEMU was started. Semihosting wants a zero at the end of the name.
const FILE: &str = "goldcrest.flash\0";
const BYTES: usize = 64 * 1024;
const WORD: usize = 4;
const SECTOR: usize = 1024;
/// The bytes that are compared or erased at once.
const CHUNK: usize = 64;
const FAILED: usize = usize::MAX;

/// The flash. There is only one.
pub(crate) struct Flash {
    file: usize,
}

impl Flash {
    /// Opens the file. A missing file is made, and a file that is too short is extended by erased flash. Existing contents
    /// are never changed.
    pub(crate) fn open() -> Result<Self, FlashError> {
        let mut file = open_file(RW_BINARY);
        if file == FAILED {
            // Makes the file if it is missing. If this fails, the next call fails as well.
            close_file(open_file(RW_APPEND_BINARY));
            file = open_file(RW_BINARY);
        }
        // SAFETY: FLEN reads the number of a file, and answers `FAILED` if no such file is open.
        let len = unsafe { syscall!(FLEN, file) };
        if len > BYTES {
            return Err(FlashError(NorFlashErrorKind::OutOfBounds));
        }
        let mut flash = Self { file };
        flash.fill(len, BYTES)?;
        Ok(flash)
    }

    /// Erases `from..to`, which need not be whole sectors.
    fn fill(&mut self, from: usize, to: usize) -> Result<(), FlashError> {
        let erased = [0xFF; CHUNK];
        (from..to).step_by(CHUNK).try_for_each(|at| self.put(at as u32, erased.get(..to - at).unwrap_or(&erased)))
    }

    /// Refuses a write that would set a bit: as in NOR flash, a write can only clear bits.
    fn check_bits(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        let mut held = [0; CHUNK];
        for (new, at) in bytes.chunks(CHUNK).zip((offset..).step_by(CHUNK)) {
            let held = held.get_mut(..new.len()).unwrap_or_default();
            self.read(at, held)?;
            if held.iter().zip(new).any(|(held, new)| held & new != *new) {
                return Err(FlashError(NorFlashErrorKind::Other));
            }
        }
        Ok(())
    }

    fn put(&mut self, address: u32, bytes: &[u8]) -> Result<(), FlashError> {
        self.seek(address)?;
        // SAFETY: WRITE reads this many bytes from this address, and answers how many bytes it has not written.
        done(unsafe { syscall!(WRITE, self.file, bytes.as_ptr(), bytes.len()) })
    }

    fn seek(&mut self, address: u32) -> Result<(), FlashError> {
        // SAFETY: SEEK reads two numbers, and accesses no memory of this program.
        done(unsafe { syscall!(SEEK, self.file, address) })
    }
}

fn open_file(mode: usize) -> usize {
    // SAFETY: OPEN reads the name, whose length does not count the zero at its end.
    unsafe { syscall!(OPEN, FILE.as_ptr(), mode, FILE.len() - 1) }
}

fn close_file(file: usize) {
    // SAFETY: CLOSE reads the number of a file, and fails if no such file is open.
    unsafe { syscall!(CLOSE, file) };
}

/// Turns an answer of semihosting into a result. 0 means success.
fn done(answer: usize) -> Result<(), FlashError> {
    if answer == 0 { Ok(()) } else { Err(FlashError(NorFlashErrorKind::Other)) }
}

/// The file can't be used, or the caller asked for something that flash can't do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlashError(NorFlashErrorKind);

impl From<NorFlashErrorKind> for FlashError {
    fn from(kind: NorFlashErrorKind) -> Self {
        Self(kind)
    }
}

impl NorFlashError for FlashError {
    fn kind(&self) -> NorFlashErrorKind {
        self.0
    }
}

impl ErrorType for Flash {
    type Error = FlashError;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        check_read(self, offset, bytes.len())?;
        self.seek(offset)?;
        // SAFETY: READ writes at most this many bytes to this address, and answers how many bytes it has not read.
        done(unsafe { syscall!(READ, self.file, bytes.as_mut_ptr(), bytes.len()) })
    }

    fn capacity(&self) -> usize {
        BYTES
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = WORD;
    const ERASE_SIZE: usize = SECTOR;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        check_erase(self, from, to)?;
        self.fill(from as usize, to as usize)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        check_write(self, offset, bytes.len())?;
        self.check_bits(offset, bytes)?;
        self.put(offset, bytes)
    }
}
