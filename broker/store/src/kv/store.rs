//! The log: a [`Store`] that appends to one segment after the other.

use crate::disk::Disk;
use crate::kv::compact::Compaction;
use crate::kv::contents::Contents;
use crate::kv::index::Place;
use crate::kv::recover::{Last, Recovered, recover};
use crate::kv::space::Space;
use crate::log::draft::Draft;
use crate::log::format::{FRAME, FrameHeader, HEADER, Head, StoreId, VOID, VOID_AT, What};
use crate::log::given_up;
use crate::log::members::{List, list_size};
use crate::log::reached::Reached;
use crate::log::segment::{State, UNFINISHED, name_of};
use crate::{Batch, Failure, Key, OpenError, Options, Report, Shortage, Stats, Store, Sync};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// So many segments may be made after the room for a list was measured.
pub(crate) const SEGMENTS_MADE_MEANWHILE: usize = 8;

/// The store of the gateway. See [the module](super).
pub struct LogStore {
    pub(crate) contents: Contents,
    pub(crate) options: Options,
    pub(crate) store: StoreId,
    /// As it is on disk.
    reached: Option<Reached>,
    /// The segment that is being filled. There is none before the first append.
    pub(crate) active: Option<u32>,
    pub(crate) draft: Draft,
    /// Of the last frame, in the draft or on disk.
    number: u64,
    /// All frames up to this one are synced.
    pub(crate) synced: u64,
    /// How many frames of the batch under way are closed.
    part: u32,
    /// Something was written to the active segment since it was synced: first at this time of the broker, in milliseconds.
    unsynced_since: Option<u64>,
    /// The milliseconds that a sync took at most of late; `None` before the first.
    sync_ms: Option<u64>,
    /// Segments in which nothing is live once what was appended is synced.
    dying: Vec<u32>,
    /// How many of them are due to batches that are whole.
    dying_before_batch: usize,
    /// Dead segments that the last list leaves out, which is not synced yet.
    unlisted: Vec<u32>,
    pub(crate) space: Space,
    pub(crate) compaction: Option<Compaction>,
    /// Kept for its memory.
    pub(crate) move_buffer: Vec<u8>,
    /// The time that was recorded last since it was opened, the broker's and that of day.
    marked: Option<(u64, u64)>,
    is_poisoned: bool,
    pub(crate) counts: Stats,
}

impl LogStore {
    /// Opens the store in `disk`, which is a new one if it is empty. What is damaged is copied aside; what is torn is closed.
    ///
    /// # Errors
    /// The device fails, or a newer program wrote it.
    pub fn open(disk: Arc<dyn Disk>, options: Options) -> Result<(Self, Report), OpenError> {
        let recovered = recover(disk, &options.gives_up)?;
        let store = recovered.store.unwrap_or_else(new_identity);
        let (number, is_listed) = settle(&recovered, store)?;
        let Recovered { mut contents, report, greatest_seq, reached, last, .. } = recovered;
        put_names_right(&mut contents).map_err(|error| OpenError::Io("the directory".to_owned(), error))?;
        let in_last: Vec<u32> = last.iter().map(|last| last.segment).collect();
        contents.segments.each_mut(|index, segment| match segment.state {
            State::Prepared if segment.header.len != options.segment_bytes => segment.state = State::Dead,
            // The time stands in the last of them, and goes on from there until it is recorded anew, whatever else they hold.
            State::Dead if in_last.contains(&index) => segment.state = State::Dying,
            State::Dead if is_listed => segment.state = State::Free,
            _ => {}
        });
        for (_, segment) in contents.segments.in_state(State::Prepared) {
            segment.file.hold_open(true).map_err(|error| OpenError::Io(segment.name.clone(), error))?;
        }
        let dying = contents.segments.in_state(State::Dying).map(|(index, _)| index).collect();
        let space = Space::new(greatest_seq, options.thread.then(|| contents.disk.clone()));
        let counts = Stats { damage: report.damage.clone(), ..Stats::default() };
        let mut log = Self {
            contents,
            options,
            store,
            reached,
            active: None,
            draft: Draft::default(),
            number,
            synced: number,
            part: 0,
            unsynced_since: None,
            sync_ms: None,
            dying,
            dying_before_batch: 0,
            unlisted: Vec::new(),
            space,
            compaction: None,
            move_buffer: Vec::new(),
            marked: None,
            is_poisoned: false,
            counts,
        };
        log.note_reached();
        Ok((log, report))
    }

