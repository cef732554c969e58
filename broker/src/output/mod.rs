//! Text that the process writes to standard error and standard output. The process never waits for the reader.

mod background_writer;
pub(crate) mod log;

pub(crate) use background_writer::BackgroundWriter;
