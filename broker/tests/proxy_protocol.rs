//! Connections that a load balancer makes for clients, and that begin with a header of the PROXY protocol.

use crate::support::certificates::{Authority, open_on};
use crate::support::{Client, connect_packet, local, runtime};
use goldcrest::access::{AccessRequest, Decision, Reply};
use goldcrest::{Access, Config, Gateway, Listener, TlsConfig};
use goldcrest_core::Principal;
use goldcrest_core::codec::{ConnAck, Packet, ReasonCode, Version};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The addresses of the clients that a decider was asked about.
type Told = Arc<Mutex<Vec<SocketAddr>>>;

/// A gateway whose listeners take connections from `networks` for those of proxies.
fn start(networks: &[&str], listeners: Vec<Listener>) -> (Gateway, Told) {
    let told = Told::default();
    let tell = told.clone();
    let access = Access::new().decided_by(move |request: AccessRequest, reply: Reply| {
        tell.lock().unwrap().extend(request.peer);
        reply.send(Decision::accept(Principal(1)));
    });
    let proxy_protocol: Vec<_> = networks.iter().map(|it| it.parse().unwrap()).collect();
    let listeners = listeners.into_iter().map(|it| Listener { proxy_protocol: proxy_protocol.clone(), ..it }).collect();
    let config = Config { listeners, shards: 2, ..local() };
    (Gateway::start_with(&config, access).unwrap_or_else(|error| panic!("{error}")), told)
}

fn plain() -> Listener {
    Listener::new("127.0.0.1:0".parse().unwrap())
}

fn opened(gateway: &Gateway, header: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.addresses()[0]).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(header).unwrap();
    stream
}

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.1 1000 8883\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x2a\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07\
    \x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x03\xe8\x22\xb3\x04\0\x03abc";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

fn connect_bytes() -> Vec<u8> {
    let mut bytes = Vec::new();
    Packet::Connect(connect_packet("proxied")).encode(Version::V5, &mut bytes);
    bytes
}

/// Whether the broker answers with a CONNACK; otherwise it closes the connection.
fn is_let_in(mut stream: TcpStream) -> bool {
    let mut first = [0; 1];
    matches!(stream.read(&mut first), Ok(1)) && first[0] == 0x20
}

#[test]
fn the_address_of_a_client_is_the_one_in_the_header_however_the_header_is_cut() {
    let (gateway, told) = start(&["127.0.0.0/8"], vec![plain()]);
    for (header, client) in [(V1, "192.0.2.7:1000"), (V2, "[2001:db8::7]:1000")] {
        let all = [header, &connect_bytes()].concat();
        for piece in [1, 7, header.len() - 1, header.len() + 1, all.len()] {
            let mut stream = opened(&gateway, b"");
            for part in all.chunks(piece) {
                stream.write_all(part).unwrap();
            }
            Client::on(stream).expect(Packet::ConnAck(ConnAck::new(ReasonCode::Success)));
            assert_eq!(told.lock().unwrap().pop().unwrap().to_string(), client, "in pieces of {piece}");
        }
    }
    // A proxy that looks whether the broker is there connects for itself.
    let stream = opened(&gateway, LOCAL);
    let own = stream.local_addr().unwrap();
    drop(Client::on(stream).connected("check"));
    assert_eq!(told.lock().unwrap().pop(), Some(own));
    runtime().block_on(gateway.shut_down());
}

#[test]
fn the_header_comes_before_tls() {
    let authority = Authority::new();
    let tls = TlsConfig::new(authority.file("server.pem"), authority.file("server.key"));
    let (gateway, told) = start(&["127.0.0.1"], vec![plain().with_tls(tls)]);
    let client = authority.client(&[&rustls::version::TLS13], None);
    drop(Client::on(open_on(opened(&gateway, V1), &client)).connected("secret"));
    assert_eq!(told.lock().unwrap()[0].to_string(), "192.0.2.7:1000");
}

#[test]
fn a_proxy_without_a_header_is_closed_and_a_header_from_elsewhere_is_never_read() {
    let (gateway, told) = start(&["127.0.0.0/8"], vec![plain()]);
    for bytes in [&connect_bytes()[..], b"PROXY TCP4 192.0.2.7 192.0.2.1 1000 88830\r\n", b"GET / HTTP/1.1\r\n"] {
        assert!(!is_let_in(opened(&gateway, bytes)), "{bytes:?}");
    }
    let (gateway, _) = start(&["192.0.2.0/24", "2001:db8::/32"], vec![plain()]);
    for header in [V1, V2] {
        assert!(!is_let_in(opened(&gateway, &[header, &connect_bytes()].concat())));
    }
    assert!(is_let_in(opened(&gateway, &connect_bytes())));
    assert!(told.lock().unwrap().is_empty());
}

#[test]
fn a_proxy_that_does_not_finish_its_header_is_closed_in_time() {
    let mut config = Config { listeners: vec![plain()], ..local() };
    config.listeners[0].proxy_protocol = vec!["127.0.0.1".parse().unwrap()];
    config.broker.connect_timeout_ms = 300;
    let gateway = Gateway::start(&config).unwrap();
    let since = Instant::now();
    let streams: Vec<_> = [b"", &V1[..20], &V2[..40], V1].map(|some| opened(&gateway, some)).into();
    assert!(!streams.into_iter().any(is_let_in));
    assert!(since.elapsed() >= Duration::from_millis(300), "they had the time for CONNECT");
}
