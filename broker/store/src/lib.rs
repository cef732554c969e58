//! A store of keys and bytes in a directory of files, for programs that answer only once what they were told is safe.
//!
//! A record is some bytes under a [`Key`]; the last bytes put there count, until they are deleted. Records come in batches: a
//! [`Batch`] is safe as a whole or not at all. Batches that come while the disk is busy are written and synced together, so a
//! store with many writers needs few syncs. The store takes what is in the bytes for nothing but bytes.
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
//!         // A segment is made ready, on a thread of its own.
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
//! The log says so itself. A store has an identity, which stands in each of its segments. Each segment begins with a list of all
//! segments that belong to the log at that point, and a segment is overwritten or removed only after a list without it was synced.
//! So a start knows which files must be there. As the lists are part of the log, this holds for each prefix of it: a copy that
//! `tar` makes while somebody writes has all that the log had where the copy ends, or its last list tells what is missing. That the
//! end of the log is missing tell the headers of segments that were made later, and the file `reached`, which is written at each
//! start, at each stop and once a minute.
//!
//! # Reading a store that somebody writes
//!
//! [`Examined`] and [`back_up`] need no word with the process that has the store. Segments are only ever appended to, in the order of
//! their numbers. So whoever reads from the last byte of the last segment towards the first reads a prefix of the log, whatever is
//! appended meanwhile. Using a segment again is the one thing that overwrites, and a lock on a file keeps it away.
//!
//! # Shards
//!
//! A [`Key`] names one of several writers, its shard. [`LogStore::change_layout`] writes all records anew for another number of
//! shards: they stand beside the old ones until one record says that the new ones count, and what is left of the old is deleted, after a
//! crash too.
//!
//! # Threads
//!
//! A [`Store`] is used by one thread. [`Committer`] is that thread for programs with several: each hands in its batches by a
//! [`Handle`], and hears an [`Answer`] when they are safe. [`StoreHealth`] may be read by anybody at any moment.
//!
//! # What goes wrong
//!
//! - *Loss of power, or `kill -9`*: what was reported is there; what was not is there as a whole batch, or not at all.
//! - *Damaged bytes* cost the records they are in and no others. They are counted in [`Damage`], and copied to files
//!   `damaged-*` for whoever wants to look at them.
//! - *Missing, foreign, swapped or older files* are found out when the store is opened: see [`Damage`].
//! - *A write or a sync that fails* ends the store with [`Failure::Poisoned`]: what of it is on disk is not known, and a second
//!   try would not tell.
//! - *No space*: the store says so before it is too late ([`Store::is_full`], [`Store::room`]), and deletes always fit.
//!
//! # Rooms
//!
//! Each may use those above it.
//!
//! ```text
//! disk     the directory: few of its files are open at once; what is told where one of them fails; why there is no room
//! log      segments and frames: how they look, which belong to the store, how far it had come, reading one that others write
//! kv       index, contents, recovery at start, appending, compaction, room for what was promised
//! committer, health   the thread that all hand in to; what others may know of it
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

/// The format that is written and read.
pub const FORMAT: u32 = 2;

/// What a record is about. Slots are counted densely from 0: the index has a place for each up to the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Whose it is: the index of a shard, or [`Key::COMMON`].
    pub shard: u16,
    /// Records are restored by kind, in ascending order.
    pub kind: u8,
    /// Which one of its kind.
    pub slot: u32,
}

impl Key {
    /// In place of a shard: the record belongs to the whole store, and stays as it is when the number of shards changes. Kinds of such
    /// records are greater than 0.
    pub const COMMON: u16 = kv::contents::COMMON_SHARD;
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

    /// Says how much room there should be now, for the credit that shards have and want. [`Store::upkeep`] sees to that; if it can't, the store is full.
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
