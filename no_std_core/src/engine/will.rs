//! The Will: kept at CONNECT, published when the client is lost (section 3.1.2.5).

use crate::codec::{QoS, ReasonCode, Refusal, Will, Window};
use crate::engine::Engine;
use crate::engine::connections::Connection;
use crate::engine::messages::Message;
use crate::engine::neighbours::happenings::LostMessage;
use crate::engine::packets::connect::NO_MEMORY;
use crate::engine::routing::{Routing, connection_state_of, is_reserved_for_server};
use crate::engine::sessions::{Session, StoredWill};
use crate::mem::{Blob, Handle, OWNED, Slots};
use crate::seam::authorize::Principal;
use crate::seam::counters::DropReason;
use crate::seam::kind::Kind;
use crate::time::Instant;
use crate::topic::TopicName;

impl<'m> Engine<'m> {
    /// Stores the Will of the CONNECT of a client with this identifier.
    pub(crate) fn keep_will(&mut self, will: &Will<'_>, client_id: &str) -> Result<StoredWill, Refusal> {
        self.check_property_count(will.properties.count())?;
        if will.qos > self.config.maximum_qos {
            return Err(Refusal::new(ReasonCode::QoSNotSupported, "the Will's QoS is above Maximum QoS"));
        }
        if will.retain && !self.config.retain_available {
            return Err(Refusal::new(ReasonCode::RetainNotSupported, "no retained messages are kept here"));
        }
        let topic = TopicName::new(will.topic)
            .ok()
            .filter(|topic| {
                !is_reserved_for_server(*topic) || connection_state_of(*topic) == Some(client_id.as_bytes())
            })
            .ok_or(Refusal::new(ReasonCode::TopicNameInvalid, "the Will Topic is no topic to publish to"))?;
        let len = will.properties.forwardable_len();
        let mut scratch = core::mem::replace(&mut self.scratch, Slots::EMPTY);
        let stored = scratch.grow_to(len as usize).then_some(()).and_then(|()| {
            let mut properties = Window::new(0, scratch.as_mut_slice());
            will.properties.put_forwardable(&mut properties);
            let draft = Message {
                topic_len: topic.as_str().len() as u16,
                properties_len: len,
                qos: will.qos,
                flags: Message::flags_of(will.retain),
                ..Message::default()
            };
            self.messages.store_will(draft, &[topic.as_str().as_bytes(), properties.finish()?, will.payload])
        });
        self.scratch = scratch;
        let message = stored.ok_or(NO_MEMORY)?;
        self.messages.hold(message);
        Ok(StoredWill {
            message,
            delay_secs: will.properties.will_delay_interval().unwrap_or(0),
            due: Instant::NEVER,
            expiry_secs: will.properties.message_expiry_interval().map_or(u64::MAX, u64::from),
        })
    }

    /// Checks that `principal` may publish the Will of its CONNECT.
    pub(crate) fn check_will(&mut self, handle: Handle<Connection>, principal: Principal) -> Result<(), Refusal> {
        let Some(will) = self.connections[handle].draft.get().will else {
            return Ok(());
        };
        let client_id = self.connections[handle].draft.get().client_id;
        if self.will_is_permitted(will.message, principal, client_id) {
            return Ok(());
        }
        Err(Refusal::new(ReasonCode::NotAuthorized, "the Will may not be published by this client"))
    }

    pub(crate) fn remove_will(&mut self, session: Handle<Session>) {
        if let Some(will) = self.sessions[session].will.take() {
            self.release_will(session, will);
        }
    }

