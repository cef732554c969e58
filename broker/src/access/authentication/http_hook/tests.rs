//! The hook against a real web server.

use super::{HookAnswer, HookQuestion, HttpHook};
use crate::access::Secret;
use crate::config::{GoAuthResponse, HookDialect, HookParams, HttpHookConfig, Refresh, SecretSource};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const GO_AUTH: HookDialect = HookDialect::GoAuth(GoAuthResponse::Status);

trait Stream: Read + Write + Send {}

impl<S: Read + Write + Send> Stream for S {}

/// A web service. It answers each request with what the test has set, and hands the request to the test.
struct WebService {
    address: SocketAddr,
    answer: Arc<Mutex<String>>,
    requests: Receiver<String>,
}

impl WebService {
    fn start() -> Self {
        Self::start_with(|stream| Box::new(stream))
    }

    /// A service with TLS, and its certificate in PEM.
    fn start_with_tls() -> (Self, String) {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        let config = Arc::new(config);
        let layer = move |stream| -> Box<dyn Stream> {
            Box::new(StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream))
        };
        (Self::start_with(layer), made.cert.pem())
    }

    fn start_with(layer: impl Fn(TcpStream) -> Box<dyn Stream> + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(Mutex::new(String::new()));
        let (send, requests) = channel();
        let of_thread = answer.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, send) = (of_thread.clone(), send.clone());
                let stream = layer(stream.unwrap());
                thread::spawn(move || serve(stream, &answer, &send));
            }
        });
        Self { address, answer, requests }
    }

    /// Answers from now on with this status and body; with the status 0 not at all.
    fn answers(&self, status: u16, body: &str) {
        *self.answer.lock().unwrap() = match status {
            0 => String::new(),
            _ => format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
        };
    }

    fn config(&self, dialect: HookDialect) -> HttpHookConfig {
        let mut config = HttpHookConfig::new(&format!("http://{}/mqtt/auth", self.address), dialect);
        (config.cache_s, config.timeout_ms) = (0, 500);
        config
    }

    fn last_request(&self) -> String {
        self.requests.recv_timeout(Duration::from_secs(5)).unwrap()
    }

    fn had_no_request(&self) -> bool {
        self.requests.try_recv().is_err()
    }
}

/// Reads requests with a Content-Length, as the hook sends them, and answers them until the other side ends.
fn serve(mut stream: Box<dyn Stream>, answer: &Mutex<String>, send: &Sender<String>) {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                bytes.clear();
                let answer = answer.lock().unwrap().clone();
                let _ = send.send(text);
                if answer.is_empty() {
                    continue;
                }
                if stream.write_all(answer.as_bytes()).and_then(|()| stream.flush()).is_err() {
                    return;
                }
                continue;
            }
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return,
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
        }
    }
}

fn question(password: &[u8]) -> HookQuestion {
    HookQuestion {
        user: "ann \"&=\u{e9}".into(),
        password: Some(Secret::from(password)),
        client_id: "c/1".into(),
        peer: Some("::ffff:192.0.2.7".parse().unwrap()),
        common_name: Some("pump-7".into()),
    }
}

fn begin(hook: &HttpHook, password: &[u8]) -> Receiver<HookAnswer> {
    let (send, answer) = channel();
    hook.ask(&question(password), move |answer| send.send(answer).unwrap());
    answer
}

fn ask(hook: &HttpHook) -> HookAnswer {
    begin(hook, b"secret").recv_timeout(Duration::from_secs(10)).unwrap()
}

const YES: HookAnswer = HookAnswer::Yes { lasts: None };

