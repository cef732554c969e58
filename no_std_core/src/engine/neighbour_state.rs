//! The state of the engine's neighbours, kept beside the engine's own state.
//!
//! The engine's types have fields for the state that a neighbour keeps of the broker, a Session, a connection or a message. The traits here
//! name the types of these fields, and the engine never looks into them. A neighbour implements the traits in its own room.

use core::fmt::Debug;
use core::ops::Deref;

use crate::config::{Config, Limits, Shard};
use crate::mem::{Bytes, Hasher};

/// The value of unused memory.
pub(crate) trait Empty {
    const EMPTY: Self;
}

/// The state of a neighbour that is not there.
#[derive(Clone, Copy, Debug, Default)]
#[allow(dead_code, reason = "with all features no neighbour is missing")]
pub(crate) struct Nothing;

impl Empty for Nothing {
    const EMPTY: Self = Self;
}

impl Deref for Nothing {
    type Target = str;

    fn deref(&self) -> &str {
        ""
    }
}

/// The types of a neighbour's state, each for a field of the engine's types.
pub(crate) trait Neighbour {
    /// The state of the whole broker.
    type OfBroker;
    /// The state of one Session.
    type OfSession: Debug + Empty + MayLiveElsewhere;
    /// The state of one Network Connection.
    type OfConnection: Debug + Empty;
    /// The state of one message.
    type OfMessage: Copy + Debug + Empty + Stamp;
    /// The state of one replay of retained messages.
    type OfReplay: Debug + Empty;
    /// The route of one message while it is routed.
    type OfRoute: Default + WantedElsewhere;
    /// Which question other shards were asked about a routed message.
    type Asked: Copy + Default;
    /// A Topic Filter as it is stored here.
    type Filter: Deref<Target = str>;
    /// Which acknowledgement is withheld until other shards have answered.
    type Withheld: Copy + Debug + Eq;

    /// Bytes for each slot of [`Neighbour::filter_slots`].
    const FILTER_BYTES: usize;

    /// The most slots that Topic Filters of other shards take, if each shard has so many filters.
    fn filter_slots(shard: Shard, filters: usize) -> usize;

    /// The state of a broker with room for so many Topic Filters. Its memory is claimed where that of `bytes` is.
    fn of_broker(config: &Config<'_>, filters: usize, hasher: &Hasher, bytes: &Bytes<'_>) -> Self::OfBroker;
}

/// The state of the links to other shards, see [`Siblings`](crate::engine::siblings::Siblings).
pub(crate) enum Shards {}

/// A Session whose home is another shard, and which is known here as a member of groups only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Elsewhere {
    pub(crate) is_connected: bool,
    /// Whether the Session survives a restart.
    pub(crate) is_durable: bool,
    /// How many messages the Session was sent and has not acknowledged.
    pub(crate) outstanding: u32,
    /// The bytes of these messages. Each message that was acknowledged counts as one of average length.
    pub(crate) outstanding_bytes: u32,
    /// Whether the queue of the Session is full, on its home shard.
    pub(crate) is_full: bool,
}

impl Elsewhere {
    /// Whether the Session may be sent one more message of so many bytes. Its queue there is bounded by the same limits.
    pub(crate) fn has_room(&self, limits: &Limits, cost: u32) -> bool {
        !self.is_full
            && self.outstanding < limits.queued_messages
            && self.outstanding_bytes.saturating_add(cost) <= limits.queued_bytes
    }

    /// Whether more than half of what the Session may have is outstanding.
    pub(crate) fn is_half_full(&self, limits: &Limits) -> bool {
        self.outstanding > limits.queued_messages / 2 || self.outstanding_bytes > limits.queued_bytes / 2
    }

    /// The Session is sent a message of so many bytes.
    pub(crate) fn send(&mut self, cost: u32) {
        self.outstanding = self.outstanding.saturating_add(1);
        self.outstanding_bytes = self.outstanding_bytes.saturating_add(cost);
    }

    /// So many messages are not outstanding any more.
    pub(crate) fn settle(&mut self, count: u32) {
        let left = self.outstanding.saturating_sub(count);
        let average = self.outstanding_bytes.checked_div(self.outstanding).unwrap_or(0);
        self.outstanding_bytes =
            if left == 0 { 0 } else { self.outstanding_bytes.saturating_sub(average.saturating_mul(count)) };
        self.outstanding = left;
    }
}

/// State that may know that the home of a Session is another shard.
pub(crate) trait MayLiveElsewhere {
    /// `None` if the home of the Session is this shard.
    #[inline]
    fn elsewhere(&self) -> Option<&Elsewhere> {
        None
    }
}

impl MayLiveElsewhere for Nothing {}

/// Orders the retained messages that were published on one shard, whichever shards keep them.
pub(crate) trait Stamp: Sized {
    fn of(number: u64) -> Self;

    fn number(self) -> u64;
}

impl Stamp for Nothing {
    fn of(_number: u64) -> Self {
        Self
    }

    fn number(self) -> u64 {
        0
    }
}

/// Which other shards may want a message, and which of them may have to record it.
pub(crate) trait WantedElsewhere {
    /// Whether no other shard wants the message.
    #[inline]
    fn is_empty(&self) -> bool {
        true
    }

    /// Whether another shard has to record the message.
    #[inline]
    fn needs_record(&self) -> bool {
        false
    }
}

impl WantedElsewhere for Nothing {}

/// The state of paging, see [`Residency`](crate::engine::messages::Residency).
pub(crate) enum Paging {}

/// The types of paging's state in the engine's types.
pub(crate) trait PagingState {
    /// The state for all messages.
    type OfMessages: Debug + Default;
}

/// The state of the account, which has the credit that the store has granted, see [`Credit`](crate::engine::neighbours::credit::Credit).
pub(crate) enum Account {}

/// The types of the account's state in the engine's types.
pub(crate) trait CreditState {
    /// The account of the whole broker.
    type OfBroker: Debug + Default;
}

/// The state of the observer, see [`Observer`](crate::engine::neighbours::happenings::Observer).
pub(crate) enum Observers {}

/// The types of the observer's state in the engine's types.
pub(crate) trait ObserverState {
    /// The state of the whole broker.
    type OfBroker: Default;
}
