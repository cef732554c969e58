//! What a store holds, read from its segments. Each segment is read once, in order, checked and indexed. Nothing is written here.

use crate::disk::Disk;
use crate::kv::contents::Contents;
use crate::kv::index::Place;
use crate::log::format::{HEAD, HEADER, Head, SegmentHeader, StoreId, What, body_is_sound, records};
use crate::log::given_up;
use crate::log::members::{Members, SegmentFile};
use crate::log::reached::{self, Found, Reached};
use crate::log::scan::{Item, Scan, Soundness, scan};
use crate::log::segment::{COPYING, Segment, State};
use crate::{Damage, OpenError, Report};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub(crate) struct Recovered {
    pub(crate) contents: Contents,
    pub(crate) report: Report,
    /// Damaged bytes, each range with the segment in which it stands.
    pub(crate) damaged: Vec<(u32, Range<usize>)>,
    /// The number of the last frame.
    pub(crate) number: u64,
    pub(crate) greatest_seq: u32,
    /// The identity of the store; `None` if there are no segments.
    pub(crate) store: Option<StoreId>,
    /// The content of the file `reached`.
    pub(crate) reached: Option<Reached>,
    /// Numbers of segments whose files are missing.
    pub(crate) absent: Vec<u32>,
    /// Frames of a batch whose end is missing, each with its segment.
    pub(crate) unfinished: Vec<(u32, u64)>,
    /// The last segment with frames, and the segments behind it whose writing was begun.
    pub(crate) last: Vec<Last>,
}

/// A segment that no later segment attests as synced.
pub(crate) struct Last {
    pub(crate) segment: u32,
    /// From this offset on frames are not known to be synced.
    pub(crate) unsynced: u64,
    pub(crate) is_closed: bool,
}

/// Reads everything, unless `gives_up` becomes true meanwhile.
pub(crate) fn recover(disk: Arc<dyn Disk>, gives_up: &AtomicBool) -> Result<Recovered, OpenError> {
    let failed = |what: &str, error| OpenError::Io(what.to_owned(), error);
    let names = disk.list().map_err(|error| failed("the directory", error))?;
    if names.iter().any(|name| name == COPYING) {
        return Err(OpenError::Unfinished);
    }
    let mark = reached::read(&*disk).map_err(|error| failed(reached::NAME, error))?;
    let mark_is_damaged = matches!(mark, Found::Damaged);
    let reached = if let Found::Known(reached) = mark { Some(reached) } else { None };
    let given_up = given_up::read(&*disk).map_err(|error| failed(given_up::NAME, error))?;
    let Members { store, files, foreign, missing, tail, list_in, greatest } =
        Members::find(&*disk, reached.as_ref(), &given_up)?;
    // A file `reached` of another store says nothing about this one.
    let reached = reached.filter(|reached| store.is_none_or(|store| store == reached.store));
    let damage = Damage {
        missing: missing.clone(),
        foreign,
        misnamed: files.iter().filter(|file| file.is_misnamed()).count() as u64,
        places: u64::from(mark_is_damaged),
        ..Damage::default()
    };
    let headers = files.iter().filter_map(|file| file.header);
    let known = headers.map(|header| header.reached).chain(reached.map(|reached| reached.number)).max().unwrap_or(0);
    let mut recovery = Recovery {
        recovered: Recovered {
            contents: Contents::new(disk),
            report: Report { damage, ..Report::default() },
            damaged: Vec::new(),
            number: 0,
            greatest_seq: greatest,
            store: store.or(reached.map(|reached| reached.store)),
            reached,
            absent: missing,
            unfinished: Vec::new(),
            last: Vec::new(),
        },
        buffer: Vec::new(),
        batch: Vec::new(),
        batch_is_damaged: false,
    };
    let count = files.len();
    let mut told = Instant::now();
    for (index, file) in files.into_iter().enumerate() {
        if gives_up.load(Ordering::Relaxed) {
            return Err(OpenError::GivenUp);
        }
        recovery.take_segment(file, tail, list_in)?;
        note_progress(&mut told, index + 1, count);
    }
    let Recovered { number, report, .. } = &mut recovery.recovered;
    // Each segment begins with a list. If no list is found, it has been lost.
    if *number > 0 && list_in.is_none() && report.damage.is_none() {
        report.damage.places += 1;
    }
    report.damage.frames_missing = known.saturating_sub(*number);
    *number = known.max(*number);
    Ok(recovery.finish())
}

