//! The HTTP endpoint: `/live`, `/ready`, `/metrics` and `/sessions`.
//!
//! It is for those who look after the gateway, and for programs of theirs: one request on each connection, few connections
//! at once, and little time for each.

use super::snapshot::Snapshot;
use super::{State, health, metrics, sessions};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Connections at once, of each listener; others wait until one of these ends.
const SEATS: usize = 16;
/// What a connection has from its beginning to its end.
const TIME: Duration = Duration::from_secs(5);
/// The request line and all headers.
const HEAD_BYTES: usize = 8 << 10;
const HEADERS: usize = 64;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON_LINES: &str = "application/jsonl; charset=utf-8";

/// Accepts connections for ever.
pub(super) async fn serve(state: Arc<State>, listener: TcpListener) {
    let seats = Arc::new(Semaphore::new(SEATS));
    loop {
        let Ok(seat) = seats.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let state = state.clone();
                tokio::spawn(async move {
                    // Whoever is too slow, or speaks no HTTP, is gone then.
                    let _ = timeout(TIME, converse(state, stream)).await;
                    drop(seat);
                });
            }
            // It may be that no file descriptor is left.
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn converse(state: Arc<State>, stream: TcpStream) -> hyper::Result<()> {
    let service = service_fn(|request| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(answer(&state, &request).await) }
    });
    let mut http = http1::Builder::new();
    http.keep_alive(false).header_read_timeout(None).max_buf_size(HEAD_BYTES).max_headers(HEADERS);
    http.serve_connection(TokioIo::new(stream), service).await
}

async fn answer(state: &State, request: &Request<Incoming>) -> Response<Full<Bytes>> {
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
    response
}
