use std::string::ToString;
use std::vec::Vec;

use super::*;

/// Tables of different sizes, none of which divides another.
type Odd = crate::resources! {
    connections: 3,
    sessions: 7,
    subscriptions: 5,
    levels: 11,
    messages: 13,
    deliveries: 17,
    blocks: 19,
};

#[test]
fn the_size_of_resources_is_the_sum_of_their_tables() {
    type Tiny = crate::resources! {
        connections: 1,
        sessions: 1,
        subscriptions: 1,
        levels: 1,
        messages: 1,
        deliveries: 1,
        blocks: 1,
    };
    type Large = crate::resources! {
        connections: 64,
        sessions: 129,
        subscriptions: 1001,
        levels: 4097,
        messages: 333,
        deliveries: 2049,
        blocks: 555,
    };
    for (entries, size, bytes) in [
        (Tiny::ENTRIES, Tiny::SIZE, size_of::<Tiny>()),
        (Odd::ENTRIES, Odd::SIZE, size_of::<Odd>()),
        (Large::ENTRIES, Large::SIZE, size_of::<Large>()),
    ] {
        assert_eq!((entries.bytes(&EntryBytes::HERE), size), (bytes, bytes), "{entries:?}");
    }
}

#[test]
fn the_entries_of_a_budget_are_those_of_the_memory() {
    let mut resources = Odd::new();
    let memory = resources.memory().0;
    let router = &memory.router;
    let buckets = [
        memory.session_buckets.limit(),
        memory.receipt_buckets.limit(),
        memory.alias_buckets.limit(),
        router.node_buckets.limit(),
        router.subscription_buckets.limit(),
        router.group_buckets.limit(),
    ];
    let journal = &memory.journal;
    let marks = [
        journal.sessions.limit(),
        journal.groups.limit(),
        journal.subscriptions.limit(),
        journal.messages.limit(),
        journal.retained.limit(),
        journal.deliveries.limit(),
        journal.receipts.limit(),
    ];
    assert_eq!(memory.timers.limit(), memory.timer_heap.limit());
    let found = Entries {
        connections: memory.connections.limit(),
        sessions: memory.sessions.limit(),
        messages: memory.messages.limit(),
        deliveries: memory.deliveries.limit(),
        owed: memory.owed.limit(),
        receipts: memory.receipts.limit(),
        aliases: memory.aliases.limit(),
        replays: memory.replays.limit(),
        group_queues: memory.group_queues.limit(),
        timers: memory.timers.limit(),
        nodes: router.nodes.limit(),
        subscriptions: router.subscriptions.limit(),
        subscribers: router.subscribers.limit(),
        groups: router.groups.limit(),
        buckets: buckets.iter().sum(),
        bytes: 0,
        blobs: 0,
        blocks: (memory.bytes.limit() + router.texts.limit()) / 60,
        scratch: memory.scratch.limit(),
        marks: marks.iter().sum(),
        free_lists: 0,
        filters_elsewhere: 0,
    };
    assert_eq!(found, Odd::ENTRIES);
}

#[test]
fn the_error_for_too_large_resources_names_every_table() {
    let entries = <crate::resources! {
        connections: 2, sessions: 3, subscriptions: 4, levels: 5, messages: 6, deliveries: 7, blocks: 8
    }>::ENTRIES;
    let text = complaint(&entries, 12_345, 345);
    let lines: Vec<_> = text.as_str().lines().collect();
    assert_eq!(lines[0], "these Resources take 12345 bytes, 12000 more than the 345 that they may take:");
    assert_eq!(lines.len(), 1 + TABLES);
    assert!(lines.contains(&"  41 for 41 marks on what is durable"), "{lines:?}");
    let blocks = (12 * EntryBytes::HERE.block).to_string();
    assert!(lines.contains(&std::format!("  {blocks} for 12 blocks of bytes").as_str()), "{lines:?}");
}
