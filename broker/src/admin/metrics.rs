//! `/metrics`: the counters of the gateway in the text format of Prometheus.
//!
//! No metric has a label for each client, because the number of clients is not bounded. `/sessions` shows single Sessions.

use super::snapshot::{MemorySnapshot, PermissionSnapshot, Snapshot, StoreSnapshot};
use crate::shard::kind_name;
use goldcrest_core::DropReason;
use goldcrest_store::{Cause, Syncs};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::fmt;

/// The Content-Type of [`text`].
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The metrics of a snapshot.
pub(super) fn text(snapshot: Snapshot) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("goldcrest");
    registry.register_collector(Box::new(snapshot));
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry)?;
    Ok(text)
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(encoder);
        let counters = &self.counters;
        out.gauges("build_info", "The version that runs", "version", [(env!("CARGO_PKG_VERSION"), 1)])?;
        out.seconds("uptime_seconds", "Since the start", self.uptime)?;
        out.counter(
            "lost_log_lines",
            "Log lines that were dropped because nobody read them",
            crate::output::log::lost_lines(),
        )?;
        out.gauge("shards", "Worker threads", self.shards.into())?;
        out.gauge(
            "awaited_listeners",
            "Addresses that are not there yet to be listened on; /ready names them",
            self.awaited as u64,
        )?;
        out.certificates(self)?;
        out.users(self)?;
        self.permissions.as_ref().map_or(Ok(()), |permissions| out.permissions(permissions))?;
        out.counter("received_bytes", "Bytes from clients", counters.bytes_received)?;
        out.counter("sent_bytes", "Bytes to clients", counters.bytes_sent)?;
        out.counter("received_packets", "Control Packets from clients", counters.packets_received)?;
        out.counter("sent_packets", "Control Packets to clients", counters.packets_sent)?;
        let by_qos = |counts: [u64; 3]| ["0", "1", "2"].into_iter().zip(counts);
        out.counters("received_publish", "PUBLISH from clients", "qos", by_qos(counters.publish_received))?;
        out.counters("sent_publish", "PUBLISH to clients", "qos", by_qos(counters.publish_sent))?;
        out.counter("received_publish_bytes", "Bytes of PUBLISH from clients", counters.publish_bytes_received)?;
        out.counter("sent_publish_bytes", "Bytes of PUBLISH to clients", counters.publish_bytes_sent)?;
        out.counter("refused_publish", "PUBLISH refused for want of room or permission", counters.publish_refused)?;
        out.counter("lost_publish", "PUBLISH with QoS 1 or 2 lost to all who subscribed", counters.publish_lost)?;
        let dropped = DropReason::ALL.iter().map(|reason| reason.as_str()).zip(self.dropped);
        out.counters(
            "dropped_messages",
            "Messages lost to a session; one lost to three counts three",
            "reason",
            dropped,
        )?;
        out.counter("accepted_connections", "Connections accepted, with or without CONNECT", self.accepted)?;
        out.counter("opened_connections", "Network Connections so far", counters.connections_opened)?;
        out.counter("refused_connections", "CONNECT refused", counters.connections_refused)?;
        let ended = self.connection_ends.iter().map(|(reason, count)| (reason.as_str(), *count));
        out.counters("ended_connections", "Network Connections that ended, and CONNECT refused", "reason", ended)?;
        out.gauge("connections", "Network Connections", counters.connections.into())?;
        out.gauge("sessions", "Sessions, connected or not", counters.sessions.into())?;
        out.gauge("sessions_limit", "How many Sessions there may be in all shards", counters.sessions_limit.into())?;
        out.gauge("connected_sessions", "Sessions whose clients are connected", counters.connected.into())?;
        out.gauge("subscriptions", "Subscriptions", counters.subscriptions.into())?;
        out.gauge("retained_messages", "Retained messages, without those below $SYS/", counters.retained.into())?;
        out.gauge("messages", "Stored messages; one that two shards hold counts twice", counters.messages.into())?;
        out.gauge("messages_on_disk", "Those whose bodies are on disk alone", counters.bodies_on_disk.into())?;
        out.gauge("deliveries", "Messages queued or in flight, for each session", counters.deliveries.into())?;
        out.gauge("message_bytes", "Topics, properties and payloads in memory", counters.bytes)?;
        if let Some(heap) = self.heap {
            out.gauge("heap_bytes", "Memory of the process that no file stands behind", heap)?;
        }
        out.memory(&self.memory)?;
        self.store.as_ref().map_or(Ok(()), |store| out.store(store))
    }
}

