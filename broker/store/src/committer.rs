//! The thread of the store. It makes all batches that were handed in safe with one write and one sync, and answers. Batches that
//! are handed in meanwhile come next.

use crate::{Batch, Failure, Key, Shortage, Stats, Store, StoreHealth};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A message from the store to a shard.
#[derive(Debug)]
pub enum Answer {
    /// A batch is safe, and so are all batches that this shard handed in before it.
    Persisted {
        /// The ticket that came with the batch.
        ticket: u64,
        /// The batch, emptied so that its memory can be used again.
        batch: Batch,
    },
    /// The records that [`Handle::fetch`] asked for, in the same order.
    Fetched(Vec<io::Result<Option<Vec<u8>>>>),
    /// Whether the store is full from now on: whether it has no room for batches that need more than they free. Credit that was
    /// asked for with [`Handle::want_credit`] and has not come is no longer owed.
    Full(bool),
    /// Whether half of the bytes that the store may take are in use from now on.
    HalfFull(bool),
    /// The store grants this many bytes of credit. Batches of the shard are sure to find that much room, and so are the batches
    /// that other shards make of what this shard promises.
    Credit(u64),
    /// The store failed. A batch that was not reported is not safe, and no later batch will be.
    Failed,
}

enum Request {
    /// `owner` is the shard to be told when the batch is safe, with its ticket.
    Commit {
        owner: Option<(u16, u64)>,
        batch: Batch,
    },
    Fetch {
        shard: u16,
        keys: Vec<Key>,
    },
    Want {
        shard: u16,
        bytes: u64,
    },
    Return {
        bytes: u64,
    },
    Stats(SyncSender<Stats>),
    Close,
}

/// The handle by which shards hand in their requests.
#[derive(Clone, Debug)]
pub struct Handle {
    requests: Sender<Request>,
    health: Arc<StoreHealth>,
}

impl Handle {
    /// Hands in a batch; [`Answer::Persisted`] will name its ticket.
    pub fn commit(&self, shard: u16, ticket: u64, batch: Batch) {
        self.send(Request::Commit { owner: Some((shard, ticket)), batch });
    }

    /// Hands in a batch of records under [`Key::COMMON`]. Nobody is told when the batch is safe, but no batch that is handed in
    /// after this call is safe before it. No shard's credit is spent on the batch, so it should be small, and should not be
    /// handed in while the store is full.
    pub fn commit_common(&self, batch: Batch) {
        self.send(Request::Commit { owner: None, batch });
    }

    /// Says how many bytes of credit a shard still wants. [`Answer::Credit`] brings them, at once or in parts.
    pub fn want_credit(&self, shard: u16, bytes: u64) {
        self.send(Request::Want { shard, bytes });
    }

    /// Returns credit, whichever shard it was granted to.
    pub fn return_credit(&self, bytes: u64) {
        self.send(Request::Return { bytes });
    }

    /// Asks for records that are safe; [`Answer::Fetched`] brings them to the shard.
    pub fn fetch(&self, shard: u16, keys: Vec<Key>) {
        self.send(Request::Fetch { shard, keys });
    }

    /// The statistics of the store; `None` if it failed.
    pub fn stats(&self) -> Option<Stats> {
        let (tell, told) = sync_channel(1);
        self.send(Request::Stats(tell));
        told.recv().ok()
    }

    /// The health of the store, to be read at any moment.
    pub fn health(&self) -> &Arc<StoreHealth> {
        &self.health
    }

    fn send(&self, request: Request) {
        // If the thread has ended, it has already told the shards why.
        let _ = self.requests.send(request);
    }
}

/// Requests that are handed in before the thread starts.
pub struct Pending(Receiver<Request>);

/// A handle, and the requests that come by it, for [`Committer::start`].
pub fn requests() -> (Handle, Pending) {
    let (requests, given) = channel();
    (Handle { requests, health: Arc::default() }, Pending(given))
}

/// The thread of the store. It ends with [`Committer::close`].
#[derive(Debug)]
pub struct Committer {
    handle: Handle,
    thread: JoinHandle<Result<(), Failure>>,
}

