//! Addresses to listen on, as they are written: `127.0.0.1:1883`, `[fe80::1%eth0]:1883`, `localhost:1883`, `*:1883`, `1883`.

use rustix::net::{AddressFamily, SocketType, netdevice, socket};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// An address to listen on. Neither the address nor the network interface in it need exist yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    /// The scope of the address is 0 if `interface` is set: the system's index of the interface is looked up when the address is bound.
    address: SocketAddr,
    interface: Option<Interface>,
}

/// What [`ListenAddress`] and [`listen_addresses`] accept.
const ADDRESSES: &str = "an IP address and a port up to 65535 are wanted, like 127.0.0.1:1883 or [::1]:1883; [fe80::1%eth0]:1883 for an address of \
     a link; localhost:1883 or 1883 for the loopback addresses of this machine; *:1883 for all its addresses; other names are not looked up";

impl ListenAddress {
    /// The address to bind to.
    ///
    /// # Errors
    /// The network interface of the address does not exist.
    pub(crate) fn resolve(self) -> io::Result<SocketAddr> {
        match (self.address, self.interface) {
            (SocketAddr::V6(mut address), Some(interface)) => {
                address.set_scope_id(interface.index()?);
                Ok(address.into())
            }
            (address, _) => Ok(address),
        }
    }

    /// Whether the address names its interface. An interface may be removed, and come back with another index.
    pub(crate) fn names_interface(self) -> bool {
        self.interface.is_some()
    }

    /// Whether this machine alone can reach the address.
    pub(crate) fn is_of_this_machine(self) -> bool {
        self.address.ip().to_canonical().is_loopback()
    }

    /// Whether this is the IPv6 counterpart of the IPv4 address `other`: both are loopback addresses, or both mean all addresses. A user
    /// who asks for both with one port does not demand that the machine has IPv6.
    pub(crate) fn is_twin_of(self, other: Self) -> bool {
        let ips = (other.address.ip(), self.address.ip());
        let loopbacks = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
        let all = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        self.address.port() == other.address.port() && (ips == loopbacks || ips == all)
    }
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> Self {
        // An IPv4 address that is written as IPv6 becomes the IPv4 address: IPv6 sockets are opened for IPv6 alone.
        let ipv4 = address.ip().to_canonical();
        let address = if ipv4.is_ipv4() { SocketAddr::new(ipv4, address.port()) } else { address };
        Self { address, interface: None }
    }
}

impl PartialEq<SocketAddr> for ListenAddress {
    fn eq(&self, other: &SocketAddr) -> bool {
        self.interface.is_none() && self.address == *other
    }
}

/// Reads one address. For texts that stand for two addresses see `listen_addresses`.
impl FromStr for ListenAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = match split_interface(text) {
            Some((without, interface)) => without.parse().ok().map(|address| Self { address, interface }),
            None => text.parse().ok().map(SocketAddr::into),
        };
        let is_whole = |it: &Self| match it.address {
            // Each interface has link-local addresses, so the address must name its interface.
            SocketAddr::V6(address) if address.ip().is_unicast_link_local() => {
                address.scope_id() != 0 || it.interface.is_some()
            }
            _ => it.interface.is_none(),
        };
        parsed.filter(is_whole).ok_or(ADDRESSES)
    }
}

/// Splits `[fe80::1%eth0]:1883` into the address without its interface, and the interface. The standard library handles an interface that
/// is given by its index.
fn split_interface(text: &str) -> Option<(String, Option<Interface>)> {
    let (ip, rest) = text.split_once('%')?;
    let (name, port) = rest.rsplit_once("]:")?;
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
    (!is_number).then(|| (format!("{ip}]:{port}"), Interface::new(name)))
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.interface {
            Some(interface) => write!(f, "[{}%{}]:{}", self.address.ip(), interface.name(), self.address.port()),
            None => self.address.fmt(f),
        }
    }
}

/// The addresses that `text` stands for: `localhost` and `*` have one of IPv4 and one of IPv6.
pub(crate) fn listen_addresses(text: &str) -> Result<Vec<ListenAddress>, &'static str> {
    let (host, port) = text.rsplit_once(':').unwrap_or(("localhost", text));
    let twins = match host.to_ascii_lowercase().as_str() {
        "localhost" => [IpAddr::V4(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()],
        "*" | "" => [IpAddr::V4(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()],
        _ => return Ok(vec![text.parse()?]),
    };
    let port = port.parse::<u16>().ok().filter(|_| port.bytes().all(|byte| byte.is_ascii_digit()));
    let port = port.ok_or(ADDRESSES)?;
    Ok(twins.map(|ip| SocketAddr::new(ip, port).into()).to_vec())
}

/// The name of a network interface, of at most 15 bytes as in Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Interface {
    bytes: [u8; Self::MOST],
    len: usize,
}

