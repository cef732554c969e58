//! Questions to other shards about the fate of messages, for the publishers that are told.
//!
//! A message that this shard does not keep may be kept by another shard, or be lost there for all its subscribers. So its PUBACK or
//! PUBREC waits until one shard has answered that it keeps the message, or all shards that got it have answered. A shard answers in the
//! order in which it was asked, many questions at once.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use crate::codec::AckKind;
use crate::engine::connections::{ConnectionId, Owed};
use crate::engine::routing::Fate;
use crate::engine::sessions::Session;
use crate::mem::Handle;

/// The publisher that waits for an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    pub(super) connection: ConnectionId,
    pub(super) session: Handle<Session>,
    /// The number of the publisher's Session, which no other Session ever has.
    pub(super) number: u32,
    pub(super) packet_id: u16,
    pub(super) kind: AckKind,
    /// The reply that waits, if the client's version of MQTT can say the fate of its message.
    pub(super) reply: Option<Handle<Owed>>,
}

/// Identifies a question. Questions are numbered in the order in which they are opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QuestionId(u64);

#[derive(Debug)]
struct Question {
    asker: Option<Asker>,
    /// How many shards have not answered yet.
    awaited: u16,
    fate: Fate,
    /// Whether it is about a message to be retained: then the owner of its topic alone is asked.
    retains: bool,
}

/// All open questions.
#[derive(Debug)]
pub(super) struct Questions {
    /// The number of the first question in `open`.
    first: u64,
    open: VecDeque<Question>,
    /// Questions about messages of QoS 2, by the number of the publisher's Session and the Packet Identifier. If the client sends such a
    /// message once more, another reply waits for the answer.
    exactly_once: BTreeMap<(u32, u16), QuestionId>,
    /// For each shard the questions that it has not answered, in order.
    asked: Vec<VecDeque<QuestionId>>,
}

impl Questions {
    pub(super) fn new(siblings: usize) -> Self {
        let asked = (0..siblings).map(|_| VecDeque::new()).collect();
        Self { first: 0, open: VecDeque::new(), exactly_once: BTreeMap::new(), asked }
    }

    /// Opens a question about a message that is sent to other shards.
    pub(super) fn open(&mut self, retains: bool) -> QuestionId {
        let id = QuestionId(self.first.saturating_add(self.open.len() as u64));
        self.open.push_back(Question { asker: None, awaited: 0, fate: Fate::Unwanted, retains });
        id
    }

    /// Notes that one more shard is asked.
    pub(super) fn ask(&mut self, id: QuestionId, sibling: u16) {
        if let Some(asked) = self.asked.get_mut(usize::from(sibling)) {
            asked.push_back(id);
            if let Some(question) = self.get_mut(id) {
                question.awaited = question.awaited.saturating_add(1);
            }
        }
    }

    /// The message was routed, and `fate` is its fate on this shard. `asker` is told the fate once the other shards have answered.
    pub(super) fn await_answers(&mut self, id: QuestionId, fate: Fate, asker: Option<Asker>) {
        if let Some(Asker { number, packet_id, kind: AckKind::PubRec, .. }) = asker {
            self.exactly_once.insert((number, packet_id), id);
        }
        if let Some(question) = self.get_mut(id) {
            (question.fate, question.asker) = (fate, asker);
        }
    }

    /// The shard `by` has answered its next question. Once the fate of the message is known, returns the publisher to be told.
    pub(super) fn answer(&mut self, by: u16, fate: Fate) -> Option<(Asker, Fate)> {
        let id = self.asked.get_mut(usize::from(by))?.pop_front()?;
        let question = self.get_mut(id)?;
        question.awaited = question.awaited.saturating_sub(1);
        question.fate = question.fate.and(fate);
        let is_known = question.fate == Fate::Kept || question.awaited == 0;
        let told = question.asker.take_if(|_| is_known).map(|asker| (asker, question.fate));
        if let Some((Asker { number, packet_id, kind: AckKind::PubRec, .. }, _)) = told
            && self.exactly_once.get(&(number, packet_id)) == Some(&id)
        {
            self.exactly_once.remove(&(number, packet_id));
        }
        while self.open.front().is_some_and(|first| first.awaited == 0) {
            self.open.pop_front();
            self.first = self.first.saturating_add(1);
        }
        told
    }

    /// The publisher that waits for the answer.
    pub(super) fn asker(&mut self, id: QuestionId) -> Option<&mut Asker> {
        self.get_mut(id)?.asker.as_mut()
    }

    /// Whether the question is about a message to be retained.
    pub(super) fn is_about_retaining(&mut self, id: QuestionId) -> bool {
        self.get_mut(id).is_some_and(|question| question.retains)
    }

    /// The question about the QoS 2 message that the Session with this number sent with this Packet Identifier.
    pub(super) fn about(&self, number: u32, packet_id: u16) -> Option<QuestionId> {
        self.exactly_once.get(&(number, packet_id)).copied()
    }

    fn get_mut(&mut self, id: QuestionId) -> Option<&mut Question> {
        self.open.get_mut(usize::try_from(id.0.checked_sub(self.first)?).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::testing::Random;
    use std::vec;

    fn asker(number: u32, packet_id: u16, kind: AckKind) -> Asker {
        let slot = Handle::from_index(0);
        let connection = ConnectionId { slot, generation: 1 };
        Asker { connection, session: Handle::from_index(0), number, packet_id, kind, reply: None }
    }

    #[test]
    fn a_question_about_a_message_of_qos_2_is_found_until_it_is_answered() {
        let mut questions = Questions::new(3);
        let mut random = Random::new(7);
        let mut open = vec![];
        for packet_id in 1..=200 {
            let id = questions.open(false);
            questions.ask(id, 1);
            questions.ask(id, 2);
            questions.await_answers(id, Fate::Unwanted, Some(asker(9, packet_id, AckKind::PubRec)));
            open.push(id);
        }
        for (packet_id, id) in (1..).zip(&open) {
            assert_eq!(questions.about(9, packet_id), Some(*id));
            assert_eq!(questions.about(8, packet_id), None);
        }
        // Two shards answer for each message: both keep it, one of them, or none.
        for packet_id in 1..=200 {
            let fates =
                [random.below(2) == 0, random.below(2) == 0].map(|kept| if kept { Fate::Kept } else { Fate::Lost });
            let told = [questions.answer(1, fates[0]), questions.answer(2, fates[1])];
            let expected = fates[0].and(fates[1]);
            let heard: vec::Vec<_> = told.into_iter().flatten().map(|(asker, fate)| (asker.packet_id, fate)).collect();
            assert_eq!(heard, [(packet_id, expected)]);
            assert_eq!(questions.about(9, packet_id), None);
        }
        assert!(questions.open.is_empty() && questions.exactly_once.is_empty());
    }
}
