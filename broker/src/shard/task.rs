//! A shard: one core broker with its sockets, on a thread with a runtime of its own. While that thread sleeps, those of other
//! shards may turn it for a moment.

use super::clock::Clock;
use super::connection_ends::EndReason;
use super::event_loop::EventLoop;
use super::mailbox::{Handover, Mailboxes};
use super::persistence::{Persistence, key_in_store};
use crate::net::{self, Admission, ConnectionPermit, ListenSocket};
use goldcrest_core::record::{self, Unreadable};
use goldcrest_core::{AllowAll, Broker, Capacity, ConnectionId, Instant, Memory};
use goldcrest_store::{Handle, LogStore, Store as _};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, oneshot};
use tokio::task::{JoinSet, spawn_local, unconstrained, yield_now};
use tokio::time::{Sleep, sleep, timeout};

/// What clients have at most to read their DISCONNECT and close when the gateway stops.
pub(crate) const SHUTDOWN_TIME: Duration = Duration::from_secs(2);

/// A turn in which so much was done, as the core counts it, is long: a fraction of a millisecond.
const LONG: u64 = 4_096;

/// What a shard needs to begin.
pub(crate) struct Plan {
    pub(crate) config: goldcrest_core::Config<'static>,
    pub(crate) capacity: Capacity,
    pub(crate) clock: Clock,
    pub(crate) mailboxes: Arc<Mailboxes>,
    pub(crate) admission: Arc<Admission>,
    /// What was stored, and where to store from now on.
    pub(crate) store: Option<(Arc<LogStore>, Handle)>,
    /// Those that this shard accepts on, for all, once all are restored.
    pub(crate) listeners: oneshot::Receiver<Vec<ListenSocket>>,
    /// Restoring ends early, with an error, once this is true.
    pub(crate) gives_up: Arc<AtomicBool>,
}

/// Runs a shard on this thread until the gateway stops. Says on `started` whether it could begin.
pub(crate) fn run(plan: Plan, started: &SyncSender<io::Result<()>>) {
    let (index, mailboxes) = (plan.config.shard.index, plan.mailboxes.clone());
    let (falls_asleep, wakes_up) = (mailboxes.clone(), mailboxes);
    let begun = Builder::new_current_thread()
        .enable_all()
        .on_thread_park(move || falls_asleep.fall_asleep(index))
        .on_thread_unpark(move || wakes_up.wake_up(index))
        .build_local(LocalOptions::default());
    let result = match begun {
        Ok(runtime) => runtime.block_on(async {
            let (shard, listeners) = set_up(plan)?;
            serve(shard, listeners, || started.send(Ok(())).is_ok()).await
        }),
        Err(error) => Err(error),
    };
    if let Err(error) = result {
        let _ = started.send(Err(error));
    }
}

fn set_up(plan: Plan) -> io::Result<(Rc<Shard>, oneshot::Receiver<Vec<ListenSocket>>)> {
    let Plan { config, capacity, clock, mailboxes, admission, store, listeners, gives_up } = plan;
    let index = config.shard.index;
    let memory = Memory::owned(&capacity, &config.limits, config.shard);
    let mut broker = Broker::new(memory, config, &AllowAll);
    let persistence = match store {
        Some((log, handle)) => {
            let left_out = restore(&mut broker, index, &log, clock.now(), &gives_up)?;
            handle.health().leave_out(left_out);
            Some(Persistence::new(index, handle, log.room_share(), &mut broker))
        }
        None => None,
    };
    let event_loop = Arc::new(Mutex::new(EventLoop::new(index, mailboxes.clone(), clock, broker, persistence)));
    mailboxes.admit(index, Arc::downgrade(&event_loop));
    let shard = Shard { index, mailboxes, admission, clock, event_loop, stop: Notify::new() };
    Ok((Rc::new(shard), listeners))
}

