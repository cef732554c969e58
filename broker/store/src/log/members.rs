//! Which segments belong to the log. By this a start notices a missing file, and a file of another store or of an earlier time.
//!
//! The log itself lists its segments. Each store has an identity, which stands in the header of each of its segments. Each
//! segment begins with a list of all segments that belong to the log at that point, itself included. Before a segment that holds
//! nothing of use is overwritten or removed, a list without that segment is synced. So each segment that the last list names has
//! to be there, and a segment that the list leaves out counts for nothing, even if its file is there. This holds for every prefix
//! of the log, and so for a copy that was made while the log was written: either the copy has all that the log held up to the
//! copy's end, or the last list shows that something is missing.
//!
//! The lists alone cannot show that the log was once longer than now. For this the header of each segment says how far the log
//! was synced when the segment was made, and so does the file [`reached`](super::reached).

use crate::disk::{Disk, DiskFile};
use crate::log::format::{HEADER, Illegible, SegmentHeader, StoreId, u32_at, u128_at};
use crate::log::reached::Reached;
use crate::log::scan::{self, Item, Scan, Soundness, scan};
use crate::log::segment::{list as list_numbers, name_of};
use crate::{FORMAT, OpenError};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

const STORE: usize = 16;
const ENTRY: usize = 8;

/// Segments by their numbers, each with a tag that tells it from others of the same number.
pub(crate) struct List {
    pub(crate) store: StoreId,
    pub(crate) entries: BTreeMap<u32, u32>,
}

impl List {
    pub(crate) fn decode(area: &[u8]) -> Option<Self> {
        let (store, entries) = area.split_at_checked(STORE)?;
        let entries = entries.chunks_exact(ENTRY).map(|entry| (u32_at(entry, 0), u32_at(entry, 4)));
        Some(Self { store: u128_at(store, 0), entries: entries.collect() })
    }

    pub(crate) fn encode<'h>(store: StoreId, headers: impl Iterator<Item = &'h SegmentHeader>) -> Vec<u8> {
        let mut area = store.to_le_bytes().to_vec();
        for header in headers {
            area.extend_from_slice(&header.seq.to_le_bytes());
            area.extend_from_slice(&tag(header.nonce).to_le_bytes());
        }
        area
    }
}

/// At most this many segments are made between measuring the room for a list and writing the list.
pub(crate) const SEGMENTS_MADE_MEANWHILE: usize = 8;

/// How many bytes a list of `segments` segments takes as a frame.
pub(crate) const fn list_size(segments: usize) -> usize {
    HEADER + STORE + ENTRY * segments
}

/// Tells segments of one number apart: two copies of a store that were both written to have different segments of the same
/// number.
fn tag(nonce: u64) -> u32 {
    nonce as u32
}

/// A file with the name of a segment.
pub(crate) struct SegmentFile {
    pub(crate) name: String,
    pub(crate) file: Box<dyn DiskFile>,
    pub(crate) len: u64,
    /// The number of the segment, from the header; if that is damaged, from the frames; failing that, from the file's name.
    pub(crate) seq: u32,
    /// The number in the file's name.
    named: u32,
    pub(crate) header: Option<SegmentHeader>,
    nonce: Option<u64>,
    /// The store that the segment belongs to, if that is certain.
    store: Option<StoreId>,
    /// The newest list of segments leaves this segment out, so no record in it is needed.
    pub(crate) is_free: bool,
}

impl SegmentFile {
    fn open(disk: &dyn Disk, named: u32) -> Result<Self, OpenError> {
        let name = name_of(named);
        let failed = |error| OpenError::Io(name.clone(), error);
        let file = disk.open(&name).map_err(failed)?;
        let mut bytes = [0; HEADER];
        let filled = file.read_all_at(&mut bytes, 0).map_err(failed)?;
        let header = match SegmentHeader::decode(&bytes[..filled]) {
            Ok(header) => Some(header),
            Err(Illegible::Damaged) => None,
            Err(Illegible::Other(format)) if format < FORMAT => return Err(OpenError::Older { file: name, format }),
            Err(Illegible::Other(format)) => return Err(OpenError::Newer { file: name, format }),
        };
        let len = file.len().map_err(failed)?;
        let (seq, nonce) = header.map_or((named, None), |header| (header.seq, Some(header.nonce)));
        let store = header.map(|header| header.store);
        Ok(Self { name, file, len, seq, named, header, nonce, store, is_free: false })
    }

