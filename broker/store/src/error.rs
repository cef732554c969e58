//! Why records were not made safe, and why a store could not be opened.

use crate::disk::file_error;
use crate::{Cause, FORMAT, Shortage};
use std::fmt;
use std::io;

/// Why records were not made safe.
#[derive(Debug)]
pub enum Failure {
    /// There is no room now. Nothing was written; the same batches may fit after [`Store::upkeep`](crate::Store::upkeep).
    NoRoom,
    /// No segment can hold a record of this size.
    TooLarge(usize),
    /// A write or a sync failed, now or before. It is not known which bytes are on disk, and a second try would not tell: the
    /// store accepts nothing more until it is opened again.
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
    /// Another process has the store.
    InUse,
    /// A newer program wrote the store. The store was left as it is.
    Newer {
        /// The first file of the newer format.
        file: String,
        /// The format of that file.
        format: u32,
    },
    /// An older program wrote the store. The store was left as it is.
    Older {
        /// The first file of the older format.
        file: String,
        /// The format of that file.
        format: u32,
    },
    /// The directory is an unfinished copy: a part of the store is missing.
    Unfinished,
    /// Opening was called off: see [`Options::gives_up`](crate::Options::gives_up).
    GivenUp,
    /// A file cannot be read or written.
    Io(String, io::Error),
}

impl OpenError {
    /// Whether the process or the system has no file descriptor left.
    pub fn lacks_descriptors(&self) -> bool {
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