/// Gives the core back what it had before the restart. How many records it did not take.
fn restore(
    broker: &mut Broker<'static>,
    shard: u16,
    log: &LogStore,
    now: Instant,
    gives_up: &AtomicBool,
) -> io::Result<u64> {
    let mut newer = None;
    let (mut taken, mut left_out) = (0_u64, 0_u64);
    let mut told = std::time::Instant::now();
    broker.expect_retained(log.slots(shard, record::Kind::Retained as u8));
    log.each(shard, &mut |_, sealed| match record::open(sealed) {
        Ok(record) => {
            left_out += u64::from(broker.restore(now, record).is_err());
            taken += 1;
            if taken.is_multiple_of(1024) && told.elapsed() > Duration::from_secs(1) {
                told = std::time::Instant::now();
                tracing::info!(shard, "restoring: {taken} records so far");
            }
            if gives_up.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
        Err(error @ Unreadable::Newer(_)) => {
            newer = Some(error);
            ControlFlow::Break(())
        }
        Err(Unreadable::Damaged) => {
            left_out += 1;
            ControlFlow::Continue(())
        }
    })?;
    unless_given_up(gives_up)?;
    if let Some(error) = newer {
        return Err(io::Error::other(format!("{error}; nothing was changed")));
    }
    // What shards are to hand to each other at once was too much to be kept in memory.
    let mut sealed = Vec::new();
    while let Some(fetch) = broker.poll_fetch() {
        unless_given_up(gives_up)?;
        match log.fetch(key_in_store(shard, fetch.key()), &mut sealed) {
            Ok(true) => broker.fetched(now, fetch, &sealed),
            Ok(false) | Err(_) => broker.fetch_failed(now, fetch),
        }
    }
    let restored = broker.restored(now);
    tracing::info!(
        shard,
        sessions = restored.sessions,
        subscriptions = restored.subscriptions,
        retained = restored.retained,
        deliveries = restored.deliveries,
        "restored"
    );
    let left_out = left_out.max(restored.dropped.into());
    if left_out > 0 {
        tracing::error!(shard, records = left_out, "records of the store were left out");
    }
    Ok(left_out)
}

fn unless_given_up(gives_up: &AtomicBool) -> io::Result<()> {
    if gives_up.load(Ordering::Relaxed) { Err(io::Error::other("restoring was given up")) } else { Ok(()) }
}

/// Fails only before `tell_started`, which is false if nobody waits for the gateway any more.
async fn serve(
    shard: Rc<Shard>,
    listeners: oneshot::Receiver<Vec<ListenSocket>>,
    tell_started: impl FnOnce() -> bool,
) -> io::Result<()> {
    let accepting = spawn_local(accept_all(shard.clone(), listeners));
    spawn_local(unconstrained(ShardTask::new(shard.clone())));
    if !tell_started() {
        return Ok(());
    }
    shard.stop.notified().await;
    // After a panic nothing more is done with the broker.
    if shard.event_loop.is_poisoned() || !shard.event_loop(|event_loop| event_loop.is_stopping) {
        return Ok(());
    }
    accepting.abort();
    let everybody_left = async {
        while !shard.event_loop(|event_loop| event_loop.is_idle()) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let _ = timeout(SHUTDOWN_TIME, everybody_left).await;
    shard.event_loop(EventLoop::record_last);
    Ok(())
}

/// Accepts on all `listeners`, once they have come, until it is aborted.
async fn accept_all(shard: Rc<Shard>, listeners: oneshot::Receiver<Vec<ListenSocket>>) {
    let Ok(listeners) = listeners.await else { return };
    let mut accepting = JoinSet::new();
    for opening in listeners {
        let shard = shard.clone();
        accepting.spawn_local(async move {
            if let Err(error) = opening.serve(|listener| net::accept(shard.clone(), listener)).await {
                tracing::error!(%error, "a listener was lost");
            }
        });
    }
    while accepting.join_next().await.is_some() {}
}

/// What the tasks of a shard share.
pub(crate) struct Shard {
    pub(crate) index: u16,
    pub(crate) mailboxes: Arc<Mailboxes>,
    pub(crate) admission: Arc<Admission>,
    clock: Clock,
    /// Others turn it too, while this thread sleeps: see [`Mailboxes::run_or_wake`].
    event_loop: Arc<Mutex<EventLoop>>,
    stop: Notify,
}

impl Shard {
    /// Serves a connection whose home this shard is, once all sockets that have news by now had their turn.
    ///
    /// A client may say its last words, DISCONNECT among them, close and come again at once. If it found its old connection
    /// open still, it would take it over: what it said last would be lost, and its Will sent. Its old socket has had that
    /// to read since before its new one had CONNECT, and the runtime looks at all sockets again before it goes on with a
    /// task that has yielded.
    pub(crate) async fn open_connection(
        self: Rc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        bytes: Vec<u8>,
        permit: ConnectionPermit,
    ) {
        yield_now().await;
        let opened = self.event_loop(|event_loop| {
            event_loop.is_stopping || event_loop.open_connection(stream, &bytes, permit).is_some()
        });
        if !opened {
            self.turn_away(peer, "its shard has as many connections as connections in [capacity] allows");
        }
    }

    /// Counts and logs that a connection is closed for want of room.
    pub(crate) fn turn_away(&self, peer: SocketAddr, why: &str) {
        self.mailboxes.connection_ends.count(EndReason::NoRoom);
        self.admission.turn_away(peer, why);
    }

    /// Works with the turn. A panic in there is a bug that may have left the broker in any state: the runtime would go on
    /// with the other tasks, but the shard ends; so it does where another thread panicked that turned it.
    fn event_loop<T>(&self, work: impl FnOnce(&mut EventLoop) -> T) -> T {
        self.end_if_panicking(|| work(&mut self.event_loop.lock().expect("nobody has panicked in this event loop")))
    }

    fn end_if_panicking<T>(&self, work: impl FnOnce() -> T) -> T {
        struct Guard<'s>(&'s Shard);
        impl Drop for Guard<'_> {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    self.0.stop.notify_one();
                }
            }
        }
        let _guard = Guard(self);
        work()
    }

    /// Gives a connection that has come home to the runtime of this thread.
    fn welcome(self: &Rc<Self>, handover: Handover) {
        let Handover { stream, peer, bytes, permit } = handover;
        match TcpStream::from_std(stream) {
            Ok(stream) => drop(spawn_local(self.clone().open_connection(stream, peer, bytes, permit))),
            Err(error) => tracing::warn!(address = %peer, %error, "a connection did not get home"),
        }
    }
}

