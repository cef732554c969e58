//! The keys of a table `[[listener]]`: which go together, and the listeners that they stand for.

use super::address::{ListenerAddress, UnixAddress, listener_addresses};
use super::tls::{CrlDepth, FilePath, MOST_RECORD_BYTES, ProtocolName, alpn, file, files};
use super::websocket::{Origin, origins};
use super::{ClientCertificates, Listener, TlsConfig, TlsVersion, WebSocketConfig};
use crate::config::authentication::{AuthenticationSource, UserNameFrom};
use crate::config::network::Network;
use crate::config::values::{Boolean, Fault, Integer, Keys, OneOf, Table, Value, Word, list, list_of_some, string};
use goldcrest_core::Mount;
use serde::{Deserialize, Deserializer};
use std::path::PathBuf;

/// The keys of a table `[[listener]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ListenerKeys {
    #[serde(deserialize_with = "addresses")]
    address: Vec<ListenerAddress>,
    allow_anonymous: Option<Boolean>,
    #[serde(default, deserialize_with = "sources")]
    authentication: Option<Vec<OneOf<AuthenticationSource>>>,
    user_name_from: Option<OneOf<UserNameFrom>>,
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
    #[serde(default, deserialize_with = "networks")]
    proxy_protocol: Option<Vec<NetworkText>>,
    #[serde(default, deserialize_with = "mode")]
    socket_mode: Option<u32>,
    #[serde(default, deserialize_with = "group")]
    socket_group: Option<String>,
    #[serde(default, deserialize_with = "alpn")]
    alpn: Option<Vec<ProtocolName>>,
    max_connections: Option<Integer<u32, 1, { u32::MAX as u64 }>>,
    max_connections_per_address: Option<Integer<u32, 1, { u32::MAX as u64 }>>,
    handshakes_per_address: Option<Integer<u32, 0, 1_000_000>>,
    #[serde(default, deserialize_with = "mount")]
    mount: Option<Mount>,
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
            ("alpn", self.alpn.is_some()),
        ];
        let (has_tls, has_websocket) = self.layers();
        let given = |keys: &[(&'static str, bool)]| keys.iter().find(|(_, is_there)| *is_there).map(|(key, _)| *key);
        if let Some(key) = given(&of_tls).filter(|_| !has_tls) {
            return Err(Fault::Other(format!("{key} is about transport = \"tls\" or \"wss\"")));
        }
        if self.origins.is_some() && !has_websocket {
            return Err(Fault::Other("origins is about transport = \"ws\" or \"wss\"".to_owned()));
        }
        if self.handshakes_per_address.is_some() && !has_tls && !has_websocket {
            return Err(Fault::Other(
                "handshakes_per_address is about transport = \"tls\", \"ws\" or \"wss\"".to_owned(),
            ));
        }
        self.check_address()?;
        self.check_users()?;
        if !has_tls {
            return Ok(());
        }
        if let Some((key, _)) = of_tls[..2].iter().find(|(_, is_there)| !is_there) {
            return Err(Fault::Missing(key));
        }
        let asks = self.asks_for_certificates();
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
    /// Checks which keys go with the kind of the address.
    fn check_address(&self) -> Result<(), Fault> {
        let is_unix = self.address.iter().any(|address| address.path().is_some());
        let of_unix = [("socket_mode", self.socket_mode.is_some()), ("socket_group", self.socket_group.is_some())];
        if let Some((key, _)) = of_unix.into_iter().find(|(_, is_there)| *is_there && !is_unix) {
            return Err(Fault::Other(format!("{key} is about an address like \"unix:/run/goldcrest/mqtt.sock\"")));
        }
        if self.proxy_protocol.is_some() && is_unix {
            let message = "proxy_protocol is about addresses of the network, and a Unix socket has none";
            return Err(Fault::Other(message.to_owned()));
        }
        Ok(())
    }

    fn asks_for_certificates(&self) -> bool {
        self.client_certificate.is_some_and(|asks| asks.get() != ClientCertificates::None)
    }

    /// Checks that users have names where certificates name them, and that certificates name users where they have names.
    fn check_users(&self) -> Result<(), Fault> {
        let sources: Vec<_> = self.authentication.iter().flatten().map(|source| source.get()).collect();
        if sources.iter().rev().skip(1).any(|source| *source == AuthenticationSource::Http) {
            let message = "\"http\" in authentication decides about all users that are left: it has to be the last";
            return Err(Fault::Other(message.to_owned()));
        }
        let by_certificate = sources.contains(&AuthenticationSource::Certificate);
        if (by_certificate || self.user_name_from.is_some()) && !self.asks_for_certificates() {
            let key = if by_certificate { "\"certificate\" in authentication" } else { "user_name_from" };
            let message = format!(
                "{key} wants certificates of clients: say client_certificate = \"required\" or \"optional\" too"
            );
            return Err(Fault::Other(message));
        }
        if self.user_name_from.is_some() && self.authentication.is_some() && !by_certificate {
            let message = "user_name_from is of no use without \"certificate\" in authentication";
            return Err(Fault::Other(message.to_owned()));
        }
        Ok(())
    }

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
    pub(in crate::config) fn listeners(self) -> impl Iterator<Item = Listener> {
        let (_, has_websocket) = self.layers();
        let allow_anonymous = self.allow_anonymous.map(Value::get);
        let sources = |sources: Vec<OneOf<_>>| sources.into_iter().map(Value::get).collect::<Vec<_>>();
        let authentication = self.authentication.map(sources);
        let user_name_from = self.user_name_from.map(Value::get);
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
                alpn: self.alpn.unwrap_or_default().into_iter().map(|name| name.0).collect(),
                ..default
            }
        });
        let (max_connections, max_connections_per_address) =
            (self.max_connections.map(Value::get), self.max_connections_per_address.map(Value::get));
        let (handshakes, mount) = (self.handshakes_per_address.map(Value::get), self.mount);
        let (mode, group) = (self.socket_mode, self.socket_group);
        let with_permissions = move |address| match address {
            ListenerAddress::Unix(unix) => {
                let (mode, group) = (mode.unwrap_or(unix.mode), group.clone());
                ListenerAddress::Unix(UnixAddress { mode, group, ..unix })
            }
            address => address,
        };
        let proxy_protocol: Vec<Network> = self.proxy_protocol.unwrap_or_default().into_iter().map(|it| it.0).collect();
        self.address.into_iter().map(with_permissions).map(move |address| Listener {
            allow_anonymous,
            proxy_protocol: proxy_protocol.clone(),
            max_connections,
            max_connections_per_address,
            handshakes_per_address: handshakes.unwrap_or(Listener::HANDSHAKES_PER_ADDRESS),
            mount: mount.clone(),
            authentication: authentication.clone(),
            user_name_from,
            tls: tls.clone(),
            websocket: websocket.clone(),
            ..Listener::at(address)
        })
    }
}

