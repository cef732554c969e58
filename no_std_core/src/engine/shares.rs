//! What one client may hold below a ceiling on memory, so that one that takes much leaves enough for those that take little.
//!
//! Each limit of [`Limits`](crate::Limits) is a bound on one client that is the same in a large process and in a small one. Below a
//! ceiling there is a second one, which follows from what is free: [`MemoryCeiling::share`](crate::MemoryCeiling::share). Who holds only a little
//! ([`ALWAYS`]) is never beyond it. Without a ceiling, and in borrowed memory, there is no such bound.

use crate::config::Limits;
use crate::engine::Engine;
use crate::engine::connections::Connection;
use crate::engine::deliver::Bound;
use crate::engine::messages::{Message, Messages};
use crate::engine::sessions::{Outbound, Session};
use crate::mem::{Claim, Handle, OWNED};
use crate::topic::TopicFilter;

/// So many bytes of anything a client may hold whatever its share is, from the reserve if need be.
pub(crate) const ALWAYS: usize = 4 << 10;
/// So many messages wait for a client however short memory is, if they are no longer than that together.
const MESSAGES: usize = 2;
/// What a message in a queue takes beside its body: its places in the tables of messages, deliveries and bodies.
const QUEUED: usize = 192;
/// What a subscription takes beside its levels.
const SUBSCRIPTION: usize = 128;
/// What a level of a Topic Filter takes that no other filter has, beside its text.
const LEVEL: usize = 80;
/// What a QoS 2 message takes that waits for its PUBREL.
const RECEIPT: usize = 48;
/// After so many messages it is looked again how much is free.
#[cfg(feature = "alloc")]
const LOOKS: u64 = 16;
/// Memory for the next messages is looked for at once: for bodies of so many bytes, if each counts for so many more.
#[cfg(feature = "alloc")]
const AHEAD: usize = 32 << 10;
#[cfg(feature = "alloc")]
const AHEAD_EACH: usize = 1 << 10;
/// What a reply takes that is owed.
const REPLY: usize = 32;
/// Replies that a connection may be owed however short memory is: each one has places for so many.
pub(crate) const REPLIES: usize = 4;

impl Messages<'_> {
    /// What may wait in one queue: half of its share for bodies, and half for what they take beside.
    pub(crate) fn fair_bound(&self) -> Bound {
        let half = self.share() / 2;
        let least = if half > 0 { ALWAYS / QUEUED } else { MESSAGES };
        let (messages, bytes) = ((half / QUEUED).max(least), half.max(ALWAYS));
        let bounded = |number| u32::try_from(number).unwrap_or(u32::MAX);
        Bound { messages: bounded(messages), bytes: bounded(bytes) }
    }

    /// The same, but no less than what waits in `queue` now, for a policy that drops one message for another.
    pub(crate) fn fair_bound_for(&self, queue: &Outbound) -> Bound {
        let fair = self.fair_bound();
        let queued = u32::try_from(queue.queued()).unwrap_or(u32::MAX);
        Bound { messages: fair.messages.max(queued), bytes: fair.bytes.max(queue.queued_bytes()) }
    }

    /// A message is the retained one of its topic from now on.
    pub(crate) fn count_retained(&mut self, message: Handle<Message>) {
        #[cfg(feature = "alloc")]
        {
            self.retained_bytes = self.retained_bytes.saturating_add(kept(self.get(message).body.len()));
        }
        let _ = message;
    }

    /// It is so no more.
    pub(crate) fn discount_retained(&mut self, message: Handle<Message>) {
        #[cfg(feature = "alloc")]
        {
            self.retained_bytes = self.retained_bytes.saturating_sub(kept(self.get(message).body.len()));
        }
        let _ = message;
    }

    /// Whether there is memory below the ceiling for a message with a body of `len` bytes.
    #[cfg(feature = "alloc")]
    #[inline]
    pub(super) fn has_memory(&mut self, len: usize) -> bool {
        match self.ahead.checked_sub(len.saturating_add(AHEAD_EACH)) {
            Some(rest) => {
                self.ahead = rest;
                true
            }
            None => self.finds_memory(len),
        }
    }

    /// The same, for the next few too if there is so much.
    #[cfg(feature = "alloc")]
    #[inline(never)]
    fn finds_memory(&mut self, len: usize) -> bool {
        let (few, all) = (AHEAD / AHEAD_EACH, len.saturating_add(AHEAD));
        if self.pool.has_room(self.reserved.saturating_add(few)) && self.bytes.make_room(few, all, Claim::Share) {
            self.ahead = AHEAD;
            return true;
        }
        if self.pool.has_room(self.reserved) && self.bytes.has_room(len, Claim::Share) {
            return true;
        }
        // As memory gets short it is the queues that are: a message that is short itself is stored.
        len <= ALWAYS
            && self.pool.reserve(self.pool.len().saturating_add(1), Claim::Reserved)
            && self.bytes.has_room(len, Claim::Reserved)
    }

    fn share(&self) -> usize {
        #[cfg(feature = "alloc")]
        return self.bytes.account().map_or(usize::MAX, crate::mem::Account::share);
        #[cfg(not(feature = "alloc"))]
        usize::MAX
    }
}

