//! Looks ahead at the next messages: with very many filters each message by itself would wait for memory; see
//! `router/ahead.rs`.

use crate::codec::{PacketType, split};
use crate::engine::Engine;
use crate::engine::router::SIDE_BY_SIDE;
use crate::engine::siblings::Siblings;

impl Engine<'_> {
    /// Whether there are so many filters that looking ahead is worth its cost.
    #[inline]
    pub(crate) fn looks_ahead(&self) -> bool {
        self.router.is_vast() || self.filters_elsewhere_are_vast()
    }

    /// Looks up the topics of the first packets in `bytes` together. Returns the bytes behind these packets.
    #[cold]
    pub(crate) fn look_ahead<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        let mut rest = bytes;
        let topics = core::iter::from_fn(|| next_topic(&mut rest, self.config.limits.packet_bytes));
        let (topics, count) = gather(topics);
        // A single topic has no other topic to share the wait with.
        if let Some(topics @ [_, _, ..]) = topics.get(..count) {
            self.router.look_ahead(topics);
            self.look_ahead_elsewhere(topics);
        }
        rest
    }
}

/// The first topics, as many as are looked up together at most, and their count.
pub(crate) fn gather<'t>(topics: impl Iterator<Item = &'t [u8]>) -> ([&'t [u8]; SIDE_BY_SIDE], usize) {
    let mut gathered = [&[][..]; SIDE_BY_SIDE];
    let count = gathered.iter_mut().zip(topics).map(|(place, topic)| *place = topic).count();
    (gathered, count)
}

/// Moves `bytes` behind the next PUBLISH with a Topic Name that is not empty, and returns this name.
fn next_topic<'b>(bytes: &mut &'b [u8], packet_bytes: u32) -> Option<&'b [u8]> {
    // An error in a packet is found when the packet is handled.
    while let Ok(Some((frame, len))) = split(bytes, packet_bytes) {
        *bytes = bytes.get(len..)?;
        if let (PacketType::Publish, Some((len, rest))) = (frame.packet_type(), frame.body().split_first_chunk())
            && let Some(topic @ [_, ..]) = rest.get(..usize::from(u16::from_be_bytes(*len)))
        {
            return Some(topic);
        }
    }
    *bytes = &[];
    None
}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use super::*;
    use crate::codec::{Encode, PacketId, Properties, Publish, QoS, Version};
    use std::format;
    use std::vec;
    use std::vec::Vec;

    fn publish(topic: &str) -> Vec<u8> {
        let packet_id = PacketId::new(7);
        let publish = Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic,
            packet_id,
            properties: Properties::EMPTY,
            payload: b"payload",
        };
        let mut bytes = Vec::new();
        publish.encode(Version::V3_1_1, &mut bytes);
        bytes
    }

    fn topics(mut bytes: &[u8]) -> (Vec<&str>, usize) {
        let (topics, count) = gather(core::iter::from_fn(|| next_topic(&mut bytes, 1000)));
        (topics[..count].iter().map(|topic| core::str::from_utf8(topic).unwrap()).collect(), bytes.len())
    }

    #[test]
    fn topics_are_those_of_whole_publish_packets() {
        let pingreq = [0xc0, 0];
        let mut bytes = [&publish("a/b")[..], &pingreq, &publish("")[..], &publish("c")].concat();
        assert_eq!(topics(&bytes), (vec!["a/b", "c"], 0));
        for cut in 1..publish("c").len() {
            assert_eq!(topics(&bytes[..bytes.len() - cut]), (vec!["a/b"], 0));
        }
        // These bytes are a topic that is longer than its packet, and then bytes that are no packet.
        bytes.extend([0x30, 4, 0, 3, b'd', b'd', 0, 0]);
        assert_eq!(topics(&bytes), (vec!["a/b", "c"], 0));
    }

    #[test]
    fn no_more_topics_are_gathered_than_are_looked_up_together() {
        let bytes: Vec<_> = (0..SIDE_BY_SIDE + 3).flat_map(|n| publish(&format!("{n:02}"))).collect();
        let (first, left) = topics(&bytes);
        assert_eq!((first.len(), first[SIDE_BY_SIDE - 1], left), (SIDE_BY_SIDE, "15", 3 * publish("00").len()));
        let (last, left) = topics(&bytes[bytes.len() - left..]);
        assert_eq!((last, left), (vec!["16", "17", "18"], 0));
    }
}
