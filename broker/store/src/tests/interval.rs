//! Syncing at an interval, or when the system likes: what a loss of power may take, and that a failed sync ends the store.
//!
//! Time is simulated, and so is the duration of a sync. The driver waits as the committer does.

use super::*;
use crate::{Answer, Committer, Disk, DiskFile, Key, Stats, requests};
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::time::Instant;

/// A disk whose syncs take time. It shows what a loss of power may leave at the end of a sync, just before the sync counts.
#[derive(Clone)]
struct SlowDisk {
    disk: FaultyDisk,
    now: Arc<AtomicU64>,
    sync_ms: u64,
    images: Arc<Mutex<Vec<(u64, Files)>>>,
}

impl SlowDisk {
    fn new(seed: u64, sync_ms: u64) -> Self {
        let disk = FaultyDisk::new(Files::new(), seed);
        Self { disk, now: Arc::new(AtomicU64::new(1_000)), sync_ms, images: Arc::default() }
    }

    fn now(&self) -> u64 {
        self.now.load(SeqCst)
    }

    fn pass(&self, ms: u64) {
        self.now.fetch_add(ms, SeqCst);
    }

    fn take_image(&self) {
        self.images.lock().unwrap().push((self.now(), self.disk.crash()));
    }

    fn file(&self, file: Box<dyn DiskFile>, is_new: bool) -> Box<dyn DiskFile> {
        Box::new(SlowFile { disk: self.clone(), file, is_new: AtomicBool::new(is_new) })
    }

    fn options(&self, interval_ms: u64) -> Options {
        let now = self.now.clone();
        let time = move || (now.load(SeqCst), 1_800_000_000_000 + now.load(SeqCst));
        Options { time: Arc::new(time), ..options(Sync::Interval(Duration::from_millis(interval_ms))) }
    }
}

impl Disk for SlowDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.disk.open(name).map(|file| self.file(file, true))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.disk.create(name).map(|file| self.file(file, true))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.disk.sync_names()
    }
}

struct SlowFile {
    disk: SlowDisk,
    file: Box<dyn DiskFile>,
    /// The first sync of a file prepares the segment. Another thread does that, so the clock does not advance.
    is_new: AtomicBool,
}

impl DiskFile for SlowFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        if !self.is_new.swap(false, SeqCst) {
            self.disk.pass(self.disk.sync_ms);
            self.disk.take_image();
        }
        self.file.sync()
    }
}

/// Runs a workload with pauses of up to `pause_ms`, and loses power at every moment of it. Returns how many images were checked,
/// and the longest time in milliseconds whose batches were missing.
fn run(seed: u64, interval_ms: u64, sync_ms: u64, pause_ms: u64) -> (usize, u64) {
    let disk = SlowDisk::new(seed, sync_ms);
    let (mut log, _) = LogStore::open(Arc::new(disk.clone()), disk.options(interval_ms)).unwrap();
    while log.upkeep(Duration::ZERO).unwrap() {}
    let mut random = Random::new(seed);
    // States of the store, with the times at which they were reported.
    let mut history = vec![(0, Model::new())];
    let mut checked = 0;
    let mut longest = 0;
    for _ in 0..60 {
        // No batch comes for a while.
        let mut pause = random.below(pause_ms + 1);
        loop {
            let wait = log.sync_due_in().map_or(100, |due| due.as_millis() as u64).min(100);
            if pause < wait {
                disk.pass(pause);
                break;
            }
            disk.pass(wait);
            pause -= wait;
            disk.take_image();
            log.upkeep(Duration::ZERO).unwrap();
            if pause == 0 {
                break;
            }
        }
        let mut after = history.last().unwrap().1.clone();
        let batches = random_batches(&mut random, &mut after);
        append(&mut log, &batches).unwrap();
        history.push((disk.now(), after));
        disk.take_image();
        for (at, image) in std::mem::take(&mut *disk.images.lock().unwrap()) {
            let (found, report) = open_files(image);
            assert!(report.damage.is_none(), "seed {seed}: {report:?}");
            let found = contents(&found);
            // The last state that is equal: a batch may have changed nothing.
            let last = history.iter().rposition(|(_, model)| *model == found);
            let last = last.unwrap_or_else(|| panic!("seed {seed}: not a state that was"));
            if let Some((reported, _)) = history.get(last + 1).filter(|(reported, _)| *reported <= at) {
                longest = longest.max(at - reported);
                assert!(at - reported <= interval_ms, "seed {seed}: {} ms are missing at {at}", at - reported);
            }
            checked += 1;
        }
    }
    (checked, longest)
}

/// A bug of the past: the store looked for due syncs only with the next batch, or up to 100 ms late, and the duration of the
/// sync itself came on top.
#[test]
fn a_loss_of_power_takes_at_most_the_interval() {
    let mut checked = 0;
    for seed in 0..long_or(2) {
        for (interval_ms, sync_ms, pause_ms) in
            [(50, 0, 30), (50, 5, 200), (50, 40, 10), (7, 3, 20), (1_000, 30, 300), (30, 80, 10)]
        {
            let (images, longest) = run(seed, interval_ms, sync_ms, pause_ms);
            println!("interval {interval_ms} ms, sync {sync_ms} ms: {images} images, at most {longest} ms missing");
            // The store does sync at an interval, unless the disk is slower than the interval.
            let expected = if sync_ms < interval_ms { 1 } else { 0 };
            assert!(longest >= expected, "seed {seed}");
            checked += images;
        }
    }
    println!("{checked} images");
}