    /// Says who uses it from now on, once what it holds is known: how many shards, and their time.
    pub fn use_for(&mut self, shards: u16, time: crate::TimeSource) {
        self.options.shards = shards;
        self.options.time = time;
    }

    /// What each shard may have of [`Store::room`] all the while: there is so much whenever the store is not full.
    pub fn room_share(&self) -> u64 {
        self.options.segment_bytes / 16 * 15 / u64::from(self.options.shards.max(1))
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.is_poisoned
    }

    /// After an error nothing more is taken.
    pub(crate) fn guarded<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, io::Error>) -> Result<T, Failure> {
        if self.is_poisoned {
            return Err(Failure::Poisoned(io::Error::other("an earlier write or sync failed")));
        }
        work(self).map_err(|error| {
            self.is_poisoned = true;
            Failure::Poisoned(error)
        })
    }

    pub(crate) fn begin_batch(&mut self) {
        self.part = 0;
        self.dying_before_batch = self.dying.len();
    }

    pub(crate) fn end_batch(&mut self) {
        self.end_frame(true);
    }

    fn take_record(&mut self, head: &Head, body: &[u8]) -> io::Result<()> {
        match head.what {
            What::Put { crc, .. } => self.place(self.contents.on_disk(head.key), Some((body, crc)), None),
            What::Delete { .. } => match self.contents.index.get(self.contents.on_disk(head.key)) {
                // No segment holds anything of it, or it is deleted already.
                None => Ok(()),
                Some(place) if place.is_tombstone() => Ok(()),
                Some(_) => self.place(self.contents.on_disk(head.key), None, None),
            },
        }
    }

    /// Appends a record, or a tombstone that `covers` segments up to that one, else up to the active one.
    pub(crate) fn place(&mut self, key: Key, put: Option<(&[u8], u32)>, covers: Option<u32>) -> io::Result<()> {
        let body = put.map_or(&[][..], |(body, _)| body);
        let delete = What::Delete { covers: covers.unwrap_or(0) };
        let what = put.map_or(delete, |(body, crc)| What::Put { len: body.len() as u32, crc });
        let mut head = Head { key, what };
        let segment = self.make_room(head.size())?;
        let active = self.contents.segments.get(segment);
        if put.is_none() && covers.is_none() {
            head.what = What::Delete { covers: active.header.seq };
        }
        let offset = active.end as u32 + self.draft.push(&head, body) as u32;
        let emptied = self.contents.set(key, Place { segment, offset, size: head.size() as u32 });
        self.note_emptied(emptied);
        Ok(())
    }

    pub(crate) fn note_emptied(&mut self, emptied: Option<u32>) {
        let Some(index) = emptied else { return };
        let segment = self.contents.segments.get_mut(index);
        if segment.state == State::Sealed {
            segment.state = State::Dying;
            self.dying.push(index);
        }
    }

    /// Opens a frame with room for `size` bytes; the segment it is in.
    fn make_room(&mut self, size: usize) -> io::Result<u32> {
        if self.draft.frame_len().is_some_and(|len| len > 0 && len + size > FRAME) {
            self.end_frame(false);
        }
        let header = if self.draft.frame_len().is_some() { 0 } else { HEADER };
        if self.capacity_left() < header + size {
            self.end_frame(false);
            self.roll()?;
        }
        if self.draft.frame_len().is_none() {
            self.draft.begin_frame();
        }
        self.active.ok_or_else(|| io::Error::other("no segment is active"))
    }

    /// What fits into the active segment, besides its end frame.
    pub(crate) fn capacity_left(&self) -> usize {
        let Some(active) = self.active else { return 0 };
        let segment = self.contents.segments.get(active);
        (segment.header.len as usize).saturating_sub(segment.end as usize + self.draft.len() + self.end_size())
    }

    /// What is kept free at the end of a segment: for a last list and the end frame.
    pub(crate) fn end_size(&self) -> usize {
        list_size(self.contents.segments.len() + SEGMENTS_MADE_MEANWHILE) + HEADER
    }

    /// What of a segment is not for batches.
    pub(crate) fn segment_overhead(&self) -> usize {
        HEADER + list_size(self.contents.segments.len() + SEGMENTS_MADE_MEANWHILE) + self.end_size()
    }

    fn end_frame(&mut self, is_last: bool) {
        let (Some(active), Some(_)) = (self.active, self.draft.frame_len()) else { return };
        self.number += 1;
        let (instant, wall) = (self.options.time)();
        self.draft.end_frame(FrameHeader {
            is_end: false,
            is_last,
            nonce: self.contents.segments.get(active).header.nonce,
            number: self.number,
            synced: self.synced,
            instant,
            wall,
            part: self.part,
            ..FrameHeader::default()
        });
        self.part += 1;
        self.marked = Some((instant, wall));
    }

    /// Each frame records the time, which is to go on from there after a restart. One is written for that alone at the start,
    /// now and then, and when the time of day was set: else the next start would take the jump for time that went by.
    fn mark_time(&mut self) -> io::Result<()> {
        const PAUSE_MS: u64 = 60_000;
        const JUMP_MS: u64 = 1_000;
        let (instant, wall) = (self.options.time)();
        let is_first = self.marked.is_none();
        let is_due = match self.marked {
            // In an empty store nothing can expire.
            None => self.number > 0,
            Some((last, last_wall)) => {
                let passed = instant.saturating_sub(last);
                passed >= PAUSE_MS || wall.abs_diff(last_wall.saturating_add(passed)) >= JUMP_MS
            }
        };
        // The last prepared segment is not for this, unless one becomes free by it.
        let free = self.contents.segments.in_state(State::Prepared).count() + usize::from(!self.dying.is_empty());
        let has_room =
            self.capacity_left() >= HEADER || (free > 1 && self.space.next_prepared(&self.contents).is_some());
        if !is_due || !has_room {
            return Ok(());
        }
        self.begin_batch();
        let active = self.make_room(0)?;
        self.end_batch();
        if is_first {
            // Whatever the mode: what held the time before may be used again.
            self.write(active)?;
            self.sync()?;
        }
        self.note_reached();
        Ok(())
    }

    /// Closes the active segment and goes on in the next one. It is synced whatever the mode: a frame in a later segment
    /// attests all that stands in the earlier ones.
    fn roll(&mut self) -> io::Result<()> {
        let next =
            self.space.next_prepared(&self.contents).ok_or_else(|| io::Error::other("no segment is prepared"))?;
        self.seal(Some(next))?;
        let segment = self.contents.segments.get_mut(next);
        segment.state = State::Active;
        segment.end = HEADER as u64;
        self.active = Some(next);
        self.push_list(next);
        Ok(())
    }

    /// Names all segments in the log that are needed; when that is synced the others are free.
    fn push_list(&mut self, active: u32) {
        self.number += 1;
        let (instant, wall) = (self.options.time)();
        let header = FrameHeader {
            is_list: true,
            nonce: self.contents.segments.get(active).header.nonce,
            number: self.number,
            synced: self.synced,
            instant,
            wall,
            ..FrameHeader::default()
        };
        let dead = self.contents.segments.in_state(State::Dead).map(|(index, _)| index);
        self.unlisted = dead.collect();
        self.draft.push_frame(header, &list(&self.contents, self.store, &[]));
    }

    /// Makes a list without the segments that are dead safe. Whether there was room for it.
    pub(crate) fn free_dead(&mut self) -> io::Result<bool> {
        let needed = list_size(self.contents.segments.len());
        // What is kept free for a last list is for this too, where there is no other room.
        let has_room = |active: &u32| {
            let segment = self.contents.segments.get(*active);
            segment.end + (self.draft.len() + needed + HEADER) as u64 <= segment.header.len
        };
        match self.active.filter(has_room) {
            Some(active) => self.push_list(active),
            None if self.space.next_prepared(&self.contents).is_some() => self.roll()?,
            None => return Ok(false),
        }
        if let Some(active) = self.active {
            self.write(active)?;
            self.sync()?;
        }
        Ok(true)
    }

    fn seal(&mut self, next: Option<u32>) -> io::Result<()> {
        let Some(active) = self.active.take() else { return Ok(()) };
        // Whoever opens it next may have no room to say in another segment what is free.
        let needed = (self.draft.len() + 2 * HEADER + list_size(self.contents.segments.len())) as u64;
        let segment = self.contents.segments.get(active);
        if next.is_none() && segment.end + needed <= segment.header.len {
            self.push_list(active);
        }
        self.write(active)?;
        self.number += 1;
        let (instant, wall) = (self.options.time)();
        let (number, synced) = (self.number, self.synced);
        let next = next.map_or(0, |next| self.contents.segments.get(next).header.seq);
        let segment = self.contents.segments.get_mut(active);
        let end = end_frame(segment.header.nonce, number, synced, (instant, wall), next);
        segment.file.write_all_at(&end, segment.end)?;
        segment.end += HEADER as u64;
        self.sync_segment(active)?;
        let segment = self.contents.segments.get_mut(active);
        self.synced = self.number;
        self.unsynced_since = None;
        segment.state = State::Sealed;
        segment.file.hold_open(false)?;
        self.bury(self.dying_before_batch);
        // What emptied it may be of a batch that is not whole yet.
        if self.contents.segments.get(active).live == 0 {
            self.note_emptied(Some(active));
        }
        Ok(())
    }

    /// Writes down how far the log is safe. It is of use to nobody but the next start, and there only where the log was cut off.
    fn note_reached(&mut self) {
        match Reached::write(self.reached, self.store, self.synced, &*self.contents.disk) {
            Ok(reached) => self.reached = Some(reached),
            Err(error) => {
                tracing::warn!(%error, "how far the store is safe could not be written to its file {}", crate::log::reached::NAME)
            }
        }
    }

    fn write(&mut self, active: u32) -> io::Result<()> {
        if self.draft.len() > 0 {
            self.unsynced_since.get_or_insert_with(|| (self.options.time)().0);
            let segment = self.contents.segments.get_mut(active);
            segment.file.write_all_at(self.draft.bytes(), segment.end)?;
            segment.end += self.draft.len() as u64;
            self.counts.written_bytes += self.draft.len() as u64;
            self.draft.clear();
        }
        Ok(())
    }

    /// Writes the draft, and syncs it if that is due.
    pub(crate) fn commit(&mut self) -> io::Result<()> {
        if let Some(active) = self.active {
            self.write(active)?;
        }
        let is_due = match self.options.sync {
            Sync::Always => self.unsynced_since.is_some(),
            Sync::Interval(_) => self.sync_due_in() == Some(Duration::ZERO),
            Sync::Never => false,
        };
        if is_due { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        if let Some(active) = self.active {
            self.sync_segment(active)?;
        }
        self.synced = self.number;
        self.unsynced_since = None;
        self.bury(self.dying.len());
        Ok(())
    }

    fn sync_segment(&mut self, segment: u32) -> io::Result<()> {
        let begun = (self.options.time)().0;
        let file = &self.contents.segments.get(segment).file;
        timed(&mut self.counts, || file.sync())?;
        for index in self.unlisted.drain(..) {
            self.contents.segments.get_mut(index).state = State::Free;
        }
        let took = (self.options.time)().0.saturating_sub(begun);
        // A slow one counts for some syncs after it.
        self.sync_ms = Some(self.sync_ms.map_or(took, |before| took.max(before - before.div_ceil(8))));
        Ok(())
    }

    /// What replaces the first `count` of the dying is safe.
    fn bury(&mut self, count: usize) {
        for index in self.dying.drain(..count) {
            self.contents.segments.get_mut(index).state = State::Dead;
        }
        self.dying_before_batch = 0;
    }
}

