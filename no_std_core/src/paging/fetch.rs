//! A body that is to be read from the store, and the message that it belongs to.

use crate::durable::record::{Key, Kind};

/// A body that is to be read from the store; see [`Broker::poll_fetch`](crate::Broker::poll_fetch).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    pub(super) name: Name,
    /// How many bytes the body counts towards the budget.
    pub(super) weight: u32,
}

impl Fetch {
    /// The key of the record that holds the body.
    pub fn key(&self) -> Key {
        Key { kind: Kind::Message, slot: self.name.slot }
    }
}

/// Names a message, told apart from those that had its slot before or will have it later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) slot: u32,
    /// The lower half of the message's order.
    pub(super) order: u32,
}
