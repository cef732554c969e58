//! The store: what must survive a restart, in a directory of files.
//!
//! To a store a record is a [`Key`] and some bytes. Shards hand in a [`Batch`] each; the batches that came while the last
//! ones were synced are written and synced together, and are safe together or not at all. That is a [`Store`], and the
//! one there is is the [`Log`]:
//!
//! ```text
//! format, batch   how records, frames and segments look
//! segment, index  the files, and where in them the latest record of each key stands
//! log, draft      appending: fill a segment, close it, go on in the next one, which is there already
//! space           making, recycling and removing segments; when there is no room
//! shortage        why there is no room
//! compact         moving what is live out of segments that are mostly dead
//! members         which segments belong to it; reached: how far it had come; given_up: which it lost
//! scan, recover   reading all of it at start: what is torn, what is damaged, what counts
//! committer       the thread that all shards hand their batches to; vitals: what others may know of it
//! disk, open_files, file_error  the directory, of whose files few are open at once; what is told where one of them fails
//! snapshot, copy  reading and copying a store that somebody writes to; restoring
//! layout          which shards its records are of, and changing that as a whole
//! examine         what is in a store, and repairing it
//! ```
//!
//! A file that grows costs a journal transaction with each sync. Therefore segments are filled with zeros before they
//! are used, and used again when nothing in them is live.

mod batch;
mod clock;
mod committer;
mod compact;
mod contents;
mod copy;
mod disk;
mod draft;
mod examine;
mod file_error;
mod format;
mod given_up;
mod health;
mod index;
mod layout;
mod log;
mod members;
mod open_files;
mod reached;
mod recover;
mod scan;
mod segment;
mod shortage;
mod snapshot;
mod space;
#[cfg(test)]
mod tests;

pub use batch::Batch;
pub use clock::{Doubt, WallClock, downtime};
pub use committer::{Answer, Committer, Handle, Pending, requests};
pub use copy::{CopyError, back_up, restore};
pub use disk::{Directory, Disk, DiskFile};
pub use examine::{Examined, repair};
pub use format::FORMAT;
pub use health::{StoreHealth, Syncs};
pub use log::Log;
pub(crate) use segment::name_of as segment_name;
pub use shortage::{Cause, Shortage};

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// What a record is about. Slots are counted densely from 0: the index has a place for each up to the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Whose it is.
    pub shard: u16,
    /// Records are restored by kind, in ascending order.
    pub kind: u8,
    /// Which one of its kind.
    pub slot: u32,
}

pub(crate) type ShardCount = u16;

/// What keeps records. All is done on one thread.
pub trait Store: Send {
    /// Makes all of `batches` safe, together; how safe is a matter of [`Sync`].
    ///
    /// # Errors
    /// Nothing of it may be taken for safe.
    fn append(&mut self, batches: &[Batch]) -> Result<(), Failure>;

    /// Does work that is due besides: makes room, gives back room, syncs what waits. Waits for up to `wait` if
    /// [`Store::append`] said [`Failure::NoRoom`]. Whether there is more to do at once.
    ///
    /// # Errors
    /// As for [`Store::append`].
    fn upkeep(&mut self, wait: Duration) -> Result<bool, Failure>;

    /// How long [`Store::upkeep`] may be put off, if nothing is handed in, so that what was reported is synced in time; `None`
    /// if nothing waits for that.
    fn sync_due_in(&self) -> Option<Duration>;

    /// Whether nothing should be handed in that needs more room than it frees.
    fn is_full(&self) -> bool;

    /// How many bytes of records are in use, and how many can be.
    fn live_bytes(&self) -> (u64, u64);

    /// Why it is full.
    fn why_full(&self) -> Option<Shortage> {
        None
    }

    /// How many bytes of batches are sure to find room, whatever else is handed in that can't be refused.
    fn room(&self) -> u64;

    /// Says how much of that there should be now. [`Store::upkeep`] sees to that; if it can't, the store is full.
    fn set_room_wanted(&mut self, bytes: u64);

    /// Puts the record of `key` into `out`; false if there is none.
    ///
    /// # Errors
    /// The device fails, or the record is damaged.
    fn fetch(&self, key: Key, out: &mut Vec<u8>) -> io::Result<bool>;

