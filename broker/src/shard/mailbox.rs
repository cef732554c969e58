//! Mailboxes, by which shards pass things to each other. Each shard has one, and is woken once for all mail that came in meanwhile.
//!
//! Forwards from one shard to another arrive in the order in which they were sent, and none is lost. The cores bound how many can be under
//! way, by letting publishers wait.
//!
//! A shard that is awake looks into its mailbox before it falls asleep, and need not be woken. A sleeping shard is not woken for a few
//! messages: the sending thread runs the event loop of the sleeping shard itself, after its own turn ([`Mailboxes::run_or_wake`]). Waking a
//! thread on another core would cost several times as much as a message. No thread ever waits for the lock of another shard's event loop:
//! if the lock is taken, the shard is woken. The [handshake](super::handshake) ensures that no mail is overlooked.

use super::connection_ends::ConnectionEnds;
use super::forwards::Forwards;
use super::handshake::Handshake;
use crate::net::{ConnectionPermit, Detached, MemoryStream, Revoked};
use goldcrest_core::{Broker, Forward, Instant, Principal};
use goldcrest_store::Answer;
use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, TryLockError, Weak};
use std::task::Waker;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

/// The most bytes that one shard can have under way to another, if each message is as large as a packet may be.
pub(crate) const fn most_bytes_in_transit(packet_bytes: usize) -> usize {
    // Vec doubles its capacity when it grows, so a list takes up to twice its entries.
    (Forward::MAX_IN_TRANSIT as usize).saturating_mul(packet_bytes.saturating_add(2 * size_of::<Forward>()))
}

/// The mailboxes of all shards.
pub(crate) struct Mailboxes {
    mailboxes: Box<[Mailbox]>,
    /// How many connections were accepted, by all shards.
    pub(crate) accepted: AtomicU64,
    /// Counts why connections ended, for all shards.
    pub(crate) connection_ends: Arc<ConnectionEnds>,
}

#[derive(Default)]
struct Mailbox {
    mail: Mutex<Mail>,
    handshake: Handshake,
    waker: Mutex<Option<Waker>>,
    /// The shard's event loop, which other threads may run.
    sleeper: OnceLock<Weak<Mutex<dyn SleepingEventLoop>>>,
    places: CallSlots,
}

/// The event loop of a shard, which other threads run while the shard's thread sleeps.
pub(crate) trait SleepingEventLoop: Send {
    /// Handles the mail of the shard if there is little to do, and wakes the shard's thread for the rest.
    fn run_for_sleeping(&mut self);
}

/// Up to so many forwards do not wake a sleeping shard.
const FEW: usize = 8;

/// The contents of a mailbox.
#[derive(Default)]
pub(crate) struct Mail {
    pub(crate) forwards: Forwards,
    /// Connections whose home is this shard.
    pub(crate) handovers: Vec<Handover>,
    /// New connections from within this process.
    pub(crate) local_connections: Vec<LocalConnection>,
    /// Answers of the store.
    pub(crate) answers: Vec<Answer>,
    /// Calls of other threads, for example on behalf of an operator.
    pub(crate) calls: Vec<ShardCall>,
    /// Set if the gateway stops.
    pub(crate) shut_down: bool,
    /// Certificates that were revoked while their clients may be connected.
    pub(crate) revoked: Vec<Arc<Revoked>>,
    /// Users that are gone, or prove who they are in another way, while their clients may be connected.
    pub(crate) gone: Vec<Arc<[Principal]>>,
}

/// An empty list of mail keeps memory for so many entries.
pub(super) const KEPT_ENTRIES: usize = 64;

/// The bytes that the empty lists and queues of one shard keep for later mail, at most: its mailbox, its event loop with the batch that is being sent,
/// and its core.
pub(crate) const KEPT_MAIL_BYTES: usize = 3 * Forwards::KEPT_BYTES + Forward::KEPT_BYTES;

impl Mail {
    /// Frees most of the memory of lists that were long, and are empty.
    pub(crate) fn forget_large_lists(&mut self) {
        self.handovers.shrink_to(KEPT_ENTRIES);
        self.local_connections.shrink_to(KEPT_ENTRIES);
        self.answers.shrink_to(KEPT_ENTRIES);
        self.calls.shrink_to(KEPT_ENTRIES);
    }
}

