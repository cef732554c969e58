//! What the embedder decides: limits and policies. Most of it may change while a broker runs, see [`Broker::reconfigure`].
//!
//! [`Broker::reconfigure`]: crate::Broker::reconfigure

#[cfg(feature = "events")]
mod event_set;
mod lent;

use crate::codec::QoS;
use crate::topic::{TopicFilter, TopicFilterError, TopicName};

#[cfg(feature = "events")]
pub use event_set::EventSet;
pub use lent::Lent;

/// The configuration of a [`Broker`](crate::Broker).
#[derive(Clone, Debug)]
pub struct Config<'m> {
    /// What the keys of hashes and the assigned Client Identifiers are derived from. Outsiders must not know it: draw all of it at
    /// random at each start. Siblings have the same.
    pub seed: u128,
    /// This broker's place among its siblings.
    pub shard: Shard,
    /// Bounds on what one client can make the broker keep.
    pub limits: Limits,
    /// Whether CONNECT waits for the embedder's verdict.
    pub authentication: Authentication,
    /// Time from the opening of a Network Connection to its CONNECT, in ms; then it is closed.
    pub connect_timeout_ms: u32,
    /// The longest Keep Alive in seconds; a client that asks for more, or for none, gets this as Server Keep Alive
    /// `[MQTT-3.1.2-21]`. One of MQTT 3.1 or 3.1.1, which can't be told, is closed when it was quiet for 1.5 times as long.
    /// 0: no bound.
    pub keep_alive_max: u16,
    /// The longest Session Expiry Interval in seconds; `u32::MAX`: no bound.
    pub session_expiry_max: u32,
    /// With `durable`: after a restart the Will of a client that was connected before is published no sooner than after so many seconds,
    /// and not at all if the client is back by then.
    pub will_grace_secs: u32,
    /// The highest QoS a client may publish with `[MQTT-3.2.2-9]`.
    pub maximum_qos: QoS,
    /// Whether retained messages are kept `[MQTT-3.2.2-13]`.
    pub retain_available: bool,
    /// Whether strings of clients may have control characters and noncharacters, which section 1.5.4 advises against: U+0001 to U+001F,
    /// U+007F to U+009F, U+FDD0 to U+FDEF and the last two of each plane. A receiver may take a packet with them for malformed,
    /// and strict ones do: one such topic closes the connections of all that subscribe to `#`. Without this they are refused:
    /// with 0x90 in a Topic Name, 0x8F in a Topic Filter, 0x85 in a Client Identifier, and 0x81 elsewhere.
    pub allow_control_characters: bool,
    /// Whether a PUBACK or PUBREC for a message that nobody subscribed to says 0x10 No matching subscribers, and not 0x00: both are
    /// success (section 3.4.2.1). A retained message that was kept, or cleared, gets 0x00 in any case.
    pub no_matching_subscribers: bool,
    /// Which messages are sent again though their Message Expiry Interval has ended meanwhile.
    pub resend_expired: ResendExpired,
    /// What to do when the queue of a Session is full.
    pub overflow: Overflow,
    /// Exceptions to [`Config::overflow`]: the first rule whose filter matches the topic counts.
    pub overflow_rules: Lent<'m, [OverflowRule<'m>]>,
    /// Which member of a shared subscription gets a message.
    pub share_strategy: ShareStrategy,
    /// Exceptions to [`Config::share_strategy`] by ShareName.
    pub share_rules: Lent<'m, [ShareRule<'m>]>,
    /// Whether what must survive a restart is recorded: then call [`Broker::poll_record`](crate::Broker::poll_record) in each
    /// turn, or nothing that promises durability is ever transmitted. Needs the feature `durable`.
    pub durable: bool,
    /// With `durable` and the feature `alloc`: what bodies of messages may take in memory that only wait for durable Sessions, in
    /// bytes, each with 64 more. Beyond it they are left to the store, and asked for when they are to be transmitted: then answer
    /// `Broker::poll_fetch` in each turn. 0, and in borrowed memory: all stay in memory.
    ///
    /// Retained messages, Wills, messages of shared subscriptions, and topics with [`Overflow::KeepLatest`] always do.
    pub body_budget: usize,
    /// What one call may do for one client, as `Broker::work` counts, until others have their turn. With the
    /// feature `alloc`; one packet, one timer or one message of a sibling is never cut. The default is a few milliseconds of a large
    /// processor.
    pub work_share: u32,
    /// Sent as Response Information to clients that ask for it (section 3.2.2.3.15).
    pub response_information: Option<Lent<'m, str>>,
    /// What [`Broker::poll_event`](crate::Broker::poll_event) tells of.
    #[cfg(feature = "events")]
    pub events: EventSet,
    /// Bytes that events may take until they are polled: 12 for each, and its texts.
    #[cfg(feature = "events")]
    pub event_bytes: usize,
}

