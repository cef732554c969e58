//! Plain counters that the embedder reads: for logs, `$SYS` and metrics.

use core::ops::AddAssign;

use crate::mem::OWNED;

/// Why a message was lost to a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum DropReason {
    /// The queue of the Session or group had no room, by [`Overflow`](crate::Overflow).
    QueueFull,
    /// A pool of the broker was full.
    OutOfMemory,
    /// The message's Message Expiry Interval ended.
    Expired,
    /// The message is larger than the client's Maximum Packet Size `[MQTT-3.1.2-25]`.
    TooLarge,
    /// The client may not publish or receive the message.
    NotAuthorized,
    /// The Session ended while the message waited.
    SessionEnded,
    /// The message has QoS 0, and the client was not connected.
    Offline,
    /// The receiver answered with a Reason Code of 0x80 or above.
    Refused,
    /// The connection broke while a QoS 0 message was half sent.
    CutOff,
    /// The message's body was in the store alone and could not be read; only with the feature `paging`.
    Unreadable,
}

/// Without owned memory no message is [`DropReason::Unreadable`], so nothing is counted for that reason.
const REASONS: usize = if OWNED { RECORDED_REASONS } else { RECORDED_REASONS - 1 };
/// Records have a place for each reason, including one that can't come up in this build.
pub(crate) const RECORDED_REASONS: usize = 10;

impl DropReason {
    /// All reasons in this build, in the order in which they are counted.
    pub const ALL: [Self; REASONS] = match Self::EVERY.first_chunk() {
        Some(all) => *all,
        None => [Self::QueueFull; REASONS],
    };

    const EVERY: [Self; RECORDED_REASONS] = [
        Self::QueueFull,
        Self::OutOfMemory,
        Self::Expired,
        Self::TooLarge,
        Self::NotAuthorized,
        Self::SessionEnded,
        Self::Offline,
        Self::Refused,
        Self::CutOff,
        Self::Unreadable,
    ];

    /// A name for logs, metrics and topics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::OutOfMemory => "out_of_memory",
            Self::Expired => "expired",
            Self::TooLarge => "too_large",
            Self::NotAuthorized => "not_authorized",
            Self::SessionEnded => "session_ended",
            Self::Offline => "offline",
            Self::Refused => "refused",
            Self::CutOff => "cut_off",
            Self::Unreadable => "unreadable",
        }
    }
}

/// Lost messages by reason. A message lost to three Sessions counts three times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    counts: [u32; DropReason::ALL.len()],
}

impl Dropped {
    pub(crate) const NONE: Self = Self { counts: [0; DropReason::ALL.len()] };

    pub(crate) fn counts(&self) -> [u32; RECORDED_REASONS] {
        let mut counts = [0; RECORDED_REASONS];
        counts.iter_mut().zip(&self.counts).for_each(|(to, count)| *to = *count);
        counts
    }

    pub(crate) fn of(counts: [u32; RECORDED_REASONS]) -> Self {
        let mut dropped = Self::default();
        dropped.counts.iter_mut().zip(&counts).for_each(|(to, count)| *to = *count);
        dropped
    }

    /// How many messages were lost for `reason`. The count wraps at 2^32.
    pub fn by(&self, reason: DropReason) -> u32 {
        self.counts.get(reason as usize).copied().unwrap_or(0)
    }

    /// How many messages were lost in all.
    pub fn total(&self) -> u64 {
        self.counts.iter().map(|count| u64::from(*count)).sum()
    }

    pub(crate) fn count(&mut self, reason: DropReason) {
        if let Some(count) = self.counts.get_mut(reason as usize) {
            *count = count.wrapping_add(1);
        }
    }
}

/// Adds to a counter. 64 bits are never full: bytes at 100 Gbit/s would take 46 years.
// Without `alloc` a call takes less flash than the addition.
#[cfg_attr(feature = "alloc", inline(always))]
#[cfg_attr(not(feature = "alloc"), inline(never))]
pub(crate) fn tally(counter: &mut u64, more: usize) {
    debug_assert!(counter.checked_add(more as u64).is_some(), "a counter was never near its end");
    *counter = counter.wrapping_add(more as u64);
}

impl AddAssign for Dropped {
    /// Each count wraps at 2^32.
    fn add_assign(&mut self, other: Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count = count.wrapping_add(more);
        }
    }
}