/// A function that a shard calls once, with its broker.
pub(crate) type ShardCall = Box<dyn FnOnce(Instant, &mut Broker<'static>) + Send>;

/// The most calls that wait for one shard. The shard makes all of them in its next turn; the caller of a further call waits until then.
const MAX_CALLS: usize = 64;

/// Why not all shards have answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoAnswer {
    /// Too many calls wait for a shard already, so no shard was asked.
    Busy,
    /// All shards were asked, and one has not answered within a second. It will still do what it was asked to do, unless it has failed.
    Silent,
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "a shard has too much to answer, and no shard was asked",
            Self::Silent => "all shards were asked, and one has not answered in time",
        })
    }
}

impl std::error::Error for NoAnswer {}

/// Permits for calls that wait for one shard.
struct CallSlots(Arc<Semaphore>);

impl Default for CallSlots {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_CALLS)))
    }
}

/// A connection on its way to its home shard.
pub(crate) struct Handover {
    pub(crate) transport: Detached,
    /// The address of the client; `None` if it is in this process.
    pub(crate) peer: Option<SocketAddr>,
    /// The bytes that were read from the connection: CONNECT and those behind it.
    pub(crate) bytes: Vec<u8>,
    pub(crate) permit: ConnectionPermit,
}

/// The gateway's end of a connection from within this process.
pub(crate) struct LocalConnection {
    pub(crate) stream: Box<MemoryStream>,
    pub(crate) permit: ConnectionPermit,
}

impl Mailboxes {
    /// How long to wait for an answer of a shard. A shard without a fault answers much sooner.
    pub(crate) const ANSWER_TIME: Duration = Duration::from_secs(1);

    pub(crate) fn new(shards: u16) -> Self {
        Self {
            mailboxes: (0..shards).map(|_| Mailbox::default()).collect(),
            accepted: AtomicU64::new(0),
            connection_ends: Arc::default(),
        }
    }

    pub(crate) fn shards(&self) -> u16 {
        self.mailboxes.len() as u16
    }

    /// Sends a batch of forwards, and leaves `batch` empty with memory for the next batch. Returns true if the shard `to` sleeps: then the
    /// caller has to call [`Mailboxes::run_or_wake`] for that shard once it has nothing more urgent to do.
    #[must_use]
    pub(crate) fn forward(&self, from: u16, to: u16, batch: &mut VecDeque<Forward>) -> bool {
        let are_few = batch.len() <= FEW;
        let is_due = self.put(to, |mail| mail.forwards.put(from, batch));
        if is_due && !are_few {
            self.wake(to);
        }
        is_due && are_few
    }

    /// Runs the event loop of a sleeping shard, if there are few forwards in its mailbox and no other thread runs it; otherwise wakes the shard.
    pub(crate) fn run_or_wake(&self, shard: u16) {
        let mailbox = &self.mailboxes[usize::from(shard)];
        if lock(&mailbox.mail).forwards.len() <= FEW
            && let Some(sleeper) = mailbox.sleeper.get().and_then(Weak::upgrade)
        {
            match sleeper.try_lock() {
                Ok(mut sleeper) => return sleeper.run_for_sleeping(),
                Err(TryLockError::WouldBlock) => {}
                // A panic in the event loop has ended the shard, and ends the gateway.
                Err(TryLockError::Poisoned(_)) => return,
            }
        }
        self.wake(shard);
    }

    pub(crate) fn send_home(&self, home: u16, handover: Handover) {
        self.post(home, |mail| mail.handovers.push(handover));
    }