/// Reads the sources of users.
fn sources<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<OneOf<AuthenticationSource>>>, D::Error> {
    list(from, "a list of sources of users, like [\"certificate\", \"password\"]").map(Some)
}

/// Reads the list of listeners.
pub(in crate::config) fn listeners<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Vec<Table<ListenerKeys>>>, D::Error> {
    list_of_some(from, "a list of tables: [[listener]], at least one; without listener the default is taken").map(Some)
}

/// The addresses that `address` accepts, with the quotes of TOML.
const ADDRESSES: &str = "an IP address and a port up to 65535, like \"127.0.0.1:1883\" or \"[::1]:1883\"; \"[fe80::1%eth0]:1883\" for an \
     address of a link; \"localhost:1883\" or \"1883\" for the loopback addresses of this machine; \"*:1883\" for all its addresses; \"unix:/run/goldcrest/mqtt.sock\" for a Unix socket; \"systemd:NAME\" \
     for a socket of systemd; other names are not looked up";

fn addresses<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<ListenerAddress>, D::Error> {
    string(from, ADDRESSES, |text| listener_addresses(text).ok())
}

fn mode<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    let octal = |text: &str| {
        let is_octal = matches!(text.len(), 3 | 4) && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
        u32::from_str_radix(text, 8).ok().filter(|mode| is_octal && *mode <= 0o777)
    };
    string(from, "permissions in octal as a string, like \"0660\"", octal).map(Some)
}

fn group<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let is_group = |text: &str| !text.is_empty() && !text.contains([':', '\n']);
    string(from, "the name or the number of a group, as a string", |text| is_group(text).then(|| text.to_owned()))
        .map(Some)
}

fn mount<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Mount>, D::Error> {
    let allowed = "the beginning of topics with / at its end, like \"site-7/\", without wildcards and not below $";
    string(from, allowed, |text| Mount::new(text).ok()).map(Some)
}

const NETWORKS: &str = "a list of networks or addresses of proxies, like [\"10.0.0.0/8\", \"192.0.2.1\"]; no bits may be set behind the prefix";

#[derive(Debug)]
struct NetworkText(Network);

impl<'de> Deserialize<'de> for NetworkText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        string(from, NETWORKS, |text| text.parse().ok().map(Self))
    }
}

fn networks<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<NetworkText>>, D::Error> {
    list_of_some(from, NETWORKS).map(Some)
}
