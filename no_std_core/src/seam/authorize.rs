//! Who may do what: asked by the core, answered by the embedder.

use crate::codec::{Auth, Connect, QoS, ReasonCode};
use crate::topic::{TopicFilter, TopicName};

/// Who a client proved to be: a number that the embedder chose in its [`Verdict`].
///
/// A Session belongs to its principal: another one can't resume it or take it over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Principal(pub u32);

impl Principal {
    /// A client that was not asked.
    pub const ANONYMOUS: Self = Self(0);
}

/// The embedder's permissions. Answers must come at once and without blocking.
///
/// `Sync`, so that a broker may go from one thread to another.
pub trait Authorize: Sync {
    /// May `who` publish to `topic`? Asked for PUBLISH, for the Will when it is set, and again when it fires.
    fn publish(&self, who: Principal, topic: TopicName<'_>, qos: QoS, retain: bool) -> bool;

    /// May `who` subscribe to `filter`?
    fn subscribe(&self, who: Principal, filter: TopicFilter<'_>, qos: QoS) -> bool;

    /// May `who` be sent a message of `topic` now? Asked when a message is transmitted, so that a permission that was
    /// revoked holds for what is queued, in flight or retained. Asked only if [`Authorize::asks_deliveries`].
    fn deliver(&self, who: Principal, topic: TopicName<'_>) -> bool {
        let _ = (who, topic);
        true
    }

    /// Whether [`Authorize::deliver`] is asked for each delivery.
    fn asks_deliveries(&self) -> bool {
        false
    }
}

/// Everybody may do everything, but for publishing below `$SYS/`, which no client may.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowAll;

impl Authorize for AllowAll {
    fn publish(&self, _: Principal, _: TopicName<'_>, _: QoS, _: bool) -> bool {
        true
    }

    fn subscribe(&self, _: Principal, _: TopicFilter<'_>, _: QoS) -> bool {
        true
    }
}

/// What the embedder is asked; the answer is [`Broker::handle_verdict`](crate::Broker::handle_verdict).
#[derive(Clone, Copy, Debug)]
pub enum Ask<'b> {
    /// May this client connect?
    Connect(Connect<'b>),
    /// The next step of an enhanced authentication, or of a re-authentication.
    Auth(Auth<'b>),
}

/// The embedder's answer to an [`Ask`].
#[derive(Clone, Copy, Debug)]
pub enum Verdict<'a> {
    /// The client is who it says.
    Accept {
        /// Who that is. In a re-authentication it must be who the Session belongs to: another one is refused with 0x87 Not authorized.
        principal: Principal,
        /// Authentication Data for the CONNACK, or for the AUTH that ends a re-authentication.
        data: Option<&'a [u8]>,
    },
    /// Enhanced authentication goes on: AUTH 0x18 with these Authentication Data.
    Continue {
        /// The Authentication Data.
        data: &'a [u8],
    },
    /// CONNACK, or DISCONNECT for a re-authentication, with this Reason Code; then the connection is closed.
    Refuse(ReasonCode),
}
