//! Replays of retained messages that other shards keep, for Sessions here.
//!
//! A replay asks the owner of the topic, or all shards if its filter has wildcards. Each answers with one message at first, and then in
//! portions, the next one when the client has nearly read the one before. The client gets the messages of this shard first. Which messages came
//! before the SUBSCRIBE is known by their stamps: see `stamps.rs`.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use core::ops::Range;

use crate::engine::Engine;
use crate::engine::messages::Message;
use crate::engine::neighbours::happenings::LostMessage;
use crate::engine::router::Subscription;
use crate::engine::sessions::{Replay, Replayed, Session};
use crate::mem::heap::{MemoryAccount, MemoryCredit};
use crate::mem::{Claim, Handle};
use crate::seam::counters::DropReason;
use crate::seam::work;
use crate::shards::forward::{Content, PortionEnd, SharedMessage};
use crate::shards::replay_state::{OwnerQuestion, Progress, Reading, ReplayElsewhere};
use crate::time::Instant;
use crate::topic::TopicFilter;

/// Another portion is asked for when so many messages of the last one are left.
const FEW: usize = 8;
/// For so many replays of a Session owners are asked side by side, so that a client with many filters does not wait for each answer.
const SIDE_BY_SIDE: usize = 64;

/// The bytes that an open question takes: its place in the list of its replay, which doubles, and in the tree of all questions.
const QUESTION: usize = 2 * size_of::<OwnerQuestion>() + 48;

/// The replays here whose questions are open.
#[derive(Debug)]
pub(super) struct Readings {
    /// The number of the last question.
    last: u32,
    by_question: BTreeMap<u32, Handle<Replay>>,
    /// What the questions take is claimed before.
    memory: MemoryCredit,
}

impl Readings {
    pub(super) fn new(account: MemoryAccount) -> Self {
        Self { last: 0, by_question: BTreeMap::new(), memory: MemoryCredit::of(account) }
    }

    /// A number for another question of a replay.
    fn number(&mut self, replay: Handle<Replay>) -> u32 {
        self.last = self.last.wrapping_add(1);
        self.by_question.insert(self.last, replay);
        self.last
    }
}

