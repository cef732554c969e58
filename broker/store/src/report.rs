//! What a store holds, what was found when it was opened, and what it has done.

use std::collections::BTreeMap;
use std::time::Duration;

/// What was found when a store was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many segments there are.
    pub segments: usize,
    /// How many live records there are.
    pub records: u64,
    /// Bytes that a loss of power left unfinished. No batch in them was reported as safe, unless the store reports batches before
    /// they are synced.
    pub torn_bytes: u64,
    /// Bytes that were whole once, and cannot be read or are missing.
    pub damage: Damage,
    /// The broker's time when the store was written last, in milliseconds.
    pub instant_ms: u64,
    /// The time of day when the store was written last, in milliseconds since 1970.
    pub wall_ms: u64,
    /// How many shards used the store; 0 if the store is new.
    pub shards: u16,
}

/// What cannot be read though it was written and synced. Damaged bytes are copied to files named `damaged-SEGMENT-OFFSET`. Files
/// that don't belong to the store get `.foreign` at the end of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// How many places are damaged.
    pub places: u64,
    /// How many bytes the damaged places have in all.
    pub bytes: u64,
    /// How many records are lost, by kind.
    pub records: BTreeMap<u8, u64>,
    /// Frames that are damaged so that nobody knows which records were in them.
    pub frames: u64,
    /// Numbers of segments that are missing, or that are there only in an earlier state; the records they held are lost.
    pub missing: Vec<u32>,
    /// How many frames are missing from the end of the log.
    pub frames_missing: u64,
    /// Names of files that belong to another store, or to an earlier time of this one.
    pub foreign: Vec<String>,
    /// How many segments had the name of another one. Nothing is lost by that.
    pub misnamed: u64,
}

/// What a store holds and what it has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// How many segments there are.
    pub segments: u64,
    /// How many of the segments are ready to be filled.
    pub prepared: u64,
    /// How many of the segments hold nothing of use.
    pub dead: u64,
    /// Bytes that all files take.
    pub bytes: u64,
    /// Bytes of the files that live records take.
    pub live_bytes: u64,
    /// Live records by kind.
    pub records: BTreeMap<u8, u64>,
    /// Commits since the store was opened.
    pub commits: u64,
    /// Records appended since the store was opened.
    pub appended: u64,
    /// Bytes written since the store was opened, compaction and frame headers included.
    pub written_bytes: u64,
    /// Bytes that compaction moved since the store was opened.
    pub moved_bytes: u64,
    /// How long the syncs took since the store was opened.
    pub syncs: Syncs,
    /// What was damaged when the store was opened, and what was found to be damaged since.
    pub damage: Damage,
    /// Whether the store has no room to grow.
    pub is_full: bool,
}

/// How long syncs took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Syncs {
    /// How many syncs there were.
    pub count: u64,
    /// The time of all syncs together.
    pub total: Duration,
    /// How many syncs took at most the time in [`Syncs::BOUNDS`], and more than the bound before. The last bucket counts the
    /// syncs that took longer than every bound.
    pub buckets: [u64; Self::BOUNDS.len() + 1],
}

impl Syncs {
    /// The upper bounds of the buckets, in microseconds.
    pub const BOUNDS: [u64; 12] =
        [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 1_000_000, 10_000_000];

    pub(crate) fn note(&mut self, took: Duration) {
        self.count += 1;
        self.total += took;
        let bucket = Self::BOUNDS.iter().position(|bound| took.as_micros() <= u128::from(*bound));
        self.buckets[bucket.unwrap_or(Self::BOUNDS.len())] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_duration_of_a_sync_is_counted_in_its_bucket() {
        let mut syncs = Syncs::default();
        for micros in [0, 100, 101, 10_000_000, 10_000_001] {
            syncs.note(Duration::from_micros(micros));
        }
        assert_eq!((syncs.count, syncs.total), (5, Duration::from_micros(20_000_202)));
        assert_eq!((syncs.buckets[0], syncs.buckets[1], syncs.buckets[11], syncs.buckets[12]), (2, 1, 1, 1));
    }
}
