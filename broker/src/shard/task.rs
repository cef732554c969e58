//! The thread of a shard. It has a runtime of its own, sets the core broker up, and runs the event loop in one task. While the thread sleeps,
//! threads of other shards may run the event loop for a moment.

use super::clock::Clock;
use super::doorstep::accept_all;
use super::event_loop::EventLoop;
use super::events::EventSender;
use super::mailbox::{KEPT_ENTRIES, Mailboxes};
use super::persistence::{Persistence, credit_below, restore};
use super::shared::Shard;
use crate::access::{Access, Denials, Principals};
use crate::net::{Accepting, Admission, ByteQueue};
use goldcrest_core::{AllowAll, Broker, Capacity, ConnectionId, Memory, MemoryCeiling, Mount, Permissions};
use goldcrest_store::{Handle, LogStore};
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, oneshot};
use tokio::task::{spawn_local, unconstrained, yield_now};
use tokio::time::{Sleep, sleep, timeout};

/// When the gateway stops, clients have this time to read their DISCONNECT and to close.
pub(crate) const SHUTDOWN_TIME: Duration = Duration::from_secs(2);

/// A turn in which the core counts so much work is long: it takes a fraction of a millisecond.
const LONG: u64 = 4_096;

/// The rules of a shard, and where it finds what they denied.
pub(crate) type ShardRules = (Permissions<'static>, Arc<Denials>);

/// Everything that a shard needs when it begins.
pub(crate) struct ShardPlan {
    pub(crate) config: goldcrest_core::Config<'static>,
    pub(crate) capacity: Capacity,
    /// Of the memory of the process.
    pub(crate) ceiling: Arc<MemoryCeiling>,
    /// Spare buffers that the shard keeps at most, in bytes.
    pub(crate) spare_bytes: usize,
    pub(crate) clock: Clock,
    pub(crate) mailboxes: Arc<Mailboxes>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) access: Access,
    /// The mount of each listener.
    pub(crate) mounts: Arc<[Option<Mount>]>,
    /// The rules of this shard, and where it finds what they denied; `None`: `access` has permissions, or everything is permitted.
    pub(crate) rules: Option<ShardRules>,
    pub(crate) events: EventSender,
    /// The store that the shard is restored from, and where it hands in batches from then on. `None`: there is no store.
    pub(crate) store: Option<(Arc<LogStore>, Handle)>,
    pub(crate) principals: Arc<Principals>,
    /// The listeners on which this shard accepts connections for all shards. They come once all shards are restored.
    pub(crate) listeners: oneshot::Receiver<Vec<Accepting>>,
    /// Once this is true, restoring ends early with an error.
    pub(crate) gives_up: Arc<AtomicBool>,
}

