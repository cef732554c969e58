//! Whether a client may connect, decided by a program.

use super::secret::Secret;
use crate::net::{ClientCertificate, Socket};
use goldcrest_core::codec::ReasonCode;
use goldcrest_core::{Ask, ConnectionId, Grant, Principal};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Decides who may connect; see [`Access::decided_by`](super::Access::decided_by). A function of an [`AccessRequest`] and a [`Reply`] is a
/// decider, too.
pub trait Decide: Send + Sync {
    /// Is called on the thread of a shard for each CONNECT and, with enhanced authentication, for each AUTH. All clients of the shard wait until
    /// it returns. A decision that takes longer should move to another thread together with `reply`; then only this client waits for it.
    fn decide(&self, request: AccessRequest, reply: Reply);

    /// Whether a client that is accepted as another principal than [`Principal::ANONYMOUS`] gets the Session that an anonymous client with the same
    /// Client Identifier has left. Otherwise the client is refused with 0x87 Not authorized while that Session is there.
    fn adopts_anonymous_sessions(&self) -> bool {
        false
    }
}

impl<F: Fn(AccessRequest, Reply) + Send + Sync> Decide for F {
    fn decide(&self, request: AccessRequest, reply: Reply) {
        self(request, reply);
    }
}

/// Identifies the connection of a client for as long as the connection lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientConnection {
    pub(crate) shard: u16,
    pub(crate) id: ConnectionId,
}

/// A request of a client to connect or to re-authenticate.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccessRequest {
    /// The connection that the request is about: the same for all steps of an enhanced authentication.
    pub connection: ClientConnection,
    /// The address that the client connects from, also behind a proxy; `None` if it is in the process of the gateway, or connects through a Unix socket.
    pub peer: Option<SocketAddr>,
    /// The user of the client's process, as the system tells, if the client connects through a Unix socket.
    pub peer_uid: Option<u32>,
    /// The place in [`Config::listeners`](crate::Config::listeners) of the listener that the client came through, counted from 0; `None` if the client is
    /// in the process of the gateway.
    pub listener: Option<u16>,
    /// The certificate that the client has shown, which was checked; `None` if it has shown none.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// The contents of the CONNECT; `None` for an AUTH.
    pub connect: Option<ConnectRequest>,
    /// The Authentication Method.
    pub method: Option<String>,
    /// The Authentication Data.
    pub data: Option<Secret>,
}

/// The contents of a CONNECT.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectRequest {
    /// The Client Identifier; empty if the broker is to choose one.
    pub client_id: String,
    /// The User Name.
    pub user_name: Option<String>,
    /// The Password: any bytes.
    pub password: Option<Secret>,
}

impl AccessRequest {
    pub(crate) fn new(connection: ClientConnection, socket: &Socket, ask: &Ask<'_>) -> Self {
        let (connect, properties) = match ask {
            Ask::Connect(connect) => {
                let request = ConnectRequest {
                    client_id: connect.client_id.to_owned(),
                    user_name: connect.user_name.map(str::to_owned),
                    password: connect.password.map(Secret::from),
                };
                (Some(request), &connect.properties)
            }
            Ask::Auth(auth) => (None, &auth.properties),
        };
        let method = properties.authentication_method().map(str::to_owned);
        let data = properties.authentication_data().map(Secret::from);
        let (peer, peer_uid, listener) = (socket.peer(), socket.peer_uid(), socket.listener());
        let certificate = socket.certificate().cloned();
        Self { connection, peer, peer_uid, listener, certificate, connect, method, data }
    }
}

impl fmt::Debug for AccessRequest {
    /// Leaves the Authentication Data out, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { peer, peer_uid, listener, certificate, connect, method, .. } = self;
        let mut out = f.debug_struct("AccessRequest");
        out.field("peer", peer)
            .field("peer_uid", peer_uid)
            .field("listener", listener)
            .field("certificate", certificate);
        out.field("connect", connect).field("method", method).finish_non_exhaustive()
    }
}

impl fmt::Debug for ConnectRequest {
    /// Leaves the Password out, which is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("ConnectRequest");
        out.field("client_id", &self.client_id).field("user_name", &self.user_name).finish_non_exhaustive()
    }
}

/// The answer to an [`AccessRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// The client is who it claims to be.
    Accept {
        /// The principal of the client. In a re-authentication it must be the principal that the Session belongs to: another one is refused with
        /// 0x87 Not authorized.
        principal: Principal,
        /// The rights of the client: bounds of its own, and a [`Mount`](goldcrest_core::Mount).
        grant: Grant,
        /// For how long from now on the proof is valid: after that the connection is closed with 0x87 Not authorized, unless a re-authentication
        /// has granted more time. `None`: as `grant` says.
        lasts: Option<Duration>,
        /// Authentication Data for the client.
        data: Option<Vec<u8>>,
    },
    /// Enhanced authentication goes on with these Authentication Data.
    Continue(Vec<u8>),
    /// The client is refused with this Reason Code.
    Refuse(ReasonCode),
    /// The same, and the log says why in these words. The client does not hear them.
    RefuseBecause(ReasonCode, String),
}

impl Decision {
    /// Accepts the client as `principal`, with the default [`Grant`]: the limits of the configuration, no expiry and no mount prefix.
    pub fn accept(principal: Principal) -> Self {
        Self::Accept { principal, grant: Grant::default(), lasts: None, data: None }
    }
}

/// Receives a decision, from any thread. The client waits for it no longer than
/// [`Config::connect_timeout_ms`](goldcrest_core::Config::connect_timeout_ms). A `Reply` that is dropped without a decision refuses the
/// client with 0x87 Not authorized.
#[must_use = "a client waits for it, and is refused if it is dropped"]
pub struct Reply(Option<Box<dyn FnOnce(Decision) + Send>>);

impl Reply {
    pub(crate) fn new(send: impl FnOnce(Decision) + Send + 'static) -> Self {
        Self(Some(Box::new(send)))
    }

    /// Hands the decision to the shard of the client, and returns at once. If the client has gone meanwhile nothing happens.
    pub fn send(mut self, decision: Decision) {
        if let Some(send) = self.0.take() {
            send(decision);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(send) = self.0.take() {
            send(Decision::Refuse(ReasonCode::NotAuthorized));
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}
