//! What clients were granted with their verdicts. Brokers in borrowed memory grant nothing but what all clients get: firmware that wants more closes
//! connections by itself. What is kept of a grant stands in [`seam::grant`](crate::seam::grant).

#[cfg_attr(not(feature = "alloc"), path = "borrowed.rs")]
mod owned;
