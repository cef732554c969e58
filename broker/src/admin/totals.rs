//! The counters of all shards added up.

use goldcrest_core::Counters;

/// Adds the counters of another shard. A retained message, which each shard has, counts once.
pub(crate) fn add(sum: &mut Counters, other: &Counters) {
    // The pattern names all fields, so a new field that is not added up here does not compile.
    let Counters {
        bytes_received,
        bytes_sent,
        packets_received,
        packets_sent,
        publish_received,
        publish_sent,
        publish_bytes_received,
        publish_bytes_sent,
        connections_opened,
        connections_refused,
        publish_refused,
        publish_lost,
        dropped,
        connections,
        sessions,
        sessions_limit,
        connected,
        subscriptions,
        retained,
        messages,
        bodies_on_disk,
        deliveries,
        bytes,
    } = other;
    sum.bytes_received += bytes_received;
    sum.bytes_sent += bytes_sent;
    sum.packets_received += packets_received;
    sum.packets_sent += packets_sent;
    for (sum, count) in sum.publish_received.iter_mut().zip(publish_received) {
        *sum += count;
    }
    for (sum, count) in sum.publish_sent.iter_mut().zip(publish_sent) {
        *sum += count;
    }
    sum.publish_bytes_received += publish_bytes_received;
    sum.publish_bytes_sent += publish_bytes_sent;
    sum.connections_opened += connections_opened;
    sum.connections_refused += connections_refused;
    sum.publish_refused += publish_refused;
    sum.publish_lost += publish_lost;
    sum.dropped += *dropped;
    sum.connections += connections;
    sum.sessions += sessions;
    sum.sessions_limit = sum.sessions_limit.saturating_add(*sessions_limit);
    sum.connected += connected;
    sum.subscriptions += subscriptions;
    sum.retained = sum.retained.max(*retained);
    sum.messages += messages;
    sum.bodies_on_disk += bodies_on_disk;
    sum.deliveries += deliveries;
    sum.bytes += bytes;
}
