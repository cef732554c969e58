//! The file of the document: read at the start, and replaced as a whole by each change.

use super::document_json::{DocumentFault, read_document, write_document};
use super::initial_document::{InitialAdmin, initial_document};
use super::security_document::SecurityDocument;
use crate::config::ConfigError;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The most bytes of the file.
const MOST_BYTES: usize = 16 << 20;

/// The file of the document.
#[derive(Debug)]
pub(super) struct SecurityFile {
    path: PathBuf,
    /// The file as it was read or written last.
    stamp: FileStamp,
}

/// What changes when a file is written or exchanged.
type FileStamp = (u64, u64, u64, i64, i64);

impl SecurityFile {
    /// Reads the file. If there is none, makes it with an administrator.
    ///
    /// # Errors
    /// The file can't be read or made, or has a mistake.
    pub(super) fn open(path: &Path) -> Result<(Self, SecurityDocument), ConfigError> {
        let mistake = |fault: DocumentFault| ConfigError {
            file: path.to_owned(),
            line: fault.line,
            key: fault.key,
            message: fault.message,
        };
        let failed =
            |error: io::Error| mistake(DocumentFault { line: 0, key: String::new(), message: error.to_string() });
        if let Err(error) = fs::symlink_metadata(path)
            && error.kind() == io::ErrorKind::NotFound
        {
            make(path).map_err(failed)?;
        }
        let (bytes, stamp) = read(path).map_err(failed)?;
        let (document, remarks) = read_document(&bytes).map_err(mistake)?;
        for remark in remarks {
            tracing::warn!("{}: {remark}", path.display());
        }
        Ok((Self { path: path.to_owned(), stamp }, document))
    }

