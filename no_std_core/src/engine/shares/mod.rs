//! What one client may hold below a ceiling on memory, so that one that takes much leaves enough for those that take little.
//!
//! Each limit of [`Limits`](crate::Limits) is a bound on one client that is the same in a large process and in a small one. Below a
//! ceiling there is a second one, which follows from what is free: [`MemoryCeiling::share`](crate::MemoryCeiling::share). Who holds only a little
//! ([`ALWAYS`]) is never beyond it. Without a ceiling, and in borrowed memory, there is no such bound.

#[cfg_attr(feature = "alloc", path = "owned.rs")]
#[cfg_attr(not(feature = "alloc"), path = "borrowed.rs")]
mod memory;

pub(crate) use memory::{LimitsInForce, MessageShares};

use crate::config::Limits;
use crate::engine::Engine;
use crate::engine::connections::Connection;
use crate::engine::sessions::Session;
use crate::mem::{Claim, Handle, OWNED};
use crate::topic::TopicFilter;

/// So many bytes of anything a client may hold whatever its share is, from the reserve if need be.
pub(crate) const ALWAYS: usize = 4 << 10;
/// What a subscription takes beside its levels.
const SUBSCRIPTION: usize = 128;
/// What a level of a Topic Filter takes that no other filter has, beside its text.
const LEVEL: usize = 80;
/// What a QoS 2 message takes that waits for its PUBREL.
const RECEIPT: usize = 48;
/// What a reply takes that is owed.
const REPLY: usize = 32;
/// Replies that a connection may be owed however short memory is: each one has places for so many.
pub(crate) const REPLIES: usize = 4;

impl Engine<'_> {
    /// The limits with the bounds that queues have now, as they were a few messages ago: whoever finds no room looks again.
    #[inline(always)]
    pub(crate) fn queue_limits(&self) -> &Limits {
        self.in_force.limits(&self.config.limits)
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
