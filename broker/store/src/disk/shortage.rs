//! Why a store has no room: the configured limit, or the system's error when a file was to be made.

use crate::disk::file_error::errno;
use rustix::io::Errno;
use std::fmt;
use std::io;

/// The reason why the store accepts no batch that needs more room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// What kind of resource is short.
    pub cause: Cause,
    /// The details, with the name of the file if there is one.
    pub words: String,
}

/// What is short, as a category for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// `max_bytes` of the store.
    Limit,
    /// The file system is full.
    Disk,
    /// The file system has a quota for this user.
    Quota,
    /// The process, or the system, has no more file descriptors.
    Descriptors,
    /// This user lacks the permission.
    Permission,
    /// The file system is mounted for reading only, as it is after an error.
    ReadOnly,
    /// The device fails.
    Device,
    /// Any other cause: see [`Shortage::words`].
    Other,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 8] = [
        Self::Limit,
        Self::Disk,
        Self::Quota,
        Self::Descriptors,
        Self::Permission,
        Self::ReadOnly,
        Self::Device,
        Self::Other,
    ];

    /// The cause in one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Disk => "disk",
            Self::Quota => "quota",
            Self::Descriptors => "descriptors",
            Self::Permission => "permission",
            Self::ReadOnly => "read_only",
            Self::Device => "device",
            Self::Other => "other",
        }
    }
}

impl Shortage {
    /// The shortage for a file that could not be made.
    pub(crate) fn of(error: &io::Error) -> Self {
        let cause = match (errno(error), error.kind()) {
            (Some(Errno::DQUOT), _) => Cause::Quota,
            (Some(Errno::MFILE | Errno::NFILE), _) => Cause::Descriptors,
            (Some(Errno::ACCESS | Errno::PERM), _) => Cause::Permission,
            (Some(Errno::ROFS), _) => Cause::ReadOnly,
            (Some(Errno::IO), _) => Cause::Device,
            (Some(Errno::NOSPC), _) | (_, io::ErrorKind::StorageFull) => Cause::Disk,
            _ => Cause::Other,
        };
        Self { cause, words: error.to_string() }
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::file_error::{Needs, about};
    use std::path::Path;

    #[test]
    fn each_system_error_is_mapped_to_its_cause() {
        let causes = [
            (Errno::NOSPC, Cause::Disk),
            (Errno::DQUOT, Cause::Quota),
            (Errno::MFILE, Cause::Descriptors),
            (Errno::NFILE, Cause::Descriptors),
            (Errno::ACCESS, Cause::Permission),
            (Errno::PERM, Cause::Permission),
            (Errno::ROFS, Cause::ReadOnly),
            (Errno::IO, Cause::Device),
            (Errno::NOENT, Cause::Other),
        ];
        for (error, cause) in causes {
            let shortage = Shortage::of(&about(Path::new("/data/unfinished"), Needs::File, error.into()));
            assert_eq!(shortage.cause, cause, "{error}");
            assert!(shortage.words.starts_with("/data/unfinished: "), "{shortage}");
        }
    }
}
