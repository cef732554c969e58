//! The embedder's settings: limits and policies. Most of them may change while a broker runs, see [`Broker::reconfigure`].
//!
//! [`Broker::reconfigure`]: crate::Broker::reconfigure

mod event_set;
mod lent;
mod limits;

use crate::codec::QoS;
use crate::topic::{TopicFilter, TopicFilterError, TopicName};

pub use event_set::EventSet;
pub use lent::Lent;
pub(crate) use lent::Shared;
pub use limits::Limits;

/// The configuration of a [`Broker`](crate::Broker).
#[derive(Clone, Debug)]
pub struct Config<'m> {
    /// The source of the keys of hashes and of the assigned Client Identifiers. Outsiders must not know it: draw all of it at random at
    /// each start. All shards of a gateway must have the same seed, because they tell each other hashes of Topic Filters:
    /// `Broker::handle_forward` returns an error if another shard has another seed.
    pub seed: u128,
    /// Which shard of its gateway this broker is.
    pub shard: Shard,
    /// Limits on what one client can make the broker keep.
    pub limits: Limits,
    /// Whether CONNECT waits for the embedder's verdict.
    pub authentication: Authentication,
    /// The time from the opening of a Network Connection to its CONNECT, in ms. A connection without a CONNECT by then is closed.
    pub connect_timeout_ms: u32,
    /// The longest Keep Alive in seconds. A client that asks for more, or for none, is told this as Server Keep Alive `[MQTT-3.1.2-21]`. A
    /// client of MQTT 3.1 or 3.1.1, which can't be told, is closed after a silence of 1.5 times as long. 0: no bound.
    pub keep_alive_max: u16,
    /// The longest Session Expiry Interval in seconds; `u32::MAX`: no bound.
    pub session_expiry_max: u32,
    /// With `durable`: the time in seconds after a restart for clients that were connected before. Their Wills are published no sooner, and
    /// not at all if the client is back by then.
    pub will_grace_secs: u32,
    /// The highest QoS with which a client may publish `[MQTT-3.2.2-9]`.
    pub maximum_qos: QoS,
    /// Whether retained messages are kept `[MQTT-3.2.2-13]`.
    pub retain_available: bool,
    /// Whether strings of clients may have control characters and noncharacters, which section 1.5.4 advises against: U+0001 to U+001F,
    /// U+007F to U+009F, U+FDD0 to U+FDEF and the last two of each plane. A receiver may treat a packet with them as malformed, and strict
    /// ones do: one such topic closes the connections of all that subscribe to `#`. If false they are refused: with 0x90 in a Topic Name,
    /// 0x8F in a Topic Filter, 0x85 in a Client Identifier, and 0x81 elsewhere.
    pub allow_control_characters: bool,
    /// Whether a PUBACK or PUBREC for a message without subscribers says 0x10 No matching subscribers, and not 0x00: both are success
    /// (section 3.4.2.1). A retained message that was kept, or cleared, gets 0x00 in any case.
    pub no_matching_subscribers: bool,
    /// Whether a client of MQTT 3.1 or 3.1.1 is closed when it publishes with QoS 1 or 2 what it may not: these versions have no answer that
    /// says so, and allow both `[MQTT-3.3.5-2]`. If false its message is dropped, counted and acknowledged: a client that was closed would
    /// send the same message again as soon as it is back, and all that it has to say would wait behind. Without the feature `alloc` it is
    /// closed in any case. A client of MQTT 5.0 gets 0x87.
    pub closes_denied_publishers: bool,
    /// Which messages are sent again although their Message Expiry Interval has ended meanwhile.
    pub resend_expired: ResendExpired,
    /// What to do when the queue of a Session is full.
    pub overflow: Overflow,
    /// Exceptions to [`Config::overflow`]: the first rule whose filter matches the topic counts.
    pub overflow_rules: Lent<'m, [OverflowRule<'m>]>,
    /// Which member of a shared subscription gets a message.
    pub share_strategy: ShareStrategy,
    /// Exceptions to [`Config::share_strategy`] by ShareName.
    pub share_rules: Lent<'m, [ShareRule<'m>]>,
    /// Whether everything that must survive a restart is recorded: then call `Broker::poll_record` in each
    /// turn, or no packet that promises durability is ever transmitted. Needs the feature `durable`.
    pub durable: bool,
    /// With `durable` and the feature `alloc`: the bytes of memory for bodies of messages that only wait for durable Sessions; each body
    /// counts with 64 more bytes. Bodies beyond that are left to the store, and asked for when they are to be transmitted: then answer
    /// `Broker::poll_fetch` in each turn. 0, and in borrowed memory: all bodies stay in memory.
    ///
    /// Bodies of retained messages, Wills, messages of shared subscriptions, and messages of topics with [`Overflow::KeepLatest`] always
    /// stay in memory.
    pub body_budget: usize,
    /// The work that one call may do for one client until others have their turn, as `Broker::work` counts it. With the feature `alloc`.
    /// One packet, one timer or one message of another shard is never cut. The default takes a few milliseconds on a large processor.
    pub work_share: u32,
    /// Sent as Response Information to clients that ask for it (section 3.2.2.3.15).
    pub response_information: Option<Lent<'m, str>>,
    /// The kinds of events that `Broker::poll_event` returns. Needs the feature `events`.
    pub events: EventSet,
    /// The bytes of events that may wait to be polled: 12 for each event, and its texts.
    pub event_bytes: usize,
}

