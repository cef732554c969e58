//! Files of a directory, few of which are open at once: a store may have more segments than a process may have open files.
//!
//! A file is opened when it is used; then the open file that was not used for longest is closed. A file stays open while it has
//! bytes that are not synced, since an error of the device might be reported to that descriptor only. A file also stays open
//! while it is [held](super::DiskFile::hold_open).

use crate::disk::file_error::{Needs, about, errno};
use crate::disk::{DiskFile, reserved};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

/// Only the owner may read and write a file.
pub(crate) const FILE_MODE: u32 = 0o600;

pub(crate) struct OpenFiles {
    directory: PathBuf,
    is_writable: bool,
    /// Held while a name changes, so that nobody opens a file under its old name.
    names: RwLock<()>,
    table: Mutex<FileTable>,
}

#[derive(Default)]
struct FileTable {
    files: BTreeMap<u64, Entry>,
    /// The files that are open; the one that was used last is last.
    open: Vec<u64>,
    next: u64,
}

struct Entry {
    name: String,
    file: Option<Arc<File>>,
    is_held: bool,
    /// How many writes there were to this file.
    written: u64,
    /// How many of the writes are synced.
    synced: u64,
}

impl OpenFiles {
    /// How many files that may be closed at any moment are open at most.
    pub(crate) const MOST: usize = 16;

    pub(crate) fn new(directory: PathBuf, is_writable: bool) -> Arc<Self> {
        Arc::new(Self { directory, is_writable, names: RwLock::default(), table: Mutex::default() })
    }

    pub(crate) fn open(self: &Arc<Self>, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.add(name, OpenOptions::new().read(true).write(self.is_writable))
    }

    pub(crate) fn create(self: &Arc<Self>, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.add(name, OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(FILE_MODE))
    }

