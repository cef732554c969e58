//! Mounts: the topics in packets from a client with a mount get its prefix, and in packets to the client the prefix is removed.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use crate::codec::{
    Filters, Frame, PacketType, Properties, Property, Publish, ReasonCode, Refusal, Sink, Subscribe, Topics,
    Unsubscribe, Window,
};
use crate::config::Limits;
use crate::engine::Engine;
use crate::engine::connections::Connection;
use crate::engine::messages::Message;
use crate::engine::packets::connect::NO_MEMORY;
use crate::engine::receive::Taken;
use crate::engine::sessions::{Session, StoredWill};
use crate::mem::Handle;
use crate::seam::grant::{Grant, Mount, Mounted};
use crate::time::Instant;

const TOO_LONG: Refusal = Refusal::new(
    ReasonCode::TopicNameInvalid,
    "with what the server puts before it, the topic is too long (section 3.3.2.1)",
);

const TOO_LARGE: Refusal = Refusal::new(
    ReasonCode::PacketTooLarge,
    "with what the server puts before its Topic Filters, the packet is too large (section 3.2.2.3.6)",
);

/// The longest text in a packet, in bytes.
const LONGEST_TEXT: usize = 65_535;

/// Where a client's mount prefix stands in a Response Topic: the client does not get these bytes.
struct Hidden {
    /// The range of the hidden part in the body of the message. It begins behind the length of the text.
    at: Range<usize>,
    /// The length of the rest of the text, in bytes.
    shown: u16,
}

/// The mount of each connection that has one.
#[derive(Debug, Default)]
pub(crate) struct Mounts(BTreeMap<Handle<Connection>, Mount>);

