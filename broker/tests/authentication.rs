//! Users: passwords from a file, names in certificates, and clients that say nothing of who they are.

use crate::operations::get;
use crate::support::certificates::{Authority, Identity, open};
use crate::support::{Client, connect_as, connect_packet, local, message, runtime, wait_until};
use goldcrest::{
    AuthenticationConfig, AuthenticationSource, ClientCertificates, Config, Gateway, Listener, StartError, TlsConfig,
    UserNameFrom,
};
use goldcrest_core::Principal;
use goldcrest_core::codec::{Auth, Connect, Packet, Properties, Property, QoS, ReasonCode, Version};
use rcgen::SanType;
use rustls::version::TLS13;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The most that is waited for something.
const PATIENCE: Duration = Duration::from_secs(15);

/// The password is "seven".
const ANN: &str = "ann:$7$101$AAECAwQFBgcICQoL$of6QTLo6Zcm+jM/wL4Yzv65dImj2WbOmx9DOpI/0124ytTbhSKlaTKDaIzE9LdFSscWNGdNEJqdqjiCCP5wY1Q==";
/// The password is "six".
const BEN: &str =
    "ben:$6$AAECAwQFBgcICQoL$DrAjfvL+EwKcu1iXKE1DJ21LxA+xXkCyyLewWUSBW7FrupvJoMgqMsurM6DumEK8eo2MFfIhZARkl39hw+b2sA==";
/// The password is "small".
const CLEO: &str =
    "cleo:$argon2id$v=19$m=64,t=2,p=1$AAECAwQFBgcICQoLDA0ODw$W6hpjFzn86SjuBPdULe8r0DI6lbdn6yreBMJelpuRbw";
const PUMP: &str = "pump:$token$U/0UtMRhiuWlRJY8xmr3ZmXXx4j5KohdFIZL3Nd37Rg=";
const TOKEN: &str = "gct_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";

/// A file that is removed with this value.
struct PasswordFile(PathBuf);

impl PasswordFile {
    fn new(lines: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique = COUNT.fetch_add(1, Ordering::Relaxed);
        let file = Self(std::env::temp_dir().join(format!("goldcrest-users-{unique}-{}", std::process::id())));
        file.write(lines);
        file
    }

    fn write(&self, lines: &[&str]) {
        fs::write(&self.0, lines.join("\n")).unwrap();
    }
}

impl Drop for PasswordFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A configuration with these users, where clients of this machine may not be anonymous.
fn with_users(file: &Path) -> Config {
    let mut config = local();
    config.listeners[0].allow_anonymous = Some(false);
    config.authentication.password_file = Some(file.to_owned());
    config.authentication.bans.failures = 0;
    config
}

#[test]
fn users_get_in_with_their_passwords_and_nobody_learns_who_is_a_user() {
    let file = PasswordFile::new(&["# people", ANN, BEN, CLEO, "", "# devices", PUMP]);
    let endless = "x".repeat(5000);
    for shards in [1, 3] {
        let gateway = Gateway::start(&Config { shards, ..with_users(&file.0) }).unwrap();
        let address = gateway.addresses()[0];
        let code = |user, password| connect_as(address, "c", user, password).1;
        for (user, password) in [("ann", "seven"), ("ben", "six"), ("cleo", "small"), ("pump", TOKEN)] {
            for _ in 0..2 {
                assert_eq!(code(Some(user), Some(password)), ReasonCode::Success, "{user}");
                for wrong in ["", "x", "sevem", &TOKEN[1..], &endless] {
                    assert_eq!(code(Some(user), Some(wrong)), ReasonCode::BadUserNameOrPassword, "{user}: {wrong}");
                }
                assert_eq!(code(Some(user), None), ReasonCode::BadUserNameOrPassword, "{user}");
            }
            assert!(gateway.principals().find(user).is_some());
        }
        let long = "n".repeat(300);
        for unknown in ["nobody", "ann ", "Ann", "# people", &long] {
            assert_eq!(code(Some(unknown), Some("seven")), ReasonCode::BadUserNameOrPassword, "{unknown}");
        }
        for (user, password) in [(None, None), (Some(""), None), (None, Some("seven")), (Some(""), Some("seven"))] {
            assert_eq!(code(user, password), ReasonCode::NotAuthorized, "{user:?}");
        }
        assert!(gateway.principals().find("nobody").is_none(), "names of strangers take no memory");
    }
}

