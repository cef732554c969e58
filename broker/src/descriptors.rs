//! File descriptors: each connection needs one.

use rustix::process::{Resource, getrlimit, setrlimit};
use std::fs::File;

/// Descriptors that connections leave to everything else: listeners, pollers, logs, files.
const RESERVED: u64 = 64;

/// What the store and shards need at most: a file for each segment, and sockets, pollers and listeners of each shard.
pub(crate) fn needed(shards: u16, segments: u64) -> u64 {
    // Of one shard.
    const SHARD: u64 = 8;
    segments.saturating_add(SHARD * u64::from(shards))
}

/// How many connections a limit allows beside so many other descriptors: a quarter of it at least, since a store seldom has
/// all its files.
fn connections(limit: u64, needed: u64) -> u64 {
    limit.saturating_sub(RESERVED).saturating_sub(needed).max(limit / 4).max(1)
}

/// Raises this process's limit as far as it may, and returns how many connections that allows beside so many other descriptors.
pub(crate) fn raise_limit(needed: u64) -> usize {
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
    usize::try_from(connections(descriptors, needed)).unwrap_or(usize::MAX)
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
    fn connections_leave_the_store_and_shards_what_they_need() {
        let needed = needed(8, 264);
        assert_eq!(connections(1024, needed), 1024 - RESERVED - 264 - 64);
        assert_eq!(connections(256, needed), 64);
        assert_eq!(connections(1, needed), 1);
    }

    #[test]
    fn the_table_has_room_from_the_beginning() {
        raise_limit(0);
        make_room(900);
        assert!(slots() >= 900 + RESERVED as usize);
    }
}
