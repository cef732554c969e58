//! The password file: the users in it, and which credentials were found right.

use super::password_hash::PasswordHash;
use crate::access::{Principals, Secret};
use crate::config::{FromFiles, Refresh, WatchedFiles};
use ring::hmac;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// A mistake in a password file, or why it can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordFileError {
    /// The file.
    pub file: PathBuf,
    /// The line of the mistake, counted from 1; 0 if the file could not be read at all.
    pub line: usize,
    /// What is wrong, in words, without the hash of a password.
    pub message: String,
}

impl fmt::Display for PasswordFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, message } = self;
        let place = if *line > 0 { format!(":{line}") } else { String::new() };
        write!(f, "{}{place}: {message}", file.display())
    }
}

impl std::error::Error for PasswordFileError {}

/// The users of a file as they are at present.
pub(super) struct PasswordFile {
    path: PathBuf,
    /// `None`: the gateway changes the file itself.
    watched: Option<WatchedFiles>,
    table: RwLock<Arc<PasswordTable>>,
    /// For the fingerprints of credentials that were found right.
    key: hmac::Key,
    removed: TellRemoved,
}

/// Is told the users that are gone or have other passwords.
pub(crate) type TellRemoved = Box<dyn Fn(&[Box<str>]) + Send + Sync>;

/// The users of a password file as they were when it was read.
pub(super) struct PasswordTable {
    users: HashMap<Box<str>, PasswordEntry>,
    /// The user whose hash costs what most hashes in the file cost. Who is unknown has a password checked against that one, so that the time
    /// of the answer does not tell who is known. `None` if no hash takes long.
    usual: Option<Box<str>>,
}

/// The line of one user.
struct PasswordEntry {
    hash: PasswordHash,
    /// If there is one, the user may connect with this Client Identifier alone.
    client_id: Option<Box<str>>,
    /// The fingerprint of the password that was found right. A line has one right password, so this is all that is to be remembered of it.
    verified: OnceLock<[u8; 32]>,
}

/// A user, as another file than a password file has it.
#[derive(Clone, Debug)]
pub(crate) struct NamedUser {
    pub(crate) name: Box<str>,
    pub(crate) hash: PasswordHash,
    /// If there is one, the user may connect with this Client Identifier alone.
    pub(crate) client_id: Option<Box<str>>,
}

/// What is known of credentials at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Right,
    /// Somebody has to look at the hash, which takes long. Credentials that are certainly wrong are looked at too: they take as long.
    Unclear,
    Wrong,
}

impl PasswordFile {
    /// Reads the file. `removed` is called with the users that are gone or have other passwords, each time that the file was read anew.
    ///
    /// # Errors
    /// The file can't be read, or a line makes no sense.
    pub(super) fn read(path: &Path, key: hmac::Key, removed: TellRemoved) -> Result<Self, PasswordFileError> {
        let contents = format!("the passwords of {}", path.display());
        let (watched, table) = WatchedFiles::read(vec![path.to_owned()], contents, || PasswordTable::read(path))?;
        let (path, table) = (path.to_owned(), RwLock::new(Arc::new(table)));
        Ok(Self { path, watched: Some(watched), table, key, removed })
    }

    /// These users, of the file at `path`. `removed` is called with one that is gone or changed while its password was checked.
    pub(super) fn of_users(path: &Path, users: Vec<NamedUser>, key: hmac::Key, removed: TellRemoved) -> Self {
        let table = RwLock::new(Arc::new(PasswordTable::of_users(users)));
        Self { path: path.to_owned(), watched: None, table, key, removed }
    }

    /// Replaces all users. The connections of those that are gone stay open.
    pub(super) fn replace(&self, users: Vec<NamedUser>) {
        self.take_over(PasswordTable::of_users(users));
    }

    /// Replaces the table, with what is known of passwords that are the same. Returns the users that are gone or have other passwords, and whether
    /// there are others.
    fn take_over(&self, mut new: PasswordTable) -> (Vec<Box<str>>, bool) {
        let old = self.table();
        let mut removed = Vec::new();
        for (user, entry) in &old.users {
            match new.users.get_mut(user) {
                Some(same) if same.hash == entry.hash => same.verified.clone_from(&entry.verified),
                _ => removed.push(user.clone()),
            }
        }
        let are_others = !removed.is_empty() || old.users.len() != new.users.len();
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        (removed, are_others)
    }

