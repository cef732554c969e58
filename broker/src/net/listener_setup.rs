//! What the connections of one listener have in common.

use super::admission::ConnectionPermit;
use super::client_socket::ClientSocket;
use super::guests::Guests;
use super::handshake_rate::HandshakeRate;
use super::revoked::Revoked;
use super::tls_settings::{TlsError, TlsSettings};
use super::transport::Transport;
use crate::config::{Listener, Network, Refresh};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// A socket to accept connections on, and what these have in common.
pub(crate) type Accepting = (ClientSocket, Arc<ListenerSetup>);

/// What the connections of one listener have in common, except for the socket.
#[derive(Debug, Default)]
pub(crate) struct ListenerSetup {
    /// The place of the listener in [`Config::listeners`](crate::Config::listeners).
    pub(crate) index: u16,
    pub(crate) tls: Option<TlsSettings>,
    /// The origins whose pages may connect besides those of the same host; `None`: there is no WebSocket.
    pub(crate) origins: Option<Arc<[String]>>,
    /// The networks of proxies, whose connections begin with a header.
    proxies: Vec<Network>,
    /// `None` if the listener has no limits on its connections.
    guests: Option<Arc<Guests>>,
    /// `None` if there is no bound, or no handshake.
    rate: Option<HandshakeRate>,
}

impl ListenerSetup {
    /// Reads the files of a listener.
    ///
    /// # Errors
    /// A file can't be used.
    pub(crate) fn read(index: u16, listener: &Listener) -> Result<Self, TlsError> {
        let tls = listener.tls.as_ref().map(|tls| TlsSettings::read(tls, listener.address.to_string())).transpose()?;
        let origins = listener.websocket.as_ref().map(|websocket| websocket.origins.clone().into());
        let has_handshake = tls.is_some() || origins.is_some();
        let rate = HandshakeRate::new(listener.handshakes_per_address).filter(|_| has_handshake);
        Ok(Self { index, tls, origins, proxies: listener.proxy_protocol.clone(), guests: Guests::of(listener), rate })
    }

    /// Whether there are layers between the bytes of the system and those of MQTT.
    pub(crate) fn has_layers(&self) -> bool {
        self.tls.is_some() || self.origins.is_some()
    }

    /// Whether something may come before MQTT. Such connections are accepted on threads of their own, because a handshake takes long.
    pub(crate) fn has_beginning(&self) -> bool {
        self.has_layers() || !self.proxies.is_empty()
    }

    /// Whether the peer is a proxy, whose connections begin with a header of the PROXY protocol.
    pub(crate) fn is_proxy(&self, peer: Option<SocketAddr>) -> bool {
        peer.is_some_and(|peer| self.proxies.iter().any(|network| network.contains(peer.ip())))
    }

    /// Takes a place for a connection among those of the listener. That of a proxy counts for an address once its client is known.
    ///
    /// # Errors
    /// There is no room, for the reason that is told.
    pub(crate) fn admit(&self, permit: &mut ConnectionPermit, peer: Option<SocketAddr>) -> Result<(), &'static str> {
        if let Some(guests) = &self.guests {
            permit.take_place(guests.enter()?);
        }
        if self.is_proxy(peer) { Ok(()) } else { self.admit_from(permit, peer) }
    }

    /// Counts an admitted connection as one of this client.
    ///
    /// # Errors
    /// The address has as many connections, or begins as many handshakes, as it may.
    pub(crate) fn admit_from(
        &self,
        permit: &mut ConnectionPermit,
        client: Option<SocketAddr>,
    ) -> Result<(), &'static str> {
        let Some(address) = client.map(|client| client.ip()) else { return Ok(()) };
        if self.rate.as_ref().is_some_and(|rate| !rate.pass(address)) {
            return Err("its address begins more handshakes than handshakes_per_address allows");
        }
        permit.guest().map_or(Ok(()), |guest| guest.comes_from(address))
    }

    /// The stream with what this listener has between its bytes and those of MQTT.
    ///
    /// # Errors
    /// A layer can't begin.
    pub(crate) fn with_layers(&self, transport: Transport) -> io::Result<Transport> {
        transport.with_layers(self.tls.as_ref().map(TlsSettings::current), self.origins.clone())
    }
}

/// The certificates of all listeners with TLS.
#[derive(Clone, Debug)]
pub(crate) struct Certificates(Arc<[Arc<ListenerSetup>]>);

impl Certificates {
    /// `None` if no listener has TLS.
    pub(crate) fn of(setups: &[Arc<ListenerSetup>]) -> Option<Self> {
        setups.iter().any(|setup| setup.tls.is_some()).then(|| Self(setups.into()))
    }

    /// All listeners with TLS.
    fn each(&self) -> impl Iterator<Item = &TlsSettings> {
        self.0.iter().filter_map(|setup| setup.tls.as_ref())
    }

    /// Reads files anew that have changed, or all. Returns the revoked certificates of each listener whose files were taken over.
    pub(crate) fn refresh(&self, which: Refresh) -> Vec<Revoked> {
        self.0.iter().filter_map(|setup| setup.tls.as_ref()?.refresh(which, setup.index)).collect()
    }

    /// For each listener with lists of revoked certificates its address, and the seconds until the first of them is out of date.
    pub(crate) fn crl_seconds_left(&self) -> Vec<(String, u64)> {
        self.each().filter_map(|tls| Some((tls.address().to_owned(), tls.crl_seconds_left()?))).collect()
    }

    /// Why certificates are not those of the files, a line for each listener.
    pub(crate) fn faults(&self) -> Vec<String> {
        self.each().filter_map(TlsSettings::fault).collect()
    }

    /// For each listener its address, and the seconds until its certificate ends.
    pub(crate) fn seconds_left(&self) -> Vec<(String, u64)> {
        self.each().map(|tls| (tls.address().to_owned(), tls.seconds_left())).collect()
    }
}
