//! The listeners of the configuration: an address each, and what its clients speak.
//!
//! ```text
//! address    where it is: an address, a Unix socket, or a socket of systemd
//! keys       the keys of a table [[listener]]
//! tls        those about TLS
//! websocket  those about WebSocket
//! ```

mod address;
mod keys;
#[cfg(test)]
mod tests;
mod tls;
mod websocket;

pub(crate) use self::address::listener_addresses;
pub use self::address::{ListenerAddress, UnixAddress};
pub(super) use self::keys::{ListenerKeys, listeners};
pub use self::tls::{ClientCertificates, TlsConfig, TlsVersion};
pub use self::websocket::WebSocketConfig;

use super::authentication::{AuthenticationSource, UserNameFrom};
use super::network::Network;
use goldcrest_core::Mount;
use std::net::SocketAddr;

/// An address on which clients connect, what they speak, and who may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where it is. Port 0 lets the system choose a port.
    pub address: ListenerAddress,
    /// Whether clients may connect without proof of who they are. `None`: clients of this machine may if the address is of this machine alone and
    /// certificates name no users here. Where nothing can be proved, those with a certificate that is required may too.
    pub allow_anonymous: Option<bool>,
    /// The sources of users in the order in which they are asked. `None`: all that there are, certificates first.
    pub authentication: Option<Vec<AuthenticationSource>>,
    /// Which name in the certificate of a client is that of the user. `None`: certificates name no users, or with
    /// [`AuthenticationSource::Certificate`] in `authentication` the Common Name does.
    pub user_name_from: Option<UserNameFrom>,
    /// TLS below MQTT; `None`: the bytes of MQTT are sent in clear.
    pub tls: Option<TlsConfig>,
    /// WebSocket below MQTT, and above TLS if there is both; `None`: MQTT without WebSocket.
    pub websocket: Option<WebSocketConfig>,
    /// The networks of proxies. A connection from there must begin with the header of the PROXY protocol, version 1 or 2, and the address in the header is
    /// that of the client. Connections from elsewhere never have such a header.
    pub proxy_protocol: Vec<Network>,
    /// The most connections of the listener; `None`: those of the gateway.
    pub max_connections: Option<u32>,
    /// The most connections of one address of IPv4, or one network of IPv6 with a prefix of 64 bits.
    pub max_connections_per_address: Option<u32>,
    /// How many handshakes of TLS and WebSocket such an address may begin in a second, in the long run; at once it may begin those of ten seconds. 0: no bound.
    /// Addresses of this machine have none.
    pub handshakes_per_address: u32,
    /// The part of the tree of topics in which the clients of the listener live, unless an embedding program decides otherwise.
    pub mount: Option<Mount>,
}

impl Listener {
    /// What one address may begin, unless the configuration says otherwise: a small machine with keys for P-256 does several times as many.
    pub(crate) const HANDSHAKES_PER_ADDRESS: u32 = 100;

    /// A listener on `address` for MQTT over TCP that is open to this machine only.
    pub fn new(address: SocketAddr) -> Self {
        Self::at(address)
    }

    /// The same at an address that may be of another kind.
    pub fn at(address: impl Into<ListenerAddress>) -> Self {
        let address = address.into();
        Self {
            address,
            allow_anonymous: None,
            authentication: None,
            user_name_from: None,
            tls: None,
            websocket: None,
            proxy_protocol: Vec::new(),
            max_connections: None,
            max_connections_per_address: None,
            handshakes_per_address: Self::HANDSHAKES_PER_ADDRESS,
            mount: None,
        }
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
}
