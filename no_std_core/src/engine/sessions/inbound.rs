//! The receiver's side of QoS 2: which Packet Identifiers wait for their PUBREL (section 4.3.3).
//!
//! A message is routed when its PUBLISH comes. Its receipt only prevents that a second PUBLISH with the same identifier is routed
//! again `[MQTT-4.3.3-10]`.

use super::Session;
use crate::mem::{Handle, HashIndex, Hasher, List, Pool, links};
use crate::time::Instant;

/// A Packet Identifier that a client has used for a QoS 2 PUBLISH, and for which it has not sent PUBREL.
#[derive(Clone, Copy, Debug)]
pub struct Receipt {
    next: Option<Handle<Receipt>>,
    previous: Option<Handle<Receipt>>,
    chain: Option<Handle<Receipt>>,
    hash: u32,
    session: Option<Handle<Session>>,
    packet_id: u16,
}

impl Receipt {
    pub(crate) fn new(hash: u32, session: Handle<Session>, packet_id: u16) -> Self {
        Self { hash, session: Some(session), packet_id, ..Self::EMPTY }
    }

    /// The Session whose client used the identifier.
    pub(crate) fn session(&self) -> Option<Handle<Session>> {
        self.session
    }

    /// The Packet Identifier.
    pub(crate) fn packet_id(&self) -> u16 {
        self.packet_id
    }

    /// The value of unused memory.
    pub const EMPTY: Self = Self { next: None, previous: None, chain: None, hash: 0, session: None, packet_id: 0 };
}

impl Default for Receipt {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// The receipts of one Session.
#[derive(Debug)]
pub(crate) struct Inbound {
    receipts: List<Receipt>,
    count: u16,
    /// Whether the client has resumed the Session, so that it may repeat packets that were answered on an earlier Network
    /// Connection.
    is_resumed: bool,
    /// When the client connected, in [`ticks`].
    connected: u8,
}

/// How long a Network Connection must have existed before it is closed because a message was refused, in [`ticks`]. So a client
/// that sends the message again as soon as it is connected does so no more often.
const REFUSED_AT_LEAST: u8 = 5;

/// The length of a tick in milliseconds: about a second, and a power of two, so that no division is needed.
const TICK_MS: u64 = 1024;

/// An instant in ticks. Higher bits are cut off.
fn ticks(at: Instant) -> u8 {
    (at.as_millis() / TICK_MS) as u8
}

impl Inbound {
    pub(crate) const EMPTY: Self = Self { receipts: List::EMPTY, count: 0, is_resumed: false, connected: 0 };

    /// The client has connected: notes when, and whether it resumes the Session.
    pub(crate) fn connected(&mut self, now: Instant, is_resumed: bool) {
        (self.connected, self.is_resumed) = (ticks(now), is_resumed);
    }

    /// Whether the client has resumed the Session, and may repeat packets that were answered before.
    pub(crate) fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    /// How long the Network Connection may exist on, in ms, after a message was refused that its version of MQTT can't refuse in an
    /// acknowledgement. 0 once the connection is old enough. At some moments an old connection is taken for a new one, which does
    /// no harm.
    pub(crate) fn time_to_close(&self, now: Instant) -> u32 {
        let age = ticks(now).wrapping_sub(self.connected);
        u32::from(REFUSED_AT_LEAST.saturating_sub(age)).saturating_mul(TICK_MS as u32)
    }

    /// How many Packet Identifiers wait for their PUBREL.
    pub(crate) fn count(&self) -> u16 {
        self.count
    }
}

/// The receipts of all Sessions, which are found by Session and Packet Identifier.
pub(crate) struct Receipts<'m> {
    pub(crate) pool: Pool<'m, Receipt>,
    index: HashIndex<'m, Receipt>,
    hasher: Hasher,
}

impl<'m> Receipts<'m> {
    pub(crate) fn new(pool: Pool<'m, Receipt>, index: HashIndex<'m, Receipt>, hasher: Hasher) -> Self {
        Self { pool, index, hasher }
    }

    /// The most receipts that a look-up has to pass.
    pub(crate) fn longest_chain(&self) -> usize {
        self.index.longest_chain(&self.pool)
    }

    /// How many slots are used or were used before.
    pub(crate) fn slots(&self) -> usize {
        self.pool.slots()
    }

    pub(crate) fn is_live(&self, receipt: Handle<Receipt>) -> bool {
        self.pool.is_live(receipt)
    }

    pub(crate) fn get(&self, receipt: Handle<Receipt>) -> &Receipt {
        &self.pool[receipt]
    }

    /// Whether one more may be noted, which then stays so until one is.
    pub(crate) fn has_room(&mut self) -> bool {
        self.pool.has_room(0)
    }

    /// Whether a Session with so many bytes of them has no more than its share below a ceiling.
    pub(crate) fn is_in_share(&self, holds: usize) -> bool {
        self.pool.is_in_share(holds)
    }

    pub(crate) fn contains(&self, session: Handle<Session>, packet_id: u16) -> bool {
        self.find(session, packet_id).is_some()
    }

    /// Adds the receipt of a Packet Identifier; `None` if there is no memory.
    pub(crate) fn insert(
        &mut self,
        session: Handle<Session>,
        inbound: &mut Inbound,
        packet_id: u16,
    ) -> Option<Handle<Receipt>> {
        let hash = self.hash(session, packet_id);
        let handle = self.pool.insert(Receipt::new(hash, session, packet_id))?;
        self.join(inbound, handle);
        Some(handle)
    }

    /// PUBREL has come: removes the receipt that waited for it.
    pub(crate) fn release(
        &mut self,
        session: Handle<Session>,
        inbound: &mut Inbound,
        packet_id: u16,
    ) -> Option<Handle<Receipt>> {
        let handle = self.find(session, packet_id)?;
        self.remove(inbound, handle);
        Some(handle)
    }

    /// Removes any receipt of the Session.
    pub(crate) fn release_any(&mut self, inbound: &mut Inbound) -> Option<Handle<Receipt>> {
        let handle = inbound.receipts.front()?;
        self.remove(inbound, handle);
        Some(handle)
    }

    pub(crate) fn join(&mut self, inbound: &mut Inbound, handle: Handle<Receipt>) {
        self.index.insert(&mut self.pool, handle);
        inbound.receipts.push_back(&mut self.pool, handle);
        inbound.count = inbound.count.saturating_add(1);
    }

    fn remove(&mut self, inbound: &mut Inbound, handle: Handle<Receipt>) {
        inbound.receipts.unlink(&mut self.pool, handle);
        inbound.count = inbound.count.saturating_sub(1);
        self.index.remove(&mut self.pool, handle);
        self.pool.remove(handle);
    }

    fn find(&self, session: Handle<Session>, packet_id: u16) -> Option<Handle<Receipt>> {
        self.index.find(&self.pool, self.hash(session, packet_id), |receipt| {
            receipt.packet_id == packet_id && receipt.session == Some(session)
        })
    }

    pub(crate) fn hash(&self, session: Handle<Session>, packet_id: u16) -> u32 {
        self.hasher.combine(session.index() as u32, u32::from(packet_id))
    }
}

links!(Linked for Receipt: next);
links!(DoublyLinked for Receipt: previous);
links!(Chained for Receipt: hash, chain);