impl LogStore {
    /// The slots of a shard for which there are records of that kind.
    pub fn slots(&self, shard: u16, kind: u8) -> impl Iterator<Item = u32> {
        self.contents.slots(shard, kind)
    }
}

impl Store for LogStore {
    fn append(&mut self, batches: &[Batch]) -> Result<(), Failure> {
        if !self.is_poisoned {
            self.check_room(batches)?;
        }
        self.guarded(|log| {
            log.begin_batch();
            for (head, body) in batches.iter().flat_map(Batch::records) {
                log.take_record(&head, body)?;
                log.counts.appended += 1;
            }
            log.end_batch();
            log.move_some(log.draft.len())?;
            log.counts.commits += 1;
            log.commit()
        })?;
        self.make_space(Duration::ZERO)?;
        Ok(())
    }

    fn upkeep(&mut self, wait: Duration) -> Result<bool, Failure> {
        let has_freed = self.make_space(wait)?;
        self.guarded(|log| {
            // What waits to be synced does not wait for this.
            log.commit()?;
            let has_moved = log.move_some(0)?;
            log.mark_time()?;
            log.commit()?;
            // Where there is no room to move anything, trying again at once would only keep the processor busy.
            Ok(has_freed || (has_moved && log.compaction.is_some()))
        })
    }

