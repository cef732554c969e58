//! The listeners of the configuration: an address each, and what its clients speak.
//!
//! ```text
//! keys       the keys of a table [[listener]]
//! tls        those about TLS
//! websocket  those about WebSocket
//! ```

mod keys;
#[cfg(test)]
mod tests;
mod tls;
mod websocket;

pub(super) use self::keys::{ListenerKeys, listeners};
pub use self::tls::{ClientCertificates, TlsConfig, TlsVersion};
pub use self::websocket::WebSocketConfig;

use super::address::ListenAddress;
use std::net::SocketAddr;

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
