//! Queries: counters, connections, Sessions.

use super::broker::Broker;
use crate::engine::connections::{ConnectionId, Phase};
use crate::engine::info::{ConnectionInfo, SessionInfo};
use crate::engine::packets::connect::shortage;
use crate::engine::siblings::Siblings;
use crate::mem::OWNED;
use crate::seam::counters::Counters;
use core::ops::ControlFlow;

impl Broker<'_> {
    /// Counts of what the broker has done and holds.
    pub fn counters(&self) -> Counters {
        self.engine.counters()
    }

    /// Information about a connection; `None` if it is gone.
    pub fn describe(&self, id: ConnectionId) -> Option<ConnectionInfo> {
        let connection = &self.engine.connections[self.engine.find(id)?];
        let draft = connection.draft.get();
        Some(ConnectionInfo {
            version: connection.version,
            is_open: connection.phase == Phase::Open,
            closing: connection.closing().map(|reason| (reason.code, reason.why.as_str())),
            was_open: draft.was_open.get() || connection.phase == Phase::Open,
            is_by_client: draft.is_by_client.get(),
            too_large: if OWNED { Some(draft.too_large.get()).filter(|len| *len > 0) } else { None },
            shortage: if OWNED { connection.closing().and_then(shortage) } else { None },
            session: connection.session.map(|session| self.engine.sessions[session].info()),
        })
    }

    /// Shows the Sessions, connected or not, with their Client Identifiers: from the position `from` on, where 0 is the first,
    /// until `visit` breaks off. Returns the position behind the last Session that was shown; `None` after the last.
    ///
    /// A Session that is made between two calls may be shown or not. Takes time in proportion to the positions passed. In
    /// borrowed memory an identifier of more than 256 bytes is shown as an empty one.
    pub fn visit_sessions(
        &self,
        from: usize,
        mut visit: impl FnMut(&str, SessionInfo) -> ControlFlow<()>,
    ) -> Option<usize> {
        for (handle, session) in self.engine.sessions.iter_from(from).filter(|(_, session)| session.is_local()) {
            let info = session.info();
            let shown = self
                .engine
                .messages
                .bytes
                .with(session.client_id, |text| visit(core::str::from_utf8(text).unwrap_or(""), info));
            if shown.unwrap_or_else(|| visit("", info)).is_break() {
                return Some(handle.index().saturating_add(1));
            }
        }
        None
    }

    /// Information about the Session with this Client Identifier.
    pub fn session(&self, client_id: &str) -> Option<SessionInfo> {
        let hash = self.engine.hasher.hash_bytes(client_id.as_bytes());
        Some(self.engine.sessions[self.engine.find_session(hash, client_id.as_bytes())?].info())
    }

    /// Whether clients are served. After a restart they wait until the other shards have told which subscriptions they have.
    pub fn is_serving(&self) -> bool {
        !self.engine.is_greeting()
    }

    /// The limits of clients: as configured, or less if the memory has room for less.
    pub fn limits(&self) -> &crate::config::Limits {
        &self.engine.config.limits
    }

    /// Copies the Client Identifier of a connection to `out`, cut to its size. Returns the number of bytes.
    ///
    /// For a closing connection the identifier is known with the feature `alloc` only.
    pub fn client_id(&self, id: ConnectionId, out: &mut [u8]) -> usize {
        let Some(connection) = self.engine.find(id) else {
            return 0;
        };
        let connection = &self.engine.connections[connection];
        let text = connection
            .session
            .map_or(connection.draft.get().client_id, |session| self.engine.sessions[session].client_id);
        self.engine.messages.bytes.copy(text, 0, out)
    }
}
