//! Clients that live in a part of the tree of topics.
//!
//! A packet from such a client is taken as one that names whole topics: so nothing behind `receive.rs` knows of mounts. What it is sent is cut where
//! it is encoded. All other clients cost a look at [`Mounted`](crate::engine::grants::Mounted), which stands in their connection.

#[cfg(not(feature = "alloc"))]
mod borrowed;
#[cfg(feature = "alloc")]
mod owned;

#[cfg(not(feature = "alloc"))]
pub(crate) use borrowed::Mounts;
#[cfg(feature = "alloc")]
pub(crate) use owned::Mounts;
