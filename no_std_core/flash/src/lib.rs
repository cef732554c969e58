//! A log of records on NOR flash, for broker and microcontroller: what was committed survives a power cut at any moment.
//!
//! A record belongs to a [`Key`]; the last one put is the key's record, until it is deleted. A batch of puts and deletes takes
//! effect as one. `no_std`, without a heap, over any [`NorFlash`]; the log's memory is 2 bytes for each key there may be.
//!
//! # How it works
//!
//! The flash is two areas of whole sectors. One counts; batches are appended to it, each closed by a trailer with a checksum:
//! without its trailer a batch does not exist. When it is full, what lives is copied to the other area, together with the
//! batch that did not fit, and an entry at the beginning of that area makes it the one that counts. So both areas are erased
//! equally often, and as often as what lives is replaced.
//!
//! # What a power cut leaves
//!
//! A word that was being written may read differently each time, and the sectors that were being erased too. So:
//!
//! - Nothing is ever appended to what was written before the start. [`Log::open`] reads only; the first [`Log::commit`] moves
//!   what lives to the other area, which was erased and written without interruption then. It is due before anything that was
//!   read is told to the world. (This costs half an erase cycle for each start that gets so far.)
//! - No sector is taken for erased because it reads so.
//! - Before an area is erased, the other one is made valid once more by another entry, which also says that whatever the
//!   area may look like after an interrupted erase is void.
//!
//! # Damage
//!
//! Bits that have flipped since they were committed cost the records they are in, no others, and are counted in
//! [`Found::damaged`].
//!
//! # Full flash
//!
//! Room ends when all that lives does not fit into one area. [`Log::room`] says when to stop before, deletes always fit. An
//! area that is no larger than what lives in it moves often: give it at least twice as much.
//!
//! # Why not sequential-storage?
//!
//! Its queue writes and erases more for what changes this often, its map reads all items to remove one, batches are not
//! atomic, and items were lost in power cut tests with words of 1 byte.
//!
//! # Example
//!
//! ```
//! use embedded_storage::nor_flash::NorFlash;
//! use goldcrest_flash::{Error, Key, Log, Place, Slots};
//!
//! fn count_starts<F: NorFlash>(flash: F) -> Result<u8, Error<F::Error>> {
//!     // One record of kind 1, none of the other kinds.
//!     let slots = Slots::new([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
//!     let mut places = [Place::NONE; 1];
//!     let end = flash.capacity() as u32;
//!     let (mut log, _) = Log::open(flash, 0..end, slots, &mut places)?;
//!
//!     let mut record = [0; 5];
//!     log.next_record(&mut 0, &mut record)?;
//!     let [.., starts] = &mut record;
//!     *starts = starts.wrapping_add(1);
//!     let starts = *starts;
//!     record[..4].copy_from_slice(&crc32(&[starts]).to_le_bytes());
//!     log.put(Key::new(1, 0).ok_or(Error::Unfit)?, &record)?;
//!     log.commit()?;
//!     Ok(starts)
//! }
//! # fn crc32(bytes: &[u8]) -> u32 { 0 }
//! ```

#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::string_slice
    )
)]

mod device;
mod format;
mod log;
mod place;
mod scan;
mod store;

pub use format::Key;
pub use log::Log;
pub use place::{Place, Slots};
pub use scan::Found;
pub use store::{RECORD_BYTES, Store, places};

use core::fmt;

#[cfg(doc)]
use embedded_storage::nor_flash::NorFlash;

/// Why something could not be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error<E> {
    /// The flash said so. The log does nothing more until it is opened again.
    Flash(E),
    /// The flash has failed before.
    Failed,
    /// What lives does not fit into an area any more.
    Full,
    /// There is no such slot, or a record of such a length cannot be kept.
    Unfit,
    /// The buffer must have so many bytes.
    Small(usize),
    /// The range of flash or the table of places cannot be used.
    Geometry,
}

impl<E> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flash(_) => "the flash failed",
            Self::Failed => "the flash has failed before",
            Self::Full => "what lives does not fit any more",
            Self::Unfit => "there is no place for such a record",
            Self::Small(_) => "the buffer is too small",
            Self::Geometry => "the range of flash or the table of places is unfit",
        })
    }
}

impl<E: fmt::Debug> core::error::Error for Error<E> {}
