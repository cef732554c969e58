//! Limits on what a client can make the broker keep, and what a client gets at a limit.

/// Limits on what one client can make the broker keep or do.
///
/// | limit | [gateway](Self::GATEWAY) | [firmware](Self::FIRMWARE) | beyond the limit the client gets |
/// |---|---|---|---|
/// | [`packet_bytes`](Self::packet_bytes) | 10,551,296 | 1,024 | DISCONNECT 0x95 |
/// | [`receive_maximum`](Self::receive_maximum) | 256 | 4 | DISCONNECT 0x93; MQTT 3.1 and 3.1.1 have no such limit, and only the memory for receipts bounds them |
/// | [`topic_aliases_in`](Self::topic_aliases_in) | 64 | 4 | DISCONNECT 0x94 |
/// | [`topic_aliases_out`](Self::topic_aliases_out) | 64 | 0 | the topic in full |
/// | [`inflight`](Self::inflight) | 256 | 4 | the next messages when the client has acknowledged some |
/// | [`inflight_v3`](Self::inflight_v3) | 20 | 4 | the same, in MQTT 3.1 and 3.1.1 |
/// | [`queued_messages`](Self::queued_messages) | 10,000 | 16 | what [`Overflow`] says; each loss is counted |
/// | [`queued_bytes`](Self::queued_bytes) | 67,108,864 | 4,096 | what [`Overflow`] says; each loss is counted |
/// | `durable_queued_messages` | as `queued_messages` | none | the same, for a durable Session |
/// | `durable_queued_bytes` | as `queued_bytes` | none | the same, for a durable Session |
/// | [`group_messages`](Self::group_messages) | 10,000 | 8 | what [`Overflow`] says; each loss is counted |
/// | `durable_group_messages` | as `group_messages` | none | the same, where it is durable |
/// | [`subscriptions`](Self::subscriptions) | 10,000 | 8 | SUBACK 0x97 |
/// | [`topic_levels`](Self::topic_levels) | 256 | 12 | SUBACK 0x97; PUBACK or PUBREC 0x97 for a retained message |
/// | [`filter_cost`](Self::filter_cost) | 8,192 | none | SUBACK 0x97 |
/// | [`properties`](Self::properties) | 128 | 16 | DISCONNECT or CONNACK 0x97 |
/// | [`retained_messages`](Self::retained_messages) | 1,000,000 | 16 | PUBACK or PUBREC 0x97 |
/// | [`owed_replies`](Self::owed_replies) | 1,024 | 8 | the broker reads nothing more from the client until the client reads |
/// | [`connect_timeout_ms`](crate::Config::connect_timeout_ms) | 10,000 | 10,000 | its Network Connection is closed |
/// | [`Entries::connections`](crate::Entries::connections) | 65,536 | as handed in | its Network Connection is closed |
/// | [`Entries::sessions`](crate::Entries::sessions) | 262,144 | as handed in | CONNACK 0x97 |
/// | subscriptions in all | 4,194,304 | as handed in | SUBACK 0x97 |
/// | [`Entries::messages`](crate::Entries::messages) | 4,194,304 | as handed in | PUBACK or PUBREC 0x97 |
/// | [`Entries::deliveries`](crate::Entries::deliveries) | 16,777,216 | as handed in | the message is lost to that Session, and counted |
/// | [`Entries::bytes`](crate::Entries::bytes) | 1 GiB | as handed in | PUBACK, PUBREC, SUBACK or CONNACK 0x97 |
///
/// Where MQTT 3.1 and 3.1.1 have no such Reason Code the connection is closed, SUBACK says 0x80, CONNACK 3, and a PUBACK or
/// PUBREC is withheld, so that the client keeps its message; its connection is closed too, at the earliest five seconds after it was
/// opened, so that it sends the message again. A QoS 0 message is dropped and counted.
///
/// [`Overflow`]: crate::Overflow
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The largest packet that the server accepts, in bytes from the first of the fixed header: its Maximum Packet Size. Packets other than
    /// PUBLISH may have [`OTHER_PACKET_BYTES`](Self::OTHER_PACKET_BYTES) at most. Beyond it: DISCONNECT 0x95.
    pub packet_bytes: u32,
    /// QoS 2 messages from one MQTT 5.0 client that may wait for their PUBREL: the server's Receive Maximum. Beyond it: DISCONNECT 0x93.
    /// Older clients can't be told and may exceed it.
    pub receive_maximum: u16,
    /// Topic Aliases a client may set. Beyond it: DISCONNECT 0x94.
    pub topic_aliases_in: u16,
    /// Topic Aliases that the server sets for one client, if the client allows as many.
    pub topic_aliases_out: u16,
    /// QoS 1 and 2 messages in flight to one client, if its Receive Maximum allows as many. Further messages wait in the queue.
    pub inflight: u16,
    /// Stands for the Receive Maximum of a client of MQTT 3.1 or 3.1.1, which can't say how many messages it accepts at once.
    pub inflight_v3: u16,
    /// Messages that wait for one Session. Beyond it: [`Overflow`].
    ///
    /// [`Overflow`]: crate::Overflow
    pub queued_messages: u32,
    /// Bytes of topics, properties and payloads that wait for one Session. Beyond it: [`Overflow`].
    ///
    /// [`Overflow`]: crate::Overflow
    pub queued_bytes: u32,
    /// With [`Config::durable`] and the feature `alloc`: how many messages of QoS 1 and 2 may wait for one durable Session, whose bodies
    /// [`Config::body_budget`] leaves to the store. 0: no more than [`queued_messages`](Self::queued_messages). Beyond it: [`Overflow`].
    ///
    /// Queues grow beyond `queued_messages` and `queued_bytes` only while the store is not half full (`Broker::set_store_half_full`),
    /// half of [`Entries::messages`](crate::Entries::messages) and of [`Entries::deliveries`](crate::Entries::deliveries) are free, and all
    /// shards together have fewer deliveries than four such queues hold. So absent clients leave room for others. If any policy is
    /// [`Overflow::KeepLatest`], which searches queues for topics, no queue grows so long.
    ///
    /// [`Config::body_budget`]: crate::Config::body_budget
    /// [`Overflow`]: crate::Overflow
    /// [`Overflow::KeepLatest`]: crate::Overflow::KeepLatest
    /// [`Config::durable`]: crate::Config::durable
    pub durable_queued_messages: u32,
    /// How many bytes of topics, properties and payloads may wait for one durable Session, as
    /// [`durable_queued_messages`](Self::durable_queued_messages). 0: no more than [`queued_bytes`](Self::queued_bytes).
    pub durable_queued_bytes: u32,
    /// Messages that wait for the group of a shared subscription while no connected member has room. They take at most
    /// [`queued_bytes`](Self::queued_bytes). Beyond it: [`Overflow`].
    ///
    /// [`Overflow`]: crate::Overflow
    pub group_messages: u32,
    /// As [`durable_queued_messages`](Self::durable_queued_messages): how many messages may wait for a group. Their
    /// bodies stay in memory, so `queued_bytes` bounds them. 0: no more than [`group_messages`](Self::group_messages).
    pub durable_group_messages: u32,
    /// Subscriptions of one Session. Beyond it: SUBACK 0x97.
    pub subscriptions: u32,
    /// Levels in a Topic Name that is retained or in a Topic Filter. Beyond it: 0x97.
    pub topic_levels: u16,
    /// The cost of a Topic Filter with `+` for each message, with the feature `alloc`: how many levels of the tree one message visits if
    /// all filters exist with as many levels as this one, and with `+` anywhere in as many of them. 8,192 allow `+` in all of 12 levels, in
    /// 3 of 20, or in one of 126. Beyond it: SUBACK 0x97.
    pub filter_cost: u32,
    /// Properties in one packet. Beyond it: 0x97.
    pub properties: u16,
    /// Retained messages in all, on all shards together. Beyond it: 0x97. Shards that take messages at the same moment may go beyond it by one message each.
    pub retained_messages: u32,
    /// Replies (acknowledgements, PINGRESP …) owed to one client that does not read. At this limit the broker reads nothing more from the
    /// client. Eight Reason Codes of a SUBACK or UNSUBACK count as one reply. So the limit also bounds the Topic Filters in one packet that
    /// are served (8,184 with 1,024); further filters are refused, with 0x97 in SUBACK and 0x83 in UNSUBACK.
    pub owed_replies: u16,
}

