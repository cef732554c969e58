//! The broker as its embedder sees it.

pub(crate) mod broker;
pub(crate) mod budget;
#[cfg(feature = "alloc")]
pub(crate) mod capacity;
mod commands;
#[cfg(feature = "alloc")]
mod diagnosis;
#[cfg(feature = "events")]
mod events;
mod handle;
pub(crate) mod inspect;
pub(crate) mod local;
mod neighbours;
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