/// Which of several sibling brokers this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Counted from 0.
    pub index: u16,
    /// 1 to [`Shard::MAX_COUNT`].
    pub count: u16,
}

impl Shard {
    /// More shards than these there can't be: in what each broker keeps for a message they have a bit each.
    pub const MAX_COUNT: u16 = 256;

    /// A broker without siblings.
    pub const ONLY: Self = Self { index: 0, count: 1 };

    /// The index of the shard on which the Session with this Client Identifier lives. The same for ever, whatever
    /// the seed: a store keeps each Session with its shard. So clients that choose their identifiers can all live on one shard. That
    /// is no more than a gateway with one shard has to bear: they find no other entries of a table in their way, and what one of them
    /// may take has the same limits.
    pub fn home_of(client_id: &[u8], count: u16) -> u16 {
        let hash = client_id
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        // The last characters of an identifier reach only some bits of that: these steps spread them over all of it.
        let spread = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        let spread = (spread ^ (spread >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        // Scaled instead of divided.
        (((spread >> 32) * u64::from(count)) >> 32) as u16
    }

    /// How many numbers of [`Subscriber`](crate::engine::router::Subscriber)s stand for shards: none for a broker that is alone.
    pub(crate) fn siblings(self) -> u32 {
        if self.has_siblings() { u32::from(self.count) } else { 0 }
    }

    /// Without the feature `shards` there are none, whatever was asked for.
    #[inline]
    const fn has_siblings(self) -> bool {
        cfg!(feature = "shards") && self.count > 1
    }

    pub(crate) fn is_home_of(self, client_id: &[u8]) -> bool {
        !self.has_siblings() || Self::home_of(client_id, self.count) == self.index
    }
}

/// Bounds on what one client can make the broker keep or do.
///
/// | limit | [gateway](Self::GATEWAY) | [firmware](Self::FIRMWARE) | beyond it the client gets |
/// |---|---|---|---|
/// | [`packet_bytes`](Self::packet_bytes) | 10,551,296 | 1,024 | DISCONNECT 0x95 |
/// | [`receive_maximum`](Self::receive_maximum) | 256 | 4 | DISCONNECT 0x93; MQTT 3.1 and 3.1.1 know no such limit, and receipts take what memory there is |
/// | [`topic_aliases_in`](Self::topic_aliases_in) | 64 | 4 | DISCONNECT 0x94 |
/// | [`topic_aliases_out`](Self::topic_aliases_out) | 64 | 0 | the topic in full |
/// | [`inflight`](Self::inflight) | 256 | 4 | the next messages when it has acknowledged some |
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
/// | [`owed_replies`](Self::owed_replies) | 1,024 | 8 | nothing more is read from it until it reads |
/// | [`connect_timeout_ms`](Config::connect_timeout_ms) | 10,000 | 10,000 | its Network Connection is closed |
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest packet taken, in bytes from the first of the fixed header: the server's Maximum Packet Size. Other packets than
    /// PUBLISH may have [`OTHER_PACKET_BYTES`](Self::OTHER_PACKET_BYTES) at most. Beyond it: DISCONNECT 0x95.
    pub packet_bytes: u32,
    /// QoS 2 messages from one MQTT 5.0 client that may wait for their PUBREL: the server's Receive Maximum. Beyond it:
    /// DISCONNECT 0x93. Older clients are never told it and may burst.
    pub receive_maximum: u16,
    /// Topic Aliases a client may set. Beyond it: DISCONNECT 0x94.
    pub topic_aliases_in: u16,
    /// Topic Aliases the server sets towards one client, if that allows so many.
    pub topic_aliases_out: u16,
    /// QoS 1 and 2 messages in flight to one client, if its Receive Maximum allows so many. Further ones wait in the queue.
    pub inflight: u16,
    /// What is taken for the Receive Maximum of a client of MQTT 3.1 or 3.1.1, which has no way to say how many it takes at once.
    pub inflight_v3: u16,
    /// Messages that wait for one Session. Beyond it: [`Overflow`].
    pub queued_messages: u32,
    /// Bytes of topics, properties and payloads that wait for one Session. Beyond it: [`Overflow`].
    pub queued_bytes: u32,
    /// With [`Config::durable`]: how many messages of QoS 1 and 2 may wait for one durable Session, whose bodies
    /// [`Config::body_budget`] leaves to the store. 0: no more than [`queued_messages`](Self::queued_messages). Beyond it: [`Overflow`].
    ///
    /// Queues grow beyond `queued_messages` and `queued_bytes` only as long as the store [is not half full](crate::Broker::set_store_half_full),
    /// half of [`Entries::messages`](crate::Entries::messages) and of [`Entries::deliveries`](crate::Entries::deliveries) are free, and
    /// there are fewer deliveries than four such queues have, in all shards together. So absent clients leave room for the others.
    /// They don't where any policy is [`Overflow::KeepLatest`], which looks for topics in a queue.
    #[cfg(feature = "alloc")]
    pub durable_queued_messages: u32,
    /// How many bytes of topics, properties and payloads may wait for one durable Session, as
    /// [`durable_queued_messages`](Self::durable_queued_messages). 0: no more than [`queued_bytes`](Self::queued_bytes).
    #[cfg(feature = "alloc")]
    pub durable_queued_bytes: u32,
    /// Messages that wait for the group of a shared subscription while no connected member has room. They take at most
    /// [`queued_bytes`](Self::queued_bytes). Beyond it: [`Overflow`].
    pub group_messages: u32,
    /// With [`Config::durable`]: how many messages may wait for a group, as [`durable_queued_messages`](Self::durable_queued_messages). Their
    /// bodies stay in memory, so `queued_bytes` bounds them. 0: no more than [`group_messages`](Self::group_messages).
    #[cfg(feature = "alloc")]
    pub durable_group_messages: u32,
    /// Subscriptions of one Session. Beyond it: SUBACK 0x97.
    pub subscriptions: u32,
    /// Levels in a Topic Name that is retained or in a Topic Filter. Beyond it: 0x97.
    pub topic_levels: u16,
    /// What a Topic Filter with `+` may cost each message, with the feature `alloc`: the levels of the tree that one visits if there
    /// are all filters with as many levels and `+` anywhere in as many of them. 8,192 allow `+` in all of 12 levels, in 3 of 20, or in one
    /// of 126. Beyond it: SUBACK 0x97.
    pub filter_cost: u32,
    /// Properties in one packet. Beyond it: 0x97.
    pub properties: u16,
    /// Retained messages in all. Beyond it: 0x97.
    pub retained_messages: u32,
    /// Replies (acknowledgements, PINGRESP …) owed to one client that does not read. Beyond it nothing more is taken from it.
    /// Eight Reason Codes of a SUBACK or UNSUBACK count as one, so it also bounds the Topic Filters in one packet that are served
    /// (8,184 with 1,024); those beyond are refused, with 0x97 in SUBACK and 0x83 in UNSUBACK.
    pub owed_replies: u16,
}

impl Limits {
    /// The most that any packet but PUBLISH may have, if [`packet_bytes`](Self::packet_bytes) is not less: more than any has that makes
    /// sense. What is not done yet with an unfinished CONNECT, or with all filters of a SUBSCRIBE, grows with it.
    pub const OTHER_PACKET_BYTES: u32 = 1024 * 1024 + 64 * 1024;

