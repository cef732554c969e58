//! WebSocket over bytes that others read and write: the request that begins it, and frames.

use super::LayerError;
use super::frames::{self, FrameDecoder};
use super::upgrade;
use crate::net::Protocol;
use crate::net::foreign::Expected;
use std::sync::Arc;

/// One WebSocket connection, on the side of the server.
pub(super) struct WebSocket {
    origins: Arc<[String]>,
    state: State,
    is_closed: bool,
}

enum State {
    /// The request, as far as it has come.
    Request(Vec<u8>),
    Open(Box<FrameDecoder>),
}

/// The bytes that an open connection takes.
pub(super) const BYTES: usize = size_of::<FrameDecoder>() + 32;

impl WebSocket {
    pub(super) fn new(origins: Arc<[String]>) -> Self {
        Self { origins, state: State::Request(Vec::new()), is_closed: false }
    }

    pub(super) fn is_handshaking(&self) -> bool {
        matches!(self.state, State::Request(_))
    }

    /// The bytes of memory that wait.
    pub(super) fn held(&self) -> usize {
        match &self.state {
            State::Request(head) => head.capacity(),
            State::Open(_) => 0,
        }
    }

    /// Decodes the next bytes of the client, and hands the contents of messages to `give`. What has to be sent in answer is added to `answers`, also if it
    /// is an error. Returns whether the client has closed the connection.
    ///
    /// # Errors
    /// The client breaks the protocol, or may not connect.
    pub(super) fn receive(
        &mut self,
        bytes: &[u8],
        answers: &mut Vec<u8>,
        give: impl FnMut(&[u8]),
    ) -> Result<bool, LayerError> {
        let request;
        let mut bytes = bytes;
        if let State::Request(head) = &mut self.state {
            if head.is_empty()
                && let Some(protocol) = Protocol::instead_of_websocket(bytes)
            {
                return Err(LayerError::Foreign(protocol, Expected::WebSocket));
            }
            head.extend_from_slice(bytes);
            let taken = match upgrade::answer(head, &self.origins) {
                Ok(None) => return Ok(false),
                Ok(Some((answer, taken))) => {
                    answers.extend(answer);
                    taken
                }
                Err(error) => {
                    answers.extend(error.response());
                    return Err(LayerError::WebSocket(error.to_string()));
                }
            };
            request = std::mem::take(head);
            self.state = State::Open(Box::default());
            bytes = &request[taken..];
        }
        let State::Open(decoder) = &mut self.state else { return Ok(false) };
        let asked = decoder.receive(bytes, give).map_err(|error| {
            answers.extend(frames::close(error.code()));
            self.is_closed = true;
            LayerError::WebSocket(error.to_string())
        })?;
        answers.extend(asked.ping.iter().flat_map(|contents| frames::pong(contents)));
        if let Some(code) = asked.close {
            answers.extend(self.end(code));
        }
        Ok(asked.close.is_some())
    }

    /// The header of a frame with so many bytes, and how long it is.
    pub(super) fn header(contents: usize) -> ([u8; 10], usize) {
        frames::binary_header(contents)
    }

    /// The frame that closes the connection; empty if it was closed before, or has not begun.
    pub(super) fn end(&mut self, code: u16) -> Vec<u8> {
        let is_due = !self.is_handshaking() && !std::mem::replace(&mut self.is_closed, true);
        if is_due { frames::close(code) } else { Vec::new() }
    }
}
