//! The broker as its embedder sees it.

pub(crate) mod broker;
pub(crate) mod budget;
pub(crate) mod local;
pub(crate) mod resources;
