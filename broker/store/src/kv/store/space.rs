//! Room: segments are made before they are needed, used again when they are dead, and removed when there are too many.
//!
//! Three segments are kept prepared behind the active one, or more if shards want much room at once. The last of them is for
//! compaction alone, so that there is always a way to make room. The one before it is for records that can't be refused:
//! acknowledgements and deletes. The room in the rest and in the active segment is granted to shards before they promise
//! anything. While fewer segments are prepared, and no more can be had, the store says that it is full. Then nothing is granted,
//! and promises made before still have their room.

use super::LogStore;
use crate::disk::{Disk, DiskFile};
use crate::kv::contents::Contents;
use crate::log::format::{FRAME, HEADER, SegmentHeader};
use crate::log::segment::{Segment, State, UNFINISHED, name_of};
use crate::{Batch, Cause, Failure, Shortage};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Prepared segments on which shards' promises may not count.
const RESERVED: usize = 2;
/// Segments that are prepared, besides the active one.
const PREPARED: usize = RESERVED + 1;
/// The time between a failed attempt to make a segment and the next attempt.
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 4 } else { 200 });
/// How many segments beyond the limit may be taken by batches that were under way when the limit was reached.
const BEYOND_LIMIT: u64 = 4;

pub(crate) struct Space {
    /// The number of the next segment. Wider than a segment number, so that it can't wrap around.
    next_seq: u64,
    worker: Option<Worker>,
    job_is_under_way: bool,
    /// When a segment could not be made. The flag says whether a dead segment was to be used: then a dead segment does not help
    /// either.
    failed: Option<(Instant, bool)>,
    /// When a file could not be removed because another process copies it.
    held: Option<Instant>,
    /// Segments that a batch waits for.
    wanted: usize,
    /// How many bytes of room for promises there should be.
    pub(crate) room_wanted: u64,
    pub(crate) is_short: bool,
    /// There are dead segments that could be used if a list left them out.
    wants_dead: bool,
    /// Why the last segment that was wanted could not be made.
    why_short: Option<Shortage>,
}

impl Space {
    /// Jobs are done on a thread of their own if `disk` is given.
    pub(crate) fn new(greatest_seq: u32, disk: Option<Arc<dyn Disk>>) -> Self {
        let worker = disk.and_then(Worker::start);
        Self {
            next_seq: u64::from(greatest_seq) + 1,
            worker,
            job_is_under_way: false,
            failed: None,
            held: None,
            wanted: 0,
            room_wanted: 0,
            is_short: false,
            wants_dead: false,
            why_short: None,
        }
    }

    pub(crate) fn next_prepared(&self, contents: &Contents) -> Option<u32> {
        let prepared = contents.segments.in_state(State::Prepared);
        prepared.min_by_key(|(_, segment)| segment.header.seq).map(|(index, _)| index)
    }

    /// Waits for the job that is under way, if any.
    pub(crate) fn finish(&mut self) {
        if let Some(worker) = self.worker.take() {
            worker.finish();
        }
    }
}

/// Work on files that the committing thread leaves to another thread.
enum Job {
    /// Makes a prepared segment. It uses the dead segment if one is given and no process copies it; else a new file, if that is
    /// allowed.
    Prepare {
        header: SegmentHeader,
        dead: Option<Dead>,
        may_grow: bool,
    },
    Remove(Dead),
}

/// The segments that hold nothing of use.
struct Leavers {
    /// Dead segments that can be filled anew, the oldest first.
    dead: Vec<Dead>,
    /// A dead segment whose file has another length than new ones.
    unfit: Option<Dead>,
    /// How many dead segments the last list still names. They stay until a list without them follows.
    listed: usize,
}

#[derive(Clone)]
struct Dead {
    index: u32,
    seq: u32,
    name: String,
}

struct Done {
    made: io::Result<Option<(SegmentHeader, Box<dyn DiskFile>)>>,
    dead: Option<Dead>,
    /// The file of the dead segment does not exist any more.
    dead_is_gone: bool,
}

impl LogStore {
    /// How many bytes may be live: the limit, less the prepared segments and the active one.
    pub(crate) fn most_live_bytes(&self) -> u64 {
        self.options.max_bytes.saturating_sub((PREPARED as u64 + 1) * self.options.segment_bytes)
    }

