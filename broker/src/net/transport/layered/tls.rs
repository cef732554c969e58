//! TLS over bytes that others read and write: records in, the client's bytes out, and the other way round.
//!
//! The library keeps no bytes between two calls, so an idle client costs no buffer. The handshake is a part of reading: what the library wants to send
//! is added to the bytes that wait to be sent.

use super::Scratch;
use crate::net::ByteQueue;
use crate::net::transport::certificate::ClientCertificate;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus};
use rustls::{Error, ServerConfig};
use std::io;
use std::sync::Arc;

/// One TLS connection, on the side of the server.
pub(super) struct Tls {
    connection: UnbufferedServerConnection,
    certificate: Option<Arc<ClientCertificate>>,
    is_handshaking: bool,
}

/// How far the records went.
pub(super) struct Received {
    /// So many bytes of the records were used; the rest is the beginning of a record.
    pub(super) taken: usize,
    /// The client has said that nothing follows (close_notify).
    pub(super) is_end: bool,
}

/// An idle connection takes so many bytes of memory, with the keys of both directions; 3,300 were measured.
pub(super) const BYTES: usize = 4 * 1024;

impl Tls {
    pub(super) fn new(config: Arc<ServerConfig>) -> io::Result<Self> {
        let connection = UnbufferedServerConnection::new(config).map_err(fault)?;
        Ok(Self { connection, certificate: None, is_handshaking: true })
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.is_handshaking
    }

    /// The certificate of the client, after the handshake; `None` if the client has none.
    pub(super) fn certificate(&self) -> Option<&Arc<ClientCertificate>> {
        self.certificate.as_ref()
    }

    /// Decrypts all whole records, and hands their contents to `give`. What has to be sent in answer is added to `unsent`.
    ///
    /// # Errors
    /// The client breaks the protocol or is not trusted; `unsent` has the alert that tells the client why.
    pub(super) fn receive(
        &mut self,
        records: &mut [u8],
        unsent: &mut ByteQueue,
        mut give: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<Received> {
        let (mut taken, mut is_end) = (0, false);
        loop {
            let UnbufferedStatus { mut discard, state } = self.connection.process_tls_records(&mut records[taken..]);
            let is_done = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(fault)?;
                        discard += record.discard;
                        give(record.payload)?;
                    }
                    false
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(&mut data, |bytes| unsent.push(bytes, 0))?;
                    false
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    false
                }
                Ok(ConnectionState::PeerClosed) => {
                    is_end = true;
                    false
                }
                Ok(ConnectionState::Closed) => {
                    is_end = true;
                    true
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => true,
                Ok(_) => return Err(fault(Error::General("early data, which is never accepted".to_owned()))),
                Err(error) => {
                    self.alert(unsent);
                    return Err(fault(error));
                }
            };
            taken += discard;
            if is_done {
                break;
            }
        }
        if self.is_handshaking && !self.connection.is_handshaking() {
            self.is_handshaking = false;
            let own = self.connection.peer_certificates().and_then(|chain| chain.first());
            self.certificate = own.and_then(|own| ClientCertificate::read(own));
        }
        Ok(Received { taken, is_end })
    }

    /// After an error: adds the alert that tells the client why, if there is one.
    fn alert(&mut self, unsent: &mut ByteQueue) {
        // An alert takes two steps, and there is one.
        for _ in 0..4 {
            match self.connection.process_tls_records(&mut []).state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    if encode(&mut data, |bytes| unsent.push(bytes, 0)).is_err() {
                        return;
                    }
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                _ => return,
            }
        }
    }

    /// Encrypts `plain`, and adds the records to `out`.
    ///
    /// # Errors
    /// The connection can't send, because the handshake is not done or the end was sent.
    pub(super) fn encrypt(&mut self, plain: &[u8], out: &mut Scratch) -> io::Result<()> {
        self.when_open(out, |state, out| {
            let ConnectionState::WriteTraffic(mut traffic) = state else { return Err(not_open()) };
            // The overhead of a record is 22 bytes in TLS 1.3 and 29 in TLS 1.2.
            let mut room = plain.len() + (plain.len() / 16_384 + 1) * 64;
            loop {
                match traffic.encrypt(plain, out.room(room)) {
                    Ok(written) => {
                        out.add(written);
                        return Ok(());
                    }
                    Err(EncryptError::InsufficientSize(size)) if size.required_size > room => room = size.required_size,
                    Err(error) => return Err(io::Error::other(error)),
                }
            }
        })
    }

    /// Adds the record that says that nothing follows (close_notify) to `out`.
    pub(super) fn end(&mut self, out: &mut Scratch) -> io::Result<()> {
        self.when_open(out, |state, out| {
            let ConnectionState::WriteTraffic(mut traffic) = state else { return Err(not_open()) };
            let written = traffic.queue_close_notify(out.room(64)).map_err(io::Error::other)?;
            out.add(written);
            Ok(())
        })
    }

    /// Calls `write` when the connection can send contents. What has to be sent before is added to `out`.
    fn when_open(
        &mut self,
        out: &mut Scratch,
        write: impl FnOnce(ConnectionState<'_, '_, rustls::server::ServerConnectionData>, &mut Scratch) -> io::Result<()>,
    ) -> io::Result<()> {
        // There are few steps: the answer to a new key of the client, and the end that the client has sent.
        for _ in 0..16 {
            match self.connection.process_tls_records(&mut []).state.map_err(fault)? {
                ConnectionState::EncodeTlsData(mut data) => encode(&mut data, |bytes| out.push(bytes))?,
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => {}
                state => return write(state, out),
            }
        }
        Err(not_open())
    }
}

/// Takes what the library wants to send.
fn encode<D>(data: &mut EncodeTlsData<'_, D>, take: impl FnOnce(&[u8])) -> io::Result<()> {
    let mut bytes = [0; 2048];
    match data.encode(&mut bytes) {
        Ok(written) => take(&bytes[..written]),
        Err(EncodeError::InsufficientSize(size)) => {
            let mut bytes = vec![0; size.required_size];
            let written = data.encode(&mut bytes).map_err(io::Error::other)?;
            take(&bytes[..written]);
        }
        Err(error) => return Err(io::Error::other(error)),
    }
    Ok(())
}

fn fault(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn not_open() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "TLS is not open")
}
