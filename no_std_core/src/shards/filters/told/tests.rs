use std::vec;
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
}

impl Teller {
    /// A broker that may tell of two shapes.
    fn new() -> Self {
        let told = ToldFilters::new(Shard { index: 0, count: 256 });
        assert_eq!(told.most_shapes, FEWEST_SHAPES);
        Self { hasher: FilterHasher::new(Hasher::new(1)), told }
    }

    fn key(&self, filter: &str) -> FilterKey {
        self.hasher.describe(TopicFilter::new(filter).unwrap()).exactly.unwrap()
    }

    /// Checks that siblings are told of `expected` if this happens to a filter.
    fn expect(&mut self, filter: &str, change: Change, expected: Option<(&str, Change)>) {
        let expected = expected.map(|(filter, change)| FilterChange { key: self.key(filter), change });
        let described = self.hasher.describe(TopicFilter::new(filter).unwrap());
        assert_eq!(self.told.change(described, change), expected, "{filter} {change:?}");
    }
}

#[test]
fn filters_of_a_shape_too_many_are_told_as_one_that_covers_them_as_long_as_there_are_any() {
    let mut teller = Teller::new();
    for filter in ["a/+", "+/b", "a/b/c", "c/+"] {
        teller.expect(filter, FIRST, Some((filter, FIRST)));
    }
    teller.expect("x/y/+/z", FIRST, Some(("x/y/#", FIRST)));
    teller.expect("x/y/+/+/z", FIRST, None);
    teller.expect("x/y/+/+/z", Change::Durable, Some(("x/y/#", Change::Durable)));
    teller.expect("x/y/#", FIRST_DURABLE, None);
    teller.expect("+/+/z", FIRST_DURABLE, Some(("#", FIRST_DURABLE)));
    // A shape that was told before is told still, one that has ended is not begun again.
    teller.expect("d/+", FIRST, Some(("d/+", FIRST)));
    teller.expect("+/b", Change::Last, Some(("+/b", Change::Last)));
    teller.expect("+/b", FIRST, None);
    teller.expect("+/b", Change::Last, None);
    teller.expect("x/y/+/z", Change::Last, None);
    teller.expect("x/y/+/+/z", Change::Last, None);
    teller.expect("x/y/#", Change::Last, Some(("x/y/#", Change::Last)));
    teller.expect("+/c", FIRST, None);
    teller.expect("+/+/z", Change::Last, None);
    teller.expect("+/c", Change::Last, Some(("#", Change::Last)));
    teller.expect("+/b", FIRST, Some(("+/b", FIRST)));
}

#[test]
fn a_million_filters_of_different_shapes_are_few_shapes() {
    let mut teller = Teller::new();
    let filters: Vec<_> = (0..4_096u32)
        .map(|shape| {
            let levels = (0..12).map(|level| if shape >> level & 1 == 1 { "+" } else { "a" });
            levels.collect::<Vec<_>>().join("/")
        })
        .collect();
    let mut shapes = vec![];
    for filter in &filters {
        let described = teller.hasher.describe(TopicFilter::new(filter).unwrap());
        let told = teller.told.change(described, FIRST);
        shapes.extend(told.and_then(|told| told.key.shape));
    }
    shapes.sort_unstable();
    shapes.dedup();
    assert!(shapes.len() <= FEWEST_SHAPES + 5, "{} shapes", shapes.len());
    assert!(teller.told.coarse.len() <= 5);
    for filter in &filters {
        let described = teller.hasher.describe(TopicFilter::new(filter).unwrap());
        teller.told.change(described, Change::Last);
    }
    assert!(teller.told.coarse.is_empty() && teller.told.shapes.is_empty());
}
