//! What the engine asks of sibling brokers, and tells them.

mod records;

pub(crate) use records::{SiblingRecords, TransitParts};

use crate::codec::{AckKind, Publish, QoS, Subscribe, Unsubscribe};
use crate::engine::connections::Connection;
use crate::engine::messages::{Delivery, Message};
use crate::engine::neighbour_state::{Neighbour, Shards};
use crate::engine::router::{Subscribed, Subscription};
use crate::engine::routing::{Routed, Routing, Terms};
use crate::engine::sessions::Session;
use crate::mem::Handle;
use crate::time::Instant;
use crate::topic::{TopicFilter, TopicName};

/// Sibling brokers, which together behave as one. A Session lives on one of them, and so does the group of a shared subscription.
pub(crate) trait Siblings {
    /// Whether there are sibling brokers.
    #[inline]
    fn has_siblings(&self) -> bool {
        false
    }

    // ---- Sessions and their subscriptions

    /// A Session was made.
    #[inline]
    fn session_was_made(&mut self, _session: Handle<Session>) {}

    /// The client of a Session is here from now on.
    #[inline]
    fn client_came(&mut self, _session: Handle<Session>) {}

    /// The client of a Session is away from now on.
    #[inline]
    fn client_went(&mut self, _session: Handle<Session>) {}

    /// How many Sessions here live on a sibling, and how many subscriptions they have.
    #[inline]
    fn count_elsewhere(&self) -> (usize, usize) {
        (0, 0)
    }

    /// Whether a Session is a member of groups that siblings own.
    #[inline]
    fn is_in_groups_elsewhere(&self, _session: Handle<Session>) -> bool {
        false
    }

    /// The filter under which a subscription is kept here, if a sibling owns its group. No topic matches it.
    #[inline]
    fn kept_filter(&self, _filter: TopicFilter<'_>) -> Option<<Shards as Neighbour>::Filter> {
        None
    }

    /// Turns a filter as it is kept back into what the client wrote, in place.
    #[inline]
    fn write_as_subscribed(_kept: &mut [u8]) {}

    /// Whether all siblings have heard of the first `count` filters of a SUBSCRIBE. If not, the connection is woken when they have.
    #[inline]
    fn siblings_know(
        &mut self,
        _now: Instant,
        _handle: Handle<Connection>,
        _session: Handle<Session>,
        _subscribe: &Subscribe<'_>,
        _count: usize,
    ) -> bool {
        true
    }

    /// A SUBSCRIBE was taken that may have waited for siblings, or a connection ends that may still wait with one.
    #[inline]
    fn end_waiting(&mut self, _handle: Handle<Connection>) {}