    fn sync_due_in(&self) -> Option<Duration> {
        let (Sync::Interval(interval), Some(since)) = (self.options.sync, self.unsynced_since) else { return None };
        let interval = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        // It is to be over in time, so it begins earlier by what it takes, and by what milliseconds leave out. The first one
        // begins at once: nobody knows what it takes.
        let ahead = self.sync_ms.map_or(interval, |took| took + 1);
        let due = since.saturating_add(interval.saturating_sub(ahead));
        Some(Duration::from_millis(due.saturating_sub((self.options.time)().0)))
    }

    fn is_full(&self) -> bool {
        self.space.is_short
    }

    fn live_bytes(&self) -> (u64, u64) {
        let live = self.contents.segments.iter().map(|(_, segment)| segment.live).sum();
        (live, self.most_live_bytes())
    }

    fn why_full(&self) -> Option<Shortage> {
        self.why_short()
    }

    fn room(&self) -> u64 {
        self.room_for_promises()
    }

    fn set_room_wanted(&mut self, bytes: u64) {
        self.space.room_wanted = bytes;
    }

    fn fetch(&self, key: Key, out: &mut Vec<u8>) -> io::Result<bool> {
        self.contents.fetch(key, out)
    }

    fn each(&self, shard: u16, visit: &mut dyn FnMut(Key, &[u8]) -> ControlFlow<()>) -> io::Result<()> {
        self.contents.each(shard, visit).map(drop)
    }

