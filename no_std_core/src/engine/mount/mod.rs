//! Clients with a mount, which see only a part of the topic tree.
//!
//! A packet from such a client is handled as if it named whole topics, so no code behind `receive.rs` knows of mounts. In packets to the
//! client the prefix is removed when they are encoded. For any other client the cost is a look at [`Mounted`](crate::seam::grant::Mounted)
//! in its connection.

#[cfg_attr(not(feature = "alloc"), path = "borrowed.rs")]
mod owned;

pub(crate) use owned::Mounts;
