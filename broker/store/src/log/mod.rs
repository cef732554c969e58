//! The log in its segments: files of one size, filled one after the other. This room knows how they look and which of them
//! belong to the store; it keeps no record of what stands where.
//!
//! ```text
//! format    how segments, frames and records look
//! segment   the files, each in one state
//! draft     the bytes that the next write appends
//! scan      the frames of one segment: tells damage from what a loss of power tore
//! members   which segments belong to the store: what is missing, foreign or of another time is found out
//! reached   how far the log had come
//! given_up  which segments a start found missing, and went on without
//! snapshot  the segments as they are at one moment, while another process writes
//! ```

pub(crate) mod draft;
pub(crate) mod format;
pub(crate) mod given_up;
pub(crate) mod members;
pub(crate) mod reached;
pub(crate) mod scan;
pub(crate) mod segment;
pub(crate) mod snapshot;
