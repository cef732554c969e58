//! Files that are read at the start, and anew when they have changed.

use std::fmt::Display;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Whether files that seem unchanged are read too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refresh {
    Changed,
    All,
}

/// Something that was made of files, and that can be made anew while it is in use.
pub(crate) trait FromFiles: Send + Sync {
    /// Reads the files anew that have changed, or all, and takes over what they say. If a file can't be used all stays as it was.
    fn refresh(&self, which: Refresh);

    /// Why files can't be used as they are now, a line for each fault; empty if all are in use.
    fn faults(&self) -> Vec<String>;
}

/// A few files that are taken over together, and what is known of them.
#[derive(Debug)]
pub(crate) struct WatchedFiles {
    files: Vec<PathBuf>,
    /// What is in the files, for the log: a plural, such as "the certificates of 127.0.0.1:8883".
    contents: String,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    /// The files as they were when they were read with success; `None` for a file that couldn't be seen.
    stamps: Vec<Option<Stamp>>,
    /// Why the last try failed, and whether the log has it.
    fault: Option<(String, bool)>,
}

/// What changes when a file is written or exchanged.
type Stamp = (u64, u64, u64, i64, i64);

impl WatchedFiles {
    /// Reads the files for the first time, by `read`. `contents` is for the log, and a plural.
    ///
    /// # Errors
    /// The error of `read`.
    pub(crate) fn read<T, E>(
        files: Vec<PathBuf>,
        contents: String,
        read: impl FnOnce() -> Result<T, E>,
    ) -> Result<(Self, T), E> {
        // Noted before the files are read: a change meanwhile is then found the next time.
        let stamps = stamps(&files);
        let made = read()?;
        Ok((Self { files, contents, seen: Mutex::new(Seen { stamps, fault: None }) }, made))
    }

    /// Reads the files anew, by `read`, if one of them has changed or could not be used before. Returns what they say now.
    ///
    /// Files are written one after the other, so for a moment they may not belong together. The caller calls again every few seconds, and a
    /// fault is logged only when it is found twice in a row.
    pub(crate) fn refresh<T, E: Display>(&self, which: Refresh, read: impl FnOnce() -> Result<T, E>) -> Option<T> {
        let stamps = stamps(&self.files);
        {
            let seen = self.seen();
            if which == Refresh::Changed && seen.fault.is_none() && stamps == seen.stamps {
                return None;
            }
        }
        // Nobody waits for the disk who asks for faults meanwhile. One thread alone reads anew.
        let read = read();
        let mut seen = self.seen();
        match read {
            Ok(made) => {
                *seen = Seen { stamps, fault: None };
                Some(made)
            }
            Err(error) => {
                let error = error.to_string();
                let before = seen.fault.take().filter(|(before, _)| *before == error);
                let is_told = before.as_ref().is_some_and(|(_, is_told)| *is_told);
                let is_due = which == Refresh::All || before.is_some();
                if is_due && !is_told {
                    tracing::error!("{}", self.in_words(&error));
                }
                seen.fault = Some((error, is_due));
                None
            }
        }
    }

    /// As [`WatchedFiles::refresh`], for files of which a part makes sense too: a file that is being written can't be used.
    pub(crate) fn refresh_whole<T, E: Display>(
        &self,
        which: Refresh,
        read: impl FnOnce() -> Result<T, E>,
    ) -> Option<T> {
        self.refresh(which, || {
            let before = stamps(&self.files);
            let made = read().map_err(|error| error.to_string())?;
            let is_settled = which == Refresh::All || self.files.iter().all(|file| is_settled(file));
            if before == stamps(&self.files) && is_settled { Ok(made) } else { Err("it is being written".to_owned()) }
        })
    }

    /// Why the files can't be used as they are now; `None` if all are in use.
    pub(crate) fn fault(&self) -> Option<String> {
        self.seen().fault.as_ref().map(|(error, _)| self.in_words(error))
    }

    fn in_words(&self, error: &str) -> String {
        format!("{} can't be read anew, and the old ones stay in use: {error}", self.contents)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether nobody has written the file lately. A time in the future is that of a clock that was set back.
fn is_settled(file: &Path) -> bool {
    const SETTLED: Duration = Duration::from_secs(1);
    let modified = std::fs::metadata(file).and_then(|file| file.modified());
    modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age >= SETTLED) || modified.elapsed().is_err())
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    let stamp = |file: &PathBuf| {
        let seen = std::fs::metadata(file).ok()?;
        Some((seen.dev(), seen.ino(), seen.size(), seen.mtime(), seen.mtime_nsec()))
    };
    files.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn files_are_read_anew_after_a_change_and_until_they_can_be_used_again() {
        let path = std::env::temp_dir().join(format!("goldcrest-watched-{}", std::process::id()));
        let read = || match fs::read_to_string(&path) {
            Ok(text) if text.is_empty() => Err("it is empty".to_owned()),
            read => read.map_err(|error| error.to_string()),
        };
        fs::write(&path, "one").unwrap();
        let (watched, first) = WatchedFiles::read(vec![path.clone()], "the words of x".to_owned(), read).unwrap();
        assert_eq!(first, "one");
        assert_eq!(watched.refresh(Refresh::Changed, read), None);
        assert_eq!(watched.refresh(Refresh::All, read).as_deref(), Some("one"));
        fs::write(&path, "three").unwrap();
        assert_eq!(watched.refresh(Refresh::Changed, read).as_deref(), Some("three"));
        assert_eq!(watched.refresh(Refresh::Changed, read), None);
        fs::write(&path, "").unwrap();
        assert_eq!(watched.refresh(Refresh::Changed, read), None);
        let fault = "the words of x can't be read anew, and the old ones stay in use: it is empty";
        assert_eq!(watched.fault().as_deref(), Some(fault));
        // The file that was in use is back, with the stamp that it had: it has to be read all the same.
        assert_eq!(watched.refresh(Refresh::Changed, || Ok::<_, String>("three")), Some("three"));
        assert_eq!(watched.fault(), None);
        fs::remove_file(&path).unwrap();
        assert_eq!(watched.refresh(Refresh::Changed, read), None);
        assert!(watched.fault().unwrap().contains("No such file"));
    }
}
