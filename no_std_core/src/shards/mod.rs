//! Sibling brokers: the shards of one gateway, which together behave as one broker.

pub(crate) mod answers;
pub(crate) mod interests;
pub(crate) mod links;
pub(crate) mod questions;
pub(crate) mod sibling;
