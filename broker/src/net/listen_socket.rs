//! Opening sockets to listen on. The gateway takes their addresses when it starts, and listens on them when it can serve. An
//! address that does not exist yet, because the network comes up later, is tried again until it exists.

use crate::config::ListenAddress;
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use std::collections::BTreeMap;
use std::future::pending;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::sleep;

/// Connections that the system completes before the gateway accepts them: enough for a crowd that reconnects at once.
pub(super) const BACKLOG: i32 = 4096;

/// A socket on its way from being bound to listening.
pub(crate) enum ListenSocket {
    /// A socket is bound to the address; the system refuses connections to it.
    Bound(ListenTarget, Socket),
    /// The system accepts connections to the address.
    Listening(ListenTarget, TcpListener),
    /// The address does not exist yet.
    Awaited(ListenTarget),
}

/// An address to listen on, and the list that names this address while it does not exist.
pub(crate) struct ListenTarget {
    /// The place of the address among those that were to be opened.
    index: usize,
    address: ListenAddress,
    missing: AwaitedAddresses,
    /// True for an address whose absence is not reported.
    is_optional: bool,
}

/// The addresses that do not exist yet, each with the reason.
#[derive(Clone, Debug, Default)]
pub(crate) struct AwaitedAddresses(Arc<Mutex<BTreeMap<String, String>>>);

impl AwaitedAddresses {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    /// The reason for each address that does not exist yet, one line for each.
    pub(crate) fn reasons(&self) -> Vec<String> {
        let describe = |(address, why): (&String, &String)| format!("it does not listen on {address} yet: {why}");
        self.lock().iter().map(describe).collect()
    }
}

/// Binds a socket to each of `addresses`. Addresses that do not exist yet are noted in `missing`.
///
/// # Errors
/// Another process has one of the addresses, or the system does not allow it.
pub(crate) fn open_all(
    addresses: impl IntoIterator<Item = ListenAddress>,
    missing: &AwaitedAddresses,
) -> Result<Vec<ListenSocket>, (ListenAddress, io::Error)> {
    open_all_of(addresses.into_iter().enumerate(), missing)
}

/// The same for addresses that each have their place given.
pub(crate) fn open_all_of(
    addresses: impl IntoIterator<Item = (usize, ListenAddress)>,
    missing: &AwaitedAddresses,
) -> Result<Vec<ListenSocket>, (ListenAddress, io::Error)> {
    open_all_with(addresses, missing, bind)
}

fn open_all_with(
    addresses: impl IntoIterator<Item = (usize, ListenAddress)>,
    missing: &AwaitedAddresses,
    bind: impl Fn(ListenAddress, Option<u16>) -> io::Result<Socket>,
) -> Result<Vec<ListenSocket>, (ListenAddress, io::Error)> {
    let mut openings: Vec<ListenSocket> = Vec::new();
    // The addresses so far, each with its port if a socket is bound to the address.
    let mut before: Vec<(ListenAddress, Option<u16>)> = Vec::new();
    for (index, address) in addresses {
        let twin = before.iter().rfind(|(other, _)| address.is_twin_of(*other)).copied();
        let twin_port = twin.and_then(|(_, port)| port);
        let place = ListenTarget { index, address, missing: missing.clone(), is_optional: twin.is_some() };
        match bind(address, twin_port) {
            Ok(socket) => openings.push(ListenSocket::Bound(place, socket)),
            Err(error) if !comes_later(&error) => return Err((address, error)),
            // A socket is bound to the IPv4 counterpart, so this machine has no IPv6; and the user did not ask for IPv6 alone.
            Err(error) if twin_port.is_some() => {
                tracing::debug!(%address, %error, "not listened on");
                continue;
            }
            Err(error) => {
                if place.note(&error) {
                    tracing::warn!("cannot listen on {address} yet: {error}; it is tried again until it is there");
                }
                openings.push(ListenSocket::Awaited(place));
            }
        }
        before.push((address, openings.last().and_then(ListenSocket::address).map(|at| at.port())));
    }
    Ok(openings)
}

