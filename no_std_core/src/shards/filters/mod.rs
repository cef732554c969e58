//! What shards tell each other of their filters, and how they keep it.

pub(super) mod shape;
mod table;
mod told;

pub(super) use table::FilterTable;
#[cfg(test)]
pub(super) use told::SHAPES;
pub(super) use told::{Change, FilterChange, ToldFilters};

/// The most changes that one forward tells. No call stops within a forward, so they are few.
pub(super) const TOLD_AT_ONCE: usize = 64;
