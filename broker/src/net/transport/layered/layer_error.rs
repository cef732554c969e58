//! Why a layer gives a connection up.

use super::{Expected, MOST_OF_HANDSHAKE, Protocol};
use std::fmt;
use std::io;

/// Why a layer gives a connection up.
#[derive(Debug)]
pub(crate) enum LayerError {
    /// The client speaks another protocol than this listener.
    Foreign(Protocol, Expected),
    /// The client breaks the protocol of WebSocket, or may not connect, in words.
    WebSocket(String),
    /// The handshake takes more than [`MOST_OF_HANDSHAKE`] bytes.
    TooLong,
    /// The client lets too many answers of the layers wait.
    ReadsNothing,
}

impl fmt::Display for LayerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign(protocol, expected) => f.write_str(protocol.instead_of(*expected)),
            Self::WebSocket(error) => f.write_str(error),
            Self::TooLong => write!(f, "its handshake takes more than {MOST_OF_HANDSHAKE} bytes"),
            Self::ReadsNothing => f.write_str("it makes TLS or WebSocket answer again and again, and reads no answer"),
        }
    }
}

impl std::error::Error for LayerError {}

impl From<LayerError> for io::Error {
    fn from(error: LayerError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}