    /// Queues in the store have as many messages together as so many of the longest ones, and then they grow no longer.
    #[cfg(feature = "alloc")]
    pub const LONG_QUEUES: usize = 4;

    /// Messages in the longest queue in the store, if it may be longer than one in memory.
    #[cfg(feature = "alloc")]
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
        #[cfg(feature = "alloc")]
        durable_queued_messages: 0,
        #[cfg(feature = "alloc")]
        durable_queued_bytes: 0,
        group_messages: 10_000,
        #[cfg(feature = "alloc")]
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
        #[cfg(feature = "alloc")]
        durable_queued_messages: 0,
        #[cfg(feature = "alloc")]
        durable_queued_bytes: 0,
        group_messages: 8,
        #[cfg(feature = "alloc")]
        durable_group_messages: 0,
        subscriptions: 8,
        topic_levels: 12,
        filter_cost: u32::MAX,
        properties: 16,
        retained_messages: 16,
        owed_replies: 8,
    };
}

/// Who decides whether a CONNECT is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// Everybody may connect, as [`Principal::ANONYMOUS`](crate::Principal::ANONYMOUS); enhanced authentication is
    /// refused with 0x8C.
    Open,
    /// Each CONNECT waits for [`Broker::handle_verdict`](crate::Broker::handle_verdict).
    Ask,
}

