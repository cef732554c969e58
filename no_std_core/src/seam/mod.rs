//! What the engine and its neighbours have in common: decisions that are asked for, counters, and marks on what has changed.

pub(crate) mod authorize;
pub(crate) mod counters;
pub(crate) mod grant;
pub(crate) mod journal;
pub(crate) mod kind;
pub(crate) mod work;
