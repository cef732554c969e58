//! Subscribes and unsubscribes any filters, and matches any topics. The tree must find what a naive matcher finds, and
//! must be empty when all subscriptions have ended.

use std::collections::{BTreeMap, BTreeSet};

use arbitrary::Arbitrary;
use goldcrest_core::internals::{
    Handle, Hasher, Match, Retained, Router, RouterLimits, RouterMemory, Subscriber, SubscriptionOptions,
};
use goldcrest_core::{TopicFilter, TopicName};

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    Subscribe(u8, Path<'a>),
    Unsubscribe(u8, Path<'a>),
    /// Unsubscribes an existing subscription.
    Again(u8),
    Match(Path<'a>),
    Retain(Path<'a>),
    Unretain(Path<'a>),
    Recall(Path<'a>),
}

/// Any text, or a text of few different levels.
#[derive(Arbitrary, Debug)]
enum Path<'a> {
    Text(&'a str),
    Levels(&'a [u8]),
}

impl Path<'_> {
    fn text(&self) -> String {
        const LEVELS: [&str; 8] = ["", "a", "b", "+", "#", "$x", "exactly 15 byte", "a level of more than 15"];
        match self {
            Self::Text(text) => (*text).into(),
            Self::Levels(levels) => {
                let levels: Vec<_> = levels.iter().take(12).map(|level| LEVELS[usize::from(level % 8)]).collect();
                levels.join("/")
            }
        }
    }
}

/// Runs the operations that `input` encodes.
pub fn run(input: &[u8]) {
    let Some(steps) = super::read::<Vec<Step<'_>>>(input) else { return };
    let limits =
        RouterLimits { nodes: 10_000, subscriptions: 10_000, subscribers: 4, groups: 1_000, text_bytes: 1 << 20 };
    let mut router = Router::new(RouterMemory::owned(limits), Hasher::new(1));
    let mut subscriptions = BTreeSet::<(String, u32)>::new();
    let mut kept = BTreeMap::<String, usize>::new();
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Subscribe(who, path) => {
                let (who, text) = (u32::from(who % 4), path.text());
                let Ok(filter) = TopicFilter::new(&text) else { continue };
                let done = router.subscribe(filter, Subscriber(who), SubscriptionOptions::default(), 0);
                assert_eq!(done.unwrap().replaced, !subscriptions.insert((text, who)));
            }
            Step::Unsubscribe(who, path) => {
                let (who, text) = (u32::from(who % 4), path.text());
                let Ok(filter) = TopicFilter::new(&text) else { continue };
                let done = router.unsubscribe(filter, Subscriber(who)).is_some();
                assert_eq!(done, subscriptions.remove(&(text.clone(), who)));
            }
            Step::Again(at) if !subscriptions.is_empty() => {
                let (text, who) = subscriptions.iter().nth(usize::from(*at) % subscriptions.len()).unwrap().clone();
                assert!(router.unsubscribe(TopicFilter::new(&text).unwrap(), Subscriber(who)).is_some());
                subscriptions.remove(&(text, who));
            }
            Step::Again(..) => {}
            Step::Match(path) => {
                let text = path.text();
                let Ok(topic) = TopicName::new(&text) else { continue };
                let mut expected = BTreeSet::new();
                for (text, who) in &subscriptions {
                    let filter = TopicFilter::new(text).unwrap();
                    if filter.matches(topic) {
                        expected.insert((text.clone(), filter.share_name().is_none().then_some(*who)));
                    }
                }
                let mut found = BTreeSet::new();
                let mut space = vec![0; 70_000];
                let mut walk = router.matches(topic);
                while let Some(one) = walk.next(&router) {
                    let (handle, who) = match one {
                        Match::Subscription(handle) => (handle, Some(router.subscription(handle).subscriber().0)),
                        Match::Group(group) => (router.members_of(group).next().unwrap(), None),
                    };
                    let text = router.filter_of(handle, &mut space).unwrap();
                    assert!(found.insert((text.to_string(), who)), "found twice");
                }
                assert_eq!(found, expected, "for {text:?}");
            }
            Step::Retain(path) => {
                let text = path.text();
                let Ok(topic) = TopicName::new(&text) else { continue };
                let old = router.retain(topic, Retained(Handle::from_index(number))).unwrap();
                assert_eq!(old.map(|old| old.0.index()), kept.insert(text.clone(), number));
            }
            Step::Unretain(path) => {
                let text = path.text();
                let Ok(topic) = TopicName::new(&text) else { continue };
                assert_eq!(router.unretain(topic).map(|old| old.0.index()), kept.remove(&text));
            }
            Step::Recall(path) => {
                let text = path.text();
                let Ok(filter) = TopicFilter::new(&text) else { continue };
                let matching = kept.iter().filter(|(topic, _)| filter.matches(TopicName::new(topic).unwrap()));
                let expected: BTreeSet<usize> = matching.map(|(_, number)| *number).collect();
                let mut found = BTreeSet::new();
                let mut walk = router.retained(filter);
                while let Some(one) = walk.next(&router) {
                    assert!(found.insert(one.0.index()), "found twice");
                }
                assert_eq!(found, expected, "for {text:?}");
            }
        }
    }
    for who in 0..4 {
        while router.pop_subscription(Subscriber(who)).is_some() {}
    }
    for topic in kept.keys() {
        router.unretain(TopicName::new(topic).unwrap()).unwrap();
    }
    let left = [router.node_count(), router.subscription_count(), router.group_count(), router.text_bytes()];
    assert_eq!(left, [0; 4]);
}
