//! Sets of the kinds of events.

use core::ops::BitOr;

/// A set of kinds of events: `EventSet::CONNECTED | EventSet::DROPPED`. Each kind is a variant of `Event`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventSet(u16);

impl EventSet {
    /// No events.
    pub const NONE: Self = Self(0);
    /// A client has connected.
    pub const CONNECTED: Self = Self(1);
    /// The connection of a client has ended.
    pub const DISCONNECTED: Self = Self(1 << 1);
    /// A Session was made.
    pub const SESSION_MADE: Self = Self(1 << 2);
    /// A Session has ended.
    pub const SESSION_ENDED: Self = Self(1 << 3);
    /// A Session has subscribed.
    pub const SUBSCRIBED: Self = Self(1 << 4);
    /// A subscription has ended.
    pub const UNSUBSCRIBED: Self = Self(1 << 5);
    /// A PUBLISH of a client was permitted and accepted.
    pub const ACCEPTED: Self = Self(1 << 6);
    /// A message was put into the queues of all its receivers.
    pub const ROUTED: Self = Self(1 << 7);
    /// A message was transmitted to a client.
    pub const DELIVERED: Self = Self(1 << 8);
    /// A client has acknowledged a message of QoS 1 or 2.
    pub const ACKNOWLEDGED: Self = Self(1 << 9);
    /// A message was lost, to a Session or altogether.
    pub const DROPPED: Self = Self(1 << 10);
    /// A topic has another retained message.
    pub const RETAINED: Self = Self(1 << 11);
    /// A topic has no retained message any more.
    pub const CLEARED: Self = Self(1 << 12);
    /// All kinds about clients and Sessions, and none about single messages.
    pub const OF_CLIENTS: Self = Self(0b11_1111);
    /// All events.
    pub const ALL: Self = Self(0b1_1111_1111_1111);

    /// The number of the kind in a set of one kind.
    pub(crate) const fn number(self) -> u8 {
        self.0.trailing_zeros() as u8
    }

    /// The set of the kind with this number.
    pub(crate) const fn of_number(number: u8) -> Self {
        match 1_u16.checked_shl(number as u32) {
            Some(bit) => Self(bit),
            None => Self::NONE,
        }
    }

    /// Whether all of `others` are in the set.
    #[inline]
    pub const fn contains(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }
}

impl BitOr for EventSet {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
