//! Tools for operators: looking into a store that another process may be writing to, repairing, backing up, restoring.

pub(crate) mod copy;
pub(crate) mod examine;
