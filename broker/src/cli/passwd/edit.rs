//! A password file that is being changed.

use super::Failure;
use crate::access::{PasswordHash, lines, read_text};
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A password file that is being changed: other commands wait until this is dropped. Comments and the order of lines stay.
#[derive(Debug)]
pub(super) struct Editing {
    path: PathBuf,
    /// Locked as long as it is open.
    file: File,
    text: Zeroizing<String>,
}

impl Editing {
    /// Opens a file that is there.
    ///
    /// # Errors
    /// It can't be read or locked, or has a line that makes no sense.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        Self::open_with(path, OpenOptions::new().read(true))
    }

    /// The same, and makes the file if it is not there.
    ///
    /// # Errors
    /// As [`Editing::open`]; or it can't be made.
    pub(super) fn open_or_make(path: &Path) -> Result<Self, Failure> {
        Self::open_with(path, OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600))
    }

    fn open_with(path: &Path, options: &OpenOptions) -> Result<Self, Failure> {
        let fault = |error: io::Error| format!("{}: {error}", path.display());
        loop {
            let file = options.open(path).map_err(fault)?;
            flock(&file, FlockOperation::LockExclusive).map_err(|error| fault(error.into()))?;
            // A link is followed, so that the file that it leads to is replaced.
            let path = path.canonicalize().map_err(fault)?;
            // Whoever held the lock before has perhaps put another file in place.
            let (own, current) = (file.metadata().map_err(fault)?, path.metadata().map_err(fault)?);
            if (own.dev(), own.ino()) == (current.dev(), current.ino()) {
                let text = read_text(&path)?;
                lines(&path, &text).try_for_each(|line| line.map(drop))?;
                return Ok(Self { path, file, text });
            }
        }
    }

    pub(super) fn has(&self, user: &str) -> bool {
        self.text.lines().any(|line| is_of(line, user))
    }

    /// Adds a user. Returns false, and changes nothing, if there is such a user.
    pub(super) fn add(&mut self, user: &str, hash: &PasswordHash) -> bool {
        if self.has(user) {
            return false;
        }
        let missing_end = if self.text.is_empty() || self.text.ends_with('\n') { "" } else { "\n" };
        self.text = Zeroizing::new(format!("{}{missing_end}{user}:{hash}\n", *self.text));
        true
    }

    /// Changes the hash of a user. Returns false if there is no such user.
    pub(super) fn change(&mut self, user: &str, hash: &PasswordHash) -> bool {
        self.replace(user, &format!("{user}:{hash}\n"))
    }

    /// Deletes a user. Returns false if there is no such user.
    pub(super) fn delete(&mut self, user: &str) -> bool {
        self.replace(user, "")
    }

    fn replace(&mut self, user: &str, with: &str) -> bool {
        let has = self.has(user);
        let lines = self.text.split_inclusive('\n').map(|line| if is_of(line, user) { with } else { line });
        self.text = Zeroizing::new(lines.collect());
        has
    }

    /// Replaces the file by the changed one, as a whole: whoever reads it meanwhile finds the old one. It keeps its owner and permissions.
    ///
    /// # Errors
    /// The new file can't be written; the old one is unchanged then.
    pub(super) fn save(self) -> Result<(), Failure> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let new = self.path.with_file_name(format!(".{name}.{}.new", std::process::id()));
        let written = self.write(&new);
        if let Err(error) = written {
            let _ = std::fs::remove_file(&new);
            return Err(format!("cannot write {}: {error}", self.path.display()).into());
        }
        Ok(())
    }

    fn write(&self, new: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
        let (old, made) = (self.file.metadata()?, file.metadata()?);
        if (old.uid(), old.gid()) != (made.uid(), made.gid()) {
            fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
        file.set_permissions(std::fs::Permissions::from_mode(old.mode() & 0o777))?;
        file.write_all(self.text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(new, &self.path)?;
        match self.path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }
}

fn is_of(line: &str, user: &str) -> bool {
    line.strip_prefix(user).is_some_and(|rest| rest.starts_with(':'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    fn hash() -> PasswordHash {
        PasswordHash::new_token().unwrap().1
    }

    #[test]
    fn comments_order_owner_and_permissions_of_a_password_file_stay() {
        let folder = Folder::made("stay");
        let (path, link) = (folder.path().join("passwords"), folder.path().join("link"));
        let (ann, anna, ben) = (hash(), hash(), hash());
        std::fs::write(&path, format!("# people\n\nann:{ann}\nanna:{anna}")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let mut editing = Editing::open(&link).unwrap();
        assert!(editing.add("ben", &ben) && !editing.add("ann", &ben) && editing.delete("ann"));
        assert!(!editing.delete("ann") && !editing.change("ann", &ben) && editing.change("anna", &ann));
        editing.save().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("# people\n\nanna:{ann}\nben:{ben}\n"));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640);
        assert!(link.is_symlink());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left");
    }

    #[test]
    fn a_new_password_file_is_for_its_owner_alone_and_a_broken_one_is_left_as_it_is() {
        let folder = Folder::made("new");
        let path = folder.path().join("passwords");
        assert!(Editing::open(&path).unwrap_err().to_string().contains("No such file"));
        let mut editing = Editing::open_or_make(&path).unwrap();
        editing.add("ann", &hash());
        editing.save().unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, "ann\n").unwrap();
        assert!(Editing::open_or_make(&path).unwrap_err().to_string().contains("passwords:1: it is no USER:HASH"));
    }

    #[test]
    fn two_commands_at_the_same_time_lose_no_user() {
        let folder = Folder::made("race");
        let path = folder.path().join("passwords");
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let path = &path;
                scope.spawn(move || {
                    for number in 0..10 {
                        let mut editing = Editing::open_or_make(path).unwrap();
                        assert!(editing.add(&format!("u{thread}-{number}"), &hash()));
                        editing.save().unwrap();
                    }
                });
            }
        });
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 40);
    }
}
