//! A store as it is at one moment, while another process goes on writing to it.
//!
//! Segments are filled one after the other, each from its beginning to its end, and bytes in them do not change once they are
//! written. So reading from the end towards the beginning gives a prefix of the log: when a byte has been read, all bytes before
//! it were already there, and they are read later. Only the end of that prefix may be a frame that is not whole, as after a loss
//! of power. Recycling is the one exception, so it is [held off](Directory::hold).

use crate::disk::{Directory, Disk, DiskFile, Hold};
use crate::log::format::{HEADER, SegmentHeader};
use crate::log::reached::{self, Found};
use crate::log::scan;
use crate::log::segment::{list, name_of, number_of};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// Files that do not change; they cannot be written to.
pub(crate) struct Snapshot {
    directory: Directory,
    names: Vec<String>,
    /// The contents of the files that may change on disk.
    taken: BTreeMap<String, Taken>,
    /// Keeps files from being recycled until the snapshot is dropped.
    _hold: Hold,
}

/// The content of a file at one moment: zeros follow up to its length.
#[derive(Clone)]
struct Taken {
    bytes: Arc<[u8]>,
    len: u64,
}

impl Snapshot {
    /// Reads the files that may change: the segment that is being filled, and the headers of the segments behind it.
    pub(crate) fn take(directory: Directory) -> io::Result<Self> {
        let hold = directory.hold()?;
        let mut taken = BTreeMap::new();
        // `reached` is read before the segments, so that the segments have at least what `reached` says.
        let reached = match reached::read(&directory)? {
            Found::Known(reached) => Some(reached.store),
            _ => None,
        };
        if let Some(file) = open_if_there(&directory, reached::NAME)? {
            let bytes = read_backwards(&*file)?;
            taken.insert(reached::NAME.to_owned(), Taken { len: bytes.len() as u64, bytes: bytes.into() });
        }
        let numbers = list(&directory)?;
        for &seq in numbers.iter().rev() {
            let file = directory.open(&name_of(seq))?;
            let mut bytes = match read_backwards(&*file) {
                Err(error) if error.kind() == io::ErrorKind::IsADirectory => continue,
                read => read?,
            };
            let len = bytes.len() as u64;
            let header = SegmentHeader::decode(&bytes).ok();
            let nonce = header.map(|header| header.nonce).or_else(|| scan::guess_nonce(&bytes));
            let has_frames = nonce.is_some_and(|nonce| scan::has_frames(&bytes, nonce));
            if !has_frames {
                bytes.truncate(HEADER);
            }
            taken.insert(name_of(seq), Taken { bytes: bytes.into(), len });
            // A file of another store says nothing about this one.
            let is_foreign = header.is_some_and(|header| reached.is_some_and(|reached| reached != header.store));
            if has_frames && !is_foreign {
                break;
            }
        }
        // A list that was read may name segments that were made meanwhile, but their records were written later.
        for seq in list(&directory)?.into_iter().filter(|seq| !numbers.contains(seq)) {
            let file = directory.open(&name_of(seq))?;
            let mut bytes = [0; HEADER];
            let filled = file.read_all_at(&mut bytes, 0)?;
            if let Ok(header) = SegmentHeader::decode(&bytes[..filled]) {
                bytes = SegmentHeader { reached: 0, ..header }.encode();
            }
            taken.insert(name_of(seq), Taken { bytes: bytes[..filled].into(), len: file.len()? });
        }
        let names = directory.list()?.into_iter().filter(|name| match number_of(name) {
            Some(seq) => numbers.contains(&seq) || taken.contains_key(name),
            None => name != reached::NAME || taken.contains_key(name),
        });
        Ok(Self { names: names.collect(), directory, taken, _hold: hold })
    }
}

fn open_if_there(directory: &Directory, name: &str) -> io::Result<Option<Box<dyn DiskFile>>> {
    match directory.open(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

fn read_backwards(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    const PIECE: usize = 1 << 16;
    let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
    let mut end = bytes.len();
    while end > 0 {
        let start = (end - 1) / PIECE * PIECE;
        if file.read_all_at(&mut bytes[start..end], start as u64)? < end - start {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        end = start;
    }
    Ok(bytes)
}

impl Disk for Snapshot {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names.clone())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        match self.taken.get(name) {
            Some(taken) => Ok(Box::new(taken.clone())),
            None if name == reached::NAME => Err(io::ErrorKind::NotFound.into()),
            None => self.directory.open(name),
        }
    }

    fn create(&self, _: &str) -> io::Result<Box<dyn DiskFile>> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_names(&self) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

impl DiskFile for Taken {
    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let filled = buffer.len().min(left);
        let bytes = usize::try_from(offset).ok().and_then(|offset| self.bytes.get(offset..)).unwrap_or_default();
        let known = filled.min(bytes.len());
        buffer[..known].copy_from_slice(&bytes[..known]);
        buffer[known..filled].fill(0);
        Ok(filled)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// A file to which another process appends during each read.
    struct Growing(Mutex<(usize, usize)>);

    impl DiskFile for Growing {
        fn len(&self) -> io::Result<u64> {
            Ok(1 << 20)
        }

        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            let (written, step) = &mut *self.0.lock().unwrap();
            for (at, byte) in buffer.iter_mut().enumerate() {
                *byte = u8::from(offset as usize + at < *written);
            }
            *written += *step;
            Ok(buffer.len())
        }

        fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
            unreachable!()
        }

        fn sync(&self) -> io::Result<()> {
            unreachable!()
        }
    }

    #[test]
    fn a_file_read_while_it_grows_has_no_holes() {
        for step in [1, 5_000, 70_000, 300_000] {
            let bytes = read_backwards(&Growing(Mutex::new((100_000, step)))).unwrap();
            let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
            assert!(end >= 100_000 && bytes[end..].iter().all(|&byte| byte == 0), "step {step}");
        }
    }
}
