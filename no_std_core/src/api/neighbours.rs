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

#[cfg(not(feature = "paging"))]
mod no_paging {
    use crate::engine::Engine;
    use crate::engine::messages::Messages;
    use crate::engine::neighbours::bodies::{Paged, Paging, PagingState, Residency};

    impl PagingState for Paging {
        type OfMessages = ();
    }

    impl Residency for Messages<'_> {}

    impl Paged for Engine<'_> {}
}

#[cfg(not(feature = "alloc"))]
mod no_credit {
    use crate::engine::Engine;
    use crate::engine::neighbours::credit::{Account, Credit, CreditState};

    impl CreditState for Account {
        type OfBroker = ();
    }

    impl Credit for Engine<'_> {}
}
