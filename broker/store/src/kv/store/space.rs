//! Room: segments are made before they are needed, used again when they are dead, and given back when there are many.
//!
//! Three are kept prepared behind the active one, or more if shards want much at once. The last of them is for compaction
//! alone, so that there is always a way to make room. The one before it is for what can't be refused: acknowledgements,
//! deletes. The rest, and that of the active segment, is the room that shards are granted before they promise anything. While
//! fewer are prepared, and no more can be had, the store says that it is full: nothing is granted, and what was promised
//! by then has its room.

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

/// Prepared segments that are not for what shards promise.
const RESERVED: usize = 2;
/// Segments that are prepared, besides the active one.
const PREPARED: usize = RESERVED + 1;
/// After a failure to make a segment it is not tried again for so long.
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 4 } else { 200 });
/// Batches that were under way when the limit was reached may take so many segments more.
const BEYOND_LIMIT: u64 = 4;

pub(crate) struct Space {
    /// Wider than a number, so that it can't begin anew.
    next_seq: u64,
    worker: Option<Worker>,
    job_is_under_way: bool,
    /// When a segment could not be made, and whether of a dead one, so that not even that helps.
    failed: Option<(Instant, bool)>,
    /// When a file could not be removed because somebody copies it.
    held: Option<Instant>,
    /// Segments that a batch waits for.
    wanted: usize,
    /// How much room for promises there should be.
    pub(crate) room_wanted: u64,
    pub(crate) is_short: bool,
    /// Segments are dead, and would be of use if a list left them out.
    wants_dead: bool,
    /// Why the last segment that was wanted could not be made.
    why_short: Option<Shortage>,
}

impl Space {
    /// Jobs are done on a thread of their own if that is given a disk.
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

    /// Waits for a job that is under way.
    pub(crate) fn finish(&mut self) {
        if let Some(worker) = self.worker.take() {
            worker.finish();
        }
    }
}

/// Work on files that is not for the thread that commits.
enum Job {
    /// Makes a prepared segment, of the dead one if that is given and nobody copies it, else of a new file if that is allowed.
    Prepare {
        header: SegmentHeader,
        dead: Option<Dead>,
        may_grow: bool,
    },
    Remove(Dead),
}

/// The segments that hold nothing of use.
struct Leavers {
    /// Those that can be filled anew, the oldest first.
    dead: Vec<Dead>,
    /// One that has another length.
    unfit: Option<Dead>,
    /// How many the last list still names: they stay until it is followed by one without them.
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
    /// The dead segment is not there any more.
    dead_is_gone: bool,
}

impl LogStore {
    /// What is left of the limit where segments are prepared, beside the active one.
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

    /// What is left for what shards promise. A 64th is for headers.
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

    /// Sees to it that there are segments; waits so long for one if a batch waits. Whether some were freed.
    pub(crate) fn make_space(&mut self, wait: Duration) -> Result<bool, Failure> {
        self.tend_space(wait, true);
        if !self.space.wants_dead {
            return Ok(false);
        }
        let has_freed = self.guarded(Self::free_dead)?;
        self.tend_space(Duration::ZERO, false);
        Ok(has_freed)
    }

    /// Takes what the worker has done and gives it the next job; waits so long for it if a batch waits.
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

    /// Why there is no room, while there is none.
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
        // Without one more nothing can be deleted either: no list can be written that frees what is dead.
        let is_stuck = self.active.is_none() && self.space.next_prepared(&self.contents).is_none();
        let beyond =
            if self.space.wanted > 0 { BEYOND_LIMIT } else { u64::from(is_stuck) } * self.options.segment_bytes;
        (self.options.max_bytes + beyond).saturating_sub(bytes) / self.options.segment_bytes
    }

    fn next_job(&mut self, may_free: bool) -> Option<Job> {
        // Nothing is overwritten once a write or sync has failed: those that replace it may be lost.
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
        // The oldest first: it lets go of tombstones.
        leavers.dead.sort_unstable_by_key(|dead| dead.seq);
        leavers
    }

    /// Makes a segment, of a dead one if there is any, or makes room for one.
    fn job_for_a_segment(&mut self, leavers: Leavers, has_failed: bool) -> Option<Job> {
        let may_grow = !has_failed && self.segments_left() > 0;
        if !has_failed && !may_grow {
            // What the system said before does not count any more.
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
                    // What it took of the disk is better used elsewhere.
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

/// Whether there was a file to be renamed or removed. One of no use that somebody else has removed is no fault.
fn if_there(changed: io::Result<()>, dead: &Dead) -> io::Result<bool> {
    match changed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            tracing::warn!("somebody removed {} from the store; it held nothing of use", dead.name);
            Ok(false)
        }
        changed => changed.map(|()| true),
    }
}

/// A new file full of zeros: its blocks are there and written to before it is used.
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

/// Its header is safe before it has its name.
fn finish(disk: &dyn Disk, file: Box<dyn DiskFile>, header: SegmentHeader) -> io::Result<Box<dyn DiskFile>> {
    // Until it is full: what is prepared is there to be written to, whatever becomes scarce meanwhile.
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
    /// The mutex is for the compiler: many may read the log before one commits to it.
    done: Mutex<Receiver<Done>>,
    thread: std::thread::JoinHandle<()>,
}

impl Worker {
    /// Without a thread jobs are done by who has them.
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
        // A worker that panicked gives no answer, and no room comes of it: the store is full then.
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
