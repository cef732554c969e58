//! The bounds on connections: on all of them, and on those without a whole CONNECT.

use super::guests::Guest;
use super::memory_credit;
use crate::output::log::Throttle;
use goldcrest_core::{MemoryCeiling, MemoryUse};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// The time that each client has for its CONNECT, also while others wait for a permit.
pub(crate) const GRACE: Duration = Duration::from_secs(2);

/// Bytes that all unfinished CONNECT packets may take together.
pub(crate) const UNFINISHED_BYTES: usize = 64 * 1024 * 1024;

/// Counts connections for all shards.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) connect_timeout: Duration,
    pub(crate) connect_bytes: u32,
    /// Signalled while a connection waits for a [`ConnectPermit`].
    pub(crate) pressure: Notify,
    connections: usize,
    taken: AtomicUsize,
    connect_permits: Arc<Semaphore>,
    unfinished_bytes: AtomicUsize,
    without_id: AtomicUsize,
    complaints: Throttle,
    turned_away: Throttle,
    /// The ceiling on memory, from which connections and their bytes are claimed.
    memory: Arc<MemoryCeiling>,
}

/// The bytes that the gateway claims for each connection, besides bytes that wait: for the socket, the runtime's registration of the socket, and the task
/// that waits for CONNECT. Fewer were measured.
pub(crate) const CONNECTION_BYTES: usize = 1024;

/// The right to be one of the open connections, with the memory that is claimed for the connection and its bytes. Dropping the permit gives both back.
pub(crate) struct ConnectionPermit {
    admission: Arc<Admission>,
    /// How many bytes are claimed for bytes that wait.
    claimed: u32,
    /// The index of the listener that the connection came through.
    listener: Option<u16>,
    /// `None` for most connections, so that these take little memory.
    particulars: Option<Box<Particulars>>,
}

