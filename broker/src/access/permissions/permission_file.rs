//! The file with the permissions: read at the start, and anew when it has changed.

use super::denials::{DenialCounts, Denials};
use super::rule_authorizer::RulesInUse;
use super::rule_set::RuleSet;
use super::{acl_file, toml_file};
use crate::access::Principals;
use crate::config::{ConfigError, PermissionSource, Refresh, WatchedFiles, read_text};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// The permissions of a gateway that has a file of them.
#[derive(Debug)]
pub(crate) struct PermissionFile {
    source: PermissionSource,
    watched: WatchedFiles,
    counts: Arc<DenialCounts>,
    /// The rules that were read last.
    set: Mutex<Arc<RuleSet>>,
}

impl PermissionFile {
    /// The most bytes of the file.
    const MOST_BYTES: usize = 16 << 20;

    /// Reads the file for the first time.
    ///
    /// # Errors
    /// The file can't be read, or has a mistake. The gateway must not start then.
    pub(crate) fn open(source: &PermissionSource) -> Result<Self, ConfigError> {
        let path = source.path();
        let contents = format!("the permissions in {}", path.display());
        let read = || read(source);
        let (watched, set) = WatchedFiles::read(vec![path.to_owned()], contents, read)?;
        if set.is_empty() {
            tracing::warn!("{} has no rules: nobody may publish or subscribe", path.display());
        }
        Ok(Self { source: source.clone(), watched, counts: Arc::default(), set: Mutex::new(Arc::new(set)) })
    }

    /// Puts the rules that were read last to use.
    pub(crate) fn rules(&self, principals: Arc<Principals>) -> Arc<RulesInUse> {
        let set = self.set.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Arc::new(RulesInUse::new(set, principals))
    }

    /// A shard's notes of what it denies.
    pub(crate) fn denials(&self) -> Arc<Denials> {
        Arc::new(Denials::new(self.counts.clone()))
    }

    /// How often something was denied.
    pub(crate) fn counts(&self) -> &Arc<DenialCounts> {
        &self.counts
    }

    /// Reads the file anew if it has changed, or in any case. Returns whether there are other rules now. If the file can't be used the old
    /// rules stay.
    pub(crate) fn refresh(&self, which: Refresh) -> bool {
        let set = self.watched.refresh_whole(which, || self.read_anew());
        let is_new = set.is_some();
        if let Some(set) = set {
            tracing::info!(users = set.users(), "the permissions in {} were read anew", self.source.path().display());
            *self.set.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(set);
        }
        is_new
    }

    /// Why the file can't be used as it is now; `None` if its rules hold.
    pub(crate) fn fault(&self) -> Option<String> {
        self.watched.fault()
    }

    fn read_anew(&self) -> Result<RuleSet, ConfigError> {
        let set = read(&self.source)?;
        if set.is_empty() {
            let message = "it has no rules; to have no rules hold, start anew with this file".to_owned();
            return Err(ConfigError { file: self.source.path().to_owned(), line: 0, key: String::new(), message });
        }
        Ok(set)
    }
}

fn read(source: &PermissionSource) -> Result<RuleSet, ConfigError> {
    match source {
        PermissionSource::Toml(path) => {
            let text = read_text(path, PermissionFile::MOST_BYTES)?;
            toml_file::read(path, text.strip_prefix('\u{feff}').unwrap_or(&text))
        }
        PermissionSource::AclFile(path) => acl_file::read(path, &read_bytes(path)?),
    }
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let mistake = |message: String| ConfigError { file: path.to_owned(), line: 0, key: String::new(), message };
    let most = PermissionFile::MOST_BYTES;
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(most as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|error| mistake(error.to_string()))?;
    if bytes.len() > most {
        return Err(mistake(format!("it has more than {most} bytes")));
    }
    Ok(bytes)
}
