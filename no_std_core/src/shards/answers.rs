//! A publisher waits for the answers of other shards about its message: whether any of them keeps it.

use crate::codec::AckKind;
use crate::engine::Engine;
use crate::engine::connections::{Connection, Owed, Reply};
use crate::engine::packets::publish::answer_to;
use crate::engine::routing::Fate;
use crate::engine::sessions::Session;
use crate::mem::{Handle, one_more};
use crate::seam::kind::Kind;
use crate::shards::forward::Content;
use crate::shards::questions::{Asker, QuestionId};
use crate::time::Instant;

impl Engine<'_> {
    /// Tells the shard `to` the fate of its message. The answer is sent together with others for that shard.
    pub(super) fn answer(&mut self, to: u16, fate: Fate) {
        match self.shards.links.last_to(to) {
            Some(Content::Answers { fate: same, count }) if *same == fate => *count = one_more(*count),
            _ => self.shards.links.send(to, Content::Answers { fate, count: 1 }),
        }
    }

    /// A message was routed, and `fate` is its fate on this shard. Returns whether the answers of other shards count
    /// too.
    pub(super) fn await_answers(
        &mut self,
        handle: Handle<Connection>,
        session: Handle<Session>,
        (packet_id, kind): (u16, AckKind),
        fate: Fate,
        question: QuestionId,
    ) -> bool {
        let number = self.sessions[session].shards.number();
        let asker = Asker { connection: self.id_of(handle), session, number, packet_id, kind, reply: None };
        let counts = fate != Fate::Kept;
        self.shards.questions.await_answers(question, fate, Some(asker).filter(|_| counts));
        counts
    }

    /// The shard `by` tells the fate of the next `count` messages of this shard.
    pub(super) fn take_answers(&mut self, now: Instant, by: u16, fate: Fate, count: u32) {
        for _ in 0..count {
            if let Some((asker, fate)) = self.shards.questions.answer(by, fate) {
                self.answer_asker(now, asker, fate);
            }
        }
    }

    /// The Session in this slot, if it has this number: a stored handle may have outlived its Session.
    pub(crate) fn session_with_number(&self, session: Handle<Session>, number: u32) -> Option<Handle<Session>> {
        let session = self.sessions.at(session.index())?;
        (self.sessions[session].shards.number() == number).then_some(session)
    }

    fn answer_asker(&mut self, now: Instant, asker: Asker, fate: Fate) {
        let Asker { connection, session, number, packet_id, kind, reply } = asker;
        let is_refused = fate == Fate::Lost && reply.is_some();
        if fate == Fate::Lost {
            self.count_lost_publish(is_refused);
        }
        if is_refused
            && kind == AckKind::PubRec
            && let Some(session) = self.session_with_number(session, number)
        {
            let entry = &mut self.sessions[session];
            let receipt = self.receipts.release(session, &mut entry.inbound, packet_id);
            if let (true, Some(receipt)) = (entry.is_durable, receipt) {
                self.messages.journal.mark(Kind::Receipt, receipt.index());
            }
        }
        // The replies of a connection are given up only when the connection gets no more packets at all.
        let connection = self.find(connection).filter(|connection| !self.connections[*connection].owed.is_empty());
        let owed = reply.and_then(|reply| self.owed.at(reply.index()));
        if let (Some(connection), Some(reply)) = (connection, owed) {
            if is_refused && !self.connections[connection].version.is_v5() {
                // Older versions can't say that a message was not retained. The client sends it again once it has connected again.
                self.withhold(connection, reply);
                self.connections[connection].has_reason = true;
                self.close_refused(now, connection);
                return;
            }
            let (code, why) = answer_to(&self.config, fate, true);
            let owed = &mut self.owed[reply];
            if owed.reply == Reply::Unanswered(kind) && owed.packet_id == packet_id {
                (owed.reply, owed.code, owed.why) = (Reply::Ack(kind), code, why);
                self.mark_ready(connection);
            }
        }
    }

    /// Removes a reply from those that the client is owed.
    fn withhold(&mut self, connection: Handle<Connection>, reply: Handle<Owed>) {
        for _ in 0..self.connections[connection].owed.len() {
            let Some(next) = self.connections[connection].owed.pop_front(&mut self.owed) else { return };
            if next == reply {
                self.owed.remove(next);
            } else {
                self.connections[connection].owed.push_back(&mut self.owed, next);
            }
        }
        self.mark_ready(connection);
    }

    /// Makes the reply that was just queued wait for the answers to a question.
    pub(super) fn hold_reply(&mut self, handle: Handle<Connection>, question: QuestionId) {
        if !self.connections[handle].version.is_v5() && !self.shards.questions.is_about_retaining(question) {
            return;
        }
        let (id, reply) = (self.id_of(handle), self.connections[handle].owed.back());
        if let (Some(reply), Some(asker)) = (reply, self.shards.questions.asker(question)) {
            (asker.connection, asker.reply) = (id, Some(reply));
            self.owed[reply].reply = Reply::Unanswered(asker.kind);
        }
    }
}