    pub(super) fn table(&self) -> Arc<PasswordTable> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A number that stands for these credentials, and from which they can't be found.
    fn fingerprint(&self, user: &str, password: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&(user.len() as u64).to_be_bytes());
        context.update(user.as_bytes());
        context.update(password);
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(context.sign().as_ref());
        fingerprint
    }

    /// What is known of credentials at once.
    pub(super) fn look_up(&self, table: &PasswordTable, user: &str, password: &[u8]) -> Known {
        let is_right = table.users.get(user).is_some_and(|entry| {
            if entry.hash.is_fast() {
                return entry.hash.verify(password);
            }
            entry.verified.get().is_some_and(|it| it.ct_eq(&self.fingerprint(user, password)).into())
        });
        match &table.usual {
            _ if is_right => Known::Right,
            Some(_) => Known::Unclear,
            None => Known::Wrong,
        }
    }

    /// Has the connections of a user closed whose line is not that of `table` any more.
    pub(super) fn close_if_changed(&self, table: &PasswordTable, user: &str) {
        let current = self.table();
        let line_in =
            |table: &PasswordTable| table.users.get(user).map(|entry| (entry.hash.clone(), entry.client_id.clone()));
        if !std::ptr::eq(&*current, table) && line_in(&current) != line_in(table) {
            (self.removed)(&[user.into()]);
        }
    }

    /// Notes that these credentials are right.
    pub(super) fn note_right(&self, table: &PasswordTable, user: &str, password: &Secret) {
        if let Some(entry) = table.users.get(user) {
            let _ = entry.verified.set(self.fingerprint(user, password));
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl FromFiles for PasswordFile {
    fn refresh(&self, which: Refresh) {
        let Some(watched) = &self.watched else { return };
        let Some(new) = watched.refresh_whole(which, || PasswordTable::read(&self.path)) else { return };
        let users = new.users.len();
        let (removed, are_others) = self.take_over(new);
        if are_others {
            tracing::info!(users, "the passwords of {} were read anew", self.path.display());
        }
        (self.removed)(&removed);
    }

    fn faults(&self) -> Vec<String> {
        self.watched.iter().filter_map(WatchedFiles::fault).collect()
    }
}

impl fmt::Debug for PasswordFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl PasswordTable {
    fn read(path: &Path) -> Result<Self, PasswordFileError> {
        Self::parse(path, &read_text(path)?)
    }

    #[cfg(test)]
    pub(super) fn of_text(text: &str) -> Self {
        Self::parse(Path::new("text"), text).unwrap()
    }

    fn parse(path: &Path, text: &str) -> Result<Self, PasswordFileError> {
        let mut users = HashMap::new();
        for line in lines(path, text) {
            if let PasswordLine::User { name, hash } = line? {
                users.insert(Box::from(name), PasswordEntry { hash, client_id: None, verified: OnceLock::new() });
            }
        }
        let usual = usual(&users);
        Ok(Self { users, usual })
    }

    fn of_users(users: Vec<NamedUser>) -> Self {
        let entry = |NamedUser { name, hash, client_id }: NamedUser| {
            (name, PasswordEntry { hash, client_id, verified: OnceLock::new() })
        };
        let users = users.into_iter().map(entry).collect();
        let usual = usual(&users);
        Self { users, usual }
    }

    /// Whether the user may connect with this Client Identifier.
    pub(super) fn may_have(&self, user: &str, client_id: &str) -> bool {
        let own = self.users.get(user).and_then(|entry| entry.client_id.as_deref());
        own.is_none_or(|own| own == client_id)
    }

    pub(super) fn has(&self, user: &str) -> bool {
        self.users.contains_key(user)
    }

    /// Whether the user proves who it is by a random token.
    pub(super) fn has_token(&self, user: &str) -> bool {
        self.users.get(user).is_some_and(|entry| entry.hash.is_fast())
    }

    /// Whether these are the credentials of a user. Takes as long if there is no such user.
    pub(super) fn verify(&self, user: &str, password: &[u8]) -> bool {
        match self.users.get(user) {
            Some(entry) if !entry.hash.is_fast() => entry.hash.verify(password),
            // A token was compared before, and was wrong.
            _ => {
                if let Some(usual) = self.usual_hash() {
                    // What comes out is of no account: `black_box` keeps the compiler from leaving it out.
                    std::hint::black_box(usual.verify(password));
                }
                false
            }
        }
    }

    fn usual_hash(&self) -> Option<&PasswordHash> {
        self.users.get(self.usual.as_ref()?).map(|entry| &entry.hash)
    }

    /// The bytes of memory that [`PasswordTable::verify`] takes for this user.
    pub(super) fn memory(&self, user: &str) -> usize {
        let hash = self.users.get(user).map(|entry| &entry.hash).filter(|hash| !hash.is_fast());
        hash.or_else(|| self.usual_hash()).map_or(0, PasswordHash::memory)
    }

    /// The most bytes of memory that a check takes.
    pub(super) fn most_memory(&self) -> usize {
        self.users.values().map(|entry| entry.hash.memory()).max().unwrap_or(0)
    }
}

/// A user whose hash costs what most hashes cost that take long.
fn usual(users: &HashMap<Box<str>, PasswordEntry>) -> Option<Box<str>> {
    let mut kinds: Vec<(&str, &PasswordHash, usize)> = Vec::new();
    for (name, entry) in users.iter().filter(|(_, entry)| !entry.hash.is_fast()) {
        if let Some((_, _, count)) = kinds.iter_mut().find(|(_, hash, _)| hash.costs_as(&entry.hash)) {
            *count += 1;
        } else if kinds.len() < 16 {
            // A file with more kinds than these is none that programs have made.
            kinds.push((name, &entry.hash, 1));
        }
    }
    kinds.into_iter().max_by_key(|(_, _, count)| *count).map(|(name, ..)| name.into())
}

/// A line of a password file.
pub(crate) enum PasswordLine<'a> {
    User {
        name: &'a str,
        hash: PasswordHash,
    },
    /// An empty line, or one that begins with `#`.
    Comment,
}

/// Reads a password file as text.
///
/// # Errors
/// It can't be read, or is no text.
pub(crate) fn read_text(path: &Path) -> Result<Zeroizing<String>, PasswordFileError> {
    /// Room for a hundred thousand users; a device like /dev/zero never ends.
    const MOST: u64 = 16 << 20;
    let fault = |message: String| PasswordFileError { file: path.to_owned(), line: 0, message };
    let mut text = Zeroizing::new(String::new());
    let read = File::open(path).and_then(|file| file.take(MOST + 1).read_to_string(&mut text));
    match read {
        Ok(_) if text.len() as u64 > MOST => Err(fault(format!("it has more than {MOST} bytes"))),
        Ok(_) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Err(fault("it is not UTF-8 text".to_owned())),
        Err(error) => Err(fault(error.to_string())),
    }
}

/// The lines of a password file, up to the first one that makes no sense.
pub(crate) fn lines<'a>(
    path: &'a Path,
    text: &'a str,
) -> impl Iterator<Item = Result<PasswordLine<'a>, PasswordFileError>> {
    let mut seen = HashMap::new();
    (1..).zip(text.lines()).map(move |(number, line)| {
        let fault = |message: String| PasswordFileError { file: path.to_owned(), line: number, message };
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            return Ok(PasswordLine::Comment);
        }
        let (name, hash) = line.split_once(':').ok_or_else(|| fault("it is no USER:HASH".to_owned()))?;
        check_name(name).map_err(fault)?;
        if let Some(before) = seen.insert(name, number) {
            return Err(fault(format!("the user {name:?} has a line already, line {before}")));
        }
        let hash = PasswordHash::parse(hash).map_err(|why| fault(format!("the line of {name:?}: {why}")))?;
        Ok(PasswordLine::User { name, hash })
    })
}

