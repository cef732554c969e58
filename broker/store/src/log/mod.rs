//! The log in its segments: files of one size, filled one after the other. This module knows how segments look and which of them
//! belong to the store. It does not know which record stands where.
//!
//! ```text
//! format    how segments, frames and records look
//! segment   the files, each in one state
//! draft     the bytes that the next write appends
//! scan      the frames of one segment: tells damage from what a loss of power tore
//! members   which segments belong to the store; notices missing and foreign ones, and those of an earlier time
//! reached   how far the log was synced
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
