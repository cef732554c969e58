//! Stands for the neighbours that were left out: the engine's questions are answered by the defaults, and no state stands beside its own.

#[cfg(not(feature = "shards"))]
mod no_shards {
    use crate::config::Config;
    use crate::engine::Engine;
    use crate::engine::neighbours::{Neighbour, Nothing, Shards};
    use crate::engine::siblings::{SiblingRecords, Siblings};
    use crate::mem::{Bytes, Hasher};
    use core::convert::Infallible;

    impl Neighbour for Shards {
        type OfBroker = Nothing;
        type OfSession = Nothing;
        type OfConnection = Nothing;
        type OfMessage = Nothing;
        type OfRoute = Nothing;
        type Asked = Nothing;
        type Filter = Nothing;
        type Withheld = Infallible;

        fn of_broker(_config: &Config<'_>, _filters: usize, _hasher: &Hasher, _bytes: &Bytes<'_>) -> Nothing {
            Nothing
        }
    }

    impl Siblings for Engine<'_> {}

    impl SiblingRecords for Engine<'_> {}
}

#[cfg(not(feature = "paging"))]
mod no_paging {
    use crate::engine::Engine;
    use crate::engine::messages::Messages;
    use crate::engine::neighbours::Nothing;
    use crate::engine::neighbours::bodies::{Paged, Paging, PagingState, Residency};

    impl PagingState for Paging {
        type OfMessages = Nothing;
    }

    impl Residency for Messages<'_> {}

    impl Paged for Engine<'_> {}
}

#[cfg(not(all(feature = "alloc", feature = "durable")))]
mod no_credit {
    use crate::engine::Engine;
    use crate::engine::neighbours::Nothing;
    use crate::engine::neighbours::credit::{Account, Credit, CreditState};

    impl CreditState for Account {
        type OfBroker = Nothing;
    }

    impl Credit for Engine<'_> {}
}

#[cfg(not(feature = "events"))]
mod no_events {
    use crate::engine::Engine;
    use crate::engine::neighbours::Nothing;
    use crate::engine::neighbours::happenings::{Observer, ObserverState, Observers};

    impl ObserverState for Observers {
        type OfBroker = Nothing;
    }

    impl Observer for Engine<'_> {}
}