    /// Renames a file on disk, and its entry here.
    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let _names = self.names.write();
        let path = self.directory.join(from);
        let renamed = std::fs::rename(&path, self.directory.join(to));
        renamed.map_err(|error| about(&path, Needs::Directory, error))?;
        for entry in self.table().files.values_mut().filter(|entry| entry.name == from) {
            to.clone_into(&mut entry.name);
        }
        Ok(())
    }

    fn add(self: &Arc<Self>, name: &str, options: &OpenOptions) -> io::Result<Box<dyn DiskFile>> {
        let file = Arc::new(self.open_with(name, options)?);
        let mut table = self.table();
        let id = table.next;
        table.next += 1;
        let entry = Entry { name: name.to_owned(), file: None, is_held: false, written: 0, synced: 0 };
        table.files.insert(id, entry);
        table.keep_open(id, file);
        Ok(Box::new(OneOf { files: self.clone(), id }))
    }

    /// Opens a file. If the process or the system has no descriptor left, the least recently used file here is closed first.
    fn open_with(&self, name: &str, options: &OpenOptions) -> io::Result<File> {
        let path = self.directory.join(name);
        loop {
            match options.open(&path) {
                Err(error) if matches!(errno(&error), Some(Errno::MFILE | Errno::NFILE)) => {
                    if !self.table().close_one() {
                        return Err(about(&path, Needs::File, error));
                    }
                }
                opened => return opened.map_err(|error| about(&path, Needs::File, error)),
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, FileTable> {
        self.table.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl FileTable {
    /// The file if it is open; it counts as used now.
    fn touch(&mut self, id: u64) -> Option<Arc<File>> {
        let file = self.files.get(&id)?.file.clone()?;
        if self.open.last() != Some(&id) {
            self.open.retain(|other| *other != id);
            self.open.push(id);
        }
        Some(file)
    }

    /// Keeps a file open. Returns this file, or the one that another thread opened meanwhile.
    fn keep_open(&mut self, id: u64, file: Arc<File>) -> Arc<File> {
        if let Some(opened) = self.touch(id) {
            return opened;
        }
        if let Some(entry) = self.files.get_mut(&id) {
            entry.file = Some(file.clone());
            self.open.push(id);
        }
        let is_held = |id: &&u64| self.files.get(id).is_some_and(|entry| entry.is_held);
        let mut beyond = (self.open.len() - self.open.iter().filter(is_held).count()).saturating_sub(OpenFiles::MOST);
        while beyond > 0 && self.close_one() {
            beyond -= 1;
        }
        file
    }

    /// Closes the least recently used file. Returns `false` if none may be closed.
    fn close_one(&mut self) -> bool {
        let may_close = |id: &u64| self.files.get(id).is_some_and(Entry::may_close);
        let Some(at) = self.open.iter().position(may_close) else { return false };
        let id = self.open.remove(at);
        if let Some(entry) = self.files.get_mut(&id) {
            entry.file = None;
        }
        true
    }
}

impl Entry {
    fn may_close(&self) -> bool {
        // A thread that reads or writes the file right now has a reference to it too.
        let is_used = self.file.as_ref().is_some_and(|file| Arc::strong_count(file) > 1);
        !self.is_held && self.written == self.synced && !is_used
    }
}

/// A file, open or not. A rename changes the name here too.
struct OneOf {
    files: Arc<OpenFiles>,
    id: u64,
}

impl OneOf {
    fn file(&self) -> io::Result<Arc<File>> {
        if let Some(file) = self.files.table().touch(self.id) {
            return Ok(file);
        }
        let _names = self.files.names.read();
        let name = self.name();
        let file = self.files.open_with(&name, OpenOptions::new().read(true).write(self.files.is_writable))?;
        Ok(self.files.table().keep_open(self.id, Arc::new(file)))
    }

    fn name(&self) -> String {
        self.files.table().files.get(&self.id).map(|entry| entry.name.clone()).unwrap_or_default()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        self.files.table().files.get_mut(&self.id).map(change)
    }

    fn named<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| about(&self.files.directory.join(self.name()), Needs::File, error))
    }
}

impl DiskFile for OneOf {
    fn len(&self) -> io::Result<u64> {
        let metadata = self.file()?.metadata();
        Ok(self.named(metadata)?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = FileExt::read_at(&*self.file()?, buffer, offset);
        self.named(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let file = self.file()?;
        let written = FileExt::write_at(&*file, bytes, offset);
        // The write is counted before `file` is dropped: until then the file is not closed.
        self.change(|entry| entry.written += 1);
        self.named(written)
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        let file = self.file()?;
        let taken = reserved(rustix::fs::fallocate(&*file, rustix::fs::FallocateFlags::empty(), 0, len));
        self.change(|entry| entry.written += 1);
        self.named(taken)
    }

    fn sync(&self) -> io::Result<()> {
        let file = self.file()?;
        let written = self.change(|entry| entry.written).unwrap_or(0);
        let synced = file.sync_data();
        if synced.is_ok() {
            self.change(|entry| entry.synced = written);
        }
        self.named(synced)
    }

    fn hold_open(&self, is_held: bool) -> io::Result<()> {
        let _file = if is_held { Some(self.file()?) } else { None };
        self.change(|entry| entry.is_held = is_held);
        Ok(())
    }
}

impl Drop for OneOf {
    fn drop(&mut self) {
        let mut table = self.files.table();
        table.open.retain(|id| *id != self.id);
        let entry = table.files.remove(&self.id);
        drop(table);
        drop(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Folder;

    fn files(name: &str) -> (Folder, Arc<OpenFiles>) {
        let folder = Folder::new(name);
        std::fs::create_dir_all(&folder.0).unwrap();
        let files = OpenFiles::new(folder.0.clone(), true);
        (folder, files)
    }

    /// A file of a few bytes, which are synced.
    fn safe(files: &Arc<OpenFiles>, name: &str, byte: u8) -> Box<dyn DiskFile> {
        let file = files.create(name).unwrap();
        file.write_all_at(&[byte; 10], 0).unwrap();
        file.sync().unwrap();
        file
    }

    fn first_byte(file: &dyn DiskFile) -> u8 {
        let mut buffer = [0];
        assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 1);
        buffer[0]
    }

    #[test]
    fn only_few_of_many_files_stay_open_and_all_can_be_used() {
        let (_folder, files) = files("few-open");
        let all: Vec<_> = (0..200).map(|byte| safe(&files, &format!("{byte}"), byte)).collect();
        for (byte, file) in (0..).zip(&all) {
            assert_eq!(first_byte(&**file), byte);
            file.write_all_at(&[byte + 1], 0).unwrap();
            file.sync().unwrap();
            assert!(files.table().open.len() <= OpenFiles::MOST);
        }
        assert_eq!(first_byte(&*all[0]), 1);
        drop(all);
        assert!(files.table().open.is_empty() && files.table().files.is_empty());
    }

    #[test]
    fn unsynced_files_and_files_held_open_are_not_closed() {
        let (_folder, files) = files("stay-open");
        let held = safe(&files, "held", 1);
        held.hold_open(true).unwrap();
        let unsynced = safe(&files, "unsynced", 2);
        unsynced.write_all_at(&[3], 0).unwrap();
        let others: Vec<_> = (0..50).map(|byte| safe(&files, &format!("{byte}"), byte)).collect();
        let is_open = |id: u64| files.table().files[&id].file.is_some();
        assert_eq!((is_open(0), is_open(1), is_open(2)), (true, true, false));
        unsynced.sync().unwrap();
        held.hold_open(false).unwrap();
        let read: Vec<u8> = others.iter().map(|file| first_byte(&**file)).collect();
        assert_eq!(read, (0..50).collect::<Vec<u8>>());
        assert_eq!((is_open(0), is_open(1)), (false, false));
    }

    #[test]
    fn a_closed_file_that_was_renamed_is_reopened_under_its_new_name() {
        let (_folder, files) = files("follow");
        let file = safe(&files, "a", 1);
        while files.table().close_one() {}
        files.rename("a", "b").unwrap();
        let other = safe(&files, "a", 2);
        while files.table().close_one() {}
        assert_eq!((first_byte(&*file), first_byte(&*other)), (1, 2));
    }

    #[test]
    fn errors_of_every_kind_name_the_file() {
        let (folder, files) = files("named");
        let file = safe(&files, "a", 1);
        while files.table().close_one() {}
        std::fs::remove_file(folder.0.join("a")).unwrap();
        let errors = [
            file.len().err(),
            file.read_at(&mut [0], 0).err(),
            file.write_at(&[0], 0).err(),
            file.sync().err(),
            files.rename("a", "b").err(),
            files.open("a").err(),
        ];
        for error in errors {
            let error = error.unwrap();
            assert!(error.to_string().starts_with(folder.0.join("a").to_str().unwrap()), "{error}");
        }
    }
}
