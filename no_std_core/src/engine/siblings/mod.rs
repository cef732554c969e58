//! What the engine asks and tells the other shards of its gateway, its siblings.

mod records;

pub(crate) use records::{SiblingRecords, TransitParts};

use crate::codec::{AckKind, Publish, QoS, Subscribe, Unsubscribe};
use crate::engine::connections::Connection;
use crate::engine::messages::{Delivery, Message};
use crate::engine::neighbour_state::{Neighbour, Shards};
use crate::engine::router::{Subscribed, Subscription};
use crate::engine::routing::{Routed, Routing, Terms};
use crate::engine::sessions::{Replay, Replayed, Session};
use crate::mem::Handle;
use crate::time::Instant;
use crate::topic::{TopicFilter, TopicName};

/// The other shards of a gateway, which together behave as one broker. Each Session, and each group of a shared subscription, has its
/// home on one shard.
pub(crate) trait Siblings {
    /// Whether there are other shards.
    #[inline]
    fn has_siblings(&self) -> bool {
        false
    }

    // ---- Sessions and their subscriptions

    /// A Session was made.
    #[inline]
    fn session_was_made(&mut self, _session: Handle<Session>) {}

    /// The client of a Session has connected.
    #[inline]
    fn client_came(&mut self, _session: Handle<Session>) {}

    /// The client of a Session has disconnected.
    #[inline]
    fn client_went(&mut self, _session: Handle<Session>) {}

    /// How many Sessions here have their home on another shard, and how many subscriptions these have.
    #[inline]
    fn count_elsewhere(&self) -> (usize, usize) {
        (0, 0)
    }

    /// Whether a Session is a member of groups whose home is another shard.
    #[inline]
    fn is_in_groups_elsewhere(&self, _session: Handle<Session>) -> bool {
        false
    }

    /// The filter under which a subscription is stored here, if the home of its group is another shard. No topic matches this filter.
    #[inline]
    fn kept_filter(&self, _filter: TopicFilter<'_>) -> Option<<Shards as Neighbour>::Filter> {
        None
    }

    /// Turns a stored filter back into the text that the client wrote, in place.
    #[inline]
    fn write_as_subscribed(_kept: &mut [u8]) {}

    /// Whether all other shards know the first `count` filters of a SUBSCRIBE. If not, the connection is woken when they do.
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

    /// A SUBSCRIBE that may have waited for other shards was handled, or a connection ends that may still wait with one.
    #[inline]
    fn end_waiting(&mut self, _handle: Handle<Connection>) {}

