//! What siblings are told of filters, and how that is kept.

pub(super) mod shape;
mod table;
mod told;

pub(super) use table::FilterTable;
#[cfg(test)]
pub(super) use told::SHAPES;
pub(super) use told::{Change, FilterChange, ToldFilters};

/// How many changes a sibling is told of at once: none is cut, so they are few.
pub(super) const TOLD_AT_ONCE: usize = 64;