    /// Refuses batches that would not fit as a whole.
    pub(crate) fn check_room(&mut self, batches: &[Batch]) -> Result<(), Failure> {
        let total: usize = batches.iter().map(Batch::size).sum();
        if total + 2 * HEADER * (total / FRAME + 2) <= self.capacity_left() {
            self.space.wanted = 0;
            return Ok(());
        }
        let capacity = (self.options.segment_bytes as usize).saturating_sub(self.segment_overhead());
        let (mut left, mut frame, mut segments) = (self.capacity_left(), 0, 0);
        for (head, _) in batches.iter().flat_map(Batch::records) {
            let size = head.size();
            if size + HEADER > capacity {
                return Err(Failure::TooLarge(size));
            }
            if frame == 0 || frame + size > FRAME {
                left = left.saturating_sub(HEADER);
                frame = 0;
            }
            if size > left {
                segments += 1;
                left = capacity - HEADER;
                frame = 0;
            }
            left -= size;
            frame += size;
        }
        let prepared = self.contents.segments.in_state(State::Prepared).count();
        if segments == 0 || segments < prepared {
            self.space.wanted = 0;
            return Ok(());
        }
        self.space.wanted = segments + 1;
        Err(Failure::NoRoom)
    }

    /// How many bytes are left for the promises of shards. A 64th is kept for headers.
    pub(crate) fn room_for_promises(&self) -> u64 {
        let prepared = self.contents.segments.in_state(State::Prepared);
        let overhead = self.segment_overhead() as u64;
        let usable = |bytes: u64| bytes.saturating_sub(overhead) / 64 * 63;
        let prepared: u64 = prepared.map(|(_, segment)| usable(segment.header.len)).sum();
        let reserved = RESERVED as u64 * usable(self.options.segment_bytes);
        let active = (self.capacity_left() as u64).saturating_sub(HEADER as u64) / 64 * 63;
        (prepared + active).saturating_sub(reserved)
    }

    fn wants_segment(&self) -> bool {
        let prepared = self.contents.segments.in_state(State::Prepared).count();
        prepared < PREPARED.max(self.space.wanted) || self.room_for_promises() < self.space.room_wanted
    }

    /// Provides prepared segments. Waits up to `wait` for one if a batch needs it. Returns whether some segments were freed.
    pub(crate) fn make_space(&mut self, wait: Duration) -> Result<bool, Failure> {
        self.tend_space(wait, true);
        if !self.space.wants_dead {
            return Ok(false);
        }
        let has_freed = self.guarded(Self::free_dead)?;
        self.tend_space(Duration::ZERO, false);
        Ok(has_freed)
    }

    /// Receives the result of the worker's job, and gives it the next job. Waits up to `wait` for the result if a batch needs
    /// it.
    fn tend_space(&mut self, wait: Duration, may_free: bool) {
        if let Some(worker) = &self.space.worker
            && self.space.job_is_under_way
        {
            let wait = if self.space.wanted > 0 { wait } else { Duration::ZERO };
            if let Some(done) = worker.done(wait) {
                self.finish_job(done);
            }
        }
        self.space.wants_dead = false;
        while !self.space.job_is_under_way
            && let Some(job) = self.next_job(may_free)
        {
            self.space.job_is_under_way = true;
            match &self.space.worker {
                Some(worker) => worker.give(job),
                None => {
                    let done = job.run(&*self.contents.disk);
                    self.finish_job(done);
                }
            }
        }
        if !self.wants_segment() {
            self.space.is_short = false;
        } else if !self.space.job_is_under_way && !self.space.wants_dead {
            self.space.is_short = true;
        }
    }

    /// Why there is no room; `None` if there is room.
    pub(crate) fn why_short(&self) -> Option<Shortage> {
        let limit = || Shortage {
            cause: Cause::Limit,
            words: format!("its files take what max_bytes allows, {} bytes", self.options.max_bytes),
        };
        self.space.is_short.then(|| self.space.why_short.clone().unwrap_or_else(limit))
    }

    /// How many more segments there may be.
    pub(crate) fn segments_left(&self) -> u64 {
        let bytes: u64 = self.contents.segments.iter().map(|(_, segment)| segment.header.len).sum();
        // Without one more segment nothing can be deleted either: no list can be written that frees the dead segments.
        let is_stuck = self.active.is_none() && self.space.next_prepared(&self.contents).is_none();
        let beyond =
            if self.space.wanted > 0 { BEYOND_LIMIT } else { u64::from(is_stuck) } * self.options.segment_bytes;
        (self.options.max_bytes + beyond).saturating_sub(bytes) / self.options.segment_bytes
    }

