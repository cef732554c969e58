//! Threads that accept connections whose clients have to do more before CONNECT than the shards should do: the handshake of TLS above all.
//!
//! A handshake takes as long as hundreds of messages. Here a flood of handshakes keeps these threads busy and no shard. They also have a lower priority
//! than the shards, so that the system runs a shard first if there are fewer cores than threads. A connection whose CONNECT has come moves to its home
//! shard, and never comes back.

use super::connect::Lobby;
use super::mailbox::Mailboxes;
use super::shared::Shard;
use crate::net::{self, Accepting, Admission};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// How much nicer these threads are to others than the shards: the system gives them a tenth of a core that both want.
const NICER: i32 = 10;

/// There is one thread for each so many cores, and at least one.
const CORES_OF_ONE: usize = 4;

/// How many threads there are on so many cores.
pub(crate) fn doorsteps_for(cores: usize) -> usize {
    (cores / CORES_OF_ONE).max(1)
}

/// What such a thread needs.
pub(crate) struct DoorstepPlan {
    pub(crate) mailboxes: Arc<Mailboxes>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) listeners: Vec<Accepting>,
}

/// A running thread, which ends when this value is dropped. Connections without a CONNECT are closed then.
#[derive(Debug)]
pub(crate) struct Doorstep {
    _stop: oneshot::Sender<()>,
}

struct DoorstepLobby {
    mailboxes: Arc<Mailboxes>,
    admission: Arc<Admission>,
}

impl Lobby for Rc<DoorstepLobby> {
    fn mailboxes(&self) -> &Mailboxes {
        &self.mailboxes
    }

    fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    fn shard(&self) -> Option<&Rc<Shard>> {
        None
    }
}

impl Doorstep {
    /// Starts a thread. `failed` is called if the thread ends before this value is dropped.
    ///
    /// # Errors
    /// The system refuses the thread.
    pub(crate) fn start(index: usize, plan: DoorstepPlan, failed: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        thread::Builder::new().name(format!("doorstep-{index}")).spawn(move || {
            let mut failed = TellsFailure(Some(failed));
            if run(plan, stopped) {
                failed.0 = None;
            }
        })?;
        Ok(Self { _stop: stop })
    }
}

/// Calls its function when it is dropped, also after a panic.
struct TellsFailure<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for TellsFailure<F> {
    fn drop(&mut self) {
        if let Some(failed) = self.0.take() {
            failed();
        }
    }
}

/// Accepts connections until `stopped` ends. Returns whether it has.
fn run(plan: DoorstepPlan, stopped: oneshot::Receiver<()>) -> bool {
    let DoorstepPlan { mailboxes, admission, listeners } = plan;
    // With the usual priority all works, only less well.
    if let Err(error) = rustix::process::setpriority_process(None, NICER) {
        tracing::debug!(%error, "handshakes have the priority of the shards");
    }
    let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "no thread for handshakes could begin");
            return false;
        }
    };
    runtime.block_on(async {
        let lobby = Rc::new(DoorstepLobby { mailboxes, admission });
        tokio::select! {
            () = accept_all(lobby, listeners) => false,
            _ = stopped => true,
        }
    })
}

/// Accepts connections on all `listeners`. Ends only if all of them are lost.
pub(super) async fn accept_all(lobby: impl Lobby, listeners: Vec<Accepting>) {
    let mut accepting = JoinSet::new();
    for (socket, setup) in listeners {
        let lobby = lobby.clone();
        accepting.spawn_local(async move {
            if let Err(error) = socket.serve(|listener| net::accept(lobby.clone(), &setup, listener)).await {
                tracing::error!(%error, "a listener was lost");
            }
        });
    }
    while accepting.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_thread_for_each_four_cores() {
        assert_eq!([1, 2, 4, 7, 8, 64].map(doorsteps_for), [1, 1, 1, 1, 2, 16]);
    }
}
