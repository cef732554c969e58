//! One seed, many keys: what is derived from [`Config::seed`](crate::Config::seed).

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

pub(crate) mod random;
pub(crate) mod secret;
