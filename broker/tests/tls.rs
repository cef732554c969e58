//! Listeners with TLS, and certificates of clients.

use crate::operations::get;
use crate::support::certificates::{Authority, Identity, open};
use crate::support::{Client, connect_packet, local, message, runtime, wait_until};
use goldcrest::access::{AccessRequest, ClientCertificate, Decision, Reply};
use goldcrest::{Access, ClientCertificates, Config, Gateway, Listener, StartError, TlsConfig, TlsVersion};
use goldcrest_core::Principal;
use goldcrest_core::codec::{ConnAck, Packet, QoS, ReasonCode};
use rcgen::SanType;
use rustls::version::{TLS12, TLS13};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The most that is waited for something: less than the time of two looks at the files.
const PATIENCE: Duration = Duration::from_secs(9);

/// The certificate of a server.
fn tls(authority: &Authority) -> TlsConfig {
    TlsConfig::new(authority.file("server.pem"), authority.file("server.key"))
}

/// The same with certificates of clients.
fn mutual(authority: &Authority, client_certificate: ClientCertificates) -> TlsConfig {
    TlsConfig { client_ca: Some(authority.file("ca.pem")), client_certificate, ..tls(authority) }
}

/// A configuration with a listener in clear and one with TLS.
fn config(tls: TlsConfig) -> Config {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    Config { listeners: vec![Listener::new(any), Listener::new(any).with_tls(tls)], ..local() }
}

fn start(tls: TlsConfig) -> Gateway {
    Gateway::start(&config(tls)).unwrap_or_else(|error| panic!("{error}"))
}

fn numbered(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at / 253 + at) as u8).collect()
}

#[test]
fn messages_of_any_length_go_from_tls_to_clear_and_back_in_both_versions() {
    let authority = Authority::new();
    for (shards, version) in [(1, &TLS13), (3, &TLS12), (3, &TLS13)] {
        let gateway = Gateway::start(&Config { shards, ..config(tls(&authority)) }).unwrap();
        let client = authority.client(&[version], None);
        let mut secret = Client::on(open(gateway.addresses()[1], &client)).connected("secret");
        let mut clear = Client::connect(gateway.addresses()[0], "clear");
        secret.subscribe("to/secret", QoS::AtMostOnce);
        clear.subscribe("to/clear", QoS::AtMostOnce);
        for len in [0, 1, 16_000, 16_384, 16_385, 70_000, 200_000, 3_000_000] {
            let payload = numbered(len);
            secret.send(Packet::Publish(message("to/clear", &payload, QoS::AtMostOnce)));
            clear.send(Packet::Publish(message("to/secret", &payload, QoS::AtMostOnce)));
            clear.expect(Packet::Publish(message("to/clear", &payload, QoS::AtMostOnce)));
            secret.expect(Packet::Publish(message("to/secret", &payload, QoS::AtMostOnce)));
        }
        runtime().block_on(gateway.shut_down());
        // The end is said in TLS too: without that a client would have to take it for an attack.
        secret.receive(|packet| assert!(matches!(packet, Packet::Disconnect(_)), "{packet:?}"));
        secret.expect_end();
    }
}

/// Records that come in any pieces are the same records; records that are cut small by the server have the contents of large ones.
#[test]
fn records_may_be_cut_anywhere_and_be_as_small_as_the_listener_says() {
    struct Trickle(TcpStream);
    impl std::io::Read for Trickle {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(into)
        }
    }
    impl std::io::Write for Trickle {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.write(&bytes[..bytes.len().min(7)])
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let authority = Authority::new();
    let gateway = start(TlsConfig { record_bytes: 512, min_version: TlsVersion::V1_3, ..tls(&authority) });
    let stream = TcpStream::connect(gateway.addresses()[1]).unwrap();
    stream.set_nodelay(true).unwrap();
    let config = authority.client(&[&TLS13], None);
    let session = rustls::ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
    let mut client = Client::on(rustls::StreamOwned::new(session, Trickle(stream))).connected("slow");
    client.subscribe("t", QoS::AtMostOnce);
    let payload = numbered(40_000);
    client.send(Packet::Publish(message("t", &payload, QoS::AtMostOnce)));
    client.expect(Packet::Publish(message("t", &payload, QoS::AtMostOnce)));
}