/// What a broker has done, and what it holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Bytes that were received from clients.
    pub bytes_received: u64,
    /// Bytes that were handed to the embedder for clients.
    pub bytes_sent: u64,
    /// Control Packets that were received from clients.
    pub packets_received: u64,
    /// Control Packets that were handed to the embedder as a whole.
    pub packets_sent: u64,
    /// PUBLISH packets that were received, by QoS.
    pub publish_received: [u64; 3],
    /// PUBLISH packets that were handed to the embedder, by QoS.
    pub publish_sent: [u64; 3],
    /// Bytes of PUBLISH packets that were received. Counted in owned memory only.
    pub publish_bytes_received: u64,
    /// Bytes of PUBLISH packets that were handed to the embedder as a whole. Counted in owned memory only.
    pub publish_bytes_sent: u64,
    /// Network Connections opened since start.
    pub connections_opened: u64,
    /// CONNECT packets refused.
    pub connections_refused: u64,
    /// PUBLISH packets refused with a Reason Code of 0x80 or above or by a withheld acknowledgement.
    pub publish_refused: u64,
    /// PUBLISH packets with QoS 1 or 2 that were lost to all subscribers for lack of room, and stored nowhere. In MQTT 5.0 they
    /// are also refused with 0x97; in MQTT 3.1 and 3.1.1 they are acknowledged.
    pub publish_lost: u64,
    /// Lost messages by reason, over all Sessions.
    pub dropped: Dropped,
    /// Network Connections now.
    pub connections: u32,
    /// Sessions now, connected or not.
    pub sessions: u32,
    /// How many Sessions there may be. The last sixteenth is for Sessions that end with their connections.
    pub sessions_limit: u32,
    /// Sessions whose clients are connected.
    pub connected: u32,
    /// Subscriptions now.
    pub subscriptions: u32,
    /// Retained messages that this broker keeps now, without those below `$SYS/`.
    pub retained: u32,
    /// Application Messages in memory now.
    pub messages: u32,
    /// Application Messages whose bodies are on disk alone.
    pub bodies_on_disk: u32,
    /// Deliveries that wait in queues or for an acknowledgement now.
    pub deliveries: u32,
    /// Bytes of bodies and texts in memory now.
    pub bytes: u64,
}

impl Counters {
    /// Adds the counters of another shard, for the sums of a gateway with several shards. Sums stop at the largest number; those of [`Counters::dropped`] wrap.
    pub fn add_sibling(&mut self, other: &Self) {
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
        } = *other;
        self.bytes_received = self.bytes_received.saturating_add(bytes_received);
        self.bytes_sent = self.bytes_sent.saturating_add(bytes_sent);
        self.packets_received = self.packets_received.saturating_add(packets_received);
        self.packets_sent = self.packets_sent.saturating_add(packets_sent);
        for (sums, counts) in [(&mut self.publish_received, publish_received), (&mut self.publish_sent, publish_sent)] {
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum = sum.saturating_add(count));
        }
        self.publish_bytes_received = self.publish_bytes_received.saturating_add(publish_bytes_received);
        self.publish_bytes_sent = self.publish_bytes_sent.saturating_add(publish_bytes_sent);
        self.connections_opened = self.connections_opened.saturating_add(connections_opened);
        self.connections_refused = self.connections_refused.saturating_add(connections_refused);
        self.publish_refused = self.publish_refused.saturating_add(publish_refused);
        self.publish_lost = self.publish_lost.saturating_add(publish_lost);
        // These counts wrap.
        self.dropped.add_assign(dropped);
        self.connections = self.connections.saturating_add(connections);
        self.sessions = self.sessions.saturating_add(sessions);
        self.sessions_limit = self.sessions_limit.saturating_add(sessions_limit);
        self.connected = self.connected.saturating_add(connected);
        self.subscriptions = self.subscriptions.saturating_add(subscriptions);
        self.retained = self.retained.saturating_add(retained);
        self.messages = self.messages.saturating_add(messages);
        self.bodies_on_disk = self.bodies_on_disk.saturating_add(bodies_on_disk);
        self.deliveries = self.deliveries.saturating_add(deliveries);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

impl<'a> core::iter::Sum<&'a Self> for Counters {
    /// The sum of the counters of all shards, as [`Counters::add_sibling`] adds them.
    fn sum<I: Iterator<Item = &'a Self>>(siblings: I) -> Self {
        siblings.fold(Self::default(), |mut sum, counters| {
            sum.add_sibling(counters);
            sum
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_all_shards_are_added_up() {
        let mut dropped = Dropped::NONE;
        dropped.count(DropReason::Expired);
        let of_shard = |n: u32| Counters {
            bytes_received: n.into(),
            publish_received: [0, n.into(), 1],
            dropped,
            sessions: n,
            sessions_limit: u32::MAX,
            retained: n,
            ..Counters::default()
        };
        let sum: Counters = [of_shard(3), of_shard(4)].iter().sum();
        assert_eq!((sum.bytes_received, sum.publish_received, sum.sessions), (7, [0, 7, 2], 7));
        assert_eq!((sum.dropped.by(DropReason::Expired), sum.sessions_limit, sum.retained), (2, u32::MAX, 7));
    }
}
