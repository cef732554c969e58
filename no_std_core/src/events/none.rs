//! Without the feature `events` nobody is told what happens: the engine's questions are answered by the defaults, and no state stands beside its own.

use crate::engine::Engine;
use crate::engine::neighbour_state::{Nothing, ObserverState, Observers};
use crate::engine::neighbours::happenings::Observer;

impl ObserverState for Observers {
    type OfBroker = Nothing;
}

impl Observer for Engine<'_> {}
