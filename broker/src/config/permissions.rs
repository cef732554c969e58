//! The tables `[permissions]` and `[dynamic_security]`: which file says who may do what.

use super::Config;
use super::values::{Fault, Keys, OneOf, Value as _, Word, path};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The file that says who may publish and subscribe to what.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PermissionSource {
    /// A TOML file with roles, rules and users.
    Toml(PathBuf),
    /// A file as Mosquitto's `acl_file`.
    AclFile(PathBuf),
}

impl PermissionSource {
    /// The path of the file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Toml(path) | Self::AclFile(path) => path,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PermissionKeys {
    #[serde(default, deserialize_with = "path")]
    file: Option<PathBuf>,
    #[serde(default, deserialize_with = "path")]
    acl_file: Option<PathBuf>,
    denied_publish: Option<OneOf<DeniedPublish>>,
}

impl Keys for PermissionKeys {
    const ALLOWED: &'static str = "a table: [permissions]";

    fn check(&self) -> Result<(), Fault> {
        match (&self.file, &self.acl_file) {
            (Some(_), Some(_)) => {
                Err(Fault::Other("file and acl_file: the permissions come from one of them".to_owned()))
            }
            _ => Ok(()),
        }
    }
}

/// What a client of MQTT 3.1 or 3.1.1 gets that may not publish what it published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DeniedPublish {
    Acknowledge,
    Close,
}

impl Word for DeniedPublish {
    const WORDS: &'static [(&'static str, Self)] = &[("acknowledge", Self::Acknowledge), ("close", Self::Close)];
}

impl PermissionKeys {
    pub(super) fn apply(self, config: &mut Config) {
        let source = self.file.map(PermissionSource::Toml).or(self.acl_file.map(PermissionSource::AclFile));
        config.permissions = source.or(config.permissions.take());
        if let Some(denied) = self.denied_publish {
            config.broker.closes_denied_publishers = denied.get() == DeniedPublish::Close;
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DynamicSecurityKeys {
    #[serde(default, deserialize_with = "path")]
    file: Option<PathBuf>,
}

impl Keys for DynamicSecurityKeys {
    const ALLOWED: &'static str = "a table: [dynamic_security]";
}

impl DynamicSecurityKeys {
    pub(super) fn apply(self, config: &mut Config) {
        config.dynamic_security = self.file.or(config.dynamic_security.take());
    }
}
