//! Without the features `alloc` and `durable` no store writes on a thread of its own: the engine's questions are answered by the defaults, and no state stands beside its own.

use crate::engine::Engine;
use crate::engine::neighbours::Nothing;
use crate::engine::neighbours::credit::{Account, Credit, CreditState};

impl CreditState for Account {
    type OfBroker = Nothing;
}

impl Credit for Engine<'_> {}
