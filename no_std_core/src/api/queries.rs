//! What the broker knows: counters, connections, Sessions.

use super::broker::Broker;
use crate::engine::connections::ConnectionId;
use crate::engine::connections::Phase;
use crate::engine::info::ConnectionInfo;
use crate::engine::info::SessionInfo;
use crate::engine::siblings::Siblings;
use crate::seam::counters::Counters;
use core::ops::ControlFlow;

impl Broker<'_> {
    /// How much was done so far, in small steps: levels of the tree that were visited, messages put into queues, and the like. Who
    /// looks at it before and after a call knows what that cost, in no unit of time but on a scale that is the same for all.
    #[cfg(feature = "alloc")]
    pub fn work(&self) -> u64 {
        self.engine.work.done()
    }

    /// The most entries of any table that a look-up may have to pass. A few are usual; many would mean that somebody has found what
    /// collides. It looks at all that there is, so it is for tests and for diagnosis.
    #[cfg(feature = "alloc")]
    pub fn longest_chain(&self) -> usize {
        let others = [
            self.engine.session_index.longest_chain(&self.engine.sessions),
            self.engine.receipts.longest_chain(),
            self.engine.aliases.longest_chain(),
            self.engine.longest_chain_elsewhere(),
        ];
        others.into_iter().fold(self.engine.router.longest_chain(), usize::max)
    }

    /// What the broker has done and holds.
    pub fn counters(&self) -> Counters {
        self.engine.counters()
    }

    /// What is known of a connection; `None` if it is gone.
    pub fn describe(&self, id: ConnectionId) -> Option<ConnectionInfo> {
        let connection = &self.engine.connections[self.engine.find(id)?];
        Some(ConnectionInfo {
            version: connection.version,
            is_open: connection.phase == Phase::Open,
            closing: connection.closing().map(|reason| (reason.code, reason.why.as_str())),
            #[cfg(feature = "alloc")]
            was_open: connection.draft.get().was_open || connection.phase == Phase::Open,
            #[cfg(not(feature = "alloc"))]
            was_open: connection.phase == Phase::Open,
            #[cfg(feature = "alloc")]
            is_by_client: connection.draft.get().is_by_client,
            #[cfg(not(feature = "alloc"))]
            is_by_client: false,
            #[cfg(feature = "alloc")]
            too_large: Some(connection.draft.get().too_large).filter(|len| *len > 0),
            #[cfg(not(feature = "alloc"))]
            too_large: None,
            #[cfg(feature = "alloc")]
            shortage: connection.closing().and_then(crate::engine::packets::connect::shortage),
            #[cfg(not(feature = "alloc"))]
            shortage: None,
            session: connection.session.map(|session| self.engine.sessions[session].info()),
        })
    }

    /// Shows the Sessions, connected or not, with their Client Identifiers: from the place `from` on, where 0 is before the
    /// first, until `visit` breaks off. The place to go on from then, behind the one that was shown last; `None` after the last.
    ///
    /// A Session that comes between two calls is shown or not. Linear in the places between. In borrowed memory an identifier
    /// of more than 256 bytes is shown as an empty one.
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
                return Some(handle.index() + 1);
            }
        }
        None
    }

    /// What is known of the Session with this Client Identifier.
    pub fn session(&self, client_id: &str) -> Option<SessionInfo> {
        let hash = self.engine.hasher.hash_bytes(client_id.as_bytes());
        Some(self.engine.sessions[self.engine.find_session(hash, client_id.as_bytes())?].info())
    }

    /// Whether clients are served. They wait while siblings have not told yet, after a restart, who subscribed.
    pub fn is_serving(&self) -> bool {
        !self.engine.is_greeting()
    }

    /// What clients may do: as configured, or less where memory is made for less.
    pub fn limits(&self) -> &crate::config::Limits {
        &self.engine.config.limits
    }

    /// Copies the Client Identifier of a connection, cut to the size of `out`; how many bytes that are.
    ///
    /// Of a closing connection it is known with the feature `alloc` only.
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