/// A bug of the past: who had no source of the listener was compared with the password file all the same.
#[test]
fn a_listener_without_passwords_among_its_sources_takes_no_password() {
    let file = PasswordFile::new(&[ANN]);
    let authority = Authority::new();
    let mut config = with_users(&file.0);
    let mut listener = named(&authority, UserNameFrom::CommonName, ClientCertificates::Optional);
    listener.authentication = Some(vec![AuthenticationSource::Certificate]);
    config.listeners.push(listener);
    let gateway = Gateway::start(&config).unwrap();
    let code = connect_tls(gateway.addresses()[1], &authority, None, Some(("ann", "seven")));
    assert_eq!(code, ReasonCode::BadUserNameOrPassword);
    assert_eq!(connect_as(gateway.addresses()[0], "a", Some("ann"), Some("seven")).1, ReasonCode::Success);
}

#[test]
fn clients_of_this_machine_may_be_anonymous_unless_the_listener_says_otherwise() {
    let file = PasswordFile::new(&[ANN]);
    let mut config = with_users(&file.0);
    config.listeners[0].allow_anonymous = None;
    let any = |change: fn(&mut Listener)| {
        let mut listener = Listener::new("0.0.0.0:0".parse().unwrap());
        change(&mut listener);
        listener
    };
    config.listeners.push(any(|_| {}));
    config.listeners.push(any(|listener| listener.allow_anonymous = Some(true)));
    config.listeners.push(any(|listener| {
        listener.allow_anonymous = Some(true);
        listener.authentication = Some(Vec::new());
    }));
    let gateway = Gateway::start(&config).unwrap();
    let ports: Vec<u16> = gateway.addresses().iter().map(SocketAddr::port).collect();
    let code = |at: usize, user, password| connect_as(([127, 0, 0, 1], ports[at]).into(), "c", user, password).1;
    let (ok, bad) = (ReasonCode::Success, ReasonCode::BadUserNameOrPassword);
    assert_eq!([0, 1, 2, 3].map(|at| code(at, None, None)), [ok, ReasonCode::NotAuthorized, ok, ok]);
    // Who claims to be somebody has to prove it, where anything can be proved.
    assert_eq!([0, 1, 2, 3].map(|at| code(at, Some("ann"), Some("x"))), [bad, bad, bad, ok]);
    assert_eq!([0, 1, 2, 3].map(|at| code(at, Some("ann"), None)), [bad, bad, bad, ok]);
    assert_eq!([0, 1, 2].map(|at| code(at, Some("ann"), Some("seven"))), [ok; 3]);
    // A client in the process of the gateway is of this machine too.
    assert!(runtime().block_on(gateway.client("program")).is_ok());
}

#[test]
fn an_authentication_method_that_is_not_there_is_refused_and_older_clients_hear_their_own_codes() {
    let file = PasswordFile::new(&[ANN]);
    let gateway = Gateway::start(&with_users(&file.0)).unwrap();
    let mut client = Client::open(gateway.addresses()[0]);
    let list = [Property::AuthenticationMethod("OWN")];
    client.send(Packet::Connect(Connect { properties: Properties::new(&list), ..connect_packet("a") }));
    assert_eq!(client.receive_connack(|ack| ack.code), ReasonCode::BadAuthenticationMethod);
    let old = |password: &[u8]| {
        let mut bytes = Vec::new();
        let connect = Connect {
            version: Version::V3_1_1,
            user_name: Some("ann"),
            password: Some(password),
            ..connect_packet("old")
        };
        Packet::Connect(connect).encode(Version::V3_1_1, &mut bytes);
        let mut stream = TcpStream::connect(gateway.addresses()[0]).unwrap();
        stream.write_all(&bytes).unwrap();
        let mut ack = [0; 4];
        stream.read_exact(&mut ack).unwrap();
        ack
    };
    assert_eq!((old(b"seven"), old(b"six")), ([0x20, 2, 0, 0], [0x20, 2, 0, 4]));
}