impl Limits {
    /// These limits after `change`.
    ///
    /// ```
    /// use goldcrest_core::Limits;
    ///
    /// let limits = Limits::GATEWAY.with(|limits| limits.subscriptions = 5);
    /// assert_eq!((limits.subscriptions, limits.inflight), (5, Limits::GATEWAY.inflight));
    ///
    /// // Limits in a constant:
    /// const LIMITS: Limits = {
    ///     let mut limits = Limits::FIRMWARE;
    ///     limits.packet_bytes = 512;
    ///     limits
    /// };
    /// # assert_eq!(LIMITS.packet_bytes, 512);
    /// ```
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The largest packet other than PUBLISH, if [`packet_bytes`](Self::packet_bytes) is not less: larger than any packet that makes sense.
    /// The memory for an unfinished CONNECT and the work for the filters of a SUBSCRIBE grow with it.
    pub const OTHER_PACKET_BYTES: u32 = 1024 * 1024 + 64 * 1024;

    /// When all queues in the store together hold as many messages as this many queues of the greatest length, no queue there grows any more.
    pub const LONG_QUEUES: usize = 4;

    /// Messages in the longest queue in the store; `None` if such queues may be no longer than those in memory.
    pub fn longest_queue_in_store(&self) -> Option<u32> {
        let session = Some(self.durable_queued_messages).filter(|longest| *longest > self.queued_messages);
        session.max(Some(self.durable_group_messages).filter(|longest| *longest > self.group_messages))
    }

    /// For a gateway.
    pub const GATEWAY: Self = Self {
        packet_bytes: 10 * 1024 * 1024 + 64 * 1024,
        receive_maximum: 256,
        topic_aliases_in: 64,
        topic_aliases_out: 64,
        inflight: 256,
        inflight_v3: 20,
        queued_messages: 10_000,
        queued_bytes: 64 * 1024 * 1024,
        durable_queued_messages: 0,
        durable_queued_bytes: 0,
        group_messages: 10_000,
        durable_group_messages: 0,
        subscriptions: 10_000,
        topic_levels: 256,
        filter_cost: 8_192,
        properties: 128,
        retained_messages: 1_000_000,
        owed_replies: 1024,
    };

    /// For a microcontroller with 64 KiB of RAM.
    pub const FIRMWARE: Self = Self {
        packet_bytes: 1024,
        receive_maximum: 4,
        topic_aliases_in: 4,
        topic_aliases_out: 0,
        inflight: 4,
        inflight_v3: 4,
        queued_messages: 16,
        queued_bytes: 4096,
        durable_queued_messages: 0,
        durable_queued_bytes: 0,
        group_messages: 8,
        durable_group_messages: 0,
        subscriptions: 8,
        topic_levels: 12,
        filter_cost: u32::MAX,
        properties: 16,
        retained_messages: 16,
        owed_replies: 8,
    };
}
