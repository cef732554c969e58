//! File descriptors: each connection needs one.

use rustix::process::{Resource, getrlimit, setrlimit};
use std::fs::File;

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

/// Lets the system's table of descriptors have room for so many connections from the beginning, or for 16,000 of them. It
/// doubles when it is full, and whoever opens the next descriptor waits then for some milliseconds, until no other thread
/// looks at the old one.
pub(crate) fn make_room(connections: usize) {
    // 8 bytes each, of the system's memory.
    const MOST: usize = 16 * 1024;
    let last = connections.saturating_add(RESERVED as usize).min(MOST);
    // The table stays as large when the descriptor is closed.
    let taken = File::open("/dev/null").map(|null| rustix::io::fcntl_dupfd_cloexec(&null, last as i32 - 1));
    drop(taken);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Slots of the table, as the system tells it.
    fn slots() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("FDSize:")).unwrap();
        line.trim().parse().unwrap()
    }

    #[test]
    fn the_table_has_room_from_the_beginning() {
        raise_limit();
        make_room(900);
        assert!(slots() >= 900 + RESERVED as usize);
    }
}
