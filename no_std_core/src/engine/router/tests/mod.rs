//! The router compared with naive models, on both kinds of memory.

mod limits;
mod model;
#[cfg(feature = "shared-subscriptions")]
mod shared;

use std::string::String;
use std::vec::Vec;

use super::*;
use crate::mem::Block;
use crate::topic::{TopicFilter, TopicName};

/// How many entries each table in [`with_router`] has.
#[derive(Clone, Copy)]
struct Room {
    /// The root is not counted.
    nodes: usize,
    subscriptions: usize,
    subscribers: usize,
    groups: usize,
    /// The number of blocks of 60 bytes.
    texts: usize,
}

const PLENTY: Room = Room { nodes: 2_000, subscriptions: 1_000, subscribers: 50, groups: 100, texts: 1_000 };

/// Runs `test` on a router in borrowed memory and, with the feature `alloc`, on a router that owns its memory.
fn with_router(room: Room, mut test: impl FnMut(Router<'_>)) {
    // The number of buckets is odd and less than that of entries, which must work as well as any number.
    let mut nodes = std::vec![PoolSlot::vacant(Node::EMPTY); room.nodes + 1];
    let mut node_buckets = std::vec![None; room.nodes / 3];
    let mut subscriptions = std::vec![PoolSlot::vacant(Subscription::EMPTY); room.subscriptions];
    let mut subscription_buckets = std::vec![None; room.subscriptions / 2];
    let mut subscribers = std::vec![SubscriberSlot::EMPTY; room.subscribers];
    let mut groups = std::vec![PoolSlot::vacant(Group::EMPTY); room.groups];
    let mut blocks = std::vec![Block::EMPTY; room.texts];
    let memory = RouterMemory {
        nodes: Slots::borrowed(&mut nodes),
        node_buckets: Slots::borrowed(&mut node_buckets),
        subscriptions: Slots::borrowed(&mut subscriptions),
        subscription_buckets: Slots::borrowed(&mut subscription_buckets),
        subscribers: Slots::borrowed(&mut subscribers),
        groups: Slots::borrowed(&mut groups),
        group_buckets: Slots::borrowed(&mut []),
        texts: Bytes::borrowed(&mut blocks),
    };
    test(Router::new(memory, Hasher::new(1)));
    #[cfg(feature = "alloc")]
    test(Router::new(
        RouterMemory::owned(RouterLimits {
            nodes: room.nodes,
            subscriptions: room.subscriptions,
            subscribers: room.subscribers,
            groups: room.groups,
            text_bytes: room.texts * 60,
        }),
        Hasher::new(2),
    ));
}

fn filter(text: &str) -> TopicFilter<'_> {
    TopicFilter::new(text).unwrap()
}

fn topic(text: &str) -> TopicName<'_> {
    TopicName::new(text).unwrap()
}

fn subscribe(router: &mut Router<'_>, text: &str, subscriber: u32) -> Result<Subscribed, RouterFull> {
    router.subscribe(filter(text), Subscriber(subscriber), SubscriptionOptions::default(), 0)
}

fn all_matches(router: &Router<'_>, name: &str) -> Vec<Match> {
    let mut matches = router.matches(topic(name));
    core::iter::from_fn(|| matches.next(router)).collect()
}

fn all_retained(router: &Router<'_>, text: &str) -> Vec<u32> {
    let mut matches = router.retained(filter(text));
    let mut found: Vec<_> = core::iter::from_fn(|| matches.next(router)).map(|found| found.0.index() as u32).collect();
    found.sort_unstable();
    found
}

fn retained(number: u32) -> Retained {
    Retained(Handle::from_index(number as usize))
}

/// The counts of all entries that take up memory.
fn counts(router: &Router<'_>) -> [usize; 5] {
    [
        router.node_count(),
        router.subscription_count(),
        router.group_count(),
        router.retained_count(),
        router.text_bytes(),
    ]
}

/// All texts of `depth` levels, each of which is one of `parts`.
fn products(parts: &[&str], depth: usize) -> Vec<String> {
    let mut texts = std::vec![String::new()];
    for level in 0..depth {
        texts = texts
            .iter()
            .flat_map(|text| {
                parts.iter().map(move |part| if level == 0 { (*part).into() } else { std::format!("{text}/{part}") })
            })
            .collect();
    }
    texts
}

