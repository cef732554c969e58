//! The broker as its embedder uses it.

pub(crate) mod broker;
pub(crate) mod budget;
mod commands;
#[cfg(feature = "events")]
mod events;
mod handle;
pub(crate) mod inspect;
pub(crate) mod local;
#[cfg(feature = "alloc")]
pub(crate) mod owned;
mod poll;
mod queries;
pub(crate) mod resources;
#[cfg(feature = "shards")]
mod shards;
#[cfg(feature = "durable")]
mod store;
#[cfg(feature = "paging")]
mod store_bodies;
#[cfg(all(feature = "alloc", feature = "durable"))]
mod store_credit;
