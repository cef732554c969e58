//! Without the feature `paging` all bodies are in memory. The default methods answer the engine's calls, and this module keeps
//! no state.

use crate::engine::Engine;
use crate::engine::messages::{Messages, Residency};
use crate::engine::neighbour_state::{Nothing, Paging, PagingState};
use crate::engine::neighbours::bodies::Paged;

impl PagingState for Paging {
    type OfMessages = Nothing;
}

impl Residency for Messages<'_> {}

impl Paged for Engine<'_> {}
