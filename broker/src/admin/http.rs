//! The HTTP endpoint: `/live`, `/ready`, `/metrics` and `/sessions`.
//!
//! It is for those who look after the gateway, and for programs of theirs: one request on each connection, few connections
//! at once, and little time for each.

use super::snapshot::Snapshot;
use super::{State, health, host, metrics, sessions};
use crate::output::log::Throttle;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{sleep, timeout};

/// Connections at once, of each listener. If there is one more, the oldest whose request is not there yet gives way.
const SEATS: usize = 16;
/// What a connection has from its beginning to its end.
const TIME: Duration = Duration::from_secs(5);
/// What of it the request line and the headers may take.
const HEAD_TIME: Duration = Duration::from_secs(2);
/// The request line and all headers.
const HEAD_BYTES: usize = 8 << 10;
const HEADERS: usize = 64;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON_LINES: &str = "application/jsonl; charset=utf-8";

/// Accepts connections for ever.
pub(super) async fn serve(state: Arc<State>, listener: TcpListener) {
    let complaints = Throttle::default();
    // The oldest first.
    let mut seats: VecDeque<ConnectionPermit> = VecDeque::with_capacity(SEATS);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                seats.retain(|permit| !permit.task.is_finished());
                if seats.len() >= SEATS {
                    let slowest =
                        seats.iter().position(|permit| !permit.has_asked.load(Ordering::Relaxed)).unwrap_or(0);
                    if let Some(permit) = seats.remove(slowest) {
                        permit.task.abort();
                        let _ = permit.task.await;
                    }
                }
                let (state, has_asked) = (state.clone(), Arc::new(AtomicBool::new(false)));
                let asked = has_asked.clone();
                let task = tokio::spawn(async move {
                    // Whoever is too slow, or speaks no HTTP, is gone then.
                    let _ = timeout(TIME, converse(state, stream, &asked)).await;
                });
                seats.push_back(ConnectionPermit { task, has_asked });
                // A request that is there already is read before the next connection could ask its own to give way.
                yield_now().await;
            }
            // It may be that no file descriptor is left.
            Err(error) => {
                if let Some(others) = complaints.pass() {
                    tracing::warn!(%error, others, "could not accept a connection for HTTP");
                }
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

struct ConnectionPermit {
    task: JoinHandle<()>,
    /// The request line and all headers have come.
    has_asked: Arc<AtomicBool>,
}

async fn converse(state: Arc<State>, stream: TcpStream, has_asked: &AtomicBool) {
    let service = service_fn(|request| {
        has_asked.store(true, Ordering::Relaxed);
        let state = state.clone();
        async move { Ok::<_, Infallible>(answer(&state, &request).await) }
    });
    let mut http = http1::Builder::new();
    http.keep_alive(false).header_read_timeout(None).max_buf_size(HEAD_BYTES).max_headers(HEADERS);
    let head_is_late = async {
        sleep(HEAD_TIME).await;
        if has_asked.load(Ordering::Relaxed) {
            pending::<()>().await;
        }
    };
    tokio::select! {
        _ = http.serve_connection(TokioIo::new(stream), service) => {}
        () = head_is_late => {}
    }
}

async fn answer(state: &State, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    match host::check(request, &state.host_names) {
        Ok(()) => {}
        Err(StatusCode::MISDIRECTED_REQUEST) => {
            let why = "Host is neither an IP address nor localhost nor one of host_names in [http]\n";
            return response(StatusCode::MISDIRECTED_REQUEST, TEXT, why.to_owned());
        }
        Err(status) => return response(status, TEXT, "one valid Host is wanted\n".to_owned()),
    }
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET and HEAD are allowed\n".to_owned());
    }
    let uri = request.uri();
    match uri.path() {
        "/live" => verdict("it lives\n", &health::why_dead(state).await),
        "/ready" => verdict("it is ready\n", &health::why_not_ready(state).await),
        "/metrics" => {
            let Some(served) = state.served.get() else { return unknown() };
            match Snapshot::take(state, served).await.map(metrics::text) {
                Some(Ok(text)) => response(StatusCode::OK, metrics::CONTENT_TYPE, text),
                _ => unknown(),
            }
        }
        "/sessions" => {
            let wanted = match sessions::Wanted::parse(uri.query().unwrap_or_default()) {
                Ok(wanted) => wanted,
                Err(allowed) => return response(StatusCode::BAD_REQUEST, TEXT, allowed),
            };
            let Some(served) = state.served.get() else { return unknown() };
            match sessions::lines(served, wanted).await {
                Some(lines) => response(StatusCode::OK, JSON_LINES, lines),
                None => unknown(),
            }
        }
        _ => response(StatusCode::NOT_FOUND, TEXT, "there are /live, /ready, /metrics and /sessions\n".to_owned()),
    }
}

/// 200, or 503 with a line for each reason against it.
fn verdict(good: &str, reasons: &[String]) -> Response<Full<Bytes>> {
    if reasons.is_empty() {
        return response(StatusCode::OK, TEXT, good.to_owned());
    }
    let lines = reasons.iter().flat_map(|reason| [reason, "\n"]).collect();
    response(StatusCode::SERVICE_UNAVAILABLE, TEXT, lines)
}

fn unknown() -> Response<Full<Bytes>> {
    response(StatusCode::SERVICE_UNAVAILABLE, TEXT, "a shard does not answer, or not yet\n".to_owned())
}

fn response(status: StatusCode, content_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // Pages of other sites may not embed it.
    let policy = HeaderName::from_static("cross-origin-resource-policy");
    response.headers_mut().insert(policy, HeaderValue::from_static("same-origin"));
    response
}
