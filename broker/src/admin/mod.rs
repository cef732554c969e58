//! What operators see of a running gateway: topics below `$SYS/`, metrics, whether it lives and is ready, its Sessions.
//!
//! All of it is done on a thread of its own, so that it is there to tell when a shard is not. Shards are asked by their
//! mailboxes, and answer in their next turn; the store keeps its [`StoreHealth`] where anybody may look.
//!
//! ```text
//! snapshot     the counters of all shards together, and the store
//! sys_topics   that as topics below $SYS/broker/
//! load         moving averages for them
//! metrics      that as Prometheus reads it
//! health       does it live, is it ready, and why not
//! sessions     each Session as a line of JSON
//! json_lines   how such a line is written
//! http         the HTTP server, with its limits on connections
//! api          what it answers: the last three above
//! host         whom a request is addressed to
//! ```

mod api;
mod health;
mod host;
mod http;
pub(crate) mod json_lines;
mod load;
mod metrics;
mod sessions;
mod snapshot;
mod sys_topics;

use crate::net::{AwaitedAddresses, ListenSocket};
use crate::shard::Mailboxes;
use crate::store::StoreHealth;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::Builder;
use tokio::sync::Notify;

/// A shard that is well answers much sooner.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// The thread. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Operations {
    state: Arc<AdminState>,
    thread: Option<JoinHandle<()>>,
}

/// What that thread and the gateway share.
struct AdminState {
    started: Instant,
    /// Names of this server besides `localhost` and IP addresses.
    host_names: Vec<String>,
    /// Set once clients are served.
    served: OnceLock<Served>,
    is_serving: Notify,
    /// Addresses that are not listened on yet.
    missing: AwaitedAddresses,
    is_stopping: AtomicBool,
    /// The store became full, or has room again, or failed.
    store_changed: Notify,
    end: Notify,
}

/// What there is to be asked.
struct Served {
    mailboxes: Arc<Mailboxes>,
    /// Unless all is in memory alone.
    store: Option<Arc<StoreHealth>>,
}

impl Operations {
    /// Answers on `listeners` from now on or once they are there, also by `host_names`, tells of those that are `missing`, and publishes below `$SYS/` each `interval` unless that is 0.
    pub(crate) fn start(
        listeners: Vec<ListenSocket>,
        host_names: Vec<String>,
        missing: AwaitedAddresses,
        interval: Duration,
    ) -> io::Result<Self> {
        let state = Arc::new(AdminState { missing, host_names, ..AdminState::new() });
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let shared = state.clone();
        let thread = std::thread::Builder::new().name("operations".to_owned()).spawn(move || {
            runtime.block_on(async {
                for opening in listeners {
                    let state = shared.clone();
                    tokio::spawn(async move {
                        if let Err(error) = opening.serve(|listener| http::serve(state.clone(), listener)).await {
                            tracing::error!(%error, "a listener for HTTP was lost");
                        }
                    });
                }
                if !interval.is_zero() {
                    tokio::spawn(sys_topics::publish_each(shared.clone(), interval));
                }
                shared.end.notified().await;
            });
        })?;
        Ok(Self { state, thread: Some(thread) })
    }

    /// Clients are served from now on.
    pub(crate) fn serving(&self, mailboxes: Arc<Mailboxes>, store: Option<Arc<StoreHealth>>) {
        let _ = self.state.served.set(Served { mailboxes, store });
        self.state.is_serving.notify_one();
    }

    /// Tells when the store became full, has room again, or failed.
    pub(crate) fn store_watch(&self) -> impl Fn() + Send + 'static {
        let state = self.state.clone();
        move || state.store_changed.notify_one()
    }

    /// The gateway is being stopped.
    pub(crate) fn stopping(&self) {
        self.state.is_stopping.store(true, Ordering::Relaxed);
    }
}

impl Drop for Operations {
    fn drop(&mut self) {
        self.state.end.notify_one();
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the thread for $SYS and HTTP panicked");
        }
    }
}

impl AdminState {
    fn new() -> Self {
        Self {
            started: Instant::now(),
            host_names: Vec::new(),
            served: OnceLock::new(),
            is_serving: Notify::new(),
            missing: AwaitedAddresses::default(),
            is_stopping: AtomicBool::new(false),
            store_changed: Notify::new(),
            end: Notify::new(),
        }
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for AdminState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdminState").field("is_stopping", &self.is_stopping).finish_non_exhaustive()
    }
}
