//! Network Connections as the system sees them: addresses that are listened on, connections that are accepted, bytes that are read
//! and written. Of MQTT this room knows the length of a packet, and no more.
//!
//! ```text
//! opening      takes the addresses when the gateway starts, and waits for those that come later
//! listener     accepts connections
//! admission    how many connections there may be, and how many that have not said CONNECT
//! foreign      tells by the first bytes that a client speaks another protocol
//! socket       one Network Connection: reads, writes, and the bytes that wait in between
//! backlog      a queue of such bytes
//! descriptors  the limit of open files
//! ```

mod admission;
mod backlog;
pub(crate) mod descriptors;
mod foreign;
mod listener;
mod opening;
mod socket;

pub(crate) use admission::{GRACE, Lobby, Seat, Ticket, UNFINISHED_BYTES};
pub(crate) use backlog::Backlog;
pub(crate) use foreign::Protocol;
pub(crate) use listener::accept;
pub(crate) use opening::{Missing, Opening, open_all};
pub(crate) use socket::{Arrived, Asking, CHUNK, READ_BUFFER, Reading, Socket};
