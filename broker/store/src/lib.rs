//! A store of keys and bytes in a directory of files, for programs that acknowledge a message only once the message is safe.
//!
//! A record is some bytes under a [`Key`]. The last bytes put under a key count, until they are deleted. Records come in batches:
//! a [`Batch`] is safe as a whole or not at all. Batches that come while the disk is busy are written and synced together, so a
//! store with many writers needs few syncs. The store does not interpret the bytes.
//!
//! # Example
//!
//! ```
//! use goldcrest_store::{Batch, Directory, Failure, Key, LogStore, Options, Store, Sync};
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! # let path = std::env::temp_dir().join(format!("goldcrest-store-example-{}", std::process::id()));
//! let key = Key { shard: 0, kind: 1, slot: 7 };
//! let options = Options { sync: Sync::Always, max_bytes: 64 << 20, ..Options::new() };
//!
//! let (mut store, _) = LogStore::open(Arc::new(Directory::take(&path)?), options.clone())?;
//! let mut batch = Batch::default();
//! batch.put_bytes(key, b"20.5 degrees");
//! let batches = [batch];
//! loop {
//!     match store.append(&batches) {
//!         // A segment is being made ready, on a thread of its own.
//!         Err(Failure::NoRoom) => store.upkeep(Duration::from_secs(10))?,
//!         appended => break appended?,
//!     };
//! }
//! // The record is safe now, whatever happens to this process or to this machine.
//! store.close()?;
//! drop(store);
//!
//! let (store, report) = LogStore::open(Arc::new(Directory::take(&path)?), options)?;
//! assert_eq!(report.records, 1);
//! let mut bytes = Vec::new();
//! assert!(store.fetch(key, &mut bytes)?);
//! assert_eq!(bytes, b"20.5 degrees");
//! # drop(store);
//! # std::fs::remove_dir_all(&path)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How it works
//!
//! [`LogStore`] appends frames to files of one size, the segments. An index in memory says where in them the latest record of
//! each key stands, with 8 bytes for each slot. A segment in which little is live is compacted: its live records move to the
//! end of the log, and the segment is used again. A file that grows costs a journal transaction with each sync; therefore
//! segments are filled with zeros before they are used.
//!
//! # Which files belong to a store
//!
//! The log itself says so. A store has an identity, which stands in each of its segments. Each segment begins with a list of all
//! segments that belong to the log at that point, and a segment is overwritten or removed only after a list without it was
//! synced. So a start knows which files must be there. As the lists are part of the log, this holds for each prefix of it. A copy
//! that `tar` makes while another process writes either has all that the log held up to the copy's end, or its last list tells
//! what is missing. The headers of segments that were made later tell if the end of the log is missing. So does the file
//! `reached`, which is written at each start, at each stop and once a minute.
//!
//! # Reading a store while another process writes
//!
//! [`Examined`] and [`back_up`] need no agreement with the process that has the store. Segments are only ever appended to, in the
//! order of their numbers. So a reader that goes from the last byte of the last segment towards the first reads a prefix of the
//! log, whatever is appended meanwhile. Only the recycling of a segment overwrites bytes, and a lock on a file prevents that
//! meanwhile.
//!
//! # Shards
//!
//! A [`Key`] names one of several writers, its shard. [`LogStore::change_layout`] writes all records anew for another number of
//! shards. The new records stand beside the old ones until one record says that the new ones count. The old records are deleted
//! then, at the next start if the process crashes before.
//!
//! # Threads
//!
//! A [`Store`] is used by one thread. [`Committer`] is that thread for programs with several threads. Each of these hands in its
//! batches by a [`Handle`], and gets an [`Answer`] when they are safe. [`StoreHealth`] may be read by any thread at any moment.
//!
//! # What goes wrong
//!
//! - *Loss of power, or `kill -9`*: every batch that was reported is there. A batch that was not reported is there as a whole, or
//!   not at all.
//! - *Damaged bytes* cost the records they are in and no others. They are counted in [`Damage`], and copied to files
//!   `damaged-*` for whoever wants to look at them.
//! - *Missing, foreign, swapped or older files* are noticed when the store is opened: see [`Damage`].
//! - *A write or a sync that fails* ends the store with [`Failure::Poisoned`]: it is not known which of its bytes are on disk,
//!   and a second try would not tell.
//! - *No space*: the store says so before it is too late ([`Store::is_full`], [`Store::room`]), and deletes always fit.
//!
//! # Modules
//!
//! Each module may use the ones listed above it.
//!
//! ```text
//! disk     the directory: keeps few files open at once; words errors of files; says why there is no room
//! log      segments and frames: how they look, which belong to the store, how far the log was synced, reading during writes
//! kv       index, contents, recovery at start, appending, compaction, reserving room for credit
//! committer, health   the thread that takes the batches of all shards; the state of the store that any thread may read
//! tools    looking into a store, repairing, backing up, restoring
//! ```

