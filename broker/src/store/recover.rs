//! What a store holds, read from its segments: each once, in order, checked and indexed. Nothing is written here.

use super::contents::Contents;
use super::copy::COPYING;
use super::disk::{Disk, DiskFile};
use super::format::{HEAD, HEADER, Head, Illegible, SegmentHeader, What, body_is_sound, records};
use super::index::Place;
use super::layout;
use super::scan::{self, Item, Scan, Soundness, scan};
use super::segment::{self, Segment, State, name_of};
use super::{Damage, OpenError, Report};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub(super) struct Recovered {
    pub(super) contents: Contents,
    pub(super) report: Report,
    /// Bytes that are damaged, and the segment where they stand.
    pub(super) damaged: Vec<(u32, Range<usize>)>,
    /// Of the last frame.
    pub(super) number: u64,
    pub(super) greatest_seq: u32,
    /// Frames of a batch whose end is missing, each with its segment.
    pub(super) unfinished: Vec<(u32, u64)>,
    /// The last segment with frames, and those behind it that were begun.
    pub(super) last: Vec<Last>,
}

/// A segment that no later one attests.
pub(super) struct Last {
    pub(super) segment: u32,
    /// From here on its frames are not known to be synced.
    pub(super) unsynced: u64,
    pub(super) is_closed: bool,
}

/// Reads everything, unless `gives_up` becomes true meanwhile.
pub(super) fn recover(disk: Arc<dyn Disk>, gives_up: &AtomicBool) -> Result<Recovered, OpenError> {
    let files = open_all(&*disk)?;
    let mut recovery = Recovery {
        recovered: Recovered {
            contents: Contents::new(disk),
            report: Report::default(),
            damaged: Vec::new(),
            number: 0,
            greatest_seq: files.last().map_or(0, |file| file.seq),
            unfinished: Vec::new(),
            last: Vec::new(),
        },
        buffer: Vec::new(),
        batch: Vec::new(),
        batch_is_damaged: false,
    };
    let tail = recovery.find_tail(&files)?;
    let (started, count) = (Instant::now(), files.len());
    let mut told = started;
    for (index, file) in files.into_iter().enumerate() {
        if gives_up.load(Ordering::Relaxed) {
            return Err(OpenError::GivenUp);
        }
        recovery.take_segment(file, tail)?;
        if told.elapsed() > Duration::from_secs(1) {
            told = Instant::now();
            tracing::info!("reading the store: {} of {count} segments", index + 1);
        }
    }
    Ok(recovery.finish())
}

struct SegmentFile {
    seq: u32,
    file: Box<dyn DiskFile>,
    header: Option<SegmentHeader>,
    len: u64,
}

/// Opens all segments, and refuses before anything else what a newer program has written.
fn open_all(disk: &dyn Disk) -> Result<Vec<SegmentFile>, OpenError> {
    let mut files = Vec::new();
    let names = disk.list().map_err(|error| OpenError::Io("the directory".to_owned(), error))?;
    if names.iter().any(|name| name == COPYING) {
        return Err(OpenError::Unfinished);
    }
    for seq in segment::list(disk).map_err(|error| OpenError::Io("the directory".to_owned(), error))? {
        let failed = |error| OpenError::Io(name_of(seq), error);
        let file = disk.open(&name_of(seq)).map_err(failed)?;
        let mut bytes = [0; HEADER];
        let filled = file.read_all_at(&mut bytes, 0).map_err(failed)?;
        let header = match SegmentHeader::decode(&bytes[..filled]) {
            Ok(header) => Some(header),
            Err(Illegible::Damaged) => None,
            Err(Illegible::Newer(format)) => return Err(OpenError::Newer { file: name_of(seq), format }),
        };
        let len = file.len().map_err(failed)?;
        files.push(SegmentFile { seq, file, header, len });
    }
    Ok(files)
}

struct Recovery {
    recovered: Recovered,
    buffer: Vec<u8>,
    /// Parts of a batch whose last part has not come yet.
    batch: Vec<Found>,
    batch_is_damaged: bool,
}

struct Found {
    head: Head,
    place: Place,
    is_sound: bool,
}

impl Recovery {
    /// The last segment with frames: at most a few behind it are prepared and empty.
    fn find_tail(&mut self, files: &[SegmentFile]) -> Result<Option<u32>, OpenError> {
        for file in files.iter().rev() {
            self.read(file)?;
            let nonce = file.header.map(|header| header.nonce).or_else(|| scan::guess_nonce(&self.buffer));
            if nonce.is_some_and(|nonce| scan::has_frames(&self.buffer, nonce)) {
                return Ok(Some(file.seq));
            }
        }
        Ok(None)
    }

    fn read(&mut self, file: &SegmentFile) -> Result<(), OpenError> {
        let failed = |error| OpenError::Io(name_of(file.seq), error);
        let len = usize::try_from(file.len).map_err(|error| failed(io::Error::other(error)))?;
        self.buffer.resize(len, 0);
        let filled = file.file.read_all_at(&mut self.buffer, 0).map_err(failed)?;
        self.buffer.truncate(filled);
        Ok(())
    }

