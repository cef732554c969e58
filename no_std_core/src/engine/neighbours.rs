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

use core::fmt::Debug;

use crate::engine::deliver::Terms;
use crate::engine::messages::Message;
use crate::engine::router::Subscription;
use crate::engine::sessions::Session;
use crate::mem::Handle;

/// A value that fills unused memory.
pub(crate) trait Empty {
    const EMPTY: Self;
}

impl Empty for () {
    const EMPTY: Self = ();
}

/// Which types of a neighbour stand in the engine's own, each in a field with the neighbour's name.
pub(crate) trait Neighbour {
    /// One Session.
    type OfSession: Debug + Empty + MayLiveElsewhere;
}

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

impl MayLiveElsewhere for () {}

/// The links to sibling brokers: the state of [`Siblings`].
pub(crate) enum Shards {}

/// Sibling brokers, which together behave as one.
pub(crate) trait Siblings {
    /// A Session was made.
    #[inline]
    fn session_was_made(&mut self, _session: Handle<Session>) {}

    /// The client of a Session is here from now on.
    #[inline]
    fn client_came(&mut self, _session: Handle<Session>) {}

    /// The client of a Session is away from now on.
    #[inline]
    fn client_went(&mut self, _session: Handle<Session>) {}

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

    /// Whether a Session is a member of groups that siblings own.
    #[inline]
    fn is_in_groups_elsewhere(&self, _session: Handle<Session>) -> bool {
        false
    }
}
