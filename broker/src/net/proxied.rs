//! Reads the header of the PROXY protocol, and no byte beyond it.

use super::proxy_header::{HeaderFault, HeaderSoFar, look};
use super::transport::Transport;
use std::io;
use std::net::SocketAddr;

/// Why a connection of a proxy has no header.
pub(crate) enum HeaderError {
    /// The proxy closed the connection, or the network lost it, after so many bytes.
    Lost(io::Error, usize),
    /// The bytes are no header.
    Fault(HeaderFault),
}

/// Reads a header. Returns the address of the client; `None` if the proxy connects for itself.
///
/// # Errors
/// The connection is lost before, or begins with something else.
pub(crate) async fn read_header(transport: &mut Transport) -> Result<Option<SocketAddr>, HeaderError> {
    let mut bytes = Vec::new();
    loop {
        let missing = match look(&bytes).map_err(HeaderError::Fault)? {
            HeaderSoFar::Missing(missing) => missing,
            HeaderSoFar::Whole(client) => return Ok(client),
        };
        let before = bytes.len();
        let lost = |error| HeaderError::Lost(error, before);
        transport.readable().await.map_err(lost)?;
        bytes.resize(before + missing, 0);
        let read = match transport.try_read_ready(&mut bytes[before..]) {
            Ok(0) => return Err(lost(io::ErrorKind::UnexpectedEof.into())),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(lost(error)),
        };
        bytes.truncate(before + read);
    }
}
