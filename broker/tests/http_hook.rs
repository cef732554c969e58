//! Users whom a web service knows.

use crate::support::{Client, connect_as, local};
use goldcrest::{AuthenticationSource, Config, Gateway, GoAuthResponse, HookDialect, HttpHookConfig, StartError};
use goldcrest_core::codec::{Packet, ReasonCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A web service of hyper on a thread of its own, and what it was asked. It ends with the program of the tests.
struct Service {
    address: SocketAddr,
    asked: Receiver<Value>,
}

impl Service {
    fn start() -> Self {
        let (send, asked) = channel();
        let (tell, told) = channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let send = send.clone();
                    let serve = service_fn(move |request| answer(request, send.clone()));
                    tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), serve));
                }
            });
        });
        Self { address: told.recv().unwrap(), asked }
    }

    /// A configuration that asks this service, where no client may be anonymous.
    fn config(&self, dialect: HookDialect) -> Config {
        let mut config = local();
        config.listeners[0].allow_anonymous = Some(false);
        config.authentication.http = Some(HttpHookConfig::new(&format!("http://{}/auth", self.address), dialect));
        config
    }
}

/// Knows ann with the password "seven", and ben with the password "six" for two seconds; is out of order for cleo.
async fn answer(request: Request<Incoming>, send: Sender<Value>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let question: Value = serde_json::from_slice(&body).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (status, body) = match (question["username"].as_str(), question["password"].as_str()) {
        (Some("ann"), Some("seven")) => (200, json!({"result": "allow", "ok": true})),
        (Some("ben"), Some("six")) => (200, json!({"result": "allow", "ok": true, "expire_at": now + 3})),
        (Some("cleo"), _) => (500, json!(null)),
        _ => (200, json!({"result": "deny", "ok": false})),
    };
    send.send(question).unwrap();
    Ok(Response::builder().status(status).body(Full::new(Bytes::from(body.to_string()))).unwrap())
}

#[test]
fn a_web_service_says_who_may_connect_in_either_dialect() {
    let service = Service::start();
    for dialect in [HookDialect::Emqx, HookDialect::GoAuth(GoAuthResponse::Json)] {
        let gateway = Gateway::start(&service.config(dialect)).unwrap();
        let code = |user, password| connect_as(gateway.addresses()[0], "c", user, Some(password)).1;
        assert_eq!(code(Some("ann"), "seven"), ReasonCode::Success);
        let question = service.asked.recv().unwrap();
        assert_eq!((&question["clientid"], &question["password"]), (&json!("c"), &json!("seven")));
        assert_eq!(question.get("peerhost").is_some(), dialect == HookDialect::Emqx);
        assert!(gateway.principals().find("ann").is_some());
        assert_eq!(code(Some("ann"), "seven"), ReasonCode::Success);
        assert!(service.asked.try_recv().is_err(), "the yes is remembered");
        assert_eq!(code(Some("ann"), "six"), ReasonCode::BadUserNameOrPassword);
        assert_eq!(code(Some("nobody"), "seven"), ReasonCode::BadUserNameOrPassword);
        assert!(gateway.principals().find("nobody").is_none());
        assert_eq!(code(Some("cleo"), "eight"), ReasonCode::ServerUnavailable);
        assert_eq!(service.asked.try_iter().count(), 3);
        assert_eq!(code(None, "seven"), ReasonCode::NotAuthorized);
        assert!(service.asked.try_recv().is_err(), "nobody to ask about");
    }
}

#[test]
fn the_web_service_bounds_how_long_a_client_stays() {
    let service = Service::start();
    let gateway = Gateway::start(&service.config(HookDialect::Emqx)).unwrap();
    let (mut ben, code) = connect_as(gateway.addresses()[0], "c", Some("ben"), Some("six"));
    assert_eq!(code, ReasonCode::Success);
    let since = Instant::now();
    ben.receive(|packet| match packet {
        Packet::Disconnect(disconnect) => assert_eq!(disconnect.code, ReasonCode::NotAuthorized),
        other => panic!("DISCONNECT was expected, not {other:?}"),
    });
    assert!(since.elapsed() > Duration::from_secs(1) && since.elapsed() < Duration::from_secs(5));
}

/// A shard that waited would stop serving all of its clients.
#[test]
fn a_web_service_that_hangs_holds_up_nobody_else() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = local();
    config.shards = 1;
    let url = format!("http://{}/", silent.local_addr().unwrap());
    config.authentication.http = Some(HttpHookConfig::new(&url, HookDialect::Emqx));
    let gateway = Gateway::start(&config).unwrap();
    let address = gateway.addresses()[0];
    let waits =
        thread::spawn(move || (Instant::now(), connect_as(address, "c", Some("ann"), Some("seven")).1, Instant::now()));
    let since = Instant::now();
    while since.elapsed() < Duration::from_millis(1500) {
        let before = Instant::now();
        Client::connect(address, "anonymous");
        assert!(before.elapsed() < Duration::from_secs(1));
    }
    let (began, code, ended) = waits.join().unwrap();
    assert_eq!(code, ReasonCode::ServerUnavailable);
    assert!(ended - began >= Duration::from_millis(1900), "{:?}", ended - began);
}

#[test]
fn a_service_that_cannot_be_asked_is_told_at_the_start() {
    let mut config = local();
    config.listeners[0].authentication = Some(vec![AuthenticationSource::Http]);
    assert!(matches!(Gateway::start(&config), Err(StartError::NoSource(_, AuthenticationSource::Http))));
    let mut hook = HttpHookConfig::new("https://127.0.0.1:1/", HookDialect::Emqx);
    hook.ca_file = Some("/does/not/exist".into());
    config.authentication.http = Some(hook);
    let told = Gateway::start(&config).expect_err("there is no such file").to_string();
    assert!(told.contains("/does/not/exist: No such file"), "{told}");
}