/// What happens to a message that was sent, and not acknowledged, when the client connects again after the Message Expiry Interval
/// has ended. What is not sent again is dropped, and counted as [`DropReason::Expired`](crate::DropReason).
///
/// A message that was never sent whole is dropped in any case `[MQTT-3.3.2-5]`; after PUBREC, PUBREL is sent in any case.
/// MQTT 3.1 and 3.1.1 tell a subscriber nothing of the interval that a publisher of MQTT 5.0 has set, but for the server it counts all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResendExpired {
    /// All are sent again, as `[MQTT-4.4.0-1]` says of whatever is not acknowledged, however old they are by then. What is still shown
    /// of the interval is 1 s.
    Always,
    /// Those with QoS 2 are sent again, and those with QoS 1 are dropped. This is the default. A command that comes late does harm, and
    /// who sets the interval wants it not to come; "at least once" knows no other way than the interval to say so. `[MQTT-4.4.0-1]` makes no
    /// exception for what has expired, so strictly this departs from it. With QoS 2 the standard is explicit: a sender "MUST NOT apply
    /// Message expiry if a PUBLISH packet has been sent" `[MQTT-4.3.3-7]`, because the client may have taken the message, and
    /// remembers its Packet Identifier until PUBREL comes.
    Qos2,
    /// None is sent again, before PUBREC. That departs from `[MQTT-4.3.3-7]` too: a client whose PUBREC was lost remembers a Packet
    /// Identifier of which it hears no more, and would take a later message with the same one for a duplicate. Identifiers are given out in a
    /// circle, so 65,535 others come first, with the feature `alloc` also if there is a restart in between.
    Never,
}

impl ResendExpired {
    /// Whether a delivery with this QoS, which was sent before, is sent again.
    pub(crate) fn includes(self, qos: QoS) -> bool {
        match self {
            Self::Always => true,
            Self::Qos2 => qos == QoS::ExactlyOnce,
            Self::Never => false,
        }
    }
}

/// What happens to a message for a Session whose queue is full. With the feature `alloc` what waits longest and has expired makes room before.
///
/// A message with QoS 1 or 2 that nobody keeps then, in a queue or as a retained one, is refused with 0x97 Quota exceeded; in MQTT 3.1 and
/// 3.1.1 it is acknowledged. Both are counted in [`Counters::publish_lost`](crate::Counters).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The new message is dropped and counted.
    DropNewest,
    /// The longest-waiting message is dropped and counted.
    DropOldest,
    /// An older message of the same topic is dropped and counted; without one, the longest-waiting.
    KeepLatest,
    /// Nobody gets the message, and the publisher is told so: 0x97 Quota exceeded, in MQTT 3.1 and 3.1.1 by withholding the
    /// acknowledgement and closing the connection. A QoS 0 message is dropped and counted.
    Refuse,
}

/// An [`Overflow`] policy for some topics.
#[derive(Clone, Debug)]
pub struct OverflowRule<'m> {
    /// A Topic Filter that is well-formed.
    filter: Lent<'m, str>,
    policy: Overflow,
}

impl<'m> OverflowRule<'m> {
    /// This policy for the topics that match `filter`.
    ///
    /// # Errors
    /// It is no Topic Filter.
    pub fn new(filter: impl Into<Lent<'m, str>>, policy: Overflow) -> Result<Self, TopicFilterError> {
        let filter = filter.into();
        TopicFilter::new(&filter)?;
        Ok(Self { filter, policy })
    }

