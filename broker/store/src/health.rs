//! What others may know of a store at any moment, whatever its thread is busy with.

use crate::{Shortage, Stats};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Of one store; its thread keeps it up to date.
#[derive(Debug)]
pub struct StoreHealth {
    is_full: AtomicBool,
    why_full: Mutex<Option<Shortage>>,
    has_failed: AtomicBool,
    /// In milliseconds after `origin`, since when the thread waits for the disk; 0 while it does not.
    busy_since: AtomicU64,
    left_out: AtomicU64,
    origin: Instant,
    latest: Mutex<Latest>,
}

#[derive(Debug, Default)]
struct Latest {
    stats: Stats,
    taken: Option<Instant>,
}

impl Default for StoreHealth {
    fn default() -> Self {
        Self {
            is_full: AtomicBool::new(false),
            why_full: Mutex::default(),
            has_failed: AtomicBool::new(false),
            busy_since: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
            origin: Instant::now(),
            latest: Mutex::default(),
        }
    }
}

impl StoreHealth {
    /// Statistics are gathered anew at most so often.
    const PAUSE: Duration = Duration::from_millis(500);

    /// Whether there is no room for what needs more of it.
    pub fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// Why it has none.
    pub fn why_full(&self) -> Option<Shortage> {
        self.why_full.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Whether it takes nothing any more.
    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    /// For how long the thread has waited for the disk: a disk that hangs fails nothing, and ends nothing.
    pub fn busy_for(&self) -> Duration {
        match self.busy_since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_millis(self.millis().saturating_sub(since)),
        }
    }

    /// Records that could not be given back to their shards at the start.
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    /// What it holds and has done, as of half a second ago at most unless the thread waits for the disk.
    pub fn stats(&self) -> Stats {
        self.latest().stats.clone()
    }

    /// A shard was given back its records, but for so many.
    pub fn leave_out(&self, records: u64) {
        self.left_out.fetch_add(records, Ordering::Relaxed);
    }

    /// There is no room from now on, with why; or there is again.
    pub fn set_full(&self, is_full: bool, why: Option<Shortage>) {
        *self.why_full.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = why;
        self.is_full.store(is_full, Ordering::Relaxed);
    }

    /// Nothing is taken any more.
    pub fn fail(&self) {
        self.has_failed.store(true, Ordering::Relaxed);
    }

    /// The thread waits for the disk from now on, until what this gives is dropped.
    pub fn begin(&self) -> Busy<'_> {
        self.busy_since.store(self.millis().max(1), Ordering::Relaxed);
        Busy(self)
    }

    /// Takes statistics, if those there are are not new.
    pub(crate) fn refresh(&self, stats: impl FnOnce() -> Stats) {
        let mut latest = self.latest();
        if latest.taken.is_none_or(|taken| taken.elapsed() >= Self::PAUSE) {
            *latest = Latest { stats: stats(), taken: Some(Instant::now()) };
        }
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn latest(&self) -> MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The thread of a store waits for the disk while this is there.
pub struct Busy<'v>(&'v StoreHealth);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy_since.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_not_gathered_for_each_batch() {
        let health = StoreHealth::default();
        health.refresh(|| Stats { commits: 1, ..Stats::default() });
        health.refresh(|| panic!("those there are are new"));
        assert_eq!(health.stats().commits, 1);
    }

    #[test]
    fn who_waits_for_the_disk_is_seen_to() {
        let health = StoreHealth::default();
        assert_eq!(health.busy_for(), Duration::ZERO);
        let busy = health.begin();
        std::thread::sleep(Duration::from_millis(20));
        assert!(health.busy_for() >= Duration::from_millis(10));
        drop(busy);
        assert_eq!(health.busy_for(), Duration::ZERO);
    }
}
