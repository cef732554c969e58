//! What other shards are told of the filters that somebody has subscribed to here.
//!
//! A message is looked up once for each shape that other shards have told. So a shard tells few shapes, and all shards together no more
//! than [`SHAPES`]. A filter whose shape is one too many is told coarsely, as a shorter filter that covers it: other shards then hand
//! over messages that nobody here wants, but none is missing. One Session may take a quarter of the shapes, so a single client can't
//! use up those of all others on its shard.
//!
//! No filter is stored here, but when a filter ends it must be known how it was told. So that always follows from its shape: while any
//! filter of a shape is told coarsely, all filters of that shape are.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::config::Shard;
use crate::engine::router::Subscriber;
use crate::mem::heap::{MemoryAccount, MemoryCredit};
use crate::mem::{one_less, one_more};
use crate::shards::filters::shape::{Described, FilterKey, Shape};

/// How many shapes all shards together tell, beside those of filters that are told coarsely: these have few levels and `#`.
pub(in crate::shards) const SHAPES: usize = 64;
/// How many shapes each shard may tell, however many shards there are.
const FEWEST_SHAPES: usize = 2;
/// One Session may take one of so many shapes.
const SESSIONS_PER_SHAPES: usize = 4;
/// Bytes of an entry in a map: a node of a B-tree may be less than half full.
const COARSE_BYTES: usize = 3 * size_of::<(CoarseKey, Coarse)>();
const COARSE_SHAPE_BYTES: usize = 3 * size_of::<(Shape, u32)>();

/// What happens to a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The filter has its first subscriber. From now on messages for it must come; they are recorded if it is durable.
    First { is_durable: bool },
    /// The filter is durable from now on, if it was not before.
    Durable,
    /// The filter has no subscriber any more.
    Last,
}

/// What another shard is told: that something happens to a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FilterChange {
    pub(in crate::shards) key: FilterKey,
    pub(in crate::shards) change: Change,
}

/// A shape whose filters are told as they are.
#[derive(Clone, Copy, Debug)]
struct ToldShape {
    shape: Shape,
    filters: u32,
    /// The Session that had the first filter of this shape.
    taken_by: Option<Subscriber>,
}

/// The hash of a coarse filter, and its levels before `#`.
type CoarseKey = (u32, u8);

/// The filters that are told as one: twice their number, and 1 more if messages for any of them are recorded.
#[derive(Clone, Copy, Debug, Default)]
struct Coarse(u32);

impl Coarse {
    const FILTER: u32 = 2;

    fn is_durable(self) -> bool {
        self.0 & 1 != 0
    }

    /// The same filters after a change of one of them; `None` if none is left.
    fn after(self, change: Change) -> Option<Self> {
        let changed = match change {
            Change::First { is_durable } => self.0.saturating_add(Self::FILTER) | u32::from(is_durable),
            Change::Durable => self.0 | 1,
            Change::Last => self.0.saturating_sub(Self::FILTER),
        };
        (changed >= Self::FILTER).then_some(Self(changed))
    }
}

/// What other shards were told.
#[derive(Debug)]
pub(in crate::shards) struct ToldFilters {
    most_shapes: usize,
    shapes: Vec<ToldShape>,
    coarse: BTreeMap<CoarseKey, Coarse>,
    /// How many filters of each shape are told coarsely.
    coarse_shapes: BTreeMap<Shape, u32>,
    /// The memory of both maps. They have no more entries than there are subscriptions here, which were claimed.
    credit: MemoryCredit,
}

impl ToldFilters {
    pub(in crate::shards) fn new(shard: Shard, account: MemoryAccount) -> Self {
        let others = usize::from(shard.count.saturating_sub(1).max(1));
        let most_shapes = SHAPES.checked_div(others).unwrap_or(0).max(FEWEST_SHAPES);
        let (coarse, coarse_shapes) = (BTreeMap::new(), BTreeMap::new());
        Self { most_shapes, shapes: Vec::new(), coarse, coarse_shapes, credit: MemoryCredit::of(account) }
    }

    /// What other shards are told if something happens to a filter; `None`: nothing. Each filter has a first subscriber, then a last one.
    /// `subscriber` is the first one.
    pub(in crate::shards) fn change(
        &mut self,
        filter: Described,
        change: Change,
        subscriber: Option<Subscriber>,
    ) -> Option<FilterChange> {
        let shape = match filter.exactly {
            Some(key) if key.shape.is_none_or(|shape| self.tells(shape, change, subscriber)) => {
                return Some(FilterChange { key, change });
            }
            exactly => exactly.and_then(|key| key.shape),
        };
        if let Some(shape) = shape {
            self.count_coarse(shape, change);
        }
        self.change_coarsely(filter.coarsely, change)
    }

    /// Whether the filters of a shape are told as they are. Counts the filter.
    fn tells(&mut self, shape: Shape, change: Change, subscriber: Option<Subscriber>) -> bool {
        if let Some(told) = self.shapes.iter_mut().find(|told| told.shape == shape) {
            match change {
                Change::First { .. } => told.filters = one_more(told.filters),
                Change::Durable => {}
                Change::Last => told.filters = one_less(told.filters),
            }
            self.shapes.retain(|told| told.filters > 0);
            return true;
        }
        let is_new = matches!(change, Change::First { .. }) && !self.coarse_shapes.contains_key(&shape);
        if !is_new || !self.has_shape_for(subscriber) {
            return false;
        }
        self.shapes.push(ToldShape { shape, filters: 1, taken_by: subscriber });
        true
    }

    /// Whether a Session may take one more shape.
    fn has_shape_for(&self, subscriber: Option<Subscriber>) -> bool {
        let taken = self.shapes.iter().filter(|told| told.taken_by == subscriber).count();
        self.shapes.len() < self.most_shapes && taken < self.most_shapes.div_ceil(SESSIONS_PER_SHAPES)
    }

    fn count_coarse(&mut self, shape: Shape, change: Change) {
        let filters = self.coarse_shapes.get(&shape).copied();
        let now = match change {
            Change::First { .. } => one_more(filters.unwrap_or(0)),
            Change::Durable => return,
            Change::Last => filters.unwrap_or(0).saturating_sub(1),
        };
        if now == 0 {
            if self.coarse_shapes.remove(&shape).is_some() {
                self.credit.give(COARSE_SHAPE_BYTES);
            }
        } else if self.coarse_shapes.insert(shape, now).is_none() {
            self.credit.take_anyway(COARSE_SHAPE_BYTES);
        }
    }

    fn change_coarsely(&mut self, key: FilterKey, change: Change) -> Option<FilterChange> {
        let place = (key.hash, key.shape.map_or(0, Shape::levels));
        let told = self.coarse.get(&place).copied();
        let Some(coarse) = told.unwrap_or_default().after(change) else {
            self.coarse.remove(&place)?;
            self.credit.give(COARSE_BYTES);
            return Some(FilterChange { key, change: Change::Last });
        };
        self.coarse.insert(place, coarse);
        let change = match told {
            None => {
                self.credit.take_anyway(COARSE_BYTES);
                Change::First { is_durable: coarse.is_durable() }
            }
            Some(told) if coarse.is_durable() && !told.is_durable() => Change::Durable,
            Some(_) => return None,
        };
        Some(FilterChange { key, change })
    }
}

#[cfg(test)]
mod tests;
