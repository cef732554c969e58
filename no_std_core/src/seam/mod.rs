//! What the engine and its neighbours have in common: decisions that are asked for, counters, and marks on what has changed.

pub(crate) mod authorize;
pub(crate) mod counters;
pub(crate) mod grant;
#[cfg_attr(
    not(all(feature = "alloc", feature = "durable")),
    allow(dead_code, reason = "what only a server asks, and what only somebody with a store asks")
)]
pub(crate) mod journal;
pub(crate) mod kind;
pub(crate) mod work;
