//! Without the feature `shards` there are no other shards: the default methods answer the engine's questions, and there is no state beside
//! the engine's own.

use crate::config::{Config, Shard};
use crate::engine::Engine;
use crate::engine::neighbour_state::{Neighbour, Nothing, Shards};
use crate::engine::siblings::{SiblingRecords, Siblings};
use crate::mem::{Bytes, Hasher};
use core::convert::Infallible;

impl Neighbour for Shards {
    type OfBroker = Nothing;
    type OfSession = Nothing;
    type OfConnection = Nothing;
    type OfMessage = Nothing;
    type OfReplay = Nothing;
    type OfRoute = Nothing;
    type Asked = Nothing;
    type Filter = Nothing;
    type Withheld = Infallible;

    const FILTER_BYTES: usize = 0;

    fn filter_slots(_shard: Shard, _filters: usize) -> usize {
        0
    }

    fn of_broker(_config: &Config<'_>, _filters: usize, _hasher: &Hasher, _bytes: &Bytes<'_>) -> Nothing {
        Nothing
    }
}

impl Siblings for Engine<'_> {}

impl SiblingRecords for Engine<'_> {}
