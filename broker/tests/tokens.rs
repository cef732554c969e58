//! Users with JSON Web Tokens: as passwords, by enhanced authentication, and until they expire.

use crate::support::{Client, connect_as, connect_packet, local, runtime};
use data_encoding::BASE64URL_NOPAD;
use goldcrest::{AuthenticationSource, Config, Gateway, JwtAlgorithm, JwtConfig, JwtKeys, StartError};
use goldcrest_core::codec::{Auth, Connect, Packet, Properties, Property, QoS, ReasonCode};
use ring::hmac;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const SECRET: &str = "a secret of the issuer and of the broker";
const METHOD: Property<'static> = Property::AuthenticationMethod("JWT");

/// A file with a key, that is removed with this value.
struct KeyFile(PathBuf);

impl KeyFile {
    fn new(secret: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique = COUNT.fetch_add(1, Ordering::Relaxed);
        let file = Self(std::env::temp_dir().join(format!("goldcrest-key-{unique}-{}", std::process::id())));
        fs::write(&file.0, secret).unwrap();
        file
    }

    /// A configuration with tokens that are signed with this key, where no client may be anonymous.
    fn config(&self) -> Config {
        let keys = JwtKeys::KeyFile(self.0.clone());
        let jwt = JwtConfig { algorithm: JwtAlgorithm::Hs256, keys, leeway_s: 0, ..JwtConfig::default() };
        let mut config = local();
        config.listeners[0].allow_anonymous = Some(false);
        config.authentication.jwt = Some(jwt);
        config
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A token for this user that expires in so many seconds.
fn token(secret: &str, user: &str, seconds: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed();
    let claims = format!(r#"{{"sub": "{user}", "exp": {}}}"#, now + seconds);
    let signed = [r#"{"alg": "HS256"}"#, &claims].map(|part| BASE64URL_NOPAD.encode(part.as_bytes())).join(".");
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), signed.as_bytes());
    format!("{signed}.{}", BASE64URL_NOPAD.encode(tag.as_ref()))
}

/// Connects by enhanced authentication.
fn connect_by_method(address: SocketAddr, client_id: &str, token: &str) -> (Client, ReasonCode) {
    let mut client = Client::open(address);
    let list = [METHOD, Property::AuthenticationData(token.as_bytes())];
    client.send(Packet::Connect(Connect { properties: Properties::new(&list), ..connect_packet(client_id) }));
    let code = client.receive_connack(|ack| ack.code);
    (client, code)
}

fn re_authenticate(client: &mut Client, token: &str) {
    let list = [METHOD, Property::AuthenticationData(token.as_bytes())];
    client.send(Packet::Auth(Auth { code: ReasonCode::ReAuthenticate, properties: Properties::new(&list) }));
}

fn expect_disconnect(client: &mut Client, code: ReasonCode) {
    client.receive(|packet| match packet {
        Packet::Disconnect(disconnect) => assert_eq!(disconnect.code, code),
        other => panic!("DISCONNECT was expected, not {other:?}"),
    });
}

#[test]
fn a_token_as_the_password_names_its_user() {
    let file = KeyFile::new(SECRET);
    for shards in [1, 3] {
        let gateway = Gateway::start(&Config { shards, ..file.config() }).unwrap();
        let code =
            |user: Option<&str>, password: Option<&str>| connect_as(gateway.addresses()[0], "c", user, password).1;
        let (ok, bad) = (ReasonCode::Success, ReasonCode::BadUserNameOrPassword);
        assert_eq!(code(Some("whatever"), Some(&token(SECRET, "ann", 60))), ok);
        assert_eq!(code(None, Some(&token(SECRET, "ben", 60))), ok);
        assert!(gateway.principals().find("ann").is_some() && gateway.principals().find("ben").is_some());
        assert!(gateway.principals().find("whatever").is_none(), "the token alone says who it is");
        assert_eq!(code(Some("ann"), Some(&token("another secret", "ann", 60))), bad);
        assert_eq!(code(Some("ann"), Some(&token(SECRET, "ann", -1))), bad);
        assert_eq!(code(Some("ann"), Some("a password")), bad);
        assert_eq!(code(None, None), ReasonCode::NotAuthorized);
        runtime().block_on(gateway.shut_down());
    }
}

#[test]
fn a_connection_ends_with_its_token_unless_another_token_extends_it() {
    let file = KeyFile::new(SECRET);
    for shards in [1, 3] {
        let gateway = Gateway::start(&Config { shards, ..file.config() }).unwrap();
        let address = gateway.addresses()[0];
        // Cut off to whole seconds it lasts from two to three seconds.
        let short = token(SECRET, "ann", 3);
        let (mut ends, code) = connect_as(address, "c", Some("ann"), Some(&short));
        assert_eq!(code, ReasonCode::Success);
        let (mut stays, code) = connect_by_method(address, "stays", &short);
        assert_eq!(code, ReasonCode::Success);
        re_authenticate(&mut stays, &token(SECRET, "ann", 60));
        stays.receive(|packet| match packet {
            Packet::Auth(auth) => assert_eq!(auth.code, ReasonCode::Success),
            other => panic!("AUTH was expected, not {other:?}"),
        });
        let since = Instant::now();
        expect_disconnect(&mut ends, ReasonCode::NotAuthorized);
        assert!(since.elapsed() > Duration::from_secs(1) && since.elapsed() < Duration::from_secs(5));
        ends.expect_end();
        stays.subscribe("t", QoS::AtMostOnce);
        runtime().block_on(gateway.shut_down());
    }
}

#[test]
fn a_re_authentication_with_a_bad_token_or_one_of_another_user_ends_the_connection() {
    let file = KeyFile::new(SECRET);
    let gateway = Gateway::start(&file.config()).unwrap();
    for other in [token(SECRET, "ben", 60), token("another secret", "ann", 60), "no token".to_owned(), String::new()] {
        let (mut client, connected) = connect_by_method(gateway.addresses()[0], "c", &token(SECRET, "ann", 60));
        assert_eq!(connected, ReasonCode::Success);
        re_authenticate(&mut client, &other);
        expect_disconnect(&mut client, ReasonCode::NotAuthorized);
    }
    let (_, code) = connect_by_method(gateway.addresses()[0], "c", "no token");
    assert_eq!(code, ReasonCode::BadUserNameOrPassword);
    let mut client = Client::open(gateway.addresses()[0]);
    let list = [Property::AuthenticationMethod("OWN")];
    client.send(Packet::Connect(Connect { properties: Properties::new(&list), ..connect_packet("c") }));
    assert_eq!(client.receive_connack(|ack| ack.code), ReasonCode::BadAuthenticationMethod);
}

#[test]
fn a_listener_without_tokens_takes_none() {
    let file = KeyFile::new(SECRET);
    let mut config = file.config();
    config.listeners[0].authentication = Some(Vec::new());
    config.listeners[0].allow_anonymous = Some(true);
    let gateway = Gateway::start(&config).unwrap();
    let (_, code) = connect_by_method(gateway.addresses()[0], "c", &token(SECRET, "ann", 60));
    assert_eq!(code, ReasonCode::BadAuthenticationMethod);
}

#[test]
fn a_changed_key_is_taken_over() {
    let file = KeyFile::new(SECRET);
    let gateway = Gateway::start(&file.config()).unwrap();
    let other = "a new secret of the issuer and of the broker";
    let code = |secret| connect_as(gateway.addresses()[0], "c", None, Some(&token(secret, "ann", 60))).1;
    assert_eq!(code(other), ReasonCode::BadUserNameOrPassword);
    fs::write(&file.0, other).unwrap();
    gateway.reload_files();
    let since = Instant::now();
    while code(other) != ReasonCode::Success {
        assert!(since.elapsed() < Duration::from_secs(10));
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(code(SECRET), ReasonCode::BadUserNameOrPassword);
}

#[test]
fn keys_that_cannot_be_used_are_told_at_the_start() {
    let short = KeyFile::new("too short");
    let refusal = |config: &Config| Gateway::start(config).expect_err("it does not start").to_string();
    let told = refusal(&short.config());
    assert!(told.contains("the secret has 9 bytes, and needs at least 32") && !told.contains("too short"), "{told}");
    let mut config = local();
    config.listeners[0].authentication = Some(vec![AuthenticationSource::Jwt]);
    let listener = config.listeners[0].address.clone();
    match Gateway::start(&config) {
        Err(StartError::NoSource(address, AuthenticationSource::Jwt)) => assert_eq!(address, listener),
        other => panic!("{other:?}"),
    }
}
