//! Connections that wait until a batch of records is safe, or until other shards have answered.

use crate::engine::Engine;
use crate::engine::connections::{Connection, Owed, Waiting};
use crate::engine::neighbours::bodies::Paged;
use crate::engine::sessions::Session;
use crate::mem::{Handle, Linked};
use crate::seam::kind::Kind;

impl Engine<'_> {
    /// Marks the waiting connections as ready that need not wait any more.
    pub(crate) fn wake_waiting(&mut self) {
        let mut at = self.waiting.front();
        while let Some(connection) = at {
            at = Linked::<Waiting>::next(&self.connections[connection]);
            if self.may_go_on(connection) {
                self.stop_waiting(connection);
                self.mark_ready(connection);
            }
        }
    }

    /// Whether a connection that waited for a batch may go on.
    fn may_go_on(&self, handle: Handle<Connection>) -> bool {
        let connection = &self.connections[handle];
        if let Some(resumes) = self.may_resume(handle) {
            return resumes;
        }
        let is_safe = |first: Handle<Owed>| !self.must_wait(first);
        let window = self.window_of(handle);
        connection.owed.front().is_some_and(is_safe)
            || connection
                .session
                .is_some_and(|session| self.sessions[session].outbound.may_go_on(&self.messages, window))
    }

    /// Whether a reply waits for a batch, or for the answer of other shards.
    #[inline]
    fn must_wait(&self, reply: Handle<Owed>) -> bool {
        let owed = &self.owed[reply];
        owed.is_unanswered() || self.messages.journal.is_unsafe(owed.batch)
    }

    /// Whether the next packet to the client waits for a batch, or for the answer of other shards.
    #[inline]
    pub(crate) fn waits(&self, handle: Handle<Connection>) -> bool {
        let connection = &self.connections[handle];
        if connection.owed.front().is_some_and(|first| self.must_wait(first)) {
            return true;
        }
        if !self.messages.journal.is_on() {
            return false;
        }
        let window = self.window_of(handle);
        connection.session.is_some_and(|session| self.sessions[session].outbound.waits(&self.messages, window))
    }

    pub(crate) fn begin_waiting(&mut self, handle: Handle<Connection>) {
        if !self.connections[handle].is_waiting {
            self.connections[handle].is_waiting = true;
            self.waiting.push_back(&mut self.connections, handle);
        }
    }

    pub(crate) fn stop_waiting(&mut self, handle: Handle<Connection>) {
        if self.connections[handle].is_waiting {
            self.connections[handle].is_waiting = false;
            self.waiting.unlink(&mut self.connections, handle);
        }
    }

    /// The batch that has to be safe for all promises to a durable Session so far; 0 for other Sessions.
    pub(crate) fn barrier_of(&mut self, session: Handle<Session>) -> u32 {
        if self.sessions[session].is_durable { self.messages.journal.barrier() } else { 0 }
    }

    /// A Session has changed, or is about to end.
    pub(crate) fn note_session(&mut self, session: Handle<Session>) {
        if self.sessions[session].is_recorded() {
            self.messages.journal.mark(Kind::Session, session.index());
        }
    }
}
