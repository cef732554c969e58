//! Looking into a store that another process may be writing to, and repairing a store that no process has.

use crate::disk::{Directory, Disk, DiskFile};
use crate::kv::recover::{Recovered, recover};
use crate::log::format::StoreId;
use crate::log::segment::{State, list};
use crate::log::snapshot::Snapshot;
use crate::{Batch, Damage, Key, LogStore, OpenError, Options, Report, Stats, Store as _, Sync};
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// A store as it is at one moment. Nothing is written. A process that writes to the store can go on, but removes no files
/// meanwhile.
pub struct Examined {
    recovered: Recovered,
    /// What was found.
    pub report: Report,
}

impl Examined {
    /// Reads the store in the directory `path`.
    ///
    /// # Errors
    /// The store cannot be read, or a newer program wrote it.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let snapshot = Directory::look_at(path).and_then(Snapshot::take);
        Self::of(snapshot.map_err(|error| OpenError::Io("the directory".to_owned(), error))?)
    }

    pub(crate) fn of(snapshot: Snapshot) -> Result<Self, OpenError> {
        let recovered = recover(Arc::new(snapshot), &AtomicBool::new(false))?;
        let report = recovered.report.clone();
        Ok(Self { recovered, report })
    }

    /// The numbers and files of all segments that belong to the store.
    pub(crate) fn segments(&self) -> impl Iterator<Item = (u32, &dyn DiskFile)> {
        let segments = self.recovered.contents.segments.iter().map(|(_, segment)| segment);
        segments.filter(|segment| segment.state != State::Free).map(|segment| (segment.header.seq, &*segment.file))
    }

    /// The identity of the store, and the number of its last frame.
    pub(crate) fn reached(&self) -> Option<(StoreId, u64)> {
        self.recovered.store.map(|store| (store, self.recovered.number))
    }

    /// Passes each record of a shard to `visit` once, kinds ascending, until `visit` breaks off.
    ///
    /// # Errors
    /// The device fails.
    pub fn each(&self, shard: u16, visit: impl FnMut(Key, &[u8]) -> ControlFlow<()>) -> io::Result<()> {
        self.recovered.contents.each(shard, visit).map(drop)
    }

    /// How many files the store has, and how many bytes of them are in use.
    pub fn stats(&self) -> Stats {
        self.recovered.contents.stats()
    }
}

/// Repairs the store in the directory `path`: copies damaged bytes aside, cuts off torn bytes, and moves whole records out of
/// damaged files, so that the files can be used again. Returns what was damaged and torn.
///
/// # Errors
/// Another process has the store, a newer program wrote it, or a file cannot be read or written.
pub fn repair(path: &Path) -> Result<Report, OpenError> {
    let directory = |error| OpenError::Io("the directory".to_owned(), error);
    // The directory is examined before anything is made in it, because the directory may not exist.
    let before = Examined::open(path)?;
    let segment_bytes = before.recovered.contents.segments.iter().map(|(_, segment)| segment.header.len).max();
    let Some(segment_bytes) = segment_bytes else { return Ok(before.report) };
    drop(before);
    let taken = Directory::take(path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::InUse,
        _ => directory(error),
    })?;
    let disk: Arc<dyn Disk> = Arc::new(taken);
    let mut report: Option<Report> = None;
    // Each round empties at least the damaged segment with the lowest number.
    let mut rounds = list(&*disk).map_err(directory)?.len() + 1;
    loop {
        let damage = repair_once(disk.clone(), segment_bytes, &mut report)?;
        rounds -= 1;
        if damage.is_none() || rounds == 0 {
            return Ok(report.unwrap_or_default());
        }
    }
}

/// Opens and closes the store. Returns what was damaged this time; `report` gets what was found the first time.
fn repair_once(disk: Arc<dyn Disk>, segment_bytes: u64, report: &mut Option<Report>) -> Result<Damage, OpenError> {
    let options = Options {
        sync: Sync::Always,
        segment_bytes,
        max_bytes: u64::MAX,
        shards: 1,
        time: Arc::new(|| (0, 0)),
        thread: false,
        gives_up: Arc::default(),
    };
    let failed = |failure: crate::Failure| OpenError::Io("the log".to_owned(), io::Error::other(failure));
    let (mut log, found) = LogStore::open(disk, options)?;
    // The clock stands still at the recorded time, so that nothing in the store expires while the store is not in use.
    let time = (found.instant_ms, found.wall_ms);
    log.use_for(found.shards, Arc::new(move || time));
    let damage = found.damage.clone();
    report.get_or_insert(found);
    if !damage.is_none() {
        log.upkeep(Duration::ZERO).map_err(failed)?;
        while log.upkeep(Duration::ZERO).map_err(failed)? {}
        // Segments that were emptied are synced, and used again or removed.
        for _ in 0..4 {
            log.append(&[Batch::default()]).map_err(failed)?;
            log.upkeep(Duration::ZERO).map_err(failed)?;
        }
    }
    log.close().map_err(failed)?;
    Ok(damage)
}
