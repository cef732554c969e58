//! What the engine asks of its neighbours and tells them, and where their state stands beside its own.
//!
//! The rooms `shards/`, `durable/` and `paging/` know the engine. The engine knows each of them by a trait with methods on [`Engine`],
//! whose defaults are a broker without such a neighbour, and by the types that [`Neighbour`] names, into which it never looks. A
//! neighbour implements both in its own room. Without its feature `api/neighbours.rs` implements them, by nothing. So all is
//! resolved when the crate is compiled, and a neighbour that is not there costs nothing.
//!
//! [`Engine`]: crate::engine::Engine

pub(crate) mod bodies;
pub(crate) mod credit;
pub(crate) mod happenings;

use core::fmt::Debug;
use core::ops::Deref;

use crate::config::Config;
use crate::engine::router;
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

/// Which types of a neighbour stand in the engine's own, each in a field with the neighbour's name.
pub(crate) trait Neighbour {
    /// The whole broker.
    type OfBroker;
    /// One Session.
    type OfSession: Debug + Empty + MayLiveElsewhere;
    /// One Network Connection.
    type OfConnection: Debug + Empty;
    /// One message.
    type OfMessage: Copy + Debug + Empty + Stamp;
    /// The route of one message, as long as it is handed out.
    type OfRoute: Default + WantedElsewhere;
    /// What siblings were asked about a message that was handed out.
    type Asked: Copy + Default;
    /// A Topic Filter as it is kept here.
    type Filter: Deref<Target = str>;
    /// Which acknowledgement is withheld until siblings have answered.
    type Withheld: Copy + Debug + Eq;

    /// That of a broker with room for so many Topic Filters, whose memory is claimed where that of `bytes` is.
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

/// Which siblings want a message, and which of them have to record it.
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

    /// A sibling's subscription matches: `subscriber` and `options` as [`Siblings`](crate::engine::siblings::Siblings) made it.
    #[inline]
    fn add(&mut self, _subscriber: router::Subscriber, _options: router::SubscriptionOptions) {}
}

impl WantedElsewhere for Nothing {}
