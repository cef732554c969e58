//! The health of a store, which every thread may read at any moment, even while the store's thread is busy.

use crate::{Shortage, Stats};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// The health of one store. The store's thread keeps it up to date.
#[derive(Debug)]
pub struct StoreHealth {
    is_full: AtomicBool,
    why_full: Mutex<Option<Shortage>>,
    has_failed: AtomicBool,
    /// Since when the thread waits for the disk, in milliseconds after `origin`; 0 while it does not wait.
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
    /// The least time between two gatherings of statistics.
    const PAUSE: Duration = Duration::from_millis(500);

    /// Whether the store is full: whether it has no room for batches that need more than they free.
    pub fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// Why the store is full; `None` if it is not.
    pub fn why_full(&self) -> Option<Shortage> {
        self.why_full.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Whether the store has failed, and accepts nothing any more.
    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    /// For how long the thread has waited for the disk. A disk that hangs causes no error, so only this shows it.
    pub fn busy_for(&self) -> Duration {
        match self.busy_since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_millis(self.millis().saturating_sub(since)),
        }
    }

    /// Records that could not be restored to their shards at the start.
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    /// The statistics of the store. They are at most half a second old, unless the thread waits for the disk.
    pub fn stats(&self) -> Stats {
        self.latest().stats.clone()
    }

    /// Notes that `records` records of a shard were left out when the shard was restored.
    pub fn leave_out(&self, records: u64) {
        self.left_out.fetch_add(records, Ordering::Relaxed);
    }

    /// Sets whether the store is full from now on, and why.
    pub fn set_full(&self, is_full: bool, why: Option<Shortage>) {
        *self.why_full.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = why;
        self.is_full.store(is_full, Ordering::Relaxed);
    }

    /// Notes that the store has failed, and accepts nothing any more.
    pub fn fail(&self) {
        self.has_failed.store(true, Ordering::Relaxed);
    }

    /// Notes that the thread waits for the disk from now on, until the result is dropped.
    pub fn begin(&self) -> Busy<'_> {
        self.busy_since.store(self.millis().max(1), Ordering::Relaxed);
        Busy(self)
    }

    /// Gathers statistics, unless the present ones are still new.
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

/// While this value exists, the thread of a store waits for the disk.
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
    fn statistics_are_gathered_less_often_than_for_each_batch() {
        let health = StoreHealth::default();
        health.refresh(|| Stats { commits: 1, ..Stats::default() });
        health.refresh(|| panic!("those there are are new"));
        assert_eq!(health.stats().commits, 1);
    }

    #[test]
    fn the_health_shows_for_how_long_the_thread_has_waited_for_the_disk() {
        let health = StoreHealth::default();
        assert_eq!(health.busy_for(), Duration::ZERO);
        let busy = health.begin();
        std::thread::sleep(Duration::from_millis(20));
        assert!(health.busy_for() >= Duration::from_millis(10));
        drop(busy);
        assert_eq!(health.busy_for(), Duration::ZERO);
    }
}
