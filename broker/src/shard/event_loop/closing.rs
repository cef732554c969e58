//! The end of a connection: tells the core, counts the end and logs the reason.

use super::EventLoop;
use crate::net::Socket;
use crate::output::log::Escaped;
use crate::shard::connection_ends::{ConnectionEnd, EndReason};
use goldcrest_core::codec::ReasonCode;
use goldcrest_core::{ConnectionId, Instant, Limits, Shortage};

impl EventLoop {
    /// Tells the core that the Network Connection is gone.
    pub(super) fn lose(&mut self, id: ConnectionId) {
        let now = self.begin();
        self.take(now, id);
    }

    pub(super) fn take(&mut self, now: Instant, id: ConnectionId) -> Option<Socket> {
        let socket = self.sockets.get_mut(id.index())?.take_if(|socket| socket.id == id)?;
        self.open -= 1;
        self.tell_closed(&socket);
        self.broker.handle_closed(now, id);
        Some(socket)
    }

    /// Counts why a connection ends, and logs the end if it is worth a line.
    pub(super) fn tell_closed(&self, socket: &Socket) {
        let info = self.broker.describe(socket.id);
        let note = self.mailboxes.connection_ends.take_note(self.shard, socket.id);
        let was_open = info.is_some_and(|info| info.was_open);
        let (end, why) = match info.and_then(|info| Some((info.closing?, info.is_by_client))) {
            Some(((code, why), true)) if code.is_error() => {
                let why = format_args!("{why}: {:#04x} {}", code as u8, code.name());
                return self.tell_end(socket, EndReason::DisconnectedWithError, was_open, why);
            }
            Some(((_, why), true)) => (EndReason::Disconnected, why),
            Some(((ReasonCode::Success, why), false)) => (EndReason::Lost, why),
            Some(((code, why), false)) => (EndReason::Code(code), note.as_deref().unwrap_or(why)),
            None if was_open => (EndReason::Lost, "the connection was lost"),
            None => (EndReason::LostBeforeConnect, "the connection was lost"),
        };
        let connection_ends = &self.mailboxes.connection_ends;
        match end {
            EndReason::Code(ReasonCode::ServerShuttingDown)
            | EndReason::Disconnected
            | EndReason::Lost
            | EndReason::LostBeforeConnect => {
                connection_ends.count(end);
                if tracing::enabled!(tracing::Level::DEBUG) {
                    let (mut client, address) = ([0; 256], socket.peer().map(tracing::field::display));
                    tracing::debug!(client = %Escaped(&self.client_id(socket, &mut client)), address, "closed: {why}");
                }
            }
            _ => {
                let tell = |why: std::fmt::Arguments<'_>| self.tell_end(socket, end, was_open, why);
                if let Some(bytes) = info.and_then(|info| info.too_large) {
                    let limit = self.broker.limits().packet_bytes;
                    if bytes <= limit {
                        let most = Limits::OTHER_PACKET_BYTES;
                        return tell(format_args!(
                            "it sends a packet of {bytes} bytes, and others than PUBLISH may have {most}"
                        ));
                    }
                    return tell(format_args!(
                        "it sends a packet of {bytes} bytes, and packet_bytes in [limits] allows {limit}"
                    ));
                }
                match info.and_then(|info| info.shortage) {
                    Some(Shortage::Sessions) => {
                        let limit = self.broker.counters().sessions_limit;
                        tell(format_args!("{why}: sessions in [capacity] allows {limit} on each shard"));
                    }
                    Some(Shortage::Store) => tell(format_args!(
                        "{why}: the files of the store are as large as max_bytes in [store] allows, or its disk has no space left"
                    )),
                    Some(Shortage::Memory) => {
                        tell(format_args!("{why}: messages and bytes in [capacity] bound it on each shard"))
                    }
                    _ => tell(format_args!("{why}")),
                }
            }
        }
    }

    pub(super) fn tell_end(&self, socket: &Socket, end: EndReason, was_open: bool, why: std::fmt::Arguments<'_>) {
        let mut client = [0; 256];
        let client = &self.client_id(socket, &mut client);
        let address = socket.peer();
        self.mailboxes.connection_ends.tell(&ConnectionEnd { end, client, address, was_open, why });
    }

    pub(super) fn client_id<'b>(&self, socket: &Socket, buffer: &'b mut [u8; 256]) -> std::borrow::Cow<'b, str> {
        let len = self.broker.client_id(socket.id, buffer);
        String::from_utf8_lossy(&buffer[..len])
    }
}
