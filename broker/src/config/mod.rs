//! What the gateway is told: defaults, a TOML file, and flags of the command line that override it.

mod address;
mod data_dir;
mod document;
mod file;
#[cfg(test)]
mod tests;

pub use address::ListenAddress;
pub(crate) use address::{host_of, interface_exists, listen_addresses};
pub(crate) use data_dir::default_data_dir;
pub use document::ConfigError;

use document::{Section, read_document};
use goldcrest_core::ShareStrategy;
use goldcrest_core::codec::{MAX_PACKET_LEN, QoS};
use goldcrest_core::{Capacity, Limits, Overflow, OverflowRule, ResendExpired, ShareRule, TopicFilter};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The configuration of a [`Gateway`](crate::Gateway).
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients connect.
    pub listeners: Vec<Listener>,
    /// Core brokers, each with a thread of its own. 0: as many as the store has been made for, and where there is none yet, one
    /// for each core of this machine that may be used.
    pub shards: u16,
    /// Where sessions and messages are kept across restarts. Without it they are in memory alone; the command `goldcrest`
    /// chooses a directory then.
    pub data_dir: Option<PathBuf>,
    /// Keeps sessions and messages in memory alone, whatever `data_dir` says: a stop or a crash loses what was acknowledged.
    pub memory_only: bool,
    /// How they are kept there.
    pub store: StoreConfig,
    /// Where operators ask over HTTP how it is.
    pub http: HttpConfig,
    /// How often the topics below `$SYS/broker/` are published, in seconds; 0: never.
    pub sys_interval_s: u32,
    /// Which log lines are written: a level, or directives as in `RUST_LOG`.
    pub log: Option<String>,
    /// How much the memory of each shard may grow to. A connection beyond it is closed at once.
    pub capacity: Capacity,
    /// Connections in all whose CONNECT is awaited. Beyond it the ones that wait for longest go first.
    pub unfinished_connections: u32,
    /// What every shard's broker is told. Its seed and shard are set at start.
    pub broker: goldcrest_core::Config<'static>,
}

/// How what must survive a restart is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// What an acknowledgement waits for.
    pub sync: Sync,
    /// With [`Sync::Interval`]: what a loss of power can take, in milliseconds of acknowledgements.
    pub interval_ms: u32,
    /// For how many days the gateway may have been down. Where the clock says that it was more, it is taken to be wrong, and
    /// nothing expires for that time. 0: nothing ever does.
    pub longest_downtime_days: u32,
    /// The size of a file, at most a sixth of `max_bytes`. It is raised where a packet could be larger.
    pub segment_bytes: u64,
    /// What all files may take; beyond it publishers are refused. It is raised to six files.
    pub max_bytes: u64,
    /// What bodies of messages may take in memory that wait for sessions, in all shards; beyond it they are on disk alone
    /// until their turn comes. 0: all are in memory.
    pub body_bytes: u64,
}

/// What an acknowledgement waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// That what it acknowledges is synced: nothing is lost.
    Always,
    /// That the system has it; it is synced within [`StoreConfig::interval_ms`]. A crash of the gateway loses nothing, a crash
    /// of the system or a loss of power what was acknowledged within that time.
    Interval,
    /// That the system has it. A crash of the gateway loses nothing, a crash of the system or a loss of power what the system
    /// had not written yet: half a minute is usual, and there is no bound.
    Never,
}

impl StoreConfig {
    pub(crate) fn longest_downtime(&self) -> Duration {
        Duration::from_secs(u64::from(self.longest_downtime_days) * 24 * 60 * 60)
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            sync: Sync::Always,
            interval_ms: 1000,
            longest_downtime_days: 365,
            segment_bytes: 16 << 20,
            max_bytes: 4 << 30,
            body_bytes: 8 << 20,
        }
    }
}

/// The HTTP endpoint with `/live`, `/ready`, `/metrics` and `/sessions`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpConfig {
    /// Where it answers; nowhere by default. Port 0 lets the system choose one.
    pub listen: Vec<ListenAddress>,
    /// Names by which it is asked, besides IP addresses and `localhost`. A request for any other name is not answered (421).
    pub host_names: Vec<String>,
    /// Whether it answers other machines, which nobody asked who they are. This machine it answers.
    pub allow_anonymous: bool,
}

/// A place where clients connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Port 0 lets the system choose one.
    pub address: ListenAddress,
    /// Whether clients that nobody asked who they are may connect from other machines. From this machine they may.
    pub allow_anonymous: bool,
}

impl Listener {
    /// A listener on `address` that is open to this machine only.
    pub fn new(address: SocketAddr) -> Self {
        Self { address: address.into(), allow_anonymous: false }
    }

    /// Whether it would let anybody in who reaches it, without being told so.
    pub(crate) fn is_open_by_mistake(&self) -> bool {
        !self.allow_anonymous && !self.address.is_of_this_machine()
    }
}