/// What the decider was told of each client that connected.
type Told = Arc<Mutex<Vec<(Option<u16>, Option<Arc<ClientCertificate>>)>>>;

fn start_told(tls: TlsConfig) -> (Gateway, Told) {
    let told = Told::default();
    let tell = told.clone();
    let access = Access::new().decided_by(move |request: AccessRequest, reply: Reply| {
        tell.lock().unwrap().push((request.listener, request.certificate.clone()));
        reply.send(Decision::accept(Principal(1)));
    });
    (Gateway::start_with(&config(tls), access).unwrap_or_else(|error| panic!("{error}")), told)
}

/// Connects to the listener with TLS. Returns whether the client got its CONNACK.
fn connects(gateway: &Gateway, authority: &Authority, identity: Option<&Identity>) -> bool {
    let mut stream = open(gateway.addresses()[1], &authority.client(&[&TLS13, &TLS12], identity));
    let mut bytes = Vec::new();
    Packet::Connect(connect_packet("a")).encode(goldcrest_core::codec::Version::V5, &mut bytes);
    let mut first = [0; 1];
    stream.write_all(&bytes).and_then(|()| stream.read_exact(&mut first)).is_ok() && first[0] == 0x20
}

#[test]
fn a_decider_is_told_the_listener_and_the_certificate_of_a_client() {
    let authority = Authority::new();
    let (gateway, told) = start_told(mutual(&authority, ClientCertificates::Required));
    let names = vec![
        SanType::DnsName("pump.example".try_into().unwrap()),
        SanType::URI("spiffe://example/pump".try_into().unwrap()),
        SanType::Rfc822Name("pump@example.org".try_into().unwrap()),
    ];
    let identity = authority.issue("pump 7", 77, names);
    assert!(connects(&gateway, &authority, Some(&identity)));
    Client::connect(gateway.addresses()[0], "clear");
    let told = told.lock().unwrap();
    let (listener, certificate) = &told[0];
    let certificate = certificate.as_ref().unwrap();
    assert_eq!((*listener, certificate.common_name.as_deref()), (Some(1), Some("pump 7")));
    assert_eq!(certificate.dns_names.iter().map(|name| &**name).collect::<Vec<_>>(), ["pump.example"]);
    assert_eq!(certificate.uris.iter().map(|name| &**name).collect::<Vec<_>>(), ["spiffe://example/pump"]);
    assert_eq!(certificate.emails.iter().map(|name| &**name).collect::<Vec<_>>(), ["pump@example.org"]);
    assert_eq!((&*certificate.serial, certificate.fingerprint().len()), (&[77][..], 64));
    assert_eq!(told[1], (Some(0), None));
}

#[test]
fn a_client_without_a_trusted_certificate_is_refused_where_it_is_required_and_served_where_it_is_optional() {
    let (authority, strangers) = (Authority::new(), Authority::new());
    let own = authority.issue("own", 1, Vec::new());
    let foreign = strangers.issue("foreign", 1, Vec::new());
    let (gateway, told) = start_told(mutual(&authority, ClientCertificates::Required));
    assert!(connects(&gateway, &authority, Some(&own)));
    assert!(!connects(&gateway, &authority, None));
    assert!(!connects(&gateway, &authority, Some(&foreign)));
    assert_eq!(told.lock().unwrap().len(), 1);
    let (gateway, told) = start_told(mutual(&authority, ClientCertificates::Optional));
    assert!(connects(&gateway, &authority, Some(&own)));
    assert!(connects(&gateway, &authority, None));
    assert!(!connects(&gateway, &authority, Some(&foreign)));
    let certificates: Vec<bool> = told.lock().unwrap().iter().map(|(_, certificate)| certificate.is_some()).collect();
    assert_eq!(certificates, [true, false]);
}

#[test]
fn a_revoked_certificate_is_refused() {
    let authority = Authority::new();
    authority.revoke(&[2, 3]);
    let crl = vec![authority.file("ca.crl")];
    let gateway = start(TlsConfig { crl, ..mutual(&authority, ClientCertificates::Required) });
    let client = |serial| authority.issue("c", serial, Vec::new());
    assert!(connects(&gateway, &authority, Some(&client(1))));
    assert!(!connects(&gateway, &authority, Some(&client(2))));
    assert!(!connects(&gateway, &authority, Some(&client(3))));
}

