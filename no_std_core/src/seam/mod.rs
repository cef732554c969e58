//! What the engine and its neighbours share: questions to the embedder, counters, and marks on changes.

pub(crate) mod authorize;
pub(crate) mod counters;
pub(crate) mod grant;
pub(crate) mod journal;
pub(crate) mod kind;
pub(crate) mod work;