    /// The topics.
    pub fn filter(&self) -> TopicFilter<'_> {
        TopicFilter::assume_valid(&self.filter)
    }

    /// The policy.
    pub fn policy(&self) -> Overflow {
        self.policy
    }
}

/// How a group chooses the member that gets a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShareStrategy {
    /// One after the other.
    #[default]
    RoundRobin,
    /// Whoever has the least to acknowledge; among equals one after the other.
    LeastInflight,
    /// Any, each as likely as the others.
    Random,
    /// The same as last time, as long as it is available.
    Sticky,
    /// The same for all messages of one publisher.
    HashPublisher,
    /// The same for all messages of one topic.
    HashTopic,
}

/// A [`ShareStrategy`] for the shared subscriptions of one ShareName.
#[derive(Clone, Debug)]
pub struct ShareRule<'m> {
    /// The ShareName.
    pub group: Lent<'m, str>,
    /// The strategy.
    pub strategy: ShareStrategy,
}

/// Why a broker can't go on with another configuration, see [`Broker::reconfigure`](crate::Broker::reconfigure).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unchangeable {
    /// The keys of all hashes are derived from [`Config::seed`].
    Seed,
    /// Sessions live where [`Config::shard`] says.
    Shard,
    /// What is recorded depends on [`Config::durable`] from the beginning.
    Durable,
}

impl core::fmt::Display for Unchangeable {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Seed => "the seed can't change while a broker runs",
            Self::Shard => "the number of shards can't change while a broker runs",
            Self::Durable => "whether anything survives a restart can't change while a broker runs",
        })
    }
}

impl core::error::Error for Unchangeable {}

impl<'m> Config<'m> {
    /// What of `other` can't take the place of this one.
    pub(crate) fn unchangeable(&self, other: &Config<'_>) -> Option<Unchangeable> {
        if self.seed != other.seed {
            return Some(Unchangeable::Seed);
        }
        if self.shard != other.shard {
            return Some(Unchangeable::Shard);
        }
        (self.durable != other.durable).then_some(Unchangeable::Durable)
    }

    /// The default of [`Config::work_share`].
    pub const WORK_SHARE: u32 = 65_536;

    /// The defaults of the gateway, with a seed.
    pub const fn gateway(seed: u128) -> Self {
        Self {
            seed,
            shard: Shard::ONLY,
            limits: Limits::GATEWAY,
            authentication: Authentication::Open,
            connect_timeout_ms: 10_000,
            keep_alive_max: 0,
            session_expiry_max: u32::MAX,
            will_grace_secs: 10,
            maximum_qos: QoS::ExactlyOnce,
            retain_available: true,
            allow_control_characters: false,
            no_matching_subscribers: true,
            resend_expired: ResendExpired::Qos2,
            overflow: Overflow::DropNewest,
            overflow_rules: Lent::new(&[]),
            share_strategy: ShareStrategy::RoundRobin,
            share_rules: Lent::new(&[]),
            durable: false,
            body_budget: 0,
            work_share: Self::WORK_SHARE,
            response_information: None,
            #[cfg(feature = "events")]
            events: EventSet::NONE,
            #[cfg(feature = "events")]
            event_bytes: 64 << 10,
        }
    }

    /// The defaults of a microcontroller, with a seed.
    pub const fn firmware(seed: u128) -> Self {
        let mut config = Self::gateway(seed);
        config.limits = Limits::FIRMWARE;
        config
    }

    pub(crate) fn overflow_for(&self, topic: TopicName<'_>) -> Overflow {
        let rule = self.overflow_rules.iter().find(|rule| rule.filter().matches(topic));
        rule.map_or(self.overflow, |rule| rule.policy)
    }

    /// Whether older messages are looked for by their topics.
    #[cfg(feature = "alloc")]
    pub(crate) fn may_keep_latest(&self) -> bool {
        let is_such = |policy| policy == Overflow::KeepLatest;
        is_such(self.overflow) || self.overflow_rules.iter().any(|rule| is_such(rule.policy))
    }

    /// Whether any message could be refused for a full queue: otherwise nobody has to look before delivering.
    pub(crate) fn may_refuse(&self) -> bool {
        self.overflow == Overflow::Refuse || self.overflow_rules.iter().any(|rule| rule.policy == Overflow::Refuse)
    }
}