impl Engine<'_> {
    /// Handles a packet that has topics, if the client has a mount; `None` if the packet is to be handled like that of any other client.
    #[inline]
    pub(crate) fn take_below_mount<'b>(
        &mut self,
        now: Instant,
        handle: Handle<Connection>,
        frame: Frame<'b>,
    ) -> Option<Result<Taken<'b>, Refusal>> {
        if !self.is_mounted(handle) {
            return None;
        }
        self.take_with_whole_topics(now, handle, frame)
    }

    #[cold]
    fn take_with_whole_topics<'b>(
        &mut self,
        now: Instant,
        handle: Handle<Connection>,
        frame: Frame<'b>,
    ) -> Option<Result<Taken<'b>, Refusal>> {
        let mount = self.mounts.0.get(&handle)?.clone();
        match frame.packet_type() {
            PacketType::Publish => Some(self.publish_below(now, handle, frame, &mount)),
            PacketType::Subscribe => Some(self.subscribe_below(now, handle, frame, &mount)),
            PacketType::Unsubscribe => Some(self.unsubscribe_below(handle, frame, &mount)),
            _ => None,
        }
    }

    fn publish_below<'b>(
        &mut self,
        now: Instant,
        handle: Handle<Connection>,
        frame: Frame<'b>,
        mount: &Mount,
    ) -> Result<Taken<'b>, Refusal> {
        let publish = match Publish::decode(self.connections[handle].version, frame) {
            Ok(publish) => publish,
            Err(refusal) => return self.on_refused_publish(handle, frame, refusal),
        };
        // The packet is checked before its Properties are walked through.
        self.check_publish(&publish)?;
        let longest = self.longest_topic();
        // A Topic Alias stands for the topic with its prefix.
        let is_aliased = publish.topic.is_empty();
        let topic = if is_aliased { Some(String::new()) } else { mount.compose(publish.topic, longest) };
        let response_topic = match publish.properties.response_topic() {
            Some(topic) => mount.compose(topic, longest).map(Some),
            None => Some(None),
        };
        let (Some(topic), Some(response_topic)) = (topic, response_topic) else {
            return self.on_refused_publish(handle, frame, TOO_LONG);
        };
        let list: Vec<Property<'_>> = match &response_topic {
            Some(topic) => publish.properties.iter().map(|property| with_response_topic(property, topic)).collect(),
            None => Vec::new(),
        };
        let properties = if response_topic.is_some() { Properties::new(&list) } else { publish.properties };
        self.on_publish(now, handle, &Publish { topic: &topic, properties, ..publish })
    }

    fn subscribe_below(
        &mut self,
        now: Instant,
        handle: Handle<Connection>,
        frame: Frame<'_>,
        mount: &Mount,
    ) -> Result<Taken<'static>, Refusal> {
        let subscribe = Subscribe::decode(self.connections[handle].version, frame)?;
        check_size(frame, subscribe.filters().count(), mount)?;
        let longest = self.longest_topic();
        let whole: Vec<_> = subscribe.filters().map(|(text, _)| mount.compose_filter(text, longest)).collect();
        let options = subscribe.filters().map(|(_, options)| options);
        let list: Vec<_> = whole.iter().map(String::as_str).zip(options).collect();
        self.subscribe_to(now, handle, &Subscribe { filters: Filters::new(&list), ..subscribe })
    }

    fn unsubscribe_below(
        &mut self,
        handle: Handle<Connection>,
        frame: Frame<'_>,
        mount: &Mount,
    ) -> Result<Taken<'static>, Refusal> {
        let unsubscribe = Unsubscribe::decode(self.connections[handle].version, frame)?;
        check_size(frame, unsubscribe.filters().count(), mount)?;
        let longest = self.longest_topic();
        let whole: Vec<_> = unsubscribe.filters().map(|text| mount.compose_filter(text, longest)).collect();
        let list: Vec<_> = whole.iter().map(String::as_str).collect();
        self.unsubscribe_from(handle, &Unsubscribe { filters: Topics::new(&list), ..unsubscribe })
    }

    /// The length in bytes of the longest topic that can be put together here.
    fn longest_topic(&self) -> usize {
        self.scratch.limit().min(LONGEST_TEXT)
    }

    /// A client is about to be accepted: from now on it has the mount of its grant, and the topic of its Will gets the prefix.
    pub(crate) fn mount(&mut self, handle: Handle<Connection>, grant: &Grant) -> Result<(), Refusal> {
        let Some(mount) = &grant.mount else { return Ok(()) };
        self.connections[handle].mounted = Mounted::below(mount);
        self.mounts.0.insert(handle, mount.clone());
        let Some(will) = self.connections[handle].draft.get().will else { return Ok(()) };
        let message = self.whole_will(will.message, mount)?;
        self.messages.hold(message);
        self.messages.release(will.message);
        self.connections[handle].draft.get_mut().will = Some(StoredWill { message, ..will });
        Ok(())
    }

    /// A copy of the Will with its prefix in the topics. Nothing holds a reference to the copy yet.
    fn whole_will(&mut self, will: Handle<Message>, mount: &Mount) -> Result<Handle<Message>, Refusal> {
        let Message { body, topic_len, properties_len, qos, flags, .. } = *self.messages.get(will);
        let body: Vec<u8> = self.messages.bytes.chunks(body, 0..body.len()).flatten().copied().collect();
        let longest = self.longest_topic();
        let (topic, rest) = body.split_at_checked(topic_len.into()).unwrap_or_default();
        let (properties, payload) = rest.split_at_checked(properties_len as usize).unwrap_or_default();
        let topic = mount.compose(core::str::from_utf8(topic).unwrap_or(""), longest).ok_or(TOO_LONG)?;
        let properties = whole_properties(properties, mount, longest).ok_or(TOO_LONG)?;
        let (topic_len, properties_len) = (topic.len() as u16, properties.len() as u32);
        let draft = Message { topic_len, properties_len, qos, flags, ..Message::default() };
        self.messages.store_will(draft, &[topic.as_bytes(), &properties, payload]).ok_or(NO_MEMORY)
    }

    /// Whether the mount of the grant differs from that of the client.
    pub(crate) fn has_other_mount(&self, handle: Handle<Connection>, grant: &Grant) -> bool {
        self.mounts.0.get(&handle) != grant.mount.as_ref()
    }

    /// The connection is gone: forgets its mount.
    #[inline]
    pub(crate) fn unmount(&mut self, handle: Handle<Connection>) {
        if self.is_mounted(handle) {
            self.mounts.0.remove(&handle);
        }
    }

    /// A client resumes a Session that may have had another mount: the subscriptions outside the present mount end.
    pub(crate) fn keep_below_mount(&mut self, handle: Handle<Connection>, session: Handle<Session>) {
        let Some(mount) = self.mounts.0.get(&handle).cloned() else { return };
        self.keep_subscriptions(session, |_, _, filter| {
            filter.is_some_and(|filter| mount.strip(filter.proper()).is_some())
        });
    }

    /// Whether the client has a mount.
    #[inline]
    pub(crate) fn is_mounted(&self, handle: Handle<Connection>) -> bool {
        self.connections[handle].mounted.len() > 0
    }

    /// Whether a client with a mount can see this topic: the topic has a level below the mount.
    pub(crate) fn begins_with_mount(&self, handle: Handle<Connection>, message: Handle<Message>) -> bool {
        let Some(mount) = self.mounts.0.get(&handle) else { return false };
        let Message { body, topic_len, .. } = *self.messages.get(message);
        let prefix = mount.prefix().as_bytes();
        usize::from(topic_len) > prefix.len()
            && self.messages.bytes.chunks(body, 0..prefix.len()).flatten().eq(prefix.iter())
    }

    /// The lengths in bytes of the topic and of the Properties that a client with a mount sees of a message.
    pub(crate) fn lengths_below_mount(&self, handle: Handle<Connection>, message: &Message) -> (u16, u32) {
        let hidden = self.hidden_in_properties(handle, message).map_or(0, |hidden| hidden.at.len() as u32);
        let topic = message.topic_len.saturating_sub(self.connections[handle].mounted.len());
        (topic, message.properties_len.saturating_sub(hidden))
    }

    /// Encodes those Properties of a message that differ for a client with a mount. Returns the position in the body from which on the
    /// stored bytes are the same for the client.
    pub(crate) fn put_response_topic(
        &self,
        handle: Handle<Connection>,
        message: &Message,
        out: &mut Window<'_>,
    ) -> usize {
        let begin = usize::from(message.topic_len);
        let Some(hidden) = self.hidden_in_properties(handle, message) else { return begin };
        let length = hidden.at.start.saturating_sub(2);
        self.messages.bytes.chunks(message.body, begin..length).for_each(|chunk| out.put(chunk));
        out.put_u16(hidden.shown);
        hidden.at.end
    }

    /// Where the client's mount prefix stands in the Response Topic of a message; `None` if the client gets all of that.
    fn hidden_in_properties(&self, handle: Handle<Connection>, message: &Message) -> Option<Hidden> {
        let mount = self.mounts.0.get(&handle)?;
        let begin = usize::from(message.topic_len);
        let end = begin.saturating_add(message.properties_len as usize);
        let properties: Vec<u8> = self.messages.bytes.chunks(message.body, begin..end).flatten().copied().collect();
        let text = response_topic_in(&properties)?;
        let shown = properties.get(text.clone())?.strip_prefix(mount.prefix().as_bytes())?.len();
        let start = begin.saturating_add(text.start);
        Some(Hidden { at: start..start.saturating_add(mount.prefix().len()), shown: u16::try_from(shown).ok()? })
    }
}