    /// Publishes the Will, if there is one, and removes it `[MQTT-3.1.2-10]`.
    pub(crate) fn publish_will(&mut self, now: Instant, session: Handle<Session>) {
        let Some(will) = self.sessions[session].will.take() else {
            return;
        };
        let Session { principal, client_id, .. } = self.sessions[session];
        if self.will_is_permitted(will.message, principal, client_id) {
            self.messages.set_expiry(will.message, now.plus_secs(will.expiry_secs));
            self.with_topic(will.message, |broker, topic| {
                let publisher_key = broker.publisher_key(session);
                let mut routing = Routing::stored(topic, will.message, Some(session), publisher_key);
                // There is no connection that could wait until other shards say whether they have to record the Will.
                routing.is_unrecorded = broker.store_is_full;
                if broker.route(routing).is_err() {
                    broker.drop_message(Some(session), LostMessage::Stored(will.message), DropReason::QueueFull);
                    // There is no client to be told that the Will can't be retained. The subscribers get the Will all the same.
                    if OWNED && broker.messages.get(will.message).retain() {
                        broker.messages.forget_retain(will.message);
                        let mut routing = Routing::stored(topic, will.message, Some(session), publisher_key);
                        routing.is_unrecorded = broker.store_is_full;
                        let _ = broker.route(routing);
                    }
                }
            });
        } else {
            self.drop_message(Some(session), LostMessage::Stored(will.message), DropReason::NotAuthorized);
        }
        self.release_will(session, will);
    }

    fn release_will(&mut self, session: Handle<Session>, will: StoredWill) {
        if core::mem::take(&mut self.sessions[session].will_is_recorded) {
            self.messages.release_durably(will.message);
            self.messages.journal.mark(Kind::Session, session.index());
        }
        self.messages.release(will.message);
    }

    /// Records the Will of a connected client, whether or not its Session is recorded. After a power cut the Will is published at the
    /// next start, so that a retained "online" does not stay for ever. Batches become safe in order, so the Will is safe before all
    /// that the client publishes. While the store is full the Will is not recorded, and the client is served all the same.
    pub(crate) fn record_will(&mut self, session: Handle<Session>) {
        let entry = &mut self.sessions[session];
        if let (Some(will), false, true) = (entry.will, entry.will_is_recorded, self.messages.journal.is_on())
            && !self.store_is_full
        {
            entry.will_is_recorded = true;
            self.messages.hold_durably(will.message);
            self.note_session(session);
        }
    }

    /// The store has room again: records the Wills that came while it had none.
    pub(crate) fn record_wills_left_out(&mut self) {
        for slot in 0..self.sessions.slots() {
            let session = Handle::from_index(slot);
            if self.sessions.is_live(session) {
                self.record_will(session);
            }
        }
    }

    fn will_is_permitted(&mut self, message: Handle<Message>, principal: Principal, client_id: Blob) -> bool {
        let (qos, retain): (QoS, bool) = {
            let message = self.messages.get(message);
            (message.qos, message.retain())
        };
        self.with_topic(message, |engine, topic| {
            engine.authorize.publish(&engine.subject_of(principal, client_id), topic, qos, retain)
        })
        .unwrap_or(false)
    }

    /// Calls `act` with the topic of a stored message. Returns `None` if the topic does not fit into the scratch memory.
    pub(crate) fn with_topic<R>(
        &mut self,
        message: Handle<Message>,
        act: impl FnOnce(&mut Self, TopicName<'_>) -> R,
    ) -> Option<R> {
        let (scratch, len) = self.take_topic(message);
        let result = topic_in(&scratch, len).map(|topic| act(self, topic));
        self.scratch = scratch;
        result
    }

    /// Copies the topic of a message to the scratch memory, and returns that memory with the topic's length: 0 if the topic does not
    /// fit. This function is not part of [`with_topic`](Self::with_topic), because the compiler makes a copy of that for each caller.
    #[inline(never)]
    fn take_topic(&mut self, message: Handle<Message>) -> (Slots<'m, u8>, usize) {
        let message = self.messages.get(message);
        let (body, len) = (message.body, usize::from(message.topic_len));
        let mut scratch = core::mem::replace(&mut self.scratch, Slots::EMPTY);
        if !scratch.grow_to(len) {
            return (scratch, 0);
        }
        let copied = scratch.as_mut_slice().get_mut(..len).map(|space| self.messages.bytes.copy(body, 0, space));
        (scratch, copied.unwrap_or(0))
    }
}

/// The topic that [`Engine::take_topic`] has copied. It was checked when its message came.
#[inline(never)]
fn topic_in<'a>(scratch: &'a Slots<'_, u8>, len: usize) -> Option<TopicName<'a>> {
    let text = core::str::from_utf8(scratch.as_slice().get(..len)?).ok()?;
    if text.is_empty() { None } else { Some(TopicName::assume_valid(text)) }
}
