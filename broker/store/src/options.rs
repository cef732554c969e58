//! How a store is to be.

use crate::log::{format, members};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// When what was appended is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Before it is reported: nothing that was acknowledged is lost.
    Always,
    /// So long after it was reported, at the latest: a loss of power takes at most what was acknowledged in so much time before
    /// it, whole batches from the end. As long as the disk takes no longer for a sync than it did of late; while it syncs
    /// nothing is acknowledged.
    Interval(Duration),
    /// When the system likes: a loss of power takes what it had not written yet.
    Never,
}

/// Gives the broker's time and the time of day, both in milliseconds.
pub type TimeSource = Arc<dyn Fn() -> (u64, u64) + Send + std::marker::Sync>;

/// How a [`LogStore`](crate::LogStore) is to be.
#[derive(Clone)]
pub struct Options {
    /// When it syncs.
    pub sync: Sync,
    /// The size of a new segment: from [`Options::SEGMENT_MIN`] to [`Options::SEGMENT_MAX`], and larger than any record.
    pub segment_bytes: u64,
    /// What all segments may take. At the limit [`Store::is_full`](crate::Store::is_full) tells so; what was under way comes on top.
    pub max_bytes: u64,
    /// How many shards use it.
    pub shards: u16,
    /// The broker's time and the time of day, both in milliseconds.
    pub time: TimeSource,
    /// Segments are made on a thread of their own. Without, [`Store::upkeep`](crate::Store::upkeep) does that.
    pub thread: bool,
    /// Opening ends early, with [`OpenError::GivenUp`](crate::OpenError::GivenUp), once this is true.
    pub gives_up: Arc<AtomicBool>,
}

impl Options {
    /// Each batch is synced before it is reported; segments of 16 MiB, at most 4 GiB in all, one shard. The broker's time stands
    /// still, and the time of day is not known: nothing is made of them but what [`Report`](crate::Report) tells.
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

    /// The smallest segment. Only tests want so small a one.
    pub const SEGMENT_MIN: u64 = 4 << 10;
    /// The largest segment.
    pub const SEGMENT_MAX: u64 = 512 << 20;

    /// The room that a record needs in a segment besides its own length, in a store of so many segments.
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