    /// Replaces the file by `new`. When this returns the new document is on the disk.
    ///
    /// # Errors
    /// In words. The file has `old` then, as before.
    pub(super) fn save(&mut self, new: &SecurityDocument, old: &SecurityDocument) -> Result<(), String> {
        let bytes = write_document(new);
        if bytes.len() > MOST_BYTES {
            return Err(format!("the file would have more than {MOST_BYTES} bytes"));
        }
        // What somebody else has written must not be lost unseen.
        if stamp(&self.path).is_ok_and(|stamp| stamp != self.stamp) {
            return Err("another program has changed the file, and a restart will read it".to_owned());
        }
        let replaced = replace(&self.path, &bytes);
        if let Err((error, true)) = &replaced {
            tracing::error!("{} may have changed though it was not safe on the disk: {error}", self.path.display());
            // Not safe, and there already: a restart must not find what was refused.
            let _ = replace(&self.path, &write_document(old));
        }
        if let Ok(stamp) = stamp(&self.path) {
            self.stamp = stamp;
        }
        replaced.map_err(|(error, _)| error.to_string())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn stamp(path: &Path) -> io::Result<FileStamp> {
    let seen = fs::metadata(path)?;
    Ok((seen.dev(), seen.ino(), seen.size(), seen.mtime(), seen.mtime_nsec()))
}

fn read(path: &Path) -> io::Result<(Vec<u8>, FileStamp)> {
    let stamp = stamp(path)?;
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MOST_BYTES {
        return Err(io::Error::other(format!("it has more than {MOST_BYTES} bytes")));
    }
    Ok((bytes, stamp))
}

/// Makes the file with an administrator, whose password stands in a file beside it unless the environment has it.
fn make(path: &Path) -> io::Result<()> {
    let InitialAdmin { document, password } = initial_document()?;
    if let Some(password) = password {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".pw");
        let line = Zeroizing::new(format!("admin {}\n", *password));
        replace(Path::new(&beside), line.as_bytes()).map_err(|(error, _)| error)?;
        tracing::info!("{} has the password of admin", Path::new(&beside).display());
    }
    replace(path, &write_document(&document)).map_err(|(error, _)| error)?;
    tracing::info!("{} was made, with admin as the one user", path.display());
    Ok(())
}

/// Replaces a file as a whole, by one that only its owner may read. When this returns it is on the disk.
///
/// # Errors
/// Says also whether the new file is in place though it may not be on the disk.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), (io::Error, bool)> {
    let unchanged = |error| (error, false);
    // A link is to stay one: what it points at is replaced.
    let path = match fs::canonicalize(path) {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(unchanged(error)),
    };
    let name = path.file_name().ok_or_else(|| unchanged(io::ErrorKind::IsADirectory.into()))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = File::open(folder).map_err(unchanged)?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(".new");
    let temporary = path.with_file_name(temporary);
    let _ = fs::remove_file(&temporary);
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&temporary);
        unchanged(error)
    })?;
    folder.sync_all().map_err(|error| (error, true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;
    use std::os::unix::fs::PermissionsExt as _;

    fn names_in(folder: &Folder) -> Vec<String> {
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(name).collect();
        names.sort();
        names
    }

    fn changed(document: &SecurityDocument) -> SecurityDocument {
        SecurityDocument { change_index: document.change_index + 1, ..document.clone() }
    }

    #[test]
    fn a_missing_file_is_made_with_an_administrator_whose_password_stands_beside_it() {
        let folder = Folder::made("made");
        let path = folder.path().join("d.json");
        let (_, document) = SecurityFile::open(&path).unwrap();
        assert_eq!(names_in(&folder), ["d.json", "d.json.pw"]);
        for name in names_in(&folder) {
            assert_eq!(fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let line = fs::read_to_string(folder.path().join("d.json.pw")).unwrap();
        let password = line.strip_prefix("admin ").unwrap().trim_end();
        assert!(password.len() >= 20, "{line:?}");
        let admin = &document.clients["admin"];
        assert!(admin.password.as_ref().unwrap().to_hash().unwrap().verify(password.as_bytes()));
        assert_eq!(admin.roles.names().collect::<Vec<_>>(), ["super-admin", "sys-observe", "topic-observe"]);
        assert_eq!(document.anonymous_group.as_deref(), Some("unauthenticated"));
        assert_eq!(SecurityFile::open(&path).unwrap().1, document, "it is read the next time");
    }

    #[test]
    fn a_change_replaces_the_whole_file_and_leaves_no_other() {
        let folder = Folder::made("replaced");
        let path = folder.path().join("d.json");
        fs::write(&path, "{}").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let link = folder.path().join("link.json");
        std::os::unix::fs::symlink("d.json", &link).unwrap();
        let (mut file, mut document) = SecurityFile::open(&link).unwrap();
        for _ in 0..3 {
            let new = changed(&document);
            file.save(&new, &document).unwrap();
            document = new;
            assert_eq!(SecurityFile::open(&path).unwrap().1, document);
        }
        assert_eq!(names_in(&folder), ["d.json", "link.json"]);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_another_program_has_written_is_not_overwritten() {
        let folder = Folder::made("foreign");
        let path = folder.path().join("d.json");
        fs::write(&path, "{}").unwrap();
        let (mut file, document) = SecurityFile::open(&path).unwrap();
        fs::write(&path, r#"{"changeIndex": 7}"#).unwrap();
        let told = file.save(&changed(&document), &document).unwrap_err();
        assert_eq!(told, "another program has changed the file, and a restart will read it");
        assert_eq!(fs::read_to_string(&path).unwrap(), r#"{"changeIndex": 7}"#);
    }

    #[test]
    fn a_change_that_cannot_be_written_leaves_the_file_as_it_was() {
        let folder = Folder::made("unwritable");
        let path = folder.path().join("d.json");
        fs::write(&path, "{}").unwrap();
        let (mut file, document) = SecurityFile::open(&path).unwrap();
        // A folder with the name of the temporary file, which is not empty, can be neither removed nor written.
        fs::create_dir_all(folder.path().join(".d.json.new/x")).unwrap();
        assert!(file.save(&changed(&document), &document).unwrap_err().contains("exists"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "{}");
        fs::remove_dir_all(folder.path().join(".d.json.new")).unwrap();
        file.save(&changed(&document), &document).unwrap();
    }
}