    fn stats(&self) -> Stats {
        let counts = self.counts.clone();
        let now = self.contents.stats();
        Stats { segments: now.segments, prepared: now.prepared, dead: now.dead, bytes: now.bytes, ..counts }.with(
            now.live_bytes,
            now.records,
            self.is_full(),
        )
    }

    fn close(&mut self) -> Result<(), Failure> {
        self.space.finish();
        self.guarded(|log| {
            // Nothing is under way: all that died did so in whole batches.
            log.dying_before_batch = log.dying.len();
            log.seal(None)?;
            log.note_reached();
            Ok(())
        })
    }
}

impl Stats {
    fn with(self, live_bytes: u64, records: std::collections::BTreeMap<u8, u64>, is_full: bool) -> Self {
        Self { live_bytes, records, is_full, ..self }
    }
}

fn timed(counts: &mut Stats, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let started = Instant::now();
    let synced = sync();
    counts.syncs.note(started.elapsed());
    synced
}

/// The log goes on at once in the segment with number `next`, or is closed if that is 0.
fn end_frame(nonce: u64, number: u64, synced: u64, (instant, wall): (u64, u64), next: u32) -> [u8; HEADER] {
    let header =
        FrameHeader { is_end: true, nonce, number, synced, instant, wall, part: next, ..FrameHeader::default() };
    header.encode()
}

/// A list of all segments that are needed, and those in `besides`.
fn list(contents: &Contents, store: StoreId, besides: &[u32]) -> Vec<u8> {
    let is_needed =
        |index: &u32, state| !matches!(state, State::Dead | State::Free | State::Leaving) || besides.contains(index);
    let needed = contents.segments.iter().filter(|(index, segment)| is_needed(index, segment.state));
    List::encode(store, needed.map(|(_, segment)| &segment.header))
}

fn new_identity() -> StoreId {
    // The standard library draws the keys of its hash tables at random from the system.
    let half = |salt: u8| u128::from(RandomState::new().hash_one(salt));
    half(0) << 64 | half(1)
}