#[test]
fn a_changed_password_file_is_taken_over_and_closes_the_users_that_are_gone() {
    let file = PasswordFile::new(&[ANN, BEN]);
    let mut config = with_users(&file.0);
    config.http.listen = vec!["127.0.0.1:0".parse().unwrap()];
    let gateway = Gateway::start(&config).unwrap();
    let address = gateway.addresses()[0];
    let (mut ann, _) = connect_as(address, "ann", Some("ann"), Some("seven"));
    let (mut ben, _) = connect_as(address, "ben", Some("ben"), Some("six"));
    // Nobody asks: the file is looked at.
    file.write(&[ANN, CLEO]);
    ben.receive(|packet| match packet {
        Packet::Disconnect(disconnect) => assert_eq!(disconnect.code, ReasonCode::NotAuthorized),
        other => panic!("{other:?}"),
    });
    ben.expect_end();
    assert_eq!(connect_as(address, "ben", Some("ben"), Some("six")).1, ReasonCode::BadUserNameOrPassword);
    assert_eq!(connect_as(address, "cleo", Some("cleo"), Some("small")).1, ReasonCode::Success);
    // A file that makes no sense leaves the old one in use.
    file.write(&["ann"]);
    gateway.reload_files();
    wait_until(PATIENCE, "the fault is told", || get(&gateway, "/ready").1.contains(":1: it is no USER:HASH"));
    assert!(get(&gateway, "/metrics").1.contains("\ngoldcrest_file_faults 1\n"));
    assert!(
        get(&gateway, "/metrics").1.contains("\ngoldcrest_refused_authentications_total{reason=\"unknown_user\"} 1\n")
    );
    assert_eq!(connect_as(address, "again", Some("ann"), Some("seven")).1, ReasonCode::Success);
    ann.subscribe("t", QoS::AtMostOnce);
    file.write(&[&ANN.replace("$101$", "$102$")]);
    gateway.reload_files();
    ann.receive(|packet| assert!(matches!(packet, Packet::Disconnect(_)), "{packet:?}"));
    assert_eq!(connect_as(address, "ann", Some("ann"), Some("seven")).1, ReasonCode::BadUserNameOrPassword);
}

/// Connects to a Session that is kept, with `user`.
fn resume(address: SocketAddr, id: &str, user: Option<(&str, &str)>) -> (Client, ReasonCode, bool) {
    let mut client = Client::open(address);
    let list = [Property::SessionExpiryInterval(600)];
    client.send(Packet::Connect(Connect {
        clean_start: false,
        properties: Properties::new(&list),
        user_name: user.map(|(name, _)| name),
        password: user.map(|(_, password)| password.as_bytes()),
        ..connect_packet(id)
    }));
    let (code, session_present) = client.receive_connack(|ack| (ack.code, ack.session_present));
    (client, code, session_present)
}

/// Devices whose Sessions were there before there were users could not connect with their new passwords.
#[test]
fn a_session_belongs_to_its_user_and_that_of_an_anonymous_client_may_be_adopted() {
    let file = PasswordFile::new(&[ANN, BEN]);
    for adopts in [false, true] {
        let mut config = with_users(&file.0);
        config.listeners[0].allow_anonymous = None;
        config.authentication.adopt_anonymous_sessions = adopts;
        let data_dir = std::env::temp_dir().join(format!("goldcrest-adopts-{adopts}-{}", std::process::id()));
        config.data_dir = Some(data_dir.clone());
        let gateway = Gateway::start(&config).unwrap();
        let address = gateway.addresses()[0];
        let (ann, ben) = (Some(("ann", "seven")), Some(("ben", "six")));
        let (mut device, _, _) = resume(address, "device", None);
        device.subscribe("t", QoS::AtLeastOnce);
        // The anonymous client is there: nobody takes its Session from it.
        assert_eq!(resume(address, "device", ann).1, ReasonCode::NotAuthorized);
        drop(device);
        let mut publisher = Client::connect(address, "publisher");
        publisher.send(Packet::Publish(message("t", b"kept", QoS::AtLeastOnce)));
        publisher.receive(|packet| assert!(matches!(packet, Packet::PubAck(_))));
        let gone = || {
            let (client, code, session_present) = resume(address, "device", ann);
            (code == ReasonCode::Success).then_some((client, session_present))
        };
        if !adopts {
            std::thread::sleep(Duration::from_millis(200));
            assert!(gone().is_none());
            runtime().block_on(gateway.shut_down());
            fs::remove_dir_all(data_dir).unwrap();
            continue;
        }
        let since = Instant::now();
        let (mut client, session_present) = loop {
            match gone() {
                Some(adopted) => break adopted,
                None => assert!(since.elapsed() < Duration::from_secs(10)),
            }
        };
        assert!(session_present);
        client.receive(|packet| assert!(matches!(packet, Packet::Publish(it) if it.payload == b"kept")));
        drop(client);
        // From now on it is a Session of that user, after a restart too.
        runtime().block_on(gateway.shut_down());
        let gateway = Gateway::start(&config).unwrap();
        let address = gateway.addresses()[0];
        for other in [None, ben] {
            assert_eq!(resume(address, "device", other).1, ReasonCode::NotAuthorized, "{other:?}");
        }
        assert!(matches!(resume(address, "device", ann), (_, ReasonCode::Success, true)));
        runtime().block_on(gateway.shut_down());
        fs::remove_dir_all(data_dir).unwrap();
    }
}

