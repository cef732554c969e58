//! For those who look after a store: looking into one that somebody may be writing to, repairing, backing up, restoring.

pub(crate) mod copy;
pub(crate) mod examine;
