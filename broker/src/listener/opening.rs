//! Opening sockets to listen on: their addresses are taken when the gateway starts, and listened on when it can serve. An address
//! that is not there yet, because the network comes up later, is tried again until it is.

use crate::config::ListenAddress;
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::sleep;

/// Connections that the system completes before they are accepted: a crowd that reconnects at once fits in.
const BACKLOG: i32 = 4096;

/// A socket on its way to be listened on.
pub(crate) enum Opening {
    /// Its address is taken; who connects is refused by the system.
    Bound(ListenAddress, Socket),
    /// The system takes connections.
    Listening(TcpListener),
    Awaited(Awaited),
}

/// An address that is not there yet.
pub(crate) struct Awaited {
    address: ListenAddress,
    missing: Missing,
}

/// The addresses that are awaited, each with why.
#[derive(Clone, Debug, Default)]
pub(crate) struct Missing(Arc<Mutex<BTreeMap<String, String>>>);

impl Missing {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A line for each.
    pub(crate) fn reasons(&self) -> Vec<String> {
        let describe = |(address, why): (&String, &String)| format!("it does not listen on {address} yet: {why}");
        self.lock().iter().map(describe).collect()
    }
}

/// Takes all of `addresses`. What is not there yet is noted in `missing`.
///
/// # Errors
/// Somebody else has one of them, or it is not allowed.
pub(crate) fn open_all(
    addresses: impl IntoIterator<Item = ListenAddress>,
    missing: &Missing,
) -> Result<Vec<Opening>, (ListenAddress, io::Error)> {
    open_all_with(addresses, missing, bind)
}

fn open_all_with(
    addresses: impl IntoIterator<Item = ListenAddress>,
    missing: &Missing,
    bind: impl Fn(ListenAddress, Option<u16>) -> io::Result<Socket>,
) -> Result<Vec<Opening>, (ListenAddress, io::Error)> {
    let mut openings: Vec<Opening> = Vec::new();
    let mut bound: Vec<(ListenAddress, u16)> = Vec::new();
    for address in addresses {
        let twin = bound.iter().rfind(|(other, _)| address.is_twin_of(*other));
        let twin_port = twin.map(|(_, port)| *port);
        match bind(address, twin_port) {
            Ok(socket) => {
                let opening = Opening::Bound(address, socket);
                bound.extend(opening.address().map(|at| (address, at.port())));
                openings.push(opening);
            }
            Err(error) if !comes_later(&error) => return Err((address, error)),
            // The one of IPv4 is there: this machine has no IPv6, and nobody asked for it alone.
            Err(error) if twin_port.is_some() => tracing::debug!(%address, %error, "not listened on"),
            Err(error) => {
                tracing::warn!("cannot listen on {address} yet: {error}; it is tried again until it is there");
                missing.lock().insert(address.to_string(), error.to_string());
                openings.push(Opening::Awaited(Awaited { address, missing: missing.clone() }));
            }
        }
    }
    Ok(openings)
}

impl Opening {
    /// Where it is, once that is known.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Bound(_, socket) => socket.local_addr().ok().and_then(|address| address.as_socket()),
            Self::Listening(listener) => listener.local_addr().ok(),
            Self::Awaited(_) => None,
        }
    }

    /// Has the system take connections from now on.
    pub(crate) fn listen(self) -> Result<Self, (ListenAddress, io::Error)> {
        match self {
            Self::Bound(address, socket) => listen(socket).map(Self::Listening).map_err(|error| (address, error)),
            opening => Ok(opening),
        }
    }

    /// The socket that is listened on, when it is.
    pub(crate) async fn opened(self) -> io::Result<tokio::net::TcpListener> {
        let listener = match self {
            Self::Bound(_, socket) => listen(socket)?,
            Self::Listening(listener) => listener,
            Self::Awaited(awaited) => awaited.wait().await,
        };
        tokio::net::TcpListener::from_std(listener)
    }
}

impl Awaited {
    async fn wait(self) -> TcpListener {
        const LONGEST: Duration = Duration::from_secs(5);
        let Self { address, missing } = self;
        let mut pause = Duration::from_millis(100);
        loop {
            sleep(pause).await;
            pause = (2 * pause).min(LONGEST);
            match bind(address, None).and_then(listen) {
                Ok(listener) => {
                    missing.lock().remove(&address.to_string());
                    tracing::info!("listening on {address}, which is there now");
                    return listener;
                }
                Err(error) => {
                    let before = missing.lock().insert(address.to_string(), error.to_string());
                    if before.is_none_or(|before| before != error.to_string()) {
                        tracing::warn!("cannot listen on {address} yet: {error}");
                    }
                }
            }
        }
    }
}

