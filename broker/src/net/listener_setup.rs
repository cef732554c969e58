//! What the connections of one listener have in common.

use super::listen_socket::ListenSocket;
use super::tls_settings::{TlsError, TlsSettings};
use crate::config::Listener;
use std::sync::Arc;

/// A socket to accept connections on, and what these have in common.
pub(crate) type Accepting = (ListenSocket, Arc<ListenerSetup>);

/// What the connections of one listener have in common, except for the socket.
#[derive(Debug, Default)]
pub(crate) struct ListenerSetup {
    /// The place of the listener in [`Config::listeners`](crate::Config::listeners).
    pub(crate) index: u16,
    pub(crate) tls: Option<TlsSettings>,
    /// The origins whose pages may connect besides those of the same host; `None`: there is no WebSocket.
    pub(crate) origins: Option<Arc<[String]>>,
}

impl ListenerSetup {
    /// Reads the files of a listener.
    ///
    /// # Errors
    /// A file can't be used.
    pub(crate) fn read(index: u16, listener: &Listener) -> Result<Self, TlsError> {
        let tls = listener.tls.as_ref().map(TlsSettings::read).transpose()?;
        let origins = listener.websocket.as_ref().map(|websocket| websocket.origins.clone().into());
        Ok(Self { index, tls, origins })
    }

    /// Whether there are layers between the bytes of the system and those of MQTT. Such connections are accepted on threads of their own, because a
    /// handshake takes long.
    pub(crate) fn has_layers(&self) -> bool {
        self.tls.is_some() || self.origins.is_some()
    }
}
