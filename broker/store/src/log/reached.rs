//! How far the log was synced. This is kept in a file apart from the log, since a log that has lost its end looks like one that
//! ended there.
//!
//! The file has two places, which are written in turn, so a loss of power spoils one at most. They hold a lower bound, written
//! when a store is opened and closed, and once a minute. No acknowledgement waits for it.

use crate::disk::Disk;
use crate::log::format::{StoreId, u32_at, u64_at, u128_at};
use std::io;

/// The name of the file.
pub(crate) const NAME: &str = "reached";
/// The name under which the file is written before it is renamed.
const NEW: &str = "reached.new";

const MAGIC: [u8; 8] = *b"GCRSTEND";
const PLACE: usize = 512;
const LEN: usize = 44;

/// How far the log is known to be safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) store: StoreId,
    /// The number of the last frame that was synced.
    pub(crate) number: u64,
    /// Counts the writes to the file. Its parity selects the place.
    turn: u64,
}

/// What the file holds.
pub(crate) enum Found {
    Nothing,
    Damaged,
    Known(Reached),
}

impl Reached {
    fn encode(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..24].copy_from_slice(&self.store.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.number.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.turn.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..40]);
        bytes[40..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..LEN)?;
        let is_whole = bytes[..8] == MAGIC && u32_at(bytes, 40) == crc32fast::hash(&bytes[..40]);
        is_whole.then(|| Self { store: u128_at(bytes, 8), number: u64_at(bytes, 24), turn: u64_at(bytes, 32) })
    }

    /// Writes how far the log is synced now. `before` is what [`read`] found.
    pub(crate) fn write(before: Option<Self>, store: StoreId, number: u64, disk: &dyn Disk) -> io::Result<Self> {
        let reached = Self { store, number, turn: before.map_or(0, |before| before.turn.wrapping_add(1)) };
        let at = (reached.turn % 2) * PLACE as u64;
        if before.is_some() {
            let file = disk.open(NAME)?;
            file.write_all_at(&reached.encode(), at)?;
            file.sync()?;
            return Ok(reached);
        }
        let mut both = [0; 2 * PLACE];
        both[..LEN].copy_from_slice(&reached.encode());
        let file = disk.create(NEW)?;
        file.write_all_at(&both, 0)?;
        file.sync()?;
        disk.rename(NEW, NAME)?;
        disk.sync_names()?;
        Ok(reached)
    }
}

pub(crate) fn read(disk: &dyn Disk) -> io::Result<Found> {
    let file = match disk.open(NAME) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        opened => opened?,
    };
    let mut bytes = [0; 2 * PLACE];
    let filled = file.read_all_at(&mut bytes, 0)?;
    let places = [0, PLACE].map(|at| bytes.get(at..filled).and_then(Reached::decode));
    let latest = places.into_iter().flatten().max_by_key(|reached| reached.turn);
    Ok(latest.filter(|_| filled == bytes.len()).map_or(Found::Damaged, Found::Known))
}