/// Checks that a packet with so many Topic Filters would not be too large if its filters came with the prefix.
fn check_size(frame: Frame<'_>, filters: usize, mount: &Mount) -> Result<(), Refusal> {
    let more = filters.saturating_mul(mount.prefix().len());
    let len = frame.body().len().saturating_add(more);
    if len > Limits::OTHER_PACKET_BYTES as usize { Err(TOO_LARGE) } else { Ok(()) }
}

fn with_response_topic<'a>(property: Property<'a>, topic: &'a str) -> Property<'a> {
    if let Property::ResponseTopic(_) = property { Property::ResponseTopic(topic) } else { property }
}

/// The stored Properties with the prefix in the Response Topic, if they have one; `None` if the topic is then too long.
fn whole_properties(properties: &[u8], mount: &Mount, longest: usize) -> Option<Vec<u8>> {
    let Some(text) = response_topic_in(properties) else { return Some(properties.into()) };
    let len = text.len().saturating_add(mount.prefix().len());
    let len = u16::try_from(len).ok().filter(|_| len <= longest)?;
    let before = properties.get(..text.start.checked_sub(2)?)?;
    Some([before, &len.to_be_bytes(), mount.prefix().as_bytes(), properties.get(text.start..)?].concat())
}

/// The range of the text of the Response Topic in stored Properties, without the length before it.
fn response_topic_in(properties: &[u8]) -> Option<Range<usize>> {
    /// Bytes before the text: the identifier of the Property, and the length of the text.
    const BEFORE_TEXT: usize = 3;
    let mut start = 0_usize;
    for property in Properties::from_forwardable(properties).ok()?.iter() {
        let end = start.checked_add(Properties::new(&[property]).wire_len() as usize)?;
        if let Property::ResponseTopic(_) = property {
            return Some(start.checked_add(BEFORE_TEXT)?..end);
        }
        start = end;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Window;

    fn stored(list: &[Property<'_>]) -> Vec<u8> {
        let properties = Properties::new(list);
        let mut bytes = std::vec![0; properties.forwardable_len() as usize];
        let mut window = Window::new(0, &mut bytes);
        properties.put_forwardable(&mut window);
        bytes
    }

    #[test]
    fn the_response_topic_is_found_among_all_properties_that_are_forwarded() {
        let others = [
            Property::PayloadFormatIndicator(true),
            Property::ContentType("text"),
            Property::CorrelationData(&[8, 0, 1, 8]),
            Property::UserProperty("\u{8}", ""),
        ];
        assert_eq!(response_topic_in(&stored(&others)), None);
        let mount = Mount::new("m/").unwrap();
        for place in 0..=others.len() {
            let with = |topic| {
                let mut list = others.to_vec();
                list.insert(place, Property::ResponseTopic(topic));
                stored(&list)
            };
            let properties = with("a/b");
            let text = response_topic_in(&properties).unwrap();
            assert_eq!(&properties[text], b"a/b");
            assert_eq!(whole_properties(&properties, &mount, 5), Some(with("m/a/b")));
            assert_eq!(whole_properties(&properties, &mount, 4), None);
        }
    }

    #[test]
    fn properties_that_end_too_early_have_no_response_topic() {
        let whole = stored(&[Property::UserProperty("a", "b"), Property::ResponseTopic("c")]);
        for len in 0..whole.len() {
            assert_eq!(response_topic_in(&whole[..len]), None, "{len}");
        }
        assert!(response_topic_in(&whole).is_some());
    }
}
