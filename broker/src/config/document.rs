//! The configuration file: its tables and keys as serde reads them, and which fields of [`Config`] they set. A key that is not in the file
//! leaves its field as it is.

use super::address::{ListenAddress, listen_addresses};
use super::authentication::AuthenticationKeys;
use super::listener::{ListenerKeys, listeners};
use super::permissions::{DynamicSecurityKeys, PermissionKeys};
use super::values::{Boolean, Bytes, Integer, Keys, OneOf, Table, Value, Word, list, path, scalar, string, within};
use super::{CapacityLimits, Config, HttpConfig, MAX_SHARDS, MemoryMax, StoreConfig, Sync, shards_for_cores};
use crate::output::log;
use goldcrest_core::codec::{MAX_PACKET_LEN, QoS};
use goldcrest_core::{Limits, Overflow, OverflowRule, ResendExpired, ShareRule, ShareStrategy, TopicFilter};
use serde::{Deserialize, Deserializer};
use std::path::PathBuf;

const U16_MAX: u64 = u16::MAX as u64;
const U32_MAX: u64 = u32::MAX as u64;
/// An entry of a table refers to another entry by a number of 32 bits.
const MOST_ENTRIES: u64 = U32_MAX - 1;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    #[serde(default, deserialize_with = "shards")]
    shards: Option<u16>,
    #[serde(default, deserialize_with = "path")]
    data_dir: Option<PathBuf>,
    memory_only: Option<Boolean>,
    memory: Option<Table<MemoryKeys>>,
    log: Option<Table<LogKeys>>,
    store: Option<Table<StoreKeys>>,
    #[serde(default, deserialize_with = "listeners")]
    listener: Option<Vec<Table<ListenerKeys>>>,
    authentication: Option<Table<AuthenticationKeys>>,
    http: Option<Table<HttpKeys>>,
    permissions: Option<Table<PermissionKeys>>,
    dynamic_security: Option<Table<DynamicSecurityKeys>>,
    sys: Option<Table<SysKeys>>,
    limits: Option<Table<LimitsKeys>>,
    capacity: Option<Table<CapacityKeys>>,
    session: Option<Table<SessionKeys>>,
    overflow: Option<Table<OverflowKeys>>,
    shared: Option<Table<SharedKeys>>,
}

impl Document {
    pub(super) fn apply(self, config: &mut Config) {
        config.shards = self.shards.unwrap_or(config.shards);
        set(&mut config.memory_only, self.memory_only);
        config.data_dir = self.data_dir.or(config.data_dir.take());
        config.log = self.log.and_then(|log| log.0.level).or(config.log.take());
        if let Some(listeners) = self.listener {
            config.listeners = listeners.into_iter().flat_map(|it| it.0.listeners()).collect();
        }
        set(&mut config.sys_interval_s, self.sys.and_then(|sys| sys.0.interval_s));
        config.memory_max = self.memory.and_then(|memory| memory.0.max).unwrap_or(config.memory_max);
        apply(self.store, &mut config.store, StoreKeys::apply);
        apply(self.authentication, &mut config.authentication, AuthenticationKeys::apply);
        apply(self.http, &mut config.http, HttpKeys::apply);
        apply(self.permissions, config, PermissionKeys::apply);
        apply(self.dynamic_security, config, DynamicSecurityKeys::apply);
        apply(self.capacity, &mut config.capacity, CapacityKeys::apply);
        apply(self.limits, config, LimitsKeys::apply);
        apply(self.session, &mut config.broker, SessionKeys::apply);
        apply(self.overflow, &mut config.broker, OverflowKeys::apply);
        apply(self.shared, &mut config.broker, SharedKeys::apply);
    }
}

fn apply<T, C>(table: Option<Table<T>>, config: &mut C, set_all: impl FnOnce(T, &mut C)) {
    if let Some(Table(keys)) = table {
        set_all(keys, config);
    }
}

fn set<V: Value>(field: &mut V::Of, value: Option<V>) {
    if let Some(value) = value {
        *field = value.get();
    }
}

/// The same for a field that has no value unless the file gives one.
fn set_some<V: Value>(field: &mut Option<V::Of>, value: Option<V>) {
    if let Some(value) = value {
        *field = Some(value.get());
    }
}

