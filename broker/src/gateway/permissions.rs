//! The rules of all shards, from the file that the configuration names.

use super::StartError;
use super::security::SecurityOfShards;
use crate::access::{
    Access, Authenticator, Denials, DynamicSecurity, NamedUser, PermissionFile, Principals, RuleAuthorizer,
};
use crate::admin::PermissionReport;
use crate::config::{Config, FromFiles, Refresh};
use crate::shard::{Mailboxes, ShardRules};
use goldcrest_core::Permissions;
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

/// The files with rules that the configuration names, of which there is one at most.
pub(super) struct OpenRules {
    permissions: Option<PermissionFile>,
    security: Option<Arc<DynamicSecurity>>,
}

/// Where the rules of a gateway come from: from one of these at most.
#[derive(Debug, Default)]
pub(super) struct RuleSources {
    pub(super) file: Option<Arc<RulesOfShards>>,
    pub(super) security: Option<Arc<SecurityOfShards>>,
}

impl OpenRules {
    /// Reads the file with rules that the configuration names.
    ///
    /// # Errors
    /// The file can't be used, or somebody else decides, too.
    pub(super) fn read(config: &Config, access: &Access) -> Result<Self, StartError> {
        let is_named = config.permissions.is_some() || config.dynamic_security.is_some();
        let are_both = config.permissions.is_some() && config.dynamic_security.is_some();
        if are_both || (is_named && access.permissions.is_some()) {
            return Err(StartError::PermissionsTwice);
        }
        let has_passwords = config.authentication.password_file.is_some() || access.decider.is_some();
        if config.dynamic_security.is_some() && has_passwords {
            return Err(StartError::UsersTwice);
        }
        let permissions = config.permissions.as_ref().map(PermissionFile::open).transpose();
        let security = config.dynamic_security.as_deref().map(DynamicSecurity::open).transpose();
        Ok(Self {
            permissions: permissions.map_err(StartError::Permissions)?,
            security: security.map_err(StartError::Permissions)?.map(Arc::new),
        })
    }

    /// The users of dynamic security.
    pub(super) fn users(&self) -> Option<Vec<NamedUser>> {
        self.security.as_ref().map(|security| security.users())
    }

    pub(super) fn in_use(
        self,
        principals: &Arc<Principals>,
        mailboxes: &Arc<Mailboxes>,
        authenticator: Option<&Arc<Authenticator>>,
    ) -> RuleSources {
        let file = |file| Arc::new(RulesOfShards::new(file, principals.clone(), mailboxes.clone()));
        let security = |(security, authenticator): (_, &Arc<Authenticator>)| {
            Arc::new(SecurityOfShards::new(security, authenticator.clone(), principals.clone(), mailboxes.clone()))
        };
        // With dynamic security there is a source of users, and so an authenticator.
        RuleSources { file: self.permissions.map(file), security: self.security.zip(authenticator).map(security) }
    }
}

impl RuleSources {
    /// What each shard asks, in the order of the shards; `None` if no file says who may do what.
    pub(super) fn of_shards(&self) -> Option<Vec<ShardRules>> {
        let of_file = self.file.as_ref().map(|file| file.of_shards());
        of_file.or_else(|| self.security.as_ref().map(|security| security.of_shards()))
    }

    /// For operators.
    pub(super) fn report(&self) -> Option<PermissionReport> {
        let of_file = |rules: &Arc<RulesOfShards>| {
            let denied = rules.file.counts().clone();
            PermissionReport { denied, file: Some(rules.file.clone()) }
        };
        let of_security = |security: &Arc<SecurityOfShards>| PermissionReport { denied: security.counts(), file: None };
        self.file.as_ref().map(of_file).or_else(|| self.security.as_ref().map(of_security))
    }
}

impl RulesOfShards {
    pub(super) fn new(file: PermissionFile, principals: Arc<Principals>, mailboxes: Arc<Mailboxes>) -> Self {
        let denials = (0..mailboxes.shards()).map(|_| file.denials()).collect();
        Self { file: Arc::new(file), principals, denials, mailboxes }
    }

    /// What each shard asks, and where it notes what was denied, in the order of the shards.
    pub(super) fn of_shards(&self) -> Vec<ShardRules> {
        let rules = self.file.rules(self.principals.clone());
        let of_shard = |denials: &Arc<Denials>| {
            let authorizer = Arc::new(RuleAuthorizer::new(rules.clone(), denials.clone()));
            (Permissions::from(authorizer), denials.clone())
        };
        self.denials.iter().map(of_shard).collect()
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
        for (shard, (permissions, _)) in (0..).zip(self.of_shards()) {
            self.mailboxes.tell(shard, Box::new(move |now, broker| broker.set_authorize(now, permissions)));
        }
    }

    fn faults(&self) -> Vec<String> {
        self.file.fault().into_iter().collect()
    }
}
