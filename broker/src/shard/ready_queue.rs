//! Which sockets are ready to be read from or written to.
//!
//! The runtime calls the waker of a socket. The waker puts the connection into a list, and wakes the one task of the shard. With a task for
//! each socket, each idle connection would cost 256 bytes more, and each read a pass through the runtime's queue.

use goldcrest_core::ConnectionId;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

/// The connections whose sockets are ready, in the order in which they became ready.
#[derive(Default)]
pub(crate) struct ReadyQueue(Mutex<List>);

#[derive(Default)]
struct List {
    wakers: Vec<Arc<SocketWaker>>,
    task: Option<Waker>,
}

/// The data in the waker of one socket.
struct SocketWaker {
    ready_queue: Arc<ReadyQueue>,
    id: ConnectionId,
    is_listed: AtomicBool,
}

impl ReadyQueue {
    /// A waker for a socket.
    pub(crate) fn waker(ready_queue: &Arc<Self>, id: ConnectionId) -> Waker {
        Arc::new(SocketWaker { ready_queue: ready_queue.clone(), id, is_listed: AtomicBool::new(false) }).into()
    }

    /// Registers `task`, which is woken when a socket becomes ready.
    pub(crate) fn listen(&self, task: &Waker) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.task = Some(task.clone());
        if !list.wakers.is_empty() {
            task.wake_by_ref();
        }
    }

    /// Moves all connections of the queue to the end of `ready`.
    pub(crate) fn collect(&self, ready: &mut Vec<ConnectionId>) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for waker in list.wakers.drain(..) {
            waker.is_listed.store(false, Ordering::Release);
            ready.push(waker.id);
        }
    }
}

impl Wake for SocketWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_listed.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut list = self.ready_queue.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = list.wakers.is_empty();
        list.wakers.push(self.clone());
        if is_first && let Some(task) = &list.task {
            task.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::WakeCounter;
    use goldcrest_core::{AllowAll, Broker, Capacity, Config, Instant, Limits, Memory, Shard};

    #[test]
    fn the_task_is_woken_once_and_each_socket_is_listed_once() {
        let memory = Memory::owned(&Capacity::GATEWAY, &Limits::GATEWAY, Shard::ONLY);
        let mut broker = Broker::new(memory, Config::gateway(1), &AllowAll);
        let ids = [(); 2].map(|()| broker.handle_connected(Instant::from_millis(0)).unwrap());
        let (ready_queue, counter) = (Arc::new(ReadyQueue::default()), Arc::new(WakeCounter::default()));
        let wakers = ids.map(|id| ReadyQueue::waker(&ready_queue, id));
        wakers[1].wake_by_ref();
        ready_queue.listen(&Waker::from(counter.clone()));
        wakers[0].wake_by_ref();
        wakers[1].wake_by_ref();
        assert_eq!(counter.count(), 1);
        let mut ready = Vec::new();
        ready_queue.collect(&mut ready);
        assert_eq!(ready, [ids[1], ids[0]]);
        wakers[0].wake_by_ref();
        assert_eq!(counter.count(), 2);
        ready_queue.collect(&mut ready);
        assert_eq!(ready.len(), 3);
    }
}
