//! Where the state of the engine's neighbours stands beside its own.
//!
//! The types of the engine have fields for what a neighbour keeps of the broker, a Session, a connection or a message. The traits here name the
//! types of these fields, and the engine never looks into them. A neighbour implements the traits in its own room.

use core::fmt::Debug;
use core::ops::Deref;

use crate::config::{Config, Shard};
use crate::mem::{Bytes, Hasher};

/// A value that fills unused memory.
pub(crate) trait Empty {
    const EMPTY: Self;
}

/// What stands beside the engine's state where there is no neighbour.
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

/// Which types of a neighbour stand in the types of the engine, each in a field with the neighbour's name.
pub(crate) trait Neighbour {
    /// State of the whole broker.
    type OfBroker;
    /// State of one Session.
    type OfSession: Debug + Empty + MayLiveElsewhere;
    /// State of one Network Connection.
    type OfConnection: Debug + Empty;
    /// State of one message.
    type OfMessage: Copy + Debug + Empty + Stamp;
    /// The route of one message, as long as it is handed out.
    type OfRoute: Default + WantedElsewhere;
    /// What siblings were asked about a message that was handed out.
    type Asked: Copy + Default;
    /// A Topic Filter as it is kept here.
    type Filter: Deref<Target = str>;
    /// Which acknowledgement is withheld until siblings have answered.
    type Withheld: Copy + Debug + Eq;

    /// Bytes for each slot of [`Neighbour::filter_slots`].
    const FILTER_BYTES: usize;

    /// How many slots Topic Filters of siblings take at most, each of which has so many filters.
    fn filter_slots(shard: Shard, filters: usize) -> usize;

    /// The state of a broker with room for so many Topic Filters. Its memory is claimed where that of `bytes` is.
    fn of_broker(config: &Config<'_>, filters: usize, hasher: &Hasher, bytes: &Bytes<'_>) -> Self::OfBroker;
}

/// The links to sibling brokers: the state of [`Siblings`](crate::engine::siblings::Siblings).
pub(crate) enum Shards {}

/// A Session that lives on a sibling, and is here as a member of groups only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Elsewhere {
    pub(crate) is_connected: bool,
    /// It survives a restart.
    pub(crate) is_durable: bool,
    /// Messages it was given and has not acknowledged.
    pub(crate) outstanding: u32,
    /// Its queue is full there.
    pub(crate) is_full: bool,
}

/// What may know that a Session lives on a sibling.
pub(crate) trait MayLiveElsewhere {
    /// `None` if the Session lives here.
    #[inline]
    fn elsewhere(&self) -> Option<&Elsewhere> {
        None
    }
}

impl MayLiveElsewhere for Nothing {}

/// What orders the retained messages of one topic among siblings: the greater number stays.
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

/// Which siblings may want a message, and which of them may have to record it.
pub(crate) trait WantedElsewhere {
    /// Whether no sibling wants it.
    #[inline]
    fn is_empty(&self) -> bool {
        true
    }

    /// Whether some sibling has to record it.
    #[inline]
    fn needs_record(&self) -> bool {
        false
    }
}

impl WantedElsewhere for Nothing {}

/// Bodies in the store: the state of [`Residency`](crate::engine::messages::Residency).
pub(crate) enum Paging {}

/// Which types of paging stand in the types of the engine.
pub(crate) trait PagingState {
    /// What paging keeps for all messages.
    type OfMessages: Debug + Default;
}

/// The account of the credit that the store has granted: the state of [`Credit`](crate::engine::neighbours::credit::Credit).
pub(crate) enum Account {}

/// Which types of the account stand in the types of the engine.
pub(crate) trait CreditState {
    /// The account of the whole broker.
    type OfBroker: Debug + Default;
}

/// Who observes what happens: the state of [`Observer`](crate::engine::neighbours::happenings::Observer).
pub(crate) enum Observers {}

/// Which types of the observer stand in the types of the engine.
pub(crate) trait ObserverState {
    /// The state of the whole broker.
    type OfBroker: Default;
}
