//! NOR flash for what must survive a reset: 64 KiB in sectors of 1 KiB and words of 4 bytes, as the LM3S6965 has. `memory.x`
//! leaves as much of the 256 KiB free of code.
//!
//! QEMU does not model the board's flash controller. So what it holds is a file of whoever runs QEMU, by semihosting, and
//! outlives the emulator. On silicon this is the file to be replaced, by the driver of the flash that is there.

use cortex_m_semihosting::nr::open::{RW_APPEND_BINARY, RW_BINARY};
use cortex_m_semihosting::syscall;
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};

/// In the folder where QEMU was started, and ended by the zero that semihosting wants.
const FILE: &str = "goldcrest.flash\0";
const BYTES: usize = 64 * 1024;
const WORD: usize = 4;
const SECTOR: usize = 1024;
/// What is looked at or erased at once, in bytes.
const CHUNK: usize = 64;
const FAILED: usize = usize::MAX;

/// The flash, of which there is one.
pub(crate) struct Flash {
    file: usize,
}

impl Flash {
    /// Opens the file. One that is not there yet, or whose making was cut off, ends in erased flash; what it holds is never
    /// touched.
    pub(crate) fn open() -> Result<Self, FlashError> {
        let mut file = open_file(RW_BINARY);
        if file == FAILED {
            // Makes it if it is not there, and else fails like the other.
            close_file(open_file(RW_APPEND_BINARY));
            file = open_file(RW_BINARY);
        }
        // SAFETY: FLEN takes a file that was opened, and answers `FAILED` for what is none.
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

    /// As NOR flash does, a write clears bits and cannot set any.
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
        // SAFETY: WRITE reads so many bytes from there. It answers how many it has not written.
        done(unsafe { syscall!(WRITE, self.file, bytes.as_ptr(), bytes.len()) })
    }

    fn seek(&mut self, address: u32) -> Result<(), FlashError> {
        // SAFETY: SEEK takes a file and a number, and touches no memory of ours.
        done(unsafe { syscall!(SEEK, self.file, address) })
    }
}

fn open_file(mode: usize) -> usize {
    // SAFETY: OPEN reads the name, which ends with a zero that is not part of the length.
    unsafe { syscall!(OPEN, FILE.as_ptr(), mode, FILE.len() - 1) }
}

fn close_file(file: usize) {
    // SAFETY: CLOSE takes a file, and fails for what is none.
    unsafe { syscall!(CLOSE, file) };
}

/// Semihosting answers 0 when all was done.
fn done(answer: usize) -> Result<(), FlashError> {
    if answer == 0 { Ok(()) } else { Err(FlashError(NorFlashErrorKind::Other)) }
}

/// The file cannot be used, or the caller asked for what flash does not do.
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
        // SAFETY: READ writes at most so many bytes there. It answers how many it has not read.
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
