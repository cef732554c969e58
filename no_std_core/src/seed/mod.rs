//! One seed, many keys: what is derived from [`Config::seed`](crate::Config::seed).

pub(crate) mod random;
pub(crate) mod secret;
