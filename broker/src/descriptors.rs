//! File descriptors: each connection needs one.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Descriptors that connections leave to everything else: listeners, pollers, logs, files.
const RESERVED: u64 = 64;

/// Raises this process's limit as far as it may, and returns how many connections that allows.
pub(crate) fn raise_limit() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => limit = raised,
            Err(error) => tracing::warn!(%error, "could not raise the limit of open files"),
        }
    }
    // No limit at all is said by none.
    let descriptors = limit.current.unwrap_or(u64::MAX);
    usize::try_from(descriptors.saturating_sub(RESERVED).max(1)).unwrap_or(usize::MAX)
}
