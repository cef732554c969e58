//! What the embedder decides: limits and policies. Most of it may change while a broker runs, see [`Broker::reconfigure`].
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
    /// What `Broker::poll_event` tells of. Needs the feature `events`.
    pub events: EventSet,
    /// Bytes that events may take until they are polled: 12 for each, and its texts.
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

    /// Without the feature `shards` there are no siblings, whatever was asked for.
    pub(crate) const MAY_HAVE_SIBLINGS: bool = cfg!(feature = "shards");

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
        // Scaled instead of divided: 32 bits by 16 are 48 at most.
        ((spread >> 32).wrapping_mul(u64::from(count)) >> 32) as u16
    }

    /// How many numbers of [`Subscriber`](crate::engine::router::Subscriber)s stand for shards: none for a broker that is alone.
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
    /// An older message of the same topic is dropped and counted; without one, the longest-waiting. On the heap a full queue has an index of its
    /// topics then, with some 200 bytes and the topic for each message, until the queue is empty.
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
            events: EventSet::NONE,
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
    pub(crate) fn may_keep_latest(&self) -> bool {
        let is_such = |policy| policy == Overflow::KeepLatest;
        is_such(self.overflow) || self.overflow_rules.iter().any(|rule| is_such(rule.policy))
    }

    /// Whether any message could be refused for a full queue: otherwise nobody has to look before delivering.
    pub(crate) fn may_refuse(&self) -> bool {
        self.overflow == Overflow::Refuse || self.overflow_rules.iter().any(|rule| rule.policy == Overflow::Refuse)
    }
}
