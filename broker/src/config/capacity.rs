//! `[capacity]`: limits of the tables of each shard.
//!
//! All tables share the ceiling on memory, which bounds them together. So a table needs no limit of its own. Where none is configured the limit is what
//! the ceiling grants to one use that is alone: no table reaches its limit before the ceiling refuses memory.

use goldcrest_core::{Capacity, Entries, EntryBytes, MemoryCeiling, MemoryUse};

/// Limits of the tables of each shard. `None`: as many as the ceiling on memory has room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapacityLimits {
    /// Network Connections. A connection beyond them is closed at once.
    pub connections: Option<usize>,
    /// Sessions, connected or not.
    pub sessions: Option<usize>,
    /// Subscriptions of all Sessions.
    pub subscriptions: Option<usize>,
    /// Levels of all Topic Filters and retained topics.
    pub topic_levels: Option<usize>,
    /// Stored Application Messages.
    pub messages: Option<usize>,
    /// Messages on their way to Sessions.
    pub deliveries: Option<usize>,
    /// Bytes of topics, properties and payloads.
    pub bytes: Option<usize>,
}

/// The most entries of a table: the least power of two that is less than what a handle can count, in debug builds too.
const MOST: usize = 1 << 30;

impl CapacityLimits {
    /// The limits of all tables, below a ceiling of `max` bytes.
    pub(crate) fn below(&self, max: u64) -> Capacity {
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        let most = MemoryCeiling::new(max).available(MemoryUse::Sessions);
        let fitting = |entries: Entries| {
            let bytes: usize = entries.tables(&EntryBytes::HERE).iter().map(|table| table.bytes()).sum();
            (most / bytes.max(1)).clamp(1, MOST)
        };
        let none = Entries::default();
        Capacity {
            connections: self.connections.unwrap_or_else(|| fitting(Entries { connections: 1, timers: 1, ..none })),
            sessions: self.sessions.unwrap_or_else(|| fitting(Entries { sessions: 1, timers: 1, ..none })),
            subscriptions: self.subscriptions.unwrap_or_else(|| fitting(Entries { subscriptions: 1, ..none })),
            topic_levels: self.topic_levels.unwrap_or_else(|| fitting(Entries { nodes: 1, ..none })),
            messages: self.messages.unwrap_or_else(|| fitting(Entries { messages: 1, ..none })),
            deliveries: self.deliveries.unwrap_or_else(|| fitting(Entries { deliveries: 1, ..none })),
            bytes: self.bytes.unwrap_or(most),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goldcrest_core::{Limits, Shard};

    /// The tables that `[capacity]` limits by itself. The others have a number of entries for each connection, Session or subscription.
    const OWN: [&str; 7] =
        ["connections", "sessions", "subscriptions", "topic levels", "messages", "deliveries", "their bytes"];

    #[test]
    fn no_table_alone_takes_more_than_the_ceiling_and_none_is_smaller_than_need_be() {
        for mib in [16, 32, 256, 12_000, 90_000_u64] {
            let max = mib << 20;
            let capacity = CapacityLimits::default().below(max);
            let entries = Entries::of_owned(&capacity, &Limits::GATEWAY, Shard::ONLY);
            for table in entries.tables(&EntryBytes::HERE).iter().filter(|table| OWN.contains(&table.name)) {
                // The bytes of bodies and those of texts have a limit each.
                let bytes = if table.name == "their bytes" { table.bytes() / 2 } else { table.bytes() };
                assert!(bytes as u64 <= max + table.entry_bytes as u64, "{mib} MiB: {table:?}");
                assert!(bytes as u64 >= max / 4 || table.entries >= MOST, "{mib} MiB: {table:?}");
            }
        }
    }

    #[test]
    fn a_limit_that_is_configured_holds_and_the_others_follow_from_the_ceiling() {
        let limits = CapacityLimits { sessions: Some(5), ..CapacityLimits::default() };
        let (small, large) = (limits.below(32 << 20), limits.below(64 << 20));
        assert_eq!((small.sessions, large.sessions), (5, 5));
        assert_eq!((small.bytes, large.bytes), ((32 << 20) * 2 / 3, (64 << 20) * 2 / 3));
        assert!(large.messages >= 2 * small.messages && large.connections >= 2 * small.connections);
    }
}
