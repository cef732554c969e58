//! Sockets that the process was started with, as systemd hands them over (sd_listen_fds(3)).

use super::client_socket::ClientSocket;
use super::listen_socket::ListenSocket;
use super::unix_socket::UnixSocket;
use crate::config::ListenerAddress;
use listenfd::ListenFd;
use socket2::SockRef;
use std::io;

/// The sockets of this process that were handed over and not taken yet.
pub(crate) struct InheritedSockets {
    sockets: ListenFd,
    /// The name of each; `None` once it was taken.
    names: Vec<Option<String>>,
}

impl InheritedSockets {
    /// Those that the environment tells of, if it tells this process. They can be taken once in the life of a process: the environment is cleared of them, so
    /// that no child takes them for its own.
    pub(crate) fn of_environment() -> Self {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let sockets = ListenFd::from_env();
        // The name of systemd for a socket without a name.
        let name_or_unknown = |name: Option<&str>| name.filter(|name| !name.is_empty()).unwrap_or("unknown").to_owned();
        let names = (0..sockets.len()).map(|_| Some(name_or_unknown(names.next()))).collect();
        Self { sockets, names }
    }

    /// Takes all sockets with this name for the listener at this place.
    ///
    /// # Errors
    /// There is none, or one is no socket that listens for streams.
    pub(crate) fn take(&mut self, index: usize, name: &str) -> io::Result<Vec<ClientSocket>> {
        let wanted = |has: &Option<String>| has.as_deref() == Some(name);
        let places: Vec<usize> = (0..self.names.len()).filter(|place| wanted(&self.names[*place])).collect();
        if places.is_empty() {
            let others: Vec<&str> = self.names.iter().flatten().map(String::as_str).collect();
            let what =
                if others.is_empty() { "without sockets".to_owned() } else { format!("with {}", others.join(", ")) };
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("the process was started {what}")));
        }
        let address = ListenerAddress::Inherited(name.to_owned());
        places.into_iter().map(|place| self.take_at(index, place, &address)).collect()
    }

    fn take_at(&mut self, index: usize, place: usize, address: &ListenerAddress) -> io::Result<ClientSocket> {
        self.names[place] = None;
        if let Ok(Some(listener)) = self.sockets.take_tcp_listener(place) {
            check(&SockRef::from(&listener))?;
            return ListenSocket::listening(index, listener).map(ClientSocket::Network);
        }
        let Some(listener) = self.sockets.take_unix_listener(place)? else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "it was taken before"));
        };
        check(&SockRef::from(&listener))?;
        UnixSocket::listening(index, address.clone(), listener).map(ClientSocket::Unix)
    }

    /// The names of those that were not taken.
    pub(crate) fn rest(&self) -> impl Iterator<Item = &str> {
        self.names.iter().flatten().map(String::as_str)
    }
}

/// Checks that a socket listens: with `Accept=yes` systemd hands over connections.
fn check(socket: &SockRef<'_>) -> io::Result<()> {
    if socket.is_listener()? {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "the socket does not listen; Accept=no is wanted in its unit"))
}