/// A listener with TLS that takes the names of users from certificates.
fn named(authority: &Authority, from: UserNameFrom, asks: ClientCertificates) -> Listener {
    let mut tls = TlsConfig::new(authority.file("server.pem"), authority.file("server.key"));
    (tls.client_ca, tls.client_certificate) = (Some(authority.file("ca.pem")), asks);
    let listener = Listener::new("127.0.0.1:0".parse().unwrap()).with_tls(tls);
    Listener { user_name_from: Some(from), ..listener }
}

fn connect_tls(
    address: SocketAddr,
    authority: &Authority,
    identity: Option<&Identity>,
    user: Option<(&str, &str)>,
) -> ReasonCode {
    let mut client = Client::on(open(address, &authority.client(&[&TLS13], identity)));
    client.send(Packet::Connect(Connect {
        user_name: user.map(|(name, _)| name),
        password: user.map(|(_, password)| password.as_bytes()),
        ..connect_packet("c")
    }));
    client.receive_connack(|ack| ack.code)
}

#[test]
fn a_certificate_names_its_user() {
    let authority = Authority::new();
    let names = vec![
        SanType::DnsName("pump.example".try_into().unwrap()),
        SanType::URI("spiffe://example/pump".try_into().unwrap()),
        SanType::Rfc822Name("pump@example.org".try_into().unwrap()),
    ];
    let pump = authority.issue("pump 7", 77, names);
    let plain = authority.issue("plain", 78, Vec::new());
    let fingerprint: String = ring::digest::digest(&ring::digest::SHA256, &pump.certificate)
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    for (from, name) in [
        (UserNameFrom::CommonName, "pump 7"),
        (UserNameFrom::DnsName, "pump.example"),
        (UserNameFrom::Uri, "spiffe://example/pump"),
        (UserNameFrom::Email, "pump@example.org"),
        (UserNameFrom::Fingerprint, &fingerprint),
    ] {
        let listeners = vec![named(&authority, from, ClientCertificates::Required)];
        let gateway = Gateway::start(&Config { listeners, ..local() }).unwrap();
        // What the client calls itself does not count.
        let code = connect_tls(gateway.addresses()[0], &authority, Some(&pump), Some(("ann", "x")));
        assert_eq!(code, ReasonCode::Success);
        let principal = gateway.principals().find(name);
        assert!(principal.is_some_and(|it| it != Principal::ANONYMOUS), "{name}");
        let has_name = matches!(from, UserNameFrom::CommonName | UserNameFrom::Fingerprint);
        let code = connect_tls(gateway.addresses()[0], &authority, Some(&plain), None);
        assert_eq!(code, if has_name { ReasonCode::Success } else { ReasonCode::NotAuthorized });
    }
}

#[test]
fn the_first_source_that_knows_the_user_decides() {
    let (authority, file) = (Authority::new(), PasswordFile::new(&[ANN]));
    let pump = authority.issue("pump", 1, Vec::new());
    let mut config = with_users(&file.0);
    config.listeners = vec![named(&authority, UserNameFrom::CommonName, ClientCertificates::Optional); 2];
    config.listeners[1].authentication = Some(vec![AuthenticationSource::Password, AuthenticationSource::Certificate]);
    let gateway = Gateway::start(&config).unwrap();
    let code = |at: usize, identity, user| connect_tls(gateway.addresses()[at], &authority, identity, user);
    let (ok, bad) = (ReasonCode::Success, ReasonCode::BadUserNameOrPassword);
    for (identity, user, wanted) in [
        (Some(&pump), Some(("ann", "x")), [ok, bad]),
        (Some(&pump), Some(("nobody", "x")), [ok, ok]),
        (Some(&pump), None, [ok, ok]),
        (None, Some(("ann", "seven")), [ok, ok]),
        (None, Some(("ann", "x")), [bad, bad]),
        (None, None, [ReasonCode::NotAuthorized; 2]),
    ] {
        assert_eq!([0, 1].map(|at| code(at, identity, user)), wanted, "{user:?}");
    }
}

