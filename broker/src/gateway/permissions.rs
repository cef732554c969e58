//! The rules of all shards, from the file that the configuration names.

use super::StartError;
use crate::access::{Access, Denials, PermissionFile, Principals, RuleAuthorizer};
use crate::config::{Config, FromFiles, Refresh};
use crate::shard::Mailboxes;
use std::fmt;
use std::sync::Arc;

/// The rules of all shards.
pub(crate) struct RulesOfShards {
    file: Arc<PermissionFile>,
    principals: Arc<Principals>,
    /// The notes of each shard.
    denials: Vec<Arc<Denials>>,
    mailboxes: Arc<Mailboxes>,
}

/// Reads the file with the permissions; `None` if the configuration names none.
///
/// # Errors
/// The file can't be used, or the embedding program decides, too.
pub(super) fn open(config: &Config, access: &Access) -> Result<Option<PermissionFile>, StartError> {
    let Some(source) = &config.permissions else { return Ok(None) };
    if access.permissions.is_some() {
        return Err(StartError::PermissionsTwice);
    }
    PermissionFile::open(source).map(Some).map_err(StartError::Permissions)
}

impl RulesOfShards {
    pub(super) fn new(file: PermissionFile, principals: Arc<Principals>, mailboxes: Arc<Mailboxes>) -> Self {
        let denials = (0..mailboxes.shards()).map(|_| file.denials()).collect();
        Self { file: Arc::new(file), principals, denials, mailboxes }
    }

    /// What each shard asks, and where it notes what was denied, in the order of the shards.
    pub(super) fn of_shards(&self) -> Vec<(Arc<RuleAuthorizer>, Arc<Denials>)> {
        let rules = self.file.rules(self.principals.clone());
        let of_shard =
            |denials: &Arc<Denials>| (Arc::new(RuleAuthorizer::new(rules.clone(), denials.clone())), denials.clone());
        self.denials.iter().map(of_shard).collect()
    }

    /// For operators.
    pub(super) fn file(&self) -> Arc<PermissionFile> {
        self.file.clone()
    }
}

impl fmt::Debug for RulesOfShards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RulesOfShards").field("file", &self.file).finish_non_exhaustive()
    }
}

impl FromFiles for RulesOfShards {
    /// Each shard changes to the new rules in its next turn. All its answers are by the old rules before, and by the new ones from then on.
    fn refresh(&self, which: Refresh) {
        if !self.file.refresh(which) {
            return;
        }
        for (shard, (authorizer, _)) in (0..).zip(self.of_shards()) {
            self.mailboxes.tell(shard, Box::new(move |now, broker| broker.set_authorize(now, authorizer)));
        }
    }

    fn faults(&self) -> Vec<String> {
        self.file.fault().into_iter().collect()
    }
}
