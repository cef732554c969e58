//! The tables whose entries may have to survive a restart.

/// A table with durable entries. The order is the one in which records are restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A Session that outlives its Network Connection.
    Session = 1,
    /// The group of a shared subscription.
    Group = 2,
    /// A subscription of a Session that outlives its Network Connection.
    Subscription = 3,
    /// An Application Message that something durable refers to.
    Message = 4,
    /// The message in the same slot is the retained one of its topic.
    Retained = 5,
    /// A QoS 1 or 2 message on its way to a Session that outlives its Network Connection, or waiting for a group.
    Delivery = 6,
    /// A QoS 2 message from the client of a Session that outlives its Network Connection; it waits for its PUBREL.
    Receipt = 7,
    /// A message to another shard that the other shard has not confirmed.
    Transit = 8,
    /// The progress of the messages to and from another shard.
    Sibling = 9,
    /// How many messages were lost so far.
    Counters = 10,
}

impl Kind {
    /// All kinds, in the order in which they are restored.
    pub const ALL: [Self; 10] = [
        Self::Session,
        Self::Group,
        Self::Subscription,
        Self::Message,
        Self::Retained,
        Self::Delivery,
        Self::Receipt,
        Self::Transit,
        Self::Sibling,
        Self::Counters,
    ];

    /// The index of the kind in [`Kind::ALL`].
    pub(crate) const fn place(self) -> usize {
        (self as usize).saturating_sub(1)
    }

    /// The kind with this number.
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte).checked_sub(1)?).copied()
    }
}
