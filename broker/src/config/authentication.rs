//! The table `[authentication]`: the sources of users, and which of them a listener has.

use super::http_hook::{HttpHookConfig, HttpHookTable, SecretSource};
use super::jwt::{JwtConfig, JwtKeys, JwtTable};
use super::values::{Boolean, Integer, Keys, Table, Value, Word, string};
use serde::{Deserialize, Deserializer};
use std::path::PathBuf;

/// Where users and their proofs come from. Without any source all clients are anonymous.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthenticationConfig {
    /// The file with the users and the hashes of their passwords: see `goldcrest passwd`. Files of mosquitto_passwd are read as they are.
    pub password_file: Option<PathBuf>,
    /// JSON Web Tokens.
    pub jwt: Option<JwtConfig>,
    /// A web service that knows the users.
    pub http: Option<HttpHookConfig>,
    /// Whether a user gets the Session of an anonymous client with the same Client Identifier that is not connected. Without this such a user is
    /// refused (0x87) as long as the Session is there.
    pub adopt_anonymous_sessions: bool,
    /// When a user is banned who fails to prove who they are.
    pub bans: BanLimits,
}

/// When a user is banned at an address, after failures in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BanLimits {
    /// So many failures in a row begin a ban. 0: nobody is banned, and nobody has to wait after failures.
    pub failures: u32,
    /// How long a ban lasts.
    pub minutes: u32,
}

impl Default for BanLimits {
    fn default() -> Self {
        Self { failures: 10, minutes: 5 }
    }
}

impl AuthenticationConfig {
    /// Whether something is read from files, which may change.
    pub(super) fn names_files(&self) -> bool {
        let has_keys = |jwt: &JwtConfig| !matches!(jwt.keys, JwtKeys::Environment(_));
        let has_secrets =
            |hook: &HttpHookConfig| hook.ca_file.is_some() || matches!(hook.authorization, Some(SecretSource::File(_)));
        self.password_file.is_some()
            || self.jwt.as_ref().is_some_and(has_keys)
            || self.http.as_ref().is_some_and(has_secrets)
    }
}

/// A source of users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthenticationSource {
    /// The certificate of the client, which names the user.
    Certificate,
    /// A JSON Web Token, which names the user.
    Jwt,
    /// The password file, or that of dynamic security.
    Password,
    /// A web service. It decides about all users that no source before it knows.
    Http,
}

/// Which name in a certificate is that of the user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum UserNameFrom {
    /// The first Common Name of the subject.
    #[default]
    CommonName,
    /// The first host name among the Subject Alternative Names.
    DnsName,
    /// The first URI among them.
    Uri,
    /// The first address for email among them.
    Email,
    /// The SHA-256 of the certificate, as 64 lowercase hexadecimal digits.
    Fingerprint,
}

impl Word for AuthenticationSource {
    const WORDS: &'static [(&'static str, Self)] =
        &[("certificate", Self::Certificate), ("jwt", Self::Jwt), ("password", Self::Password), ("http", Self::Http)];
}

impl Word for UserNameFrom {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("cn", Self::CommonName),
        ("san_dns", Self::DnsName),
        ("san_uri", Self::Uri),
        ("san_email", Self::Email),
        ("fingerprint", Self::Fingerprint),
    ];
}

/// The keys of the table `[authentication]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuthenticationKeys {
    #[serde(default, deserialize_with = "path")]
    password_file: Option<PathBuf>,
    jwt: Option<Table<JwtTable>>,
    http: Option<Table<HttpHookTable>>,
    adopt_anonymous_sessions: Option<Boolean>,
    ban_after: Option<Integer<u32, 0, 1_000_000>>,
    ban_minutes: Option<Integer<u32, 1, 10_080>>,
}

impl Keys for AuthenticationKeys {
    const ALLOWED: &'static str = "a table: [authentication]";
}

impl AuthenticationKeys {
    pub(super) fn apply(self, authentication: &mut AuthenticationConfig) {
        let given = authentication.password_file.take();
        authentication.password_file = self.password_file.or(given);
        authentication.jwt = self.jwt.and_then(|table| table.0.config()).or(authentication.jwt.take());
        authentication.http = self.http.map(|table| table.0.config()).or(authentication.http.take());
        if let Some(adopt) = self.adopt_anonymous_sessions {
            authentication.adopt_anonymous_sessions = adopt.get();
        }
        let bans = &mut authentication.bans;
        bans.failures = self.ban_after.map_or(bans.failures, Value::get);
        bans.minutes = self.ban_minutes.map_or(bans.minutes, Value::get);
    }
}

fn path<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    string(from, "the path of a file", |path| (!path.is_empty()).then(|| PathBuf::from(path))).map(Some)
}
