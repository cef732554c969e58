//! What operators see of a running gateway: topics below `$SYS/`, metrics, health, and a list of the Sessions.
//!
//! One thread does all of this, so operators get an answer even when a shard hangs. The thread asks each shard through its mailbox, and
//! the shard answers in the next turn of its event loop. So a question costs a shard one turn. It does not slow messages down, because
//! the core keeps its [`Counters`](goldcrest_core::Counters) anyway, without atomics. A shard that does not answer is taken to hang. If
//! one shard does not answer there are no sums, because counters must never decrease.
//!
//! The thread of the store may wait long for its disk, so nobody asks it. It writes its state to [`StoreHealth`], where any thread may
//! read it. It notes at once whether the store is full or has failed. With each group of batches it notes since when it waits for the
//! disk. The rest it notes twice a second.
//!
//! Retained messages below `$SYS/` describe this run of the gateway. None is recorded in the store.
//!
//! ```text
//! snapshot     the counters of all shards added up, and the counters of the store
//! sys_topics   a snapshot as topics below $SYS/broker/
//! load         moving averages for these topics
//! metrics      a snapshot in the text format of Prometheus
//! health       whether the gateway lives and is ready, and why not
//! sessions     each Session as a line of JSON, in portions
//! json_lines   how such a line is written
//! http         the HTTP server, with its limits on connections
//! api          the routes: /live, /ready, /metrics, /sessions
//! host         which server a request is addressed to
//! ```

mod api;
mod connection_memory;
mod health;
mod host;
mod http;
pub(crate) mod json_lines;
mod load;
mod metrics;
mod sessions;
mod snapshot;
mod sys_topics;

use crate::access::{DenialCounts, PermissionFile, RefusalCounts};
use crate::config::FromFiles;
use crate::net::{AwaitedAddresses, Certificates, ListenSocket};
use crate::shard::Mailboxes;
use goldcrest_core::MemoryCeiling;
use goldcrest_store::StoreHealth;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::Builder;
use tokio::sync::Notify;

/// How long to wait for an answer of a shard. A shard that works well answers much sooner.
const ANSWER_TIME: Duration = Mailboxes::ANSWER_TIME;

/// The thread for `$SYS` and HTTP. Dropping this ends it.
#[derive(Debug)]
pub(crate) struct Admin {
    state: Arc<AdminState>,
    thread: Option<JoinHandle<()>>,
}

/// What operators hear of permissions.
pub(crate) struct PermissionReport {
    /// How often something was denied.
    pub(crate) denied: Arc<DenialCounts>,
    /// The file with the rules, if it may change.
    pub(crate) file: Option<Arc<PermissionFile>>,
}

/// The state that the thread and the gateway share.
struct AdminState {
    started: Instant,
    /// Host names of this server besides `localhost` and IP addresses.
    host_names: Vec<String>,
    /// Set once the gateway serves clients.
    served: OnceLock<Served>,
    is_serving: Notify,
    /// Configured addresses to listen on that no network interface has yet.
    missing: AwaitedAddresses,
    /// Set if some listener has TLS.
    certificates: OnceLock<Certificates>,
    /// Set if the configuration names sources of users.
    refusals: OnceLock<Arc<RefusalCounts>>,
    /// Set if something was made of files that may change.
    files: OnceLock<Vec<Arc<dyn FromFiles>>>,
    /// Set if files say who may do what.
    permissions: OnceLock<PermissionReport>,
    is_stopping: AtomicBool,
    /// Notified when the store became full, has room again, or failed.
    store_changed: Notify,
    end: Notify,
}

/// The sources of answers, once the gateway serves clients.
struct Served {
    mailboxes: Arc<Mailboxes>,
    /// `None` if the gateway keeps everything in memory.
    store: Option<Arc<StoreHealth>>,
    memory: Arc<MemoryCeiling>,
}

impl Admin {
    /// Starts the thread. It answers HTTP on each of `listeners` as soon as the system has the address, for requests that name an IP
    /// address, `localhost` or one of `host_names`. Health names the addresses in `missing`. Unless `interval` is 0, topics below
    /// `$SYS/` are published once in each interval.
    ///
    /// # Errors
    /// The system refuses a thread or a runtime.
    pub(crate) fn start(
        listeners: Vec<ListenSocket>,
        host_names: Vec<String>,
        missing: AwaitedAddresses,
        interval: Duration,
    ) -> io::Result<Self> {
        let state = Arc::new(AdminState { missing, host_names, ..AdminState::new() });
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let shared = state.clone();
        let thread = std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
            runtime.block_on(async {
                for listener in listeners {
                    let state = shared.clone();
                    tokio::spawn(async move {
                        if let Err(error) = listener.serve(|listener| http::serve(state.clone(), listener)).await {
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

    /// From now on the gateway serves clients, and its shards and its store can be asked.
    pub(crate) fn serving(
        &self,
        mailboxes: Arc<Mailboxes>,
        store: Option<Arc<StoreHealth>>,
        memory: Arc<MemoryCeiling>,
    ) {
        let _ = self.state.served.set(Served { mailboxes, store, memory });
        self.state.is_serving.notify_one();
    }

    /// A function to call when the store became full, has room again, or failed: topics below `$SYS/` say so at once then.
    pub(crate) fn store_watch(&self) -> impl Fn() + Send + 'static {
        let state = self.state.clone();
        move || state.store_changed.notify_one()
    }

    /// From now on operators hear of these certificates.
    pub(crate) fn tell_of_certificates(&self, certificates: Certificates) {
        let _ = self.state.certificates.set(certificates);
    }

    /// From now on operators hear why clients are refused.
    pub(crate) fn tell_of_refusals(&self, refusals: Arc<RefusalCounts>) {
        let _ = self.state.refusals.set(refusals);
    }

    /// From now on operators hear of faults of these files.
    pub(crate) fn tell_of_files(&self, files: Vec<Arc<dyn FromFiles>>) {
        let _ = self.state.files.set(files);
    }

    /// From now on operators hear of denials.
    pub(crate) fn tell_of_permissions(&self, permissions: PermissionReport) {
        let _ = self.state.permissions.set(permissions);
    }

    /// From now on the gateway is not ready, because it is being stopped.
    pub(crate) fn stopping(&self) {
        self.state.is_stopping.store(true, Ordering::Relaxed);
    }
}

impl Drop for Admin {
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
            certificates: OnceLock::new(),
            refusals: OnceLock::new(),
            files: OnceLock::new(),
            permissions: OnceLock::new(),
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