/// Runs a shard on this thread until the gateway stops. Reports on `started` whether the shard could begin.
pub(crate) fn run(plan: ShardPlan, started: &SyncSender<io::Result<()>>) {
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

fn set_up(plan: ShardPlan) -> io::Result<(Rc<Shard>, oneshot::Receiver<Vec<Accepting>>)> {
    let ShardPlan {
        config,
        capacity,
        ceiling,
        spare_bytes,
        clock,
        mailboxes,
        admission,
        access,
        mounts,
        rules,
        events,
        store,
        principals,
        listeners,
        gives_up,
    } = plan;
    let goldcrest_core::Shard { index, count: shards } = config.shard;
    let memory = Memory::owned(&capacity, &config.limits, config.shard).under(&ceiling);
    ByteQueue::keep_spares(spare_bytes);
    let (rules, denials) = rules.unzip();
    let permissions = rules.or(access.permissions).unwrap_or_else(|| Permissions::from(&AllowAll));
    let mut broker = Broker::new(memory, config, permissions);
    let persistence = match store {
        Some((log, handle)) => {
            let left_out = restore(&mut broker, index, &log, &principals, clock.now(), &gives_up)?;
            handle.health().leave_out(left_out);
            let credit_share = log.credit_share().min(credit_below(&ceiling, shards));
            Some(Persistence::new(index, handle, credit_share, &mut broker))
        }
        None => None,
    };
    let mut event_loop = EventLoop::new(index, mailboxes.clone(), clock, broker, persistence);
    event_loop.claim_from(&ceiling);
    event_loop.decide_by(access.decider, mounts);
    event_loop.tell_events(events);
    event_loop.log_denials(denials);
    let event_loop = Arc::new(Mutex::new(event_loop));
    mailboxes.admit(index, &event_loop);
    let shard = Shard { index, mailboxes, admission, clock, event_loop, stop: Notify::new() };
    Ok((Rc::new(shard), listeners))
}

/// Serves clients until the shard is stopped. `tell_started` returns false if nobody waits for the gateway any more; then the shard serves
/// nobody.
async fn serve(
    shard: Rc<Shard>,
    listeners: oneshot::Receiver<Vec<Accepting>>,
    tell_started: impl FnOnce() -> bool,
) -> io::Result<()> {
    let accepting = spawn_local(accept_on_all(shard.clone(), listeners));
    spawn_local(unconstrained(ShardTask::new(shard.clone())));
    if !tell_started() {
        return Ok(());
    }
    shard.stop.notified().await;
    // After a panic the broker may be in any state, and is not used any more.
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

/// Accepts connections on all `listeners`, once these have come, until the task is aborted.
async fn accept_on_all(shard: Rc<Shard>, listeners: oneshot::Receiver<Vec<Accepting>>) {
    if let Ok(listeners) = listeners.await {
        accept_all(shard, listeners).await;
    }
}

/// The task that runs the event loop. It runs one turn each time when sockets are ready, when there is mail, when another task has used the event
/// loop, or when a timer of the core is due.
struct ShardTask {
    shard: Rc<Shard>,
    /// The vectors `ready` and `asleep` are empty between turns, and kept for their memory.
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
            // Other tasks wait for one long turn at most, and not for as many turns as the runtime would run in a row.
            after_a_look(cx);
            return Poll::Pending;
        }
        let has_more_to_do = shard.event_loop(|event_loop| {
            event_loop.begin_turn(cx.waker());
            event_loop.collect();
            event_loop.handovers.drain(..).for_each(|handover| shard.welcome(handover));
            event_loop.handovers.shrink_to(KEPT_ENTRIES);
            event_loop.local_connections.drain(..).for_each(|connection| shard.accept_local(connection));
            event_loop.local_connections.shrink_to(KEPT_ENTRIES);
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
            event_loop.has_more_to_do() || !ready.is_empty()
        });
        if has_more_to_do {
            after_a_look(cx);
        }
        for sibling in asleep.drain(..) {
            shard.end_if_panicking(|| shard.mailboxes.run_or_wake(sibling));
        }
        Poll::Pending
    }
}

/// Makes the runtime ask the system for events, and then wake the task.
fn after_a_look(cx: &mut Context<'_>) {
    let _ = pin!(yield_now()).poll(cx);
}

/// Makes `timer` wake the task at the time `at`. `None` is a time that never comes: the timer stays as it is.
fn arm(mut timer: Pin<&mut Sleep>, cx: &mut Context<'_>, at: Option<std::time::Instant>) {
    let Some(at) = at else { return };
    timer.as_mut().reset(at.into());
    if timer.poll(cx).is_ready() {
        cx.waker().wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use super::super::events::event_channel;
    use super::*;
    use std::sync::mpsc::sync_channel;

    /// Asserts that `panic`, in any task of a shard, ends the shard, whose broker is then not used any more.
    fn ends(panic: impl FnOnce(Rc<Shard>) + Send + 'static) {
        let plan = ShardPlan {
            config: goldcrest_core::Config::gateway(1),
            capacity: Capacity::GATEWAY,
            ceiling: MemoryCeiling::new(usize::MAX),
            spare_bytes: 0,
            clock: Clock::start_at(0),
            mailboxes: Arc::new(Mailboxes::new(1)),
            admission: Arc::new(Admission::new(1, 1, Duration::from_secs(1), 1024)),
            access: Access::new(),
            mounts: Arc::default(),
            rules: None,
            events: event_channel().0,
            store: None,
            principals: Arc::default(),
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
    fn a_panic_of_another_thread_in_the_event_loop_ends_the_shard() {
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