    /// Whether the file has the name of another segment.
    pub(crate) fn is_misnamed(&self) -> bool {
        self.seq != self.named
    }

    /// Reads the whole file.
    pub(crate) fn read(&self, buffer: &mut Vec<u8>) -> Result<(), OpenError> {
        let failed = |error| OpenError::Io(self.name.clone(), error);
        let len = usize::try_from(self.len).map_err(|error| failed(io::Error::other(error)))?;
        buffer.resize(len, 0);
        let filled = self.file.read_all_at(buffer, 0).map_err(failed)?;
        buffer.truncate(filled);
        Ok(())
    }

    /// Learns from the segment's frames what its damaged header does not tell.
    fn guess(&mut self, buffer: &mut Vec<u8>) -> Result<(), OpenError> {
        self.read(buffer)?;
        self.nonce = scan::guess_nonce(buffer);
        let Some(nonce) = self.nonce else { return Ok(()) };
        if let Some(list) = last_list(&scan(buffer, nonce, true), buffer) {
            self.store = Some(list.store);
            let own = list.entries.iter().find(|(_, entry)| **entry == tag(nonce));
            self.seq = own.map_or(self.named, |(seq, _)| *seq);
        }
        Ok(())
    }

    fn is_listed_in(&self, list: &List) -> bool {
        let entry = list.entries.get(&self.seq);
        entry.is_some_and(|entry| self.nonce.is_some_and(|nonce| tag(nonce) == *entry))
    }

    /// The nonce of all frames in the segment, whole or not.
    pub(crate) fn nonce(&self) -> u64 {
        self.nonce.unwrap_or(0)
    }
}

/// The segments of a log.
#[derive(Default)]
pub(crate) struct Members {
    /// The store that the segments belong to. `None` if there is no segment.
    pub(crate) store: Option<StoreId>,
    /// The segments in the order of their numbers.
    pub(crate) files: Vec<SegmentFile>,
    /// Names of files that belong to another store, or to an earlier time of this one.
    pub(crate) foreign: Vec<String>,
    /// Numbers of segments that should be there, and are not.
    pub(crate) missing: Vec<u32>,
    /// The last segment with frames. The few segments that may follow are prepared and empty.
    pub(crate) tail: Option<u32>,
    /// The number of the segment in which the last list stands.
    pub(crate) list_in: Option<u32>,
    /// The greatest segment number that was ever used, as far as the files show.
    pub(crate) greatest: u32,
}

impl Members {
    /// Looks through all files. `reached` and `given_up` come from the same directory.
    pub(crate) fn find(
        disk: &dyn Disk,
        reached: Option<&Reached>,
        given_up: &BTreeSet<u32>,
    ) -> Result<Self, OpenError> {
        let numbers = list_numbers(disk).map_err(|error| OpenError::Io("the directory".to_owned(), error))?;
        let mut buffer = Vec::new();
        let (mut files, mut foreign): (Vec<SegmentFile>, Vec<String>) = Default::default();
        for named in numbers {
            let mut file = match SegmentFile::open(disk, named) {
                Err(OpenError::Io(name, error)) if error.kind() == io::ErrorKind::IsADirectory => {
                    foreign.push(name);
                    continue;
                }
                opened => opened?,
            };
            if file.header.is_none() {
                file.guess(&mut buffer)?;
            }
            files.push(file);
        }
        let mut members = Self { store: identity(&files, reached), foreign, ..Self::default() };
        // Files of this store whose number another file has already, and files whose store is not known.
        let mut spare = Vec::new();
        for file in files {
            match file.store {
                Some(store) if members.store == Some(store) && !given_up.contains(&file.seq) => {
                    members.add(file, &mut spare);
                }
                Some(_) => members.foreign.push(file.name),
                None => spare.push(file),
            }
        }
        while members.judge(&mut spare, &mut buffer)? {}
        members.foreign.extend(spare.into_iter().map(|file| file.name));
        members.files.sort_unstable_by_key(|file| file.seq);
        let numbers = members.files.iter().map(|file| file.seq).chain(members.missing.clone());
        members.greatest = numbers.chain(given_up.iter().copied()).max().unwrap_or(0);
        Ok(members)
    }

