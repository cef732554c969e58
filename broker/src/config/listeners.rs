//! The listeners of the configuration: an address each, and what its clients speak.

use super::address::{ListenAddress, listen_addresses};
use super::values::{Boolean, Fault, Integer, Keys, OneOf, Table, Value, Word, list, list_of_some, string};
use serde::{Deserialize, Deserializer};
use std::net::SocketAddr;
use std::path::PathBuf;

/// An address on which clients connect, what they speak, and who may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The address. Port 0 lets the system choose a port.
    pub address: ListenAddress,
    /// Whether clients of other machines may connect without proof of who they are. Clients of this machine always may.
    pub allow_anonymous: bool,
    /// TLS below MQTT; `None`: the bytes of MQTT are sent in clear.
    pub tls: Option<TlsConfig>,
    /// WebSocket below MQTT, and above TLS if there is both; `None`: MQTT without WebSocket.
    pub websocket: Option<WebSocketConfig>,
}

/// How a listener speaks WebSocket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebSocketConfig {
    /// The origins whose web pages may connect, such as `https://dashboard.example`, besides those of the host that the browser connects to. `*` stands for
    /// all. Clients that are no browsers name no origin, and may connect.
    pub origins: Vec<String>,
}

/// How a listener speaks TLS. All files are PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// The certificate of the server, with the certificates between it and its CA behind it.
    pub certificate: PathBuf,
    /// The private key of that certificate: PKCS #8, PKCS #1 or SEC 1, without a passphrase.
    pub key: PathBuf,
    /// The certificates of the CAs whose clients are trusted. Needed unless `client_certificate` is [`ClientCertificates::None`].
    pub client_ca: Option<PathBuf>,
    /// Whether clients are asked for a certificate.
    pub client_certificate: ClientCertificates,
    /// Lists of revoked certificates (CRL), one or more in each file. Without any no certificate is taken for revoked.
    pub crl: Vec<PathBuf>,
    /// Whether the certificates between a client's own and its CA are looked up in the lists too. Each of them needs a list of its issuer then.
    pub crl_covers_chain: bool,
    /// The oldest version of TLS that is spoken.
    pub min_version: TlsVersion,
    /// The most bytes of a record that is sent, from 512 to 16,384. Small clients have no buffer for the usual 16,384.
    pub record_bytes: u16,
}

/// Whether the clients of a listener are asked for a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not asked.
    #[default]
    None,
    /// They are asked. A client without a certificate is served; one with a certificate that is not trusted is refused.
    Optional,
    /// A client without a certificate that is trusted is refused.
    Required,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2, with forward secrecy and authenticated encryption only.
    #[default]
    V1_2,
    /// TLS 1.3.
    V1_3,
}

impl Listener {
    /// A listener on `address` for MQTT over TCP that is open to this machine only.
    pub fn new(address: SocketAddr) -> Self {
        Self::at(address.into())
    }

    pub(crate) fn at(address: ListenAddress) -> Self {
        Self { address, allow_anonymous: false, tls: None, websocket: None }
    }

    /// The same listener with TLS.
    #[must_use]
    pub fn with_tls(self, tls: TlsConfig) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// The same listener with WebSocket.
    #[must_use]
    pub fn with_websocket(self, websocket: WebSocketConfig) -> Self {
        Self { websocket: Some(websocket), ..self }
    }

    /// Whether other machines reach the address, though anonymous clients are not allowed.
    pub(crate) fn is_open_by_mistake(&self) -> bool {
        let all_prove = |tls: &TlsConfig| tls.client_certificate == ClientCertificates::Required;
        !self.allow_anonymous && !self.address.is_of_this_machine() && !self.tls.as_ref().is_some_and(all_prove)
    }
}

impl TlsConfig {
    /// TLS with the certificate and the private key in these files. Clients are not asked for certificates.
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            certificate: certificate.into(),
            key: key.into(),
            client_ca: None,
            client_certificate: ClientCertificates::None,
            crl: Vec::new(),
            crl_covers_chain: false,
            min_version: TlsVersion::V1_2,
            record_bytes: MOST_RECORD_BYTES as u16,
        }
    }
}

