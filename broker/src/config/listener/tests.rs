//! The keys of `[[listener]]`.

use super::{ClientCertificates, Listener, ListenerAddress, TlsConfig, TlsVersion, UnixAddress, WebSocketConfig};
use crate::config::{AuthenticationSource, Config, UserNameFrom};
use goldcrest_core::Mount;
use std::path::{Path, PathBuf};

fn read(text: &str) -> Result<Config, String> {
    Config::from_toml(Path::new("gateway.toml"), text).map_err(|error| error.to_string())
}

fn mistake(keys: &str) -> String {
    read(&format!("[[listener]]\naddress = \"127.0.0.1:8883\"\n{keys}")).unwrap_err()
}

const TLS: &str = "transport = \"tls\"\ncertificate = \"s.pem\"\nkey = \"s.key\"\n";

#[test]
fn the_keys_of_a_listener_with_tls_set_their_fields() {
    let text = format!(
        "[[listener]]\naddress = \"localhost:8883\"\n{TLS}[[listener]]\naddress = \"*:8884\"\n{TLS}client_ca = \"ca.pem\"\n\
         client_certificate = \"required\"\ncrl = [\"a.crl\", \"b.crl\"]\ncrl_depth = \"chain\"\nmin_version = \"1.3\"\nrecord_bytes = 4096\n"
    );
    let listeners = read(&text).unwrap().listeners;
    let plain = TlsConfig::new("s.pem", "s.key");
    assert_eq!(
        listeners[..2],
        ["127.0.0.1:8883", "[::1]:8883"].map(|at| Listener::new(at.parse().unwrap()).with_tls(plain.clone()))
    );
    let mutual = TlsConfig {
        client_ca: Some("ca.pem".into()),
        client_certificate: ClientCertificates::Required,
        crl: ["a.crl", "b.crl"].map(PathBuf::from).into(),
        crl_covers_chain: true,
        min_version: TlsVersion::V1_3,
        record_bytes: 4096,
        ..plain
    };
    assert_eq!(
        listeners[2..],
        ["0.0.0.0:8884", "[::]:8884"].map(|at| Listener::new(at.parse().unwrap()).with_tls(mutual.clone()))
    );
    assert!(!Config::default().is_open_by_mistake(&listeners[2]), "all its clients prove who they are");
    let optional = TlsConfig { client_certificate: ClientCertificates::Optional, ..mutual };
    let optional = Listener::new("0.0.0.0:1".parse().unwrap()).with_tls(optional);
    assert!(Config::default().is_open_by_mistake(&optional));
    let clear = read("[[listener]]\naddress = \"127.0.0.1:1\"\ntransport = \"tcp\"\n").unwrap();
    assert_eq!(clear.listeners, [Listener::new("127.0.0.1:1".parse().unwrap())]);
}

#[test]
fn keys_of_a_listener_that_do_not_go_together_are_refused() {
    assert!(mistake("transport = \"udp\"").starts_with(
        "gateway.toml:3: listener.transport: \"udp\" is not allowed; allowed: one of \"tcp\", \"tls\", \"ws\", \"wss\""
    ));
    assert_eq!(
        mistake("certificate = \"s.pem\""),
        "gateway.toml:1: listener: certificate is about transport = \"tls\" or \"wss\""
    );
    for key in ["key = \"k\"", "client_ca = \"c\"", "crl = []", "min_version = \"1.2\"", "record_bytes = 512"] {
        assert!(mistake(key).contains(" is about transport = \"tls\""), "{key}");
    }
    let missing = |key| format!("gateway.toml:1: listener.{key}: missing; this table needs it");
    assert_eq!(mistake("transport = \"tls\""), missing("certificate"));
    assert_eq!(mistake("transport = \"tls\"\ncertificate = \"s.pem\""), missing("key"));
    assert_eq!(mistake(&format!("{TLS}client_certificate = \"required\"")), missing("client_ca"));
    assert_eq!(
        mistake(&format!("{TLS}client_certificate = \"optional\"\nclient_ca = \"c\"\ncrl_depth = \"leaf\"")),
        missing("crl")
    );
    assert_eq!(
        mistake(&format!("{TLS}crl = [\"c\"]")),
        "gateway.toml:1: listener: crl is about certificates of clients: say client_certificate = \"required\" or \"optional\" too"
    );
    assert!(
        mistake(&format!("{TLS}client_certificate = true")).contains("one of \"none\", \"optional\", \"required\"")
    );
    assert!(mistake(&format!("{TLS}record_bytes = 16385")).contains("an integer from 512 to 16384"));
    assert!(mistake("transport = \"tls\"\ncertificate = \"\"").contains("allowed: the path of a file"));
}

#[test]
fn a_listener_with_websocket_may_have_tls_too() {
    let listener = |keys: &str| {
        read(&format!("[[listener]]\naddress = \"127.0.0.1:8080\"\n{keys}")).map(|it| it.listeners[0].clone())
    };
    let plain = Listener::new("127.0.0.1:8080".parse().unwrap()).with_websocket(WebSocketConfig::default());
    assert_eq!(listener("transport = \"ws\""), Ok(plain.clone()));
    let origins = ["https://a.example", "*"].map(str::to_owned).into();
    let both = plain.with_tls(TlsConfig::new("s.pem", "s.key")).with_websocket(WebSocketConfig { origins });
    let keys = TLS.replace("tls", "wss") + "origins = [\"https://a.example\", \"*\"]";
    assert_eq!(listener(&keys), Ok(both));
    assert!(mistake("origins = []").contains("origins is about transport = \"ws\" or \"wss\""));
    assert!(mistake("transport = \"ws\"\nkey = \"k\"").contains("key is about transport = \"tls\" or \"wss\""));
    assert!(mistake("transport = \"ws\"\norigins = [\"a.example\"]").contains("allowed: a list of origins"));
    assert!(mistake("transport = \"wss\"").contains("listener.certificate: missing"));
}