    /// A Session has subscribed to a filter that nobody had subscribed to here.
    #[inline]
    fn tell_first_subscription(&mut self, _session: Handle<Session>, _filter: TopicFilter<'_>, _qos: QoS) {}

    /// A Session has subscribed to a group that a sibling owns.
    #[inline]
    fn join_elsewhere(&mut self, _session: Handle<Session>, _filter: TopicFilter<'_>, _subscribed: Subscribed) {}

    /// Whether the owners of groups that the first `count` filters of an UNSUBSCRIBE leave have heard of it. If not, the connection
    /// is woken when they have.
    #[inline]
    fn siblings_let_go(
        &mut self,
        _handle: Handle<Connection>,
        _session: Handle<Session>,
        _unsubscribe: &Unsubscribe<'_>,
        _count: usize,
    ) -> bool {
        true
    }

    /// Whether the UNSUBSCRIBE that is taken now left this group before it waited.
    #[inline]
    fn left_before(&mut self, _handle: Handle<Connection>, _filter: TopicFilter<'_>) -> bool {
        false
    }

    /// The filter of a subscription that is about to end, as [`Siblings::tell_ended_subscription`] needs it.
    #[inline]
    fn filter_of_ending(&mut self, _subscription: Handle<Subscription>) -> Option<<Shards as Neighbour>::Filter> {
        None
    }

    /// A subscription has ended; `last`: nobody is subscribed to its filter here any more.
    #[inline]
    fn tell_ended_subscription(
        &mut self,
        _session: Handle<Session>,
        _subscription: Handle<Subscription>,
        _filter: &str,
        _last: bool,
    ) {
    }

    // ---- a PUBLISH before it is taken

    /// Whether another message may go to siblings. If not, the connection is woken when it may.
    #[inline]
    fn siblings_keep_up(&mut self, _handle: Handle<Connection>) -> bool {
        true
    }

    /// Whether it is known if siblings have room for a message whose publisher is to be refused otherwise. If not, they are asked, and
    /// the connection is woken when they have answered.
    #[inline]
    fn siblings_were_asked_for_room(&mut self, _handle: Handle<Connection>, _publish: &Publish<'_>) -> bool {
        true
    }

    /// Whether a sibling had no room for the message that is taken now.
    #[inline]
    fn take_refusal(&mut self, _handle: Handle<Connection>) -> bool {
        false
    }

    /// Whether siblings were asked, and have not refused, since the connection's message can't be recorded. Forgets that.
    fn take_agreement(&mut self, _handle: Handle<Connection>) -> bool {
        false
    }

    // ---- its route

    /// Adds the siblings that may want a message to this topic: all that want it, and seldom others. If it is retained, all.
    #[inline]
    fn add_wanted_elsewhere(
        &mut self,
        _topic: TopicName<'_>,
        _retain: bool,
        _wanted: &mut <Shards as Neighbour>::OfRoute,
    ) {
    }

    /// A client's message is about to be retained.
    #[inline]
    fn stamp_retained(&mut self, _message: Handle<Message>) {}

    /// Whether the topic has a retained message that is newer, or had one removed later, than `message`.
    #[inline]
    fn is_outdated(&mut self, _topic: TopicName<'_>, _message: Handle<Message>) -> bool {
        false
    }

    /// The retained message of a topic, with this stamp, has expired.
    #[inline]
    fn retained_has_expired(&mut self, _topic: TopicName<'_>, _stamp: u64) {}

    /// Hands a message to the siblings that want it, and asks them what becomes of it if its publisher hears of that.
    #[inline]
    fn hand_over(
        &mut self,
        _message: Handle<Message>,
        _routing: &Routing<'_>,
        _to: &<Shards as Neighbour>::OfRoute,
    ) -> <Shards as Neighbour>::Asked {
        Default::default()
    }

    /// The same with a message that nobody here gets, without storing it first; `None` if that can't be done.
    #[inline]
    fn pass_on(
        &mut self,
        _routing: &Routing<'_>,
        _to: &<Shards as Neighbour>::OfRoute,
    ) -> Option<<Shards as Neighbour>::Asked> {
        None
    }

    /// A message was handed out. Whether its publisher is to hear what siblings answer: then the reply that is queued next waits for it,
    /// see [`Siblings::await_answer`].
    #[inline]
    fn asks_siblings(
        &mut self,
        _handle: Handle<Connection>,
        _session: Handle<Session>,
        _reply: (u16, AckKind),
        _routed: Routed,
    ) -> bool {
        false
    }

    /// The reply that was just queued waits until siblings have answered.
    #[inline]
    fn await_answer(&mut self, _handle: Handle<Connection>, _asked: <Shards as Neighbour>::Asked) {}

    /// A QoS 2 message came again, and the reply to it was just queued. If the reply to the first one waits for siblings, this reply
    /// waits instead.
    #[inline]
    fn await_answer_again(&mut self, _handle: Handle<Connection>, _session: Handle<Session>, _packet_id: u16) {}

    // ---- deliveries

    /// A member that lives on a sibling gets a message.
    #[inline]
    fn deliver_elsewhere(
        &mut self,
        _member: Handle<Session>,
        _subscription: Handle<Subscription>,
        _message: Handle<Message>,
        _terms: Terms,
    ) {
    }

    /// A message that a Session was given through a sibling's group is for another member.
    #[inline]
    fn return_elsewhere(
        &mut self,
        _session: Handle<Session>,
        _subscription: Handle<Subscription>,
        _message: Handle<Message>,
    ) {
    }

    /// A delivery is over.
    #[inline]
    fn delivery_is_over(&mut self, _session: Handle<Session>, _delivery: Handle<Delivery>) {}

    /// Nothing is queued for a Session any more.
    #[inline]
    fn queue_is_empty(&mut self, _session: Handle<Session>) {}

    // ---- looking ahead

    /// Whether siblings have so many filters that [`Siblings::look_ahead_elsewhere`] is worth it.
    #[inline]
    fn filters_elsewhere_are_vast(&self) -> bool {
        false
    }

    /// Looks at what [`Siblings::add_wanted_elsewhere`] needs for these topics.
    #[inline]
    fn look_ahead_elsewhere(&self, _topics: &[&[u8]]) {}

    /// The most filters of siblings that a look-up can't tell apart.
    #[inline]
    fn longest_chain_elsewhere(&self) -> usize {
        0
    }

    // ---- after a restart

    /// Whether siblings may have restored subscribers that we have not heard of. Until we have, nothing is taken from clients: a message
    /// for these subscribers would be acknowledged, and reach nobody.
    #[inline]
    fn is_greeting(&self) -> bool {
        false
    }

    /// The same; if so the connection is woken when the greeting is over.
    #[inline]
    fn waits_for_greeting(&mut self, _handle: Handle<Connection>) -> bool {
        false
    }
}