    /// Shows each record of a shard once, kinds ascending, until `visit` breaks off.
    ///
    /// # Errors
    /// The device fails.
    fn each(&self, shard: u16, visit: &mut dyn FnMut(Key, &[u8]) -> ControlFlow<()>) -> io::Result<()>;

    /// What is in it, and what it has done.
    fn stats(&self) -> Stats;

    /// Syncs everything.
    ///
    /// # Errors
    /// What was not synced before may be lost.
    fn close(&mut self) -> Result<(), Failure>;
}

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

/// How a [`Log`] is to be.
#[derive(Clone)]
pub struct Options {
    /// When it syncs.
    pub sync: Sync,
    /// The size of a new segment: from [`Options::SEGMENT_MIN`] to [`Options::SEGMENT_MAX`], and larger than any record.
    pub segment_bytes: u64,
    /// What all segments may take. At the limit [`Store::is_full`] tells so; what was under way comes on top.
    pub max_bytes: u64,
    /// How many shards use it.
    pub shards: u16,
    /// The broker's time and the time of day, both in milliseconds.
    pub time: TimeSource,
    /// Segments are made on a thread of their own. Without, [`Store::upkeep`] does that.
    pub thread: bool,
    /// Opening ends early, with [`OpenError::GivenUp`], once this is true.
    pub gives_up: Arc<AtomicBool>,
}

impl Options {
    /// The smallest segment. Only tests want so small a one.
    pub const SEGMENT_MIN: u64 = 4 << 10;
    /// The largest segment.
    pub const SEGMENT_MAX: u64 = 512 << 20;

    /// The room that a record needs in a segment besides its own length, in a store of so many segments.
    pub const fn segment_overhead(segments: u64) -> u64 {
        let list = members::list_size(segments as usize + log::SEGMENTS_MADE_MEANWHILE);
        (3 * format::HEADER + 2 * list + format::HEAD + format::UNIT) as u64
    }
}

/// Why records were not made safe.
#[derive(Debug)]
pub enum Failure {
    /// There is no room now. Nothing was written; the same may succeed after [`Store::upkeep`].
    NoRoom,
    /// No segment can hold a record of this size.
    TooLarge(usize),
    /// A write or a sync failed, now or before. What of it is on disk is not known, and a second try would not tell: the
    /// store takes nothing more until it is opened anew.
    Poisoned(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoom => write!(f, "there is no room"),
            Self::TooLarge(size) => write!(f, "a record of {size} bytes is larger than a segment"),
            Self::Poisoned(error) => write!(f, "the store could not be written: {error}"),
        }
    }
}

impl std::error::Error for Failure {}

/// Why a store could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// Another process has it.
    InUse,
    /// A newer program wrote it. It was left as it is.
    Newer {
        /// The first file of that format.
        file: String,
        /// Its format.
        format: u32,
    },
    /// A program before this one wrote it. It was left as it is.
    Older {
        /// The first file of that format.
        file: String,
        /// Its format.
        format: u32,
    },
    /// Copying to it was begun and not finished: a part of the store is missing.
    Unfinished,
    /// Whoever wanted it does not any more: see [`Options::gives_up`].
    GivenUp,
    /// A file cannot be read or written.
    Io(String, io::Error),
}

impl OpenError {
    /// Whether the process or the system has no descriptor left for a file.
    pub(crate) fn lacks_descriptors(&self) -> bool {
        matches!(self, Self::Io(_, error) if Shortage::of(error).cause == Cause::Descriptors)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse => write!(f, "another process uses the store"),
            Self::Newer { file, format } => write!(
                f,
                "{file} has format {format}, and this program knows format {FORMAT}: a newer one wrote it; nothing was changed"
            ),
            Self::Older { file, format } => write!(
                f,
                "{file} has format {format}, and this program knows format {FORMAT}: an older one wrote it, and can read it; \
                 nothing was changed"
            ),
            Self::Unfinished => {
                write!(f, "a backup or restore to it was not finished; empty the directory and begin again")
            }
            Self::GivenUp => write!(f, "reading it was given up"),
            Self::Io(what, error) => match file_error::in_directory(error) {
                Some(error) => write!(f, "{error}"),
                None => write!(f, "{what}: {error}"),
            },
        }
    }
}

impl std::error::Error for OpenError {}

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