fn shards<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u16>, D::Error> {
    let auto = |text: &str| (text == "auto").then(shards_for_cores);
    let allowed = format_args!("an integer from 1 to {MAX_SHARDS}, or \"auto\"");
    scalar(from, allowed, within(1, MAX_SHARDS.into()), auto).map(Some)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogKeys {
    #[serde(default, deserialize_with = "log_level")]
    level: Option<String>,
}

impl Keys for LogKeys {
    const ALLOWED: &'static str = "a table: [log]";
}

fn log_level<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    string(from, log::LEVELS, |level| log::parse_filter(level).map(|_| level.to_owned())).map(Some)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MemoryKeys {
    #[serde(default, deserialize_with = "memory_max")]
    max: Option<MemoryMax>,
}

impl Keys for MemoryKeys {
    const ALLOWED: &'static str = "a table: [memory]";
}

fn memory_max<'de, D: Deserializer<'de>>(from: D) -> Result<Option<MemoryMax>, D::Error> {
    scalar(from, MemoryMax::ALLOWED, MemoryMax::of_integer, MemoryMax::of_text).map(Some)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreKeys {
    sync: Option<OneOf<Sync>>,
    interval_ms: Option<Integer<u32, 1, 3_600_000>>,
    longest_downtime_days: Option<Integer<u32, 0, 36_500>>,
    segment_bytes: Option<Bytes<u64, { 1 << 20 }, { 512 << 20 }>>,
    body_bytes: Option<Bytes<u64, 0, { 1 << 44 }>>,
    max_bytes: Option<Bytes<u64, { 64 << 20 }, { 1 << 44 }>>,
}

impl Keys for StoreKeys {
    const ALLOWED: &'static str = "a table: [store]";
}

impl StoreKeys {
    fn apply(self, store: &mut StoreConfig) {
        set(&mut store.sync, self.sync);
        set(&mut store.interval_ms, self.interval_ms);
        set(&mut store.longest_downtime_days, self.longest_downtime_days);
        set(&mut store.segment_bytes, self.segment_bytes);
        set(&mut store.body_bytes, self.body_bytes);
        set(&mut store.max_bytes, self.max_bytes);
    }
}

impl Word for Sync {
    const WORDS: &'static [(&'static str, Self)] =
        &[("always", Self::Always), ("interval", Self::Interval), ("never", Self::Never)];
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpKeys {
    #[serde(default, deserialize_with = "http_listen")]
    listen: Option<Vec<HttpAddresses>>,
    #[serde(default, deserialize_with = "host_names")]
    host_names: Option<Vec<HostName>>,
    allow_anonymous: Option<Boolean>,
}

impl Keys for HttpKeys {
    const ALLOWED: &'static str = "a table: [http]";
}

impl HttpKeys {
    fn apply(self, http: &mut HttpConfig) {
        if let Some(all) = self.listen {
            http.listen = all.into_iter().flat_map(|it| it.0).collect();
        }
        if let Some(names) = self.host_names {
            http.host_names = names.into_iter().map(|it| it.0).collect();
        }
        set(&mut http.allow_anonymous, self.allow_anonymous);
    }
}

const HTTP_ADDRESSES: &str = "a list of IP addresses and ports up to 65535, like [\"127.0.0.1:9883\"]; \"localhost:9883\" or \"9883\" are the \
     loopback addresses of this machine";

/// The addresses that one string of `http.listen` stands for.
#[derive(Debug)]
struct HttpAddresses(Vec<ListenAddress>);

impl<'de> Deserialize<'de> for HttpAddresses {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        string(from, HTTP_ADDRESSES, |text| listen_addresses(text).ok()).map(Self)
    }
}

fn http_listen<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<HttpAddresses>>, D::Error> {
    list(from, HTTP_ADDRESSES).map(Some)
}

const HOST_NAMES: &str = "a list of host names without ports, like [\"broker.example\"]";

#[derive(Debug)]
struct HostName(String);

impl<'de> Deserialize<'de> for HostName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let is_name = |text: &str| !text.is_empty() && text.bytes().all(is_of_name);
        string(from, HOST_NAMES, |text| is_name(text).then(|| Self(text.to_owned())))
    }
}

