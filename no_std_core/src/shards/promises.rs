//! Filters that other shards know before the SUBSCRIBE is handled, and groups that a Session leaves before the
//! UNSUBSCRIBE is handled.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::engine::Engine;
use crate::engine::connections::Connection;
use crate::mem::{Handle, one_less, one_more};
use crate::topic::TopicFilter;

/// What other shards were told for packets that wait, by the generations of their connections. Each connection waits with
/// one packet.
#[derive(Debug, Default)]
pub(super) struct Promises {
    /// Filters that other shards were told of before the SUBSCRIBE with them is handled, by the connection's generation.
    filters: BTreeMap<u32, Vec<Box<str>>>,
    /// How often each filter is in `filters`.
    counts: BTreeMap<Box<str>, u32>,
    /// Groups on other shards that a waiting UNSUBSCRIBE has left.
    left: BTreeMap<u32, BTreeSet<Box<str>>>,
}

impl Promises {
    /// Notes a filter that other shards are told for the SUBSCRIBE with which a connection waits.
    pub(super) fn add(&mut self, generation: u32, filter: &str) {
        self.filters.entry(generation).or_default().push(filter.into());
        let count = self.counts.entry(filter.into()).or_default();
        *count = one_more(*count);
    }

    /// Whether a connection waits to subscribe to the filter.
    pub(super) fn is_promised(&self, filter: &str) -> bool {
        self.counts.contains_key(filter)
    }

    /// Notes a group that a connection has left; the connection waits with its UNSUBSCRIBE.
    pub(super) fn leave(&mut self, generation: u32, filter: &str) {
        self.left.entry(generation).or_default().insert(filter.into());
    }

    /// Whether the connection's waiting UNSUBSCRIBE has left this group. Forgets the group.
    pub(super) fn has_left(&mut self, generation: u32, filter: &str) -> bool {
        let Some(left) = self.left.get_mut(&generation) else { return false };
        let has_left = left.remove(filter);
        if left.is_empty() {
            self.left.remove(&generation);
        }
        has_left
    }

    /// The connection does not wait any more. Returns the filters for which no connection waits any more, each once.
    pub(super) fn end(&mut self, generation: u32) -> Vec<Box<str>> {
        self.left.remove(&generation);
        let mut filters = self.filters.remove(&generation).unwrap_or_default();
        filters.retain(|filter| {
            let Some(count) = self.counts.get_mut(filter) else { return false };
            *count = one_less(*count);
            let is_over = *count == 0;
            if is_over {
                self.counts.remove(filter);
            }
            is_over
        });
        filters
    }
}

impl Engine<'_> {
    /// Whether the UNSUBSCRIBE that is now handled left this group before it waited.
    pub(super) fn has_left(&mut self, handle: Handle<Connection>, filter: TopicFilter<'_>) -> bool {
        self.shards.promises.has_left(self.connections[handle].generation, filter.as_str())
    }

    /// A SUBSCRIBE that waited for other shards was handled, or will never be. The shards are told of each filter that
    /// has no subscriber after all.
    pub(super) fn end_promise(&mut self, handle: Handle<Connection>) {
        let generation = self.connections[handle].generation;
        for text in self.shards.promises.end(generation) {
            if let Ok(filter) = TopicFilter::new(&text) {
                self.withdraw_interest(filter);
            }
        }
    }
}