impl ListenSocket {
    /// A socket that listens already.
    pub(super) fn listening(index: usize, listener: TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?.into();
        let target = ListenTarget { index, address, missing: AwaitedAddresses::default(), is_optional: false };
        Ok(Self::Listening(target, listener))
    }

    /// The address of the socket, once it is known.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Bound(_, socket) => socket.local_addr().ok().and_then(|address| address.as_socket()),
            Self::Listening(_, listener) => listener.local_addr().ok(),
            Self::Awaited(_) => None,
        }
    }

    /// The place of its address among those that were to be opened, counted from 0.
    pub(crate) fn index(&self) -> usize {
        match self {
            Self::Bound(target, _) | Self::Listening(target, _) | Self::Awaited(target) => target.index,
        }
    }

    /// Makes the system accept connections from now on.
    pub(crate) fn listen(self) -> Result<Self, (ListenAddress, io::Error)> {
        match self {
            Self::Bound(place, socket) => match listen(socket) {
                Ok(listener) => Ok(Self::Listening(place, listener)),
                Err(error) => Err((place.address, error)),
            },
            opening => Ok(opening),
        }
    }

    /// Runs `accept` while the address exists, and waits for the address while it does not. `accept` never ends by itself.
    pub(crate) async fn serve<A: Future>(self, accept: impl Fn(tokio::net::TcpListener) -> A) -> io::Result<()> {
        let (place, mut listener) = match self {
            Self::Bound(place, socket) => (place, listen(socket)?),
            Self::Listening(place, listener) => (place, listener),
            Self::Awaited(place) => {
                let listener = place.wait(None).await;
                (place, listener)
            }
        };
        loop {
            let at = listener.local_addr()?;
            tokio::select! {
                _ = accept(tokio::net::TcpListener::from_std(listener)?) => {}
                () = place.has_moved(at) => {}
            }
            tracing::warn!("the interface of {} is gone, or is another one than before", place.address);
            listener = place.wait(Some(at.port())).await;
        }
    }
}

/// The longest time between two checks of an address.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

impl ListenTarget {
    /// Tries until it can listen. If the system is to choose the port, but `wanted_port` is free, uses `wanted_port`.
    async fn wait(&self, wanted_port: Option<u16>) -> TcpListener {
        let address = self.address;
        let mut pause = Duration::from_millis(100);
        loop {
            sleep(pause).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
            match bind(address, wanted_port).and_then(listen) {
                Ok(listener) => {
                    self.missing.lock().remove(&address.to_string());
                    tracing::info!("listening on {address}, which is there now");
                    return listener;
                }
                Err(error) => {
                    if self.note(&error) {
                        tracing::warn!("cannot listen on {address} yet: {error}");
                    }
                }
            }
        }
    }

    /// Ends when the interface that the address names is gone, or has another index than in `bound`. This happens when a USB
    /// adapter is plugged in again: nobody reaches a socket that is bound to the old interface.
    async fn has_moved(&self, bound: SocketAddr) {
        let SocketAddr::V6(bound) = bound else { return pending().await };
        if !self.address.names_interface() {
            return pending().await;
        }
        let is_there = || match self.address.resolve() {
            Ok(SocketAddr::V6(now)) => now.scope_id() == bound.scope_id(),
            Ok(SocketAddr::V4(_)) => true,
            // Any other error means only that the system could not be asked, for example for want of a descriptor.
            Err(error) => Errno::from_io_error(&error) != Some(Errno::NODEV),
        };
        while is_there() {
            sleep(LONGEST_PAUSE).await;
        }
    }

    /// Notes why the address cannot be listened on. Returns whether the reason is new.
    fn note(&self, error: &io::Error) -> bool {
        if self.is_optional {
            return false;
        }
        let why = error.to_string();
        let before = self.missing.lock().insert(self.address.to_string(), why.clone());
        before.is_none_or(|before| before != why)
    }
}

/// Whether `error` says that the address, its interface or its address family does not exist, which may change.
fn comes_later(error: &io::Error) -> bool {
    let missing = [Errno::ADDRNOTAVAIL, Errno::AFNOSUPPORT, Errno::NODEV, Errno::NXIO];
    Errno::from_io_error(error).is_some_and(|errno| missing.contains(&errno))
}