#[test]
fn the_keys_about_addresses_and_limits_set_their_fields() {
    let keys = "[[listener]]\naddress = \"unix:/run/mqtt.sock\"\nsocket_mode = \"0600\"\nsocket_group = \"mqtt\"\nmount = \"site-7/\"\n\
        [[listener]]\naddress = \"systemd:mqtt\"\ntransport = \"ws\"\nproxy_protocol = [\"10.0.0.0/8\", \"::1\"]\nmax_connections = 9\n\
        max_connections_per_address = 3\nhandshakes_per_address = 0\n";
    let listeners = read(keys).unwrap().listeners;
    let unix = UnixAddress { mode: 0o600, group: Some("mqtt".to_owned()), ..UnixAddress::new("/run/mqtt.sock") };
    let first = Listener { mount: Some(Mount::new("site-7/").unwrap()), ..Listener::at(unix) };
    let second = Listener {
        proxy_protocol: ["10.0.0.0/8", "::1"].map(|text| text.parse().unwrap()).into(),
        max_connections: Some(9),
        max_connections_per_address: Some(3),
        handshakes_per_address: 0,
        ..Listener::at(ListenerAddress::Inherited("mqtt".to_owned())).with_websocket(WebSocketConfig::default())
    };
    assert_eq!(listeners, [first, second]);
    let alpn = vec!["mqtt".to_owned()];
    let named = read(&format!("[[listener]]\naddress = \"127.0.0.1:1\"\n{TLS}alpn = [\"mqtt\"]")).unwrap();
    assert_eq!(named.listeners[0].tls, Some(TlsConfig { alpn, ..TlsConfig::new("s.pem", "s.key") }));
}

#[test]
fn keys_about_addresses_and_limits_that_mean_nothing_are_refused() {
    for (keys, said) in [
        ("socket_mode = \"0660\"", "socket_mode is about an address like \"unix:/run/goldcrest/mqtt.sock\""),
        ("socket_group = \"mqtt\"", "socket_group is about an address like"),
        ("socket_mode = \"660x\"", "allowed: permissions in octal as a string, like \"0660\""),
        ("socket_mode = \"4777\"", "allowed: permissions in octal"),
        ("proxy_protocol = [\"10.0.0.1/8\"]", "no bits may be set behind the prefix"),
        ("proxy_protocol = []", "allowed: a list of networks"),
        ("max_connections = 0", "an integer from 1 to"),
        ("handshakes_per_address = 5", "handshakes_per_address is about transport = \"tls\", \"ws\" or \"wss\""),
        ("alpn = [\"mqtt\"]", "alpn is about transport = \"tls\""),
        ("mount = \"site-7\"", "with / at its end"),
        ("mount = \"+/\"", "without wildcards"),
        ("mount = \"$SYS/\"", "not below $"),
    ] {
        assert!(mistake(keys).contains(said), "{}", mistake(keys));
    }
    let unix = read("[[listener]]\naddress = \"unix:/run/mqtt.sock\"\nproxy_protocol = [\"::1\"]").unwrap_err();
    assert!(unix.contains("a Unix socket has none"), "{unix}");
}

#[test]
fn a_listener_names_the_sources_of_its_users_and_the_name_in_a_certificate() {
    let listener = |keys: &str| {
        read(&format!("[[listener]]\naddress = \"127.0.0.1:8883\"\n{keys}")).map(|it| it.listeners[0].clone())
    };
    let users = listener("authentication = [\"password\"]\nallow_anonymous = false").unwrap();
    assert_eq!(users.authentication, Some(vec![AuthenticationSource::Password]));
    assert_eq!((users.allow_anonymous, users.user_name_from), (Some(false), None));
    let certificates = format!("{TLS}client_certificate = \"optional\"\nclient_ca = \"c\"\n");
    let named = listener(&format!("{certificates}user_name_from = \"san_uri\"")).unwrap();
    assert_eq!((named.authentication, named.user_name_from), (None, Some(UserNameFrom::Uri)));
    for (keys, why) in [
        ("user_name_from = \"cn\"".to_owned(), "user_name_from wants certificates of clients: say client_certificate"),
        (format!("{TLS}authentication = [\"certificate\"]"), "\"certificate\" in authentication wants certificates"),
        (
            format!("{certificates}user_name_from = \"cn\"\nauthentication = [\"password\"]"),
            "of no use without \"certificate\" in authentication",
        ),
        ("authentication = [\"passwords\"]".to_owned(), "one of \"certificate\", \"jwt\", \"password\", \"http\""),
        ("authentication = \"password\"".to_owned(), "a list of sources of users, like"),
        (
            "user_name_from = \"dns\"".to_owned(),
            "one of \"cn\", \"san_dns\", \"san_uri\", \"san_email\", \"fingerprint\"",
        ),
    ] {
        assert!(mistake(&keys).contains(why), "{}", mistake(&keys));
    }
}
