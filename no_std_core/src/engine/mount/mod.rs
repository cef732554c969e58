//! Clients that live in a part of the tree of topics.
//!
//! A packet from such a client is taken as one that names whole topics: so nothing behind `receive.rs` knows of mounts. What it is sent is cut where
//! it is encoded. All other clients cost a look at [`Mounted`](crate::seam::grant::Mounted), which stands in their connection.

#[cfg_attr(not(feature = "alloc"), path = "borrowed.rs")]
mod owned;

pub(crate) use owned::Mounts;
