//! Which sockets are to be looked after.
//!
//! The runtime's driver wakes a socket's waker: that puts the connection into a list, and wakes the one task that turns the
//! shard. A task for each socket would cost 256 bytes for each idle connection, and its way through the runtime's queue
//! for each read.

use goldcrest_core::ConnectionId;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

/// The list, in the order in which the news came.
#[derive(Default)]
pub(crate) struct News(Mutex<List>);

#[derive(Default)]
struct List {
    tellers: Vec<Arc<Teller>>,
    turner: Option<Waker>,
}

/// What the waker of one socket knows.
struct Teller {
    news: Arc<News>,
    id: ConnectionId,
    is_listed: AtomicBool,
}

impl News {
    /// A waker for a socket.
    pub(crate) fn waker(news: &Arc<Self>, id: ConnectionId) -> Waker {
        Arc::new(Teller { news: news.clone(), id, is_listed: AtomicBool::new(false) }).into()
    }

    /// Has `turner` be woken when there is something new.
    pub(crate) fn listen(&self, turner: &Waker) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.turner = Some(turner.clone());
        if !list.tellers.is_empty() {
            turner.wake_by_ref();
        }
    }

    /// Puts those that there are news of behind `ready`; what comes from now on is for the next time.
    pub(crate) fn collect(&self, ready: &mut Vec<ConnectionId>) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for teller in list.tellers.drain(..) {
            teller.is_listed.store(false, Ordering::Release);
            ready.push(teller.id);
        }
    }
}

impl Wake for Teller {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_listed.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut list = self.news.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = list.tellers.is_empty();
        list.tellers.push(self.clone());
        if is_first && let Some(turner) = &list.turner {
            turner.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::WakeCounter;
    use goldcrest_core::{AllowAll, Broker, Capacity, Config, Instant, Limits, Memory, Shard};

    #[test]
    fn the_turner_is_woken_once_and_each_socket_is_listed_once() {
        let memory = Memory::owned(&Capacity::GATEWAY, &Limits::GATEWAY, Shard::ONLY);
        let mut broker = Broker::new(memory, Config::gateway(1), &AllowAll);
        let ids = [(); 2].map(|()| broker.handle_connected(Instant::from_millis(0)).unwrap());
        let (news, counter) = (Arc::new(News::default()), Arc::new(WakeCounter::default()));
        let wakers = ids.map(|id| News::waker(&news, id));
        wakers[1].wake_by_ref();
        news.listen(&Waker::from(counter.clone()));
        wakers[0].wake_by_ref();
        wakers[1].wake_by_ref();
        assert_eq!(counter.count(), 1);
        let mut ready = Vec::new();
        news.collect(&mut ready);
        assert_eq!(ready, [ids[1], ids[0]]);
        wakers[0].wake_by_ref();
        assert_eq!(counter.count(), 2);
        news.collect(&mut ready);
        assert_eq!(ready.len(), 3);
    }
}
