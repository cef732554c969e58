//! The HTTP server: one request on each connection, few connections at once, and little time for each. It is for the
//! operators of the gateway, and for their programs.
//!
//! axum answers the requests ([`api`]). The connections use hyper directly, because `axum::serve` cannot have the limits of
//! this module.

use super::{AdminState, api};
use crate::output::log::Throttle;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{sleep, timeout};

/// The most connections at once, for each listener. A new connection takes the place of the oldest one whose request is not
/// complete.
const MOST_CONNECTIONS: usize = 16;
/// The time that a connection has from its beginning to its end.
const TIME: Duration = Duration::from_secs(5);
/// The part of [`TIME`] that the request line and the headers may take.
const HEAD_TIME: Duration = Duration::from_secs(2);
/// The most bytes of the request line and all headers.
const HEAD_BYTES: usize = 8 << 10;
const HEADERS: usize = 64;

/// The routes, as hyper calls them.
type Routes = TowerToHyperService<axum::Router>;

/// Accepts connections for ever.
pub(super) async fn serve(state: Arc<AdminState>, listener: TcpListener) {
    let routes = TowerToHyperService::new(api::router(state));
    let complaints = Throttle::default();
    let mut connections = Connections::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.make_room().await;
                connections.open(routes.clone(), stream);
                // If a request has arrived already, it is read before another connection can take the place of this one.
                yield_now().await;
            }
            // Perhaps no file descriptor is left.
            Err(error) => {
                if let Some(others) = complaints.pass() {
                    tracing::warn!(%error, others, "could not accept a connection for HTTP");
                }
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// At most [`MOST_CONNECTIONS`] connections of one listener, the oldest first.
#[derive(Default)]
struct Connections(VecDeque<HttpConnection>);

struct HttpConnection {
    task: JoinHandle<()>,
    /// Whether the request line and all headers have come.
    has_asked: Arc<AtomicBool>,
}

impl Connections {
    /// Closes the oldest connection whose request is not complete, or else the oldest one, if there is no room for one more.
    async fn make_room(&mut self) {
        self.0.retain(|connection| !connection.task.is_finished());
        if self.0.len() < MOST_CONNECTIONS {
            return;
        }
        let slowest = self.0.iter().position(|connection| !connection.has_asked.load(Ordering::Relaxed)).unwrap_or(0);
        if let Some(connection) = self.0.remove(slowest) {
            connection.task.abort();
            let _ = connection.task.await;
        }
    }

    fn open(&mut self, routes: Routes, stream: TcpStream) {
        let has_asked = Arc::new(AtomicBool::new(false));
        let asked = has_asked.clone();
        let task = tokio::spawn(async move {
            // By the end of this time a client that is too slow, or does not speak HTTP, is disconnected.
            let _ = timeout(TIME, converse(&routes, stream, &asked)).await;
        });
        self.0.push_back(HttpConnection { task, has_asked });
    }
}

/// Serves one connection until its request is answered, or until the time for the head of the request is over.
async fn converse(routes: &Routes, stream: TcpStream, has_asked: &AtomicBool) {
    let service = service_fn(|request| {
        has_asked.store(true, Ordering::Relaxed);
        routes.call(request)
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