/// The port of MQTT without TLS.
pub const DEFAULT_PORT: u16 = 1883;

/// The largest number of shards.
pub const MAX_SHARDS: u16 = 256;

/// One shard for each core that this process may use.
pub(crate) fn shards_for_cores() -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    u16::try_from(cores).unwrap_or(MAX_SHARDS).min(MAX_SHARDS)
}

impl Default for Config {
    fn default() -> Self {
        Self {
            // For some `localhost` is the one, for some the other.
            listeners: vec![
                Listener::new((Ipv4Addr::LOCALHOST, DEFAULT_PORT).into()),
                Listener::new((Ipv6Addr::LOCALHOST, DEFAULT_PORT).into()),
            ],
            shards: 0,
            data_dir: None,
            memory_only: false,
            store: StoreConfig::default(),
            http: HttpConfig::default(),
            sys_interval_s: 10,
            log: None,
            capacity: Capacity::GATEWAY,
            unfinished_connections: 4096,
            broker: goldcrest_core::Config::gateway(0),
        }
    }
}

/// Messages that wait for one durable Session, where nothing else is said. In memory a million of them take a hundred megabytes or so.
const DURABLE_QUEUED_MESSAGES: u32 = 500_000;
/// The longest queue in the store takes one part in so many of `max_bytes`.
const DURABLE_QUEUED_SHARE: u64 = 4;

impl Config {
    /// Where the store is, unless all is in memory alone.
    pub(crate) fn store_dir(&self) -> Option<&PathBuf> {
        self.data_dir.as_ref().filter(|_| !self.memory_only)
    }

    /// The limits of each shard's broker, where there is a store: a queue is longer there than in memory. One whose limits in memory are
    /// not those of the default is not, unless the configuration says so.
    pub(crate) fn limits_with_store(&self) -> Limits {
        let mut limits = self.broker.limits;
        if self.store.body_bytes == 0 {
            return limits;
        }
        let default = Limits::GATEWAY;
        if (limits.queued_messages, limits.queued_bytes) == (default.queued_messages, default.queued_bytes) {
            if limits.durable_queued_messages == 0 {
                limits.durable_queued_messages = DURABLE_QUEUED_MESSAGES;
            }
            if limits.durable_queued_bytes == 0 {
                limits.durable_queued_bytes = clamp(self.store.max_bytes / DURABLE_QUEUED_SHARE);
            }
        }
        if limits.group_messages == default.group_messages && limits.durable_group_messages == 0 {
            limits.durable_group_messages = DURABLE_QUEUED_MESSAGES;
        }
        limits
    }

    /// Reads the TOML file at `path` over the defaults.
    ///
    /// # Errors
    /// The file cannot be read, is no TOML, or has a key or value that is not allowed.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        Self::from_toml(path, &file::read(path)?)
    }

    /// As [`Config::from_file`] for `text` that was read from `path`.
    ///
    /// # Errors
    /// The text is no TOML, or has a key or value that is not allowed.
    pub fn from_toml(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        // Some editors begin a file so, and it means nothing in UTF-8.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        read_document(path, text, |document| read_config(&mut config, document))?;
        Ok(config)
    }
}

fn read_config(config: &mut Config, document: &mut Section<'_>) -> Result<(), ConfigError> {
    set(&mut config.shards, document.integer_or("shards", 1..=MAX_SHARDS, "auto", shards_for_cores)?);
    config.data_dir = document.string("data_dir", "a path", |path| (!path.is_empty()).then(|| PathBuf::from(path)))?;
    set(&mut config.memory_only, document.boolean("memory_only")?);
    document.section("log", |log| {
        config.log = log.string("level", crate::output::log::LEVELS, |level| {
            crate::output::log::parse_filter(level).map(|_| level.to_owned())
        })?;
        Ok(())
    })?;
    document.section("store", |store| read_store(&mut config.store, store))?;
    let listeners = document.sections_at_least_one("listener", read_listener)?;
    set(&mut config.listeners, listeners.map(|listeners| listeners.into_iter().flatten().collect()));
    document.section("http", |http| read_http(&mut config.http, http))?;
    document.section("sys", |sys| {
        set(&mut config.sys_interval_s, sys.integer("interval_s", 0..=86_400)?);
        Ok(())
    })?;
    document.section("limits", |limits| read_limits(config, limits))?;
    document.section("capacity", |capacity| read_capacity(&mut config.capacity, capacity))?;
    document.section("session", |session| read_session(&mut config.broker, session))?;
    document.section("overflow", |overflow| read_overflow(&mut config.broker, overflow))?;
    document.section("shared", |shared| read_shared(&mut config.broker, shared))?;
    Ok(())
}

