//! The server name that an HTTP request is addressed to.
//!
//! The owner of a web page can let the page's own name resolve to this machine. A browser on this machine then lets the page read the
//! gateway's answers (DNS rebinding). The browser sends the page's name as Host. So the gateway answers only requests whose Host is a
//! name that no attacker can choose.

use axum::http::header::HOST;
use axum::http::{Request, Version};
use std::net::{IpAddr, Ipv6Addr};

/// Why a request is not answered.
pub(super) enum HostRefusal {
    /// Status 400 (RFC 9112, section 3.2).
    NoValidHost,
    /// Status 421: the request is for another server (RFC 9110, section 15.5.20).
    OtherHost,
}

/// Whether a request is for this server: whether it names an IP address, `localhost` or one of `names`.
pub(super) fn check<B>(request: &Request<B>, names: &[String]) -> Result<(), HostRefusal> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    if second.is_some() || (first.is_none() && request.version() != Version::HTTP_10) {
        return Err(HostRefusal::NoValidHost);
    }
    let host = first.map(|host| host.to_str().map_err(|_| HostRefusal::NoValidHost)).transpose()?;
    // The request target may name a host too, which then counts instead of Host. Both must be names of this server.
    let target = request.uri().authority().map(|authority| authority.as_str());
    for address in [target, host].into_iter().flatten() {
        if !is_ours(address, names).ok_or(HostRefusal::NoValidHost)? {
            return Err(HostRefusal::OtherHost);
        }
    }
    Ok(())
}

/// Whether `address` is a name of this server. `None` if `address` is neither a host nor a host with a port.
fn is_ours(address: &str, names: &[String]) -> Option<bool> {
    let (host, port) = match address.strip_prefix('[') {
        Some(address) => {
            let (host, port) = address.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (host, port)
        }
        None => address.split_at(address.find(':').unwrap_or(address.len())),
    };
    let is_port =
        port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    if !is_port {
        return None;
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_name = |own: &str| name.eq_ignore_ascii_case(own.strip_suffix('.').unwrap_or(own));
    Some(host.parse::<IpAddr>().is_ok() || is_name("localhost") || names.iter().any(|own| is_name(own)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ip_addresses_localhost_and_configured_names_are_this_server() {
        let names = ["broker.example".to_owned()];
        for ours in [
            "127.0.0.1",
            "127.0.0.1:9883",
            "[::1]",
            "[::1]:9883",
            "192.0.2.7",
            "localhost",
            "LocalHost:1",
            "localhost.",
            "broker.example:80",
            "Broker.Example",
        ] {
            assert_eq!(is_ours(ours, &names), Some(true), "{ours}");
        }
        for other in [
            "evil.example",
            "evil.example:9883",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "xlocalhost",
            "",
            "x.broker.example",
            "2130706433",
        ] {
            assert_eq!(is_ours(other, &names), Some(false), "{other}");
        }
        for wrong in
            ["[::1", "[evil]", "localhost:x", "localhost:1:2", "::1", "user@localhost:1@x", "[::1]x", "[127.0.0.1]"]
        {
            assert_ne!(is_ours(wrong, &names), Some(true), "{wrong}");
        }
    }
}
