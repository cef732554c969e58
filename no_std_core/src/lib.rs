//! The whole Goldcrest MQTT broker, sans-IO.

#![no_std]
#![forbid(unsafe_code)]
// No input may reach a panic. Tests may.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::string_slice
    )
)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod codec;
pub mod router;
pub mod storage;
mod time;
mod topic;

pub use time::{Duration, Instant};
pub use topic::{Levels, TopicFilter, TopicFilterError, TopicName, TopicNameError};
