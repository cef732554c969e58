//! Replays on other shards that read the retained messages of this one.
//!
//! Each such replay has its place in the tree, as the replays of Sessions here. The search begins once this shard has all messages that had
//! come to the reader before its SUBSCRIBE. Otherwise the search could find an older message of a topic than the reader has seen. A search
//! stops after a portion, and goes on when the reader asks for more.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::engine::Engine;
use crate::engine::messages::Message;
use crate::engine::replay::AT_ONCE;
use crate::engine::router::Retained;
use crate::engine::sessions::Replay;
use crate::mem::Handle;
use crate::seam::work;
use crate::shards::forward::{Content, PortionEnd};
use crate::shards::replay_state::{ReplayElsewhere, Served};
use crate::shards::stamps::Heard;
use crate::time::Instant;
use crate::topic::TopicFilter;

/// A portion has so many messages at most. Behind a message it ends when it has so many bytes.
const MOST_MESSAGES: usize = 16;
const MOST_BYTES: usize = 32 << 10;
/// For a portion the tree is searched so many times for [`AT_ONCE`] levels.
const SEARCHES: usize = 16;

/// All replays of other shards that read here.
#[derive(Debug, Default)]
pub(super) struct ServedReplays {
    by_question: BTreeMap<(u16, u32), Handle<Replay>>,
    /// The replays that wait until other shards have said how far they have counted.
    waiting: Vec<(u16, u32)>,
}

impl ServedReplays {
    pub(super) fn forget(&mut self, served: &Served) {
        self.by_question.remove(&(served.reader, served.question));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_question.len()
    }

    fn find(&self, reader: u16, question: u32) -> Option<Handle<Replay>> {
        self.by_question.get(&(reader, question)).copied()
    }
}

impl Engine<'_> {
    /// A replay on the shard `reader` asks for the messages here.
    pub(super) fn take_replay(&mut self, now: Instant, reader: u16, question: u32, filter: &str, heard: Heard) {
        if self.is_without_retained(reader, filter, &heard) {
            self.end_portion(reader, question, PortionEnd::Last);
            return;
        }
        let Some(replay) = self.make_replay(None, filter) else {
            self.end_portion(reader, question, PortionEnd::NoMemory);
            return;
        };
        self.replays[replay].shards = ReplayElsewhere::Serves(Box::new(Served { reader, question, heard }));
        self.shards.served.by_question.insert((reader, question), replay);
        self.serve_if_ready(now, reader, question, 1);
    }

    /// Whether a short search shows that there are no messages here that match a filter.
    fn is_without_retained(&mut self, reader: u16, filter: &str, heard: &Heard) -> bool {
        if self.shards.stamps.behind(heard, reader).next().is_some() {
            return false;
        }
        let Ok(filter) = TopicFilter::new(filter) else { return true };
        let mut walk = self.router.retained(filter);
        let levels = (0..AT_ONCE).take_while(|_| !walk.is_over() && walk.step(&self.router).is_none()).count();
        self.work.count(work::LEVEL, levels.saturating_add(1));
        walk.is_over()
    }

    /// The client of that replay has subscribed once more. The search goes on where it was.
    pub(super) fn take_renewed(&mut self, now: Instant, reader: u16, before: u32, question: u32, heard: Heard) {
        let Some(replay) = self.shards.served.by_question.remove(&(reader, before)) else {
            self.end_portion(reader, question, PortionEnd::Last);
            return;
        };
        if let Some(served) = self.replays[replay].shards.served() {
            (served.question, served.heard) = (question, heard);
        }
        self.shards.served.by_question.insert((reader, question), replay);
        self.serve_if_ready(now, reader, question, 1);
    }

    /// The reader wants its next portion.
    pub(super) fn serve_more(&mut self, now: Instant, reader: u16, question: u32) {
        self.serve_if_ready(now, reader, question, MOST_MESSAGES);
    }

    /// The reader wants no more messages.
    pub(super) fn end_served(&mut self, reader: u16, question: u32) {
        if let Some(replay) = self.shards.served.find(reader, question) {
            self.end_replay(replay);
        }
    }

    /// Sends the next portion of at most so many messages if all messages have come that the reader had. If not, asks the shards whose messages
    /// are behind.
    fn serve_if_ready(&mut self, now: Instant, reader: u16, question: u32, most: usize) {
        let Some(replay) = self.shards.served.find(reader, question) else { return };
        let Some(served) = self.replays[replay].shards.served() else { return };
        let behind: Vec<u16> = self.shards.stamps.behind(&served.heard, reader).collect();
        if behind.is_empty() {
            self.serve(now, replay, (reader, question), most);
            return;
        }
        self.shards.served.waiting.push((reader, question));
        for shard in behind {
            if self.shards.stamps.ask(shard) {
                self.shards.links.send(shard, Content::Count);
            }
        }
    }

    /// Another shard asks how far this one has counted. The answer is sent behind all messages for that shard.
    pub(super) fn answer_count(&mut self, from: u16) {
        let count = self.shards.stamps.count();
        self.shards.links.send_behind_messages(from, Content::Counted(count));
    }

    /// Another shard has said how far it has counted: its messages up to there have come.
    pub(super) fn take_count(&mut self, by: u16, count: u64) {
        self.shards.stamps.answered(by, count);
        let waiting = core::mem::take(&mut self.shards.served.waiting);
        self.work.count(work::DELIVERY, waiting.len());
        for (reader, question) in waiting {
            // The reader asks once more, so that this call does not get long.
            if self.shards.served.find(reader, question).is_some() {
                self.end_portion(reader, question, PortionEnd::More);
            }
        }
    }

    fn end_portion(&mut self, reader: u16, question: u32, end: PortionEnd) {
        self.shards.links.send(reader, Content::PortionEnd { question, end });
    }

    fn serve(&mut self, now: Instant, replay: Handle<Replay>, (reader, question): (u16, u32), most: usize) {
        let (mut messages, mut bytes, mut searches) = (0_usize, 0_usize, 0_usize);
        while !self.replays[replay].cursor.is_over() {
            if messages >= most || bytes >= MOST_BYTES || searches >= SEARCHES {
                self.end_portion(reader, question, PortionEnd::More);
                return;
            }
            if !self.replays[replay].has_next {
                self.look_on(replay, AT_ONCE);
                searches = searches.saturating_add(1);
                continue;
            }
            let found = self.router.retained_under(self.replays[replay].cursor);
            self.advance(replay);
            if let Some(Retained(message)) = found
                && let Some(len) = self.serve_one(now, replay, message.cast(), reader, question)
            {
                messages = messages.saturating_add(1);
                bytes = bytes.saturating_add(len);
            }
        }
        self.end_portion(reader, question, PortionEnd::Last);
        self.end_replay(replay);
    }

    /// Sends a message, if it came before the SUBSCRIBE. Returns the length of its body.
    fn serve_one(
        &mut self,
        now: Instant,
        replay: Handle<Replay>,
        message: Handle<Message>,
        reader: u16,
        question: u32,
    ) -> Option<usize> {
        self.work.count(work::DELIVERY, 1);
        if self.messages.get(message).has_expired(now) {
            self.unretain_expired(message);
            return None;
        }
        let shared = self.share(message, 0)?;
        let came_before = self.replays[replay].shards.served()?.heard.includes(shared.stamp);
        let len = shared.body_len();
        if came_before {
            self.shards.links.send(reader, Content::Replayed { question, message: shared });
        }
        came_before.then_some(len)
    }
}