#[test]
fn all_filters_of_plus_and_a_are_matched_in_linear_time() {
    const DEPTH: usize = 16;
    let filters = products(&["+", "a"], DEPTH);
    let room = Room { nodes: 1 << 17, subscriptions: 1 << 16, subscribers: 1, groups: 0, texts: 0 };
    with_router(room, |mut router| {
        for text in &filters {
            subscribe(&mut router, text, 0).unwrap();
        }
        let name = ["a"; DEPTH].join("/");
        let mut found = all_matches(&router, &name);
        assert_eq!(found.len(), 1 << 16);
        found.sort_unstable_by_key(|found| match found {
            Match::Subscription(handle) => handle.index(),
            Match::Group(_) => unreachable!(),
        });
        found.dedup();
        assert_eq!(found.len(), 1 << 16, "each once");
        assert_eq!(all_matches(&router, &name.replace("a/a", "a/b")).len(), 1 << 8);
        assert_eq!(all_matches(&router, &std::format!("{name}/a")).len(), 0);
        while router.pop_subscription(Subscriber(0)).is_some() {}
        assert_eq!(counts(&router), [0; 5]);
    });
}

#[test]
fn a_topic_of_65535_slashes_is_matched() {
    let slashes = "/".repeat(65_535);
    let pluses = std::format!("{}+", "+/".repeat(32_767));
    let half = "/".repeat(32_767);
    let room = Room { nodes: 200_000, subscriptions: 10, subscribers: 1, groups: 0, texts: 0 };
    with_router(room, |mut router| {
        for text in ["#", "/#", "/+/#", &slashes, &pluses, &half] {
            subscribe(&mut router, text, 0).unwrap();
        }
        assert_eq!(all_matches(&router, &slashes).len(), 4);
        // The topic has 32,768 levels. It is matched by `half`, the filters with pluses, and the three with `#`.
        assert_eq!(all_matches(&router, &half).len(), 5);
        router.retain(topic(&slashes), retained(1)).unwrap();
        router.retain(topic(&half), retained(2)).unwrap();
        assert_eq!(all_retained(&router, "#"), [1, 2]);
        assert_eq!(all_retained(&router, &pluses), [2]);
        assert_eq!(all_retained(&router, &slashes), [1]);
        assert_eq!(router.unretain(topic(&slashes)), Some(retained(1)));
        assert_eq!(router.unretain(topic(&half)), Some(retained(2)));
        let mut text = std::vec![0; 65_535];
        let longest = router.find(filter(&slashes), Subscriber(0)).unwrap();
        assert!(router.filter_of(longest, &mut text) == Some(&*slashes));
        while router.pop_subscription(Subscriber(0)).is_some() {}
        assert_eq!(counts(&router), [0; 5]);
    });
}

#[test]
fn a_parent_may_have_any_number_of_children() {
    const CHILDREN: u32 = 100_000;
    let room = Room { nodes: 100_002, subscriptions: 100_000, subscribers: 1, groups: 0, texts: 0 };
    with_router(room, |mut router| {
        for child in 0..CHILDREN {
            subscribe(&mut router, &std::format!("a/b/{child}"), 0).unwrap();
        }
        assert_eq!(router.node_count(), 100_002);
        for child in (0..CHILDREN).step_by(97) {
            assert_eq!(all_matches(&router, &std::format!("a/b/{child}")).len(), 1);
        }
        // The one retained message is found without a look at the other children.
        router.retain(topic("a/b/77777"), retained(5)).unwrap();
        let start = std::time::Instant::now();
        for _ in 0..5_000 {
            assert_eq!(all_retained(&router, "a/+/#"), [5]);
        }
        // The search needs a hundredth of this time. With a look at the other children it would need many times as
        // long.
        assert!(start.elapsed().as_secs() < 3);
        router.unretain(topic("a/b/77777")).unwrap();
        for child in 0..CHILDREN {
            assert!(router.unsubscribe(filter(&std::format!("a/b/{child}")), Subscriber(0)).unwrap().last);
        }
        assert_eq!(counts(&router), [0; 5]);
    });
}
