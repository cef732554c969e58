//! A file system in memory that does what a real one may do when power is lost or the device fails.
//!
//! The faults:
//! - A write that was not synced is there after a loss of power, or not, or in part: any of its sectors, or its first bytes. This
//!   is drawn for each write by itself, so later writes may be there and earlier ones not.
//! - The making, renaming or removing of a file that was not synced may have happened or not.
//! - A write may write fewer bytes than it was given. A write, a sync or a change of names may fail with EIO. The bytes that a
//!   failed sync should have made safe can still be read, but no later sync makes them safe unless they are written again.
//! - The disk has room for a limited number of bytes.

use super::random::Random;
use crate::{Disk, DiskFile};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

const SECTOR: usize = 512;
const EIO: i32 = 5;

/// A clone is the same disk.
#[derive(Clone)]
pub(super) struct FaultyDisk(Arc<Mutex<State>>);

struct State {
    files: Vec<Content>,
    /// For each name the index in `files`.
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    changes: Vec<Change>,
    random: Random,
    operations: u64,
    fail_at: Option<u64>,
    capacity: u64,
    /// Whether crash images are taken after each operation.
    takes_images: bool,
    images: Vec<Files>,
}

#[derive(Default, Clone)]
struct Content {
    bytes: Vec<u8>,
    safe: Vec<u8>,
    /// Writes since the last sync.
    pending: Vec<(usize, Vec<u8>)>,
}

#[derive(Clone)]
enum Change {
    Give(String, usize),
    Rename(String, String),
    Remove(String),
}

/// The names and contents of all files on a disk.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

impl FaultyDisk {
    pub(super) fn new(files: Files, seed: u64) -> Self {
        let mut state = State {
            files: Vec::new(),
            names: BTreeMap::new(),
            synced_names: BTreeMap::new(),
            changes: Vec::new(),
            random: Random::new(seed),
            operations: 0,
            fail_at: None,
            capacity: u64::MAX,
            takes_images: false,
            images: Vec::new(),
        };
        for (name, bytes) in files {
            state.names.insert(name, state.files.len());
            state.files.push(Content { safe: bytes.clone(), bytes, pending: Vec::new() });
        }
        state.synced_names = state.names.clone();
        Self(Arc::new(Mutex::new(state)))
    }

    /// Returns the crash images so far. From now on an image that a loss of power could leave is kept after each operation.
    pub(super) fn take_images(&self) -> Vec<Files> {
        let mut state = self.state();
        state.takes_images = true;
        std::mem::take(&mut state.images)
    }

    /// The files that can be read now, as after the process was killed.
    pub(super) fn files(&self) -> Files {
        let state = self.state();
        state.names.iter().map(|(name, &file)| (name.clone(), state.files[file].bytes.clone())).collect()
    }

    /// The files that a loss of power could leave now.
    pub(super) fn crash(&self) -> Files {
        self.state().crash()
    }

    pub(super) fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Lets the operation with this number fail.
    pub(super) fn fail_at(&self, operation: Option<u64>) {
        self.state().fail_at = operation;
    }

    pub(super) fn set_capacity(&self, capacity: u64) {
        self.state().capacity = capacity;
    }

    /// How many bytes all files have.
    pub(super) fn used(&self) -> u64 {
        self.state().used()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl State {
    fn crash(&mut self) -> Files {
        let mut names = self.synced_names.clone();
        for change in &self.changes {
            if self.random.below(2) == 0 {
                change.apply(&mut names);
            }
        }
        let mut files = Files::new();
        for (name, file) in names {
            let Content { safe, pending, .. } = &self.files[file];
            let mut bytes = safe.clone();
            for (offset, written) in pending {
                tear(&mut self.random, &mut bytes, *offset, written);
            }
            files.insert(name, bytes);
        }
        files
    }

    fn used(&self) -> u64 {
        self.names.values().map(|&file| self.files[file].bytes.len() as u64).sum()
    }

    /// Counts an operation. The operation fails if `fail_at` says so.
    fn begin(&mut self) -> io::Result<()> {
        self.operations += 1;
        if self.fail_at == Some(self.operations) { Err(io::Error::from_raw_os_error(EIO)) } else { Ok(()) }
    }

    fn end(&mut self) {
        if self.takes_images {
            let image = self.crash();
            self.images.push(image);
        }
    }

    fn change(&mut self, change: Change) -> io::Result<()> {
        self.begin()?;
        change.apply(&mut self.names);
        self.changes.push(change);
        self.end();
        Ok(())
    }
}

/// Applies as much of a write as a loss of power might leave.
fn tear(random: &mut Random, bytes: &mut Vec<u8>, offset: usize, written: &[u8]) {
    let mut put = |from: usize, to: usize| {
        if to > from {
            if bytes.len() < offset + to {
                bytes.resize(offset + to, 0);
            }
            bytes[offset + from..offset + to].copy_from_slice(&written[from..to]);
        }
    };
    match random.below(4) {
        0 => {}
        1 => put(0, written.len()),
        2 => put(0, random.below(written.len() as u64 + 1) as usize),
        _ => {
            let mut from = 0;
            while from < written.len() {
                let to = written.len().min(((offset + from) / SECTOR + 1) * SECTOR - offset);
                if random.below(2) == 0 {
                    put(from, to);
                }
                from = to;
            }
        }
    }
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Give(name, file) => {
                names.insert(name.clone(), *file);
            }
            Self::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
            Self::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

impl Disk for FaultyDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = *self.state().names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(FaultyFile { disk: self.clone(), file }))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        let file = state.files.len();
        state.files.push(Content::default());
        state.change(Change::Give(name.to_owned(), file))?;
        Ok(Box::new(FaultyFile { disk: self.clone(), file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        if !state.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change(Change::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        if !state.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change(Change::Remove(name.to_owned()))
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.state();
        state.begin()?;
        state.synced_names = state.names.clone();
        state.changes.clear();
        state.end();
        Ok(())
    }
}

struct FaultyFile {
    disk: FaultyDisk,
    file: usize,
}

impl DiskFile for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[self.file].bytes.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.state();
        let rest = state.files[self.file].bytes.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.begin()?;
        let count = if state.random.below(8) == 0 { 1 + bytes.len() / 2 } else { bytes.len() };
        let (start, end) = (offset as usize, offset as usize + count);
        let growth = end.saturating_sub(state.files[self.file].bytes.len()) as u64;
        if growth > 0 && state.used() + growth > state.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let content = &mut state.files[self.file];
        if content.bytes.len() < end {
            content.bytes.resize(end, 0);
        }
        content.bytes[start..end].copy_from_slice(&bytes[..count]);
        content.pending.push((start, bytes[..count].to_vec()));
        state.end();
        Ok(count)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let begun = state.begin();
        let content = &mut state.files[self.file];
        let pending = std::mem::take(&mut content.pending);
        begun?;
        for (offset, bytes) in pending {
            let end = offset + bytes.len();
            if content.safe.len() < end {
                content.safe.resize(end, 0);
            }
            content.safe[offset..end].copy_from_slice(&bytes);
        }
        state.end();
        Ok(())
    }
}