/// Binds a socket to an address. If the system is to choose the port, but `wanted_port` is free, uses `wanted_port`.
fn bind(address: ListenAddress, wanted_port: Option<u16>) -> io::Result<Socket> {
    let address = address.resolve()?;
    if let Some(port) = wanted_port.filter(|_| address.port() == 0)
        && let Ok(socket) = bind_socket(SocketAddr::new(address.ip(), port))
    {
        return Ok(socket);
    }
    bind_socket(address)
}

fn bind_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections that an earlier gateway left in TIME_WAIT don't keep this one from listening.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // [::] means IPv6 alone on every system, so it can stand beside 0.0.0.0.
        socket.set_only_v6(true)?;
    }
    // Clients that vanish and have no Keep Alive are noticed all the same. Accepted sockets inherit this option.
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(Duration::from_secs(300)))?;
    socket.bind(&address.into())?;
    // Without this option no other process can bind to the same address before this socket listens: see `listen`.
    socket.set_reuse_address(false)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn listen(socket: Socket) -> io::Result<TcpListener> {
    socket.set_reuse_address(true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    fn address(text: &str) -> ListenAddress {
        text.parse().unwrap()
    }

    fn open(texts: &[&str]) -> (Vec<ListenSocket>, AwaitedAddresses) {
        let missing = AwaitedAddresses::default();
        let openings = open_all(texts.iter().map(|text| address(text)), &missing).map_err(|(_, error)| error);
        (openings.unwrap(), missing)
    }

    fn listening(text: &str) -> TcpListener {
        bind(address(text), None).and_then(listen).unwrap()
    }

    #[test]
    fn a_port_in_use_is_an_error() {
        let first = listening("127.0.0.1:0");
        let taken = first.local_addr().unwrap();
        let (at, error) = open_all([taken.into()], &AwaitedAddresses::default()).err().unwrap();
        assert!(at == taken);
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_port_is_free_again_after_its_connections_were_closed() {
        let listener = listening("127.0.0.1:0");
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        listener.set_nonblocking(false).unwrap();
        // The gateway's side closes first, so it is the side that keeps the connection in TIME_WAIT.
        drop(listener.accept().unwrap());
        drop((listener, client));
        listening(&address.to_string());
    }

    /// A health check that could connect would take the gateway for ready while it still reads its store.
    #[test]
    fn connections_are_refused_before_the_socket_listens() {
        let (mut openings, _) = open(&["127.0.0.1:0"]);
        let address = openings[0].address().unwrap();
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let listening = openings.remove(0).listen().map_err(|(_, error)| error).unwrap();
        TcpStream::connect(address).unwrap();
        drop(listening);
    }

    /// A bug of the past: a second broker was started by mistake while the first broker still read its store. The second
    /// broker got the clients, and the first one ended.
    #[test]
    fn no_other_process_can_listen_on_a_bound_address() {
        let (mut openings, _) = open(&["127.0.0.1:0"]);
        let address = openings[0].address().unwrap();
        for _ in 0..2 {
            assert_eq!(TcpListener::bind(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        }
        let again = open_all([address.into()], &AwaitedAddresses::default()).map_err(|(_, error)| error.kind());
        assert!(again.is_err() || again.unwrap().remove(0).listen().is_err());
        openings.remove(0).listen().map_err(|(_, error)| error).unwrap();
    }

    #[test]
    fn both_loopback_addresses_get_one_port() {
        let (openings, missing) = open(&["127.0.0.1:0", "[::1]:0"]);
        let ports: Vec<u16> = openings.iter().map(|opening| opening.address().unwrap().port()).collect();
        assert!(ports.len() == 2 && ports[0] == ports[1], "{ports:?}");
        assert!(missing.reasons().is_empty());
    }

    /// The machine has no IPv6, as with `ipv6.disable=1` or with net.ipv6.conf.all.disable_ipv6.
    #[test]
    fn without_ipv6_the_gateway_listens_on_ipv4_alone() {
        for (errno, pairs) in [(Errno::AFNOSUPPORT, "127.0.0.1 [::1]"), (Errno::ADDRNOTAVAIL, "0.0.0.0 [::]")] {
            let missing = AwaitedAddresses::default();
            let without_ipv6 = |address: ListenAddress, port| match address.resolve()? {
                SocketAddr::V6(_) => Err(errno.into()),
                SocketAddr::V4(_) => bind(address, port),
            };
            let addresses: Vec<_> = pairs.split(' ').map(|ip| address(&format!("{ip}:0"))).collect();
            let opened = open_all_with(addresses.into_iter().enumerate(), &missing, without_ipv6)
                .map_err(|(_, error)| error)
                .unwrap();
            assert!(matches!(opened[..], [ListenSocket::Bound(..)]));
            assert!(missing.reasons().is_empty(), "nobody asked for IPv6 alone");
            // At boot there may be no interface at all, not even lo.
            let nothing = |_, _| Err(Errno::ADDRNOTAVAIL.into());
            let missing = AwaitedAddresses::default();
            let both = pairs.split(' ').map(|ip| address(&format!("{ip}:0")));
            let awaited =
                open_all_with(both.into_iter().enumerate(), &missing, nothing).map_err(|(_, error)| error).unwrap();
            assert!(matches!(awaited[..], [ListenSocket::Awaited(_), ListenSocket::Awaited(_)]));
            assert_eq!(missing.reasons().len(), 1, "IPv6 may never come");
            let missing = AwaitedAddresses::default();
            let alone =
                open_all_with([(0, address("[::1]:0"))], &missing, without_ipv6).map_err(|(_, error)| error).unwrap();
            assert!(matches!(alone[..], [ListenSocket::Awaited(_)]));
            assert_eq!(missing.reasons().len(), 1);
        }
    }

    /// 192.0.2.0/24 is for documentation, and on no machine.
    #[tokio::test(start_paused = true)]
    async fn a_missing_address_is_awaited_and_an_existing_one_is_listened_on() {
        let (openings, missing) = open(&["192.0.2.1:1883", "[fe80::1%gone0]:1883", "127.0.0.1:0"]);
        assert!(matches!(openings[..], [ListenSocket::Awaited(_), ListenSocket::Awaited(_), ListenSocket::Bound(..)]));
        let reasons = missing.reasons();
        assert!(reasons[0].starts_with("it does not listen on 192.0.2.1:1883 yet: "), "{reasons:?}");
        assert!(
            reasons[1].starts_with("it does not listen on [fe80::1%gone0]:1883 yet: No such device"),
            "{reasons:?}"
        );
    }

    /// A USB adapter that is plugged in again is another interface of the same name.
    #[tokio::test(start_paused = true)]
    async fn an_interface_that_is_removed_or_replaced_is_noticed() {
        let place = |text: &str| ListenTarget {
            index: 0,
            address: address(text),
            missing: AwaitedAddresses::default(),
            is_optional: false,
        };
        let on_lo = place("[fe80::1%lo]:1883");
        let there = on_lo.address.resolve().unwrap();
        let hour = Duration::from_secs(3600);
        assert!(tokio::time::timeout(hour, on_lo.has_moved(there)).await.is_err());
        on_lo.has_moved("[fe80::1%99999]:1883".parse().unwrap()).await;
        place("[fe80::1%gone0]:1883").has_moved(there).await;
        assert!(tokio::time::timeout(hour, place("127.0.0.1:1883").has_moved(there)).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn an_awaited_address_is_listened_on_once_it_exists() {
        let blocking = listening("127.0.0.1:0");
        let address: ListenAddress = blocking.local_addr().unwrap().into();
        let missing = AwaitedAddresses::default();
        let place = ListenTarget { index: 0, address, missing: missing.clone(), is_optional: false };
        let awaited = tokio::spawn(async move { place.wait(None).await });
        while missing.reasons().is_empty() {
            sleep(Duration::from_millis(50)).await;
        }
        drop(blocking);
        assert!(awaited.await.unwrap().local_addr().unwrap() == address.resolve().unwrap());
        assert!(missing.reasons().is_empty());
    }
}