fn host_names<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<HostName>>, D::Error> {
    list(from, HOST_NAMES).map(Some)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SysKeys {
    interval_s: Option<Integer<u32, 0, 86_400>>,
}

impl Keys for SysKeys {
    const ALLOWED: &'static str = "a table: [sys]";
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsKeys {
    unfinished_connections: Option<Integer<u32, 1, 1_000_000>>,
    packet_bytes: Option<Bytes<u32, 1024, { MAX_PACKET_LEN as u64 }>>,
    receive_maximum: Option<Integer<u16, 1, U16_MAX>>,
    topic_aliases_in: Option<Integer<u16, 0, U16_MAX>>,
    topic_aliases_out: Option<Integer<u16, 0, U16_MAX>>,
    inflight: Option<Integer<u16, 1, U16_MAX>>,
    inflight_v3: Option<Integer<u16, 1, U16_MAX>>,
    queued_messages: Option<Integer<u32, 1, U32_MAX>>,
    queued_bytes: Option<Bytes<u32, 1024, U32_MAX>>,
    durable_queued_messages: Option<Integer<u32, 1, U32_MAX>>,
    durable_queued_bytes: Option<Bytes<u32, 1024, U32_MAX>>,
    group_messages: Option<Integer<u32, 0, U32_MAX>>,
    durable_group_messages: Option<Integer<u32, 1, U32_MAX>>,
    subscriptions: Option<Integer<u32, 1, U32_MAX>>,
    topic_levels: Option<Integer<u16, 1, U16_MAX>>,
    filter_cost: Option<Integer<u32, 1, U32_MAX>>,
    properties: Option<Integer<u16, 1, U16_MAX>>,
    retained_messages: Option<Integer<u32, 0, U32_MAX>>,
    owed_replies: Option<Integer<u16, 1, U16_MAX>>,
}

impl Keys for LimitsKeys {
    const ALLOWED: &'static str = "a table: [limits]";
}

impl LimitsKeys {
    fn apply(self, config: &mut Config) {
        set(&mut config.unfinished_connections, self.unfinished_connections);
        let limits: &mut Limits = &mut config.broker.limits;
        set(&mut limits.packet_bytes, self.packet_bytes);
        set(&mut limits.receive_maximum, self.receive_maximum);
        set(&mut limits.topic_aliases_in, self.topic_aliases_in);
        set(&mut limits.topic_aliases_out, self.topic_aliases_out);
        set(&mut limits.inflight, self.inflight);
        set(&mut limits.inflight_v3, self.inflight_v3);
        set(&mut limits.queued_messages, self.queued_messages);
        set(&mut limits.queued_bytes, self.queued_bytes);
        set(&mut limits.durable_queued_messages, self.durable_queued_messages);
        set(&mut limits.durable_queued_bytes, self.durable_queued_bytes);
        set(&mut limits.group_messages, self.group_messages);
        set(&mut limits.durable_group_messages, self.durable_group_messages);
        set(&mut limits.subscriptions, self.subscriptions);
        set(&mut limits.topic_levels, self.topic_levels);
        set(&mut limits.filter_cost, self.filter_cost);
        set(&mut limits.properties, self.properties);
        set(&mut limits.retained_messages, self.retained_messages);
        set(&mut limits.owed_replies, self.owed_replies);
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CapacityKeys {
    connections: Option<Integer<usize, 1, MOST_ENTRIES>>,
    sessions: Option<Integer<usize, 1, MOST_ENTRIES>>,
    subscriptions: Option<Integer<usize, 1, MOST_ENTRIES>>,
    topic_levels: Option<Integer<usize, 1, MOST_ENTRIES>>,
    messages: Option<Integer<usize, 1, MOST_ENTRIES>>,
    deliveries: Option<Integer<usize, 1, MOST_ENTRIES>>,
    bytes: Option<Bytes<usize, { 1 << 20 }, { 1 << 40 }>>,
}

impl Keys for CapacityKeys {
    const ALLOWED: &'static str = "a table: [capacity]";
}

impl CapacityKeys {
    fn apply(self, capacity: &mut CapacityLimits) {
        set_some(&mut capacity.connections, self.connections);
        set_some(&mut capacity.sessions, self.sessions);
        set_some(&mut capacity.subscriptions, self.subscriptions);
        set_some(&mut capacity.topic_levels, self.topic_levels);
        set_some(&mut capacity.messages, self.messages);
        set_some(&mut capacity.deliveries, self.deliveries);
        set_some(&mut capacity.bytes, self.bytes);
    }
}

/// The part of the configuration that the core reads. It owns its texts and rules.
type Broker = goldcrest_core::Config<'static>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SessionKeys {
    connect_timeout_ms: Option<Integer<u32, 100, 600_000>>,
    keep_alive_max_s: Option<Integer<u16, 0, U16_MAX>>,
    expiry_max_s: Option<Integer<u32, 0, U32_MAX>>,
    will_grace_s: Option<Integer<u32, 0, U32_MAX>>,
    maximum_qos: Option<Integer<u8, 0, 2>>,
    retain_available: Option<Boolean>,
    allow_control_characters: Option<Boolean>,
    no_matching_subscribers: Option<Boolean>,
    resend_expired: Option<OneOf<ResendExpired>>,
    #[serde(default, deserialize_with = "response_information")]
    response_information: Option<String>,
}

impl Keys for SessionKeys {
    const ALLOWED: &'static str = "a table: [session]";
}

impl SessionKeys {
    fn apply(self, broker: &mut Broker) {
        set(&mut broker.connect_timeout_ms, self.connect_timeout_ms);
        set(&mut broker.keep_alive_max, self.keep_alive_max_s);
        set(&mut broker.session_expiry_max, self.expiry_max_s);
        set(&mut broker.will_grace_secs, self.will_grace_s);
        let qos = self.maximum_qos.and_then(|it| QoS::from_bits(it.get()));
        broker.maximum_qos = qos.unwrap_or(broker.maximum_qos);
        set(&mut broker.retain_available, self.retain_available);
        set(&mut broker.allow_control_characters, self.allow_control_characters);
        set(&mut broker.no_matching_subscribers, self.no_matching_subscribers);
        set(&mut broker.resend_expired, self.resend_expired);
        broker.response_information = self.response_information.map(Into::into).or(broker.response_information.take());
    }
}

impl Word for ResendExpired {
    const WORDS: &'static [(&'static str, Self)] =
        &[("always", Self::Always), ("qos2", Self::Qos2), ("never", Self::Never)];
}

fn response_information<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let fits = |text: &str| text.len() <= usize::from(u16::MAX);
    string(from, "a string of at most 65,535 bytes", |text| fits(text).then(|| text.to_owned())).map(Some)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OverflowKeys {
    default: Option<OneOf<Overflow>>,
    #[serde(default, deserialize_with = "overflow_rules")]
    rule: Option<Vec<Table<OverflowRuleKeys>>>,
}

impl Keys for OverflowKeys {
    const ALLOWED: &'static str = "a table: [overflow]";
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OverflowRuleKeys {
    #[serde(deserialize_with = "filter")]
    filter: String,
    policy: OneOf<Overflow>,
}

impl Keys for OverflowRuleKeys {
    const ALLOWED: &'static str = "a list of tables: [[overflow.rule]]";
}

impl OverflowKeys {
    fn apply(self, broker: &mut Broker) {
        set(&mut broker.overflow, self.default);
        // The filter was checked to be a Topic Filter when it was read.
        let rule = |Table(rule): Table<OverflowRuleKeys>| OverflowRule::new(rule.filter, rule.policy.get()).ok();
        if let Some(rules) = self.rule {
            broker.overflow_rules = rules.into_iter().filter_map(rule).collect::<Vec<_>>().into();
        }
    }
}

impl Word for Overflow {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("drop_newest", Self::DropNewest),
        ("drop_oldest", Self::DropOldest),
        ("keep_latest", Self::KeepLatest),
        ("refuse", Self::Refuse),
    ];
}

fn overflow_rules<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<Table<OverflowRuleKeys>>>, D::Error> {
    list(from, "a list of tables: [[overflow.rule]]").map(Some)
}

fn filter<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let is_filter = |text: &str| TopicFilter::new(text).is_ok();
    string(from, "a Topic Filter, like \"sensors/+/alarm\"", |text| is_filter(text).then(|| text.to_owned()))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SharedKeys {
    strategy: Option<OneOf<ShareStrategy>>,
    #[serde(default, deserialize_with = "share_rules")]
    rule: Option<Vec<Table<ShareRuleKeys>>>,
}

impl Keys for SharedKeys {
    const ALLOWED: &'static str = "a table: [shared]";
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShareRuleKeys {
    #[serde(deserialize_with = "share_name")]
    group: String,
    strategy: OneOf<ShareStrategy>,
}

impl Keys for ShareRuleKeys {
    const ALLOWED: &'static str = "a list of tables: [[shared.rule]]";
}

impl SharedKeys {
    fn apply(self, broker: &mut Broker) {
        set(&mut broker.share_strategy, self.strategy);
        let rule =
            |Table(rule): Table<ShareRuleKeys>| ShareRule { group: rule.group.into(), strategy: rule.strategy.get() };
        if let Some(rules) = self.rule {
            broker.share_rules = rules.into_iter().map(rule).collect::<Vec<_>>().into();
        }
    }
}

impl Word for ShareStrategy {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("round_robin", Self::RoundRobin),
        ("least_inflight", Self::LeastInflight),
        ("random", Self::Random),
        ("sticky", Self::Sticky),
        ("hash_publisher", Self::HashPublisher),
        ("hash_topic", Self::HashTopic),
    ];
}

fn share_rules<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<Table<ShareRuleKeys>>>, D::Error> {
    list(from, "a list of tables: [[shared.rule]]").map(Some)
}

fn share_name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let is_name = |text: &str| !text.is_empty() && !text.contains(['/', '+', '#']);
    let allowed = "a ShareName: at least one character, without /, + and #";
    string(from, allowed, |text| is_name(text).then(|| text.to_owned()))
}
