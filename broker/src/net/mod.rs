//! Network Connections as the system sees them: addresses to listen on, accepted connections, bytes in and out. Of MQTT this
//! module knows the length of a packet, and no more.
//!
//! ```text
//! listen_socket binds the addresses when the gateway starts, and waits for those that do not exist yet
//! listener     accepts connections
//! admission    how many connections there may be, and how many without a CONNECT
//! listener_setup, tls_settings  what the connections of one listener have in common
//! revoked      the certificates in lists of revoked ones
//! tls_fault    words for the log about a handshake that failed
//! foreign      recognizes by its first bytes a client of another protocol
//! socket       one Network Connection: reads, writes, and the bytes that wait in between
//! transport    the stream of bytes below a socket: over TCP, with TLS between, or in memory
//! byte_queue   a queue of bytes that wait
//! descriptors  the limit of open files
//! ```

mod admission;
mod byte_queue;
pub(crate) mod descriptors;
mod foreign;
mod listen_socket;
mod listener;
mod listener_setup;
mod memory_credit;
mod revoked;
mod socket;
mod tls_fault;
mod tls_settings;
mod transport;

pub(crate) use admission::{Admission, CONNECTION_BYTES, ConnectPermit, ConnectionPermit, GRACE, UNFINISHED_BYTES};
pub(crate) use byte_queue::ByteQueue;
pub(crate) use foreign::{Expected, Protocol};
pub(crate) use listen_socket::{AwaitedAddresses, ListenSocket, open_all};
pub(crate) use listener::{Reception, accept};
pub(crate) use listener_setup::{Accepting, Certificates, ListenerSetup};
pub(crate) use revoked::Revoked;
pub(crate) use socket::{CHUNK, Holding, READ_BUFFER, ReadOutcome, Reading, Socket};
pub(crate) use tls_fault::TlsFault;
pub use tls_settings::TlsError;
pub use transport::ClientCertificate;
pub use transport::memory::MemoryStream;
pub(crate) use transport::memory::pair as memory_pair;
pub(crate) use transport::{Asking, Detached, LayerError, Layered, Transport, check_websocket};