/// What only some connections have.
#[derive(Default)]
struct Particulars {
    /// How many bytes are claimed for the transport, beyond [`CONNECTION_BYTES`].
    of_transport: usize,
    /// The address of the client, where the peer of the socket is a proxy.
    client: Option<SocketAddr>,
    /// The place among those of a listener with limits of its own.
    guest: Option<Guest>,
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let Self { admission, claimed, .. } = self;
        let of_transport = self.particulars.as_ref().map_or(0, |particulars| particulars.of_transport);
        memory_credit::give_back(&admission.memory, *claimed as usize);
        admission.memory.give_back(MemoryUse::Connections, CONNECTION_BYTES + of_transport);
        admission.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ConnectionPermit {
    /// The index of the listener that the connection came through; `None` if the peer is in this process.
    pub(crate) fn listener(&self) -> Option<u16> {
        self.listener
    }

    /// Changes the claim for the transport to `bytes`. Returns false, and changes nothing, if there is no memory left.
    pub(crate) fn claim_for_transport(&mut self, bytes: usize) -> bool {
        let (memory, purpose) = (&self.admission.memory, MemoryUse::Connections);
        let before = self.particulars.as_ref().map_or(0, |particulars| particulars.of_transport);
        if bytes == before {
            return true;
        }
        if bytes > before {
            if !memory.take(purpose, bytes - before) {
                return false;
            }
        } else {
            memory.give_back(purpose, before - bytes);
        }
        self.particulars().of_transport = bytes;
        true
    }

    fn particulars(&mut self) -> &mut Particulars {
        self.particulars.get_or_insert_default()
    }

    /// The address of the client, where the peer of the socket is a proxy that has told it.
    pub(super) fn client(&self) -> Option<SocketAddr> {
        self.particulars.as_ref()?.client
    }

    /// The place among the connections of its listener, if the listener has limits.
    pub(super) fn guest(&mut self) -> Option<&mut Guest> {
        self.particulars.as_mut()?.guest.as_mut()
    }

    /// Takes a place among the connections of its listener.
    pub(super) fn take_place(&mut self, guest: Guest) {
        self.particulars().guest = Some(guest);
    }

    /// The peer of the socket is a proxy, and this is the address of its client.
    pub(crate) fn comes_from(&mut self, client: SocketAddr) {
        self.particulars().client = Some(client);
    }

    /// How many bytes are claimed for bytes that wait.
    pub(super) fn claimed(&self) -> usize {
        self.claimed as usize
    }

    /// Changes the claim to `bytes`, for bytes that have arrived. Returns false, and changes nothing, if there is no memory left.
    pub(crate) fn claim(&mut self, bytes: usize) -> bool {
        let memory = &self.admission.memory;
        let Ok(now_claimed) = u32::try_from(bytes) else { return false };
        let before = self.claimed();
        if bytes > before {
            if !memory_credit::take(memory, bytes - before) {
                return false;
            }
        } else {
            memory_credit::give_back(memory, before - bytes);
        }
        self.claimed = now_claimed;
        true
    }

    /// Raises the claim to `bytes`, for a large packet that has begun. Returns false, and changes nothing, if the packet has to wait. A packet that
    /// `is_first` among those that wait may take more.
    pub(crate) fn claim_for_packet(&mut self, bytes: usize, is_first: bool) -> bool {
        let Ok(now_claimed) = u32::try_from(bytes) else { return false };
        let (memory, more) = (&self.admission.memory, bytes.saturating_sub(self.claimed()));
        let is_granted = more == 0
            || if is_first {
                memory_credit::take_for_first(memory, more)
            } else {
                memory_credit::take_for_packet(memory, self.claimed(), more)
            };
        if !is_granted {
            return false;
        }
        self.claimed = self.claimed.max(now_claimed);
        true
    }

    /// How many bytes may be read or written at once, `most` unless memory is short.
    pub(crate) fn most_at_once(&self, most: usize) -> usize {
        memory_credit::most_at_once(&self.admission.memory, most)
    }
}

/// The right to be one of the connections without a whole CONNECT, until it is dropped.
pub(crate) struct ConnectPermit {
    admission: Arc<Admission>,
    /// The bytes of the connection's unfinished CONNECT so far.
    bytes: usize,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Admission {
    pub(crate) fn new(connections: usize, connect_permits: u32, connect_timeout: Duration, connect_bytes: u32) -> Self {
        Self {
            connect_timeout,
            connect_bytes,
            pressure: Notify::new(),
            connections,
            taken: AtomicUsize::new(0),
            connect_permits: Arc::new(Semaphore::new(connect_permits as usize)),
            unfinished_bytes: AtomicUsize::new(0),
            without_id: AtomicUsize::new(0),
            complaints: Throttle::default(),
            turned_away: Throttle::default(),
            memory: MemoryCeiling::new(usize::MAX),
        }
    }

    /// Connections and the bytes that wait in them are claimed from `memory`.
    pub(crate) fn under(self, memory: &Arc<MemoryCeiling>) -> Self {
        Self { memory: memory.clone(), ..self }
    }

    /// A permit for one connection more, if there may be one.
    pub(crate) fn permit(self: &Arc<Self>) -> Option<ConnectionPermit> {
        self.permit_at(None)
    }

    /// The same for a connection that came through the listener with this index.
    pub(crate) fn permit_at(self: &Arc<Self>, listener: Option<u16>) -> Option<ConnectionPermit> {
        if !self.memory.take(MemoryUse::Connections, CONNECTION_BYTES) {
            return None;
        }
        // Counted before the bound is checked: dropping the permit takes the count back.
        let permit = ConnectionPermit { admission: self.clone(), claimed: 0, listener, particulars: None };
        (self.taken.fetch_add(1, Ordering::Relaxed) < self.connections).then_some(permit)
    }

    /// Waits for a permit to send CONNECT. While no permit is free, connections that have had theirs for longer than [`GRACE`] are closed:
    /// an honest client sends CONNECT sooner, and clients that never send CONNECT can't keep it out.
    pub(crate) async fn wait_for_connect_permit(self: &Arc<Self>) -> ConnectPermit {
        let permit = loop {
            if let Ok(permit) = timeout(GRACE / 10, self.connect_permits.clone().acquire_owned()).await {
                break permit.ok();
            }
            self.pressure.notify_waiters();
        };
        ConnectPermit { admission: self.clone(), bytes: 0, _permit: permit }
    }

    /// The home shard of a client without a Client Identifier: each shard in turn.
    pub(crate) fn any_home(&self, shards: u16) -> u16 {
        (self.without_id.fetch_add(1, Ordering::Relaxed) % usize::from(shards.max(1))) as u16
    }

    /// Logs that a connection was closed for want of room, at most one line a second.
    pub(crate) fn turn_away(&self, peer: Option<SocketAddr>, why: &str) {
        if let Some(others) = self.turned_away.pass() {
            tracing::warn!(address = peer.map(tracing::field::display), others, "turned a connection away: {why}");
        }
    }

    /// Logs why connections cannot be accepted, at most one line a second.
    pub(crate) fn complain(&self, what: &str, error: &io::Error) {
        if let Some(others) = self.complaints.pass() {
            tracing::warn!(%error, others, "{what}");
        }
    }
}

impl ConnectPermit {
    /// Counts `more` bytes of an unfinished CONNECT. Returns whether there is room for them.
    pub(crate) fn grow(&mut self, more: usize) -> bool {
        self.bytes += more;
        self.admission.unfinished_bytes.fetch_add(more, Ordering::Relaxed) + more <= UNFINISHED_BYTES
    }
}

impl Drop for ConnectPermit {
    fn drop(&mut self) {
        self.admission.unfinished_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(connections: usize, connect_permits: u32) -> Arc<Admission> {
        Arc::new(Admission::new(connections, connect_permits, Duration::from_secs(10), 1024))
    }

    #[test]
    fn permits_are_counted_and_given_back() {
        let admission = admission(2, 1);
        let first = admission.permit().unwrap();
        let _second = admission.permit().unwrap();
        assert!(admission.permit().is_none());
        assert!(admission.permit().is_none());
        drop(first);
        assert!(admission.permit().is_some());
    }

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn a_connection_that_waits_for_a_permit_signals_pressure() {
        let admission = admission(1, 1);
        let permit = admission.wait_for_connect_permit().await;
        tokio::select! {
            _ = admission.wait_for_connect_permit() => panic!("there was one permit"),
            () = admission.pressure.notified() => {}
        }
        drop(permit);
        admission.wait_for_connect_permit().await;
    }

    #[test]
    fn connections_and_their_bytes_are_claimed_and_given_back() {
        let memory = MemoryCeiling::new(16 << 20);
        let admission = Arc::new(Admission::new(2, 1, Duration::from_secs(1), 1024).under(&memory));
        let mut permit = admission.permit().unwrap();
        assert_eq!(memory.taken(MemoryUse::Connections), CONNECTION_BYTES);
        assert!(permit.claim(1000) && permit.claim_for_packet(1 << 20, false) && permit.claimed() == 1 << 20);
        assert!(memory.taken(MemoryUse::Receiving) >= 1 << 20);
        assert!(!permit.claim_for_packet(4 << 20, false) && !permit.claim_for_packet(8 << 20, true));
        assert!(permit.claim_for_packet(4 << 20, true) && permit.claim(1 << 20) && permit.claimed() == 1 << 20);
        assert!(permit.claim(0) && memory.taken(MemoryUse::Receiving) < 1 << 18);
        assert!(permit.claim(5000));
        drop(permit);
        assert_eq!(memory.taken(MemoryUse::Connections), 0);
        assert!(memory.taken(MemoryUse::Receiving) < 1 << 18, "what is left is the credit of the thread");
        memory.take_anyway(MemoryUse::Other, 16 << 20);
        assert!(admission.permit().is_none(), "nothing is left");
    }

    #[tokio::test]
    async fn bytes_of_unfinished_packets_are_bounded() {
        let admission = admission(1, 2);
        let mut first = admission.wait_for_connect_permit().await;
        let mut second = admission.wait_for_connect_permit().await;
        assert!(first.grow(UNFINISHED_BYTES - 10));
        assert!(second.grow(10));
        assert!(!second.grow(1));
        drop(first);
        assert!(second.grow(1));
    }
}