/// The most bytes of a record (RFC 8446, section 5.1).
const MOST_RECORD_BYTES: u64 = 16_384;

/// The keys of a table `[[listener]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListenerKeys {
    #[serde(deserialize_with = "addresses")]
    address: Vec<ListenAddress>,
    allow_anonymous: Option<Boolean>,
    transport: Option<OneOf<TransportWord>>,
    #[serde(default, deserialize_with = "file")]
    certificate: Option<PathBuf>,
    #[serde(default, deserialize_with = "file")]
    key: Option<PathBuf>,
    #[serde(default, deserialize_with = "file")]
    client_ca: Option<PathBuf>,
    client_certificate: Option<OneOf<ClientCertificates>>,
    #[serde(default, deserialize_with = "files")]
    crl: Option<Vec<FilePath>>,
    crl_depth: Option<OneOf<CrlDepth>>,
    min_version: Option<OneOf<TlsVersion>>,
    record_bytes: Option<Integer<u16, 512, MOST_RECORD_BYTES>>,
    #[serde(default, deserialize_with = "origins")]
    origins: Option<Vec<Origin>>,
}

/// What the clients of a listener speak below MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TransportWord {
    Tcp,
    Tls,
    WebSocket,
    WebSocketOverTls,
}

impl Word for TransportWord {
    const WORDS: &'static [(&'static str, Self)] =
        &[("tcp", Self::Tcp), ("tls", Self::Tls), ("ws", Self::WebSocket), ("wss", Self::WebSocketOverTls)];
}

impl Word for ClientCertificates {
    const WORDS: &'static [(&'static str, Self)] =
        &[("none", Self::None), ("optional", Self::Optional), ("required", Self::Required)];
}

impl Word for TlsVersion {
    const WORDS: &'static [(&'static str, Self)] = &[("1.2", Self::V1_2), ("1.3", Self::V1_3)];
}

/// Which certificates of a client are looked up in the lists of revoked ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CrlDepth {
    /// Its own.
    Leaf,
    /// Its own and those between it and the CA.
    Chain,
}

impl Word for CrlDepth {
    const WORDS: &'static [(&'static str, Self)] = &[("leaf", Self::Leaf), ("chain", Self::Chain)];
}

impl Keys for ListenerKeys {
    const ALLOWED: &'static str = "a list of tables: [[listener]]";

