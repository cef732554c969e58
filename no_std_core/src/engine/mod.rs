//! The broker's engine: what each Control Packet and each happening does to Network Connections, Sessions, subscriptions and messages.

#[cfg(feature = "alloc")]
pub(crate) mod ahead;
pub(crate) mod connections;
pub(crate) mod deliver;
pub(crate) mod groups;
pub(crate) mod messages;
pub(crate) mod packets;
pub(crate) mod receive;
pub(crate) mod replay;
pub mod router;
pub(crate) mod sessions;
pub(crate) mod sweep;
pub(crate) mod timeout;
pub(crate) mod transmit;
pub(crate) mod will;
