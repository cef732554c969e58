//! Bodies that are on disk alone: which ones are given up, and which are wanted back.
//!
//! A body may be given up once the record of its message is safe, as long as only durable deliveries hold the message: the
//! store has it then, and nobody else needs it before it is to be transmitted. What of such bodies goes beyond the budget
//! is given up, the one that has been in memory for longest first. Where its bytes were, the message has only their number.
//! It stays durable to its end, and so its record stays: who may hold it without being durable keeps the body in memory.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::durable::record::{Key, Kind};
use crate::engine::messages::{Delivery, Message, Messages};
use crate::mem::{Blob, Handle, Linked};
use crate::seam::journal::Batch;

/// What a body takes in memory beside its bytes, about.
const OVERHEAD: usize = 64;
/// How many bytes are wanted at once for one client.
const AHEAD: usize = 256 << 10;
/// How many bodies are passed over at most, which can't be given up just now, before it is left for the next time.
const PASSED_OVER: usize = 64;

/// A body that is to be read from the store; see [`Broker::poll_fetch`](crate::Broker::poll_fetch).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    name: Name,
    weight: u32,
}

impl Fetch {
    /// The record in which it stands.
    pub fn key(&self) -> Key {
        Key { kind: Kind::Message, slot: self.name.slot }
    }
}

/// A message, told apart from those that had its slot before and will have it later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name {
    slot: u32,
    /// The lower half of its order.
    order: u32,
}

/// Which bodies are where.
#[derive(Debug, Default)]
pub(crate) struct Bodies {
    /// What bodies that could be given up may take, in bytes; 0: all stay in memory.
    budget: usize,
    /// Messages whose record was polled, with its batch, until that is safe.
    recording: VecDeque<(Batch, Name)>,
    /// Bodies that could be given up, in the order in which they came; and names of messages that are gone.
    here: VecDeque<Name>,
    /// How many of these there are, and what they take.
    counted: usize,
    bytes: usize,
    /// How many messages are without their bodies.
    away: usize,
    /// What is to be asked for.
    wanted: VecDeque<Fetch>,
    /// What was asked for and has not come, as it counts towards the budget.
    asked: usize,
    /// The same with what is to be asked for.
    coming: usize,
    /// Something that somebody may wait for has come.
    has_arrived: bool,
    /// A bit for each slot, until the end of restoring: its message is retained. `None` if nobody said so.
    retained: Option<Vec<u64>>,
}

impl Bodies {
    fn discount(&mut self, message: &Message) {
        self.bytes -= message.weight();
        self.counted -= 1;
    }
}

impl Message {
    /// Whether the body was on disk alone, and could not be read there.
    pub(crate) fn is_lost(&self) -> bool {
        self.flags & Self::LOST != 0
    }

    fn name(&self, slot: usize) -> Name {
        Name { slot: slot as u32, order: self.order as u32 }
    }

    fn weight(&self) -> usize {
        self.body.len() + OVERHEAD
    }

    /// Whether the body is on disk and can be fetched.
    fn is_away(&self) -> bool {
        self.flags & (Self::AWAY | Self::LOST) == Self::AWAY
    }
}

