//! The home of a Session: this shard or another one.

use alloc::boxed::Box;

use crate::engine::neighbour_state::{Elsewhere, Empty, MayLiveElsewhere};
use crate::shards::forward::Member;

/// What each Session knows about its home.
#[derive(Debug)]
pub(crate) enum Home {
    Here(LivesHere),
    /// The home of the Session is another shard. It is known here only as a member of groups.
    Elsewhere(Box<Remote>),
}

/// What is known of a Session whose home is this shard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LivesHere {
    /// A number that, unlike the slot, no other Session of this shard ever has.
    pub(crate) number: u32,
    /// How many of its subscriptions are shared ones whose groups have their home on another shard.
    pub(crate) foreign_groups: u32,
    /// Whether the other shards were told that the queue of the Session is full. They are told when it is empty again.
    pub(crate) is_told_full: bool,
}

/// A Session whose home is another shard, and which is a member of a group here.
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

    /// The number of a Session whose home is this shard; 0 for other Sessions.
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
