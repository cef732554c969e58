//! Where a Session lives: here, or on a sibling.

use alloc::boxed::Box;

use crate::engine::neighbour_state::{Elsewhere, Empty, MayLiveElsewhere};
use crate::shards::forward::Member;

/// What each Session knows of where it lives.
#[derive(Debug)]
pub(crate) enum Home {
    Here(LivesHere),
    /// It is here as a member of groups only.
    Elsewhere(Box<Remote>),
}

/// What is known of a Session that lives here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LivesHere {
    /// Never used again, unlike the slot.
    pub(crate) number: u32,
    /// Its shared subscriptions whose groups a sibling owns.
    pub(crate) foreign_groups: u32,
    /// Siblings were told that its queue is full, and hear of it when it is empty.
    pub(crate) is_told_full: bool,
}

/// A Session of a sibling that is a member of a group here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remote {
    pub(crate) shard: u16,
    pub(crate) member: Member,
    pub(crate) state: Elsewhere,
}

impl Empty for Home {
    const EMPTY: Self = Self::Here(LivesHere { number: 0, foreign_groups: 0, is_told_full: false });
}

impl MayLiveElsewhere for Home {
    #[inline]
    fn elsewhere(&self) -> Option<&Elsewhere> {
        match self {
            Self::Here(_) => None,
            Self::Elsewhere(remote) => Some(&remote.state),
        }
    }
}

impl Home {
    #[inline]
    pub(crate) fn here(&self) -> Option<&LivesHere> {
        match self {
            Self::Here(local) => Some(local),
            Self::Elsewhere(_) => None,
        }
    }

    #[inline]
    pub(crate) fn here_mut(&mut self) -> Option<&mut LivesHere> {
        match self {
            Self::Here(local) => Some(local),
            Self::Elsewhere(_) => None,
        }
    }

    pub(crate) fn remote_mut(&mut self) -> Option<&mut Remote> {
        match self {
            Self::Here(_) => None,
            Self::Elsewhere(remote) => Some(remote),
        }
    }

    /// The number of a Session that lives here; 0 for others.
    #[inline]
    pub(crate) fn number(&self) -> u32 {
        self.here().map_or(0, |local| local.number)
    }

    #[inline]
    pub(crate) fn foreign_groups(&self) -> u32 {
        self.here().map_or(0, |local| local.foreign_groups)
    }
}

const _: () = assert!(size_of::<Home>() == 16);
