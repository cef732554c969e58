use std::string::String;
use std::vec::Vec;

use super::*;
use crate::mem::Hasher;
use crate::shards::filters::shape::FilterHasher;
use crate::topic::TopicFilter;

const FIRST: Change = Change::First { is_durable: false };
const FIRST_DURABLE: Change = Change::First { is_durable: true };

struct Teller {
    hasher: FilterHasher,
    told: ToldFilters,
    /// The number of the next subscriber.
    next: u32,
}

impl Teller {
    /// A shard that may tell as many shapes as each of so many shards may.
    fn new(count: u16) -> Self {
        let told = ToldFilters::new(Shard { index: 0, count }, MemoryAccount::UNBOUNDED);
        Self { hasher: FilterHasher::new(Hasher::new(1)), told, next: 0 }
    }

    fn key(&self, filter: &str) -> FilterKey {
        self.hasher.describe(TopicFilter::new(filter).unwrap()).exactly.unwrap()
    }

    /// What other shards are told if this happens to a filter by a subscriber.
    fn change(&mut self, filter: &str, change: Change, subscriber: u32) -> Option<FilterChange> {
        let described = self.hasher.describe(TopicFilter::new(filter).unwrap());
        self.told.change(described, change, Some(Subscriber(subscriber)))
    }

    /// Checks that other shards are told `expected` if this happens to a filter. Each time the subscriber is another one.
    fn expect(&mut self, filter: &str, change: Change, expected: Option<(&str, Change)>) {
        let expected = expected.map(|(filter, change)| FilterChange { key: self.key(filter), change });
        self.next += 1;
        assert_eq!(self.change(filter, change, self.next), expected, "{filter} {change:?}");
    }
}

#[test]
fn a_filter_of_a_shape_too_many_is_told_as_one_that_covers_it() {
    let mut teller = Teller::new(256);
    assert_eq!(teller.told.most_shapes, FEWEST_SHAPES);
    for filter in ["a/+", "+/b", "a/b/c", "c/+"] {
        teller.expect(filter, FIRST, Some((filter, FIRST)));
    }
    teller.expect("x/y/+/z", FIRST, Some(("x/y/#", FIRST)));
    teller.expect("x/y/+/+/z", FIRST, None);
    teller.expect("x/y/+/+/z", Change::Durable, Some(("x/y/#", Change::Durable)));
    teller.expect("x/y/+/+/z", Change::Durable, None);
    teller.expect("x/y/#", FIRST_DURABLE, None);
    teller.expect("+/+/z", FIRST_DURABLE, Some(("#", FIRST_DURABLE)));
    // A shape that is told has more filters.
    teller.expect("d/+", FIRST, Some(("d/+", FIRST)));
    teller.expect("d/+", Change::Durable, Some(("d/+", Change::Durable)));
    teller.expect("x/y/+/z", Change::Last, None);
    teller.expect("x/y/+/+/z", Change::Last, None);
    teller.expect("x/y/#", Change::Last, Some(("x/y/#", Change::Last)));
    teller.expect("+/+/z", Change::Last, Some(("#", Change::Last)));
}

#[test]
fn all_filters_of_a_shape_are_told_coarsely_while_any_is() {
    let mut teller = Teller::new(256);
    teller.expect("a/+", FIRST, Some(("a/+", FIRST)));
    teller.expect("+/b", FIRST, Some(("+/b", FIRST)));
    teller.expect("+/+/z", FIRST, Some(("#", FIRST)));
    // There is room for a shape again, and other shapes may have it, but not this one.
    teller.expect("+/b", Change::Last, Some(("+/b", Change::Last)));
    teller.expect("+/+/q", FIRST, None);
    teller.expect("+/c", FIRST, Some(("+/c", FIRST)));
    teller.expect("+/c", Change::Last, Some(("+/c", Change::Last)));
    teller.expect("+/+/z", Change::Last, None);
    teller.expect("+/+/z", FIRST, None);
    teller.expect("+/+/z", Change::Last, None);
    teller.expect("+/+/q", Change::Last, Some(("#", Change::Last)));
    teller.expect("+/+/q", FIRST, Some(("+/+/q", FIRST)));
}

/// Filters of so many different shapes.
fn of_shapes(count: u32) -> Vec<String> {
    let filter = |shape: u32| {
        let levels = (0..12).map(|level| if shape >> level & 1 == 1 { "+" } else { "a" });
        levels.collect::<Vec<_>>().join("/")
    };
    (1..=count).map(filter).collect()
}

#[test]
fn one_session_takes_a_quarter_of_the_shapes_and_leaves_the_others_theirs() {
    for (count, most) in [(2, 16), (3, 8), (8, 3), (256, 1)] {
        let mut teller = Teller::new(count);
        for filter in of_shapes(40) {
            teller.change(&filter, FIRST, 7);
        }
        assert_eq!(teller.told.shapes.len(), most, "{count} shards");
        teller.expect("other/+", FIRST, Some(("other/+", FIRST)));
        // A shape that ends is free for the same Session.
        let taken = teller.told.shapes[0].shape;
        let filters = of_shapes(40);
        let ended = filters.iter().find(|filter| teller.key(filter).shape == Some(taken)).unwrap();
        teller.change(ended, Change::Last, 7);
        assert!(
            teller
                .change("a/+/c/+/e/+/+", FIRST, 7)
                .is_some_and(|told| told.key.shape == teller.key("a/+/c/+/e/+/+").shape)
        );
    }
}

#[test]
fn what_filters_that_are_told_coarsely_take_is_counted_and_given_back() {
    let mut teller = Teller::new(256);
    let mut filters = of_shapes(3_000);
    filters.extend((0..5_000).map(|number| std::format!("{number}/+/{number}/+")));
    for filter in &filters {
        teller.change(filter, FIRST, 7);
    }
    let bytes = teller.told.coarse.len() * size_of::<(CoarseKey, Coarse)>();
    let bytes_of_shapes = teller.told.coarse_shapes.len() * size_of::<(Shape, u32)>();
    assert!(teller.told.coarse.len() > 4_000 && teller.told.coarse_shapes.len() > 2_900);
    assert!(teller.told.credit.taken() >= bytes + bytes_of_shapes);
    for filter in &filters {
        teller.change(filter, Change::Last, 7);
    }
    assert_eq!(teller.told.credit.taken(), 0);
    assert!(teller.told.coarse.is_empty() && teller.told.coarse_shapes.is_empty() && teller.told.shapes.is_empty());
}

#[test]
fn thousands_of_shapes_are_told_as_few() {
    let mut teller = Teller::new(256);
    let filters = of_shapes(4_095);
    let mut shapes: Vec<_> = filters
        .iter()
        .enumerate()
        .filter_map(|(number, filter)| teller.change(filter, FIRST, number as u32))
        .filter_map(|told| told.key.shape)
        .collect();
    shapes.sort_unstable();
    shapes.dedup();
    assert!(shapes.len() <= FEWEST_SHAPES + 5, "{} shapes", shapes.len());
    assert!(teller.told.coarse.len() <= 5);
    for filter in &filters {
        teller.change(filter, Change::Last, 0);
    }
    assert!(teller.told.coarse.is_empty() && teller.told.shapes.is_empty());
}