/// Logs the progress once a second.
fn note_progress(told: &mut Instant, read: usize, count: usize) {
    if told.elapsed() > Duration::from_secs(1) {
        *told = Instant::now();
        tracing::info!("reading the store: {read} of {count} segments");
    }
}

struct Recovery {
    recovered: Recovered,
    buffer: Vec<u8>,
    /// Parts of a batch whose last part has not come yet.
    batch: Vec<BatchPart>,
    batch_is_damaged: bool,
}

struct BatchPart {
    head: Head,
    place: Place,
    is_sound: bool,
}

impl Recovery {
    fn take_segment(&mut self, file: SegmentFile, tail: Option<u32>, list_in: Option<u32>) -> Result<(), OpenError> {
        let (seq, is_free, is_misnamed, nonce) = (file.seq, file.is_free, file.is_misnamed(), file.nonce());
        let scan = if is_free {
            Scan { end: HEADER, ..Scan::default() }
        } else {
            file.read(&mut self.buffer)?;
            scan(&self.buffer, nonce, tail.is_none_or(|tail| seq >= tail))
        };
        let SegmentFile { name, file, header, len, .. } = file;
        let is_tail = tail.is_none_or(|tail| seq >= tail);
        let header_is_damaged = !is_free && header.is_none_or(|header| header.len != len);
        let (shards, store) = header.map_or((0, 0), |header| (header.shards, header.store));
        if shards > 0 {
            self.recovered.report.shards = shards;
        }
        let is_prepared = tail.is_none_or(|tail| seq > tail) && !scan.is_begun && !header_is_damaged && !is_misnamed;
        let state = match (is_free, is_prepared) {
            (true, _) => State::Free,
            (_, true) => State::Prepared,
            _ => State::Sealed,
        };
        let (shards, reached) = (self.recovered.report.shards, 0);
        let segment = Segment {
            header: SegmentHeader { seq, nonce, len, shards, store, reached },
            name,
            file,
            live: 0,
            end: scan.end as u64,
            state,
            is_damaged: header_is_damaged,
            is_stuck: false,
        };
        let index = self.recovered.contents.segments.add(segment);
        if header_is_damaged {
            self.note_damage(index, 0..HEADER.min(self.buffer.len()));
        }
        // The writing of this segment was begun before that of a later one, but it holds nothing: the file is an older copy.
        if !is_free && !is_tail && !scan.is_begun && list_in.is_some_and(|list_in| seq < list_in) {
            self.recovered.report.damage.missing.push(seq);
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
            if header.is_end || header.is_list || header.is_void {
                continue;
            }
            if header.part == 0 {
                // The segment with the last part of the batch before has been removed, because nothing in it was needed.
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
                self.batch.push(BatchPart { head, place, is_sound });
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
        for BatchPart { head, place, is_sound } in self.batch.drain(..) {
            let is_put = matches!(head.what, What::Put { .. }) && is_sound;
            if is_put {
                contents.set(head.key, place);
            } else if contents.index.get(head.key).is_some() {
                // A damaged record makes the older records of its key void all the same.
                contents.set(head.key, Place { size: HEAD as u32, ..place });
            }
        }
        self.batch_is_damaged = false;
        self.recovered.unfinished.clear();
    }

    fn finish(mut self) -> Recovered {
        // The last batch was not written to its end; or its last part is damaged, and then the other parts count.
        if self.batch_is_damaged {
            self.apply_batch();
        }
        let Recovered { contents, report, .. } = &mut self.recovered;
        if let Some((base, shards)) = contents.layout() {
            (contents.base, report.shards) = (base, shards);
        }
        let sealed = contents.segments.in_state(State::Sealed);
        let empty: Vec<u32> = sealed.filter(|(_, segment)| segment.live == 0).map(|(index, _)| index).collect();
        for index in empty {
            contents.segments.get_mut(index).state = State::Dead;
        }
        report.segments = contents.segments.len();
        report.records = contents.live_by_kind().values().sum();
        self.recovered
    }
}

impl Damage {
    /// Whether there is no damage.
    pub fn is_none(&self) -> bool {
        let Self { places, missing, foreign, misnamed, frames_missing, .. } = self;
        *places == 0 && missing.is_empty() && foreign.is_empty() && *misnamed == 0 && *frames_missing == 0
    }
}