impl Messages<'_> {
    /// In borrowed memory there is no budget: what is fetched could find no room.
    pub(crate) fn set_body_budget(&mut self, bytes: usize) {
        self.bodies.budget = if self.bytes.is_owned() { bytes } else { 0 };
    }

    /// How many messages are without their bodies.
    pub(crate) fn away(&self) -> usize {
        self.bodies.away
    }

    /// Whether a delivery can't be transmitted before the body of its message is fetched.
    #[inline]
    pub(crate) fn lacks_body(&self, delivery: Handle<Delivery>) -> bool {
        self.bodies.away > 0 && self.deliveries[delivery].message.is_some_and(|message| self.pool[message].is_away())
    }

    /// Whether the body of a delivery is asked for.
    pub(crate) fn is_asked_for(&self, delivery: Handle<Delivery>) -> bool {
        let message = self.deliveries[delivery].message;
        message.is_some_and(|message| self.pool[message].flags & Message::ASKED != 0)
    }

    /// Whether the body is on disk alone.
    #[inline]
    pub(crate) fn is_away(&self, message: Handle<Message>) -> bool {
        self.bodies.away > 0 && self.pool[message].flags & Message::AWAY != 0
    }

    /// Whether there is a message in the slot whose body is on disk alone.
    pub(crate) fn is_away_at(&self, slot: u32) -> bool {
        let message = Handle::from_index(slot as usize);
        self.bodies.away > 0 && self.pool.is_live(message) && self.is_away(message)
    }

    /// The body stays in memory from now on, whatever the budget says; if it is not there it is fetched.
    pub(crate) fn pin(&mut self, message: Handle<Message>) {
        self.pool[message].flags |= Message::PINNED;
        self.want(message);
    }

    /// The body of `first` is wanted, and those of up to `most` behind it in its list that will be needed soon, as far as
    /// they will find room: what has to be given up before it is transmitted was read in vain.
    pub(crate) fn fetch_ahead(&mut self, first: Handle<Delivery>, most: u16) {
        let mut at = self.want_of(first);
        let start = self.bodies.coming;
        for _ in 0..most {
            let coming = self.bodies.coming;
            let has_room = coming < self.bodies.budget / 2 && coming.saturating_sub(start) < AHEAD;
            let Some(delivery) = at.filter(|_| has_room) else { return };
            at = self.want_of(delivery);
        }
    }

    /// Gives the delivery behind it.
    fn want_of(&mut self, delivery: Handle<Delivery>) -> Option<Handle<Delivery>> {
        if let Some(message) = self.deliveries[delivery].message {
            self.want(message);
        }
        self.deliveries[delivery].next()
    }

    /// The body is to be fetched, if it is not here.
    pub(crate) fn want(&mut self, message: Handle<Message>) {
        let entry = &mut self.pool[message];
        if entry.is_away() && entry.flags & Message::ASKED == 0 {
            entry.flags |= Message::ASKED;
            let weight = entry.weight();
            let name = entry.name(message.index());
            self.bodies.wanted.push_back(Fetch { name, weight: weight as u32 });
            self.bodies.coming += weight;
        }
    }

    /// The next body that is to be read from the store. Not everything at once: what comes has to find room.
    pub(crate) fn next_fetch(&mut self) -> Option<Fetch> {
        loop {
            let fetch = *self.bodies.wanted.front()?;
            let weight = fetch.weight as usize;
            let is_there = self.named(fetch.name).is_some();
            if is_there && self.bodies.asked > 0 && self.bodies.asked + weight > self.bodies.budget / 2 {
                return None;
            }
            self.bodies.wanted.pop_front();
            if is_there {
                self.bodies.asked += weight;
                return Some(fetch);
            }
            self.bodies.coming = self.bodies.coming.saturating_sub(weight);
        }
    }

    /// The store has answered. The message, if it is still there.
    pub(crate) fn answered(&mut self, fetch: Fetch) -> Option<Handle<Message>> {
        self.bodies.asked = self.bodies.asked.saturating_sub(fetch.weight as usize);
        self.bodies.coming = self.bodies.coming.saturating_sub(fetch.weight as usize);
        let message = self.named(fetch.name)?;
        let entry = &mut self.pool[message];
        if !entry.is_away() || entry.flags & Message::ASKED == 0 {
            return None;
        }
        entry.flags &= !Message::ASKED;
        self.bodies.has_arrived = true;
        Some(message)
    }

    /// The body of a message is in memory again.
    pub(crate) fn put_back(&mut self, message: Handle<Message>, body: &[u8]) {
        let Some(body) = self.bytes.store_beyond(body) else { return };
        let entry = &mut self.pool[message];
        entry.body = body;
        entry.flags &= !Message::AWAY;
        self.bodies.away -= 1;
        self.count(message);
    }

    /// The body of a message can't be read.
    pub(crate) fn lose(&mut self, message: Handle<Message>) {
        self.pool[message].flags |= Message::LOST;
    }

    /// Whether a body has come, or was found to be lost, since [`Messages::forget_arrival`].
    #[inline]
    pub(crate) fn has_arrived(&self) -> bool {
        self.bodies.has_arrived
    }

    pub(crate) fn forget_arrival(&mut self) {
        self.bodies.has_arrived = false;
    }

    /// A record of the message is in the batch that is being gathered.
    pub(crate) fn message_recorded(&mut self, message: Handle<Message>, batch: Batch) {
        let entry = &mut self.pool[message];
        // A Will has no place in the order yet, and is needed when its time comes.
        if self.bodies.budget == 0 || entry.order == 0 {
            return;
        }
        if entry.flags & Message::RECORDING != 0 {
            // Of two batches under way it would have to be known when the later one is safe.
            entry.flags |= Message::PINNED;
        }
        entry.flags |= Message::RECORDING;
        let name = entry.name(message.index());
        self.bodies.recording.push_back((batch, name));
    }

    /// Some batches are safe: so are the bodies in them.
    pub(crate) fn bodies_are_safe(&mut self) {
        while let Some((batch, name)) = self.bodies.recording.front().copied() {
            if self.journal.is_unsafe(batch.0) {
                return;
            }
            self.bodies.recording.pop_front();
            if let Some(message) = self.named(name) {
                self.pool[message].flags &= !Message::RECORDING;
                self.count(message);
            }
        }
    }

    /// The next body that has to be given up for the others to fit into the budget.
    pub(crate) fn surplus(&mut self) -> Option<Handle<Message>> {
        let mut passed_over = 0;
        while self.bodies.bytes > self.bodies.budget && passed_over < PASSED_OVER {
            let name = self.bodies.here.pop_front()?;
            let Some(message) = self.named(name).filter(|message| self.pool[*message].flags & Message::COUNTED != 0)
            else {
                continue;
            };
            if self.pool[message].flags & Message::PINNED != 0 {
                self.discount(message);
                continue;
            }
            if self.is_idle(message) {
                return Some(message);
            }
            self.bodies.here.push_back(name);
            passed_over += 1;
        }
        None
    }

    /// Only durable deliveries hold the message, and its latest record is safe.
    fn is_idle(&mut self, message: Handle<Message>) -> bool {
        let entry = self.pool[message];
        let is_safe =
            entry.flags & Message::RECORDING == 0 && self.journal.is_clean(Kind::Message, message.index() as u32);
        is_safe && entry.references == entry.durable
    }

    /// Gives the body of a [`surplus`](Self::surplus) message up.
    pub(crate) fn give_up_unless_pinned(&mut self, message: Handle<Message>) {
        self.discount(message);
        let entry = &mut self.pool[message];
        if entry.flags & Message::PINNED != 0 {
            return;
        }
        entry.flags |= Message::AWAY;
        let body = entry.body;
        entry.body = body.absent();
        self.bodies.away += 1;
        self.bytes.release(body);
    }

    /// The messages in these slots, and no others, are retained.
    pub(crate) fn expect_retained(&mut self, slots: impl Iterator<Item = u32>) {
        let bits = self.bodies.retained.get_or_insert_default();
        for slot in slots {
            let (word, bit) = (slot as usize / 64, slot % 64);
            if bits.len() <= word {
                bits.resize(word + 1, 0);
            }
            if let Some(word) = bits.get_mut(word) {
                *word |= 1 << bit;
            }
        }
    }

    pub(crate) fn forget_expected(&mut self) {
        self.bodies.retained = None;
    }

    /// Whether a body that is restored is left on disk.
    pub(crate) fn leaves_on_disk(&self, slot: usize, draft: &Message) -> bool {
        let may_be_retained = draft.flags & Message::RETAIN != 0
            && self
                .bodies
                .retained
                .as_ref()
                .is_none_or(|bits| bits.get(slot / 64).is_some_and(|word| word >> (slot % 64) & 1 != 0));
        let is_needed = may_be_retained || draft.order == 0;
        self.bodies.budget > 0 && self.bodies.bytes >= self.bodies.budget && !is_needed
    }

    /// As [`Messages::restore`], with a body of `len` bytes that is left on disk.
    pub(crate) fn restore_away(&mut self, slot: usize, draft: Message, len: usize) -> Option<Handle<Message>> {
        let body = Blob::absent_of(u32::try_from(len).ok()?);
        let flags = draft.flags | Message::AWAY;
        let message = self.pool.restore(slot, Message { body, references: 0, durable: 0, flags, ..draft })?;
        self.bodies.away += 1;
        Some(message)
    }

    /// A message was restored with its body.
    pub(crate) fn count_restored(&mut self, message: Handle<Message>) {
        if self.bodies.budget > 0 && self.pool[message].order > 0 {
            self.count(message);
        }
    }

    /// A message has gone for which something was noted here.
    #[cold]
    pub(crate) fn forget_body(&mut self, message: &Message) {
        if message.flags & Message::AWAY != 0 {
            self.bodies.away -= 1;
        }
        if message.flags & Message::COUNTED != 0 {
            self.bodies.discount(message);
        }
    }

    /// The body could be given up from now on.
    fn count(&mut self, message: Handle<Message>) {
        let entry = &mut self.pool[message];
        if entry.flags & Message::COUNTED != 0 {
            return;
        }
        entry.flags |= Message::COUNTED;
        let (name, weight) = (entry.name(message.index()), entry.weight());
        self.bodies.bytes += weight;
        self.bodies.counted += 1;
        self.bodies.here.push_back(name);
        if self.bodies.here.len() > 2 * self.bodies.counted + PASSED_OVER {
            let (pool, here) = (&self.pool, &mut self.bodies.here);
            here.retain(|name| {
                let message = Handle::from_index(name.slot as usize);
                pool.is_live(message) && pool[message].name(message.index()) == *name
            });
        }
    }

    fn discount(&mut self, message: Handle<Message>) {
        let entry = &mut self.pool[message];
        if entry.flags & Message::COUNTED != 0 {
            entry.flags &= !Message::COUNTED;
            let message = *entry;
            self.bodies.discount(&message);
        }
    }

    fn named(&self, name: Name) -> Option<Handle<Message>> {
        let message = Handle::from_index(name.slot as usize);
        let is_it = self.pool.is_live(message) && self.pool[message].name(message.index()) == name;
        is_it.then_some(message)
    }
}
