//! The neighbour of the engine for a store that writes on a thread of its own.

mod credit;
mod urgency;

pub use credit::StoreCredit;
pub use urgency::CommitUrgency;
