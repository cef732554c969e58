//! A message on its way to one Session, or to the group of a shared subscription.

use crate::codec::QoS;
use crate::engine::messages::Message;
use crate::engine::router::{Group, SHARED, Subscription};
use crate::engine::sessions::Session;
use crate::mem::{Handle, OWNED, links};

/// One message on its way to one Session, or to the group of a shared subscription.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    pub(crate) next: Option<Handle<Delivery>>,
    /// `None` once the receiver has the message and only the handshake of QoS 2 is left.
    pub(crate) message: Option<Handle<Message>>,
    /// The Subscription Identifier; 0 where the subscription has none.
    pub(crate) identifier: u32,
    /// By the flags: the group it came through, the subscription here to a group that a sibling owns, or else further
    /// Subscription Identifiers of other subscriptions that match, a chain of deliveries without message. What came
    /// through a shared subscription has one identifier only.
    pub(crate) beside: Option<Handle<()>>,
    /// Of a durable one: whose it is, a Session's or, by the flags, a group's.
    pub(crate) owner: Option<Handle<()>>,
    /// Of a durable one: the batch it must not be transmitted before; 0: none.
    pub(crate) batch: u32,
    /// 0 for QoS 0, and until it is to be transmitted soon.
    pub(crate) packet_id: u16,
    pub(crate) qos: QoS,
    pub(crate) flags: u8,
}

impl Delivery {
    /// What fills unused memory.
    pub const EMPTY: Self = Self {
        next: None,
        message: None,
        identifier: 0,
        beside: None,
        owner: None,
        batch: 0,
        packet_id: 0,
        qos: QoS::AtMostOnce,
        flags: 0,
    };

    /// The RETAIN flag the subscriber gets.
    pub(crate) const RETAIN: u8 = 1;
    /// PUBREC has come: PUBREL is what is sent again `[MQTT-4.3.3-5]`.
    pub(crate) const RECEIVED: u8 = 2;
    /// Transmitted on this Network Connection and not completed: it counts towards the client's Receive Maximum.
    pub(crate) const OUTSTANDING: u8 = 4;
    /// Transmitted before: DUP is set when it is sent again `[MQTT-3.3.1-1]`.
    pub(crate) const SENT: u8 = 8;

    const GROUP: u8 = 16;
    const GROUP_ELSEWHERE: u8 = 32;
    /// It has to survive a restart.
    pub(crate) const DURABLE: u8 = 64;
    const OF_GROUP: u8 = 128;

    /// Whether it came through a shared subscription.
    pub(crate) fn is_shared(&self) -> bool {
        self.is(Self::GROUP | Self::GROUP_ELSEWHERE)
    }

    /// Whether it keeps the body of its message in memory, by one more reference to the message.
    #[inline]
    pub(super) fn pins_body(&self) -> bool {
        OWNED && self.is_shared()
    }

    /// How often it holds its message, see `Messages`.
    #[inline]
    pub(crate) fn holds(&self) -> u32 {
        if self.pins_body() { 2 } else { 1 }
    }

    /// The shared subscription it came through: back to its group if this Session does not take it.
    pub(crate) fn group(&self) -> Option<Handle<Group>> {
        self.beside.filter(|_| SHARED && self.is(Self::GROUP)).map(Handle::cast)
    }

    /// Came through a group that a sibling owns: this is the subscription here.
    pub(crate) fn group_elsewhere(&self) -> Option<Handle<Subscription>> {
        self.beside.filter(|_| OWNED && self.is(Self::GROUP_ELSEWHERE)).map(Handle::cast)
    }

    /// Sets what a delivery without Subscription Identifiers beside its own came through.
    #[inline]
    pub(crate) fn set_via(&mut self, via: Via) {
        let (beside, flag) = match via {
            Via::Own => return,
            Via::Group(group) => (group.cast(), Self::GROUP),
            Via::GroupElsewhere(subscription) => (subscription.cast(), Self::GROUP_ELSEWHERE),
        };
        self.beside = Some(beside);
        self.set(flag, true);
    }

    /// It came through no shared subscription any more.
    pub(super) fn forget_share(&mut self) {
        self.beside = self.beside.filter(|_| !self.is_shared());
        self.set(Self::GROUP | Self::GROUP_ELSEWHERE, false);
    }

    pub(super) fn more(&self) -> Option<Handle<Self>> {
        self.beside.filter(|_| !self.is_shared()).map(Handle::cast)
    }

    /// Of a durable one: whose it is.
    pub(crate) fn owner(&self) -> Option<Owner> {
        let owner = self.owner?;
        Some(if self.is(Self::OF_GROUP) { Owner::Group(owner.cast()) } else { Owner::Session(owner.cast()) })
    }

    /// It belongs to that one.
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

/// Which subscription a delivery came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// One that is not shared.
    Own,
    /// The shared subscription of a group here.
    Group(Handle<Group>),
    /// This one here to a group that a sibling owns.
    GroupElsewhere(Handle<Subscription>),
}

/// In whose queue a delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Session(Handle<Session>),
    Group(Handle<Group>),
}

impl Default for Delivery {
    fn default() -> Self {
        Self::EMPTY
    }
}

links!(Linked for Delivery: next);
