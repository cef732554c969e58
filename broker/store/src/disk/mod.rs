//! The files under the store, behind a trait. Tests put a file system under the store that loses and tears bytes that were not
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
/// Bytes that were written to a file are safe after [`DiskFile::sync`]. The making, renaming and removing of files is safe after
/// [`Disk::sync_names`].
pub trait Disk: Send + Sync {
    /// The names of all files.
    ///
    /// # Errors
    /// The directory cannot be read.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// There is no such file, or it cannot be opened.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Makes an empty file. If there is a file of that name, it is emptied.
    ///
    /// # Errors
    /// There is no room, or no permission.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Gives a file another name.
    ///
    /// # Errors
    /// There is no file `from`, or the directory cannot be changed.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// There is no such file, or the directory cannot be changed.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes the making, renaming and removing of files safe.
    ///
    /// # Errors
    /// The device fails.
    fn sync_names(&self) -> io::Result<()>;

    /// Asks for permission to overwrite or remove files that are no longer needed. False while another process copies them.
    fn begin_recycling(&self) -> bool {
        true
    }

    /// Ends the permission that [`Disk::begin_recycling`] gave.
    fn end_recycling(&self) {}
}

/// One file of a [`Disk`].
#[allow(clippy::len_without_is_empty, reason = "nobody asks")]
pub trait DiskFile: Send + Sync {
    /// The length of the file in bytes.
    ///
    /// # Errors
    /// The device fails.
    fn len(&self) -> io::Result<u64>;

    /// Reads into `buffer`, perhaps less than would fit. Returns how many bytes were read; 0 at the end of the file.
    ///
    /// # Errors
    /// The device fails.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes `bytes`, perhaps not all of them. Returns how many.
    ///
    /// # Errors
    /// The device fails, or there is no room.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Reserves so many bytes of the device for the file, so that a lack of room shows before anything is written. Does nothing
    /// where the file system does not offer that.
    ///
    /// # Errors
    /// There is no room.
    fn reserve(&self, len: u64) -> io::Result<()> {
        let _ = len;
        Ok(())
    }

    /// Makes the bytes that were written and the length of the file safe.
    ///
    /// # Errors
    /// The device fails. It is not known then which bytes are on the device, and another call will not tell.
    fn sync(&self) -> io::Result<()>;

    /// `true` keeps the file open from now on, so that using it never needs a new file descriptor. `false` lets it be closed and
    /// opened as other files are.
    ///
    /// # Errors
    /// The file cannot be opened.
    fn hold_open(&self, is_held: bool) -> io::Result<()> {
        let _ = is_held;
        Ok(())
    }
}

impl dyn DiskFile + '_ {
    /// Fills `buffer` as far as the file reaches. Returns how many bytes were read.
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

/// A directory of the file system. While a value from [`Directory::take`] exists no other process can take the same directory.
///
/// Only the owner can access files that are made in the directory. The same holds for the directory itself and the parents that
/// had to be made.
pub struct Directory {
    path: PathBuf,
    handle: File,
    files: Arc<OpenFiles>,
    locks: Option<Locks>,
}

/// The locks of the process that writes.
struct Locks {
    /// Locked for as long as the store is open.
    _lock: File,
    /// Locked by a backup while it copies, and here while files are recycled.
    recycling: Mutex<File>,
}

/// The names of the lock files, which no segment has. A lock is on the open file, so a process that dies leaves nothing behind.
const LOCK: &str = "lock";
const RECYCLING: &str = "recycling";

const DIRECTORY_MODE: u32 = 0o700;

impl Directory {
    /// How many files the directory has open at most: its own locks, the files that may be closed, those that are written or
    /// prepared for writing, and a few for a moment.
    pub const DESCRIPTORS: u64 = OpenFiles::MOST as u64 + 16;

    /// Takes the directory `path` for this process alone, and makes the directory if there is none.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`]: another process has the directory. Any other error: it cannot be made or written to.
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

    /// Opens the directory for reading only, even while another process has it. Nothing in it is changed.
    ///
    /// # Errors
    /// The directory does not exist, or cannot be read.
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

    /// Whether users other than the owner may enter the directory.
    ///
    /// # Errors
    /// The permissions of the directory cannot be read.
    pub fn is_open_to_others(&self) -> io::Result<bool> {
        Ok(self.handle.metadata()?.mode() & 0o077 != 0)
    }

    /// Whether the directory is empty but for the files that [`Directory::take`] made.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.list()?.iter().all(|name| [LOCK, RECYCLING].contains(&name.as_str())))
    }

    /// Keeps every process from recycling or removing a file until the result is dropped. A recycling that is under way is waited
    /// for.
    ///
    /// # Errors
    /// The lock cannot be obtained.
    pub(crate) fn hold(&self) -> io::Result<Hold> {
        let path = self.path.join(RECYCLING);
        match File::open(&path) {
            Ok(file) => match file.lock_shared() {
                Ok(()) => Ok(Hold(Some(file))),
                Err(error) => Err(no_lock(&path, &error)),
            },
            // No store was ever open here for writing: the directory is a backup.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Hold(None)),
            Err(error) => Err(about(&path, Needs::File, error)),
        }
    }
}

/// See [`Directory::hold`]. The lock ends when the file is closed.
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

/// Why a file cannot be locked although no other process has the lock.
fn no_lock(path: &Path, error: &io::Error) -> io::Error {
    let cause = match Errno::from_io_error(error) {
        Some(Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
            "this file system has no locks, or its lock service does not answer; the store needs one that has them"
        }
        _ => "the lock cannot be had",
    };
    because(path, cause, error)
}

/// The result of reserving room. A file system or a sandbox that does not offer it counts as a success, not as a lack of room. A
/// warning is logged once.
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

/// The result of syncing a directory. Some file systems cannot sync directories (CIFS, FUSE, vboxsf, exFAT): a warning is logged
/// once.
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
    fn a_file_system_without_fallocate_is_not_taken_for_full() {
        for error in [Errno::PERM, Errno::NODEV, Errno::INVAL, Errno::OPNOTSUPP, Errno::NOSYS] {
            assert!(reserved(Err(error)).is_ok(), "{error}");
        }
        for error in [Errno::NOSPC, Errno::DQUOT, Errno::IO] {
            assert!(reserved(Err(error)).is_err(), "{error}");
        }
    }

    #[test]
    fn a_file_system_that_cannot_sync_directories_is_used_all_the_same() {
        for error in [Errno::INVAL, Errno::NOTSUP, Errno::NOSYS] {
            assert!(names_synced(Err(error.into())).is_ok(), "{error}");
        }
        assert!(names_synced(Err(Errno::IO.into())).is_err());
    }

    #[test]
    fn the_error_names_a_file_system_without_locks_and_the_file() {
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
