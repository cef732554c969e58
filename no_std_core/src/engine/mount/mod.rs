//! Clients that live in a part of the tree of topics.
//!
//! A packet from such a client is taken as one that names whole topics: so nothing behind `receive.rs` knows of mounts. What it is sent is cut where
//! it is encoded. All other clients cost a look at [`Mounted`](crate::engine::grants::Mounted), which stands in their connection.

#[cfg(not(feature = "alloc"))]
mod borrowed;
#[cfg(feature = "alloc")]
mod owned;

use core::ops::Range;

#[cfg(not(feature = "alloc"))]
pub(crate) use borrowed::Mounts;
#[cfg(feature = "alloc")]
pub(crate) use owned::Mounts;

/// The part of a Response Topic that the client is not to see.
pub(crate) struct Hidden {
    /// Where it stands in the body of the message, behind the length of the text.
    pub(crate) at: Range<usize>,
    /// Bytes of the text that are left.
    pub(crate) shown: u16,
}