/// A session that is resumed skips the look at the client's certificate, which may have been revoked since.
#[test]
fn no_session_is_resumed_where_clients_show_certificates() {
    let authority = Authority::new();
    let resumed = |tls: TlsConfig, version| {
        let gateway = start(tls);
        let client = authority.client(&[version], Some(&authority.issue("c", 1, Vec::new())));
        let kind = || {
            let mut client = Client::on(open(gateway.addresses()[1], &client)).connected("a");
            // A ticket comes behind the handshake: it is read with what follows.
            client.subscribe("t", QoS::AtMostOnce);
            client.stream.conn.handshake_kind().unwrap()
        };
        kind();
        kind() == rustls::HandshakeKind::Resumed
    };
    for version in [&TLS12, &TLS13] {
        assert!(resumed(tls(&authority), version));
        assert!(!resumed(mutual(&authority, ClientCertificates::Required), version));
        assert!(!resumed(mutual(&authority, ClientCertificates::Optional), version));
    }
}

#[test]
fn a_client_of_another_protocol_is_closed_at_once_and_counted() {
    let authority = Authority::new();
    let gateway = start(tls(&authority));
    for first in [&b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01a"[..], b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\0\0"] {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(gateway.addresses()[1]).unwrap();
        stream.write_all(first).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
        assert!(begun.elapsed() < Duration::from_secs(5), "{first:?}");
    }
    let mut refused = TcpStream::connect(gateway.addresses()[0]).unwrap();
    refused.write_all(b"\x16\x03\x01\x00\xa5\x01").unwrap();
    assert_eq!(refused.read_to_end(&mut Vec::new()).unwrap_or(0), 0);
}

#[test]
fn files_that_do_not_fit_are_named_at_the_start() {
    let (authority, other) = (Authority::new(), Authority::new());
    let refusal = |tls: TlsConfig| match Gateway::start(&config(tls)).unwrap_err() {
        StartError::Tls(_, error) => error.to_string().replace(authority.folder.to_str().unwrap(), "DIR"),
        error => panic!("{error}"),
    };
    let gone = TlsConfig { certificate: authority.file("gone.pem"), ..tls(&authority) };
    assert_eq!(refusal(gone), "DIR/gone.pem: No such file or directory (os error 2)");
    let swapped = TlsConfig { certificate: authority.file("server.key"), ..tls(&authority) };
    assert!(refusal(swapped).starts_with("DIR/server.key: it has no certificate: a PEM file with "));
    let no_key = TlsConfig { key: authority.file("server.pem"), ..tls(&authority) };
    assert!(refusal(no_key).starts_with("DIR/server.pem: it has no private key: a PEM file with "));
    std::fs::copy(other.file("server.key"), authority.file("other.key")).unwrap();
    let mismatch = TlsConfig { key: authority.file("other.key"), ..tls(&authority) };
    assert_eq!(refusal(mismatch), "DIR/other.key: it is not the key of DIR/server.pem");
    let no_list = TlsConfig { crl: vec![authority.file("ca.pem")], ..mutual(&authority, ClientCertificates::Required) };
    assert!(refusal(no_list).starts_with("DIR/ca.pem: it has no list of revoked certificates"));
}

/// Each client of the crowd sends the beginning of a record and stops.
#[test]
fn memory_of_handshakes_and_records_is_given_back() {
    let authority = Authority::new();
    let gateway = start(tls(&authority));
    let client = authority.client(&[&TLS13], None);
    let mut crowd: Vec<_> = (0..50)
        .map(|number| Client::on(open(gateway.addresses()[1], &client)).connected(&format!("c{number}")))
        .collect();
    for client in &mut crowd {
        client.stream.sock.write_all(&[0x17, 3, 3, 0x40, 0x11, 1, 2, 3]).unwrap();
    }
    drop(crowd);
    let mut last = Client::on(open(gateway.addresses()[1], &client));
    last.send(Packet::Connect(connect_packet("last")));
    last.expect(Packet::ConnAck(ConnAck::new(ReasonCode::Success)));
}

/// The certificate that a new client is shown.
fn shown(gateway: &Gateway, authority: &Authority) -> Vec<u8> {
    let client = authority.client(&[&TLS13], None);
    let client = Client::on(open(gateway.addresses()[1], &client)).connected("a");
    client.stream.conn.peer_certificates().unwrap()[0].to_vec()
}

