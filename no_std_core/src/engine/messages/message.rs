//! A stored Application Message.

use crate::codec::QoS;
use crate::engine::neighbour_state::{Empty, Neighbour, Shards};
use crate::mem::Blob;
use crate::time::Instant;

/// An Application Message in the pool. Its body is one blob: the topic, then the encoded Properties that are forwarded
/// unchanged, then the payload.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    pub(crate) body: Blob,
    pub(crate) topic_len: u16,
    pub(crate) properties_len: u32,
    /// How many queues, retained entries and Wills refer to the message. When this is 0, the message is removed.
    pub(crate) references: u32,
    /// How many of the references are durable. The bit [`KEPT`] says whether one of them is a durable retained entry.
    pub(crate) durable: u32,
    /// The QoS with which it was published; a subscriber may get a lower one.
    pub(crate) qos: QoS,
    /// [`Message::RETAIN`], and flags of `paging/` about the body.
    pub(crate) flags: u8,
    /// When its Message Expiry Interval ends; [`Instant::NEVER`] without one.
    pub(crate) expires: Instant,
    /// The message's sequence number among all messages that were routed.
    pub(crate) order: u64,
    /// Orders the retained messages of one topic among the shards of a gateway.
    pub(crate) shards: <Shards as Neighbour>::OfMessage,
}

/// A bit of [`Message::durable`]: one of the references is a durable retained entry.
pub(super) const KEPT: u32 = 1 << 31;

impl Message {
    /// The value of unused memory.
    pub const EMPTY: Self = Self {
        body: Blob::EMPTY,
        topic_len: 0,
        properties_len: 0,
        references: 0,
        durable: 0,
        qos: QoS::AtMostOnce,
        flags: 0,
        expires: Instant::from_millis(0),
        order: 0,
        shards: Empty::EMPTY,
    };

    /// The RETAIN flag of the PUBLISH with which the message came. All other flags belong to `paging/`.
    pub(crate) const RETAIN: u8 = 1;
    /// Whether the message has to survive a restart.
    pub(crate) fn is_durable(&self) -> bool {
        self.durable != 0
    }

    /// The RETAIN flag of the PUBLISH with which the message came.
    pub(crate) fn retain(&self) -> bool {
        self.flags & Self::RETAIN != 0
    }

    /// The flags of a new message.
    pub(crate) fn flags_of(retain: bool) -> u8 {
        if retain { Self::RETAIN } else { 0 }
    }

    /// Whether the message has to survive as the retained message of its topic.
    pub(crate) fn is_kept(&self) -> bool {
        self.durable & KEPT != 0
    }

    pub(crate) fn payload_len(&self) -> u32 {
        (self.body.len() as u32).saturating_sub(u32::from(self.topic_len)).saturating_sub(self.properties_len)
    }

    /// The rest of the Message Expiry Interval in seconds, rounded up so that a message that has not expired never
    /// shows 0 `[MQTT-3.3.2-6]`.
    pub(crate) fn remaining_expiry(&self, now: Instant) -> Option<u32> {
        if self.expires == Instant::NEVER {
            return None;
        }
        Some(secs_in(self.expires.millis_since(now)))
    }

    pub(crate) fn has_expired(&self, now: Instant) -> bool {
        self.expires <= now
    }
}

/// `millis` in seconds, rounded up; `u32::MAX` if that is too large.
///
/// The division is written out, digit by digit: a division of 64 bits by 64 bits would add a routine of 900 bytes on a
/// processor that divides 32 bits by 32 bits.
fn secs_in(millis: u64) -> u32 {
    const PER_SECOND: u32 = 1000;
    let Ok(high) = u32::try_from(millis >> 16) else { return u32::MAX };
    let low = (high % PER_SECOND) << 16 | (millis & 0xFFFF) as u32;
    match u16::try_from(high / PER_SECOND) {
        Ok(high) => (u32::from(high) << 16).saturating_add(low.div_ceil(PER_SECOND)),
        Err(_) => u32::MAX,
    }
}

impl Default for Message {
    fn default() -> Self {
        Self { expires: Instant::NEVER, ..Self::EMPTY }
    }
}

#[cfg(test)]
mod tests {
    use super::secs_in;

    #[test]
    fn seconds_are_rounded_up_and_saturate_at_32_bits() {
        let most = u64::from(u32::MAX) * 1000;
        for near in [0, 1000, 65_536, 1 << 32, most, 1 << 48, u64::MAX - 2000] {
            for millis in near.saturating_sub(2000)..near + 2000 {
                let seconds = u32::try_from(millis.div_ceil(1000)).unwrap_or(u32::MAX);
                assert_eq!(secs_in(millis), seconds, "{millis}");
            }
        }
    }
}
