//! What each Control Packet of a client does, a file for each kind.

pub(crate) mod ack;
pub(crate) mod auth;
pub(crate) mod connect;
pub(crate) mod disconnect;
pub(crate) mod ping;
pub(crate) mod publish;
pub(crate) mod refused;
pub(crate) mod subscribe;
