//! Network Connections as the system sees them: addresses to listen on, accepted connections, bytes in and out. Of MQTT this
//! module knows the length of a packet, and no more.
//!
//! ```text
//! listen_socket binds the addresses when the gateway starts, and waits for those that do not exist yet
//! unix_socket  the same for sockets in the file system
//! inherited    sockets of systemd
//! client_socket, stream_listener  sockets of either kind
//! listener     accepts connections
//! proxy_header, proxied  who the client is, if a load balancer has connected for it
//! admission    how many connections there may be, and how many without a CONNECT
//! guests, handshake_rate, address_group  the limits of one listener
//! listener_setup, tls_settings  what the connections of one listener have in common
//! revoked      the certificates in lists of revoked ones
//! tls_fault    words for the log about a handshake that failed
//! foreign      recognizes by its first bytes a client of another protocol
//! socket       one Network Connection: reads, writes, and the bytes that wait in between
//! transport    the stream of bytes below a socket: over TCP, with TLS between, or in memory
//! byte_queue   a queue of bytes that wait
//! descriptors  the limit of open files
//! ```

mod address_group;
mod admission;
mod byte_queue;
mod client_socket;
pub(crate) mod descriptors;
mod foreign;
mod guests;
mod handshake_rate;
mod inherited;
mod listen_socket;
mod listener;
mod listener_setup;
mod memory_credit;
mod proxied;
mod proxy_header;
mod revoked;
mod socket;
mod stream_listener;
mod tls_fault;
mod tls_settings;
mod transport;
mod unix_socket;

pub(crate) use address_group::AddressGroup;
pub(crate) use admission::{Admission, CONNECTION_BYTES, ConnectPermit, ConnectionPermit, GRACE, UNFINISHED_BYTES};
pub(crate) use byte_queue::ByteQueue;
pub(crate) use client_socket::ClientSocket;
pub(crate) use foreign::{Expected, Protocol};
pub(crate) use inherited::InheritedSockets;
pub(crate) use listen_socket::{AwaitedAddresses, ListenSocket, open_all, open_all_of};
pub(crate) use listener::{Newcomer, Reception, accept};
pub(crate) use listener_setup::{Accepting, Certificates, ListenerSetup};
pub(crate) use proxied::{HeaderError, read_header};
pub(crate) use proxy_header::{HeaderFault, check_any as check_proxy_header};
pub(crate) use revoked::Revoked;
pub(crate) use socket::{CHUNK, Holding, READ_BUFFER, ReadOutcome, Reading, Socket};
pub(crate) use tls_fault::TlsFault;
pub use tls_settings::TlsError;
pub use transport::ClientCertificate;
pub use transport::memory::MemoryStream;
pub(crate) use transport::memory::pair as memory_pair;
pub(crate) use transport::{Asking, Detached, LayerError, Layered, Transport, check_websocket};
pub(crate) use unix_socket::{SocketPath, UnixSocket};
