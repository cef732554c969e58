//! What became of a delivery that was to be transmitted, or acknowledged.

use crate::config::ResendExpired;
use crate::engine::messages::{Delivery, Message};
use crate::time::Instant;

/// What an acknowledgement from the client did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acknowledged<T> {
    /// It ended a delivery, or moved it on.
    Done(T),
    /// No delivery has this Packet Identifier.
    Unknown,
    /// The delivery with this Packet Identifier waits for another packet.
    OutOfStep,
}

/// What says whether a message has expired before it is transmitted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    /// The time.
    pub(crate) now: Instant,
    /// What is done with expired messages that were sent before.
    pub(crate) resend_expired: ResendExpired,
}

impl Deadline {
    /// Whether a delivery comes too late: then it is dropped, and not transmitted.
    #[inline]
    pub(crate) fn is_past(self, delivery: &Delivery, message: &Message) -> bool {
        // `[MQTT-3.3.2-5]` is about messages that were never sent; of the others the embedder decides.
        message.has_expired(self.now) && !(delivery.is(Delivery::SENT) && self.resend_expired.includes(delivery.qos))
    }
}

/// What became of a delivery that was to be transmitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Started {
    /// It is to be transmitted.
    Now,
    /// It is in flight, and waits for its batch.
    Later,
    /// There is no room for it.
    Not,
}
