//! Random subscriptions and retained messages against a list of filters and [`TopicFilter::matches`].

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::mem::testing::Random;

const STEPS: usize = 2_500;
const SUBSCRIBERS: u32 = 8;

/// Levels that are short and long, have equal beginnings, are empty, or have a `$`.
const LEVELS: [&str; 9] = [
    "",
    "a",
    "b",
    "$s",
    "fifteen-bytes-x",
    "sixteen-bytes-xx",
    "a level that is much longer than the others and than a block of sixty bytes",
    "a level that is much longer than the others and than a block of sixty bites",
    "$and a long one with a dollar",
];

fn random_path(random: &mut Random, wildcards: bool) -> String {
    loop {
        let depth = 1 + random.below(4);
        let mut levels: Vec<&str> = (0..depth)
            .map(|_| match random.below(10) {
                0..=2 if wildcards => "+",
                0..=6 => LEVELS[random.below(4)],
                _ => LEVELS[random.below(LEVELS.len())],
            })
            .collect();
        if wildcards && random.below(4) == 0 {
            levels[depth - 1] = "#";
        }
        let path = levels.join("/");
        if !path.is_empty() {
            return path;
        }
    }
}

fn random_filter(random: &mut Random) -> String {
    let path = random_path(random, true);
    match random.below(6) {
        0 if SHARED => std::format!("$share/g/{path}"),
        1 if SHARED => std::format!("$share/a group with a name that does not fit anywhere/{path}"),
        _ => path,
    }
}

#[derive(Default)]
struct Model {
    /// The options and the Subscription Identifier of each subscription, by its filter (with `$share/NAME/` if it has that) and its subscriber.
    subscriptions: BTreeMap<(String, u32), (SubscriptionOptions, u32)>,
    retained: BTreeMap<String, u32>,
}

impl Model {
    /// Whether a Session or a group has the filter `proper`, with or without a ShareName.
    fn has_subscriber(&self, proper: &str) -> bool {
        self.subscriptions.keys().any(|(text, _)| filter(text).proper() == proper)
    }

    fn nodes(&self) -> usize {
        let filters = self.subscriptions.keys().map(|(text, _)| filter(text).proper());
        let paths: BTreeSet<_> = filters
            .chain(self.retained.keys().map(|text| &**text))
            .flat_map(|path| {
                let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
                ends.map(move |end| &path[..end])
            })
            .collect();
        paths.len()
    }

    fn groups(&self) -> usize {
        let shared = self.subscriptions.keys().filter(|(text, _)| filter(text).share_name().is_some());
        shared.map(|(text, _)| text).collect::<BTreeSet<_>>().len()
    }

    fn check(&self, router: &Router<'_>, random: &mut Random) {
        let name = random_path(random, false);
        let mut expected = BTreeSet::new();
        for (text, subscriber) in self.subscriptions.keys() {
            if filter(text).matches(topic(&name)) {
                expected.insert((text.clone(), (filter(text).share_name().is_none()).then_some(*subscriber)));
            }
        }
        let mut buffer = [0; 1_000];
        let mut found = BTreeSet::new();
        for one in all_matches(router, &name) {
            let (handle, subscriber) = match one {
                Match::Subscription(handle) => (handle, Some(router.subscription(handle).subscriber().0)),
                Match::Group(group) => {
                    assert_eq!(router.members_of(group).count(), router.group(group).member_count());
                    (router.members_of(group).next().unwrap(), None)
                }
            };
            let text = router.filter_of(handle, &mut buffer).unwrap();
            assert!(found.insert((text.into(), subscriber)), "{text} was found twice");
        }
        assert_eq!(found, expected, "for {name}");

        let text = random_path(random, true);
        let mut expected: Vec<_> =
            self.retained.iter().filter(|(name, _)| filter(&text).matches(topic(name))).collect();
        expected.sort_by_key(|(_, value)| **value);
        assert!(all_retained(router, &text).iter().eq(expected.iter().map(|(_, value)| *value)), "for {text}");

        let subscriber = Subscriber(random.below(SUBSCRIBERS as usize) as u32);
        let mut own: Vec<_> = self.subscriptions.iter().filter(|((_, who), _)| *who == subscriber.0).collect();
        assert_eq!(router.subscription_count_of(subscriber), own.len());
        for handle in router.subscriptions_of(subscriber) {
            let text = router.filter_of(handle, &mut buffer).unwrap();
            let at = own.iter().position(|((own, _), _)| own == text).expect(text);
            let (_, expected) = own.swap_remove(at);
            let subscription = router.subscription(handle);
            assert_eq!((subscription.options(), subscription.identifier()), *expected);
        }
        assert_eq!(own.len(), 0);
        let known = [self.nodes(), self.subscriptions.len(), self.groups(), self.retained.len()];
        assert_eq!(counts(router)[..4], known);
    }
}