    /// Makes a shard serve a new connection.
    pub(crate) fn connect(&self, shard: u16, connection: LocalConnection) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.post(shard, |mail| mail.local_connections.push(connection));
    }

    pub(crate) fn answer(&self, shard: u16, answer: Answer) {
        self.post(shard, |mail| mail.answers.push(answer));
    }

    /// Makes a shard do `work` in its next turn, and yields the result of `work`. The call is in the mailbox when this function returns. If
    /// too many other calls wait there, polling the future puts the call there once there is room. A shard that has ended or hangs never
    /// answers.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        shard: u16,
        work: impl FnOnce(Instant, &mut Broker<'static>) -> T + Send + 'static,
    ) -> impl Future<Output = Option<T>> {
        let places = &self.mailboxes[usize::from(shard)].places.0;
        let asked = match places.clone().try_acquire_owned() {
            Ok(place) => Ok(self.call(shard, place, work)),
            Err(_) => Err(work),
        };
        async move {
            let told = match asked {
                Ok(told) => told,
                Err(work) => self.call(shard, places.clone().acquire_owned().await.ok()?, work),
            };
            told.await.ok()
        }
    }

    /// Makes each shard do its own `work`, and waits for all answers. If there is no room for a call in time, no shard is asked; otherwise
    /// all are.
    pub(crate) async fn ask_all<T: Send + 'static, W>(&self, mut work: impl FnMut(u16) -> W) -> Result<Vec<T>, NoAnswer>
    where
        W: FnOnce(Instant, &mut Broker<'static>) -> T + Send + 'static,
    {
        let room = async {
            let mut room = Vec::with_capacity(self.mailboxes.len());
            for mailbox in &self.mailboxes {
                room.push(mailbox.places.0.clone().acquire_owned().await.ok()?);
            }
            Some(room)
        };
        let room = timeout(Self::ANSWER_TIME, room).await.ok().flatten().ok_or(NoAnswer::Busy)?;
        let asked: Vec<_> = (0..).zip(room).map(|(shard, place)| self.call(shard, place, work(shard))).collect();
        let answers = async {
            let mut answers = Vec::with_capacity(asked.len());
            for told in asked {
                answers.push(told.await.ok()?);
            }
            Some(answers)
        };
        timeout(Self::ANSWER_TIME, answers).await.ok().flatten().ok_or(NoAnswer::Silent)
    }

    /// Makes a shard do work whose amount is bounded elsewhere: the call needs no permit.
    pub(crate) fn tell(&self, shard: u16, call: ShardCall) {
        self.post(shard, |mail| mail.calls.push(call));
    }

    /// Makes a shard do `work`. The permit `place` is released when the work begins.
    fn call<T: Send + 'static>(
        &self,
        shard: u16,
        place: OwnedSemaphorePermit,
        work: impl FnOnce(Instant, &mut Broker<'static>) -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (tell, told) = oneshot::channel();
        self.post(shard, |mail| {
            mail.calls.push(Box::new(move |now, broker| {
                drop(place);
                drop(tell.send(work(now, broker)));
            }));
        });
        told
    }

    pub(crate) fn shut_down(&self) {
        for shard in 0..self.shards() {
            self.post(shard, |mail| mail.shut_down = true);
        }
    }

    /// Registers `waker`, which is woken when there is mail for `shard`.
    pub(crate) fn listen(&self, shard: u16, waker: &Waker) {
        let mailbox = &self.mailboxes[usize::from(shard)];
        *lock(&mailbox.waker) = Some(waker.clone());
        if mailbox.handshake.has_mail() {
            waker.wake_by_ref();
        }
    }

    /// Lets other threads run the event loop of `shard` while its own thread sleeps.
    pub(crate) fn admit<S: SleepingEventLoop + 'static>(&self, shard: u16, event_loop: &Arc<Mutex<S>>) {
        let sleeper: Weak<Mutex<S>> = Arc::downgrade(event_loop);
        // Fails only if it was set before, but a shard begins only once.
        let _ = self.mailboxes[usize::from(shard)].sleeper.set(sleeper);
    }

    /// The thread of `shard` is about to sleep. If there is mail, the thread is woken at once.
    pub(crate) fn fall_asleep(&self, shard: u16) {
        if self.mailboxes[usize::from(shard)].handshake.fall_asleep() {
            self.wake(shard);
        }
    }

    pub(crate) fn wake_up(&self, shard: u16) {
        self.mailboxes[usize::from(shard)].handshake.wake_up();
    }

    /// Exchanges `mail`, which is empty, for what is in the mailbox of `shard`. Returns whether there was any mail.
    pub(crate) fn collect(&self, shard: u16, mail: &mut Mail) -> bool {
        let mailbox = &self.mailboxes[usize::from(shard)];
        if !mailbox.handshake.has_mail() {
            return false;
        }
        let mut waiting = lock(&mailbox.mail);
        mailbox.handshake.collect();
        std::mem::swap(&mut *waiting, mail);
        true
    }

    pub(super) fn post(&self, to: u16, put: impl FnOnce(&mut Mail)) {
        if self.put(to, put) {
            self.wake(to);
        }
    }

    /// Puts mail into a mailbox. Returns whether the caller has to see to it that the shard handles the mail: see [`Handshake::is_due`].
    fn put(&self, to: u16, put: impl FnOnce(&mut Mail)) -> bool {
        let mailbox = &self.mailboxes[usize::from(to)];
        let mut mail = lock(&mailbox.mail);
        put(&mut mail);
        let posted = mailbox.handshake.post();
        drop(mail);
        mailbox.handshake.is_due(posted)
    }

    pub(crate) fn wake(&self, shard: u16) {
        if let Some(waker) = &*lock(&self.mailboxes[usize::from(shard)].waker) {
            waker.wake_by_ref();
        }
    }
}