    fn check(&self) -> Result<(), Fault> {
        let of_tls = [
            ("certificate", self.certificate.is_some()),
            ("key", self.key.is_some()),
            ("client_ca", self.client_ca.is_some()),
            ("client_certificate", self.client_certificate.is_some()),
            ("crl", self.crl.is_some()),
            ("crl_depth", self.crl_depth.is_some()),
            ("min_version", self.min_version.is_some()),
            ("record_bytes", self.record_bytes.is_some()),
        ];
        let (has_tls, has_websocket) = self.layers();
        let given = |keys: &[(&'static str, bool)]| keys.iter().find(|(_, is_there)| *is_there).map(|(key, _)| *key);
        if let Some(key) = given(&of_tls).filter(|_| !has_tls) {
            return Err(Fault::Other(format!("{key} is about transport = \"tls\" or \"wss\"")));
        }
        if self.origins.is_some() && !has_websocket {
            return Err(Fault::Other("origins is about transport = \"ws\" or \"wss\"".to_owned()));
        }
        if !has_tls {
            return Ok(());
        }
        if let Some((key, _)) = of_tls[..2].iter().find(|(_, is_there)| !is_there) {
            return Err(Fault::Missing(key));
        }
        let asks = self.client_certificate.map_or(ClientCertificates::None, Value::get) != ClientCertificates::None;
        let asked = [
            ("client_ca", self.client_ca.is_some()),
            ("crl", self.crl.is_some()),
            ("crl_depth", self.crl_depth.is_some()),
        ];
        if asks && self.client_ca.is_none() {
            return Err(Fault::Missing("client_ca"));
        }
        if let Some((key, _)) = asked.into_iter().find(|(_, is_there)| *is_there && !asks) {
            let message = format!(
                "{key} is about certificates of clients: say client_certificate = \"required\" or \"optional\" too"
            );
            return Err(Fault::Other(message));
        }
        if self.crl_depth.is_some() && self.crl.is_none() {
            return Err(Fault::Missing("crl"));
        }
        Ok(())
    }
}

impl ListenerKeys {
    /// Whether its clients speak TLS, and whether they speak WebSocket.
    fn layers(&self) -> (bool, bool) {
        match self.transport.map_or(TransportWord::Tcp, Value::get) {
            TransportWord::Tcp => (false, false),
            TransportWord::Tls => (true, false),
            TransportWord::WebSocket => (false, true),
            TransportWord::WebSocketOverTls => (true, true),
        }
    }

    /// The listeners that the table stands for, one for each of its addresses.
    pub(super) fn listeners(self) -> impl Iterator<Item = Listener> {
        let allow_anonymous = self.allow_anonymous.is_some_and(Value::get);
        let (_, has_websocket) = self.layers();
        let origins = self.origins.unwrap_or_default().into_iter().map(|origin| origin.0).collect();
        let websocket = has_websocket.then_some(WebSocketConfig { origins });
        let files = self.certificate.zip(self.key);
        let tls = files.map(|(certificate, key)| {
            let default = TlsConfig::new(certificate, key);
            TlsConfig {
                client_ca: self.client_ca,
                client_certificate: self.client_certificate.map_or(default.client_certificate, Value::get),
                crl: self.crl.unwrap_or_default().into_iter().map(|file| file.0).collect(),
                crl_covers_chain: self.crl_depth.is_some_and(|depth| depth.get() == CrlDepth::Chain),
                min_version: self.min_version.map_or(default.min_version, Value::get),
                record_bytes: self.record_bytes.map_or(default.record_bytes, Value::get),
                ..default
            }
        });
        self.address.into_iter().map(move |address| Listener {
            allow_anonymous,
            tls: tls.clone(),
            websocket: websocket.clone(),
            ..Listener::at(address)
        })
    }
}

/// Reads the list of listeners.
pub(super) fn listeners<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<Table<ListenerKeys>>>, D::Error> {
    list_of_some(from, "a list of tables: [[listener]], at least one; without listener the default is taken").map(Some)
}

/// The addresses that `address` accepts, with the quotes of TOML.
const ADDRESSES: &str = "an IP address and a port up to 65535, like \"127.0.0.1:1883\" or \"[::1]:1883\"; \"[fe80::1%eth0]:1883\" for an \
     address of a link; \"localhost:1883\" or \"1883\" for the loopback addresses of this machine; \"*:1883\" for all its addresses; other names are not looked up";

fn addresses<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<ListenAddress>, D::Error> {
    string(from, ADDRESSES, |text| listen_addresses(text).ok())
}

fn file<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    FilePath::deserialize(from).map(|path| Some(path.0))
}

/// The path of a file.
#[derive(Debug)]
struct FilePath(PathBuf);

impl<'de> Deserialize<'de> for FilePath {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        string(from, "the path of a file", |path| (!path.is_empty()).then(|| Self(PathBuf::from(path))))
    }
}

fn files<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<FilePath>>, D::Error> {
    list(from, "a list of paths of files, like [\"ca.crl\"]").map(Some)
}

const ORIGINS: &str = "a list of origins of web pages, like [\"https://dashboard.example\"], or [\"*\"] for all";

/// The origin of a web page.
#[derive(Debug)]
struct Origin(String);

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let is_origin = |text: &str| {
            let (_, host) = text.split_once("://").unwrap_or_default();
            text == "*" || !host.is_empty() && !host.contains('/')
        };
        string(from, ORIGINS, |text| is_origin(text).then(|| Self(text.to_owned())))
    }
}

fn origins<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<Origin>>, D::Error> {
    list(from, ORIGINS).map(Some)
}