const SYNCS: &[(&str, Sync)] = &[("always", Sync::Always), ("interval", Sync::Interval), ("never", Sync::Never)];

fn read_store(store: &mut StoreConfig, section: &mut Section<'_>) -> Result<(), ConfigError> {
    set(&mut store.sync, section.choice("sync", SYNCS)?);
    set(&mut store.interval_ms, section.integer("interval_ms", 1..=3_600_000)?);
    set(&mut store.longest_downtime_days, section.integer("longest_downtime_days", 0..=36_500)?);
    set(&mut store.segment_bytes, section.bytes("segment_bytes", 1 << 20..=512 << 20)?);
    set(&mut store.body_bytes, section.bytes("body_bytes", 0..=1 << 44)?);
    set(&mut store.max_bytes, section.bytes("max_bytes", 64 << 20..=1 << 44)?);
    Ok(())
}

fn read_listener(listener: &mut Section<'_>) -> Result<Vec<Listener>, ConfigError> {
    let addresses = listener.string("address", ADDRESSES, |text| listen_addresses(text).ok())?;
    let allow_anonymous = listener.boolean("allow_anonymous")?.unwrap_or(false);
    let addresses = listener.required("address", addresses)?;
    Ok(addresses.into_iter().map(|address| Listener { address, allow_anonymous }).collect())
}

/// As `address::ADDRESSES`, as they are written in TOML.
const ADDRESSES: &str = "an IP address and a port up to 65535, like \"127.0.0.1:1883\" or \"[::1]:1883\"; \"[fe80::1%eth0]:1883\" for an \
     address of a link; \"localhost:1883\" or \"1883\" for the loopback addresses of this machine; \"*:1883\" for all its addresses; other names are not looked up";

const HTTP_ADDRESSES: &str = "a list of IP addresses and ports up to 65535, like [\"127.0.0.1:9883\"]; \"localhost:9883\" or \"9883\" are the \
     loopback addresses of this machine";

fn host_name(text: &str) -> Option<String> {
    let is_name = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    is_name.then(|| text.to_owned())
}

fn read_http(http: &mut HttpConfig, section: &mut Section<'_>) -> Result<(), ConfigError> {
    let listen = section.strings("listen", HTTP_ADDRESSES, |text| listen_addresses(text).ok())?;
    set(&mut http.listen, listen.map(|addresses| addresses.into_iter().flatten().collect()));
    let names =
        section.strings("host_names", "a list of host names without ports, like [\"broker.example\"]", host_name)?;
    set(&mut http.host_names, names);
    set(&mut http.allow_anonymous, section.boolean("allow_anonymous")?);
    Ok(())
}

fn read_limits(config: &mut Config, section: &mut Section<'_>) -> Result<(), ConfigError> {
    set(&mut config.unfinished_connections, section.integer("unfinished_connections", 1..=1_000_000)?);
    let limits: &mut Limits = &mut config.broker.limits;
    set(&mut limits.packet_bytes, section.bytes("packet_bytes", 1024..=MAX_PACKET_LEN.into())?.map(clamp));
    set(&mut limits.receive_maximum, section.integer("receive_maximum", 1..=u16::MAX)?);
    set(&mut limits.topic_aliases_in, section.integer("topic_aliases_in", 0..=u16::MAX)?);
    set(&mut limits.topic_aliases_out, section.integer("topic_aliases_out", 0..=u16::MAX)?);
    set(&mut limits.inflight, section.integer("inflight", 1..=u16::MAX)?);
    set(&mut limits.inflight_v3, section.integer("inflight_v3", 1..=u16::MAX)?);
    set(&mut limits.queued_messages, section.integer("queued_messages", 1..=u32::MAX)?);
    set(&mut limits.queued_bytes, section.bytes("queued_bytes", 1024..=u32::MAX.into())?.map(clamp));
    set(&mut limits.durable_queued_messages, section.integer("durable_queued_messages", 1..=u32::MAX)?);
    set(&mut limits.durable_queued_bytes, section.bytes("durable_queued_bytes", 1024..=u32::MAX.into())?.map(clamp));
    set(&mut limits.group_messages, section.integer("group_messages", 0..=u32::MAX)?);
    set(&mut limits.durable_group_messages, section.integer("durable_group_messages", 1..=u32::MAX)?);
    set(&mut limits.subscriptions, section.integer("subscriptions", 1..=u32::MAX)?);
    set(&mut limits.topic_levels, section.integer("topic_levels", 1..=u16::MAX)?);
    set(&mut limits.filter_cost, section.integer("filter_cost", 1..=u32::MAX)?);
    set(&mut limits.properties, section.integer("properties", 1..=u16::MAX)?);
    set(&mut limits.retained_messages, section.integer("retained_messages", 0..=u32::MAX)?);
    set(&mut limits.owed_replies, section.integer("owed_replies", 1..=u16::MAX)?);
    Ok(())
}

