//! File descriptors: the gateway accepts only as many connections as leave enough descriptors for the store and the shards.

use crate::config::{Config, shards_for_cores};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::fmt;
use std::fs::File;

/// Descriptors of everything besides connections, shards and the store: standard input and output, listeners, the HTTP
/// endpoint and its connections, and a few that are open for a moment.
const OTHERS: u64 = 48;
/// Descriptors of one shard: its poller and the descriptor that wakes it, twice over.
const SHARD: u64 = 8;

/// A limit of open files that leaves no room for any connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFewDescriptors {
    limit: u64,
    needed: u64,
}

impl fmt::Display for TooFewDescriptors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, needed } = self;
        write!(
            f,
            "this process may have {limit} files and connections open, and needs {needed}, and one more for each connection: raise \
             the limit (ulimit -n, LimitNOFILE= of systemd, --ulimit nofile= of containers), or say fewer --shards"
        )
    }
}

impl std::error::Error for TooFewDescriptors {}

/// The most descriptors that everything but connections needs: the shards, the store, and the other parts.
pub(crate) fn needed(shards: u16, has_store: bool) -> u64 {
    let store = if has_store { goldcrest_store::Directory::DESCRIPTORS } else { 0 };
    OTHERS + SHARD * u64::from(shards) + store
}

/// How many connections a limit allows beside `needed` other descriptors.
fn connections(limit: u64, needed: u64) -> Result<u64, TooFewDescriptors> {
    match limit.saturating_sub(needed) {
        0 => Err(TooFewDescriptors { limit, needed }),
        left => Ok(left),
    }
}

/// Raises this process's limit as far as the system allows, and returns how many connections it allows beside `needed` other
/// descriptors.
///
/// # Errors
/// The limit leaves no room for any connection.
pub(crate) fn raise_limit(needed: u64) -> Result<usize, TooFewDescriptors> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => limit = raised,
            Err(error) => tracing::warn!(%error, "could not raise the limit of open files"),
        }
    }
    // `None` means that there is no limit.
    let descriptors = limit.current.unwrap_or(u64::MAX);
    connections(descriptors, needed).map(|connections| usize::try_from(connections).unwrap_or(usize::MAX))
}

/// Checks, before the gateway opens anything, that the limit leaves room for a connection. The number of shards may be known
/// only after the store is opened.
///
/// # Errors
/// The limit leaves no room for any connection.
pub(crate) fn check(config: &Config) -> Result<(), TooFewDescriptors> {
    let has_store = !config.memory_only;
    raise_limit(needed(1, has_store)).map(drop).map_err(|least| {
        let shards = if config.shards == 0 { shards_for_cores() } else { config.shards };
        TooFewDescriptors { needed: needed(shards, has_store), ..least }
    })
}

/// Makes the system's table of descriptors large enough for so many connections from the beginning, or for 16,000 of them. The
/// table doubles when it is full, and the thread that opens the next descriptor then waits for some milliseconds, until no
/// other thread uses the old table.
pub(crate) fn make_room(connections: usize) {
    // Each slot takes 8 bytes of the system's memory.
    const MOST: usize = 16 * 1024;
    let last = connections.saturating_add(OTHERS as usize).min(MOST);
    // The table stays as large when this descriptor is closed.
    let taken = File::open("/dev/null").map(|null| rustix::io::fcntl_dupfd_cloexec(&null, last as i32 - 1));
    drop(taken);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of slots in the system's table of descriptors for this process.
    fn slots() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("FDSize:")).unwrap();
        line.trim().parse().unwrap()
    }

    #[test]
    fn connections_leave_descriptors_for_the_store_and_the_shards() {
        let needed = needed(8, true);
        assert!(connections(1024, needed).unwrap() > 1024 * 3 / 4, "{needed}");
        assert_eq!(connections(256, needed), Ok(256 - needed));
        let too_few = connections(20, needed).unwrap_err().to_string();
        assert!(too_few.contains("may have 20 ") && too_few.contains(&format!("needs {needed},")), "{too_few}");
    }

    #[test]
    fn the_table_of_descriptors_is_large_enough_from_the_beginning() {
        raise_limit(0).unwrap();
        make_room(900);
        assert!(slots() >= 900 + OTHERS as usize);
    }
}
