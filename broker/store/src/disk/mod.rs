//! The files under the store, behind a trait: tests put a file system under it that loses and tears what was not
//! synced.

pub(crate) mod file_error;
mod open_files;
pub(crate) mod shortage;

use crate::disk::file_error::{Needs, about, because};
use crate::disk::open_files::{FILE_MODE, OpenFiles};
use rustix::io::Errno;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Once};

/// One directory of files.
///
/// What was written to a file is safe after it was synced; that a name was given, changed or taken away, after
/// [`Disk::sync_names`].
pub trait Disk: Send + Sync {
    /// The names of all files.
    ///
    /// # Errors
    /// The directory cannot be read.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// There is none, or it cannot be opened.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Makes an empty file; one of that name is emptied.
    ///
    /// # Errors
    /// There is no room, or it is not allowed.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Gives a file another name.
    ///
    /// # Errors
    /// There is no file `from`, or the directory cannot be changed.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Takes a file away.
    ///
    /// # Errors
    /// There is none, or the directory cannot be changed.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes all changes of names safe.
    ///
    /// # Errors
    /// The device fails.
    fn sync_names(&self) -> io::Result<()>;

    /// Asks leave to overwrite or remove files that are no longer needed. False while somebody copies them.
    fn begin_recycling(&self) -> bool {
        true
    }

    /// Ends what [`Disk::begin_recycling`] began.
    fn end_recycling(&self) {}
}

/// One file of a [`Disk`].
#[allow(clippy::len_without_is_empty, reason = "nobody asks")]
pub trait DiskFile: Send + Sync {
    /// Its length in bytes.
    ///
    /// # Errors
    /// The device fails.
    fn len(&self) -> io::Result<u64>;

    /// Reads into `buffer`, perhaps less than would fit; 0 at the end.
    ///
    /// # Errors
    /// The device fails.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes `bytes`, perhaps not all of them. Says how many.
    ///
    /// # Errors
    /// The device fails, or there is no room.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Takes so many bytes of the device for the file, so that a lack of them shows before any is written; as far as the file
    /// system can do that.
    ///
    /// # Errors
    /// There is no room.
    fn reserve(&self, len: u64) -> io::Result<()> {
        let _ = len;
        Ok(())
    }

    /// Makes what was written safe, and the length of the file.
    ///
    /// # Errors
    /// The device fails: what of it is there is not known then, and another call will not tell.
    fn sync(&self) -> io::Result<()>;

    /// Keeps it open from now on, so that no use of it lacks a descriptor; or lets it be closed and opened as others are used.
    ///
    /// # Errors
    /// It cannot be opened.
    fn hold_open(&self, is_held: bool) -> io::Result<()> {
        let _ = is_held;
        Ok(())
    }
}

impl dyn DiskFile + '_ {
    /// Fills `buffer` as far as the file reaches; how far.
    pub(crate) fn read_all_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// Writes all of `bytes`.
    pub(crate) fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut written = 0;
        while written < bytes.len() {
            match self.write_at(&bytes[written..], offset + written as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A directory of the file system. While it is there no other process has the store.
///
/// What is made in it is for its owner alone, as are the directory itself and those above it that had to be made.
pub struct Directory {
    path: PathBuf,
    handle: File,
    files: Arc<OpenFiles>,
    locks: Option<Locks>,
}

/// Of who writes.
struct Locks {
    /// Locked for as long as the store is open.
    _lock: File,
    /// Locked by a backup while it copies, and here while files are recycled.
    recycling: Mutex<File>,
}

/// Their names are those of no segments. A lock is on the open file, so a process that dies leaves nothing behind.
const LOCK: &str = "lock";
const RECYCLING: &str = "recycling";

const DIRECTORY_MODE: u32 = 0o700;

impl Directory {
    /// How many files it has open at most: its own, those that may be closed, those that are written or are prepared for that,
    /// and some for a moment.
    pub const DESCRIPTORS: u64 = OpenFiles::MOST as u64 + 16;

    /// Takes the directory `path` for this process alone, and makes it if it is not there.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`]: another process has it. Else it cannot be made or written to.
    pub fn take(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path).map_err(of_directory(path))?;
        let lock = lock_file(path, LOCK)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => return Err(no_lock(&path.join(LOCK), &error)),
        }
        let recycling = Mutex::new(lock_file(path, RECYCLING)?);
        let locks = Some(Locks { _lock: lock, recycling });
        Self::new(path, locks)
    }

    /// The directory for reading only, whoever else has it. Nothing in it is changed.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    pub fn look_at(path: &Path) -> io::Result<Self> {
        Self::new(path, None)
    }

    fn new(path: &Path, locks: Option<Locks>) -> io::Result<Self> {
        let handle = File::open(path).map_err(of_directory(path))?;
        if !handle.metadata().map_err(of_directory(path))?.is_dir() {
            return Err(of_directory(path)(Errno::NOTDIR.into()));
        }
        let files = OpenFiles::new(path.to_owned(), locks.is_some());
        Ok(Self { path: path.to_owned(), handle, files, locks })
    }

    /// Whether others than the owner may enter it.
    ///
    /// # Errors
    /// The directory cannot be asked.
    pub fn is_open_to_others(&self) -> io::Result<bool> {
        Ok(self.handle.metadata()?.mode() & 0o077 != 0)
    }

    /// Whether nothing is in it but what taking it made.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.list()?.iter().all(|name| [LOCK, RECYCLING].contains(&name.as_str())))
    }

    /// Lets nobody recycle or remove a file until the result is dropped. What is under way is waited for.
    ///
    /// # Errors
    /// The lock cannot be had.
    pub(crate) fn hold(&self) -> io::Result<Hold> {
        let path = self.path.join(RECYCLING);
        match File::open(&path) {
            Ok(file) => match file.lock_shared() {
                Ok(()) => Ok(Hold(Some(file))),
                Err(error) => Err(no_lock(&path, &error)),
            },
            // Nobody ever wrote here: it is a backup.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Hold(None)),
            Err(error) => Err(about(&path, Needs::File, error)),
        }
    }
}

