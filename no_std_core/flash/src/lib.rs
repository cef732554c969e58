//! A log of records on NOR flash, for a broker on a microcontroller: every committed record survives a power cut at any moment.
//!
//! A record belongs to a [`Key`]. The last record put under a key counts, until it is deleted. A batch of puts and deletes takes
//! effect as a whole. The crate is `no_std`, without a heap, over any [`NorFlash`]. The log takes 2 bytes of memory for each key
//! there may be.
//!
//! # How it works
//!
//! The flash is two areas of whole sectors, one of which counts. Batches are appended to that area, each closed by a trailer with
//! a checksum: without its trailer a batch does not exist. When the area is full, the live records are copied to the other area,
//! together with the batch that did not fit. Then an entry at the beginning of the other area makes that area the one that
//! counts. So both areas are erased equally often, and as often as the live records are replaced.
//!
//! # What a power cut leaves
//!
//! A word that was being written when power failed may read differently each time, and so may a sector that was being erased.
//! Therefore:
//!
//! - Nothing is ever appended to batches that were written before the start. [`Log::open`] only reads. The first [`Log::commit`]
//!   moves the live records to the other area, which is erased and written without interruption then. This commit is due before
//!   any record that was read is told to the world. (It costs half an erase cycle for each start that gets so far.)
//! - No sector is taken for erased only because it reads as erased.
//! - Before an area is erased, another entry in the other area makes that other area valid once more. The entry also says that
//!   the erased area is void, whatever it may look like after an interrupted erase.
//!
//! # Damage
//!
//! Bits that have flipped since they were committed cost the records they are in and no others. They are counted in
//! [`Found::damaged`].
//!
//! # Full flash
//!
//! The flash is full when the live records do not fit into one area. [`Log::room`] says when to stop before that; deletes always
//! fit. If an area is hardly larger than its live records, the log moves often: give an area at least twice their size.
//!
//! # Why not sequential-storage?
//!
//! Its queue writes and erases more for records that change this often. Its map reads all items to remove one. Batches are not
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
pub use log::{Found, Log};
pub use place::{Place, Slots};
pub use store::{RECORD_BYTES, Store, places};

use core::fmt;

#[cfg(doc)]
use embedded_storage::nor_flash::NorFlash;

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error<E> {
    /// The flash reported this error. The log does nothing more until it is opened again.
    Flash(E),
    /// The flash failed in an earlier call. The log has to be opened again.
    Failed,
    /// The live records do not fit into one area any more.
    Full,
    /// There is no such slot, or a record of such a length cannot be kept.
    Unfit,
    /// The buffer is too short. It must have so many bytes.
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