/// Describes and encodes one metric with each call.
struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn certificates(&mut self, snapshot: &Snapshot) -> fmt::Result {
        let left = snapshot.certificates.iter().map(|(address, seconds)| (address, *seconds));
        self.gauges("certificate_seconds", "Seconds until the certificate of a listener ends", "listener", left)?;
        let left = snapshot.revocation_lists.iter().map(|(address, seconds)| (address, *seconds));
        self.gauges("crl_seconds", "Seconds until a list of revoked certificates is out of date", "listener", left)?;
        let faults = snapshot.certificate_faults as u64;
        self.gauge("certificate_faults", "Listeners whose certificates can't be read anew; /ready says why", faults)
    }

    /// Files that can't be read anew, and users who are refused.
    fn users(&mut self, snapshot: &Snapshot) -> fmt::Result {
        let faults = snapshot.file_faults as u64;
        self.gauge("file_faults", "Files that can't be read anew, certificates too; /ready says why", faults)?;
        if snapshot.refusals.is_empty() {
            return Ok(());
        }
        let refused = snapshot.refusals.iter().copied();
        self.counters("refused_authentications", "Clients that did not prove who they are", "reason", refused)
    }

    fn memory(&mut self, memory: &MemorySnapshot) -> fmt::Result {
        self.gauge("memory_max_bytes", "The most memory that the process takes: max in [memory]", memory.max)?;
        let taken = memory.uses.iter().map(|(name, bytes, _)| (*name, *bytes));
        self.gauges("memory_bytes", "What of it is taken, or set apart at the start", "use", taken)?;
        let refused = memory.uses.iter().map(|(name, _, refused)| (*name, *refused));
        self.counters("memory_refused", "How often more of it was refused", "use", refused)
    }

    fn permissions(&mut self, permissions: &PermissionSnapshot) -> fmt::Result {
        let help = "1: the file can't be used as it is now, and older rules hold; /ready says why";
        self.gauge("permissions_fault", help, permissions.has_fault.into())?;
        let mut metric = self.describe("denied", "What rules have denied to clients", MetricType::Counter)?;
        for (action, reason, count) in &permissions.denied {
            let labels = [("action", *action), ("reason", *reason)];
            metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(count, None)?;
        }
        Ok(())
    }

    fn store(&mut self, store: &StoreSnapshot) -> fmt::Result {
        let stats = &store.stats;
        self.gauge("store_full", "1: what needs more room is refused", store.is_full.into())?;
        let causes = Cause::ALL.map(|cause| (cause.name(), u64::from(store.why_full == Some(cause))));
        self.gauges("store_full_cause", "1: the store is full for this reason", "cause", causes)?;
        self.gauge("store_failed", "1: nothing more is acknowledged", store.has_failed.into())?;
        self.seconds("store_busy_seconds", "How long the disk has not answered", store.busy_for)?;
        self.gauge("store_bytes", "What all files take", stats.bytes)?;
        self.gauge("store_live_bytes", "What of it is in use", stats.live_bytes)?;
        self.gauge("store_files", "Files", stats.segments)?;
        let kinds = |counts: &std::collections::BTreeMap<u8, u64>| {
            counts.iter().map(|(kind, count)| (kind_name(*kind), *count)).collect::<Vec<_>>()
        };
        self.gauges("store_records", "Live records", "kind", kinds(&stats.records))?;
        self.counter("store_commits", "Groups of batches made safe together", stats.commits)?;
        self.counter("store_appended_records", "Records written", stats.appended)?;
        self.counter("store_written_bytes", "Bytes written", stats.written_bytes)?;
        self.counter("store_moved_bytes", "Bytes that compaction moved", stats.moved_bytes)?;
        self.syncs(&stats.syncs)?;
        let damage = &stats.damage;
        self.gauge(
            "store_damaged_places",
            "Damaged places found since the start, each set aside in a file",
            damage.places,
        )?;
        self.gauge("store_damaged_bytes", "Damaged bytes found since the start", damage.bytes)?;
        self.gauge("store_damaged_frames", "Damaged frames of which nobody knows what was in them", damage.frames)?;
        self.gauges(
            "store_damaged_records",
            "Records lost to damage found since the start",
            "kind",
            kinds(&damage.records),
        )?;
        let missing = damage.missing.len() as u64;
        self.gauge(
            "store_missing_files",
            "Files of the store that were missing at the start, or older than they should be",
            missing,
        )?;
        self.gauge(
            "store_missing_frames",
            "Groups of records missing from the end of the store at the start",
            damage.frames_missing,
        )?;
        let foreign = damage.foreign.len() as u64;
        self.gauge("store_foreign_files", "Files of another store found at the start, each set aside", foreign)?;
        self.gauge(
            "store_misnamed_files",
            "Files of the store found under the names of others at the start",
            damage.misnamed,
        )?;
        self.gauge("store_left_out_records", "Records that made no sense at the start", store.left_out)
    }

    fn syncs(&mut self, syncs: &Syncs) -> fmt::Result {
        // Syncs that took longer than the last bound are counted in the total alone.
        let bounds = Syncs::BOUNDS.iter().map(|bound| *bound as f64 / 1e6);
        let buckets: Vec<(f64, u64)> = bounds.zip(syncs.buckets).collect();
        let mut metric = self.describe("store_sync_seconds", "What a sync of the disk took", MetricType::Histogram)?;
        metric.encode_histogram::<NoLabelSet>(syncs.total.as_secs_f64(), syncs.count, &buckets, None)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.describe(name, help, MetricType::Counter)?.encode_counter::<NoLabelSet, _, f64>(&value, None)
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.describe(name, help, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn seconds(&mut self, name: &str, help: &str, value: std::time::Duration) -> fmt::Result {
        self.describe(name, help, MetricType::Gauge)?.encode_gauge(&value.as_secs_f64())
    }

    fn counters<'v>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'v str, u64)>,
    ) -> fmt::Result {
        let mut metric = self.describe(name, help, MetricType::Counter)?;
        for (of, value) in values {
            metric.encode_family(&[(label, of)])?.encode_counter::<NoLabelSet, _, f64>(&value, None)?;
        }
        Ok(())
    }

    fn gauges<S: AsRef<str>>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (S, u64)>,
    ) -> fmt::Result {
        let mut metric = self.describe(name, help, MetricType::Gauge)?;
        for (of, value) in values {
            metric.encode_family(&[(label, of.as_ref())])?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn describe<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        kind: MetricType,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goldcrest_store::Stats;

    #[test]
    fn the_metrics_text_has_the_values_of_the_snapshot() {
        let mut snapshot = Snapshot { shards: 2, ..Snapshot::default() };
        snapshot.counters.publish_received = [5, 6, 7];
        snapshot.dropped[0] = 3;
        snapshot.connection_ends.push(("lost".to_owned(), 8));
        let mut stats = Stats::default();
        stats.damage.records.insert(0, 4);
        stats.syncs.buckets[0] = 1;
        stats.syncs.buckets[Syncs::BOUNDS.len()] = 1;
        stats.syncs.count = 2;
        snapshot.store = Some(StoreSnapshot {
            is_full: true,
            why_full: Some(Cause::Descriptors),
            stats,
            ..StoreSnapshot::default()
        });
        snapshot.certificates = vec![("127.0.0.1:8883".to_owned(), 86_400)];
        snapshot.revocation_lists = vec![("127.0.0.1:8883".to_owned(), 60)];
        snapshot.certificate_faults = 1;
        snapshot.memory = MemorySnapshot { max: 500, uses: vec![("messages", 9, 2)] };
        let text = text(snapshot).unwrap();
        for line in [
            "goldcrest_shards 2",
            "goldcrest_awaited_listeners 0",
            "goldcrest_certificate_seconds{listener=\"127.0.0.1:8883\"} 86400",
            "goldcrest_crl_seconds{listener=\"127.0.0.1:8883\"} 60",
            "goldcrest_certificate_faults 1",
            "# TYPE goldcrest_received_publish_total counter",
            "goldcrest_received_publish_total{qos=\"1\"} 6",
            "goldcrest_dropped_messages_total{reason=\"queue_full\"} 3",
            "goldcrest_dropped_messages_total{reason=\"expired\"} 0",
            "goldcrest_ended_connections_total{reason=\"lost\"} 8",
            "goldcrest_memory_max_bytes 500",
            "goldcrest_memory_bytes{use=\"messages\"} 9",
            "goldcrest_memory_refused_total{use=\"messages\"} 2",
            "goldcrest_store_full 1",
            "goldcrest_store_full_cause{cause=\"descriptors\"} 1",
            "goldcrest_store_full_cause{cause=\"disk\"} 0",
            "goldcrest_store_failed 0",
            "goldcrest_store_sync_seconds_bucket{le=\"0.0001\"} 1",
            "goldcrest_store_sync_seconds_bucket{le=\"10\"} 1",
            "goldcrest_store_sync_seconds_bucket{le=\"+Inf\"} 2",
            "goldcrest_store_sync_seconds_count 2",
        ] {
            assert!(text.lines().any(|known| known == line), "{line}: {text}");
        }
    }
}
