//! Text that the process writes, on standard error and standard output, without ever waiting for who reads it.

mod background_writer;
pub(crate) mod log;

pub(crate) use background_writer::BackgroundWriter;
