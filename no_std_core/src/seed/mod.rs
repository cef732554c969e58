//! All keys, derived from one seed: [`Config::seed`](crate::Config::seed).

#[cfg(all(test, feature = "alloc"))]
mod half_sip;
pub(crate) mod random;
pub(crate) mod secret;
#[cfg_attr(not(feature = "alloc"), path = "half_sip.rs")]
mod sip;
