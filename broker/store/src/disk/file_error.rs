//! Errors of files, worded for whoever looks after the machine: which file, what stands in the way, who owns that, and as which
//! user the process runs.

use rustix::io::Errno;
use rustix::process::{Resource, geteuid, getrlimit};
use std::fmt;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// An error of the system with the name of the file, inside an [`io::Error`] of the same kind.
#[derive(Debug)]
struct FileError {
    path: PathBuf,
    errno: Option<Errno>,
    cause: String,
    /// Whether the path is the directory of the store itself.
    is_directory: bool,
}

/// The file or directory on which the system requires permission for an operation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// The file itself, or the directory if there is no such file yet.
    File,
    /// The directory that holds it: names are given, changed and taken away there.
    Directory,
    /// The path itself, which is the directory of the store.
    Store,
}

/// The same error, with the file's name added. An error that names a file already is returned as it is.
pub(crate) fn about(path: &Path, needs: Needs, error: io::Error) -> io::Error {
    if of(&error).is_some() {
        return error;
    }
    let errno = Errno::from_io_error(&error);
    let mut cause = error.to_string();
    if let Some(more) = errno.and_then(|errno| explanation(path, needs, errno)) {
        cause = format!("{cause}: {more}");
    }
    let is_directory = needs == Needs::Store;
    io::Error::new(error.kind(), FileError { path: path.to_owned(), errno, cause, is_directory })
}

/// As [`about`], with `cause` as the words for the cause.
pub(crate) fn because(path: &Path, cause: &str, error: &io::Error) -> io::Error {
    let cause = format!("{cause} ({error})");
    let (path, errno) = (path.to_owned(), Errno::from_io_error(error));
    io::Error::new(error.kind(), FileError { path, errno, cause, is_directory: false })
}

/// The system's number of the error.
pub(crate) fn errno(error: &io::Error) -> Option<Errno> {
    of(error).map_or_else(|| Errno::from_io_error(error), |error| error.errno)
}

/// The text of an error for a message that names the directory already: the file is named without its path.
pub(crate) fn in_directory(error: &io::Error) -> Option<String> {
    let FileError { path, cause, is_directory, .. } = of(error)?;
    Some(match path.file_name().filter(|_| !is_directory) {
        Some(name) => format!("{}: {cause}", name.display()),
        None => format!("the directory: {cause}"),
    })
}

fn of(error: &io::Error) -> Option<&FileError> {
    error.get_ref()?.downcast_ref()
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.cause)
    }
}

impl std::error::Error for FileError {}

fn explanation(path: &Path, needs: Needs, errno: Errno) -> Option<String> {
    match errno {
        Errno::ACCESS | Errno::PERM => permission(path, needs),
        Errno::MFILE => {
            let limit = getrlimit(Resource::Nofile).current.map_or_else(|| "all".to_owned(), |limit| limit.to_string());
            Some(format!("this process may have {limit} (ulimit -n, LimitNOFILE= of systemd)"))
        }
        Errno::NFILE => Some("this machine has as many as it may (sysctl fs.file-max)".to_owned()),
        Errno::NOTDIR | Errno::EXIST | Errno::NOENT => no_directory(path),
        _ => None,
    }
}

/// The owner and mode of the file or directory that stands in the way, and the user who runs this process.
fn permission(path: &Path, needs: Needs) -> Option<String> {
    let (stands, metadata) = obstacle(if needs == Needs::Directory { parent(path) } else { path })?;
    let (me, owner) = (geteuid().as_raw(), metadata.uid());
    let which = if stands == path {
        "it".to_owned()
    } else if stands == parent(path) {
        format!("its directory {}", stands.display())
    } else {
        format!("the directory {}", stands.display())
    };
    let mode = metadata.mode() & 0o7777;
    let (owner_name, own_name) = (user(owner), user(me));
    let all = if metadata.is_dir() { 0o700 } else { 0o600 };
    // The hint for a case in which neither owner nor mode is the reason.
    let hint = if me == 0 || (me == owner && mode & all == all) {
        "; a read-only or foreign mount, an attribute (lsattr) or a policy (SELinux, AppArmor, ReadWritePaths= of systemd) may forbid it"
    } else {
        ""
    };
    Some(format!("{which} belongs to {owner_name}, mode {mode:03o}, and this program runs as {own_name}{hint}"))
}

/// The file or directory nearest to `path` that can be looked at: anything below cannot be reached, or does not exist.
fn obstacle(path: &Path) -> Option<(&Path, Metadata)> {
    let mut at = path;
    loop {
        match std::fs::metadata(at) {
            Ok(metadata) => return Some((at, metadata)),
            Err(_) if at == parent(at) => return None,
            Err(_) => at = parent(at),
        }
    }
}

/// Names a part of the path that is no directory, or is a link that leads nowhere.
fn no_directory(path: &Path) -> Option<String> {
    path.ancestors().filter(|part| !part.as_os_str().is_empty()).find_map(|part| {
        match (std::fs::symlink_metadata(part), std::fs::metadata(part)) {
            (Ok(link), Err(_)) if link.is_symlink() => {
                let target = std::fs::read_link(part).ok()?;
                Some(format!("{} is a symbolic link to {}, which is not there", part.display(), target.display()))
            }
            (_, Ok(metadata)) if !metadata.is_dir() => Some(format!("{} is a file and no directory", part.display())),
            _ => None,
        }
    })
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

/// `user 1000 (name)`; without the name if the machine's own list of users has none.
fn user(id: u32) -> String {
    let list = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut users = list.lines().map(|line| line.split(':'));
    let name = users.find_map(|mut fields| {
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then_some(name)
    });
    name.map_or_else(|| format!("user {id}"), |name| format!("user {id} ({name})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_error_keeps_kind_and_errno_and_names_its_file_once() {
        let path = Path::new("/nowhere/00000001.segment");
        let error = about(path, Needs::File, Errno::DQUOT.into());
        let again = about(Path::new("/other"), Needs::File, error);
        assert_eq!(errno(&again), Some(Errno::DQUOT));
        assert_eq!(again.kind(), io::Error::from(Errno::DQUOT).kind());
        assert_eq!(again.to_string().matches("/nowhere/00000001.segment").count(), 1, "{again}");
        assert_eq!(in_directory(&again).unwrap().matches("/nowhere").count(), 0, "{again}");
    }

    #[test]
    fn the_error_for_a_missing_permission_names_owner_and_user() {
        for error in [Errno::ACCESS, Errno::PERM] {
            let words = about(Path::new("/etc/passwd"), Needs::File, error.into()).to_string();
            let me = format!("runs as {}", user(geteuid().as_raw()));
            assert!(words.contains("it belongs to user 0 (root), mode 644") && words.contains(&me), "{words}");
            let words = about(Path::new("/etc/a/b/c"), Needs::Directory, error.into()).to_string();
            assert!(words.contains("the directory /etc belongs to user 0 (root)"), "{words}");
        }
    }

    #[test]
    fn the_error_for_too_few_descriptors_names_the_limit() {
        let words = about(Path::new("/data/x"), Needs::File, Errno::MFILE.into()).to_string();
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(0).to_string();
        assert!(words.contains(&limit) && words.contains("ulimit -n"), "{words}");
    }

    #[test]
    fn the_error_names_a_file_in_place_of_a_directory() {
        let words = about(Path::new("/etc/passwd/store"), Needs::File, Errno::NOTDIR.into()).to_string();
        assert!(words.ends_with("/etc/passwd is a file and no directory"), "{words}");
    }
}
