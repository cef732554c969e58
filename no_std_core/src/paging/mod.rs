//! Bodies of messages that are on disk alone.

pub(crate) mod bodies;
pub(crate) mod residency;
