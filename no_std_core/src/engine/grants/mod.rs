//! What clients were granted with their verdicts. Brokers in borrowed memory grant nothing but what all clients get: firmware that wants more closes
//! connections by itself.

#[cfg(not(feature = "alloc"))]
mod borrowed;
#[cfg(feature = "alloc")]
mod owned;

#[cfg(not(feature = "alloc"))]
pub(crate) use borrowed::{Bounded, Expiry, Granted, Mounted};
#[cfg(feature = "alloc")]
pub(crate) use owned::{Bounded, Expiry, Granted, Mounted};