    /// A Session has subscribed to a filter that had no subscriber on this shard.
    #[inline]
    fn tell_first_subscription(&mut self, _session: Handle<Session>, _filter: TopicFilter<'_>, _qos: QoS) {}

    /// A Session has subscribed to a group whose home is another shard.
    #[inline]
    fn join_elsewhere(&mut self, _session: Handle<Session>, _filter: TopicFilter<'_>, _subscribed: Subscribed) {}

    /// Ends what the first `count` filters of an UNSUBSCRIBE name in groups whose home is another shard. Returns whether these shards know: after
    /// UNSUBACK they must send nothing. If they don't know yet, the connection is woken when they do.
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

    /// Whether the UNSUBSCRIBE that is now handled left this group before it waited.
    #[inline]
    fn left_before(&mut self, _handle: Handle<Connection>, _filter: TopicFilter<'_>) -> bool {
        false
    }

    /// The filter of a subscription that is about to end, in the form for [`Siblings::tell_ended_subscription`].
    #[inline]
    fn filter_of_ending(&mut self, _subscription: Handle<Subscription>) -> Option<<Shards as Neighbour>::Filter> {
        None
    }

    /// A subscription has ended. `last` says that its filter has no subscriber on this shard any more.
    #[inline]
    fn tell_ended_subscription(
        &mut self,
        _session: Handle<Session>,
        _subscription: Handle<Subscription>,
        _filter: &str,
        _last: bool,
    ) {
    }

    // ---- a PUBLISH before it is accepted

    /// Whether another message may be sent to other shards. If not, the connection is woken when it may.
    #[inline]
    fn siblings_keep_up(&mut self, _handle: Handle<Connection>) -> bool {
        true
    }

    /// Whether it is known if the other shards have room for a message. This matters if the publisher is refused when they have none. If
    /// it is not known, the shards are asked, and the connection is woken when they have answered.
    #[inline]
    fn siblings_were_asked_for_room(&mut self, _handle: Handle<Connection>, _publish: &Publish<'_>) -> bool {
        true
    }

    /// Whether another shard had no room for the message that is now handled. Forgets the answer.
    #[inline]
    fn take_refusal(&mut self, _handle: Handle<Connection>) -> bool {
        false
    }

    /// Whether other shards were asked whether they have to record the connection's message, which can't be recorded here, and none has to.
    /// Forgets the answers.
    fn take_agreement(&mut self, _handle: Handle<Connection>) -> bool {
        false
    }

    // ---- the route of a message

    /// Whether this shard keeps the retained message of a topic.
    #[inline(always)]
    fn keeps_retained(&self, _topic: TopicName<'_>) -> bool {
        true
    }

    /// How many messages of clients other shards retain, as far as they have told.
    #[inline]
    fn retained_elsewhere(&self) -> usize {
        0
    }

    /// Another message is retained, or one less.
    #[inline]
    fn retained_count_changed(&mut self) {}

    /// Adds the other shards that may want a message to this topic: all that want it, and seldom others. If the message is to be retained,
    /// also the shard that keeps it.
    #[inline]
    fn add_wanted_elsewhere(
        &mut self,
        _topic: TopicName<'_>,
        _retain: bool,
        _wanted: &mut <Shards as Neighbour>::OfRoute,
    ) {
    }

    /// A message was published here that is to be retained, on this shard or on another one: gives it a stamp.
    #[inline]
    fn stamp_retained(&mut self, _routing: &mut Routing<'_>) {}

    /// Sends a message to the other shards that want it. If its publisher is to be told its fate, asks these shards.
    #[inline]
    fn hand_over(
        &mut self,
        _message: Handle<Message>,
        _routing: &Routing<'_>,
        _to: &<Shards as Neighbour>::OfRoute,
    ) -> <Shards as Neighbour>::Asked {
        Default::default()
    }

    /// As [`Siblings::hand_over`], for a message without subscribers here, which is not stored first. `None` if that can't be done.
    #[inline]
    fn pass_on(
        &mut self,
        _routing: &Routing<'_>,
        _to: &<Shards as Neighbour>::OfRoute,
    ) -> Option<<Shards as Neighbour>::Asked> {
        None
    }

    /// A message was routed. Returns whether its publisher is to be told the answers of other shards: then the reply that is queued next
    /// waits for them, see [`Siblings::await_answer`].
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

    /// Makes the reply that was just queued wait until other shards have answered.
    #[inline]
    fn await_answer(&mut self, _handle: Handle<Connection>, _asked: <Shards as Neighbour>::Asked) {}

    /// A QoS 2 message has come again, and the reply to it was just queued. If the reply to the first one waits for other shards, the
    /// new reply waits in its place.
    #[inline]
    fn await_answer_again(&mut self, _handle: Handle<Connection>, _session: Handle<Session>, _packet_id: u16) {}

    // ---- deliveries

    /// Sends a message to a member whose home is another shard.
    #[inline]
    fn deliver_elsewhere(
        &mut self,
        _member: Handle<Session>,
        _subscription: Handle<Subscription>,
        _message: Handle<Message>,
        _terms: Terms,
    ) {
    }

    /// A Session got a message from a group whose home is another shard, and another member is to get the message.
    #[inline]
    fn return_elsewhere(
        &mut self,
        _session: Handle<Session>,
        _subscription: Handle<Subscription>,
        _message: Handle<Message>,
    ) {
    }

    /// A delivery has ended.
    #[inline]
    fn delivery_is_over(&mut self, _session: Handle<Session>, _delivery: Handle<Delivery>) {}

    /// The queue of a Session has become empty.
    #[inline]
    fn queue_is_empty(&mut self, _session: Handle<Session>) {}

    // ---- replays of retained messages

    /// Whether other shards may have retained messages that match a filter.
    #[inline(always)]
    fn may_be_retained_elsewhere(&self, _filter: TopicFilter<'_>) -> bool {
        false
    }

    /// A replay for a Session here was made.
    #[inline]
    fn replay_was_made(&mut self, _session: Handle<Session>, _replay: Handle<Replay>, _filter: TopicFilter<'_>) {}

    /// The client has subscribed once more while the replay is going on.
    #[inline]
    fn replay_is_renewed(&mut self, _replay: Handle<Replay>) {}

    /// A replay begins anew.
    #[inline]
    fn replay_is_repeated(&mut self, _replay: Handle<Replay>) {}

    /// A replay has ended, or is about to end before it has sent all.
    #[inline]
    fn replay_has_ended(&mut self, _replay: Handle<Replay>) {}

    /// A replay has sent the retained messages of this shard: sends the next one of the other shards, if there is one and room for it.
    /// [`Replayed::Over`] after the last one.
    #[inline(always)]
    fn replay_from_siblings(
        &mut self,
        _now: Instant,
        _session: Handle<Session>,
        _replay: Handle<Replay>,
        _subscription: Handle<Subscription>,
        _window: u16,
    ) -> Replayed {
        Replayed::Over
    }

    // ---- looking ahead

    /// Whether other shards have so many filters that [`Siblings::look_ahead_elsewhere`] is worth its cost.
    #[inline]
    fn filters_elsewhere_are_vast(&self) -> bool {
        false
    }

    /// Loads the memory that [`Siblings::add_wanted_elsewhere`] needs for these topics.
    #[inline]
    fn look_ahead_elsewhere(&self, _topics: &[&[u8]]) {}

    /// The most filters of other shards that a look-up can't tell apart.
    #[inline]
    fn longest_chain_elsewhere(&self) -> usize {
        0
    }

    // ---- after a restart

    /// Whether other shards may have restored subscribers that this shard does not know yet. Until it knows them, it reads no packets of
    /// clients: a message for these subscribers would be acknowledged, and reach nobody.
    #[inline]
    fn is_greeting(&self) -> bool {
        false
    }

    /// As [`Siblings::is_greeting`]. If so, the connection is woken when the greeting is over.
    #[inline]
    fn waits_for_greeting(&mut self, _handle: Handle<Connection>) -> bool {
        false
    }
}