/// Does one random operation on router and model, and compares their answers.
fn do_anything(router: &mut Router<'_>, model: &mut Model, random: &mut Random, step: usize) {
    let subscriber = random.below(SUBSCRIBERS as usize) as u32;
    // Some filters are used again, so that subscriptions are replaced and found.
    let known = random.below(3) == 0;
    match random.below(20) {
        0..=7 => {
            let text = random_filter(random);
            let again = random.choose(model.subscriptions.keys()).filter(|_| known).cloned();
            let (text, subscriber) = again.unwrap_or((text, subscriber));
            let options = SubscriptionOptions {
                qos: random.below(3) as u8,
                no_local: random.below(2) == 0,
                retain_as_published: random.below(2) == 0,
            };
            let identifier = random.next() & 0x0fff_ffff;
            let first = !model.has_subscriber(filter(&text).proper());
            let done = router.subscribe(filter(&text), Subscriber(subscriber), options, identifier).unwrap();
            let replaced = model.subscriptions.insert((text, subscriber), (options, identifier)).is_some();
            assert_eq!((done.replaced, done.first), (replaced, first));
        }
        8..=13 => {
            let text = random_filter(random);
            let again = random.choose(model.subscriptions.keys()).filter(|_| !known).cloned();
            let (text, subscriber) = again.unwrap_or((text, subscriber));
            let done = router.unsubscribe(filter(&text), Subscriber(subscriber));
            let was_there = model.subscriptions.remove(&(text.clone(), subscriber)).is_some();
            assert_eq!(done.is_some(), was_there);
            if let Some(done) = done {
                let last = !model.has_subscriber(filter(&text).proper());
                assert_eq!(done.last, last);
                let ended = filter(&text).share_name().is_some()
                    && !model.subscriptions.keys().any(|(other, _)| *other == text);
                assert_eq!(done.group_ended, ended.then_some(0));
            }
        }
        14 if step.is_multiple_of(10) => {
            while router.pop_subscription(Subscriber(subscriber)).is_some() {}
            model.subscriptions.retain(|(_, who), _| *who != subscriber);
        }
        15..=17 => {
            let name = random_path(random, false);
            let old = router.retain(topic(&name), retained(step as u32)).unwrap();
            assert_eq!(router.retained_at(topic(&name)), Some(retained(step as u32)));
            assert_eq!(old, model.retained.insert(name, step as u32).map(retained));
        }
        _ => {
            let name = random_path(random, false);
            let name = random.choose(model.retained.keys()).filter(|_| !known).cloned().unwrap_or(name);
            assert_eq!(router.unretain(topic(&name)), model.retained.remove(&name).map(retained));
            assert_eq!(router.retained_at(topic(&name)), None);
        }
    }
}

#[test]
fn the_router_finds_what_a_naive_matcher_finds() {
    with_router(PLENTY, |mut router| {
        let mut random = Random::new(11);
        let mut model = Model::default();
        for step in 0..STEPS {
            do_anything(&mut router, &mut model, &mut random, step);
            model.check(&router, &mut random);
        }
        for subscriber in 0..SUBSCRIBERS {
            while router.pop_subscription(Subscriber(subscriber)).is_some() {}
        }
        for name in model.retained.keys() {
            router.unretain(topic(name)).unwrap();
        }
        assert_eq!(counts(&router), [0; 5]);
    });
}

#[test]
fn an_interrupted_walk_gives_every_message_that_stays_once() {
    with_router(PLENTY, |mut router| {
        let mut random = Random::new(13);
        let mut kept: BTreeMap<String, u32> = BTreeMap::new();
        let mut number = 0;
        for _ in 0..300 {
            let text = random_path(&mut random, true);
            let mut cursor = RetainedCursor::START;
            let mut stay: BTreeSet<String> =
                kept.keys().filter(|name| filter(&text).matches(topic(name))).cloned().collect();
            let mut met = BTreeSet::new();
            // Each call resumes the walk at `cursor`, takes one step, and suspends the walk again.
            let mut step = |router: &Router<'_>, kept: &BTreeMap<String, u32>, cursor: &mut RetainedCursor| {
                let mut walk = router.resume_retained(&text, *cursor);
                let found = walk.step(router);
                *cursor = walk.suspend();
                if let Some(found) = found {
                    assert_eq!(router.retained_under(*cursor), Some(found));
                    let name = kept.iter().find(|(_, value)| retained(**value) == found).unwrap().0;
                    assert!(filter(&text).matches(topic(name)));
                    assert!(met.insert(name.clone()), "{name} was met twice");
                }
            };
            while !cursor.is_over() {
                step(&router, &kept, &mut cursor);
                for _ in 0..random.below(4) {
                    let name = random_path(&mut random, false);
                    if random.below(5) < 3 {
                        router.retain(topic(&name), retained(number)).unwrap();
                        kept.insert(name, number);
                        number += 1;
                    } else if let Some(name) = random.choose(kept.keys()).cloned() {
                        while router.node_of(topic(&name)).is_some_and(|node| router.loses(cursor, node)) {
                            step(&router, &kept, &mut cursor);
                        }
                        router.unretain(topic(&name)).unwrap();
                        kept.remove(&name);
                        stay.remove(&name);
                    }
                    let _ = subscribe(&mut router, &random_filter(&mut random), 0);
                    router.pop_subscription(Subscriber(0));
                }
            }
            assert!(met.is_superset(&stay), "for {text}");
        }
    });
}
