//! Network Connections over the byte streams of `embedded-io` and `embedded-io-async`.
//!
//! - [`Link`] and [`turn`] (feature `embedded-io`): for a main loop that handles all connections in turn and never blocks.
//! - `Hub` and its `serve` (feature `embedded-io-async`): for an executor with a task for each connection.
//!
//! The broker knows nothing of them, and a program may drive other transports by hand beside them.

mod buffer;
#[cfg(feature = "embedded-io-async")]
mod hub;
mod link;

#[cfg(feature = "embedded-io-async")]
pub use hub::{Hub, Seat, ServeError};
pub use link::{Link, turn};

#[cfg(all(test, feature = "v3"))]
mod testing;