#[test]
fn the_service_is_asked_as_emqx_does() {
    let service = WebService::start();
    let hook = HttpHook::start(&service.config(HookDialect::Emqx)).unwrap();
    for (status, body, expected) in [
        (200, r#"{"result": "allow", "is_superuser": true}"#, YES),
        (200, r#"{"result": "allow", "acl": null, "client_attrs": {"a": "b"}}"#, YES),
        (204, "", YES),
        (200, r#"{"result": "deny"}"#, HookAnswer::No),
        (200, r#"{"result": "ignore"}"#, HookAnswer::No),
        (401, r#"{"result": "allow"}"#, HookAnswer::No),
        (200, r#"{"result": "maybe"}"#, HookAnswer::Unavailable),
        (204, "", YES),
        (200, "allow", HookAnswer::Unavailable),
        (302, "", HookAnswer::Unavailable),
        (429, "", HookAnswer::Unavailable),
        (500, r#"{"result": "allow"}"#, HookAnswer::Unavailable),
    ] {
        service.answers(status, body);
        assert_eq!(ask(&hook), expected, "{status} {body}");
        let request = service.last_request();
        let (head, sent) = request.split_once("\r\n\r\n").unwrap();
        let head = head.to_lowercase();
        assert!(head.starts_with("post /mqtt/auth http/1.1\r\n"), "{head}");
        assert!(head.contains("content-type: application/json"), "{head}");
        let sent: serde_json::Value = serde_json::from_str(sent).unwrap();
        let expected = serde_json::json!({
            "username": "ann \"&=\u{e9}", "password": "secret", "clientid": "c/1",
            "peerhost": "192.0.2.7", "cert_common_name": "pump-7",
        });
        assert_eq!(sent, expected);
    }
}

#[test]
fn an_answer_can_bound_how_long_a_client_stays() {
    let service = WebService::start();
    let hook = HttpHook::start(&service.config(HookDialect::Emqx)).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    service.answers(200, &format!(r#"{{"result": "allow", "expire_at": {}}}"#, now + 3600));
    let HookAnswer::Yes { lasts: Some(lasts) } = ask(&hook) else { panic!("the client is accepted for a while") };
    assert!(lasts <= Duration::from_secs(3600) && lasts > Duration::from_secs(3590), "{lasts:?}");
    service.answers(200, &format!(r#"{{"result": "allow", "expire_at": {}}}"#, now - 1));
    assert_eq!(ask(&hook), HookAnswer::No);
    service.answers(200, r#"{"result": "allow", "expire_at": "tomorrow"}"#);
    assert_eq!(ask(&hook), HookAnswer::Unavailable);
}

/// Without this a client would have all rights where the service grants a few.
#[test]
fn an_answer_with_rights_that_are_not_applied_lets_nobody_in() {
    let service = WebService::start();
    let hook = HttpHook::start(&service.config(HookDialect::Emqx)).unwrap();
    service.answers(200, r##"{"result": "allow", "acl": [{"permission": "allow", "action": "all", "topic": "a/#"}]}"##);
    assert_eq!(ask(&hook), HookAnswer::Unavailable);
}

#[test]
fn the_service_is_asked_as_mosquitto_go_auth_does() {
    let service = WebService::start();
    let mut config = service.config(GO_AUTH);
    config.params = HookParams::Form;
    for (response, status, body, expected) in [
        (GoAuthResponse::Status, 200, "whatever", YES),
        (GoAuthResponse::Status, 204, "", YES),
        (GoAuthResponse::Status, 401, "", HookAnswer::No),
        (GoAuthResponse::Status, 503, "", HookAnswer::Unavailable),
        (GoAuthResponse::Json, 200, r#"{"ok": true, "error": ""}"#, YES),
        (GoAuthResponse::Json, 200, r#"{"ok": false, "error": "no such user"}"#, HookAnswer::No),
        (GoAuthResponse::Json, 403, r#"{"ok": true}"#, HookAnswer::No),
        (GoAuthResponse::Json, 200, "ok", HookAnswer::Unavailable),
        (GoAuthResponse::Text, 200, "ok", YES),
        (GoAuthResponse::Text, 200, "wrong password", HookAnswer::No),
        (GoAuthResponse::Text, 200, "", HookAnswer::No),
    ] {
        config.dialect = HookDialect::GoAuth(response);
        let hook = HttpHook::start(&config).unwrap();
        service.answers(status, body);
        assert_eq!(ask(&hook), expected, "{response:?} {status} {body}");
        let request = service.last_request();
        assert!(request.to_lowercase().contains("content-type: application/x-www-form-urlencoded"), "{request}");
        assert!(
            request.ends_with("\r\n\r\nusername=ann%20%22%26%3D%C3%A9&password=secret&clientid=c%2F1"),
            "{request}"
        );
    }
}

#[test]
fn a_service_that_does_not_answer_in_time_or_at_all_lets_nobody_in() {
    let service = WebService::start();
    let hook = HttpHook::start(&service.config(GO_AUTH)).unwrap();
    let since = Instant::now();
    assert_eq!(ask(&hook), HookAnswer::Unavailable);
    assert!(since.elapsed() >= Duration::from_millis(500));
    let address = {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.local_addr().unwrap()
    };
    let gone = HttpHookConfig::new(&format!("http://{address}/"), GO_AUTH);
    assert_eq!(ask(&HttpHook::start(&gone).unwrap()), HookAnswer::Unavailable);
}

#[test]
fn an_endless_answer_lets_nobody_in() {
    let service = WebService::start();
    let hook = HttpHook::start(&service.config(HookDialect::GoAuth(GoAuthResponse::Text))).unwrap();
    *service.answer.lock().unwrap() =
        format!("HTTP/1.1 200 X\r\nContent-Length: 1000000\r\n\r\n{}", "x".repeat(100_000));
    assert_eq!(ask(&hook), HookAnswer::Unavailable);
}

#[test]
fn after_five_failures_the_service_is_left_alone() {
    let service = WebService::start();
    let hook = HttpHook::start(&service.config(GO_AUTH)).unwrap();
    service.answers(500, "");
    for _ in 0..5 {
        assert_eq!(ask(&hook), HookAnswer::Unavailable);
        service.last_request();
    }
    service.answers(200, "");
    assert_eq!(ask(&hook), HookAnswer::Unavailable);
    assert!(service.had_no_request());
}

#[test]
fn who_was_accepted_is_accepted_again_without_a_question_and_with_the_same_password_alone() {
    let service = WebService::start();
    let mut config = service.config(GO_AUTH);
    config.cache_s = 3600;
    let hook = HttpHook::start(&config).unwrap();
    service.answers(200, "");
    assert_eq!(ask(&hook), YES);
    service.last_request();
    service.answers(401, "");
    assert_eq!(ask(&hook), YES);
    assert!(service.had_no_request());
    assert_eq!(begin(&hook, b"other").recv().unwrap(), HookAnswer::No);
    service.last_request();
    service.answers(200, "");
    assert_eq!(begin(&hook, b"other").recv().unwrap(), YES, "a no is not remembered");
}

#[test]
fn while_the_service_is_down_only_those_come_in_that_were_accepted_not_long_ago() {
    let service = WebService::start();
    let mut config = service.config(GO_AUTH);
    config.stale_ok_s = 3600;
    let hook = HttpHook::start(&config).unwrap();
    service.answers(200, "");
    assert_eq!(ask(&hook), YES);
    service.answers(500, "");
    for _ in 0..7 {
        assert_eq!(ask(&hook), YES, "also while the breaker is open");
        assert_eq!(begin(&hook, b"other").recv().unwrap(), HookAnswer::Unavailable);
    }
}

#[test]
fn who_is_refused_now_is_not_let_in_by_an_older_yes() {
    let service = WebService::start();
    let mut config = service.config(GO_AUTH);
    config.stale_ok_s = 3600;
    let hook = HttpHook::start(&config).unwrap();
    for (status, expected) in [(200, YES), (401, HookAnswer::No), (500, HookAnswer::Unavailable)] {
        service.answers(status, "");
        assert_eq!(ask(&hook), expected);
    }
}

#[test]
fn more_than_256_questions_do_not_wait() {
    let service = WebService::start();
    let hook = HttpHook::start(&service.config(GO_AUTH)).unwrap();
    let waiting: Vec<_> = (0..256).map(|number| begin(&hook, format!("{number}").as_bytes())).collect();
    assert_eq!(begin(&hook, b"one more").recv().unwrap(), HookAnswer::Busy);
    for answer in waiting {
        assert_eq!(answer.recv_timeout(Duration::from_secs(20)).unwrap(), HookAnswer::Unavailable);
    }
    assert_eq!(ask(&hook), HookAnswer::Unavailable, "there is room again");
}

#[test]
fn passwords_that_no_dialect_can_carry_are_refused_without_a_question() {
    let service = WebService::start();
    let hook = HttpHook::start(&service.config(GO_AUTH)).unwrap();
    service.answers(200, "");
    for password in [&[0xff][..], &[b'a'; 8192]] {
        assert_eq!(begin(&hook, password).recv().unwrap(), HookAnswer::No);
    }
    assert!(service.had_no_request());
}

#[test]
fn the_gateway_proves_who_it_is_by_a_secret_that_is_read_anew() {
    let path = std::env::temp_dir().join(format!("goldcrest-hook-secret-{}", std::process::id()));
    fs::write(&path, "Bearer one\n").unwrap();
    let service = WebService::start();
    let mut config = service.config(GO_AUTH);
    config.authorization = Some(SecretSource::File(path.clone()));
    let hook = HttpHook::start(&config).unwrap();
    service.answers(200, "");
    ask(&hook);
    assert!(service.last_request().to_lowercase().contains("\r\nauthorization: bearer one\r\n"));
    fs::write(&path, "Bearer another").unwrap();
    hook.files().refresh(Refresh::Changed);
    ask(&hook);
    assert!(service.last_request().to_lowercase().contains("\r\nauthorization: bearer another\r\n"));
    for damaged in ["", "two\nlines"] {
        fs::write(&path, damaged).unwrap();
        hook.files().refresh(Refresh::All);
        assert_eq!(hook.files().faults().len(), 1, "{damaged:?}");
        assert!(HttpHook::start(&config).is_err());
    }
    ask(&hook);
    assert!(service.last_request().to_lowercase().contains("\r\nauthorization: bearer another\r\n"), "it stays in use");
    fs::remove_file(&path).unwrap();
}

#[test]
fn a_service_with_tls_proves_who_it_is() {
    let (service, certificate) = WebService::start_with_tls();
    service.answers(200, "");
    let path = std::env::temp_dir().join(format!("goldcrest-hook-ca-{}.pem", std::process::id()));
    fs::write(&path, certificate).unwrap();
    let mut config = service.config(GO_AUTH);
    config.url = config.url.replace("http:", "https:");
    config.ca_file = Some(path.clone());
    config.timeout_ms = 5000;
    assert_eq!(ask(&HttpHook::start(&config).unwrap()), YES);
    service.last_request();
    let (_, other) = WebService::start_with_tls();
    fs::write(&path, other).unwrap();
    assert_eq!(ask(&HttpHook::start(&config).unwrap()), HookAnswer::Unavailable);
    assert!(service.had_no_request(), "no password goes to somebody else");
    fs::write(&path, "no certificate").unwrap();
    assert!(HttpHook::start(&config).is_err());
    fs::remove_file(&path).unwrap();
}
