//! What a listener has for itself: limits on its connections, a mount, and the protocols that its clients may name.

use crate::support::certificates::{Authority, open};
use crate::support::{Client, connect_packet, local, message};
use goldcrest::{Config, Gateway, Listener, TlsConfig, WebSocketConfig};
use goldcrest_core::Mount;
use goldcrest_core::codec::{Packet, Properties, Property, QoS, ReasonCode, Version};
use rustls::version::{TLS12, TLS13};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn listener() -> Listener {
    Listener::new("127.0.0.1:0".parse().unwrap())
}

fn start(listeners: Vec<Listener>) -> Gateway {
    Gateway::start(&Config { listeners, shards: 2, ..local() }).unwrap_or_else(|error| panic!("{error}"))
}

/// Connects through a proxy at this listener for a client with this address. Returns the connection if it was let in.
fn for_client(gateway: &Gateway, address: &str) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(gateway.addresses()[0]).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut bytes = format!("PROXY TCP4 {address} 192.0.2.1 1000 8883\r\n").into_bytes();
    Packet::Connect(connect_packet("")).encode(Version::V5, &mut bytes);
    stream.write_all(&bytes).unwrap();
    (stream.read(&mut [0; 1]).unwrap_or(0) == 1).then_some(stream)
}

/// Tries again until a connection that was closed has been counted as such.
fn soon<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(done) = attempt() {
            return done;
        }
        assert!(since.elapsed() < Duration::from_secs(10), "it does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn connections_of_a_listener_and_of_an_address_are_bounded_and_counted_by_the_address_behind_a_proxy() {
    let limited = Listener {
        max_connections: Some(4),
        max_connections_per_address: Some(2),
        proxy_protocol: vec!["127.0.0.1".parse().unwrap()],
        ..listener()
    };
    let gateway = start(vec![limited, listener()]);
    let connect = |address: &str| for_client(&gateway, address);
    let mut open = vec![connect("192.0.2.7").unwrap(), connect("192.0.2.7").unwrap()];
    assert!(connect("192.0.2.7").is_none());
    open.extend([connect("192.0.2.8").unwrap(), connect("192.0.2.9").unwrap()]);
    assert!(connect("192.0.2.10").is_none(), "the listener has four");
    // Another listener has no limits.
    drop(Client::connect(gateway.addresses()[1], "other"));
    open.remove(0);
    open.push(soon(|| connect("192.0.2.7")));
    assert!(connect("192.0.2.7").is_none());
}

#[test]
fn one_address_begins_no_more_handshakes_than_the_listener_allows_and_others_begin_theirs() {
    let limited = Listener {
        handshakes_per_address: 1,
        proxy_protocol: vec!["127.0.0.1".parse().unwrap()],
        ..listener().with_websocket(WebSocketConfig::default())
    };
    let gateway = start(vec![limited]);
    // The answer to what is no request for WebSocket shows that the handshake began.
    let begins = |address: &str| {
        let mut stream = TcpStream::connect(gateway.addresses()[0]).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let head = format!("PROXY TCP4 {address} 192.0.2.1 1000 8883\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream.read(&mut [0; 1]).unwrap_or(0) == 1
    };
    let since = Instant::now();
    let begun = (0..40).filter(|_| begins("192.0.2.7")).count();
    let most = 11 + since.elapsed().as_secs() as usize;
    assert!((10..=most).contains(&begun), "{begun} handshakes, and at most {most} may begin");
    assert!(begins("192.0.2.8"));
}

#[test]
fn clients_of_a_listener_with_a_mount_live_below_it_without_anybody_who_decides() {
    let mounted = Listener { mount: Some(Mount::new("site-7/").unwrap()), ..listener() };
    let gateway = start(vec![mounted, listener()]);
    let [below, whole] = [0, 1].map(|at| gateway.addresses()[at]);
    let (mut inside, mut outside) = (Client::connect(below, "inside"), Client::connect(whole, "outside"));
    inside.subscribe("#", QoS::AtMostOnce);
    outside.subscribe("site-7/up", QoS::AtMostOnce);
    inside.send(Packet::Publish(message("up", b"1", QoS::AtMostOnce)));
    outside.expect(Packet::Publish(message("site-7/up", b"1", QoS::AtMostOnce)));
    inside.expect(Packet::Publish(message("up", b"1", QoS::AtMostOnce)));
    outside.send(Packet::Publish(message("elsewhere", b"2", QoS::AtMostOnce)));
    outside.send(Packet::Publish(message("site-7/down", b"3", QoS::AtMostOnce)));
    inside.expect(Packet::Publish(message("down", b"3", QoS::AtMostOnce)));
    // There is still no enhanced authentication.
    for address in [below, whole] {
        let mut client = Client::open(address);
        let list = [Property::AuthenticationMethod("SCRAM-SHA-256")];
        let properties = Properties::new(&list);
        client.send(Packet::Connect(goldcrest_core::codec::Connect { properties, ..connect_packet("method") }));
        client.receive_connack(|ack| assert_eq!(ack.code, ReasonCode::BadAuthenticationMethod));
    }
}

#[test]
fn a_client_that_names_other_protocols_than_the_listener_is_refused_and_one_that_names_none_is_not() {
    let authority = Authority::new();
    let tls = TlsConfig::new(authority.file("server.pem"), authority.file("server.key"));
    let named = TlsConfig { alpn: vec!["mqtt".to_owned(), "x-amzn-mqtt-ca".to_owned()], ..tls.clone() };
    let gateway = start(vec![listener().with_tls(named), listener().with_tls(tls)]);
    for version in [&TLS12, &TLS13] {
        let names = |names: &[&str]| {
            let mut config = (*authority.client(&[version], None)).clone();
            config.alpn_protocols = names.iter().map(|name| name.as_bytes().to_vec()).collect();
            Arc::new(config)
        };
        for offered in [&[][..], &["mqtt"], &["h2", "x-amzn-mqtt-ca"]] {
            let mut client = Client::on(open(gateway.addresses()[0], &names(offered))).connected("named");
            let chosen = client.stream.conn.alpn_protocol().map(<[u8]>::to_vec);
            assert_eq!(chosen.as_deref(), offered.last().map(|name| name.as_bytes()));
            client.subscribe("t", QoS::AtMostOnce);
        }
        let mut refused = open(gateway.addresses()[0], &names(&["h2"]));
        let error = refused.write_all(b"x").and_then(|()| refused.read_exact(&mut [0; 1])).unwrap_err();
        assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
        // Without a list it does not matter what clients name.
        drop(Client::on(open(gateway.addresses()[1], &names(&["h2"]))).connected("any"));
    }
}
