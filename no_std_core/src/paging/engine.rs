//! How paging acts on connections and on the store.

use super::fetch::Fetch;
use crate::config::Overflow;
use crate::durable::record::{self, Record, Value};
use crate::engine::Engine;
use crate::engine::connections::{Connection, Outgoing, Phase, Sending};
use crate::engine::messages::{Message, Residency};
use crate::engine::neighbours::bodies::Paged;
use crate::mem::Handle;
use crate::topic::TopicName;

impl Paged for Engine<'_> {
    fn is_interrupted(&mut self, handle: Handle<Connection>, begun: Sending) -> bool {
        let Outgoing::Publish(publishing) = begun.what else { return false };
        let Some(message) = self.messages.deliveries[publishing.delivery].message else { return false };
        if !self.messages.is_evicted(message) {
            return false;
        }
        self.connections[handle].sending = begun;
        if self.messages.is_unreadable(message) {
            // The connection ends: no other packet may follow this one, which is half sent, or should have set a Topic Alias.
            self.forget_sending(handle);
            self.connections[handle].phase = Phase::Dead;
        } else {
            self.messages.request_body(message);
            self.begin_waiting(handle);
        }
        true
    }

    fn may_resume(&self, handle: Handle<Connection>) -> Option<bool> {
        match self.connections[handle].sending.begun()?.what {
            Outgoing::Publish(publishing) => Some(!self.messages.is_requested(publishing.delivery)),
            _ => None,
        }
    }

    fn bodies_are_safe(&mut self) {
        self.messages.note_safe_bodies();
        self.evict_surplus();
    }

    #[inline]
    fn wake_for_bodies(&mut self) {
        if self.messages.paging.has_arrived {
            self.wake_for_arrivals();
        }
    }

    fn restore_without_body(&mut self, slot: usize, draft: &Message, body: &[u8]) -> Option<Option<Handle<Message>>> {
        if !self.messages.stays_in_store(slot, draft) {
            return None;
        }
        let topic = body.get(..usize::from(draft.topic_len)).and_then(|topic| core::str::from_utf8(topic).ok())?;
        if self.config.overflow_for(TopicName::assume_valid(topic)) == Overflow::KeepLatest {
            return None;
        }
        Some(self.messages.restore_evicted(slot, *draft, body.len()))
    }
}

impl Engine<'_> {
    /// Evicts bodies until the others fit into the budget.
    fn evict_surplus(&mut self) {
        while let Some(message) = self.messages.next_to_evict() {
            if self.is_looked_for(message) {
                self.messages.pin(message);
            }
            self.messages.evict_unless_pinned(message);
        }
    }

    /// Whether a full queue would search for older messages with the topic of this one, as `KeepLatest` does.
    fn is_looked_for(&mut self, message: Handle<Message>) -> bool {
        self.config.may_keep_latest()
            && self.with_topic(message, |broker, topic| broker.config.overflow_for(topic)) == Some(Overflow::KeepLatest)
    }

    /// The store has answered with a record.
    pub(crate) fn on_fetched(&mut self, fetch: Fetch, sealed: &[u8]) {
        let Some(message) = self.messages.take_answer(fetch) else { return };
        let (order, len) = {
            let message = self.messages.get(message);
            (message.order, message.body.len())
        };
        match record::open(sealed) {
            Ok(Record::Put(key, Value::Message(value)))
                if key == fetch.key() && value.order == order && value.body.len() == len =>
            {
                // This comes first: the body that has just come is to be transmitted in this turn, however small the budget is.
                self.evict_surplus();
                self.messages.put_back(message, value.body);
            }
            _ => self.messages.mark_unreadable(message),
        }
    }

    /// The store could not read the record.
    pub(crate) fn on_fetch_failed(&mut self, fetch: Fetch) {
        if let Some(message) = self.messages.take_answer(fetch) {
            self.messages.mark_unreadable(message);
        }
    }

    #[cold]
    fn wake_for_arrivals(&mut self) {
        self.messages.paging.has_arrived = false;
        self.wake_waiting();
    }
}
