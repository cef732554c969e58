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

mod authorize;
mod broker;
mod config;
mod connection;
mod control;
mod counters;
#[cfg(feature = "alloc")]
mod mesh;
mod message;
mod random;
mod resources;
mod session;
mod time;
mod topic;

pub use authorize::{AllowAll, Ask, Authorize, Principal, Verdict};
pub use broker::{Broker, ConnectionInfo, Full, LocalPublish, Next, Received, Then, Transmit};
pub use config::{Authentication, Config, Limits, Overflow, OverflowRule, Shard, ShareRule};
pub use connection::{Alias, Connection, ConnectionId, Owed};
pub use control::{GroupQueue, TimerKey};
pub use counters::{Counters, DropReason, Dropped};
#[cfg(feature = "alloc")]
pub use mesh::Forward;
pub use message::{Delivery, Message};
#[cfg(feature = "alloc")]
pub use resources::Capacity;
pub use resources::Memory;
pub use session::{Receipt, Replay, Session};
pub use time::{Duration, Instant};
pub use topic::{Levels, TopicFilter, TopicFilterError, TopicName, TopicNameError};
