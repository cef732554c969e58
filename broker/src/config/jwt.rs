//! The table `[authentication.jwt]`: users who prove who they are by a JSON Web Token.

use super::secret_path::{secret_path, text, variable};
use super::values::{Fault, Integer, Keys, OneOf, Value as _, Word};
use serde::Deserialize;
use std::fmt;
use std::path::PathBuf;

/// How tokens are signed, by which keys, and what must stand in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtConfig {
    /// The one algorithm by which all tokens are signed. Tokens that name another one are refused.
    pub algorithm: JwtAlgorithm,
    /// Where the keys are.
    pub keys: JwtKeys,
    /// The claim with the name of the user.
    pub user_claim: String,
    /// The issuer that tokens must name; `None`: any.
    pub issuer: Option<String>,
    /// The audience that tokens must be for; `None`: tokens for an audience are refused.
    pub audience: Option<String>,
    /// By how many seconds the clock of the issuer may differ.
    pub leeway_s: u32,
}

/// Where the keys for tokens are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JwtKeys {
    /// A file with the public key or the certificate of the issuer in PEM, or for HS256 with the shared secret.
    KeyFile(PathBuf),
    /// A JWKS file. Of its keys those for the configured algorithm are used.
    JwksFile(PathBuf),
    /// A variable of the environment with what would stand in the file with the key.
    Environment(String),
}

/// How a token is signed (RFC 7518, section 3.1; RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JwtAlgorithm {
    /// HMAC with SHA-256. Whoever can check tokens can make them.
    Hs256,
    /// RSA with SHA-256, by PKCS #1 v1.5.
    Rs256,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// EdDSA with Ed25519.
    EdDsa,
}

impl Default for JwtConfig {
    fn default() -> Self {
        Self {
            algorithm: JwtAlgorithm::Es256,
            keys: JwtKeys::KeyFile(PathBuf::new()),
            user_claim: "sub".to_owned(),
            issuer: None,
            audience: None,
            leeway_s: 5,
        }
    }
}

impl JwtAlgorithm {
    /// The key that it needs, for errors.
    pub(crate) fn needs(self) -> &'static str {
        match self {
            Self::Hs256 => "a shared secret",
            Self::Rs256 => "an RSA key",
            Self::Es256 => "a key of P-256",
            Self::EdDsa => "a key of Ed25519",
        }
    }
}

impl Word for JwtAlgorithm {
    const WORDS: &'static [(&'static str, Self)] =
        &[("HS256", Self::Hs256), ("RS256", Self::Rs256), ("ES256", Self::Es256), ("EdDSA", Self::EdDsa)];
}

impl fmt::Display for JwtAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Self::WORDS.iter().find(|(_, algorithm)| algorithm == self);
        f.write_str(word.map_or("", |(word, _)| word))
    }
}

/// The keys of the table `[authentication.jwt]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JwtTable {
    algorithm: OneOf<JwtAlgorithm>,
    #[serde(default, deserialize_with = "secret_path")]
    key_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "secret_path")]
    jwks_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "variable")]
    key_env: Option<String>,
    #[serde(default, deserialize_with = "text")]
    user_claim: Option<String>,
    #[serde(default, deserialize_with = "text")]
    issuer: Option<String>,
    #[serde(default, deserialize_with = "text")]
    audience: Option<String>,
    leeway_s: Option<Integer<u32, 0, 3600>>,
}

impl JwtTable {
    fn places(&self) -> impl Iterator<Item = JwtKeys> + use<> {
        let file = self.key_file.clone().map(JwtKeys::KeyFile);
        let set = self.jwks_file.clone().map(JwtKeys::JwksFile);
        let variable = self.key_env.clone().map(JwtKeys::Environment);
        file.into_iter().chain(set).chain(variable)
    }

    /// `None` never comes from a table whose keys were checked.
    pub(super) fn config(self) -> Option<JwtConfig> {
        let default = JwtConfig::default();
        Some(JwtConfig {
            algorithm: self.algorithm.get(),
            keys: self.places().next()?,
            user_claim: self.user_claim.unwrap_or(default.user_claim),
            issuer: self.issuer,
            audience: self.audience,
            leeway_s: self.leeway_s.map_or(default.leeway_s, |it| it.get()),
        })
    }
}

impl Keys for JwtTable {
    const ALLOWED: &'static str = "a table: [authentication.jwt]";

    fn check(&self) -> Result<(), Fault> {
        match self.places().count() {
            1 => Ok(()),
            0 => Err(Fault::Other("the keys are missing: name key_file, jwks_file or key_env".to_owned())),
            _ => Err(Fault::Other("key_file, jwks_file, key_env: the keys come from one of them".to_owned())),
        }
    }
}