#[test]
fn sources_that_cannot_be_used_are_told_at_the_start() {
    let file = PasswordFile::new(&[ANN, "ben:secret"]);
    let refusal = |config: &Config| Gateway::start(config).expect_err("it does not start").to_string();
    let told = refusal(&with_users(&file.0));
    assert!(
        told.contains(":2: the line of \"ben\": it has no hash of a known kind") && !told.contains("secret"),
        "{told}"
    );
    assert!(refusal(&with_users(Path::new("/does/not/exist"))).contains("/does/not/exist: No such file"));
    let nobody = Config { authentication: AuthenticationConfig::default(), ..with_users(&file.0) };
    assert!(matches!(Gateway::start(&nobody), Err(StartError::NobodyMayConnect(_))));
    let mut asks = nobody.clone();
    asks.listeners[0].authentication = Some(vec![AuthenticationSource::Password]);
    assert!(matches!(Gateway::start(&asks), Err(StartError::NoSource(_, AuthenticationSource::Password))));
}

/// An AUTH from a client that did not begin an enhanced authentication is none of the decider's business.
#[test]
fn an_auth_without_a_method_closes_the_connection() {
    let file = PasswordFile::new(&[ANN]);
    let gateway = Gateway::start(&with_users(&file.0)).unwrap();
    let (mut client, _) = connect_as(gateway.addresses()[0], "a", Some("ann"), Some("seven"));
    client.send(Packet::Auth(Auth { code: ReasonCode::ReAuthenticate, properties: Properties::EMPTY }));
    client.receive(|packet| match packet {
        Packet::Disconnect(disconnect) => assert_eq!(disconnect.code, ReasonCode::ProtocolError),
        other => panic!("{other:?}"),
    });
}

/// Somebody who knew the name of a user could have locked the user out.
#[test]
fn who_fails_again_and_again_is_banned_at_that_address_alone() {
    let file = PasswordFile::new(&[ANN, BEN]);
    let mut config = with_users(&file.0);
    config.authentication.bans.failures = 4;
    config.http.listen = vec!["127.0.0.1:0".parse().unwrap()];
    let gateway = Gateway::start(&config).unwrap();
    let address = gateway.addresses()[0];
    let from = |here: [u8; 4], user, password: &str| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((here, 0)).into()).unwrap();
        socket.connect(&address.into()).unwrap();
        let mut client = Client::on(TcpStream::from(socket));
        let password = Some(password.as_bytes());
        client.send(Packet::Connect(Connect { user_name: Some(user), password, ..connect_packet("c") }));
        client.receive_connack(|ack| ack.code)
    };
    let (attacker, owner) = ([127, 0, 0, 1], [127, 0, 0, 2]);
    // A success in between forgives what was before.
    for password in ["x", "x", "x", "seven", "x", "x", "x"] {
        let right = if password == "seven" { ReasonCode::Success } else { ReasonCode::BadUserNameOrPassword };
        assert_eq!(from(attacker, "ann", password), right);
    }
    assert_eq!(from(attacker, "ann", "x"), ReasonCode::BadUserNameOrPassword);
    for password in ["x", "seven"] {
        assert_eq!(from(attacker, "ann", password), ReasonCode::Banned);
    }
    assert_eq!(from(owner, "ann", "seven"), ReasonCode::Success);
    assert_eq!(from(attacker, "ben", "six"), ReasonCode::Success);
    // A name that nobody has is banned in the same way, so that a ban does not tell who is a user.
    for _ in 0..4 {
        assert_eq!(from(attacker, "nobody", "x"), ReasonCode::BadUserNameOrPassword);
    }
    assert_eq!(from(attacker, "nobody", "x"), ReasonCode::Banned);
    assert!(get(&gateway, "/metrics").1.contains("\ngoldcrest_refused_authentications_total{reason=\"banned\"} 3\n"));
}
