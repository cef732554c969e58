//! The HTTP routes: `/live`, `/ready`, `/metrics` and `/sessions`.

use super::connection_memory::ConnectionMemory;
use super::host::{self, HostRefusal};
use super::snapshot::Snapshot;
use super::{AdminState, health, metrics, sessions};
use axum::extract::{RawQuery, Request, State};
use axum::http::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use std::sync::Arc;

const JSON_LINES: &str = "application/jsonl; charset=utf-8";

/// All routes. Requests for another host, and requests with a method other than GET and HEAD, are refused before the path is
/// looked at.
pub(super) fn router(state: Arc<AdminState>) -> Router {
    Router::new()
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/metrics", get(all_metrics))
        .route("/sessions", get(session_lines))
        .fallback(no_such_path)
        .layer(from_fn_with_state(state.clone(), refuse_others))
        .layer(map_response(forbid_embedding))
        .with_state(state)
}

async fn live(State(state): State<Arc<AdminState>>) -> Response {
    verdict("it lives\n".to_owned(), &health::why_dead(&state).await)
}

async fn ready(State(state): State<Arc<AdminState>>) -> Response {
    let good: String = health::notes(&state).iter().fold("it is ready\n".to_owned(), |text, note| text + note + "\n");
    verdict(good, &health::why_not_ready(&state).await)
}

async fn all_metrics(State(state): State<Arc<AdminState>>) -> Response {
    let Some(served) = state.served.get() else { return no_answer() };
    match Snapshot::take(&state, served).await.map(metrics::text) {
        Some(Ok(text)) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        _ => no_answer(),
    }
}

async fn session_lines(
    State(state): State<Arc<AdminState>>,
    Extension(memory): Extension<ConnectionMemory>,
    RawQuery(query): RawQuery,
) -> Response {
    let wanted = match sessions::Wanted::parse(query.as_deref().unwrap_or_default()) {
        Ok(wanted) => wanted,
        Err(allowed) => return (StatusCode::BAD_REQUEST, allowed).into_response(),
    };
    let Some(served) = state.served.get() else { return no_answer() };
    match sessions::lines(served, wanted, memory).await {
        Some(lines) => ([(CONTENT_TYPE, JSON_LINES)], lines).into_response(),
        None => no_answer(),
    }
}

async fn no_such_path() -> Response {
    (StatusCode::NOT_FOUND, "there are /live, /ready, /metrics and /sessions\n").into_response()
}

async fn refuse_others(State(state): State<Arc<AdminState>>, request: Request, next: Next) -> Response {
    if let Err(refusal) = host::check(&request, &state.host_names) {
        return match refusal {
            HostRefusal::NoValidHost => (StatusCode::BAD_REQUEST, "one valid Host is wanted\n"),
            HostRefusal::OtherHost => (
                StatusCode::MISDIRECTED_REQUEST,
                "Host is neither an IP address nor localhost nor one of host_names in [http]\n",
            ),
        }
        .into_response();
    }
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET,HEAD")], "GET and HEAD are allowed\n").into_response();
    }
    next.run(request).await
}

/// No page of another site may embed the answer.
async fn forbid_embedding(mut response: Response) -> Response {
    let policy = HeaderName::from_static("cross-origin-resource-policy");
    response.headers_mut().insert(policy, HeaderValue::from_static("same-origin"));
    response
}

/// A response with status 200 if there are no `reasons` against it, or 503 with a line for each reason.
fn verdict(good: String, reasons: &[String]) -> Response {
    if reasons.is_empty() {
        return good.into_response();
    }
    let lines: String = reasons.iter().flat_map(|reason| [reason, "\n"]).collect();
    (StatusCode::SERVICE_UNAVAILABLE, lines).into_response()
}

/// The response if a shard does not answer, or if there is no shard yet.
fn no_answer() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "a shard does not answer, or not yet\n").into_response()
}
