//! The grants that clients got with their verdicts. Brokers in borrowed memory grant all clients the same: firmware that wants more closes
//! connections by itself. The types of a grant are in [`seam::grant`](crate::seam::grant).

#[cfg_attr(not(feature = "alloc"), path = "borrowed.rs")]
mod owned;
