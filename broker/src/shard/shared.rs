//! The state that the tasks of a shard share: its event loop, its mailbox, and its bounds on connections.

use super::clock::Clock;
use super::connection_ends::EndReason;
use super::event_loop::EventLoop;
use super::mailbox::{Handover, Mailboxes};
use crate::net::{Admission, ConnectionPermit, Transport};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;
use tokio::task::{spawn_local, yield_now};

/// The state that the tasks of a shard share.
pub(crate) struct Shard {
    pub(crate) index: u16,
    pub(crate) mailboxes: Arc<Mailboxes>,
    pub(crate) admission: Arc<Admission>,
    pub(super) clock: Clock,
    /// The event loop. Threads of other shards run it too, while this shard's thread sleeps: see [`Mailboxes::run_or_wake`].
    pub(super) event_loop: Arc<Mutex<EventLoop>>,
    pub(super) stop: Notify,
}

impl Shard {
    /// Serves a connection whose home is this shard, after all sockets that are ready by now have been read.
    ///
    /// A client may send its last messages and DISCONNECT, close, and connect again at once. If its old connection were still open then,
    /// the new connection would take the Session over: the last messages would be lost, and the Will would be sent. But the bytes on the
    /// old socket arrived before the CONNECT on the new socket, and the runtime looks at all sockets before it resumes a task that has
    /// yielded. So yielding once is enough.
    pub(crate) async fn open_connection(
        self: Rc<Self>,
        transport: Transport,
        peer: Option<SocketAddr>,
        bytes: Vec<u8>,
        permit: ConnectionPermit,
    ) {
        yield_now().await;
        let opened = self.event_loop(|event_loop| {
            event_loop.is_stopping || event_loop.open_connection(transport, &bytes, permit).is_some()
        });
        if !opened {
            self.turn_away(peer, "its shard has as many connections as connections in [capacity] allows");
        }
    }

    /// Counts and logs that a connection is closed for want of room.
    fn turn_away(&self, peer: Option<SocketAddr>, why: &str) {
        self.mailboxes.connection_ends.count(EndReason::NoRoom);
        self.admission.turn_away(peer, why);
    }

    /// Lets `work` use the event loop. A panic in the event loop is a bug that may have left the broker in any state. The runtime would go
    /// on with other tasks, so a panic ends the shard. The shard ends too if a thread of another shard panicked while it ran this event
    /// loop.
    pub(super) fn event_loop<T>(&self, work: impl FnOnce(&mut EventLoop) -> T) -> T {
        self.end_if_panicking(|| work(&mut self.event_loop.lock().expect("nobody has panicked in this event loop")))
    }

    pub(super) fn end_if_panicking<T>(&self, work: impl FnOnce() -> T) -> T {
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

    /// Registers a connection that another shard has accepted with the runtime of this thread.
    pub(super) fn welcome(self: &Rc<Self>, handover: Handover) {
        let Handover { transport, peer, bytes, permit } = handover;
        match transport.attach() {
            Ok(transport) => drop(spawn_local(self.clone().open_connection(transport, peer, bytes, permit))),
            Err(error) => {
                tracing::warn!(address = peer.map(tracing::field::display), %error, "a connection did not get home")
            }
        }
    }
}