/// Makes what was recovered safe and unambiguous: what is damaged is copied aside, what is foreign is set aside, a batch without
/// its end is voided, what may not be synced is synced, and segments that nobody closed are closed. The number of the last frame,
/// and whether the last list leaves out all that is dead.
fn settle(recovered: &Recovered, store: StoreId) -> Result<(u64, bool), OpenError> {
    let Recovered { contents, report, damaged, unfinished, last, .. } = recovered;
    let names = contents.disk.list().map_err(|error| OpenError::Io("the directory".to_owned(), error))?;
    if names.iter().any(|name| name == UNFINISHED) {
        contents.disk.remove(UNFINISHED).map_err(|error| OpenError::Io(UNFINISHED.to_owned(), error))?;
    }
    for (index, range) in damaged {
        let segment = contents.segments.get(*index);
        let name = format!("damaged-{:08x}-{}", segment.header.seq, range.start);
        if !names.contains(&name)
            && let Err(error) = set_aside(contents, *index, range.clone(), &name)
        {
            tracing::warn!(%error, "what is damaged could not be copied to {name}");
        }
    }
    for name in &report.damage.foreign {
        let mut aside =
            (1_u32..).map(|copy| if copy == 1 { format!("{name}.foreign") } else { format!("{name}.foreign-{copy}") });
        let aside = aside.find(|aside| !names.contains(aside)).unwrap_or_else(|| format!("{name}.foreign"));
        let renamed = contents.disk.rename(name, &aside).and_then(|()| contents.disk.sync_names());
        renamed.map_err(|error| OpenError::Io(name.clone(), error))?;
    }
    // Before the log goes on without them.
    let given_up = given_up::add(&*contents.disk, recovered.absent.iter().copied());
    given_up.map_err(|error| OpenError::Io(given_up::NAME.to_owned(), error))?;
    for &(index, at) in unfinished {
        let segment = contents.segments.get(index);
        let void = segment.file.write_all_at(&[VOID], at + VOID_AT as u64).and_then(|()| segment.file.sync());
        void.map_err(|error| OpenError::Io(segment.name.clone(), error))?;
    }
    let mut number = recovered.number;
    let mut is_listed = false;
    let all_last: Vec<u32> = last.iter().map(|last| last.segment).collect();
    for &Last { segment, unsynced, is_closed } in last {
        let segment = contents.segments.get(segment);
        let rewrite = || {
            // A sync that failed leaves pages that look as if they were written. To be sure they are written once more.
            let mut bytes = vec![0; (segment.end - unsynced.min(segment.end)) as usize];
            let filled = segment.file.read_all_at(&mut bytes, unsynced)?;
            segment.file.write_all_at(&bytes[..filled], unsynced)?;
            segment.file.sync()
        };
        let mut close = || {
            let (nonce, instant, wall) = (segment.header.nonce, report.instant_ms, report.wall_ms);
            let area = list(contents, store, &all_last);
            let synced = number;
            let mut end = Vec::new();
            if segment.end + (area.len() + 2 * HEADER) as u64 <= segment.header.len {
                number += 1;
                let (len, heads_crc) = (area.len() as u32, crc32fast::hash(&area));
                let is_list = true;
                let header = FrameHeader {
                    is_list,
                    nonce,
                    number,
                    synced,
                    instant,
                    wall,
                    len,
                    heads_crc,
                    ..FrameHeader::default()
                };
                end.extend_from_slice(&header.encode());
                end.extend_from_slice(&area);
                is_listed = true;
            }
            number += 1;
            end.extend_from_slice(&end_frame(nonce, number, synced, (instant, wall), 0));
            segment.file.write_all_at(&end, segment.end)?;
            segment.file.sync()
        };
        let closed = rewrite().and_then(|()| if is_closed { Ok(()) } else { close() });
        closed.map_err(|error| OpenError::Io(segment.name.clone(), error))?;
    }
    Ok((number, is_listed))
}

/// Gives each segment the name of its number. What is not of the store has been set aside.
fn put_names_right(contents: &mut Contents) -> io::Result<()> {
    let wrong = contents.segments.iter().filter(|(_, segment)| segment.name != name_of(segment.header.seq));
    let wrong: Vec<u32> = wrong.map(|(index, _)| index).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    let mut spare = u32::MAX;
    for index in wrong {
        let right = name_of(contents.segments.get(index).header.seq);
        let names: Vec<String> = contents.segments.iter().map(|(_, segment)| segment.name.clone()).collect();
        // Whoever has that name gets one that nobody has. It is known by its header meanwhile, as it was before.
        let holder = contents.segments.iter().find(|(_, segment)| segment.name == right).map(|(holder, _)| holder);
        if let Some(holder) = holder {
            while names.contains(&name_of(spare)) {
                spare -= 1;
            }
            contents.rename(holder, name_of(spare))?;
        }
        contents.rename(index, right)?;
    }
    contents.disk.sync_names()
}

fn set_aside(contents: &Contents, segment: u32, range: Range<usize>, name: &str) -> io::Result<()> {
    let mut bytes = vec![0; range.len()];
    let filled = contents.segments.get(segment).file.read_all_at(&mut bytes, range.start as u64)?;
    let file = contents.disk.create(name)?;
    file.write_all_at(&bytes[..filled], 0)?;
    file.sync()?;
    contents.disk.sync_names()
}
