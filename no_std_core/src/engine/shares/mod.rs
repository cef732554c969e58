//! What one client may hold below a ceiling on memory, so that a client that takes much leaves enough for clients that take little.
//!
//! Each limit of [`Limits`](crate::Limits) bounds one client, by the same number in a large process and in a small one. Below a ceiling a second
//! bound follows from the memory that is free: [`MemoryCeiling::share`](crate::MemoryCeiling::share). A client that holds little ([`ALWAYS`]) is never
//! beyond its share. Without a ceiling, and in borrowed memory, there is no second bound.

#[cfg_attr(not(feature = "alloc"), path = "no_ceiling.rs")]
mod ceiling;

pub(crate) use ceiling::LimitsInForce;

use crate::config::Limits;
use crate::engine::Engine;
use crate::engine::connections::Connection;
use crate::engine::sessions::Session;
use crate::mem::{Claim, Handle, OWNED};
use crate::topic::TopicFilter;

/// The bytes of filters, or of receipts, that a client may hold whatever its share is. They come from the reserve if need be.
const ALWAYS: usize = 4 << 10;
/// The bytes that a subscription takes beside the levels of its filter.
const SUBSCRIPTION: usize = 128;
/// The bytes that a level of a Topic Filter takes beside its text, if no other filter has that level.
const LEVEL: usize = 80;
/// The bytes of the receipt of a QoS 2 message that waits for its PUBREL.
const RECEIPT: usize = 48;
/// The bytes of a reply that is owed.
const REPLY: usize = 32;
/// How many replies each connection may be owed however short memory is. The places of these replies are kept free for the connection.
pub(crate) const REPLIES: usize = 4;

impl Engine<'_> {
    /// The limits, with the bounds of queues as they were a few messages ago. A caller that finds no room within these bounds asks
    /// [`Engine::fair_bound`] for the bounds of this moment.
    #[inline(always)]
    pub(crate) fn queue_limits(&self) -> &Limits {
        self.in_force.limits(&self.config.limits)
    }

    /// How many messages may be in flight to a client now: as many as it accepts at once, and fewer while memory is short. It is at least 1, so the
    /// client has something to acknowledge, and then the queue goes on.
    #[inline(always)]
    pub(crate) fn window_of(&self, connection: Handle<Connection>) -> u16 {
        let window = self.connections[connection].window;
        if OWNED && window > self.queue_limits().inflight { self.window_in_share(window) } else { window }
    }

    /// Whether a Session may have one more subscription, to this filter. All filters of the Session count as if each were as long as this filter.
    /// The subscription of a Session with few of them gets its memory from the reserve if need be.
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

    /// Whether one more QoS 2 message of a Session may wait for its PUBREL. If so, there is a place for the receipt of the message.
    pub(crate) fn has_room_for_receipt(&mut self, session: Handle<Session>) -> bool {
        self.receipts.has_room() && {
            let all = usize::from(self.sessions[session].inbound.count()).saturating_mul(RECEIPT);
            !OWNED || all <= ALWAYS || self.receipts.is_in_share(all)
        }
    }

    /// Whether there are places for so many more replies to a connection.
    ///
    /// Each connection has [`REPLIES`] places of its own from its beginning. Beyond these a connection may take places that no connection owns. If
    /// there are none, the packets of the client wait until it has taken some replies.
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

    /// Whether the replies that are owed take no more memory than may still be claimed for connections.
    fn replies_are_few(&self) -> bool {
        self.owed.len().saturating_mul(REPLY) <= self.owed.available_bytes()
    }

    /// How many places are needed in all for `count` more replies, with the places of their own of so many connections.
    fn places_to_owe(&self, count: usize, connections: usize) -> usize {
        let kept = connections.saturating_mul(REPLIES);
        self.owed.len().saturating_add(count).saturating_add(kept).min(self.owed.limit())
    }

    /// Whether there is memory for one more connection with its timer and the places for its replies.
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

    /// Whether there is memory for one more Session and its timer. A Session that is kept for an absent client may take neither the last `reserved`
    /// places nor the reserve of the memory.
    pub(crate) fn has_room_for_session(&mut self, is_kept: bool, reserved: usize) -> bool {
        if !OWNED {
            return self.sessions.has_room(reserved);
        }
        if self.has_ordinary_room_for_session(reserved) {
            return true;
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
