//! The text that the gateway prints when it serves.

use crate::config::{ClientCertificates, Config, Listener, MemoryBound, host_of};
use crate::gateway::Gateway;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// Where a gateway is reached. Each place of a listener has the place of the listener in the configuration.
pub(super) struct Places<'g> {
    addresses: Vec<(usize, SocketAddr)>,
    paths: Vec<(usize, &'g Path)>,
    http: &'g [SocketAddr],
}

impl<'g> Places<'g> {
    pub(super) fn of(gateway: &'g Gateway) -> Self {
        let (addresses, paths) = (gateway.addresses_of_listeners().collect(), gateway.paths_of_listeners().collect());
        Self { addresses, paths, http: gateway.http_addresses() }
    }
}

/// The text that a newcomer reads first. Programs read the lines `listening on ADDRESS` too.
pub(super) fn greeting(config: &Config, places: &Places<'_>, awaited: &[String], memory: MemoryBound) -> String {
    let Places { addresses, paths, http } = places;
    let mut text = format!("Goldcrest {}\n", env!("CARGO_PKG_VERSION"));
    for address in *http {
        let _ = writeln!(text, "health, metrics and sessions on http://{}/", authority(*address));
    }
    for reason in awaited {
        let _ = writeln!(text, "{reason}");
    }
    let with = |listener: usize| spoken(config.listeners.get(listener));
    for (listener, address) in addresses {
        let _ = writeln!(text, "listening on {}{}", place(*address), with(*listener));
    }
    for (listener, path) in paths {
        let _ = writeln!(text, "listening on unix:{}{}", path.display(), with(*listener));
    }
    text += who_may_connect(config);
    match config.store_dir() {
        Some(data_dir) => {
            let _ = writeln!(text, "sessions, retained and queued messages are kept in {}", data_dir.display());
        }
        None => {
            text += "sessions, retained and queued messages are kept in memory alone, and gone after a stop: \
                     --memory-only or memory_only = true\n";
        }
    }
    let _ = writeln!(text, "memory is at most {memory}: --memory-max, or max in [memory]");
    if let Some((_, address)) = addresses.iter().find(|(listener, _)| with(*listener).is_empty()) {
        let at = reach(*address);
        let program = quoted(std::env::args().next().unwrap_or_else(|| "goldcrest".to_owned()));
        let _ = write!(
            text,
            "try it from two other terminals:\n\
             \x20 {program} sub {at} -v -t 'demo/#'\n\
             \x20 {program} pub {at} -t demo/room -m 21.5\n\
             or:\n\
             \x20 mosquitto_sub {at} -v -t 'demo/#'\n\
             \x20 mosquitto_pub {at} -t demo/room -m 21.5\n"
        );
    }
    text
}

/// What the clients of a listener speak below MQTT, unless it is nothing.
fn spoken(listener: Option<&Listener>) -> &'static str {
    match listener {
        Some(Listener { tls: Some(_), websocket: None, .. }) => " with TLS",
        Some(Listener { tls: None, websocket: Some(_), .. }) => " with WebSocket",
        Some(Listener { tls: Some(_), websocket: Some(_), .. }) => " with WebSocket over TLS",
        _ => "",
    }
}

/// Who may connect, in a line.
fn who_may_connect(config: &Config) -> &'static str {
    let needs_certificate =
        |it: &Listener| it.tls.as_ref().is_some_and(|tls| tls.client_certificate == ClientCertificates::Required);
    let is_any = |is: &dyn Fn(&Listener) -> bool| config.listeners.iter().any(is);
    let is_open = |it: &Listener| it.allow_anonymous == Some(true) && !it.address.is_of_this_machine();
    let is_local = |it: &Listener| it.address.is_of_this_machine() && config.allows_anonymous(it);
    match config.has_sources() {
        true if is_any(&is_open) => {
            "users prove who they are, and anybody else who reaches it may connect without a user name\n"
        }
        true if is_any(&is_local) => {
            "users prove who they are, and clients of this machine may connect without a user name\n"
        }
        true => "users prove who they are, and nobody else may connect\n",
        false if is_any(&is_open) => "anybody who reaches it may publish and subscribe: nobody is asked who they are\n",
        false if is_any(&|it| needs_certificate(it) && !it.address.is_of_this_machine()) => {
            "clients with a certificate may publish and subscribe, and clients of this machine where no certificate is wanted\n"
        }
        false => "clients of this machine may publish and subscribe, without a password\n",
    }
}

/// The options with which the clients reach `address` from this machine.
fn reach(address: SocketAddr) -> String {
    let host = match address.ip() {
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.to_string(),
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
        _ => host_of(address),
    };
    format!("-h {host} -p {}", address.port())
}

/// `address` as `--listen` accepts it. A link-local IPv6 address names its interface: `[fe80::1%eth0]:1883`.
fn place(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(_) => address.to_string(),
        SocketAddr::V6(_) => format!("[{}]:{}", host_of(address), address.port()),
    }
}

/// `address` as it stands in a URL, where `%` has to be escaped (RFC 6874).
fn authority(address: SocketAddr) -> String {
    place(address).replace('%', "%25")
}

/// A word with quotes as a shell needs them.
fn quoted(word: String) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,".contains(c);
    if word.chars().all(is_plain) { word } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MemoryMax;

    fn memory() -> MemoryBound {
        MemoryMax::Bytes(48 << 20).bound()
    }

    /// People paste the commands that the greeting shows into a shell.
    #[test]
    fn commands_in_the_greeting_name_the_interface_of_a_link_local_address() {
        let local = "[fe80::1%1]:1883".parse().unwrap();
        let text = greeting(
            &Config::default(),
            &Places { addresses: vec![(0, local)], paths: vec![(0, Path::new("/run/mqtt.sock"))], http: &[local] },
            &["it does not listen on x yet: y".to_owned()],
            memory(),
        );
        assert!(text.contains("listening on [fe80::1%lo]:1883\n"), "{text}");
        assert!(text.contains(" sub -h fe80::1%lo -p 1883 "), "{text}");
        assert!(text.contains("http://[fe80::1%25lo]:1883/\n"), "{text}");
        assert!(text.contains("\nlistening on unix:/run/mqtt.sock\n"), "{text}");
        assert!(text.contains("\nit does not listen on x yet: y\n"), "{text}");
        assert_eq!(quoted("/opt/my programs/it's".to_owned()), r"'/opt/my programs/it'\''s'");
    }

    #[test]
    fn the_greeting_names_real_ports_and_says_what_is_kept() {
        let config = Config { data_dir: Some("/data".into()), ..Config::default() };
        let mut places = Places {
            addresses: vec![(0, "[::]:41234".parse().unwrap())],
            paths: vec![],
            http: &["[::1]:9".parse().unwrap()],
        };
        let text = greeting(&config, &places, &[], memory());
        assert!(text.contains("sessions on http://[::1]:9/\n"), "{text}");
        assert!(text.contains("\nlistening on [::]:41234\n"), "{text}");
        assert!(text.contains("mosquitto_sub -h ::1 -p 41234 "), "{text}");
        assert!(text.contains("messages are kept in /data\nmemory is at most 48 MiB, as configured: "), "{text}");
        (places.addresses, places.http) = (vec![], &[]);
        let text = greeting(&Config { memory_only: true, ..config }, &places, &[], memory());
        assert!(text.contains("messages are kept in memory alone, and gone after a stop: --memory-only"), "{text}");
    }
}