impl Engine<'_> {
    /// The shards that may have retained messages that match a filter, beside this one.
    fn owners(&self, filter: TopicFilter<'_>) -> Range<u16> {
        let text = filter.proper();
        if text.contains(['+', '#']) {
            return 0..self.config.shard.count;
        }
        self.owner_of_retained(text).map_or(0..0, |owner| owner..owner.saturating_add(1))
    }

    pub(super) fn is_for_other_owners(&self, filter: TopicFilter<'_>) -> bool {
        self.shards.links.has_siblings() && !self.owners(filter).is_empty()
    }

    pub(super) fn prepare_reading(
        &mut self,
        session: Handle<Session>,
        replay: Handle<Replay>,
        filter: TopicFilter<'_>,
    ) {
        if !self.is_for_other_owners(filter) {
            return;
        }
        let (heard, owners) = (self.shards.stamps.heard(), self.owners(filter));
        let reading = Reading { heard, owners, is_asked: false, questions: VecDeque::new() };
        self.replays[replay].shards = ReplayElsewhere::Reads(Box::new(reading));
        // After a restart the other shards are asked when they have told what was under way.
        if self.sessions[session].replays.len() < SIDE_BY_SIDE && self.sessions[session].connection.is_some() {
            self.ask_owners(replay, Claim::Ordinary);
        }
    }

    /// Asks all owners for their first message, if there is memory for the questions.
    fn ask_owners(&mut self, replay: Handle<Replay>, claim: Claim) {
        let filter = self.replays[replay].filter;
        let text = self.messages.bytes.with(filter, |text| core::str::from_utf8(text).unwrap_or("").into());
        let filter: Arc<str> = text.unwrap_or_else(|| "".into());
        let Some(reading) = self.replays[replay].shards.reading().filter(|reading| !reading.is_asked) else { return };
        let (heard, owners) = (reading.heard.clone(), reading.owners.clone());
        if !self.shards.readings.memory.take(owners.len().saturating_mul(QUESTION), claim) {
            return;
        }
        reading.is_asked = true;
        for owner in owners.filter(|owner| *owner != self.config.shard.index) {
            let number = self.shards.readings.number(replay);
            let question = OwnerQuestion { owner, number, progress: Progress::Asked, portion: VecDeque::new() };
            if let Some(reading) = self.replays[replay].shards.reading() {
                reading.questions.push_back(question);
            }
            let (filter, heard) = (Arc::clone(&filter), heard.clone());
            // The owner has to have the messages of this shard first.
            self.shards.links.send_behind_messages(owner, Content::Replay { question: number, filter, heard });
        }
    }

    /// The client has subscribed once more: what was published since the first SUBSCRIBE came before the second. What an owner has found
    /// may be older, and is left out here: the replay will run once more.
    pub(super) fn renew_reading(&mut self, replay: Handle<Replay>) {
        let heard = self.shards.stamps.heard();
        let Some(reading) = self.replays[replay].shards.reading() else { return };
        reading.heard = heard.clone();
        let mut questions = core::mem::take(&mut reading.questions);
        for question in &mut questions {
            self.discard_portion(core::mem::take(&mut question.portion));
            if question.progress != Progress::Over {
                let before = question.number;
                self.shards.readings.by_question.remove(&before);
                question.number = self.shards.readings.number(replay);
                question.progress = Progress::Asked;
                let content = Content::RenewReplay { before, question: question.number, heard: heard.clone() };
                self.shards.links.send_behind_messages(question.owner, content);
            }
        }
        if let Some(reading) = self.replays[replay].shards.reading() {
            reading.questions = questions;
        }
    }

    /// All owners are to be asked once more.
    pub(super) fn repeat_reading(&mut self, replay: Handle<Replay>) {
        if let Some(reading) = self.replays[replay].shards.reading() {
            let was_asked = core::mem::take(&mut reading.is_asked);
            let taken = if was_asked { reading.owners.len().saturating_mul(QUESTION) } else { 0 };
            self.shards.readings.memory.give(taken);
        }
    }

    /// A replay has ended, or its Session does not want it any more.
    pub(super) fn end_reading(&mut self, replay: Handle<Replay>) {
        match core::mem::replace(&mut self.replays[replay].shards, ReplayElsewhere::Nothing) {
            ReplayElsewhere::Nothing => {}
            ReplayElsewhere::Reads(reading) => {
                if reading.is_asked {
                    self.shards.readings.memory.give(reading.owners.len().saturating_mul(QUESTION));
                }
                for OwnerQuestion { owner, number, progress, portion } in reading.questions {
                    if progress != Progress::Over {
                        self.shards.readings.by_question.remove(&number);
                        self.shards.links.send_behind_messages(owner, Content::EndReplay(number));
                    }
                    self.discard_portion(portion);
                }
            }
            ReplayElsewhere::Serves(served) => self.shards.served.forget(&served),
        }
    }

    fn discard_portion(&mut self, portion: VecDeque<SharedMessage>) {
        for message in portion {
            self.shards.readings.memory.give(message.cost());
        }
    }

    /// Sends the next retained message of another shard.
    pub(super) fn read_on(
        &mut self,
        now: Instant,
        session: Handle<Session>,
        replay: Handle<Replay>,
        subscription: Handle<Subscription>,
        window: u16,
    ) -> Replayed {
        let Some(reading) = self.replays[replay].shards.reading() else { return Replayed::Over };
        let Some(question) = reading.questions.front_mut() else {
            if reading.is_asked {
                return Replayed::Over;
            }
            self.ask_side_by_side(session);
            return Replayed::Wait;
        };
        let Some(next) = question.portion.front().cloned() else {
            match question.progress {
                Progress::Asked => return Replayed::Wait,
                Progress::More => self.ask_for_more(replay),
                Progress::Over => _ = reading.questions.pop_front(),
            }
            return Replayed::GoOn;
        };
        self.work.count(work::DELIVERY, 1);
        let outcome = if next.has_expired(now) {
            Replayed::GoOn
        } else {
            self.send_read(session, replay, subscription, next, window)
        };
        if !matches!(outcome, Replayed::Wait) {
            self.use_message(replay);
        }
        outcome
    }

    /// The first message of a replay was sent, or needs not be. Asks for more if few are left.
    fn use_message(&mut self, replay: Handle<Replay>) {
        let reading = self.replays[replay].shards.reading();
        let Some(question) = reading.and_then(|reading| reading.questions.front_mut()) else { return };
        let used = question.portion.pop_front();
        let asks = question.portion.len() <= FEW && question.progress == Progress::More;
        if let Some(used) = used {
            self.shards.readings.memory.give(used.cost());
        }
        if asks {
            self.ask_for_more(replay);
        }
    }

    /// Asks the owners for the first replays of a Session.
    fn ask_side_by_side(&mut self, session: Handle<Session>) {
        let mut next = self.sessions[session].replays.front();
        // The first one goes on however short memory is: a Session has one such.
        let mut claim = Claim::Anyway;
        for _ in 0..SIDE_BY_SIDE {
            let Some(replay) = next else { return };
            self.ask_owners(replay, claim);
            claim = Claim::Ordinary;
            next = self.replays[replay].next;
        }
    }

    fn ask_for_more(&mut self, replay: Handle<Replay>) {
        let reading = self.replays[replay].shards.reading();
        if let Some(question) = reading.and_then(|reading| reading.questions.front_mut()) {
            question.progress = Progress::Asked;
            self.shards.links.send(question.owner, Content::MoreOfReplay(question.number));
        }
    }

    fn send_read(
        &mut self,
        session: Handle<Session>,
        replay: Handle<Replay>,
        subscription: Handle<Subscription>,
        shared: SharedMessage,
        window: u16,
    ) -> Replayed {
        let terms = self.terms_of_replay(subscription, shared.qos);
        if self.must_wait_with_replay(session, terms, window) {
            return Replayed::Wait;
        }
        let (message, body) = shared.clone().into_parts();
        // It comes where the SUBSCRIBE was: behind the messages before, and before those that came since.
        let order = self.replays[replay].begun;
        let stored = self.messages.adopt(Message { order, ..message }, body);
        let delivery = stored.and_then(|message| {
            self.messages.hold(message);
            let delivery = self.messages.deliver(terms.delivery(message));
            self.messages.release(message);
            delivery
        });
        match delivery {
            Some(delivery) => self.start_replayed(session, delivery, terms, window),
            None if self.waits_for_memory(session, shared.as_dropped()) => Replayed::Wait,
            None => Replayed::GoOn,
        }
    }

    /// An owner has sent a message for a replay here.
    pub(super) fn take_replayed(&mut self, number: u32, message: SharedMessage) {
        let replay = self.shards.readings.by_question.get(&number).copied();
        let reading = replay.and_then(|replay| self.replays[replay].shards.reading());
        // Without that question the replay has ended meanwhile.
        if let Some(question) = reading.and_then(|reading| reading.question(number)) {
            self.shards.readings.memory.take_anyway(message.cost());
            question.portion.push_back(message);
        }
    }

    /// An owner has sent a portion for a replay here.
    pub(super) fn take_portion_end(&mut self, number: u32, end: PortionEnd) {
        let Some(replay) = self.shards.readings.by_question.get(&number).copied() else { return };
        let reading = self.replays[replay].shards.reading();
        let Some(question) = reading.and_then(|reading| reading.question(number)) else { return };
        question.progress = if end == PortionEnd::More { Progress::More } else { Progress::Over };
        if end != PortionEnd::More {
            self.shards.readings.by_question.remove(&number);
        }
        let subscription = self.replays[replay].subscription;
        let subscriber = subscription.map(|subscription| self.router.subscription(subscription).subscriber());
        let Some(session) = subscriber.map(|subscriber| self.session_of(subscriber)) else { return };
        if end == PortionEnd::NoMemory {
            self.drop_message(Some(session), LostMessage::Unknown, DropReason::OutOfMemory);
        }
        if let Some(connection) = self.sessions[session].connection {
            self.mark_ready(connection);
        }
    }

    /// After a restart, all messages that were under way have come: the replays that the restart has interrupted begin behind them.
    pub(super) fn begin_restored_readings(&mut self) {
        let heard = self.shards.stamps.heard();
        for slot in 0..self.replays.slots() {
            let replay = Handle::from_index(slot);
            if self.replays.is_live(replay)
                && let Some(reading) = self.replays[replay].shards.reading()
            {
                reading.heard = heard.clone();
                self.replays[replay].begun = self.routed;
            }
        }
    }
}

#[cfg(test)]
mod tests;