/// See [`Directory::hold`]. The lock goes with the file.
pub(crate) struct Hold(#[expect(dead_code, reason = "it is there for its lock")] Option<File>);

fn lock_file(path: &Path, name: &str) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let path = path.join(name);
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(&path)
        .map_err(|error| about(&path, Needs::File, error))
}

fn of_directory(path: &Path) -> impl Fn(io::Error) -> io::Error {
    move |error| about(path, Needs::Store, error)
}

/// Why a file cannot be locked, though nobody else has the lock.
fn no_lock(path: &Path, error: &io::Error) -> io::Error {
    let cause = match Errno::from_io_error(error) {
        Some(Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
            "this file system has no locks, or its lock service does not answer; the store needs one that has them"
        }
        _ => "the lock cannot be had",
    };
    because(path, cause, error)
}

/// What reserving room came to. A file system, or a sandbox, that does not offer it is no lack of room: a warning tells it once.
pub(crate) fn reserved(result: Result<(), Errno>) -> io::Result<()> {
    static WARNING: Once = Once::new();
    match result {
        Err(error @ (Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM | Errno::NODEV | Errno::INVAL)) => {
            WARNING.call_once(|| {
                tracing::warn!(%error, "the file system of the store reserves no room: a full disk shows only at a write");
            });
            Ok(())
        }
        result => Ok(result?),
    }
}

/// What syncing a directory came to. Some file systems cannot (CIFS, FUSE, vboxsf, exFAT): a warning tells it once.
fn names_synced(result: io::Result<()>) -> io::Result<()> {
    static WARNING: Once = Once::new();
    match result {
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS)) => {
            WARNING.call_once(|| {
                tracing::warn!(%error, "the file system of the store syncs no directories: a power cut may lose names of files");
            });
            Ok(())
        }
        result => result,
    }
}

impl Disk for Directory {
    fn list(&self) -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(&self.path).map_err(of_directory(&self.path))?;
        let names = entries.filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose());
        names.collect::<io::Result<_>>().map_err(of_directory(&self.path))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.files.open(name)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.files.create(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.files.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let path = self.path.join(name);
        std::fs::remove_file(&path).map_err(|error| about(&path, Needs::Directory, error))
    }

    fn sync_names(&self) -> io::Result<()> {
        names_synced(self.handle.sync_all()).map_err(of_directory(&self.path))
    }

    fn begin_recycling(&self) -> bool {
        let file = self.locks.as_ref().and_then(|locks| locks.recycling.lock().ok());
        file.is_some_and(|file| file.try_lock().is_ok())
    }

    fn end_recycling(&self) {
        if let Some(file) = self.locks.as_ref().and_then(|locks| locks.recycling.lock().ok()) {
            let _ = file.unlock();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_that_reserves_no_room_is_not_full() {
        for error in [Errno::PERM, Errno::NODEV, Errno::INVAL, Errno::OPNOTSUPP, Errno::NOSYS] {
            assert!(reserved(Err(error)).is_ok(), "{error}");
        }
        for error in [Errno::NOSPC, Errno::DQUOT, Errno::IO] {
            assert!(reserved(Err(error)).is_err(), "{error}");
        }
    }

    #[test]
    fn a_file_system_that_syncs_no_directories_is_used_all_the_same() {
        for error in [Errno::INVAL, Errno::NOTSUP, Errno::NOSYS] {
            assert!(names_synced(Err(error.into())).is_ok(), "{error}");
        }
        assert!(names_synced(Err(Errno::IO.into())).is_err());
    }

    #[test]
    fn a_file_system_without_locks_and_the_file_are_named() {
        for error in [Errno::NOLCK, Errno::OPNOTSUPP] {
            let words = no_lock(Path::new("/data/lock"), &error.into()).to_string();
            assert!(words.starts_with("/data/lock: ") && words.contains("no locks"), "{words}");
        }
    }

    #[test]
    fn an_error_names_the_file_and_keeps_its_kind() {
        let error = Directory::look_at(&std::env::temp_dir()).unwrap().open("00000001.segment").err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("00000001.segment"), "{error}");
    }
}