impl Committer {
    /// Starts the thread. It passes its answers to `answer`, which must not block.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn start(
        (handle, pending): (Handle, Pending),
        store: Box<dyn Store>,
        shards: u16,
        answer: impl Fn(u16, Answer) + Send + 'static,
    ) -> io::Result<Self> {
        let answer = Box::new(answer);
        let mut work = Work {
            store,
            shards,
            answer,
            batches: Vec::new(),
            owners: Vec::new(),
            fetches: Vec::new(),
            wanted: vec![0; shards.into()],
            granted: 0,
            is_full: false,
            why_full: None,
            told: None,
            is_half_full: false,
            health: handle.health.clone(),
        };
        work.health.refresh(|| work.store.stats());
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn(move || {
            let result = work.run(&pending.0);
            if let Err(failure) = &result {
                tracing::error!("{failure}; nothing more is acknowledged, and the gateway ends");
                work.health.fail();
                work.tell_all(|| Answer::Failed);
            }
            result
        })?;
        Ok(Self { handle, thread })
    }

    /// Makes safe all batches that were handed in, and ends the thread.
    ///
    /// # Errors
    /// The store failed, now or before.
    pub fn close(self) -> Result<(), Failure> {
        self.handle.send(Request::Close);
        let panicked = |_| Err(Failure::Poisoned(io::Error::other("the thread of the store panicked")));
        self.thread.join().unwrap_or_else(panicked)
    }
}

struct Work {
    store: Box<dyn Store>,
    shards: u16,
    answer: Box<dyn Fn(u16, Answer) + Send>,
    batches: Vec<Batch>,
    /// For each of `batches` the shard and ticket, if a shard is to be told.
    owners: Vec<Option<(u16, u64)>>,
    /// Shards, and the keys that they ask for.
    fetches: Vec<(u16, Vec<Key>)>,
    /// By shard, how many bytes of credit the store has still to grant.
    wanted: Vec<u64>,
    /// Bytes of credit that were granted, less the bytes of all batches since. Below 0 if batches took more than was granted.
    granted: i64,
    is_full: bool,
    why_full: Option<Shortage>,
    /// The reason for being full that was logged last, and when.
    told: Option<(Option<Shortage>, Instant)>,
    is_half_full: bool,
    health: Arc<StoreHealth>,
}

impl Work {
    fn run(&mut self, given: &Receiver<Request>) -> Result<(), Failure> {
        let mut waiting = VecDeque::new();
        let mut is_busy = true;
        loop {
            match given.recv_timeout(if is_busy { Duration::ZERO } else { self.pause() }) {
                Ok(request) => waiting.push_back(request),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => waiting.push_back(Request::Close),
            }
            waiting.extend(given.try_iter());
            let mut is_closing = false;
            for request in waiting.drain(..) {
                is_closing |= self.take(request);
            }
            let health = self.health.clone();
            let busy = health.begin();
            self.fetch();
            is_busy = if self.batches.is_empty() { self.store.upkeep(Duration::ZERO)? } else { !self.commit()? };
            drop(busy);
            self.tell_whether_full();
            self.grant();
            health.refresh(|| self.store.stats());
            if is_closing {
                while !self.batches.is_empty() && !self.commit()? {}
                return self.store.close();
            }
        }
    }

    /// How long to wait for a request. After that the store makes room, checks whether there is room again, and syncs what is
    /// due.
    fn pause(&self) -> Duration {
        const PAUSE: Duration = Duration::from_millis(100);
        // The pause while a batch waits for a segment that is being made.
        const SHORT_PAUSE: Duration = Duration::from_millis(1);
        let is_waited_for = self.wanted.iter().any(|wanted| *wanted > 0);
        let pause = if is_waited_for { SHORT_PAUSE } else { PAUSE };
        self.store.sync_due_in().map_or(pause, |due| due.min(pause))
    }

