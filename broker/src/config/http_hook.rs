//! The table `[authentication.http]`: a web service that decides who may connect.

use super::secret_path::{secret_path, variable};
use super::values::{Fault, Integer, Keys, OneOf, Value as _, Word, string};
use hyper::Uri;
use serde::{Deserialize, Deserializer};
use std::path::PathBuf;

/// How a web service is asked whether a client may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpHookConfig {
    /// The address of the service, with `http` or `https`.
    pub url: String,
    /// What the service understands and answers.
    pub dialect: HookDialect,
    /// How the contents of the CONNECT are sent.
    pub params: HookParams,
    /// The certificates that the service's certificate must be signed by, in PEM; `None`: those that the system trusts.
    pub ca_file: Option<PathBuf>,
    /// Where the value of the header Authorization is, by which the gateway proves who it is; `None`: the header is not sent.
    pub authorization: Option<SecretSource>,
    /// The time in milliseconds in which the service must answer.
    pub timeout_ms: u32,
    /// For how many seconds a client that was accepted is accepted again without a question.
    pub cache_s: u32,
    /// For how many seconds a client that was accepted is accepted again if the service does not answer.
    pub stale_ok_s: u32,
}

/// The protocol of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HookDialect {
    /// That of EMQX's HTTP authentication: `{"result": "allow"}`, with `expire_at`.
    Emqx,
    /// That of mosquitto-go-auth's HTTP backend, where this part of the answer decides.
    GoAuth(GoAuthResponse),
}

/// Which part of the answer of a service for mosquitto-go-auth decides, its `response_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GoAuthResponse {
    /// The status: 2xx is a yes.
    Status,
    /// The body: `{"ok": true}` is a yes.
    Json,
    /// The body: `ok` is a yes.
    Text,
}

/// How the contents of the CONNECT are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HookParams {
    /// As a JSON object.
    Json,
    /// As the fields of a form.
    Form,
}

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretSource {
    /// In a file. A line end after it is not a part of it.
    File(PathBuf),
    /// In a variable of the environment.
    Environment(String),
}

impl HttpHookConfig {
    /// A service at this address, asked in this way, with the defaults of all other fields.
    pub fn new(url: &str, dialect: HookDialect) -> Self {
        Self {
            url: url.to_owned(),
            dialect,
            params: HookParams::Json,
            ca_file: None,
            authorization: None,
            timeout_ms: 2000,
            cache_s: 60,
            stale_ok_s: 0,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DialectWord {
    Emqx,
    GoAuth,
}

impl Word for DialectWord {
    const WORDS: &'static [(&'static str, Self)] = &[("emqx", Self::Emqx), ("mosquitto-go-auth", Self::GoAuth)];
}

impl Word for GoAuthResponse {
    const WORDS: &'static [(&'static str, Self)] =
        &[("status", Self::Status), ("json", Self::Json), ("text", Self::Text)];
}

impl Word for HookParams {
    const WORDS: &'static [(&'static str, Self)] = &[("json", Self::Json), ("form", Self::Form)];
}

/// The keys of the table `[authentication.http]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpHookTable {
    #[serde(deserialize_with = "url")]
    url: String,
    dialect: OneOf<DialectWord>,
    params: Option<OneOf<HookParams>>,
    response: Option<OneOf<GoAuthResponse>>,
    #[serde(default, deserialize_with = "secret_path")]
    ca_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "secret_path")]
    authorization_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "variable")]
    authorization_env: Option<String>,
    timeout_ms: Option<Integer<u32, 100, 5000>>,
    cache_s: Option<Integer<u32, 0, 86_400>>,
    stale_ok_s: Option<Integer<u32, 0, 604_800>>,
}

impl Keys for HttpHookTable {
    const ALLOWED: &'static str = "a table: [authentication.http]";

    fn check(&self) -> Result<(), Fault> {
        let fault = |message: &str| Err(Fault::Other(message.to_owned()));
        if self.response.is_some() && self.dialect.get() != DialectWord::GoAuth {
            return fault("response is about dialect = \"mosquitto-go-auth\"");
        }
        if self.authorization_file.is_some() && self.authorization_env.is_some() {
            return fault("authorization_file and authorization_env: the header comes from one of them");
        }
        if self.ca_file.is_some() && !self.url.starts_with("https:") {
            return fault("ca_file is about a url with https");
        }
        Ok(())
    }
}

impl HttpHookTable {
    pub(super) fn config(self) -> HttpHookConfig {
        let dialect = match self.dialect.get() {
            DialectWord::Emqx => HookDialect::Emqx,
            DialectWord::GoAuth => {
                HookDialect::GoAuth(self.response.map_or(GoAuthResponse::Status, |response| response.get()))
            }
        };
        let default = HttpHookConfig::new(&self.url, dialect);
        let file = self.authorization_file.map(SecretSource::File);
        HttpHookConfig {
            params: self.params.map_or(default.params, |it| it.get()),
            ca_file: self.ca_file,
            authorization: file.or(self.authorization_env.map(SecretSource::Environment)),
            timeout_ms: self.timeout_ms.map_or(default.timeout_ms, |it| it.get()),
            cache_s: self.cache_s.map_or(default.cache_s, |it| it.get()),
            stale_ok_s: self.stale_ok_s.map_or(default.stale_ok_s, |it| it.get()),
            ..default
        }
    }
}

/// Reads the address of a service. A user name or password in it would be a secret in the configuration.
fn url<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let allowed =
        "an address like \"http://127.0.0.1:8080/auth\" or \"https://users.example/auth\", without a user name in it";
    string(from, allowed, |text| is_url(text).then(|| text.to_owned()))
}

fn is_url(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    let has_host = uri.authority().is_some_and(|it| !it.host().is_empty() && !it.as_str().contains('@'));
    has_host && matches!(uri.scheme_str(), Some("http" | "https"))
}
