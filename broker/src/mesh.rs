//! What shards pass to each other: each has an inbox, and is woken once for all that came in meanwhile.
//!
//! Forwards from one shard to another arrive in the order in which they were sent, and none is lost. The cores bound
//! how many can be under way: they let publishers wait.

use crate::listener::Seat;
use crate::store::Answer;
use goldcrest_core::{Broker, Forward, Instant};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::task::Waker;
use tokio::sync::oneshot;

/// The most that one shard has under way to another, when each message is as large as a packet may be.
pub(crate) const fn most_bytes_in_transit(packet_bytes: usize) -> usize {
    // The list of them doubles.
    (Forward::MAX_IN_TRANSIT as usize).saturating_mul(packet_bytes.saturating_add(2 * size_of::<(u16, Forward)>()))
}

/// The inboxes of all shards.
pub(crate) struct Mesh {
    inboxes: Box<[Inbox]>,
}

#[derive(Default)]
struct Inbox {
    mail: Mutex<Mail>,
    /// Whether `mail` holds anything: saves the shard the lock in most turns.
    has_mail: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// What came for a shard.
#[derive(Default)]
pub(crate) struct Mail {
    /// With the index of the shard that sent each.
    pub(crate) forwards: Vec<(u16, Forward)>,
    /// Connections whose home is this shard.
    pub(crate) arrivals: Vec<Arrival>,
    /// From the store.
    pub(crate) answers: Vec<Answer>,
    /// From those who look after the gateway.
    pub(crate) errands: Vec<Errand>,
    /// The gateway stops.
    pub(crate) shut_down: bool,
}

/// What a shard is to do with its broker, once.
pub(crate) type Errand = Box<dyn FnOnce(Instant, &mut Broker<'static>) + Send>;

/// Errands that wait for one shard. It takes all of them in its next turn: with so many it does not turn any more.
const MOST_ERRANDS: usize = 64;

/// A connection on its way to its home shard.
pub(crate) struct Arrival {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    /// What was read from it: CONNECT and what followed.
    pub(crate) bytes: Vec<u8>,
    pub(crate) seat: Seat,
}

impl Mesh {
    pub(crate) fn new(shards: u16) -> Self {
        Self { inboxes: (0..shards).map(|_| Inbox::default()).collect() }
    }

    pub(crate) fn shards(&self) -> u16 {
        self.inboxes.len() as u16
    }

    /// Sends a batch, and leaves `batch` empty with its memory.
    pub(crate) fn forward(&self, from: u16, to: u16, batch: &mut Vec<Forward>) {
        self.post(to, |mail| mail.forwards.extend(batch.drain(..).map(|forward| (from, forward))));
    }

    pub(crate) fn send_home(&self, home: u16, arrival: Arrival) {
        self.post(home, |mail| mail.arrivals.push(arrival));
    }

    pub(crate) fn answer(&self, shard: u16, answer: Answer) {
        self.post(shard, |mail| mail.answers.push(answer));
    }

    /// Has a shard do `work` in its next turn. The answer never comes from a shard that has ended or hangs.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        shard: u16,
        work: impl FnOnce(Instant, &mut Broker<'static>) -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (tell, told) = oneshot::channel();
        self.post(shard, |mail| {
            if mail.errands.len() < MOST_ERRANDS {
                mail.errands.push(Box::new(move |now, broker| drop(tell.send(work(now, broker)))));
            }
        });
        told
    }

    pub(crate) fn shut_down(&self) {
        for shard in 0..self.shards() {
            self.post(shard, |mail| mail.shut_down = true);
        }
    }

    /// Lets `waker` be woken when something comes for `shard`.
    pub(crate) fn listen(&self, shard: u16, waker: &Waker) {
        let inbox = &self.inboxes[usize::from(shard)];
        *lock(&inbox.waker) = Some(waker.clone());
        if inbox.has_mail.load(Ordering::Acquire) {
            waker.wake_by_ref();
        }
    }

    /// Takes what came for `shard` in exchange for the emptied `mail` of before. Whether there was anything.
    pub(crate) fn collect(&self, shard: u16, mail: &mut Mail) -> bool {
        let inbox = &self.inboxes[usize::from(shard)];
        if !inbox.has_mail.load(Ordering::Acquire) {
            return false;
        }
        let mut waiting = lock(&inbox.mail);
        inbox.has_mail.store(false, Ordering::Release);
        std::mem::swap(&mut *waiting, mail);
        true
    }

    fn post(&self, to: u16, put: impl FnOnce(&mut Mail)) {
        let inbox = &self.inboxes[usize::from(to)];
        let mut mail = lock(&inbox.mail);
        put(&mut mail);
        // Who finds mail there already knows that the shard was woken for it and has not come yet.
        let was_empty = !inbox.has_mail.swap(true, Ordering::AcqRel);
        drop(mail);
        if was_empty && let Some(waker) = &*lock(&inbox.waker) {
            waker.wake_by_ref();
        }
    }
}

/// A shard that panicked ends the gateway; until then its mail is as whole as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_shard_is_woken_once_for_a_batch() {
        let mesh = Mesh::new(2);
        let counter = Arc::new(Counter::default());
        mesh.listen(1, &Waker::from(counter.clone()));
        let mut mail = Mail::default();
        assert!(!mesh.collect(1, &mut mail));
        mesh.shut_down();
        mesh.shut_down();
        assert_eq!(counter.0.load(Ordering::Relaxed), 1);
        assert!(mesh.collect(1, &mut mail) && mail.shut_down);
        assert!(!mesh.collect(1, &mut Mail::default()));
        mesh.shut_down();
        assert_eq!(counter.0.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn errands_for_a_shard_that_hangs_are_bounded() {
        let mesh = Mesh::new(1);
        let answers: Vec<_> = (0..MOST_ERRANDS + 1).map(|_| mesh.ask(0, |_, broker| broker.counters())).collect();
        let mut answers = answers.into_iter().rev();
        let closed = Err(oneshot::error::TryRecvError::Closed);
        assert_eq!(answers.next().unwrap().try_recv(), closed);
        assert!(answers.all(|mut answer| answer.try_recv() == Err(oneshot::error::TryRecvError::Empty)));
    }

    #[test]
    fn mail_that_came_before_the_shard_listens_wakes_it() {
        let mesh = Mesh::new(1);
        mesh.shut_down();
        let counter = Arc::new(Counter::default());
        mesh.listen(0, &Waker::from(counter.clone()));
        assert_eq!(counter.0.load(Ordering::Relaxed), 1);
    }
}
