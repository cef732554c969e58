//! The counters of the gateway at one moment.

use super::{ANSWER_TIME, AdminState, PermissionReport, Served};
use crate::net::Certificates;
use goldcrest_core::{Counters, DropReason, MemoryCeiling, MemoryUse};
use goldcrest_store::{Cause, Stats, StoreHealth};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::timeout;

/// The counters of all shards added up, and those of the store.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    pub(super) uptime: Duration,
    pub(super) shards: u16,
    /// Accepted connections, including those that never sent CONNECT.
    pub(super) accepted: u64,
    /// Bytes of the process's memory that no file backs: heap and stacks. `None` if the system does not tell.
    pub(super) heap: Option<u64>,
    pub(super) memory: MemorySnapshot,
    /// How many configured addresses the system does not have yet.
    pub(super) awaited: usize,
    /// For each listener with TLS its address, and the seconds until its certificate ends.
    pub(super) certificates: Vec<(String, u64)>,
    /// The same until the first of its lists of revoked certificates is out of date.
    pub(super) revocation_lists: Vec<(String, u64)>,
    /// How many listeners have certificates that can't be read anew.
    pub(super) certificate_faults: usize,
    /// `None` if no file says who may do what.
    pub(super) permissions: Option<PermissionSnapshot>,
    /// How many files can't be read anew, or lists of files that belong together.
    pub(super) file_faults: usize,
    /// Why clients were refused, and how often.
    pub(super) refusals: Vec<(&'static str, u64)>,
    /// Sums over all shards.
    pub(super) counters: Counters,
    /// Why connections ended, and how often.
    pub(super) connection_ends: Vec<(String, u64)>,
    /// Lost messages, in the order of [`DropReason::ALL`]. Unlike the counts in `counters`, these sums do not wrap.
    pub(super) dropped: [u64; DropReason::ALL.len()],
    /// `None` if the gateway keeps everything in memory.
    pub(super) store: Option<StoreSnapshot>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct PermissionSnapshot {
    /// Whether the file can't be used as it is now.
    pub(super) has_fault: bool,
    /// How often something was denied: the action, the reason and the count.
    pub(super) denied: Vec<(&'static str, &'static str, u64)>,
}

/// The ceiling on memory, and what is taken below it, in bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct MemorySnapshot {
    pub(super) max: u64,
    /// By use: its name, the bytes that are taken, and how many claims were refused.
    pub(super) uses: Vec<(&'static str, u64, u64)>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct StoreSnapshot {
    pub(super) is_full: bool,
    /// `None` while the store is not full.
    pub(super) why_full: Option<Cause>,
    pub(super) has_failed: bool,
    pub(super) busy_for: Duration,
    pub(super) left_out: u64,
    pub(super) stats: Stats,
}

impl Snapshot {
    /// Asks all shards for their counters. `None` if one of them does not answer in time: without its counts the sums
    /// would decrease.
    pub(super) async fn take(state: &AdminState, served: &Served) -> Option<Self> {
        let answers: Vec<_> = (0..served.mailboxes.shards())
            .map(|shard| served.mailboxes.ask(shard, |_, broker| broker.counters()))
            .collect();
        let mut snapshot = Self {
            uptime: state.started.elapsed(),
            shards: served.mailboxes.shards(),
            awaited: state.missing.count(),
            certificates: state.certificates.get().map_or_else(Vec::new, Certificates::seconds_left),
            revocation_lists: state.certificates.get().map_or_else(Vec::new, Certificates::crl_seconds_left),
            certificate_faults: state.certificates.get().map_or(0, |it| it.faults().len()),
            permissions: state.permissions.get().map(PermissionSnapshot::take),
            file_faults: state.files.get().into_iter().flatten().map(|files| files.faults().len()).sum(),
            refusals: state.refusals.get().map_or_else(Vec::new, |it| it.counts()),
            accepted: served.mailboxes.accepted.load(Ordering::Relaxed),
            heap: heap(),
            memory: MemorySnapshot::take(&served.memory),
            connection_ends: served.mailboxes.connection_ends.counts(),
            store: served.store.as_deref().map(StoreSnapshot::take),
            ..Self::default()
        };
        let all = async {
            for answer in answers {
                snapshot.add(&answer.await?);
            }
            Some(snapshot)
        };
        timeout(ANSWER_TIME, all).await.ok().flatten()
    }

    pub(super) fn dropped_in_all(&self) -> u64 {
        self.dropped.iter().sum()
    }

    fn add(&mut self, other: &Counters) {
        self.counters.add_sibling(other);
        for (sum, reason) in self.dropped.iter_mut().zip(DropReason::ALL) {
            *sum += u64::from(other.dropped.by(reason));
        }
    }
}

/// The anonymous memory of this process in bytes, as Linux tells it.
fn heap() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let (kib, _) = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?.trim().split_once(' ')?;
    kib.parse::<u64>().ok()?.checked_mul(1024)
}

impl MemorySnapshot {
    fn take(ceiling: &MemoryCeiling) -> Self {
        let of =
            |purpose: MemoryUse| (purpose.as_str(), ceiling.taken(purpose) as u64, ceiling.refused(purpose) as u64);
        Self { max: ceiling.bytes() as u64, uses: MemoryUse::ALL.map(of).to_vec() }
    }

    /// What is taken in all.
    pub(super) fn taken(&self) -> u64 {
        self.uses.iter().map(|(_, bytes, _)| bytes).sum()
    }

    /// How many claims were refused in all.
    pub(super) fn refused(&self) -> u64 {
        self.uses.iter().map(|(_, _, refused)| refused).sum()
    }
}

impl PermissionSnapshot {
    fn take(report: &PermissionReport) -> Self {
        let has_fault = report.file.as_ref().is_some_and(|file| file.fault().is_some());
        Self { has_fault, denied: report.denied.all() }
    }
}

impl StoreSnapshot {
    fn take(health: &StoreHealth) -> Self {
        Self {
            is_full: health.is_full(),
            why_full: health.why_full().map(|why| why.cause),
            has_failed: health.has_failed(),
            busy_for: health.busy_for(),
            left_out: health.left_out(),
            stats: health.stats(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_adds_up_the_counts_of_shards() {
        let mut snapshot = Snapshot::default();
        let counters = |n: u32| {
            let mut counters = Counters::default();
            counters.bytes_received = n.into();
            counters.connected = 1;
            counters.retained = n;
            counters
        };
        snapshot.add(&counters(3));
        snapshot.add(&counters(4));
        let sum = snapshot.counters;
        assert_eq!((sum.bytes_received, sum.connected, sum.retained), (7, 2, 7));
        assert_eq!(snapshot.dropped_in_all(), 0);
    }
}
