//! Filters that siblings know before the SUBSCRIBE is taken, and groups that are left before the UNSUBSCRIBE is.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::engine::Engine;
use crate::engine::connections::Connection;
use crate::mem::{Handle, one_less, one_more};
use crate::topic::TopicFilter;

/// What connections were promised, by their generations. Each connection waits with one packet.
#[derive(Debug, Default)]
pub(super) struct Promises {
    /// Filters that siblings were told of for a SUBSCRIBE that waits.
    filters: BTreeMap<u32, Vec<Box<str>>>,
    /// How often each filter stands in `filters`.
    counts: BTreeMap<Box<str>, u32>,
    /// Groups of siblings that an UNSUBSCRIBE which waits has left.
    left: BTreeMap<u32, BTreeSet<Box<str>>>,
}

impl Promises {
    /// Siblings are told of a filter for the SUBSCRIBE that a connection waits with.
    pub(super) fn add(&mut self, generation: u32, filter: &str) {
        self.filters.entry(generation).or_default().push(filter.into());
        let count = self.counts.entry(filter.into()).or_default();
        *count = one_more(*count);
    }

    /// Whether some connection waits to subscribe to the filter.
    pub(super) fn is_promised(&self, filter: &str) -> bool {
        self.counts.contains_key(filter)
    }

    /// A connection leaves a group, and waits with its UNSUBSCRIBE.
    pub(super) fn leave(&mut self, generation: u32, filter: &str) {
        self.left.entry(generation).or_default().insert(filter.into());
    }

    /// Whether the connection has left this group, and has not been told so.
    pub(super) fn has_left(&mut self, generation: u32, filter: &str) -> bool {
        let Some(left) = self.left.get_mut(&generation) else { return false };
        let has_left = left.remove(filter);
        if left.is_empty() {
            self.left.remove(&generation);
        }
        has_left
    }

    /// The connection does not wait any more. Gives the filters for which no connection waits any more, each once.
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
    /// Whether the UNSUBSCRIBE that is taken now left this group before it waited.
    pub(super) fn has_left(&mut self, handle: Handle<Connection>, filter: TopicFilter<'_>) -> bool {
        self.shards.promises.has_left(self.connections[handle].generation, filter.as_str())
    }

    /// A SUBSCRIBE that waited for siblings was taken, or will never be: what they were told of, and nobody subscribes to
    /// after all, is taken back.
    pub(super) fn end_promise(&mut self, handle: Handle<Connection>) {
        let generation = self.connections[handle].generation;
        for text in self.shards.promises.end(generation) {
            if let Ok(filter) = TopicFilter::new(&text) {
                self.withdraw_interest(filter);
            }
        }
    }
}
