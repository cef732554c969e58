//! The HTTP server: one request on each connection, few connections at once, and little time for each. It is for the
//! operators of the gateway, and for their programs.
//!
//! axum answers the requests ([`api`]). The connections use hyper directly, because `axum::serve` cannot have the limits of
//! this module. A connection for which the ceiling on memory has nothing left is closed at once.

use super::connection_memory::ConnectionMemory;
use super::{AdminState, api};
use crate::output::log::Throttle;
use goldcrest_core::MemoryCeiling;
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
    let routes = TowerToHyperService::new(api::router(state.clone()));
    let (complaints, shortages) = (Throttle::default(), Throttle::default());
    let unbounded = MemoryCeiling::new(usize::MAX);
    let mut connections = Connections::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.make_room().await;
                // While the gateway starts, a few connections need no claim.
                let ceiling = state.served.get().map_or(&unbounded, |served| &served.memory);
                let Some(memory) = ConnectionMemory::claim(ceiling) else {
                    if let Some(others) = shortages.pass() {
                        tracing::warn!(others, "a connection for HTTP was closed: memory is used up");
                    }
                    continue;
                };
                connections.open(routes.clone(), stream, memory);
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

    fn open(&mut self, routes: Routes, stream: TcpStream, memory: ConnectionMemory) {
        let has_asked = Arc::new(AtomicBool::new(false));
        let asked = has_asked.clone();
        let task = tokio::spawn(async move {
            // By the end of this time a client that is too slow, or does not speak HTTP, is disconnected.
            let _ = timeout(TIME, converse(&routes, stream, &asked, memory)).await;
        });
        self.0.push_back(HttpConnection { task, has_asked });
    }
}

/// Serves one connection until its request is answered, or until the time for the head of the request is over.
async fn converse(routes: &Routes, stream: TcpStream, has_asked: &AtomicBool, memory: ConnectionMemory) {
    let service = service_fn(|mut request: hyper::Request<_>| {
        has_asked.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(memory.clone());
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

#[cfg(test)]
mod tests {
    use super::super::Served;
    use super::super::connection_memory::CONNECTION_BYTES;
    use super::*;
    use crate::shard::Mailboxes;
    use goldcrest_core::MemoryUse;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Sends a request; returns all that comes until the connection is closed.
    async fn ask(address: std::net::SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = String::new();
        // Where nothing was read from the connection its end is a reset.
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    /// Waits until so many bytes are taken for HTTP.
    async fn is_taken(memory: &MemoryCeiling, bytes: usize) {
        let taken = async {
            while memory.taken(MemoryUse::Http) != bytes {
                yield_now().await;
            }
        };
        timeout(Duration::from_secs(10), taken).await.expect("it is taken in time");
    }

    #[tokio::test]
    async fn connections_are_claimed_and_closed_at_once_where_no_memory_is_left() {
        let memory = MemoryCeiling::new(64 << 20);
        let served = Served { mailboxes: Arc::new(Mailboxes::new(0)), store: None, memory: memory.clone() };
        let state = Arc::new(AdminState::new());
        let _ = state.served.set(served);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(serve(state, listener));
        let request = "GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n";

        let idle = TcpStream::connect(address).await.unwrap();
        is_taken(&memory, CONNECTION_BYTES).await;
        drop(idle);
        is_taken(&memory, 0).await;
        memory.take_anyway(MemoryUse::Messages, 64 << 20);
        assert_eq!(ask(address, request).await, "");
        assert_eq!((memory.taken(MemoryUse::Http), memory.refused(MemoryUse::Http)), (0, 1));
        memory.give_back(MemoryUse::Messages, 2 << 20);
        assert!(ask(address, request).await.starts_with("HTTP/1.1 200"), "operators may take the reserve");
        serving.abort();
    }
}