    /// Adds a file. If two files have the same segment number, the one with the right name stays.
    fn add(&mut self, file: SegmentFile, spare: &mut Vec<SegmentFile>) {
        match self.files.iter_mut().find(|other| other.seq == file.seq) {
            Some(other) if other.is_misnamed() && !file.is_misnamed() => spare.push(std::mem::replace(other, file)),
            Some(_) => spare.push(file),
            None => self.files.push(file),
        }
    }

    /// Finds the end of the log, and compares the files with the last list. Returns whether this must be done again because files
    /// were found behind that end.
    fn judge(&mut self, spare: &mut Vec<SegmentFile>, buffer: &mut Vec<u8>) -> Result<bool, OpenError> {
        self.files.sort_unstable_by_key(|file| file.seq);
        (self.tail, self.list_in) = (None, None);
        self.missing.clear();
        let mut last = None;
        for file in self.files.iter().rev() {
            file.read(buffer)?;
            if self.tail.is_none() {
                if !file.nonce.is_some_and(|nonce| scan::has_frames(buffer, nonce)) {
                    continue;
                }
                self.tail = Some(file.seq);
            }
            let is_tail = self.tail == Some(file.seq);
            let scanned = scan(buffer, file.nonce(), is_tail);
            if is_tail {
                self.missing.extend(successor(&scanned));
            }
            if let Some(list) = last_list(&scanned, buffer).filter(|list| Some(list.store) == self.store) {
                last = Some((file.seq, list));
                break;
            }
        }
        let is_there = |missing: &u32, files: &[SegmentFile]| files.iter().any(|file| file.seq == *missing);
        let Some((owner, list)) = last else {
            self.missing.retain(|missing| !is_there(missing, &self.files));
            return Ok(false);
        };
        self.list_in = Some(owner);
        let mut is_new = false;
        self.missing.extend(list.entries.keys());
        for &seq in list.entries.keys() {
            let known = self.files.iter().position(|file| file.seq == seq);
            if known.is_some_and(|known| self.files[known].is_listed_in(&list)) {
                continue;
            }
            // The known file is not the segment that the list names.
            spare.extend(known.map(|known| self.files.remove(known)));
            if let Some(found) = spare.iter().position(|file| file.seq == seq && file.is_listed_in(&list)) {
                is_new |= self.tail.is_none_or(|tail| seq > tail);
                self.files.push(spare.remove(found));
            }
        }
        for file in &mut self.files {
            file.is_free = file.seq <= owner && !list.entries.contains_key(&file.seq);
        }
        self.missing.retain(|missing| !is_there(missing, &self.files));
        self.missing.sort_unstable();
        self.missing.dedup();
        Ok(is_new)
    }
}

/// The store that most files belong to; or the store that [`Reached`] names, if any file belongs to that.
fn identity(files: &[SegmentFile], reached: Option<&Reached>) -> Option<StoreId> {
    let mut votes: BTreeMap<StoreId, usize> = BTreeMap::new();
    for store in files.iter().filter_map(|file| file.store) {
        *votes.entry(store).or_default() += 1;
    }
    let named = reached.map(|reached| reached.store).filter(|store| votes.is_empty() || votes.contains_key(store));
    let most = votes.values().max().copied();
    // If several stores have equally many files, the store of the first file is chosen.
    let first = || files.iter().filter_map(|file| file.store).find(|store| votes.get(store).copied() == most);
    named.or_else(first)
}

/// The last list that counts.
fn last_list(scan: &Scan, bytes: &[u8]) -> Option<List> {
    scan.items.iter().rev().find_map(|item| match item {
        Item::Frame { header, area, soundness: Soundness::Sound } if header.is_list => {
            bytes.get(area.clone()).and_then(List::decode)
        }
        _ => None,
    })
}

/// The number of the segment in which the log went on, if an end frame names it.
fn successor(scan: &Scan) -> Option<u32> {
    match scan.items.last() {
        Some(Item::Frame { header, .. }) if header.is_end && header.part != 0 => Some(header.part),
        _ => None,
    }
}
