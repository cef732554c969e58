//! Checks tokens on a thread of its own, by keys that are read anew.

use super::key_file::{KeyFileError, TokenKeys};
use super::token::{TOKEN_BYTES, TokenFault, TokenHolder, verify};
use crate::access::Secret;
use crate::config::{FromFiles, JwtConfig, JwtKeys, Refresh, WatchedFiles};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// The most tokens that wait to be checked, and the most bytes that they have.
const MOST_WAITING: usize = 4096;
const MOST_WAITING_BYTES: usize = 4 << 20;
/// How much nicer the thread is to others than the shards.
const NICER: i32 = 5;

/// A token to be checked.
pub(crate) struct TokenCheck {
    pub(crate) token: Secret,
    /// Is called once, with the answer.
    pub(crate) done: Box<dyn FnOnce(Result<TokenHolder, TokenFault>) + Send>,
}

/// Checks tokens. The thread ends when this is dropped.
pub(crate) struct TokenSource {
    keys: Arc<WatchedKeys>,
    queue: SyncSender<WaitingToken>,
    waiting_bytes: Arc<AtomicUsize>,
}

/// A token in the queue.
struct WaitingToken {
    since: Instant,
    check: TokenCheck,
    bytes: WaitingBytes,
}

/// Counts the bytes of a token for as long as it waits.
struct WaitingBytes(Arc<AtomicUsize>, usize);

impl WaitingBytes {
    /// `None` if there are too many.
    fn count(all: &Arc<AtomicUsize>, bytes: usize) -> Option<Self> {
        let before = all.fetch_add(bytes, Ordering::Relaxed);
        let counted = Self(all.clone(), bytes);
        (before + bytes <= MOST_WAITING_BYTES).then_some(counted)
    }
}

impl Drop for WaitingBytes {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

/// The keys in use, and the file that they are from.
#[derive(Debug)]
struct WatchedKeys {
    config: JwtConfig,
    keys: RwLock<Arc<TokenKeys>>,
    file: WatchedFiles,
}

impl TokenSource {
    /// Reads the keys and starts the thread. A token that has waited for `patience` is not checked any more.
    ///
    /// # Errors
    /// The keys can't be used, or the system refuses a thread.
    pub(crate) fn start(config: &JwtConfig, patience: Duration) -> Result<Self, TokenSourceError> {
        let files = match &config.keys {
            JwtKeys::KeyFile(path) | JwtKeys::JwksFile(path) => vec![path.clone()],
            JwtKeys::Environment(_) => Vec::new(),
        };
        let read = || TokenKeys::read(config);
        let watched = WatchedFiles::read(files, "the keys for tokens".to_owned(), read);
        let (file, keys) = watched.map_err(TokenSourceError::Keys)?;
        let keys = Arc::new(WatchedKeys { config: config.clone(), keys: RwLock::new(Arc::new(keys)), file });
        let (queue, checks) = sync_channel(MOST_WAITING);
        let of_thread = keys.clone();
        let thread = thread::Builder::new().name("tokens".to_owned());
        thread.spawn(move || run(&checks, &of_thread, patience)).map_err(TokenSourceError::Thread)?;
        Ok(Self { keys, queue, waiting_bytes: Arc::default() })
    }

    /// Has a token checked on another thread. Returns at once.
    pub(crate) fn check(&self, check: TokenCheck) {
        let length = check.token.len();
        if length > TOKEN_BYTES {
            return (check.done)(Err(TokenFault::Form));
        }
        let Some(bytes) = WaitingBytes::count(&self.waiting_bytes, length) else {
            return (check.done)(Err(TokenFault::Busy));
        };
        let waiting = WaitingToken { since: Instant::now(), check, bytes };
        if let Err(TrySendError::Full(waiting) | TrySendError::Disconnected(waiting)) = self.queue.try_send(waiting) {
            (waiting.check.done)(Err(TokenFault::Busy));
        }
    }

    /// The keys, which are made of a file.
    pub(crate) fn files(&self) -> Arc<dyn FromFiles> {
        self.keys.clone()
    }
}

/// Why tokens can't be checked.
#[derive(Debug)]
pub(crate) enum TokenSourceError {
    Keys(KeyFileError),
    Thread(io::Error),
}

impl FromFiles for WatchedKeys {
    fn refresh(&self, which: Refresh) {
        if let Some(keys) = self.file.refresh(which, || TokenKeys::read(&self.config)) {
            *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        }
    }

    fn faults(&self) -> Vec<String> {
        self.file.fault().into_iter().collect()
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSource").field("keys", &self.keys).finish_non_exhaustive()
    }
}

fn run(checks: &Receiver<WaitingToken>, keys: &WatchedKeys, patience: Duration) {
    // With the usual priority all works, only less well.
    if let Err(error) = rustix::process::setpriority_process(None, NICER) {
        tracing::debug!(%error, "tokens are checked with the priority of the shards");
    }
    while let Ok(WaitingToken { since, check: TokenCheck { token, done }, bytes }) = checks.recv() {
        drop(bytes);
        if since.elapsed() >= patience {
            done(Err(TokenFault::Busy));
            continue;
        }
        let now = keys.keys.read().unwrap_or_else(PoisonError::into_inner).clone();
        done(verify(&token, &now, &keys.config, SystemTime::now()));
    }
}
