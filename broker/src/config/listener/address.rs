//! Where a listener is: at an address of the network, at a Unix socket, or at a socket that systemd hands over.

use crate::config::address::{ListenAddress, listen_addresses};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Where a listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenerAddress {
    /// At an address of the network.
    Network(ListenAddress),
    /// At a socket in the file system, for clients on this machine.
    Unix(UnixAddress),
    /// At all sockets that the process was started with under this name: `FileDescriptorName=` of systemd.
    Inherited(String),
}

/// A socket in the file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixAddress {
    /// Its path. The system allows 107 bytes.
    pub path: PathBuf,
    /// The permissions of the file. Who may write there may connect.
    pub mode: u32,
    /// The name or number of the group of the file; `None`: that of the process.
    pub group: Option<String>,
}

impl UnixAddress {
    /// The permissions of sockets, unless others are given: those of its group may connect.
    pub const MODE: u32 = 0o660;
    /// The most bytes of a path in Linux.
    const MOST: usize = 107;

    /// A socket at `path` with the mode 0660 and the group of the process.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), mode: Self::MODE, group: None }
    }
}

impl ListenerAddress {
    /// Whether this machine alone can reach the address, as far as the configuration tells. What systemd hands over is looked at when it is there.
    pub(crate) fn is_of_this_machine(&self) -> bool {
        match self {
            Self::Network(address) => address.is_of_this_machine(),
            Self::Unix(_) | Self::Inherited(_) => true,
        }
    }

    /// The path of a Unix socket.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Unix(address) => Some(&address.path),
            Self::Network(_) | Self::Inherited(_) => None,
        }
    }
}

impl From<ListenAddress> for ListenerAddress {
    fn from(address: ListenAddress) -> Self {
        Self::Network(address)
    }
}

impl From<SocketAddr> for ListenerAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Network(address.into())
    }
}

impl From<UnixAddress> for ListenerAddress {
    fn from(address: UnixAddress) -> Self {
        Self::Unix(address)
    }
}

impl fmt::Display for ListenerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(address) => address.fmt(f),
            Self::Unix(address) => write!(f, "{UNIX}{}", address.path.display()),
            Self::Inherited(name) => write!(f, "{SYSTEMD}{name}"),
        }
    }
}

const UNIX: &str = "unix:";
const SYSTEMD: &str = "systemd:";

/// The addresses that `text` stands for: `localhost` and `*` have one of IPv4 and one of IPv6.
pub(crate) fn listener_addresses(text: &str) -> Result<Vec<ListenerAddress>, &'static str> {
    if let Some(path) = text.strip_prefix(UNIX) {
        let fits =
            path.starts_with('/') && !path.ends_with('/') && path.len() <= UnixAddress::MOST && !path.contains('\0');
        let wanted = "behind unix: the path of a socket is wanted that begins with / and has at most 107 bytes";
        return if fits { Ok(vec![UnixAddress::new(path).into()]) } else { Err(wanted) };
    }
    if let Some(name) = text.strip_prefix(SYSTEMD) {
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
        let wanted = "behind systemd: the name of a socket is wanted: FileDescriptorName= of its unit, or else the name of the unit";
        return if is_name { Ok(vec![ListenerAddress::Inherited(name.to_owned())]) } else { Err(wanted) };
    }
    Ok(listen_addresses(text)?.into_iter().map(ListenerAddress::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_a_name_of_systemd_are_addresses_and_print_as_they_are_written() {
        for text in ["unix:/run/goldcrest/mqtt.sock", "systemd:goldcrest.socket", "127.0.0.1:1883"] {
            let [address] = &listener_addresses(text).unwrap()[..] else { panic!("one address") };
            assert_eq!(address.to_string(), text);
        }
        assert_eq!(listener_addresses("1883").unwrap().len(), 2);
        let long = format!("unix:/{}", "x".repeat(107));
        for text in
            ["unix:", "unix:mqtt.sock", "unix:/run/", &long, "systemd:", "systemd:a:b", "systemd:a b", "localhost"]
        {
            listener_addresses(text).unwrap_err();
        }
    }
}