    fn next_job(&mut self, may_free: bool) -> Option<Job> {
        // Nothing is overwritten once a write or sync has failed: the records that replace the old ones may be lost.
        let failed = self.space.failed.filter(|(at, _)| at.elapsed() < PAUSE);
        if self.is_poisoned() || failed.is_some_and(|(_, of_dead)| of_dead) {
            return None;
        }
        let leavers = self.leavers();
        let job = if self.wants_segment() {
            if may_free && leavers.dead.is_empty() && leavers.listed > 0 {
                self.space.wants_dead = true;
                return None;
            }
            self.job_for_a_segment(leavers, failed.is_some())?
        } else if self.space.held.is_some_and(|at| at.elapsed() < PAUSE) {
            return None;
        } else {
            let (dead, listed) = (leavers.dead.len(), leavers.listed);
            if may_free && leavers.unfit.is_none() && dead <= PREPARED && dead + listed > PREPARED {
                self.space.wants_dead = true;
                return None;
            }
            Job::Remove(leavers.unfit.or_else(|| leavers.dead.into_iter().next().filter(|_| dead > PREPARED))?)
        };
        if let Job::Prepare { dead: Some(dead), .. } | Job::Remove(dead) = &job {
            self.contents.segments.get_mut(dead.index).state = State::Leaving;
        }
        Some(job)
    }

    /// The segments that hold nothing of use.
    fn leavers(&self) -> Leavers {
        let segments = &self.contents.segments;
        let mut leavers = Leavers { dead: Vec::new(), unfit: None, listed: segments.in_state(State::Dead).count() };
        for (index, segment) in segments.in_state(State::Free) {
            let free = Dead { index, seq: segment.header.seq, name: segment.name.clone() };
            if segment.header.len == self.options.segment_bytes {
                leavers.dead.push(free);
            } else {
                leavers.unfit = Some(free);
            }
        }
        // The oldest segment is reused first: once it is gone, the tombstones that void its records are not needed any more.
        leavers.dead.sort_unstable_by_key(|dead| dead.seq);
        leavers
    }

    /// A job that makes a segment, of a dead one if there is any, or that makes room for one.
    fn job_for_a_segment(&mut self, leavers: Leavers, has_failed: bool) -> Option<Job> {
        let may_grow = !has_failed && self.segments_left() > 0;
        if !has_failed && !may_grow {
            // The reason of an earlier failure does not count any more.
            self.space.why_short = None;
        }
        if leavers.dead.is_empty() && !may_grow {
            return leavers.unfit.map(Job::Remove);
        }
        let Ok(seq) = u32::try_from(self.space.next_seq) else {
            let words = "the numbers of its files are used up".to_owned();
            self.space.why_short = Some(Shortage { cause: Cause::Other, words });
            return None;
        };
        let nonce = RandomState::new().hash_one(seq);
        self.space.next_seq += 1;
        let header = SegmentHeader {
            seq,
            nonce,
            len: self.options.segment_bytes,
            shards: self.options.shards,
            store: self.store,
            reached: self.synced,
        };
        Some(Job::Prepare { header, dead: leavers.dead.into_iter().next(), may_grow })
    }

    fn finish_job(&mut self, done: Done) {
        self.space.job_is_under_way = false;
        if let Some(dead) = &done.dead {
            if done.dead_is_gone {
                self.contents.segments.remove(dead.index);
            } else {
                self.contents.segments.get_mut(dead.index).state = State::Free;
            }
        }
        match done.made {
            Ok(Some((header, file))) => {
                self.space.failed = None;
                self.space.why_short = None;
                let end = HEADER as u64;
                let state = State::Prepared;
                self.contents.segments.add(Segment {
                    header,
                    name: name_of(header.seq),
                    file,
                    live: 0,
                    end,
                    state,
                    is_damaged: false,
                    is_stuck: false,
                });
            }
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => self.space.held = Some(Instant::now()),
            Err(error) => {
                if !self.space.is_short {
                    tracing::warn!(%error, "no segment could be made for the store");
                }
                self.space.why_short = Some(Shortage::of(&error));
                self.space.failed = Some((Instant::now(), done.dead.is_some()));
            }
        }
    }
}

