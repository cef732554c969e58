//! Bodies that are on disk alone: given up when they are safe there, and asked for when they are to be transmitted.

use crate::config::Overflow;
use crate::durable::record::{self, Record, Value};
use crate::engine::Engine;
use crate::engine::connections::{Connection, Outgoing, Phase, Sending};
use crate::engine::messages::Message;
use crate::mem::Handle;
use crate::paging::residency::Fetch;
use crate::topic::TopicName;

impl Engine<'_> {
    /// Gives up what the budget has no room for.
    pub(crate) fn give_up_surplus(&mut self) {
        while let Some(message) = self.messages.surplus() {
            if self.is_looked_for(message) {
                self.messages.pin(message);
            }
            self.messages.give_up_unless_pinned(message);
        }
    }

    /// Whether a full queue would look for older messages with this one's topic.
    fn is_looked_for(&mut self, message: Handle<Message>) -> bool {
        self.config.may_keep_latest()
            && self.with_topic(message, |broker, topic| broker.config.overflow_for(topic)) == Some(Overflow::KeepLatest)
    }

    /// Restores a message, whose body is left on disk if the budget has no room for it.
    pub(crate) fn restore_body(&mut self, slot: usize, draft: Message, body: &[u8]) -> Option<Handle<Message>> {
        if self.messages.leaves_on_disk(slot, &draft) {
            let topic = body.get(..usize::from(draft.topic_len)).and_then(|topic| core::str::from_utf8(topic).ok());
            let policy = self.config.overflow_for(TopicName::new_checked(topic?));
            if policy != Overflow::KeepLatest {
                return self.messages.restore_away(slot, draft, body.len());
            }
        }
        self.messages.restore(slot, draft, body)
    }

    pub(crate) fn take_body(&mut self, fetch: Fetch, sealed: &[u8]) {
        let Some(message) = self.messages.answered(fetch) else { return };
        let (order, len) = {
            let message = self.messages.get(message);
            (message.order, message.body.len())
        };
        match record::open(sealed) {
            Ok(Record::Put(key, Value::Message(value)))
                if key == fetch.key() && value.order == order && value.body.len() == len =>
            {
                // Before: what has just come is to be transmitted in this turn, however small the budget is.
                self.give_up_surplus();
                self.messages.put_back(message, value.body);
            }
            _ => self.messages.lose(message),
        }
    }

    pub(crate) fn lose_body(&mut self, fetch: Fetch) {
        if let Some(message) = self.messages.answered(fetch) {
            self.messages.lose(message);
        }
    }

    /// Names the connections that waited for bodies that have come.
    #[cold]
    pub(crate) fn wake_for_bodies(&mut self) {
        self.messages.forget_arrival();
        self.wake_waiting();
    }

    /// Whether a packet that was begun can't go on: its body is on disk again, because its client did not read for long.
    pub(crate) fn is_interrupted(&mut self, handle: Handle<Connection>, begun: Sending) -> bool {
        let Outgoing::Publish(publishing) = begun.what else { return false };
        let Some(message) = self.messages.deliveries[publishing.delivery].message else { return false };
        if !self.messages.is_away(message) {
            return false;
        }
        self.connections[handle].sending = begun;
        if self.messages.get(message).is_lost() {
            // Nothing may follow a packet that is half out, nor one that promised a Topic Alias.
            self.forget_sending(handle);
            self.connections[handle].phase = Phase::Dead;
        } else {
            self.messages.want(message);
            self.begin_waiting(handle);
        }
        true
    }

    /// Whether that is over; `None` if nothing was begun.
    pub(crate) fn may_resume(&self, handle: Handle<Connection>) -> Option<bool> {
        match self.connections[handle].sending.begun()?.what {
            Outgoing::Publish(publishing) => Some(!self.messages.is_asked_for(publishing.delivery)),
            _ => None,
        }
    }
}
