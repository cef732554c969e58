//! `$SYS/broker/...`: the counters of the gateway as retained messages.
//!
//! A topic that Mosquitto also has, with the same meaning, has the same name here.

use super::load::Load;
use super::snapshot::{MemorySnapshot, Snapshot, StoreSnapshot};
use super::{ANSWER_TIME, AdminState, Served};
use goldcrest_core::codec::QoS;
use goldcrest_core::{Broker, DropReason, Instant, LocalPublish, TopicName};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

const ROOT: &str = "$SYS/broker/";

/// Publishes when the gateway begins to serve clients, once in each `interval` from then on, and at once when the store became full, has
/// room again or failed.
pub(super) async fn publish_each(state: Arc<AdminState>, interval: Duration) {
    state.is_serving.notified().await;
    let Some(served) = state.served.get() else { return };
    let mut topics = Topics::default();
    loop {
        if let Some(snapshot) = Snapshot::take(&state, served).await {
            topics.publish(served, &snapshot).await;
        }
        tokio::select! {
            () = sleep(interval) => {}
            () = state.store_changed.notified() => {}
        }
    }
}

#[derive(Default)]
struct Topics {
    /// The value that each topic was last published with.
    published: BTreeMap<String, String>,
    most_connected: u32,
    most_heap: u64,
    load: Load,
    /// The number of syncs and the time that all of them took, as of the last publication of their mean time.
    synced: (u64, Duration),
}

impl Topics {
    /// Publishes the topics whose values have changed.
    async fn publish(&mut self, served: &Served, snapshot: &Snapshot) {
        let mut values = self.values(snapshot);
        values.retain(|topic, value| self.published.get(topic) != Some(value));
        let wanted = values.clone();
        let answer = served.mailboxes.ask(0, move |now, broker| publish_all(now, broker, &wanted));
        // Topics for which there was no room are published next time.
        let count = timeout(ANSWER_TIME, answer).await.ok().flatten().unwrap_or(0);
        self.published.extend(values.into_iter().take(count));
    }

    fn values(&mut self, snapshot: &Snapshot) -> BTreeMap<String, String> {
        let mut values = Values::default();
        values.add("version", format_args!("goldcrest version {}", env!("CARGO_PKG_VERSION")));
        values.add("uptime", format_args!("{} seconds", snapshot.uptime.as_secs()));
        values.add("shards/count", snapshot.shards);

        let counters = &snapshot.counters;
        self.most_connected = self.most_connected.max(counters.connected);
        values.add("clients/connected", counters.connected);
        values.add("clients/disconnected", counters.sessions.saturating_sub(counters.connected));
        // Older names of the two topics above.
        values.add("clients/active", counters.connected);
        values.add("clients/inactive", counters.sessions.saturating_sub(counters.connected));
        values.add("clients/total", counters.sessions);
        values.add("clients/limit", counters.sessions_limit);
        values.add("clients/maximum", self.most_connected);
        values.add("connections/count", counters.connections);
        values.add("connections/opened", counters.connections_opened);
        values.add("connections/refused", counters.connections_refused);
        values.add("bytes/received", counters.bytes_received);
        values.add("bytes/sent", counters.bytes_sent);
        values.add("messages/received", counters.packets_received);
        values.add("messages/sent", counters.packets_sent);
        values.add("publish/messages/received", counters.publish_received.iter().sum::<u64>());
        values.add("publish/messages/sent", counters.publish_sent.iter().sum::<u64>());
        values.add("publish/messages/refused", counters.publish_refused);
        values.add("publish/messages/lost", counters.publish_lost);
        values.add("publish/messages/dropped", snapshot.dropped_in_all());
        for (reason, count) in DropReason::ALL.iter().zip(snapshot.dropped) {
            values.add(&format!("publish/messages/dropped/{}", reason.as_str()), count);
        }
        values.add("publish/bytes/received", counters.publish_bytes_received);
        values.add("publish/bytes/sent", counters.publish_bytes_sent);
        self.load.update(snapshot);
        for (topic, average) in self.load.topics() {
            values.add(&format!("load/{topic}"), format_args!("{average:.2}"));
        }
        if let Some(heap) = snapshot.heap {
            self.most_heap = self.most_heap.max(heap);
            values.add("heap/current size", heap);
            values.add("heap/maximum size", self.most_heap);
        }
        memory_values(&mut values, &snapshot.memory);
        values.add("subscriptions/count", counters.subscriptions);
        values.add("retained messages/count", counters.retained);
        values.add("deliveries/count", counters.deliveries);
        values.add("store/messages/count", counters.messages);
        // The older name of the topic above.
        values.add("messages/stored", counters.messages);
        values.add("store/messages/bytes", counters.bytes);
        values.add("store/messages/on disk", counters.bodies_on_disk);
        if let Some(store) = &snapshot.store {
            self.store_values(&mut values, store);
        }
        values.0
    }

