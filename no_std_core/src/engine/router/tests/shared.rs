//! Groups of shared subscriptions.

use crate::config::ShareStrategy;
use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::mem::testing::Random;

const STRATEGIES: [ShareStrategy; 6] = [
    ShareStrategy::RoundRobin,
    ShareStrategy::LeastInflight,
    ShareStrategy::Random,
    ShareStrategy::Sticky,
    ShareStrategy::HashPublisher,
    ShareStrategy::HashTopic,
];

/// A router whose subscribers 0 to `members - 1` share `t`.
fn with_group(members: u32, mut test: impl FnMut(Router<'_>, Handle<Group>)) {
    with_router(PLENTY, |mut router| {
        for member in 0..members {
            subscribe(&mut router, "$share/g/t", member).unwrap();
        }
        let [Match::Group(group)] = all_matches(&router, "t")[..] else { panic!("not one group") };
        test(router, group);
    });
}

fn keys(number: u32) -> PickKeys {
    PickKeys { random: number, publisher: number, topic: number }
}

/// The member that a strategy picks when all members are equally loaded.
fn pick(router: &mut Router<'_>, group: Handle<Group>, strategy: ShareStrategy, key: u32) -> u32 {
    let picked = router.pick(group, strategy, keys(key), |_| Some(1)).unwrap();
    router.subscription(picked).subscriber().0
}

#[test]
fn round_robin_takes_turns_and_passes_over_unavailable_members() {
    with_group(4, |mut router, group| {
        let turns: Vec<_> = (0..6).map(|_| pick(&mut router, group, ShareStrategy::RoundRobin, 0)).collect();
        assert_eq!(turns, [0, 1, 2, 3, 0, 1]);
        let mut next = || {
            let only_odd = |subscriber: Subscriber| (subscriber.0 % 2 == 1).then_some(0);
            let picked = router.pick(group, ShareStrategy::RoundRobin, keys(0), only_odd).unwrap();
            router.subscription(picked).subscriber().0
        };
        assert_eq!([next(), next(), next()], [3, 1, 3]);
        // The cursor survives that members leave, even the member at the cursor.
        router.unsubscribe(filter("$share/g/t"), Subscriber(0)).unwrap();
        router.unsubscribe(filter("$share/g/t"), Subscriber(2)).unwrap();
        assert_eq!(pick(&mut router, group, ShareStrategy::RoundRobin, 0), 1);
        assert_eq!(pick(&mut router, group, ShareStrategy::RoundRobin, 0), 3);
    });
}

#[test]
fn least_inflight_picks_the_least_loaded_member_and_takes_turns_among_equals() {
    with_group(4, |mut router, group| {
        let loads = [Some(3), Some(2), None, Some(2)];
        let mut next = |loads: [Option<u32>; 4]| {
            let load = |subscriber: Subscriber| loads[subscriber.0 as usize];
            let picked = router.pick(group, ShareStrategy::LeastInflight, keys(0), load).unwrap();
            router.subscription(picked).subscriber().0
        };
        assert_eq!([next(loads), next(loads), next(loads)], [1, 3, 1]);
        assert_eq!(next([Some(9), Some(9), Some(8), None]), 2);
        let mut idle = [0; 4];
        for _ in 0..8 {
            idle[next([Some(0); 4]) as usize] += 1;
        }
        assert_eq!(idle, [2; 4]);
    });
}

#[test]
fn sticky_picks_the_same_member_until_it_is_unavailable() {
    with_group(3, |mut router, group| {
        for _ in 0..3 {
            assert_eq!(pick(&mut router, group, ShareStrategy::Sticky, 0), 0);
        }
        let not_first = |subscriber: Subscriber| (subscriber.0 != 0).then_some(0);
        let picked = router.pick(group, ShareStrategy::Sticky, keys(0), not_first).unwrap();
        assert_eq!(router.subscription(picked).subscriber(), Subscriber(1));
        assert_eq!(pick(&mut router, group, ShareStrategy::Sticky, 0), 1);
        router.unsubscribe(filter("$share/g/t"), Subscriber(1)).unwrap();
        assert_eq!(pick(&mut router, group, ShareStrategy::Sticky, 0), 2);
    });
}

#[test]
fn the_random_and_hash_strategies_share_evenly() {
    for strategy in [ShareStrategy::Random, ShareStrategy::HashPublisher, ShareStrategy::HashTopic] {
        with_group(4, |mut router, group| {
            let mut random = Random::new(12);
            let mut picked = [0u32; 4];
            for _ in 0..4_000 {
                picked[pick(&mut router, group, strategy, random.next()) as usize] += 1;
            }
            assert!(picked.iter().all(|count| (850..=1_150).contains(count)), "{picked:?}");
        });
    }
}

#[test]
fn with_hash_strategies_only_the_share_of_a_leaving_member_moves() {
    for strategy in [ShareStrategy::HashPublisher, ShareStrategy::HashTopic] {
        with_group(5, |mut router, group| {
            let before: BTreeMap<_, _> = (0..500).map(|key| (key, pick(&mut router, group, strategy, key))).collect();
            router.unsubscribe(filter("$share/g/t"), Subscriber(2)).unwrap();
            let mut heirs = BTreeSet::new();
            for (key, member) in &before {
                let after = pick(&mut router, group, strategy, *key);
                if *member == 2 {
                    heirs.insert(after);
                } else {
                    assert_eq!(after, *member);
                }
            }
            assert_eq!(heirs, BTreeSet::from([0, 1, 3, 4]), "all others take a part");
            // A member that joins again gets the same share, whatever its place in the group is now.
            subscribe(&mut router, "$share/g/t", 2).unwrap();
            assert!(before.iter().all(|(key, member)| pick(&mut router, group, strategy, *key) == *member));
        });
    }
}

#[test]
fn the_only_available_member_is_picked_and_none_if_none_is_available() {
    for strategy in STRATEGIES {
        with_group(5, |mut router, group| {
            for only in [3, 0, 4, 4, 1] {
                let load = |subscriber: Subscriber| (subscriber.0 == only).then_some(7);
                let picked = router.pick(group, strategy, keys(only), load).unwrap();
                assert_eq!(router.subscription(picked).subscriber(), Subscriber(only));
            }
            let mut asked = 0;
            let nobody = router.pick(group, strategy, keys(1), |_| {
                asked += 1;
                None
            });
            assert_eq!((nobody, asked), (None, 5));
        });
    }
}

#[test]
fn a_group_ends_with_its_last_member() {
    with_group(2, |mut router, group| {
        router.set_group_tag(group, 77);
        assert_eq!(router.group(group).tag(), 77);
        assert_eq!(router.unsubscribe(filter("$share/other/t"), Subscriber(0)), None);
        assert_eq!(router.unsubscribe(filter("t"), Subscriber(0)), None);
        let first = router.unsubscribe(filter("$share/g/t"), Subscriber(0));
        assert_eq!(first, Some(Unsubscribed { last: false, group_ended: None }));
        let second = router.pop_subscription(Subscriber(1));
        assert_eq!(second, Some(Unsubscribed { last: true, group_ended: Some(77) }));
        assert_eq!(counts(&router), [0; 5]);
    });
}

#[test]
fn a_subscriber_may_have_a_shared_and_a_plain_subscription_to_one_filter() {
    with_router(PLENTY, |mut router| {
        let plain = subscribe(&mut router, "t/#", 1).unwrap();
        let one = subscribe(&mut router, "$share/one/t/#", 1).unwrap();
        let two = subscribe(&mut router, "$share/two/t/#", 1).unwrap();
        assert_eq!([plain.first, one.first, two.first], [true, false, false]);
        assert!(subscribe(&mut router, "$share/two/t/#", 1).unwrap().replaced);
        assert_eq!(all_matches(&router, "t").len(), 3);
        assert!(!router.unsubscribe(filter("t/#"), Subscriber(1)).unwrap().last);
        assert!(!router.unsubscribe(filter("$share/one/t/#"), Subscriber(1)).unwrap().last);
        assert_eq!(router.subscription(two.handle).group().map(|group| router.group(group).member_count()), Some(1));
        assert!(router.unsubscribe(filter("$share/two/t/#"), Subscriber(1)).unwrap().last);
    });
}
