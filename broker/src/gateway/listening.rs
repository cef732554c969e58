//! Which threads accept connections on which listeners: shards where the bytes are those of MQTT, and threads of their own where a handshake comes first.

use super::watch::FileWatch;
use super::{Failed, Gateway, StartError};
use crate::config::{Config, cores};
use crate::net::{Accepting, AwaitedAddresses, ListenSocket, ListenerSetup, open_all};
use crate::shard::{Doorstep, DoorstepPlan, doorsteps_for};
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

/// Opens the sockets of all listeners, and reads their files.
///
/// # Errors
/// A file can't be used, or an address can't be bound to.
pub(super) fn open(
    config: &Config,
    missing: &AwaitedAddresses,
) -> Result<(Vec<Arc<ListenerSetup>>, Vec<ListenSocket>), StartError> {
    let setups = setups(config)?;
    let addresses = config.listeners.iter().map(|listener| listener.address);
    match open_all(addresses, missing) {
        Ok(sockets) => Ok((setups, sockets)),
        Err((address, error)) => Err(StartError::Listen(address, error)),
    }
}

fn setups(config: &Config) -> Result<Vec<Arc<ListenerSetup>>, StartError> {
    let listeners = (0..).zip(&config.listeners);
    let read = |(index, listener)| match ListenerSetup::read(index, listener) {
        Ok(setup) => Ok(Arc::new(setup)),
        Err(error) => Err(StartError::Tls(listener.address, error)),
    };
    listeners.map(read).collect()
}

/// Adds to each socket what is to be known of its listener.
fn with_setups(sockets: Vec<ListenSocket>, setups: &[Arc<ListenerSetup>]) -> Vec<Accepting> {
    let with_setup = |socket: ListenSocket| {
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
    sockets: Vec<ListenSocket>,
    setups: &[Arc<ListenerSetup>],
    to_accept: Vec<oneshot::Sender<Vec<Accepting>>>,
    end: &UnboundedSender<Failed>,
) -> Result<Listening, StartError> {
    let files = FileWatch::start(gateway, setups)?;
    let sockets = sockets.into_iter().map(ListenSocket::listen).collect::<Result<Vec<_>, _>>();
    let accepting = with_setups(sockets.map_err(|(address, error)| StartError::Listen(address, error))?, setups);
    let (with_layers, plain): (Vec<_>, Vec<_>) = accepting.into_iter().partition(|(_, setup)| setup.has_layers());
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