/// Whether `error` says that an address, its interface or its family is not there, which may change.
fn comes_later(error: &io::Error) -> bool {
    let missing = [Errno::ADDRNOTAVAIL, Errno::AFNOSUPPORT, Errno::NODEV, Errno::NXIO];
    Errno::from_io_error(error).is_some_and(|errno| missing.contains(&errno))
}

/// Takes an address. Where the system is to choose a port, that is `wanted_port` if nobody has it.
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
    // The connections of a gateway that ran before don't keep the next one from listening.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // [::] is IPv6 alone on every system, and can stand beside 0.0.0.0.
        socket.set_only_v6(true)?;
    }
    // Clients that vanish without Keep Alive are noticed all the same. The sockets that are accepted inherit it.
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(Duration::from_secs(300)))?;
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn listen(socket: Socket) -> io::Result<TcpListener> {
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

    fn open(texts: &[&str]) -> (Vec<Opening>, Missing) {
        let missing = Missing::default();
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
        let (at, error) = open_all([taken.into()], &Missing::default()).err().unwrap();
        assert!(at == taken);
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_port_is_free_again_after_its_connections_were_closed() {
        let listener = listening("127.0.0.1:0");
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        listener.set_nonblocking(false).unwrap();
        // Closed on this side first: it is this side that remembers the connection.
        drop(listener.accept().unwrap());
        drop((listener, client));
        listening(&address.to_string());
    }

    /// A probe that connects would take a gateway for ready that still reads its store.
    #[test]
    fn who_connects_before_it_is_listened_on_is_refused() {
        let (mut openings, _) = open(&["127.0.0.1:0"]);
        let address = openings[0].address().unwrap();
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let listening = openings.remove(0).listen().map_err(|(_, error)| error).unwrap();
        TcpStream::connect(address).unwrap();
        drop(listening);
    }

    #[test]
    fn both_loopbacks_get_one_port() {
        let (openings, missing) = open(&["127.0.0.1:0", "[::1]:0"]);
        let ports: Vec<u16> = openings.iter().map(|opening| opening.address().unwrap().port()).collect();
        assert!(ports.len() == 2 && ports[0] == ports[1], "{ports:?}");
        assert!(missing.reasons().is_empty());
    }

    /// As with `ipv6.disable=1`, or with net.ipv6.conf.all.disable_ipv6.
    #[test]
    fn a_machine_without_ipv6_is_listened_on_all_the_same() {
        for (errno, pairs) in [(Errno::AFNOSUPPORT, "127.0.0.1 [::1]"), (Errno::ADDRNOTAVAIL, "0.0.0.0 [::]")] {
            let missing = Missing::default();
            let without_ipv6 = |address: ListenAddress, port| match address.resolve()? {
                SocketAddr::V6(_) => Err(errno.into()),
                SocketAddr::V4(_) => bind(address, port),
            };
            let addresses: Vec<_> = pairs.split(' ').map(|ip| address(&format!("{ip}:0"))).collect();
            let opened = open_all_with(addresses, &missing, without_ipv6).map_err(|(_, error)| error).unwrap();
            assert!(matches!(opened[..], [Opening::Bound(..)]));
            assert!(missing.reasons().is_empty(), "nobody asked for IPv6 alone");
            let alone =
                open_all_with([address("[::1]:0")], &missing, without_ipv6).map_err(|(_, error)| error).unwrap();
            assert!(matches!(alone[..], [Opening::Awaited(_)]));
            assert_eq!(missing.reasons().len(), 1);
        }
    }

    /// 192.0.2.0/24 is for documentation, and on no machine.
    #[tokio::test(start_paused = true)]
    async fn an_address_that_is_not_there_is_awaited_beside_one_that_is() {
        let (openings, missing) = open(&["192.0.2.1:1883", "[fe80::1%gone0]:1883", "127.0.0.1:0"]);
        assert!(matches!(openings[..], [Opening::Awaited(_), Opening::Awaited(_), Opening::Bound(..)]));
        let reasons = missing.reasons();
        assert!(reasons[0].starts_with("it does not listen on 192.0.2.1:1883 yet: "), "{reasons:?}");
        assert!(
            reasons[1].starts_with("it does not listen on [fe80::1%gone0]:1883 yet: No such device"),
            "{reasons:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_awaited_is_listened_on_once_it_can_be() {
        let blocking = listening("127.0.0.1:0");
        let address: ListenAddress = blocking.local_addr().unwrap().into();
        let missing = Missing::default();
        let awaited = tokio::spawn(Awaited { address, missing: missing.clone() }.wait());
        while missing.reasons().is_empty() {
            sleep(Duration::from_millis(50)).await;
        }
        drop(blocking);
        assert!(awaited.await.unwrap().local_addr().unwrap() == address.resolve().unwrap());
        assert!(missing.reasons().is_empty());
    }
}