    /// Handles a request. Returns whether it is the last one.
    fn take(&mut self, request: Request) -> bool {
        match request {
            Request::Commit { owner, batch } => {
                self.batches.push(batch);
                self.owners.push(owner);
            }
            Request::Fetch { shard, keys } => self.fetches.push((shard, keys)),
            Request::Want { shard, bytes } => self.wanted[usize::from(shard)] = bytes,
            Request::Return { bytes } => self.granted = self.granted.saturating_sub_unsigned(bytes),
            Request::Stats(tell) => drop(tell.send(self.store.stats())),
            Request::Close => return true,
        }
        false
    }

    fn fetch(&mut self) {
        for (shard, keys) in self.fetches.drain(..) {
            let read = |key| {
                let mut bytes = Vec::new();
                let is_there = self.store.fetch(key, &mut bytes)?;
                Ok(is_there.then_some(bytes))
            };
            (self.answer)(shard, Answer::Fetched(keys.into_iter().map(read).collect()));
        }
    }

    /// Commits the batches. Returns whether all are safe; `false` if they have to wait for room.
    fn commit(&mut self) -> Result<bool, Failure> {
        match self.store.append(&self.batches) {
            Ok(()) => {}
            Err(Failure::NoRoom) => {
                if !self.store.upkeep(self.pause())? {
                    std::thread::sleep(Duration::from_millis(2));
                }
                return Ok(false);
            }
            Err(failure) => return Err(failure),
        }
        for (mut batch, owner) in self.batches.drain(..).zip(self.owners.drain(..)) {
            let Some((shard, ticket)) = owner else { continue };
            self.granted -= batch.bytes_in_log() as i64;
            batch.clear();
            (self.answer)(shard, Answer::Persisted { ticket, batch });
        }
        Ok(true)
    }

    fn tell_whether_full(&mut self) {
        let is_full = self.store.is_full();
        let why = if is_full { self.store.why_full() } else { None };
        if why != self.why_full || is_full != self.is_full {
            self.health.set_full(is_full, why.clone());
            self.why_full = why;
        }
        if is_full != self.is_full {
            self.is_full = is_full;
            if is_full {
                let why = self.note_told();
                tracing::error!(%why, "the store has no room: what needs more is refused until there is some");
            } else {
                tracing::info!("the store has room again");
            }
            self.tell_all(|| Answer::Full(is_full));
        } else if is_full
            && self.told.as_ref().is_some_and(|(told, at)| *told != self.why_full && at.elapsed() >= Self::TOLD_PAUSE)
        {
            let why = self.note_told();
            tracing::error!(%why, "the store still has no room, for another reason");
        }
        // Half of the store counts as free again only a little below half, so that single records do not change the answer again
        // and again.
        let (live, limit) = self.store.live_bytes();
        let most = if self.is_half_full { limit / 16 * 7 } else { limit / 2 };
        let is_half_full = live >= most;
        if is_half_full != self.is_half_full {
            self.is_half_full = is_half_full;
            self.tell_all(|| Answer::HalfFull(is_half_full));
        }
    }

    /// A reason that comes and goes is logged only this often.
    const TOLD_PAUSE: Duration = Duration::from_secs(if cfg!(test) { 0 } else { 10 });

    /// Notes that the reason is logged now. Returns its text.
    fn note_told(&mut self) -> String {
        self.told = Some((self.why_full.clone(), Instant::now()));
        self.why_full.as_ref().map(Shortage::to_string).unwrap_or_default()
    }

    /// Grants shards the credit that they want, as far as there is room for it.
    fn grant(&mut self) {
        if self.is_full {
            self.wanted.fill(0);
        }
        let wanted: u64 = self.wanted.iter().sum();
        if wanted == 0 {
            self.store.set_room_wanted(0);
            return;
        }
        self.store.set_room_wanted(wanted.saturating_add_signed(self.granted));
        let mut free = u64::try_from((self.store.room() as i64).saturating_sub(self.granted)).unwrap_or(0);
        for (shard, wanted) in (0..).zip(&mut self.wanted) {
            let given = free.min(*wanted);
            if given > 0 {
                *wanted -= given;
                free -= given;
                self.granted += given as i64;
                (self.answer)(shard, Answer::Credit(given));
            }
        }
    }

    fn tell_all(&self, answer: impl Fn() -> Answer) {
        for shard in 0..self.shards {
            (self.answer)(shard, answer());
        }
    }
}
