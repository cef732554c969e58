//! What a replay of retained messages has to do with other shards: it reads messages that they keep, or finds messages here for one of
//! them.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::ops::Range;

use crate::engine::neighbour_state::Empty;
use crate::shards::forward::SharedMessage;
use crate::shards::stamps::Heard;

/// What a replay has to do with other shards.
#[derive(Debug)]
pub(crate) enum ReplayElsewhere {
    Nothing,
    /// It also sends messages that other shards keep.
    Reads(Box<Reading>),
    /// It finds messages for a replay on another shard.
    Serves(Box<Served>),
}

impl Empty for ReplayElsewhere {
    const EMPTY: Self = Self::Nothing;
}

impl ReplayElsewhere {
    pub(super) fn reading(&mut self) -> Option<&mut Reading> {
        match self {
            Self::Reads(reading) => Some(reading),
            _ => None,
        }
    }

    pub(super) fn served(&mut self) -> Option<&mut Served> {
        match self {
            Self::Serves(served) => Some(served),
            _ => None,
        }
    }
}

/// The part of a replay that reads from other shards.
#[derive(Debug)]
pub(crate) struct Reading {
    /// How far the messages of each shard had come at the SUBSCRIBE.
    pub(super) heard: Heard,
    /// The shards that may have messages. This one may be among them.
    pub(super) owners: Range<u16>,
    /// Whether these shards were asked.
    pub(super) is_asked: bool,
    /// The questions to them that are not over. The messages of the first one are sent first.
    pub(super) questions: VecDeque<OwnerQuestion>,
}

/// The question to one owner.
#[derive(Debug)]
pub(crate) struct OwnerQuestion {
    pub(super) owner: u16,
    pub(super) number: u32,
    pub(super) progress: Progress,
    /// Messages that have come, and were not sent.
    pub(super) portion: VecDeque<SharedMessage>,
}

/// How far one shard was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It was asked for a portion, which has not come as a whole.
    Asked,
    /// It may have more messages.
    More,
    /// It has no more messages.
    Over,
}

impl Reading {
    pub(super) fn question(&mut self, number: u32) -> Option<&mut OwnerQuestion> {
        self.questions.iter_mut().find(|question| question.number == number)
    }
}

/// The question of another shard for retained messages.
#[derive(Debug)]
pub(crate) struct Served {
    pub(super) reader: u16,
    pub(super) question: u32,
    /// How far the messages of each shard had come to the reader at the SUBSCRIBE.
    pub(super) heard: Heard,
}
