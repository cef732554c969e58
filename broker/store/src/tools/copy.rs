//! Copies of a store: a backup, taken while the gateway runs, and the restoring of a backup.
//!
//! A copy is a directory of the segments that the last list names, and of no file that does not belong to the store. While the
//! copy is being made, it has a file named [`COPYING`]. A store that has such a file cannot be opened.

use crate::disk::{Directory, Disk, DiskFile};
use crate::log::reached::Reached;
use crate::log::segment::{COPYING, name_of};
use crate::log::snapshot::Snapshot;
use crate::tools::examine::Examined;
use crate::{OpenError, Report};
use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;

/// Why a store could not be copied.
#[derive(Debug)]
pub enum CopyError {
    /// There is nothing in `from` to be copied.
    Nothing,
    /// The directory for the copy is not empty.
    NotEmpty,
    /// The original cannot be read.
    From(OpenError),
    /// The copy cannot be written.
    To(OpenError),
}

impl fmt::Display for CopyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => write!(f, "there is no store in it"),
            Self::NotEmpty => write!(f, "it is not empty; nothing was changed"),
            Self::From(error) | Self::To(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CopyError {}

/// Copies the store in `from` to `to`, which is an empty directory or is made. The gateway may go on meanwhile: all that it had
/// acknowledged before the call is in the copy. Blocks of zeros take no room in the copy.
///
/// # Errors
/// If an error is returned, the copy is not whole.
pub fn back_up(from: &Path, to: &Path) -> Result<Report, CopyError> {
    copy(from, to, false)
}

/// Copies the backup in `from` to `to`, which is an empty directory or is made, so that a gateway can use the copy.
///
/// # Errors
/// If an error is returned, the copy is not whole, and no gateway starts with it.
pub fn restore(from: &Path, to: &Path) -> Result<Report, CopyError> {
    copy(from, to, true)
}

fn copy(from: &Path, to: &Path, fill: bool) -> Result<Report, CopyError> {
    let source = Directory::look_at(from).map_err(|error| CopyError::From(directory(error)))?;
    let snapshot = Snapshot::take(source).map_err(|error| CopyError::From(directory(error)))?;
    let examined = Examined::of(snapshot).map_err(CopyError::From)?;
    if examined.report.segments == 0 {
        return Err(CopyError::Nothing);
    }
    let target = Directory::take(to).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => CopyError::To(OpenError::InUse),
        _ => CopyError::To(directory(error)),
    })?;
    if !target.is_empty().map_err(|error| CopyError::To(directory(error)))? {
        return Err(CopyError::NotEmpty);
    }
    let failed = |error| CopyError::To(directory(error));
    target.create(COPYING).and_then(|file| file.sync()).and_then(|()| target.sync_names()).map_err(failed)?;
    for (seq, original) in examined.segments() {
        copy_file(original, &target, &name_of(seq), fill)?;
    }
    if let Some((store, number)) = examined.reached() {
        Reached::write(None, store, number, &target).map_err(failed)?;
    }
    target.sync_names().map_err(failed)?;
    target.remove(COPYING).and_then(|()| target.sync_names()).map_err(failed)?;
    if let Some(parent) = to.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        // The parent directory is synced, if that is allowed, so that the new directory itself survives a loss of power.
        let _ = File::open(parent).and_then(|parent| parent.sync_all());
    }
    Ok(examined.report)
}

fn copy_file(original: &dyn DiskFile, target: &Directory, name: &str, fill: bool) -> Result<(), CopyError> {
    const PIECE: usize = 1 << 16;
    let unread = |error| CopyError::From(OpenError::Io(name.to_owned(), error));
    let unwritten = |error| CopyError::To(OpenError::Io(name.to_owned(), error));
    let copy = target.create(name).map_err(unwritten)?;
    let len = original.len().map_err(unread)?;
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    while at < len {
        let filled = original.read_all_at(&mut piece, at).map_err(unread)?;
        if filled == 0 {
            return Err(unread(io::ErrorKind::UnexpectedEof.into()));
        }
        let bytes = &piece[..filled];
        let is_last = at + filled as u64 >= len;
        if fill || bytes.iter().any(|&byte| byte != 0) {
            copy.write_all_at(bytes, at).map_err(unwritten)?;
        } else if is_last {
            // The checks include the length of the file.
            copy.write_all_at(&[0], len - 1).map_err(unwritten)?;
        }
        at += filled as u64;
    }
    copy.sync().map_err(unwritten)
}

fn directory(error: io::Error) -> OpenError {
    OpenError::Io("the directory".to_owned(), error)
}