/// A broker that exchanged its certificate and kept the old CA and list of revoked ones had to be restarted all the same.
#[test]
fn certificates_and_lists_are_exchanged_while_clients_are_connected() {
    let authority = Authority::new();
    authority.revoke(&[]);
    let crl = vec![authority.file("ca.crl")];
    let mut config = config(TlsConfig { crl, ..mutual(&authority, ClientCertificates::Optional) });
    config.http.listen = vec!["127.0.0.1:0".parse().unwrap()];
    let gateway = Gateway::start(&config).unwrap();
    let first = shown(&gateway, &authority);
    let mut stays = Client::on(open(gateway.addresses()[1], &authority.client(&[&TLS13], None)));
    stays.send(Packet::Connect(connect_packet("stays")));
    stays.expect(Packet::ConnAck(ConnAck::new(ReasonCode::Success)));
    // Nobody asks: the files are looked at.
    authority.issue_server();
    wait_until(PATIENCE, "the new certificate is shown", || shown(&gateway, &authority) != first);
    let second = shown(&gateway, &authority);
    let client = authority.issue("c", 5, Vec::new());
    assert!(connects(&gateway, &authority, Some(&client)));
    let with_own = authority.client(&[&TLS13], Some(&client));
    let mut revoked = Client::on(open(gateway.addresses()[1], &with_own)).connected("revoked");
    let with_other = authority.client(&[&TLS13], Some(&authority.issue("d", 6, Vec::new())));
    let mut other = Client::on(open(gateway.addresses()[1], &with_other)).connected("other");
    authority.revoke(&[5]);
    gateway.reload_files();
    revoked.receive(|packet| match packet {
        Packet::Disconnect(disconnect) => assert_eq!(disconnect.code, ReasonCode::NotAuthorized),
        other => panic!("{other:?}"),
    });
    revoked.expect_end();
    other.subscribe("t", QoS::AtMostOnce);
    wait_until(PATIENCE, "the certificate is revoked", || !connects(&gateway, &authority, Some(&client)));
    // A key that is half written.
    let key = std::fs::read(authority.file("server.key")).unwrap();
    std::fs::write(authority.file("server.key"), &key[..key.len() / 2]).unwrap();
    gateway.reload_files();
    wait_until(PATIENCE, "the fault is told", || get(&gateway, "/ready").1.contains("the old ones stay in use: "));
    assert!(get(&gateway, "/metrics").1.contains("\ngoldcrest_certificate_faults 1\n"));
    assert!(get(&gateway, "/metrics").1.contains("\ngoldcrest_certificate_seconds{listener=\"127.0.0.1:0\"} "));
    assert_eq!(shown(&gateway, &authority), second);
    std::fs::write(authority.file("server.key"), &key).unwrap();
    gateway.reload_files();
    wait_until(PATIENCE, "the fault is gone", || {
        get(&gateway, "/metrics").1.contains("\ngoldcrest_certificate_faults 0\n")
    });
    stays.subscribe("t", QoS::AtMostOnce);
}

/// A list that nobody replaces in time must keep nobody out, and operators must see it.
#[test]
fn a_list_of_revoked_certificates_that_is_out_of_date_counts_on_and_is_told() {
    let authority = Authority::new();
    authority.revoke_until(2025, &[2]);
    let crl = vec![authority.file("ca.crl")];
    let mut config = config(TlsConfig { crl, ..mutual(&authority, ClientCertificates::Required) });
    config.http.listen = vec!["127.0.0.1:0".parse().unwrap()];
    let gateway = Gateway::start(&config).unwrap();
    let client = |serial| authority.issue("c", serial, Vec::new());
    assert!(connects(&gateway, &authority, Some(&client(1))));
    assert!(!connects(&gateway, &authority, Some(&client(2))));
    assert!(get(&gateway, "/metrics").1.contains("\ngoldcrest_crl_seconds{listener=\"127.0.0.1:0\"} 0\n"));
    authority.revoke(&[2]);
    gateway.reload_files();
    let is_far =
        |text: String| text.lines().any(|line| line.starts_with("goldcrest_crl_seconds{") && !line.ends_with(" 0"));
    wait_until(PATIENCE, "the next list is there", || is_far(get(&gateway, "/metrics").1));
}