fn read_capacity(capacity: &mut Capacity, section: &mut Section<'_>) -> Result<(), ConfigError> {
    // What refers to another entry does so by a number of 32 bits.
    const MOST: usize = u32::MAX as usize - 1;
    set(&mut capacity.connections, section.integer("connections", 1..=MOST)?);
    set(&mut capacity.sessions, section.integer("sessions", 1..=MOST)?);
    set(&mut capacity.subscriptions, section.integer("subscriptions", 1..=MOST)?);
    set(&mut capacity.topic_levels, section.integer("topic_levels", 1..=MOST)?);
    set(&mut capacity.messages, section.integer("messages", 1..=MOST)?);
    set(&mut capacity.deliveries, section.integer("deliveries", 1..=MOST)?);
    set(&mut capacity.bytes, section.bytes("bytes", 1 << 20..=1 << 40)?.and_then(|bytes| usize::try_from(bytes).ok()));
    Ok(())
}

fn read_session(broker: &mut goldcrest_core::Config<'static>, section: &mut Section<'_>) -> Result<(), ConfigError> {
    set(&mut broker.connect_timeout_ms, section.integer("connect_timeout_ms", 100..=600_000)?);
    set(&mut broker.keep_alive_max, section.integer("keep_alive_max_s", 0..=u16::MAX)?);
    set(&mut broker.session_expiry_max, section.integer("expiry_max_s", 0..=u32::MAX)?);
    set(&mut broker.will_grace_secs, section.integer("will_grace_s", 0..=u32::MAX)?);
    let qos = section.integer("maximum_qos", 0..=2)?.and_then(QoS::from_bits);
    set(&mut broker.maximum_qos, qos);
    set(&mut broker.retain_available, section.boolean("retain_available")?);
    set(&mut broker.allow_control_characters, section.boolean("allow_control_characters")?);
    set(&mut broker.no_matching_subscribers, section.boolean("no_matching_subscribers")?);
    set(&mut broker.resend_expired, section.choice("resend_expired", RESEND_EXPIRED)?);
    broker.response_information =
        section.string("response_information", "a string of at most 65,535 bytes", |text| {
            (text.len() <= usize::from(u16::MAX)).then(|| text.to_owned().into())
        })?;
    Ok(())
}

const RESEND_EXPIRED: &[(&str, ResendExpired)] =
    &[("always", ResendExpired::Always), ("qos2", ResendExpired::Qos2), ("never", ResendExpired::Never)];

const POLICIES: &[(&str, Overflow)] = &[
    ("drop_newest", Overflow::DropNewest),
    ("drop_oldest", Overflow::DropOldest),
    ("keep_latest", Overflow::KeepLatest),
    ("refuse", Overflow::Refuse),
];

fn read_overflow(broker: &mut goldcrest_core::Config<'static>, section: &mut Section<'_>) -> Result<(), ConfigError> {
    set(&mut broker.overflow, section.choice("default", POLICIES)?);
    let rules = section.sections("rule", |rule| {
        let filter = rule.string("filter", "a Topic Filter, like \"sensors/+/alarm\"", |text| {
            TopicFilter::new(text).is_ok().then(|| text.to_owned())
        })?;
        let policy = rule.choice("policy", POLICIES)?;
        let (filter, policy) = (rule.required("filter", filter)?, rule.required("policy", policy)?);
        Ok(OverflowRule::new(filter, policy).expect("it was checked when it was read"))
    })?;
    set(&mut broker.overflow_rules, rules.map(Into::into));
    Ok(())
}

const STRATEGIES: &[(&str, ShareStrategy)] = &[
    ("round_robin", ShareStrategy::RoundRobin),
    ("least_inflight", ShareStrategy::LeastInflight),
    ("random", ShareStrategy::Random),
    ("sticky", ShareStrategy::Sticky),
    ("hash_publisher", ShareStrategy::HashPublisher),
    ("hash_topic", ShareStrategy::HashTopic),
];

fn read_shared(broker: &mut goldcrest_core::Config<'static>, section: &mut Section<'_>) -> Result<(), ConfigError> {
    set(&mut broker.share_strategy, section.choice("strategy", STRATEGIES)?);
    let rules = section.sections("rule", |rule| {
        let group = rule.string("group", "a ShareName: at least one character, without /, + and #", |text| {
            (!text.is_empty() && !text.contains(['/', '+', '#'])).then(|| text.to_owned().into())
        })?;
        let strategy = rule.choice("strategy", STRATEGIES)?;
        Ok(ShareRule { group: rule.required("group", group)?, strategy: rule.required("strategy", strategy)? })
    })?;
    set(&mut broker.share_rules, rules.map(Into::into));
    Ok(())
}

fn clamp(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}