/// What a stored message takes with a body of so many bytes.
#[cfg(feature = "alloc")]
fn kept(body: usize) -> usize {
    crate::mem::allocated(body.saturating_add(16)).saturating_add(QUEUED)
}

impl Engine<'_> {
    /// The limits with the bounds that queues have now, as they were a few messages ago: whoever finds no room looks again.
    #[inline]
    pub(crate) fn queue_limits(&self) -> &Limits {
        #[cfg(feature = "alloc")]
        return &self.limits_in_force;
        #[cfg(not(feature = "alloc"))]
        &self.config.limits
    }

    /// Another message is about to be handed out: now and then it is looked how much is free.
    #[inline]
    pub(crate) fn look_at_memory(&mut self) {
        #[cfg(feature = "alloc")]
        if self.routed >= self.looks_at_memory {
            self.look_at_memory_now();
        }
    }

    #[cfg(feature = "alloc")]
    #[cold]
    pub(crate) fn look_at_memory_now(&mut self) {
        let (limits, fair) = (self.config.limits, self.messages.fair_bound());
        let is_bounded = self.messages.bytes.account().is_some_and(crate::mem::Account::is_bounded);
        self.looks_at_memory = if is_bounded { self.routed.saturating_add(LOOKS) } else { u64::MAX };
        let (queued_messages, queued_bytes) =
            (limits.queued_messages.min(fair.messages), limits.queued_bytes.min(fair.bytes));
        if is_bounded {
            self.give_back_memory();
        }
        self.limits_in_force = Limits { queued_messages, queued_bytes, ..limits };
    }

    /// Tables that are empty and have been long give back what they take.
    #[cfg(feature = "alloc")]
    pub(crate) fn give_back_memory(&mut self) {
        self.messages.pool.give_back_if_empty();
        self.messages.deliveries.give_back_if_empty();
        self.messages.bytes.give_back_if_empty();
        self.receipts.pool.give_back_if_empty();
        self.aliases.give_back_if_empty();
        self.owed.give_back_if_empty();
        self.replays.give_back_if_empty();
        self.group_queues.give_back_if_empty();
    }

    /// Whether one more message with a body of `cost` bytes may be retained, in place of `replaces`: all of them together take no more
    /// than what is left for other messages, with what they take on each sibling.
    pub(crate) fn has_share_for_retained(&self, cost: u32, replaces: Option<Handle<Message>>) -> bool {
        #[cfg(feature = "alloc")]
        if let Some(account) = self.messages.bytes.account() {
            let of = |message: Handle<Message>| kept(self.messages.get(message).body.len());
            let (new, old) = (kept(cost as usize), replaces.map_or(0, of));
            let all = self.messages.retained_bytes.saturating_sub(old).saturating_add(new);
            let on_all_shards = all.saturating_mul(self.config.shard.count.into());
            return all <= ALWAYS || new <= old || account.is_within(account.available(), on_all_shards);
        }
        let _ = (cost, replaces);
        true
    }

    /// Whether a Session may have one more subscription, to this filter, as if all that it has were as long. There is memory for it then
    /// if it has few: also what is reserved.
    pub(crate) fn has_share_for_subscription(&mut self, session: Handle<Session>, filter: TopicFilter<'_>) -> bool {
        if !OWNED {
            return true;
        }
        let text = filter.as_str().len();
        let each = filter.levels().count().saturating_mul(LEVEL).saturating_add(SUBSCRIPTION).saturating_add(text);
        let all = (self.sessions[session].subscriptions as usize).saturating_add(1).saturating_mul(each);
        if all <= ALWAYS {
            let subscriber = self.subscriber_of(session);
            self.router.make_room(filter, subscriber, Claim::Reserved);
            return true;
        }
        self.router.is_in_share(all)
    }

    /// Whether one more QoS 2 message of a Session may wait for its PUBREL. There is a place for it then.
    pub(crate) fn has_room_for_receipt(&mut self, session: Handle<Session>) -> bool {
        self.receipts.has_room() && {
            let all = usize::from(self.sessions[session].inbound.count()).saturating_mul(RECEIPT);
            !OWNED || all <= ALWAYS || self.receipts.is_in_share(all)
        }
    }

    /// Whether there are places for so many more replies to a connection.
    ///
    /// Each connection has places for [`REPLIES`] of its own, from its beginning; beyond them it gets what is left, or waits until
    /// it has taken some.
    #[inline]
    pub(crate) fn may_owe(&mut self, handle: Handle<Connection>, count: usize) -> bool {
        let kept = self.connections.len().saturating_mul(REPLIES);
        !OWNED
            || self.connections[handle].owed.len().saturating_add(count) <= REPLIES
            || self.owed.len().saturating_add(count).saturating_add(kept) <= self.owed.places()
            || self.find_place_to_owe(count)
    }

    #[cold]
    fn find_place_to_owe(&mut self, count: usize) -> bool {
        let wanted = self.places_to_owe(count, self.connections.len());
        wanted <= self.owed.places() || (self.replies_are_few() && self.owed.reserve(wanted, Claim::Ordinary))
    }

    /// Whether all replies take no more than what is left for connections.
    fn replies_are_few(&self) -> bool {
        self.owed.len().saturating_mul(REPLY) <= self.owed.available_bytes()
    }

    /// How many places there have to be for so many more replies, beside those that each connection has of its own.
    fn places_to_owe(&self, count: usize, connections: usize) -> usize {
        let kept = connections.saturating_mul(REPLIES);
        self.owed.len().saturating_add(count).saturating_add(kept).min(self.owed.limit())
    }

    /// Whether there is memory for one more connection: its timer, and the replies that it has places for.
    pub(crate) fn has_room_for_connection(&mut self) -> bool {
        if !OWNED {
            return true;
        }
        let connections = self.connections.len().saturating_add(1);
        let replies = self.places_to_owe(0, connections);
        let claim = if self.replies_are_few() { Claim::Ordinary } else { Claim::Reserved };
        self.connections.has_room(0)
            && self.owed.reserve(replies, claim)
            && self.timers.reserve(self.sessions.len().saturating_add(connections), Claim::Ordinary)
    }

    /// Whether there is memory for one more Session and its timer. Sessions that are kept for absent clients leave the last `reserved`
    /// places alone, and the last of the memory.
    pub(crate) fn has_room_for_session(&mut self, is_kept: bool, reserved: usize) -> bool {
        if !OWNED || self.has_ordinary_room_for_session(reserved) {
            return OWNED || self.sessions.has_room(reserved);
        }
        let sessions = self.sessions.len().saturating_add(1);
        !is_kept
            && self.sessions.reserve(sessions, Claim::Reserved)
            && self.timers.reserve(sessions.saturating_add(self.connections.len()), Claim::Reserved)
    }

    fn has_ordinary_room_for_session(&mut self, reserved: usize) -> bool {
        let timers = self.sessions.len().saturating_add(1).saturating_add(self.connections.len());
        self.sessions.has_room(reserved) && self.timers.reserve(timers, Claim::Ordinary)
    }
}