    fn take_segment(&mut self, file: SegmentFile, tail: Option<u32>) -> Result<(), OpenError> {
        self.read(&file)?;
        let SegmentFile { seq, file, header, len } = file;
        let nonce = header.map(|header| header.nonce).or_else(|| scan::guess_nonce(&self.buffer)).unwrap_or(0);
        let header_is_damaged = header.is_none_or(|header| header.len != len || header.seq != seq);
        if let Some(header) = header {
            self.recovered.report.shards = header.shards;
        }
        let is_tail = tail.is_none_or(|tail| seq >= tail);
        let scan = scan(&self.buffer, nonce, is_tail);
        let header = SegmentHeader { seq, nonce, len, shards: self.recovered.report.shards };
        let segment = Segment {
            header,
            file,
            live: 0,
            end: scan.end as u64,
            state: State::Sealed,
            is_damaged: header_is_damaged,
            is_stuck: false,
        };
        let index = self.recovered.contents.segments.add(segment);
        if header_is_damaged {
            self.note_damage(index, 0..HEADER.min(self.buffer.len()));
        }
        self.recovered.report.torn_bytes += scan.torn as u64;
        if is_tail && scan.is_begun {
            let unsynced = scan.unsynced.unwrap_or(scan.end) as u64;
            self.recovered.last.push(Last { segment: index, unsynced, is_closed: scan.is_closed });
        }
        self.take_items(index, &scan);
        Ok(())
    }

    fn take_items(&mut self, segment: u32, scan: &Scan) {
        let buffer = std::mem::take(&mut self.buffer);
        for item in &scan.items {
            let (header, area) = match item {
                Item::Gap(range) => {
                    self.lose_frame(segment, range.clone());
                    continue;
                }
                Item::Frame { header, area, soundness: Soundness::Heads } => {
                    self.lose_frame(segment, area.start - HEADER..area.end);
                    self.recovered.number = self.recovered.number.max(header.number);
                    continue;
                }
                Item::Frame { header, area, .. } => (header, area),
            };
            let report = &mut self.recovered.report;
            self.recovered.number = self.recovered.number.max(header.number);
            (report.instant_ms, report.wall_ms) = (header.instant, header.wall);
            if header.is_end || header.is_void {
                continue;
            }
            if header.part == 0 {
                // The segment with the last part of the batch before is gone, because nothing in it was needed.
                self.apply_batch();
            }
            self.recovered.unfinished.push((segment, (area.start - HEADER) as u64));
            for (at, head, body) in records(&buffer[area.clone()]) {
                let offset = area.start + at;
                let is_sound = body_is_sound(&head, body);
                if !is_sound {
                    self.note_damage(segment, offset..offset + head.size());
                    *self.recovered.report.damage.records.entry(head.key.kind).or_default() += 1;
                }
                let place = Place { segment, offset: offset as u32, size: head.size() as u32 };
                self.batch.push(Found { head, place, is_sound });
            }
            if header.is_last {
                self.apply_batch();
            }
        }
        self.buffer = buffer;
    }

    fn lose_frame(&mut self, segment: u32, range: Range<usize>) {
        self.note_damage(segment, range);
        self.recovered.report.damage.frames += 1;
        self.batch_is_damaged = true;
    }

    fn note_damage(&mut self, segment: u32, range: Range<usize>) {
        self.recovered.contents.segments.get_mut(segment).is_damaged = true;
        self.recovered.report.damage.places += 1;
        self.recovered.report.damage.bytes += range.len() as u64;
        self.recovered.damaged.push((segment, range));
    }

    fn apply_batch(&mut self) {
        let contents = &mut self.recovered.contents;
        for Found { head, place, is_sound } in self.batch.drain(..) {
            let is_put = matches!(head.what, What::Put { .. }) && is_sound;
            if is_put {
                contents.set(head.key, place);
            } else if contents.index.get(head.key).is_some() {
                // A record that is damaged voids the older ones of its key all the same.
                contents.set(head.key, Place { size: HEAD as u32, ..place });
            }
        }
        self.batch_is_damaged = false;
        self.recovered.unfinished.clear();
    }

    fn finish(mut self) -> Recovered {
        // The last batch was not written to its end, unless its last part is damaged: then the others count.
        if self.batch_is_damaged {
            self.apply_batch();
        }
        let Recovered { contents, report, .. } = &mut self.recovered;
        if let Some((base, shards)) = layout::read(contents) {
            (contents.base, report.shards) = (base, shards);
        }
        let empty: Vec<u32> =
            contents.segments.iter().filter(|(_, segment)| segment.live == 0).map(|(index, _)| index).collect();
        for index in empty {
            contents.segments.get_mut(index).state = State::Dead;
        }
        report.segments = contents.segments.len();
        report.records = contents.live_by_kind().values().sum();
        self.recovered
    }
}

impl Damage {
    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        self.places == 0
    }
}
