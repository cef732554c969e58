//! The options of a store.

use crate::log::{format, members};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// When appended batches are synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Before a batch is reported: nothing that was acknowledged is lost.
    Always,
    /// At the latest this long after a batch was reported. A loss of power takes at most the batches that were reported during
    /// this time before the loss: whole batches, from the end. This holds as long as a sync takes no longer than recent ones did.
    /// While a sync runs no batch is reported.
    Interval(Duration),
    /// When the system chooses to: a loss of power takes the bytes that the system had not written yet.
    Never,
}

/// Gives the broker's time and the time of day, both in milliseconds.
pub type TimeSource = Arc<dyn Fn() -> (u64, u64) + Send + std::marker::Sync>;

/// The options of a [`LogStore`](crate::LogStore).
#[derive(Clone)]
pub struct Options {
    /// When the store syncs.
    pub sync: Sync,
    /// The size of a new segment in bytes: from [`Options::SEGMENT_MIN`] to [`Options::SEGMENT_MAX`], and larger than any record.
    pub segment_bytes: u64,
    /// How many bytes all segments may take. At the limit [`Store::is_full`](crate::Store::is_full) is true. Batches that were
    /// under way then may go beyond the limit.
    pub max_bytes: u64,
    /// How many shards use the store.
    pub shards: u16,
    /// The broker's time and the time of day, both in milliseconds.
    pub time: TimeSource,
    /// Segments are made on a thread of their own. If this is false, [`Store::upkeep`](crate::Store::upkeep) makes them.
    pub thread: bool,
    /// Opening ends early, with [`OpenError::GivenUp`](crate::OpenError::GivenUp), once this is true.
    pub gives_up: Arc<AtomicBool>,
}

impl Options {
    /// Each batch is synced before it is reported; segments have 16 MiB, at most 4 GiB in all; one shard. The broker's time
    /// stands still, and the time of day is not known: both are used for [`Report`](crate::Report) only.
    pub fn new() -> Self {
        Self {
            sync: Sync::Always,
            segment_bytes: 16 << 20,
            max_bytes: 4 << 30,
            shards: 1,
            time: Arc::new(|| (0, 0)),
            thread: true,
            gives_up: Arc::default(),
        }
    }

    /// The size of the smallest segment in bytes. Only tests want one so small.
    pub const SEGMENT_MIN: u64 = 4 << 10;
    /// The size of the largest segment in bytes.
    pub const SEGMENT_MAX: u64 = 512 << 20;

    /// How many bytes of a segment a record needs besides its own length, in a store of `segments` segments.
    pub const fn segment_overhead(segments: u64) -> u64 {
        let list = members::list_size(segments as usize + members::SEGMENTS_MADE_MEANWHILE);
        (3 * format::HEADER + 2 * list + format::HEAD + format::UNIT) as u64
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}
