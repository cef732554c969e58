//! A message on its way to one Session, or to the group of a shared subscription.

use crate::codec::QoS;
use crate::engine::SessionHandle;
use crate::engine::messages::Message;
use crate::engine::router::{Group, SHARED, Subscription};
use crate::mem::{Blob, Handle, OWNED, links};

/// One message on its way to one Session, or to the group of a shared subscription.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    pub(crate) next: Option<Handle<Delivery>>,
    /// `None` once the receiver has the message and only the handshake of QoS 2 is left.
    pub(crate) message: Option<Handle<Message>>,
    /// The Subscription Identifier; 0 where the subscription has none.
    pub(crate) identifier: u32,
    /// Stored form of what [`Delivery::beside`] returns.
    pub(crate) beside: StoredBeside,
    /// The owner of a durable delivery: a Session or, by the flags, a group.
    pub(crate) owner: Option<Handle<()>>,
    /// The batch that must be safe before a durable delivery is transmitted; 0: none.
    pub(crate) batch: u32,
    /// The Packet Identifier. It is 0 for QoS 0, and until the delivery is to be transmitted soon.
    pub(crate) packet_id: u16,
    pub(crate) qos: QoS,
    pub(crate) flags: u8,
}

impl Delivery {
    /// The value of unused memory.
    pub const EMPTY: Self = Self {
        next: None,
        message: None,
        identifier: 0,
        beside: StoredBeside(None),
        owner: None,
        batch: 0,
        packet_id: 0,
        qos: QoS::AtMostOnce,
        flags: 0,
    };

    /// Flag: the subscriber gets the message with RETAIN set.
    pub(crate) const RETAIN: u8 = 1;
    /// Flag: PUBREC has come, so PUBREL is sent again and not PUBLISH `[MQTT-4.3.3-5]`.
    pub(crate) const RECEIVED: u8 = 2;
    /// Flag: the message was transmitted on this Network Connection and is not acknowledged, so it counts towards the client's Receive
    /// Maximum.
    pub(crate) const OUTSTANDING: u8 = 4;
    /// Flag: the message was transmitted before, so DUP is set when it is sent again `[MQTT-3.3.1-1]`.
    pub(crate) const SENT: u8 = 8;

    const GROUP: u8 = 16;
    const GROUP_ELSEWHERE: u8 = 32;
    /// Flag: the delivery has to survive a restart.
    pub(crate) const DURABLE: u8 = 64;
    const OF_GROUP: u8 = 128;

    /// Whether the delivery came through a shared subscription.
    pub(crate) fn is_shared(&self) -> bool {
        self.is(Self::GROUP | Self::GROUP_ELSEWHERE)
    }

    /// Whether this delivery pins the body of its message in memory: then it holds a second reference to the message.
    #[inline]
    pub(super) fn pins_body(&self) -> bool {
        OWNED && self.is_shared()
    }

    /// How many references to its message the delivery holds, see `Messages`.
    #[inline]
    pub(crate) fn holds(&self) -> u32 {
        if self.pins_body() { 2 } else { 1 }
    }

    /// What belongs to the delivery besides its message.
    #[inline]
    pub(crate) fn beside(&self) -> Beside {
        match self.beside.0 {
            Some(group) if SHARED && self.is(Self::GROUP) => Beside::Group(group.cast()),
            Some(subscription) if OWNED && self.is(Self::GROUP_ELSEWHERE) => {
                Beside::GroupElsewhere(subscription.cast())
            }
            Some(more) if !self.is_shared() => Beside::Identifiers(more.cast()),
            _ => Beside::Nothing,
        }
    }

    #[inline]
    pub(crate) fn set_beside(&mut self, beside: Beside) {
        self.flags &= !(Self::GROUP | Self::GROUP_ELSEWHERE);
        self.beside.0 = match beside {
            Beside::Nothing => None,
            Beside::Identifiers(more) => Some(more.cast()),
            Beside::Group(group) => {
                self.flags |= Self::GROUP;
                Some(group.cast())
            }
            Beside::GroupElsewhere(subscription) => {
                self.flags |= Self::GROUP_ELSEWHERE;
                Some(subscription.cast())
            }
        };
    }

    /// Keeps all Subscription Identifiers but the first in their recorded form, until all deliveries are restored. Meanwhile the fields
    /// `beside` and `batch` hold them.
    pub(crate) fn keep_recorded_identifiers(&mut self, text: Blob) {
        (self.beside.0, self.batch) = text.into_parts();
        self.set(Self::OUTSTANDING, true);
    }

    /// Removes and returns the identifiers that `keep_recorded_identifiers` has kept; `None` if there are none.
    pub(crate) fn take_recorded_identifiers(&mut self) -> Option<Blob> {
        if !self.is(Self::OUTSTANDING) {
            return None;
        }
        self.set(Self::OUTSTANDING, false);
        Some(Blob::from_parts((self.beside.0.take(), core::mem::take(&mut self.batch))))
    }

    /// The owner of a durable delivery.
    pub(crate) fn owner(&self) -> Option<Owner> {
        let owner = self.owner?;
        Some(if self.is(Self::OF_GROUP) { Owner::Group(owner.cast()) } else { Owner::Session(owner.cast()) })
    }

    /// Sets the owner of a durable delivery.
    pub(crate) fn set_owner(&mut self, owner: Owner) {
        self.set(Self::OF_GROUP, matches!(owner, Owner::Group(_)));
        self.owner = Some(match owner {
            Owner::Session(session) => session.cast(),
            Owner::Group(group) => group.cast(),
        });
    }

    pub(crate) fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(crate) fn set(&mut self, flag: u8, on: bool) {
        if on {
            self.flags |= flag;
        } else {
            self.flags &= !flag;
        }
    }
}

const _: () = assert!(size_of::<crate::mem::PoolSlot<Delivery>>() == 32);

/// The handle in a [`Beside`]. The variant is kept in the flags: with the variant here each delivery would be 36 bytes long instead of
/// 32.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoredBeside(Option<Handle<()>>);

/// What a delivery has besides its message. A delivery through a shared subscription has only one Subscription Identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beside {
    Nothing,
    /// Further Subscription Identifiers, of other subscriptions that match: a chain of deliveries without messages, one for each
    /// identifier.
    Identifiers(Handle<Delivery>),
    /// The group through which the delivery came, and which gets it back if the Session can't receive it.
    Group(Handle<Group>),
    /// The subscription on this shard, if the delivery came through a group whose home is another shard.
    GroupElsewhere(Handle<Subscription>),
}

impl From<Via> for Beside {
    #[inline]
    fn from(via: Via) -> Self {
        match via {
            Via::Own => Self::Nothing,
            Via::Group(group) => Self::Group(group),
            Via::GroupElsewhere(subscription) => Self::GroupElsewhere(subscription),
        }
    }
}

/// Through which subscription a delivery came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// A subscription that is not shared.
    Own,
    /// The shared subscription of a group whose home is this shard.
    Group(Handle<Group>),
    /// The subscription on this shard to a group whose home is another shard.
    GroupElsewhere(Handle<Subscription>),
}

/// The Session or group in whose queue a delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Session(SessionHandle),
    Group(Handle<Group>),
}

impl Default for Delivery {
    fn default() -> Self {
        Self::EMPTY
    }
}

links!(Linked for Delivery: next);
