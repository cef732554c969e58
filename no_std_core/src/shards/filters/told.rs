//! What siblings are told of the filters that somebody has subscribed to here.
//!
//! A message is looked up once for each shape that siblings were told of. So a broker tells of few shapes only, all brokers together of no
//! more than [`SHAPES`]. A filter whose shape is one too many is told coarsely: siblings then hand over more than is wanted, and nothing
//! less.
//!
//! What a filter was told as has to be known when it ends, and no filter is kept here. So it always follows from the shape: as long as any
//! filter is told coarsely there are no new shapes. A shape that is told has no filter that is told coarsely, and a shape that is not
//! told has no other.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::config::Shard;
use crate::shards::filters::shape::{Described, FilterKey, Shape};

/// How many shapes all brokers together tell of, beside those of filters that are told coarsely: each of these has a few levels and `#`.
pub(in crate::shards) const SHAPES: usize = 64;
/// How many shapes each broker may tell of, however many brokers there are.
const FEWEST_SHAPES: usize = 2;

/// What happens to a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It has its first subscriber. From now on messages come; they are recorded if it is durable.
    First { is_durable: bool },
    /// It is durable from now on, if it was not before.
    Durable,
    /// It has no subscriber any more.
    Last,
}

/// What siblings are told: that something happens to a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FilterChange {
    pub(in crate::shards) key: FilterKey,
    pub(in crate::shards) change: Change,
}

/// The filters that are told as one.
#[derive(Clone, Copy, Debug, Default)]
struct Coarse {
    filters: u32,
    is_durable: bool,
}

/// What siblings were told.
#[derive(Debug)]
pub(in crate::shards) struct ToldFilters {
    most_shapes: usize,
    /// How many filters of each shape were told as they are.
    shapes: Vec<(Shape, u32)>,
    coarse: BTreeMap<FilterKey, Coarse>,
}

impl ToldFilters {
    pub(in crate::shards) fn new(shard: Shard) -> Self {
        let others = usize::from(shard.count.saturating_sub(1).max(1));
        let most_shapes = SHAPES.checked_div(others).unwrap_or(0).max(FEWEST_SHAPES);
        Self { most_shapes, shapes: Vec::new(), coarse: BTreeMap::new() }
    }

    /// What siblings are told if something happens to a filter; `None`: nothing. Each filter has a first subscriber, then a last one.
    pub(in crate::shards) fn change(&mut self, filter: Described, change: Change) -> Option<FilterChange> {
        let Some(key) = filter.exactly.filter(|key| self.tells(*key, change)) else {
            return self.change_coarsely(filter.coarsely, change);
        };
        Some(FilterChange { key, change })
    }

    /// Whether siblings are told of a filter as it is.
    fn tells(&mut self, key: FilterKey, change: Change) -> bool {
        let Some(shape) = key.shape else { return true };
        let place = self.shapes.iter().position(|(told, _)| *told == shape);
        match (place, change) {
            (Some(place), Change::First { .. }) => {
                if let Some((_, filters)) = self.shapes.get_mut(place) {
                    *filters = filters.saturating_add(1);
                }
                true
            }
            (Some(place), Change::Last) => {
                if let Some((_, filters)) = self.shapes.get_mut(place) {
                    *filters = filters.saturating_sub(1);
                }
                self.shapes.retain(|(_, filters)| *filters > 0);
                true
            }
            (Some(_), Change::Durable) => true,
            (None, Change::First { .. }) if self.coarse.is_empty() && self.shapes.len() < self.most_shapes => {
                self.shapes.push((shape, 1));
                true
            }
            (None, _) => false,
        }
    }

    fn change_coarsely(&mut self, key: FilterKey, change: Change) -> Option<FilterChange> {
        let told = self.coarse.get(&key).copied();
        let mut coarse = told.unwrap_or_default();
        match change {
            Change::First { .. } => coarse.filters = coarse.filters.saturating_add(1),
            Change::Durable => {}
            Change::Last => coarse.filters = coarse.filters.saturating_sub(1),
        }
        coarse.is_durable |= matches!(change, Change::First { is_durable: true } | Change::Durable);
        if coarse.filters == 0 {
            return self.coarse.remove(&key).map(|_| FilterChange { key, change: Change::Last });
        }
        self.coarse.insert(key, coarse);
        let change = match told {
            None => Change::First { is_durable: coarse.is_durable },
            Some(told) if coarse.is_durable && !told.is_durable => Change::Durable,
            Some(_) => return None,
        };
        Some(FilterChange { key, change })
    }
}

#[cfg(test)]
mod tests;
