//! Which threads accept connections on which listeners: shards where the bytes are those of MQTT, and threads of their own where a handshake comes first.

use super::watch::FileWatch;
use super::{Failed, Gateway, StartError};
use crate::access::Access;
use crate::config::{Config, Listener, ListenerAddress, cores};
use crate::net::{
    Accepting, AwaitedAddresses, ClientSocket, InheritedSockets, ListenerSetup, SocketPath, UnixSocket, open_all_of,
};
use crate::shard::{Doorstep, DoorstepPlan, doorsteps_for};
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

/// The sockets of all listeners, and what their connections have in common.
pub(super) struct Opened {
    pub(super) setups: Vec<Arc<ListenerSetup>>,
    /// In the order of the configuration.
    pub(super) sockets: Vec<ClientSocket>,
    /// The paths of Unix sockets, each with the place of its listener. They are removed with this value.
    pub(super) paths: Vec<(usize, SocketPath)>,
}

/// Opens the sockets of all listeners, and reads their files. `access` decides who may connect.
///
/// # Errors
/// A file can't be used, or an address can't be bound to.
pub(super) fn open(config: &Config, missing: &AwaitedAddresses, access: &Access) -> Result<Opened, StartError> {
    let setups = setups(config)?;
    let listeners = || config.listeners.iter().enumerate();
    let of_network = listeners().filter_map(|(index, listener)| match &listener.address {
        ListenerAddress::Network(address) => Some((index, *address)),
        _ => None,
    });
    let opened = open_all_of(of_network, missing);
    let opened = opened.map_err(|(address, error)| StartError::Listen(address.into(), error))?;
    let mut sockets: Vec<_> = opened.into_iter().map(ClientSocket::Network).collect();
    let mut paths = Vec::new();
    for (index, listener) in listeners() {
        if let ListenerAddress::Unix(address) = &listener.address {
            let opened = UnixSocket::open(index, address);
            let (socket, path) = opened.map_err(|error| StartError::Listen(listener.address.clone(), error))?;
            sockets.push(ClientSocket::Unix(socket));
            paths.push((index, path));
        }
    }
    sockets.extend(inherited(config, access.decider.is_some())?);
    sockets.sort_by_key(ClientSocket::index);
    Ok(Opened { setups, sockets, paths })
}

/// The sockets that the process was started with, for the listeners that name them. `is_decided`: a decider is asked who may connect.
fn inherited(config: &Config, is_decided: bool) -> Result<Vec<ClientSocket>, StartError> {
    let mut all = Vec::new();
    if !config.listeners.iter().any(|listener| matches!(listener.address, ListenerAddress::Inherited(_))) {
        return Ok(all);
    }
    let mut sockets = InheritedSockets::of_environment();
    for (index, listener) in config.listeners.iter().enumerate() {
        let ListenerAddress::Inherited(name) = &listener.address else { continue };
        let taken = sockets.take(index, name);
        for socket in taken.map_err(|error| StartError::Listen(listener.address.clone(), error))? {
            let there = socket.address().map(|address| Listener { address: address.into(), ..listener.clone() });
            if !is_decided && there.is_some_and(|listener| config.is_open_by_mistake(&listener)) {
                return Err(StartError::OpenToAll(listener.address.clone()));
            }
            all.push(socket);
        }
    }
    for name in sockets.rest() {
        tracing::warn!(
            "nobody listens on the socket {name} of systemd: no [[listener]] has the address systemd:{name}"
        );
    }
    Ok(all)
}

fn setups(config: &Config) -> Result<Vec<Arc<ListenerSetup>>, StartError> {
    let listeners = (0..).zip(&config.listeners);
    let read = |(index, listener)| match ListenerSetup::read(index, listener) {
        Ok(setup) => Ok(Arc::new(setup)),
        Err(error) => Err(StartError::Tls(listener.address.clone(), error)),
    };
    listeners.map(read).collect()
}

/// Adds to each socket what is to be known of its listener.
fn with_setups(sockets: Vec<ClientSocket>, setups: &[Arc<ListenerSetup>]) -> Vec<Accepting> {
    let with_setup = |socket: ClientSocket| {
        let setup = setups.get(socket.index())?.clone();
        Some((socket, setup))
    };
    sockets.into_iter().filter_map(with_setup).collect()
}

/// The threads that a gateway has for its listeners, besides shards.
#[derive(Debug, Default)]
pub(super) struct Listening {
    /// Those that accept connections with handshakes.
    _doorsteps: Vec<Doorstep>,
    /// `None` if the gateway was started without files that may change.
    pub(super) files: Option<FileWatch>,
}

/// Listens and begins to accept connections. Each socket is given to one thread.
///
/// # Errors
/// The system refuses to listen, or refuses a thread.
pub(super) fn begin(
    gateway: &Gateway,
    sockets: Vec<ClientSocket>,
    setups: &[Arc<ListenerSetup>],
    to_accept: Vec<oneshot::Sender<Vec<Accepting>>>,
    end: &UnboundedSender<Failed>,
) -> Result<Listening, StartError> {
    let files = FileWatch::start(gateway, setups)?;
    let sockets = sockets.into_iter().map(ClientSocket::listen).collect::<Result<Vec<_>, _>>();
    let accepting = with_setups(sockets.map_err(|(address, error)| StartError::Listen(address, error))?, setups);
    let (with_layers, plain): (Vec<_>, Vec<_>) = accepting.into_iter().partition(|(_, setup)| setup.has_beginning());
    let start = |(index, listeners)| {
        let (mailboxes, admission, end) = (gateway.mailboxes.0.clone(), gateway.admission.clone(), end.clone());
        let failed = move || {
            let _ = end.send(Failed::Listeners);
        };
        Doorstep::start(index, DoorstepPlan { mailboxes, admission, listeners }, failed)
    };
    let threads = doorsteps_for(cores()).min(with_layers.len());
    let doorsteps = share(with_layers, threads).into_iter().enumerate().map(start).collect::<Result<Vec<_>, _>>();
    let shares = share(plain, to_accept.len());
    for (to_accept, share) in to_accept.into_iter().zip(shares) {
        let _ = to_accept.send(share);
    }
    Ok(Listening { _doorsteps: doorsteps.map_err(StartError::Thread)?, files })
}

/// Deals listeners out to so many threads.
fn share(listeners: Vec<Accepting>, threads: usize) -> Vec<Vec<Accepting>> {
    let mut shares: Vec<Vec<Accepting>> = (0..threads).map(|_| Vec::new()).collect();
    for (place, listener) in listeners.into_iter().enumerate() {
        shares[place % threads].push(listener);
    }
    shares
}
