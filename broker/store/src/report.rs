//! What a store holds, what was found when it was opened, and what it has done.

use std::collections::BTreeMap;
use std::time::Duration;

/// What was found when a store was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Files.
    pub segments: usize,
    /// Live records.
    pub records: u64,
    /// What a loss of power left unfinished. Nobody was told that it was safe, unless a sync was not waited for.
    pub torn_bytes: u64,
    /// What was whole once.
    pub damage: Damage,
    /// The broker's time when the store was written last.
    pub instant_ms: u64,
    /// The time of day then.
    pub wall_ms: u64,
    /// How many shards used it; 0 if it is new.
    pub shards: u16,
}

/// What cannot be read though it was written and synced. Bytes that are damaged are kept in files named
/// `damaged-SEGMENT-OFFSET`, files that don't belong to the store get `.foreign` at the end of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// How many places are damaged.
    pub places: u64,
    /// How large they are in all.
    pub bytes: u64,
    /// Records that are lost, by kind.
    pub records: BTreeMap<u8, u64>,
    /// Frames of which nobody knows what was in them.
    pub frames: u64,
    /// Numbers of segments that are not there, or only as they were at an earlier time; what they held is lost.
    pub missing: Vec<u32>,
    /// How many frames are missing from the end of the log.
    pub frames_missing: u64,
    /// Names of files that are of another store, or of another time of this one.
    pub foreign: Vec<String>,
    /// Segments that had the name of another one. Nothing is lost by that.
    pub misnamed: u64,
}

/// What a store holds and what it has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Files.
    pub segments: u64,
    /// Of them, those that are ready to be filled.
    pub prepared: u64,
    /// Of them, those that hold nothing of use.
    pub dead: u64,
    /// What all files take.
    pub bytes: u64,
    /// What of it is in use.
    pub live_bytes: u64,
    /// Live records by kind.
    pub records: BTreeMap<u8, u64>,
    /// Commits since it was opened.
    pub commits: u64,
    /// Records appended since then.
    pub appended: u64,
    /// Bytes written since then, compaction and frame headers included.
    pub written_bytes: u64,
    /// Bytes that compaction moved since then.
    pub moved_bytes: u64,
    /// How long the disk took to make safe what was written since then.
    pub syncs: Syncs,
    /// What was damaged when it was opened, and what was found to be since.
    pub damage: Damage,
    /// Whether there is no room to grow.
    pub is_full: bool,
}

/// How long syncs took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Syncs {
    /// How many there were.
    pub count: u64,
    /// All of them together.
    pub total: Duration,
    /// How many took at most as long as [`Syncs::BOUNDS`] says, and longer than the one before; those that took longer
    /// than all are counted last.
    pub buckets: [u64; Self::BOUNDS.len() + 1],
}

impl Syncs {
    /// In microseconds.
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
    fn a_sync_is_counted_in_its_bucket() {
        let mut syncs = Syncs::default();
        for micros in [0, 100, 101, 10_000_000, 10_000_001] {
            syncs.note(Duration::from_micros(micros));
        }
        assert_eq!((syncs.count, syncs.total), (5, Duration::from_micros(20_000_202)));
        assert_eq!((syncs.buckets[0], syncs.buckets[1], syncs.buckets[11], syncs.buckets[12]), (2, 1, 1, 1));
    }
}
