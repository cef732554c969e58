//! A bounded queue of events, as bytes: an event takes 12 bytes and its texts.

use alloc::vec::Vec;

use super::event::Event;
use crate::codec::{QoS, ReasonCode};
use crate::config::EventSet;
use crate::seam::counters::DropReason;

/// Bytes before the texts.
const HEAD: usize = 12;

/// Flags in the head: the first two say that the event has a Client Identifier, and a topic.
const HAS_CLIENT: u8 = 1;
const HAS_TOPIC: u8 = 2;
const YES: u8 = 4;
const NO_CODE: u8 = 8;

/// The events that were not polled yet.
#[derive(Debug, Default)]
pub(crate) struct EventQueue {
    bytes: Vec<u8>,
    /// Bytes before this offset are free.
    start: usize,
    /// The end of the event that was polled last. Its bytes stay until the next call, because the caller may be reading
    /// them.
    shown: usize,
    lost: u64,
}

/// The parts of an event, on its way into the queue and out again.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) kind: EventSet,
    pub(super) client_id: Option<&'a str>,
    /// A Topic Name or Topic Filter.
    pub(super) topic: Option<&'a str>,
    pub(super) qos: u8,
    pub(super) code: Option<u8>,
    pub(super) yes: bool,
    pub(super) number: u32,
}

impl EventQueue {
    /// How many events were lost for lack of room.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// Puts an event into the queue, unless the queue would exceed `limit` bytes.
    pub(super) fn push(&mut self, limit: usize, parts: &Parts<'_>) {
        // The caller has finished reading the event that was polled last.
        self.start = self.shown;
        let texts = [parts.client_id.unwrap_or(""), parts.topic.unwrap_or("")];
        let lens = texts.map(|text| u16::try_from(text.len()));
        let needed = texts.iter().map(|text| text.len()).sum::<usize>().saturating_add(HEAD);
        let waiting = self.bytes.len().saturating_sub(self.start);
        let ([Ok(first), Ok(second)], true) = (lens, waiting.saturating_add(needed) <= limit) else {
            self.lost = self.lost.saturating_add(1);
            return;
        };
        // Polled events are removed only when they take at least as many bytes as those that wait: so no byte is moved more than once.
        if self.start >= waiting {
            self.bytes.drain(..self.start.min(self.bytes.len()));
            (self.start, self.shown) = (0, 0);
        }
        let flags = if parts.client_id.is_some() { HAS_CLIENT } else { 0 }
            | if parts.topic.is_some() { HAS_TOPIC } else { 0 }
            | if parts.yes { YES } else { 0 }
            | if parts.code.is_none() { NO_CODE } else { 0 };
        self.bytes.extend([parts.kind.number(), flags, parts.qos, parts.code.unwrap_or(0)]);
        self.bytes.extend(parts.number.to_le_bytes());
        self.bytes.extend(first.to_le_bytes());
        self.bytes.extend(second.to_le_bytes());
        texts.iter().for_each(|text| self.bytes.extend(text.as_bytes()));
    }

    /// The next event.
    pub(crate) fn poll(&mut self) -> Option<Event<'_>> {
        self.start = self.shown;
        if self.start == self.bytes.len() {
            self.bytes.clear();
            (self.start, self.shown) = (0, 0);
            return None;
        }
        let (head, rest) = self.bytes.get(self.start..)?.split_first_chunk::<HEAD>()?;
        let [kind, flags, qos, code, n0, n1, n2, n3, a0, a1, b0, b1] = *head;
        let (first, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes([a0, a1])))?;
        let (second, _) = rest.split_at_checked(usize::from(u16::from_le_bytes([b0, b1])))?;
        self.shown = self.start.saturating_add(HEAD).saturating_add(first.len()).saturating_add(second.len());
        let text = |bit, bytes| (flags & bit != 0).then(|| core::str::from_utf8(bytes).unwrap_or(""));
        Parts {
            kind: EventSet::of_number(kind),
            client_id: text(HAS_CLIENT, first),
            topic: text(HAS_TOPIC, second),
            qos,
            code: (flags & NO_CODE == 0).then_some(code),
            yes: flags & YES != 0,
            number: u32::from_le_bytes([n0, n1, n2, n3]),
        }
        .event()
    }
}

impl<'a> Parts<'a> {
    /// The event with these parts.
    fn event(self) -> Option<Event<'a>> {
        let qos = QoS::from_bits(self.qos).unwrap_or_default();
        let client_id = self.client_id.unwrap_or("");
        let topic = self.topic.unwrap_or("");
        Some(match self.kind {
            EventSet::CONNECTED => Event::Connected { client_id, session_present: self.yes },
            EventSet::DISCONNECTED => Event::Disconnected { client_id, code: self.code.and_then(ReasonCode::from_u8) },
            EventSet::SESSION_MADE => Event::SessionMade { client_id },
            EventSet::SESSION_ENDED => Event::SessionEnded { client_id },
            EventSet::SUBSCRIBED => Event::Subscribed { client_id, filter: topic, qos },
            EventSet::UNSUBSCRIBED => Event::Unsubscribed { client_id, filter: topic },
            EventSet::ACCEPTED => Event::Accepted { client_id, topic, qos, retain: self.yes, payload_len: self.number },
            EventSet::ROUTED => Event::Routed { topic, is_kept: self.yes },
            EventSet::DELIVERED => Event::Delivered { client_id, topic, qos },
            EventSet::ACKNOWLEDGED => Event::Acknowledged { client_id, packet_id: self.number as u16, qos },
            EventSet::DROPPED => {
                let reason = *DropReason::ALL.get(self.number as usize)?;
                Event::Dropped { client_id: self.client_id, topic: self.topic, reason }
            }
            EventSet::RETAINED => Event::Retained { topic },
            EventSet::CLEARED => Event::Cleared { topic },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(client_id: &str) -> Parts<'_> {
        Parts { kind: EventSet::SESSION_MADE, client_id: Some(client_id), ..Parts::NONE }
    }

    #[test]
    fn events_are_polled_in_order_with_their_texts() {
        let mut queue = EventQueue::default();
        let dropped =
            Parts { kind: EventSet::DROPPED, topic: Some("a/b"), number: DropReason::QueueFull as u32, ..Parts::NONE };
        let mut kinds = [0, 0];
        for _ in 0..3 {
            queue.push(1_000, &made("c"));
            queue.push(1_000, &dropped);
        }
        assert_eq!(queue.poll(), Some(Event::SessionMade { client_id: "c" }));
        while let Some(event) = queue.poll() {
            match event {
                Event::SessionMade { .. } => kinds[0] += 1,
                Event::Dropped { client_id, topic, reason } => {
                    assert_eq!((client_id, topic, reason), (None, Some("a/b"), DropReason::QueueFull));
                    kinds[1] += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((kinds, queue.lost()), ([2, 3], 0));
        assert_eq!(queue.poll(), None);
    }

    #[test]
    fn an_event_without_room_is_counted_and_later_events_are_kept() {
        let mut queue = EventQueue::default();
        for _ in 0..10 {
            queue.push(3 * (HEAD + 1), &made("c"));
        }
        assert_eq!(queue.lost(), 7);
        for _ in 0..1_000 {
            assert_eq!(queue.poll(), Some(Event::SessionMade { client_id: "c" }));
            queue.push(3 * (HEAD + 1), &made("c"));
            assert!(queue.bytes.len() <= 6 * (HEAD + 1), "its memory is bounded");
        }
        assert_eq!(queue.lost(), 7);
    }
}