/// Which of the shards of one gateway a broker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// The index of this shard, counted from 0.
    pub index: u16,
    /// The number of shards: 1 to [`Shard::MAX_COUNT`].
    pub count: u16,
}

impl Shard {
    /// The most shards of a gateway: each has one bit in what a broker keeps for a message.
    pub const MAX_COUNT: u16 = 256;

    /// Without the feature `shards` a broker is the only shard, whatever the configuration says.
    pub(crate) const MAY_HAVE_SIBLINGS: bool = cfg!(feature = "shards");

    /// A broker that is the only shard.
    pub const ONLY: Self = Self { index: 0, count: 1 };

    /// The index of the shard on which the Session with this Client Identifier lives. It never changes, whatever the seed, because a store
    /// keeps each Session with its shard. So clients that choose their identifiers can all live on one shard. That is no worse than a
    /// gateway with one shard: such clients gain no collisions in tables, and the limits on each client are the same.
    pub fn home_of(client_id: &[u8], count: u16) -> u16 {
        let hash = client_id
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        // The last characters of an identifier reach only some bits of the hash: these steps spread them over all of it.
        let spread = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        let spread = (spread ^ (spread >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        // Scaled instead of divided: 32 bits by 16 are 48 at most.
        ((spread >> 32).wrapping_mul(u64::from(count)) >> 32) as u16
    }

    /// The index of the shard that keeps the retained message of a topic. Like [`Shard::home_of`] it never changes, because a store keeps each
    /// retained message with its shard.
    pub fn owner_of_topic(topic: &[u8], count: u16) -> u16 {
        Self::home_of(topic, count)
    }

    /// How many numbers of [`Subscriber`](crate::engine::router::Subscriber)s stand for other shards: none if this is the only shard.
    pub(crate) fn siblings(self) -> u32 {
        if self.has_siblings() { u32::from(self.count) } else { 0 }
    }

    #[inline]
    const fn has_siblings(self) -> bool {
        Self::MAY_HAVE_SIBLINGS && self.count > 1
    }

    pub(crate) fn is_home_of(self, client_id: &[u8]) -> bool {
        !self.has_siblings() || Self::home_of(client_id, self.count) == self.index
    }
}

/// Who decides whether a CONNECT is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// Every client may connect, as [`Principal::ANONYMOUS`](crate::Principal::ANONYMOUS); enhanced authentication is refused with 0x8C.
    Open,
    /// Each CONNECT waits for [`Broker::handle_verdict`](crate::Broker::handle_verdict).
    Ask,
}

/// What happens to a message that was sent, and not acknowledged, when the client connects again after the Message Expiry Interval has
/// ended. A message that is not sent again is dropped, and counted as [`DropReason::Expired`](crate::DropReason).
///
/// A message that was never sent whole is dropped in any case `[MQTT-3.3.2-5]`; after PUBREC, PUBREL is sent in any case. A subscriber of
/// MQTT 3.1 or 3.1.1 is not told the interval that a publisher of MQTT 5.0 has set, but for the server the interval counts all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResendExpired {
    /// All messages are sent again, however old they are, as `[MQTT-4.4.0-1]` says of all unacknowledged messages. The interval that a
    /// subscriber is told is 1 s.
    Always,
    /// Messages with QoS 2 are sent again, and those with QoS 1 are dropped. This is the default. A command that comes late does harm, and
    /// a publisher that sets the interval wants to avoid that; with "at least once" the interval is its only way to say so.
    /// `[MQTT-4.4.0-1]` makes no exception for expired messages, so strictly this departs from it. With QoS 2 the standard is explicit: a
    /// sender "MUST NOT apply Message expiry if a PUBLISH packet has been sent" `[MQTT-4.3.3-7]`, because the client may have the message,
    /// and remembers its Packet Identifier until PUBREL comes.
    Qos2,
    /// No message is sent again before its PUBREC. That departs from `[MQTT-4.3.3-7]` too: a client whose PUBREC was lost remembers a
    /// Packet Identifier that the server has given up, and would take a later message with the same one for a duplicate. Identifiers are
    /// given out in a circle, so 65,535 others come first; with the feature `alloc` even if there is a restart in between.
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

/// What happens to a message for a Session whose queue is full. With the feature `alloc` the messages that wait longest and have expired
/// make room before.
///
/// A message with QoS 1 or 2 that then is kept nowhere, in no queue and not as a retained message, is refused with 0x97 Quota exceeded; in
/// MQTT 3.1 and 3.1.1 it is acknowledged. Both are counted in [`Counters::publish_lost`](crate::Counters).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The new message is dropped and counted.
    DropNewest,
    /// The longest-waiting message is dropped and counted.
    DropOldest,
    /// An older message of the same topic is dropped and counted; if there is none, the longest-waiting message. On the heap a full queue
    /// has an index of its topics then, with some 200 bytes and the topic for each message, until the queue is empty.
    KeepLatest,
    /// No subscriber gets the message, and the publisher is told so: by 0x97 Quota exceeded, in MQTT 3.1 and 3.1.1 by withholding the
    /// acknowledgement and closing the connection. A QoS 0 message is dropped and counted.
    Refuse,
}

