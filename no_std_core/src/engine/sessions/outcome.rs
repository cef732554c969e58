//! The results of transmitting or acknowledging a delivery.

use crate::config::ResendExpired;
use crate::engine::messages::{Delivery, Message};
use crate::mem::Handle;
use crate::time::Instant;

/// What an acknowledgement from the client did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acknowledged<T> {
    /// The acknowledgement ended a delivery, or moved it to the next step.
    Done(T),
    /// No delivery has this Packet Identifier.
    Unknown,
    /// The delivery with this Packet Identifier waits for another packet.
    OutOfStep,
}

/// Decides whether a message has expired before it is transmitted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    /// The time.
    pub(crate) now: Instant,
    /// Which expired messages are sent again, if they were sent before.
    pub(crate) resend_expired: ResendExpired,
}

impl Deadline {
    /// Whether the message of a delivery has expired: then the delivery is dropped, and not transmitted.
    #[inline]
    pub(crate) fn is_past(self, delivery: &Delivery, message: &Message) -> bool {
        // `[MQTT-3.3.2-5]` is about messages that were never sent. For the others the embedder decides.
        message.has_expired(self.now) && !(delivery.is(Delivery::SENT) && self.resend_expired.includes(delivery.qos))
    }
}

/// The result of an attempt to put a delivery in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Started {
    /// The delivery is to be transmitted.
    Now,
    /// The delivery is in flight, and waits for its batch.
    Later,
    /// The delivery has no room in flight.
    Not,
}

/// The result of looking at the next retained message.
pub(crate) enum Replayed {
    /// The message is to be transmitted.
    Start(Handle<Delivery>),
    /// The message is not to be sent, or not before a batch is safe: look for the next one.
    GoOn,
    /// There is no room for the message now, or another shard has not sent it yet.
    Wait,
    /// There is no further message.
    Over,
}
