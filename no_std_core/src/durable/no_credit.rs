//! Without the features `alloc` and `durable` no store writes on a thread of its own. The default methods answer the engine's
//! calls, and this module keeps no state.

use crate::engine::Engine;
use crate::engine::neighbour_state::{Account, CreditState, Nothing};
use crate::engine::neighbours::credit::Credit;

impl CreditState for Account {
    type OfBroker = Nothing;
}

impl Credit for Engine<'_> {}
