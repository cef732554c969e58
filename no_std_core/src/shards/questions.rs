//! What became of messages that went to siblings, for the publishers that are told.
//!
//! A message that nobody here keeps may be kept by a sibling, or be lost there to all who subscribed. So its PUBACK or PUBREC waits
//! until one sibling has said that it is kept, or all that it went to have answered. They answer in the order in which they were
//! asked, many at once.

use crate::codec::AckKind;
use crate::engine::connections::{ConnectionId, Owed};
use crate::engine::packets::publish::Fate;
use crate::engine::sessions::Session;
use crate::mem::Handle;
use alloc::collections::VecDeque;

/// Who waits for an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub(crate) connection: ConnectionId,
    pub(crate) session: Handle<Session>,
    /// The Session's number, which is never used again.
    pub(crate) number: u32,
    pub(crate) packet_id: u16,
    pub(crate) kind: AckKind,
    /// The reply that waits, where the client gets one that can say what became of its message.
    pub(crate) reply: Option<Handle<Owed>>,
}

#[derive(Debug, Default)]
struct Question {
    asker: Option<Asker>,
    /// Siblings that have not answered.
    awaited: u16,
    fate: Fate,
}

/// All questions that are open.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    /// The number of the first one.
    first: u64,
    open: VecDeque<Question>,
    /// What is handed out now belongs to the last one.
    is_asking: bool,
}

impl Questions {
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// One more sibling is asked about the message that is being handed out; the number of the question.
    pub(crate) fn ask(&mut self) -> u64 {
        if !self.is_asking {
            self.is_asking = true;
            self.open.push_back(Question::default());
        }
        if let Some(question) = self.open.back_mut() {
            question.awaited += 1;
        }
        self.first + (self.open.len() as u64).saturating_sub(1)
    }

    /// The message is handed out. Whether siblings were asked; what is known of it so far is `fate`, and the rest is for `asker`.
    pub(crate) fn end_asking(&mut self, fate: Fate, asker: Option<Asker>) -> bool {
        if !core::mem::take(&mut self.is_asking) {
            return false;
        }
        if let Some(question) = self.open.back_mut() {
            (question.fate, question.asker) = (fate, asker);
        }
        true
    }

    /// A sibling has answered. Who is to hear what became of the message, once that is known.
    pub(crate) fn answer(&mut self, number: u64, fate: Fate) -> Option<(Asker, Fate)> {
        let question = self.open.get_mut(usize::try_from(number.checked_sub(self.first)?).ok()?)?;
        question.awaited = question.awaited.saturating_sub(1);
        question.fate = question.fate.and(fate);
        let is_known = question.fate == Fate::Kept || question.awaited == 0;
        let told = question.asker.take_if(|_| is_known).map(|asker| (asker, question.fate));
        while self.open.front().is_some_and(|first| first.awaited == 0) {
            self.open.pop_front();
            self.first += 1;
        }
        told
    }

    /// Who waits for the answer about the message that was sent last with this Packet Identifier.
    pub(crate) fn asker_of(&mut self, session: Handle<Session>, packet_id: u16) -> Option<&mut Asker> {
        let mut askers = self.open.iter_mut().rev().filter_map(|question| question.asker.as_mut());
        askers.find(|asker| asker.session == session && asker.packet_id == packet_id)
    }
}
