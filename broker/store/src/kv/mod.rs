//! Keys and bytes over the [log](crate::log): where each record stands, and what makes room for more.
//!
//! ```text
//! batch     what a writer hands in at once, built in the layout of the log
//! index     where the latest record of each key stands
//! contents  the segments and the index, for reading
//! recover   reading the segments and the index at start; finding torn and damaged bytes
//! store     [`LogStore`]: appending, sealing segments, syncing, and making room
//! layout    which shards the records belong to, and replacing the whole layout at once
//! ```

pub(crate) mod batch;
pub(crate) mod contents;
mod index;
pub(crate) mod layout;
pub(crate) mod recover;
pub(crate) mod store;