impl Job {
    fn run(self, disk: &dyn Disk) -> Done {
        match self {
            Self::Prepare { header, dead, may_grow } => {
                if let Some(dead) = &dead
                    && disk.begin_recycling()
                {
                    let taken = if_there(disk.rename(&dead.name, UNFINISHED), dead);
                    let dead_is_gone = taken.is_ok();
                    let made = taken.and_then(|is_there| {
                        if !is_there {
                            return Ok(None);
                        }
                        disk.sync_names()?;
                        recycle(disk, header).map(|file| Some((header, file)))
                    });
                    disk.end_recycling();
                    return Done { made, dead: Some(dead.clone()), dead_is_gone };
                }
                let made = if may_grow {
                    make(disk, header)
                } else {
                    Err(io::Error::new(io::ErrorKind::StorageFull, "its files take what max_bytes allows"))
                };
                if made.is_err() {
                    // The room that the unfinished file takes on the disk is better used elsewhere.
                    let _ = disk.remove(UNFINISHED);
                }
                Done { made: made.map(|file| Some((header, file))), dead, dead_is_gone: false }
            }
            Self::Remove(dead) => {
                let removed = if disk.begin_recycling() {
                    let removed = if_there(disk.remove(&dead.name), &dead).and_then(|_| disk.sync_names());
                    disk.end_recycling();
                    removed
                } else {
                    Err(io::ErrorKind::ResourceBusy.into())
                };
                let dead_is_gone = removed.is_ok();
                Done { made: removed.map(|()| None), dead: Some(dead), dead_is_gone }
            }
        }
    }
}

/// Whether there was a file to be renamed or removed. If another program has removed a file of no use, that is no error.
fn if_there(changed: io::Result<()>, dead: &Dead) -> io::Result<bool> {
    match changed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            tracing::warn!("somebody removed {} from the store; it held nothing of use", dead.name);
            Ok(false)
        }
        changed => changed.map(|()| true),
    }
}

/// Makes a file full of zeros: its blocks are allocated and written before the file is used.
fn make(disk: &dyn Disk, header: SegmentHeader) -> io::Result<Box<dyn DiskFile>> {
    const PIECE: usize = 1 << 20;
    let file = disk.create(UNFINISHED)?;
    file.reserve(header.len)?;
    let zeros = vec![0; PIECE.min(header.len as usize)];
    let mut at = 0;
    while at < header.len {
        let len = zeros.len().min((header.len - at) as usize);
        file.write_all_at(&zeros[..len], at)?;
        at += len as u64;
    }
    finish(disk, file, header)
}

fn recycle(disk: &dyn Disk, header: SegmentHeader) -> io::Result<Box<dyn DiskFile>> {
    finish(disk, disk.open(UNFINISHED)?, header)
}

/// Completes a segment. Its header is safe before the file gets its name.
fn finish(disk: &dyn Disk, file: Box<dyn DiskFile>, header: SegmentHeader) -> io::Result<Box<dyn DiskFile>> {
    // The file is held open until the segment is full: a prepared segment must be writable whatever becomes scarce meanwhile.
    file.hold_open(true)?;
    file.write_all_at(&header.encode(), 0)?;
    file.sync()?;
    disk.rename(UNFINISHED, &name_of(header.seq))?;
    disk.sync_names()?;
    Ok(file)
}

/// The thread that does jobs, one at a time.
struct Worker {
    jobs: Sender<Job>,
    /// The mutex is there because a `Sync` type is needed: many threads may read the log before one commits to it.
    done: Mutex<Receiver<Done>>,
    thread: std::thread::JoinHandle<()>,
}

impl Worker {
    /// Starts the thread. If that fails, `None`: then the calling thread does the jobs.
    fn start(disk: Arc<dyn Disk>) -> Option<Self> {
        let (jobs, jobs_given) = channel::<Job>();
        let (tell, done) = channel();
        let work = move || {
            for job in jobs_given {
                if tell.send(job.run(&*disk)).is_err() {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new().name("store-space".to_owned()).spawn(work).ok()?;
        Some(Self { jobs, done: Mutex::new(done), thread })
    }

    fn give(&self, job: Job) {
        // A worker that panicked gives no answer, so no segment is made: the store is full then.
        let _ = self.jobs.send(job);
    }

    fn done(&self, wait: Duration) -> Option<Done> {
        let done = self.done.lock().ok()?;
        if wait.is_zero() { done.try_recv().ok() } else { done.recv_timeout(wait).ok() }
    }

    fn finish(self) {
        drop(self.jobs);
        let _ = self.thread.join();
    }
}
