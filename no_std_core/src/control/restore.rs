//! Records taken back after a restart.

use crate::broker::Broker;
use crate::record::Record;
use crate::time::Instant;

/// Why [`Broker::restore`] left a record out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The broker has clients already.
    TooLate,
    /// A table is too short for the slot, or there is no memory. The record stays in the store.
    NoRoom,
    /// Something is in the slot, or is the same, already. The record will be deleted.
    Duplicate,
    /// It refers to something that is not there, or says what can't be. The record will be deleted.
    Invalid,
}

impl core::fmt::Display for Unfit {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::TooLate => "the broker has clients already",
            Self::NoRoom => "there is no room for it",
            Self::Duplicate => "there is one already",
            Self::Invalid => "it refers to nothing, or says what can't be",
        })
    }
}

impl core::error::Error for Unfit {}

/// What [`Broker::restored`] has, and what it had to drop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Sessions.
    pub sessions: u32,
    /// Subscriptions of these.
    pub subscriptions: u32,
    /// Retained messages.
    pub retained: u32,
    /// Messages on their way, those in flight included.
    pub deliveries: u32,
    /// Records that were left out, by [`Broker::restore`] or because they refer to nothing.
    pub dropped: u32,
}

impl Broker<'_> {
    pub(crate) fn take_back(&mut self, record: Record<'_>) -> Result<(), Unfit> {
        let _ = record;
        Err(Unfit::NoRoom)
    }

    pub(crate) fn end_restoring(&mut self, now: Instant) -> Restored {
        let _ = now;
        Restored::default()
    }
}
