//! Without the feature `events` there are no events. The default methods answer the engine's calls, and this module keeps no state.

use crate::engine::Engine;
use crate::engine::neighbour_state::{Nothing, ObserverState, Observers};
use crate::engine::neighbours::happenings::Observer;

impl ObserverState for Observers {
    type OfBroker = Nothing;
}

impl Observer for Engine<'_> {}