mod committer;
mod disk;
mod error;
mod health;
mod kv;
mod log;
mod options;
mod report;
#[cfg(test)]
mod tests;
mod tools;

pub use committer::{Answer, Committer, Handle, Pending, requests};
pub use disk::shortage::{Cause, Shortage};
pub use disk::{Directory, Disk, DiskFile};
pub use error::{Failure, OpenError};
pub use health::StoreHealth;
pub use kv::batch::Batch;
pub use kv::store::LogStore;
pub use log::segment::name_of as segment_name;
pub use options::{Options, Sync, TimeSource};
pub use report::{Damage, Report, Stats, Syncs};
pub use tools::copy::{CopyError, back_up, restore};
pub use tools::examine::{Examined, repair};

use std::io;
use std::ops::ControlFlow;
use std::time::Duration;

/// The format that this version writes and reads.
pub const FORMAT: u32 = 2;

/// Names a record. Slots should be numbered densely from 0: the index has a place for each slot up to the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The owner: the index of a shard, or [`Key::COMMON`].
    pub shard: u16,
    /// Records are restored by kind, in ascending order.
    pub kind: u8,
    /// Which record of its kind.
    pub slot: u32,
}

impl Key {
    /// A value for [`Key::shard`]: the record belongs to the whole store, and stays as it is when the number of shards changes.
    /// Kinds of such records are greater than 0.
    pub const COMMON: u16 = kv::contents::COMMON_SHARD;
}

pub(crate) type ShardCount = u16;

/// A store of records. All calls come from one thread.
pub trait Store: Send {
    /// Makes all of `batches` safe together. [`Sync`] decides when they are synced.
    ///
    /// # Errors
    /// None of `batches` may be taken for safe.
    fn append(&mut self, batches: &[Batch]) -> Result<(), Failure>;

    /// Does background work: makes room, gives back room, and syncs what is due. Waits for up to `wait` for a segment if
    /// [`Store::append`] returned [`Failure::NoRoom`]. Returns whether there is more to do at once.
    ///
    /// # Errors
    /// As for [`Store::append`].
    fn upkeep(&mut self, wait: Duration) -> Result<bool, Failure>;

    /// How long the next [`Store::upkeep`] may be put off if no batch comes, so that reported batches are synced in time. `None`
    /// if no batch waits for a sync.
    fn sync_due_in(&self) -> Option<Duration>;

    /// Whether the store is full. Then no batch should be handed in that needs more room than it frees.
    fn is_full(&self) -> bool;

    /// How many bytes the live records take, and how many they may take.
    fn live_bytes(&self) -> (u64, u64);

    /// Why the store is full; `None` if it is not.
    fn why_full(&self) -> Option<Shortage> {
        None
    }

    /// How many bytes of batches are sure to find room, whatever other batches come that can't be refused.
    fn room(&self) -> u64;

    /// Says how many bytes of room there should be now, for the credit that shards have and want. [`Store::upkeep`] provides that
    /// room; if it can't, the store is full.
    fn set_room_wanted(&mut self, bytes: u64);

    /// Puts the record of `key` into `out`; false if there is none.
    ///
    /// # Errors
    /// The device fails, or the record is damaged.
    fn fetch(&self, key: Key, out: &mut Vec<u8>) -> io::Result<bool>;

    /// Passes each record of a shard to `visit` once, kinds ascending, until `visit` breaks off.
    ///
    /// # Errors
    /// The device fails.
    fn each(&self, shard: u16, visit: &mut dyn FnMut(Key, &[u8]) -> ControlFlow<()>) -> io::Result<()>;

    /// The statistics of the store: what it holds, and what it has done.
    fn stats(&self) -> Stats;

    /// Syncs everything.
    ///
    /// # Errors
    /// Batches that were not synced before may be lost.
    fn close(&mut self) -> Result<(), Failure>;
}
