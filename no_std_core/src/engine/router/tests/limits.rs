//! Every table is filled to its limit: the router refuses more, changes nothing, and goes on.

use super::*;

const LONG: &str = "a level of more than fifteen bytes";

#[test]
fn a_full_table_refuses_and_leaks_nothing() {
    let rooms = [
        Room { nodes: 5, ..PLENTY },
        Room { subscriptions: 5, ..PLENTY },
        Room { groups: 3, ..PLENTY },
        Room { texts: 4, ..PLENTY },
        Room { nodes: 0, subscriptions: 0, subscribers: 0, groups: 0, texts: 0 },
    ];
    for room in rooms {
        with_router(room, |mut router| {
            for _ in 0..3 {
                let mut refused = 0;
                for number in 0..20 {
                    let before = counts(&router);
                    let text = std::format!("$share/{number}/{number}/x/{LONG} {number}/y");
                    if subscribe(&mut router, &text, number % 3).is_err() {
                        assert_eq!(counts(&router), before);
                        refused += 1;
                    }
                    let before = counts(&router);
                    if subscribe(&mut router, &std::format!("{number}/+/{LONG}/{number}/#"), 0).is_err() {
                        assert_eq!(counts(&router), before);
                        refused += 1;
                    }
                    let before = counts(&router);
                    if router.retain(topic(&std::format!("r/{number}/{LONG}/x")), retained(number)).is_err() {
                        assert_eq!(counts(&router), before);
                        refused += 1;
                    }
                }
                assert!(refused > 0);
                for number in 0..20 {
                    while router.pop_subscription(Subscriber(number)).is_some() {}
                    router.unretain(topic(&std::format!("r/{number}/{LONG}/x")));
                }
                assert_eq!(counts(&router), [0; 5]);
            }
        });
    }
}

#[test]
fn a_subscriber_beyond_the_table_is_refused() {
    with_router(Room { subscribers: 3, ..PLENTY }, |mut router| {
        assert!(subscribe(&mut router, "a", 2).is_ok());
        assert_eq!(subscribe(&mut router, "a", 3), Err(RouterFull));
        assert_eq!(subscribe(&mut router, "a", u32::MAX), Err(RouterFull));
        assert_eq!(router.subscriptions_of(Subscriber(3)).count(), 0);
        assert_eq!(router.pop_subscription(Subscriber(3)), None);
        assert_eq!(router.node_count(), 1);
    });
}

#[test]
fn a_router_without_memory_finds_no_match() {
    let nothing = RouterMemory {
        nodes: Slots::borrowed(&mut []),
        node_buckets: Slots::borrowed(&mut []),
        subscriptions: Slots::borrowed(&mut []),
        subscription_buckets: Slots::borrowed(&mut []),
        subscribers: Slots::borrowed(&mut []),
        groups: Slots::borrowed(&mut []),
        group_buckets: Slots::borrowed(&mut []),
        texts: Bytes::borrowed(&mut []),
    };
    let mut router = Router::new(nothing, Hasher::new(1));
    assert_eq!(subscribe(&mut router, "#", 0), Err(RouterFull));
    assert_eq!(router.retain(topic("a"), retained(1)), Err(RouterFull));
    assert!(all_matches(&router, "a").is_empty());
    assert!(all_retained(&router, "#").is_empty());
    assert_eq!(counts(&router), [0; 5]);
}

#[test]
fn filter_of_gives_none_if_the_buffer_is_too_short() {
    with_router(PLENTY, |mut router| {
        let share = if SHARED { "$share/group/" } else { "" };
        let text = std::format!("{share}a//+/{LONG}/#");
        let handle = subscribe(&mut router, &text, 0).unwrap().handle;
        for len in 0..text.len() {
            assert_eq!(router.filter_of(handle, &mut std::vec![0; len]), None);
        }
        assert_eq!(router.filter_of(handle, &mut std::vec![0; text.len()]), Some(&*text));
        assert_eq!(router.filter_of(handle, &mut std::vec![0; 500]), Some(&*text));
    });
}