/// Checks that a user may have this name in a password file.
///
/// # Errors
/// What is wrong with the name, in words.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > Principals::NAME_BYTES {
        return Err(format!("the name of a user has from 1 to {} bytes, not {}", Principals::NAME_BYTES, name.len()));
    }
    if name.starts_with('#') || name.contains(|c: char| c == ':' || c.is_control()) {
        return Err(format!(
            "{name:?} can't be a user: there may be no colon and no control character, and no # in front"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::sync::Mutex;

    const ANN: &str = "ann:$7$101$AAECAwQFBgcICQoL$of6QTLo6Zcm+jM/wL4Yzv65dImj2WbOmx9DOpI/0124ytTbhSKlaTKDaIzE9LdFSscWNGdNEJqdqjiCCP5wY1Q==";
    const BEN: &str = "ben:$6$AAECAwQFBgcICQoL$DrAjfvL+EwKcu1iXKE1DJ21LxA+xXkCyyLewWUSBW7FrupvJoMgqMsurM6DumEK8eo2MFfIhZARkl39hw+b2sA==";
    const PUMP: &str = "pump:$token$U/0UtMRhiuWlRJY8xmr3ZmXXx4j5KohdFIZL3Nd37Rg=";
    const TOKEN: &[u8] = b"gct_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";

    struct Written(PathBuf);

    impl Written {
        fn new(name: &str, text: &str) -> Self {
            let path = std::env::temp_dir().join(format!("goldcrest-passwords-{name}-{}", std::process::id()));
            fs::write(&path, text).unwrap();
            Self(path)
        }
    }

    impl Drop for Written {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    type Told = Arc<Mutex<Vec<Box<str>>>>;

    fn file(written: &Written) -> Result<(PasswordFile, Told), PasswordFileError> {
        let removed = Arc::new(Mutex::new(Vec::new()));
        let told = removed.clone();
        let note = move |users: &[Box<str>]| told.lock().unwrap().extend(users.iter().cloned());
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
        PasswordFile::read(&written.0, key, Box::new(note)).map(|file| (file, removed))
    }

    #[test]
    fn credentials_that_were_right_are_known_at_once_until_the_line_changes() {
        let written = Written::new("known", &format!("# people\n{ANN}\r\n\n{BEN}\n{PUMP}\n"));
        let (file, removed) = file(&written).unwrap();
        let look_up = |user: &str, password: &[u8]| file.look_up(&file.table(), user, password);
        assert_eq!(look_up("ann", b"seven"), Known::Unclear);
        assert!(file.table().verify("ann", b"seven") && !file.table().verify("ann", b"six"));
        file.note_right(&file.table(), "ann", &Secret::from(&b"seven"[..]));
        assert_eq!(look_up("ann", b"seven"), Known::Right);
        assert_eq!(look_up("ann", b"eight"), Known::Unclear);
        assert_eq!(look_up("ben", b"seven"), Known::Unclear);
        assert_eq!(look_up("ann ", b"seven"), Known::Unclear);
        assert!(!file.table().has("ann ") && !file.table().verify("ann ", b"seven"));
        fs::write(&written.0, format!("{ANN}\n{PUMP}\n")).unwrap();
        file.refresh(Refresh::All);
        assert_eq!(*removed.lock().unwrap(), [Box::from("ben")]);
        assert_eq!(look_up("ann", b"seven"), Known::Right, "an unchanged line");
        assert!(!file.table().has("ben") && !file.table().verify("ben", b"six"));
        fs::write(&written.0, ANN.replace("$101$", "$102$")).unwrap();
        file.refresh(Refresh::All);
        assert_eq!(look_up("ann", b"seven"), Known::Unclear, "a changed line");
        assert!(!file.table().verify("ann", b"seven"));
    }

    #[test]
    fn a_token_is_compared_at_once_and_a_wrong_one_takes_as_long_as_an_unknown_user() {
        let written = Written::new("token", PUMP);
        let (file, _) = file(&written).unwrap();
        let look_up = |password: &[u8]| file.look_up(&file.table(), "pump", password);
        assert_eq!((look_up(TOKEN), look_up(b"x")), (Known::Right, Known::Wrong));
        assert_eq!((file.table().memory("pump"), file.table().memory("nobody")), (0, 0));
        let slow =
            "cleo:$argon2id$v=19$m=64,t=2,p=1$AAECAwQFBgcICQoLDA0ODw$W6hpjFzn86SjuBPdULe8r0DI6lbdn6yreBMJelpuRbw";
        fs::write(&written.0, format!("{PUMP}\n{slow}\n")).unwrap();
        file.refresh(Refresh::All);
        assert_eq!((look_up(TOKEN), look_up(b"x")), (Known::Right, Known::Unclear));
        let table = file.table();
        assert_eq!(["pump", "nobody", "cleo"].map(|user| table.memory(user)), [64 * 1024; 3]);
        assert!(!table.verify("nobody", b"small") && !table.verify("pump", TOKEN) && table.verify("cleo", b"small"));
    }

    #[test]
    fn a_file_with_a_line_that_makes_no_sense_is_refused_as_a_whole_and_the_old_one_stays() {
        let written = Written::new("mistakes", &format!("{ANN}\n"));
        let (file, removed) = file(&written).unwrap();
        for (text, why) in [
            (format!("{BEN}\nann\n"), ":2: it is no USER:HASH"),
            (format!("{BEN}\n\n{BEN}\n"), ":3: the user \"ben\" has a line already, line 1"),
            ("ben:secret\n".to_owned(), ":1: the line of \"ben\": it has no hash of a known kind"),
            (":$6$a$b\n".to_owned(), ":1: the name of a user has from 1 to 256 bytes, not 0"),
            ("a\u{1b}b:$6$a$b\n".to_owned(), ":1: \"a\\u{1b}b\" can't be a user"),
        ] {
            fs::write(&written.0, &text).unwrap();
            file.refresh(Refresh::All);
            let fault = file.faults().concat();
            assert!(fault.contains(why) && !fault.contains("secret"), "{fault}");
            assert!(file.table().verify("ann", b"seven"));
        }
        assert!(removed.lock().unwrap().is_empty());
        fs::write(&written.0, [0xff, 0xfe]).unwrap();
        file.refresh(Refresh::All);
        assert!(file.faults()[0].contains("it is not UTF-8 text"));
        fs::write(&written.0, "").unwrap();
        file.refresh(Refresh::Changed);
        assert!(file.table().verify("ann", b"seven"), "a file that was written a moment ago may be written still");
        file.refresh(Refresh::All);
        assert!(file.faults().is_empty() && !file.table().verify("ann", b"seven"), "an empty file has no users");
    }
}