/// An [`Overflow`] policy for some topics.
#[derive(Clone, Debug)]
pub struct OverflowRule<'m> {
    /// A valid Topic Filter.
    filter: Lent<'m, str>,
    policy: Overflow,
}

impl<'m> OverflowRule<'m> {
    /// This policy for the topics that match `filter`.
    ///
    /// # Errors
    /// `filter` is not a Topic Filter.
    pub fn new(filter: impl Into<Lent<'m, str>>, policy: Overflow) -> Result<Self, TopicFilterError> {
        let filter = filter.into();
        TopicFilter::new(&filter)?;
        Ok(Self { filter, policy })
    }

    /// The filter for the topics of this policy.
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
    /// One member after the other.
    #[default]
    RoundRobin,
    /// The member with the fewest unacknowledged messages; among equals one after the other.
    LeastInflight,
    /// Any member, each as likely as the others.
    Random,
    /// The same member as last time, as long as it is available.
    Sticky,
    /// The same member for all messages of one publisher.
    HashPublisher,
    /// The same member for all messages of one topic.
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

/// The setting that a new configuration must not change while a broker runs, see [`Broker::reconfigure`](crate::Broker::reconfigure).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unchangeable {
    /// [`Config::seed`]: the keys of all hashes are derived from it.
    Seed,
    /// [`Config::shard`]: it decides which Sessions live here.
    Shard,
    /// [`Config::durable`]: it decides from the beginning what is recorded.
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
    /// The setting of `other` that differs from this configuration and must not.
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

    /// The defaults of the gateway, with this seed.
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
            closes_denied_publishers: false,
            resend_expired: ResendExpired::Qos2,
            overflow: Overflow::DropNewest,
            overflow_rules: Lent::new(&[]),
            share_strategy: ShareStrategy::RoundRobin,
            share_rules: Lent::new(&[]),
            durable: false,
            body_budget: 0,
            work_share: Self::WORK_SHARE,
            response_information: None,
            events: EventSet::NONE,
            event_bytes: 64 << 10,
        }
    }

    /// The defaults of a microcontroller, with this seed.
    pub const fn firmware(seed: u128) -> Self {
        let mut config = Self::gateway(seed);
        config.limits = Limits::FIRMWARE;
        config
    }

    pub(crate) fn overflow_for(&self, topic: TopicName<'_>) -> Overflow {
        let rule = self.overflow_rules.iter().find(|rule| rule.filter().matches(topic));
        rule.map_or(self.overflow, |rule| rule.policy)
    }

    /// Whether a full queue may have to be searched for older messages of a topic.
    pub(crate) fn may_keep_latest(&self) -> bool {
        let is_such = |policy| policy == Overflow::KeepLatest;
        is_such(self.overflow) || self.overflow_rules.iter().any(|rule| is_such(rule.policy))
    }

    /// Whether a message may be refused because of a full queue: otherwise queues need not be checked before delivering.
    pub(crate) fn may_refuse(&self) -> bool {
        self.overflow == Overflow::Refuse || self.overflow_rules.iter().any(|rule| rule.policy == Overflow::Refuse)
    }
}
