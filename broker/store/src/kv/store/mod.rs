//! [`LogStore`]: a [`Store`] that appends to one segment after the other.
//!
//! ```text
//! append   records go to the active segment, in frames
//! seal     ending a frame, and a segment
//! settle   what a start repairs before the store goes on
//! compact  moving live records out of segments that are mostly dead
//! space    making, recycling and removing segments; when there is no room
//! ```

mod append;
mod compact;
mod seal;
mod settle;
mod space;

use self::compact::Compaction;
use self::settle::{put_names_right, settle};
use self::space::Space;
use crate::disk::Disk;
use crate::kv::contents::Contents;
use crate::kv::recover::{Recovered, recover};
use crate::log::draft::Draft;
use crate::log::format::StoreId;
use crate::log::reached::Reached;
use crate::log::segment::State;
use crate::{Batch, Failure, Key, OpenError, Options, Report, Shortage, Stats, Store, Sync};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

/// A [`Store`] in a log of segments: see [the crate](crate).
pub struct LogStore {
    pub(crate) contents: Contents,
    pub(crate) options: Options,
    pub(crate) store: StoreId,
    /// The content of the file `reached`.
    reached: Option<Reached>,
    /// The segment that is being filled. There is none before the first append.
    pub(crate) active: Option<u32>,
    pub(crate) draft: Draft,
    /// The number of the last frame, in the draft or on disk.
    number: u64,
    /// All frames up to this one are synced.
    pub(crate) synced: u64,
    /// How many frames of the batch under way are closed.
    part: u32,
    /// The broker's time in milliseconds at which the first unsynced bytes of the active segment were written. `None` if all are
    /// synced.
    unsynced_since: Option<u64>,
    /// The longest time that recent syncs took, in milliseconds; `None` before the first sync.
    sync_ms: Option<u64>,
    /// Segments in which nothing will be live once the appended records are synced.
    dying: Vec<u32>,
    /// How many of the dying segments became so by batches that are whole.
    dying_before_batch: usize,
    /// Dead segments that the last list leaves out. That list is not synced yet.
    unlisted: Vec<u32>,
    pub(crate) space: Space,
    pub(crate) compaction: Option<Compaction>,
    /// A buffer that is kept so that its memory is used again.
    pub(crate) move_buffer: Vec<u8>,
    /// The broker's time and the time of day that were recorded last since the store was opened.
    marked: Option<(u64, u64)>,
    is_poisoned: bool,
    pub(crate) counts: Stats,
}

impl LogStore {
    /// Opens the store in `disk`; an empty `disk` becomes a new store. Damaged bytes are copied aside; torn segments are closed.
    ///
    /// # Errors
    /// The device fails, or a newer program wrote the store.
    pub fn open(disk: Arc<dyn Disk>, options: Options) -> Result<(Self, Report), OpenError> {
        let recovered = recover(disk, &options.gives_up)?;
        let store = recovered.store.unwrap_or_else(new_identity);
        let (number, is_listed) = settle(&recovered, store)?;
        let Recovered { mut contents, report, greatest_seq, reached, last, .. } = recovered;
        put_names_right(&mut contents).map_err(|error| OpenError::Io("the directory".to_owned(), error))?;
        let in_last: Vec<u32> = last.iter().map(|last| last.segment).collect();
        contents.segments.each_mut(|index, segment| match segment.state {
            State::Prepared if segment.header.len != options.segment_bytes => segment.state = State::Dead,
            // The last of these segments holds the recorded time, which goes on from there. So they are kept until the time is
            // recorded anew, even if they hold nothing else.
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

    /// Sets how many shards use the store and which time it records. This is for a caller that has to read the store first.
    pub fn use_for(&mut self, shards: u16, time: crate::TimeSource) {
        self.options.shards = shards;
        self.options.time = time;
    }

    /// How much of [`Store::room`] each shard may always have: there is so much whenever the store is not full.
    pub fn credit_share(&self) -> u64 {
        self.options.segment_bytes / 16 * 15 / u64::from(self.options.shards.max(1))
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.is_poisoned
    }

    /// Runs `work`. After an error the store accepts nothing more.
    pub(crate) fn guarded<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, io::Error>) -> Result<T, Failure> {
        if self.is_poisoned {
            return Err(Failure::Poisoned(io::Error::other("an earlier write or sync failed")));
        }
        work(self).map_err(|error| {
            self.is_poisoned = true;
            Failure::Poisoned(error)
        })
    }
}

impl LogStore {
    /// The slots for which a shard has records of `kind`.
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
            // Bytes that wait to be synced do not wait for compaction.
            log.commit()?;
            let has_moved = log.move_some(0)?;
            log.mark_time()?;
            log.commit()?;
            // If there is no room to move anything, trying again at once would only keep the processor busy.
            Ok(has_freed || (has_moved && log.compaction.is_some()))
        })
    }

    fn sync_due_in(&self) -> Option<Duration> {
        let (Sync::Interval(interval), Some(since)) = (self.options.sync, self.unsynced_since) else { return None };
        let interval = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        // A sync has to end in time, so it begins earlier by the time that it takes, and by one millisecond for rounding. The
        // first sync begins at once, because nothing shows yet how long it takes.
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
            // No batch is half written, so the dying segments were emptied by whole batches.
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

fn new_identity() -> StoreId {
    // The standard library draws the random keys of its hash tables from the system.
    let half = |salt: u8| u128::from(RandomState::new().hash_one(salt));
    half(0) << 64 | half(1)
}
