//! Text that the process writes, on standard error and standard output, without ever waiting for who reads it.

pub(crate) mod log;
mod outlet;

pub(crate) use outlet::Outlet;