/// Locks a mutex even after a panic: a panic ends the gateway, and never leaves a mailbox half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::{Clock, EventLoop};
    use crate::testing::WakeCounter;
    use goldcrest_core::{AllowAll, Capacity, Config, Limits, Memory};
    use std::pin::pin;
    use std::task::{Context, Poll};

    #[test]
    fn a_shard_is_woken_once_for_a_batch_and_only_if_it_sleeps() {
        let mailboxes = Mailboxes::new(2);
        let counter = Arc::new(WakeCounter::default());
        let woken = || counter.count();
        mailboxes.listen(1, &Waker::from(counter.clone()));
        mailboxes.fall_asleep(1);
        let mut mail = Mail::default();
        assert!(!mailboxes.collect(1, &mut mail));
        mailboxes.shut_down();
        mailboxes.shut_down();
        assert_eq!(woken(), 1);
        mailboxes.wake_up(1);
        assert!(mailboxes.collect(1, &mut mail) && mail.shut_down);
        assert!(!mailboxes.collect(1, &mut Mail::default()));
        mailboxes.shut_down();
        assert_eq!(woken(), 1, "it is awake");
        mailboxes.fall_asleep(1);
        assert_eq!(woken(), 2, "there is something it has not seen");
    }

    /// Runs a test with a sleeping shard 1 and mail for it from shard 0, which its event loop answers.
    fn with_sleeper(clients: u8, test: impl FnOnce(&Arc<Mailboxes>, &Arc<Mutex<EventLoop>>, &dyn Fn() -> usize)) {
        let (mailboxes, counter) = (Arc::new(Mailboxes::new(2)), Arc::new(WakeCounter::default()));
        let mut brokers = [0, 1].map(|index| {
            let shard = goldcrest_core::Shard { index, count: 2 };
            let memory = Memory::owned(&Capacity::GATEWAY, &Limits::GATEWAY, shard);
            Broker::new(memory, Config { shard, ..Config::gateway(1) }, &AllowAll)
        });
        let now = Instant::from_millis(1);
        for name in 0..clients {
            let client = brokers[0].handle_connected(now).unwrap();
            let name = b'a' + name;
            let connect = [b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01", &[name][..]].concat();
            for packet in [&connect[..], &[0x82, 6, 0, 1, 0, 1, name, 0]] {
                brokers[0].handle_bytes(now, client, packet);
            }
        }
        // Each client has two forwards: its own filter, and a fence behind the filter.
        let mut batch = VecDeque::new();
        brokers[0].poll_forwards(&mut batch);
        assert_eq!(batch.len(), 2 * usize::from(clients));
        let [_, broker] = brokers;
        let event_loop = EventLoop::new(1, mailboxes.clone(), Clock::start_at(0), broker, None);
        let event_loop = Arc::new(Mutex::new(event_loop));
        mailboxes.admit(1, &event_loop);
        mailboxes.listen(1, &Waker::from(counter.clone()));
        mailboxes.fall_asleep(1);
        assert_eq!(mailboxes.forward(0, 1, &mut batch), clients == 1);
        assert!(batch.is_empty());
        test(&mailboxes, &event_loop, &|| counter.count());
    }

    #[test]
    fn other_threads_run_the_event_loop_of_a_sleeping_shard() {
        with_sleeper(1, |mailboxes, _, woken| {
            assert!(!mailboxes.collect(0, &mut Mail::default()));
            mailboxes.run_or_wake(1);
            let mut answer = Mail::default();
            assert!(mailboxes.collect(0, &mut answer));
            assert_eq!((answer.forwards.len(), woken()), (1, 0), "the fence was passed, and nobody was woken");
            mailboxes.run_or_wake(1);
            assert_eq!(woken(), 0);
        });
    }

    #[test]
    fn a_sleeping_shard_is_woken_for_many_forwards() {
        with_sleeper(5, |mailboxes, _, woken| {
            assert_eq!(woken(), 1);
            mailboxes.run_or_wake(1);
            assert!(mailboxes.collect(1, &mut Mail::default()), "it is left to itself");
        });
    }

    #[test]
    fn a_shard_whose_event_loop_is_locked_is_woken() {
        with_sleeper(1, |mailboxes, event_loop, woken| {
            let event_loop = event_loop.lock().unwrap();
            mailboxes.run_or_wake(1);
            assert_eq!(woken(), 1);
            drop(event_loop);
            assert!(!mailboxes.collect(0, &mut Mail::default()) && mailboxes.collect(1, &mut Mail::default()));
        });
    }

    #[test]
    fn a_shard_is_woken_for_work_that_needs_its_own_thread() {
        with_sleeper(1, |mailboxes, event_loop, woken| {
            lock(&mailboxes.mailboxes[1].mail).shut_down = true;
            mailboxes.run_or_wake(1);
            assert!(event_loop.lock().unwrap().is_stopping);
            assert_eq!(woken(), 1);
        });
    }

    #[test]
    fn calls_beyond_the_bound_wait_and_are_answered_too() {
        let mailboxes = Mailboxes::new(1);
        let memory = Memory::owned(&Capacity::GATEWAY, &Limits::GATEWAY, goldcrest_core::Shard::ONLY);
        let mut broker = Broker::new(memory, Config::gateway(1), &AllowAll);
        let asked = 3 * MAX_CALLS;
        let mut answers: Vec<_> = (0..asked).map(|number| Box::pin(mailboxes.ask(0, move |_, _| number))).collect();
        let mut cx = Context::from_waker(Waker::noop());
        let mut answered = 0;
        while answered < asked {
            let mut mail = Mail::default();
            assert!(mailboxes.collect(0, &mut mail), "{answered} were answered");
            assert!(mail.calls.len() <= MAX_CALLS);
            mail.calls.drain(..).for_each(|call| call(Instant::from_millis(1), &mut broker));
            answers.retain_mut(|answer| match answer.as_mut().poll(&mut cx) {
                Poll::Pending => true,
                Poll::Ready(number) => {
                    assert!(number.is_some());
                    answered += 1;
                    false
                }
            });
        }
    }

    #[test]
    fn calls_to_a_shard_that_hangs_are_bounded_and_not_answered() {
        let mailboxes = Mailboxes::new(1);
        let answers: Vec<_> = (0..MAX_CALLS + 1).map(|_| mailboxes.ask(0, |_, broker| broker.counters())).collect();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(answers.into_iter().all(|answer| pin!(answer).poll(&mut cx).is_pending()));
        let mut mail = Mail::default();
        assert!(mailboxes.collect(0, &mut mail));
        assert_eq!(mail.calls.len(), MAX_CALLS);
    }

    #[test]
    fn mail_that_came_before_the_shard_listens_wakes_it() {
        let mailboxes = Mailboxes::new(1);
        mailboxes.shut_down();
        let counter = Arc::new(WakeCounter::default());
        mailboxes.listen(0, &Waker::from(counter.clone()));
        assert_eq!(counter.count(), 1);
    }
}