impl Interface {
    const MOST: usize = 15;

    fn new(name: &str) -> Option<Self> {
        let mut bytes = [0; Self::MOST];
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
        bytes.get_mut(..name.len()).filter(|_| is_name)?.copy_from_slice(name.as_bytes());
        Some(Self { bytes, len: name.len() })
    }

    fn name(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }

    fn index(&self) -> io::Result<u32> {
        let any = socket(AddressFamily::UNIX, SocketType::DGRAM, None)?;
        Ok(netdevice::name_to_index(any, self.name())?)
    }
}

/// Whether there is a network interface with this name or index.
pub(crate) fn interface_exists(name: &str) -> bool {
    let any = socket(AddressFamily::UNIX, SocketType::DGRAM, None);
    match name.parse() {
        Ok(index) => any.and_then(|any| netdevice::index_to_name(any, index)).is_ok(),
        Err(_) => any.and_then(|any| netdevice::name_to_index(any, name)).is_ok(),
    }
}

/// The host of `address` as a program on this machine needs it: a link-local address with the name of its interface.
pub(crate) fn host_of(address: SocketAddr) -> String {
    match address {
        SocketAddr::V6(address) if address.scope_id() != 0 => {
            let index = address.scope_id();
            let any = socket(AddressFamily::UNIX, SocketType::DGRAM, None);
            let name = any.and_then(|any| netdevice::index_to_name(any, index));
            format!("{}%{}", address.ip(), name.unwrap_or_else(|_| index.to_string()))
        }
        address => address.ip().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Vec<String>> {
        Some(listen_addresses(text).ok()?.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn each_way_to_write_an_address_is_read() {
        let both = |port| Some(vec![format!("127.0.0.1:{port}"), format!("[::1]:{port}")]);
        for (text, port) in [("localhost:1883", 1883), ("LOCALHOST:7", 7), ("1883", 1883), ("0", 0)] {
            assert_eq!(read(text), both(port), "{text}");
        }
        assert_eq!(read("[::ffff:127.0.0.1]:1883").unwrap(), ["127.0.0.1:1883"]);
        for text in ["*:1883", ":1883"] {
            assert_eq!(read(text).unwrap(), ["0.0.0.0:1883", "[::]:1883"], "{text}");
        }
        for text in ["127.0.0.1:0", "[::1]:1883", "[::]:65535", "[fe80::1%eth0]:1883", "[fe80::1%3]:1883"] {
            assert_eq!(read(text).unwrap(), [text]);
        }
        for text in [
            "localhost",
            "127.0.0.1",
            "::1:1883:",
            "[::1]",
            "[::1]:",
            "localhost:70000",
            "localhost:+1",
            "70000",
            "",
            ":",
            "*",
            "broker.example:1883",
            "127.0.0.1:1883x",
            " 1883",
            // Link-local addresses without an interface or with one that cannot exist, and an interface at an address that takes none.
            "[fe80::1]:1883",
            "[fe80::1%]:1883",
            "[fe80::1%an-interface-name-that-is-too-long]:1883",
            "[fe80::1%et h0]:1883",
            "[::1%eth0]:1883",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn an_address_names_its_interface_and_an_unknown_interface_is_an_error() {
        let index = ListenAddress::from_str("[fe80::1%lo]:1883").unwrap().resolve().unwrap();
        let SocketAddr::V6(index) = index else { panic!("it is IPv6") };
        assert_ne!(index.scope_id(), 0);
        assert_eq!(host_of(index.into()), "fe80::1%lo");
        let missing = ListenAddress::from_str("[fe80::1%gone0]:1883").unwrap().resolve().unwrap_err();
        assert_eq!(missing.raw_os_error(), Some(rustix::io::Errno::NODEV.raw_os_error()));
        assert_eq!(host_of("[fe80::1%99999]:1883".parse().unwrap()), "fe80::1%99999");
        assert_eq!(host_of("[::1]:1883".parse().unwrap()), "::1");
    }

    #[test]
    fn an_ipv6_address_is_the_twin_of_an_ipv4_address_of_the_same_kind_and_port() {
        let address = |text: &str| ListenAddress::from_str(text).unwrap();
        assert!(address("[::1]:1").is_twin_of(address("127.0.0.1:1")));
        assert!(address("[::]:1").is_twin_of(address("0.0.0.0:1")));
        for (one, other) in [("[::1]:1", "127.0.0.1:2"), ("[::1]:1", "0.0.0.0:1"), ("127.0.0.1:1", "[::1]:1")] {
            assert!(!address(one).is_twin_of(address(other)));
        }
    }
}