/// If no more batches come, the last batch is synced in time all the same, and then no sync is due.
#[test]
fn the_last_batch_is_synced_in_time() {
    let disk = SlowDisk::new(1, 4);
    let (mut log, _) = LogStore::open(Arc::new(disk.clone()), disk.options(60)).unwrap();
    let mut model = Model::new();
    for slot in 0..2 {
        assert_eq!(log.sync_due_in(), None);
        let mut batch = Batch::default();
        put(&mut model, &mut batch, key(slot), b"last");
        append(&mut log, &[batch]).unwrap();
    }
    // The first sync came at once, and showed how long a sync takes.
    let due = log.sync_due_in().unwrap();
    assert_eq!(due, Duration::from_millis(60 - 4 - 1));
    disk.pass(due.as_millis() as u64 - 1);
    log.upkeep(Duration::ZERO).unwrap();
    assert_eq!(log.sync_due_in(), Some(Duration::from_millis(1)));
    disk.pass(1);
    log.upkeep(Duration::ZERO).unwrap();
    assert_eq!(log.sync_due_in(), None);
    assert!(contents(&open_files(disk.disk.crash()).0) == model);
}

/// Each sync of a run fails in its turn. The log is poisoned, every shard hears of it, no later batch is reported, and the next
/// start has all that the system kept.
#[test]
fn a_failed_sync_poisons_the_log() {
    for sync in [Sync::Interval(Duration::from_millis(1)), Sync::Never] {
        let mut failures = 0;
        for operation in 1.. {
            let disk = FaultyDisk::new(Files::new(), operation);
            let (log, _) = open(&disk, options(sync)).unwrap();
            disk.fail_at(Some(operation));
            let (tell, told) = channel();
            let (handle, pending) = requests();
            let answer = move |shard, answer| drop(tell.send((shard, answer)));
            let committer = Committer::start((handle.clone(), pending), Box::new(log), 2, answer).unwrap();
            let (mut model, mut failed) = (Model::new(), Vec::new());
            for slot in 0..40 {
                let mut batch = Batch::default();
                batch.put_bytes(key(slot), &[slot as u8; 400]);
                handle.commit(0, slot.into(), batch);
                // Besides the failure a shard hears that there is no room, if a segment could not be made.
                let answer = told.iter().find(|(_, answer)| !matches!(answer, Answer::Full(_) | Answer::HalfFull(_)));
                match answer.unwrap() {
                    (0, Answer::Persisted { ticket, .. }) => {
                        assert_eq!(ticket, u64::from(slot));
                        model.insert(key(slot), vec![slot as u8; 400]);
                    }
                    (shard, Answer::Failed) => {
                        failed.push(shard);
                        break;
                    }
                    (_, answer) => panic!("{answer:?}"),
                }
            }
            let closed = committer.close();
            failed.extend(told.iter().filter(|(_, answer)| matches!(answer, Answer::Failed)).map(|(shard, _)| shard));
            assert_eq!(closed.is_err(), failed == [0, 1], "operation {operation}: {closed:?}, {failed:?}");
            if disk.operations() < operation {
                break;
            }
            failures += u64::from(closed.is_err());
            disk.fail_at(None);
            let found = contents(&open(&disk, options(Sync::Always)).unwrap().0);
            let more = found.len() - model.len();
            assert!(more <= 1 && model.iter().all(|(key, body)| found.get(key) == Some(body)), "operation {operation}");
        }
        assert!(failures > 5, "{failures}");
    }
}

/// A store that always has a sync due in a millisecond.
struct Impatient(Arc<AtomicU64>);

impl Store for Impatient {
    fn append(&mut self, _: &[Batch]) -> Result<(), Failure> {
        Ok(())
    }

    fn upkeep(&mut self, _: Duration) -> Result<bool, Failure> {
        self.0.fetch_add(1, SeqCst);
        Ok(false)
    }

    fn sync_due_in(&self) -> Option<Duration> {
        Some(Duration::from_millis(1))
    }

    fn is_full(&self) -> bool {
        false
    }

    fn live_bytes(&self) -> (u64, u64) {
        (0, u64::MAX)
    }

    fn room(&self) -> u64 {
        u64::MAX
    }

    fn set_room_wanted(&mut self, _: u64) {}

    fn fetch(&self, _: Key, _: &mut Vec<u8>) -> io::Result<bool> {
        Ok(false)
    }

    fn each(&self, _: u16, _: &mut dyn FnMut(Key, &[u8]) -> ControlFlow<()>) -> io::Result<()> {
        Ok(())
    }

    fn stats(&self) -> Stats {
        Stats::default()
    }

    fn close(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

/// A bug of the past: the committer called the store only ten times a second, however soon a sync was due.
#[test]
fn the_committer_does_upkeep_when_a_sync_is_due() {
    const TIMES: u64 = 100;
    let times = Arc::new(AtomicU64::new(0));
    let committer = Committer::start(requests(), Box::new(Impatient(times.clone())), 1, |_, _| {}).unwrap();
    let started = Instant::now();
    while times.load(SeqCst) < TIMES {
        std::thread::sleep(Duration::from_millis(1));
        // At ten times a second the loop would take 10 s.
        assert!(started.elapsed() < Duration::from_secs(5), "{times:?} times");
    }
    committer.close().unwrap();
}