    fn store_values(&mut self, values: &mut Values, store: &StoreSnapshot) {
        let stats = &store.stats;
        values.add("store/full", u8::from(store.is_full));
        values.add("store/failed", u8::from(store.has_failed));
        values.add("store/disk/bytes", stats.bytes);
        values.add("store/disk/bytes in use", stats.live_bytes);
        values.add("store/disk/files", stats.segments);
        values.add("store/disk/commits", stats.commits);
        values.add("store/disk/written", stats.written_bytes);
        values.add("store/damaged/places", stats.damage.places);
        values.add("store/damaged/bytes", stats.damage.bytes);
        values.add("store/damaged/frames", stats.damage.frames);
        values.add("store/damaged/records", stats.damage.records.values().sum::<u64>());
        values.add("store/damaged/missing files", stats.damage.missing.len());
        values.add("store/damaged/missing frames", stats.damage.frames_missing);
        values.add("store/damaged/foreign files", stats.damage.foreign.len());
        values.add("store/damaged/misnamed files", stats.damage.misnamed);
        values.add("store/damaged/left out", store.left_out);
        values.add("store/disk/syncs", stats.syncs.count);
        // The mean is taken over the syncs since it was last published. Without any such sync the topic stays as it is.
        let count = stats.syncs.count.saturating_sub(self.synced.0);
        let took = stats.syncs.total.saturating_sub(self.synced.1);
        if let Some(mean) = took.as_micros().checked_div(count.into()) {
            values.add("store/disk/sync microseconds", mean);
            self.synced = (stats.syncs.count, stats.syncs.total);
        }
    }
}

fn memory_values(values: &mut Values, memory: &MemorySnapshot) {
    values.add("memory/max", memory.max);
    values.add("memory/taken", memory.taken());
    values.add("memory/refused", memory.refused());
    for (name, bytes, refused) in &memory.uses {
        values.add(&format!("memory/taken/{name}"), bytes);
        values.add(&format!("memory/refused/{name}"), refused);
    }
}

#[derive(Default)]
struct Values(BTreeMap<String, String>);

impl Values {
    fn add(&mut self, topic: &str, value: impl Display) {
        self.0.insert(format!("{ROOT}{topic}"), value.to_string());
    }
}

/// Publishes `values` in their order until there is no room. Returns how many were published.
fn publish_all(now: Instant, broker: &mut Broker<'static>, values: &BTreeMap<String, String>) -> usize {
    let mut publish = |topic: &str, value: &str| {
        let Ok(topic) = TopicName::new(topic) else { return false };
        let message =
            LocalPublish { topic, payload: value.as_bytes(), qos: QoS::AtMostOnce, retain: true, expiry_secs: None };
        broker.publish(now, message).is_ok()
    };
    values.iter().take_while(|(topic, value)| publish(topic, value)).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use goldcrest_core::{AllowAll, Capacity, Config, Limits, Memory, Shard};

    fn broker(messages: usize) -> Broker<'static> {
        let capacity = Capacity { messages, ..Capacity::GATEWAY };
        let memory = Memory::owned(&capacity, &Limits::GATEWAY, Shard::ONLY);
        Broker::new(memory, Config::gateway(1), &AllowAll)
    }

    #[test]
    fn each_sys_topic_is_valid_and_below_sys_broker() {
        let snapshot = Snapshot { store: Some(StoreSnapshot::default()), ..Snapshot::default() };
        let values = Topics::default().values(&snapshot);
        assert!(values.len() > 70 && values.keys().all(|topic| topic.starts_with("$SYS/broker/")), "{values:?}");
        assert_eq!(publish_all(Instant::from_millis(0), &mut broker(1000), &values), values.len());
        assert_eq!(values["$SYS/broker/store/full"], "0");
        assert_eq!(values["$SYS/broker/publish/messages/dropped/queue_full"], "0");
    }

    #[test]
    fn publishing_sys_topics_returns_how_many_had_room() {
        let values = Topics::default().values(&Snapshot::default());
        let count = publish_all(Instant::from_millis(0), &mut broker(10), &values);
        assert!((1..values.len()).contains(&count), "{count}");
    }

    #[test]
    fn the_published_mean_sync_time_covers_syncs_since_the_last_publication() {
        const TOPIC: &str = "$SYS/broker/store/disk/sync microseconds";
        let mut topics = Topics::default();
        let mut store = StoreSnapshot::default();
        let mut value = |count, millis| {
            store.stats.syncs.count = count;
            store.stats.syncs.total = Duration::from_millis(millis);
            let snapshot = Snapshot { store: Some(store.clone()), ..Snapshot::default() };
            topics.values(&snapshot).get(TOPIC).cloned()
        };
        assert_eq!(value(0, 0), None);
        assert_eq!(value(2, 20).as_deref(), Some("10000"));
        assert_eq!(value(2, 20), None);
        assert_eq!(value(3, 21).as_deref(), Some("1000"));
    }

    #[test]
    fn the_greatest_number_of_connected_clients_is_remembered() {
        let mut topics = Topics::default();
        let mut snapshot = Snapshot::default();
        for (connected, most) in [(3, "3"), (1, "3"), (4, "4")] {
            snapshot.counters.connected = connected;
            assert_eq!(topics.values(&snapshot)["$SYS/broker/clients/maximum"], most);
        }
    }
}