/// The task that turns the shard: when sockets or siblings have news, when other tasks did something with the turn, and
/// when a timer of the core is due.
struct ShardTask {
    shard: Rc<Shard>,
    /// Empty between two polls; kept for their memory.
    ready: Vec<ConnectionId>,
    asleep: Vec<u16>,
    timer: Pin<Box<Sleep>>,
    is_listening: bool,
    was_long: bool,
}

impl ShardTask {
    fn new(shard: Rc<Shard>) -> Self {
        let timer = Box::pin(sleep(Duration::ZERO));
        Self { shard, ready: Vec::new(), asleep: Vec::new(), timer, is_listening: false, was_long: false }
    }
}

impl Future for ShardTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { shard, ready, asleep, timer, is_listening, was_long } = &mut *self;
        if !std::mem::replace(is_listening, true) {
            shard.mailboxes.listen(shard.index, cx.waker());
        }
        if std::mem::take(was_long) {
            // Whoever has something is to wait for one such turn only: not for as many as the runtime would let follow.
            after_a_look(cx);
            return Poll::Pending;
        }
        let goes_on = shard.event_loop(|event_loop| {
            event_loop.begin_turn(cx.waker());
            event_loop.collect();
            event_loop.handovers.drain(..).for_each(|handover| shard.welcome(handover));
            if event_loop.is_stopping {
                shard.stop.notify_one();
            }
            event_loop.poll_sockets(ready);
            let due = event_loop.flush(usize::MAX);
            if due < event_loop.armed || timer.is_elapsed() {
                event_loop.armed = due;
                arm(timer.as_mut(), cx, shard.clock.at(due));
            }
            asleep.append(&mut event_loop.asleep);
            *was_long = event_loop.done_in_turn() >= LONG;
            event_loop.goes_on() || !ready.is_empty()
        });
        if goes_on {
            after_a_look(cx);
        }
        for sibling in asleep.drain(..) {
            shard.end_if_panicking(|| shard.mailboxes.run_or_wake(sibling));
        }
        Poll::Pending
    }
}

/// Has the runtime ask the system who has something, and wake the task then.
fn after_a_look(cx: &mut Context<'_>) {
    let _ = pin!(yield_now()).poll(cx);
}

/// Has `timer` wake the task at that time; for a time that never comes it stays as it is.
fn arm(mut timer: Pin<&mut Sleep>, cx: &mut Context<'_>, at: Option<std::time::Instant>) {
    let Some(at) = at else { return };
    timer.as_mut().reset(at.into());
    if timer.poll(cx).is_ready() {
        cx.waker().wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    /// What panics in a shard ends it, and nothing is done with its broker any more.
    fn ends(panic: impl FnOnce(Rc<Shard>) + Send + 'static) {
        let plan = Plan {
            config: goldcrest_core::Config::gateway(1),
            capacity: Capacity::GATEWAY,
            clock: Clock::start_at(0),
            mailboxes: Arc::new(Mailboxes::new(1)),
            admission: Arc::new(Admission::new(1, 1, Duration::from_secs(1), 1024)),
            store: None,
            listeners: oneshot::channel().1,
            gives_up: Arc::default(),
        };
        let (done, is_done) = sync_channel(1);
        std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap();
            let serving = runtime.block_on(async {
                let (shard, listeners) = set_up(plan).unwrap();
                let panicking = shard.clone();
                spawn_local(async move { panic(panicking) });
                serve(shard, listeners, || true).await
            });
            done.send(serving.is_ok()).unwrap();
        });
        assert!(is_done.recv_timeout(Duration::from_secs(5)).expect("the shard ends"));
    }

    #[test]
    fn a_panic_in_a_task_ends_the_shard() {
        ends(|shard| shard.event_loop(|_| panic!("as a bug would")));
    }

    #[test]
    fn a_panic_of_who_stands_in_ends_the_shard() {
        ends(|shard| {
            let event_loop = shard.event_loop.clone();
            let standing_in = std::thread::spawn(move || {
                let _turn = event_loop.lock().unwrap();
                panic!("as a bug would");
            });
            assert!(standing_in.join().is_err());
        });
    }
}
