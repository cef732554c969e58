//! Stands for the neighbours that were left out: the engine's questions are answered by the defaults, and no state stands beside its own.

#[cfg(not(feature = "alloc"))]
mod no_shards {
    use crate::engine::Engine;
    use crate::engine::neighbours::{Neighbour, Shards, Siblings};

    impl Neighbour for Shards {
        type OfSession = ();
    }

    impl Siblings for Engine<'_> {}
}
