//! The configuration of the gateway: its defaults, and the TOML file that overrides them. Options of the command line override both.

mod address;
mod authentication;
mod capacity;
mod data_dir;
mod document;
#[cfg(test)]
mod example_tests;
mod file;
mod http_hook;
mod jwt;
mod listener;
mod memory;
mod mistake;
mod network;
mod permissions;
mod secret_path;
mod sources;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod users_tests;
pub(crate) mod values;
mod watched_files;

pub use address::ListenAddress;
pub(crate) use address::{host_of, interface_exists, listen_addresses};
pub use authentication::{AuthenticationConfig, AuthenticationSource, BanLimits, UserNameFrom};
pub use capacity::CapacityLimits;
pub(crate) use data_dir::default_data_dir;
pub(crate) use file::read_text;
pub use http_hook::{GoAuthResponse, HookDialect, HookParams, HttpHookConfig, SecretSource};
pub use jwt::{JwtAlgorithm, JwtConfig, JwtKeys};
pub(crate) use listener::listener_addresses;
pub use listener::{
    ClientCertificates, Listener, ListenerAddress, TlsConfig, TlsVersion, UnixAddress, WebSocketConfig,
};
pub(crate) use memory::MemoryBound;
pub use memory::MemoryMax;
pub use mistake::ConfigError;
pub(crate) use mistake::{line_of, suggestion};
pub use network::Network;
pub use permissions::PermissionSource;
pub(crate) use watched_files::{FromFiles, Refresh, WatchedFiles};

use document::Document;
use goldcrest_core::Limits;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The configuration of a [`Gateway`](crate::Gateway).
#[derive(Clone, Debug)]
pub struct Config {
    /// The addresses on which clients connect.
    pub listeners: Vec<Listener>,
    /// Where users and their proofs come from.
    pub authentication: AuthenticationConfig,
    /// Core brokers, each with a thread of its own. 0: as many as the store has been made for. If there is no store yet, one for each core that the
    /// process may use, less one, and at least one.
    pub shards: u16,
    /// The directory for sessions and messages, which are kept across restarts. `None`: they are in memory alone. In this case the command
    /// `goldcrest` chooses a directory itself.
    pub data_dir: Option<PathBuf>,
    /// Keeps sessions and messages in memory alone, whatever `data_dir` says: a stop or a crash loses messages that were acknowledged.
    pub memory_only: bool,
    /// The ceiling on the memory that clients can make grow, with what the program itself takes.
    pub memory_max: MemoryMax,
    /// How sessions and messages are kept on disk.
    pub store: StoreConfig,
    /// The HTTP endpoint for operators.
    pub http: HttpConfig,
    /// The file that says who may publish and subscribe to what; `None`: everybody may do everything, or an embedding program decides with
    /// [`Access::authorized_by`](crate::Access::authorized_by).
    pub permissions: Option<PermissionSource>,
    /// The JSON file of users, groups and roles in the form of Mosquitto's dynamic security, which the gateway writes when administrators change them
    /// by commands over MQTT. If there is no such file it is made. `None`: there are no such users and commands.
    pub dynamic_security: Option<PathBuf>,
    /// How often the topics below `$SYS/broker/` are published, in seconds; 0: never.
    pub sys_interval_s: u32,
    /// Which log lines are written: a level, or directives as in `RUST_LOG`.
    pub log: Option<String>,
    /// Limits of the tables of each shard. Where there is none the ceiling on memory is the only bound.
    pub capacity: CapacityLimits,
    /// The most connections whose CONNECT has not arrived. Beyond this number those that have waited longest are closed first.
    pub unfinished_connections: u32,
    /// The configuration of every shard's broker. Its seed and shard are set at start.
    pub broker: goldcrest_core::Config<'static>,
}

/// How the store keeps sessions and messages on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// What an acknowledgement waits for.
    pub sync: Sync,
    /// With [`Sync::Interval`]: a loss of power can lose messages that were acknowledged in the last so many milliseconds.
    pub interval_ms: u32,
    /// The most days that the gateway is ever down. If the clock says that it was down for longer, the clock is taken to be wrong, and nothing expires
    /// for that time. 0: nothing ever expires for the time that the gateway is down.
    pub longest_downtime_days: u32,
    /// The bytes of a file of the store, at most a sixth of `max_bytes`. Raised if a packet could be larger.
    pub segment_bytes: u64,
    /// The bytes that all files of the store may have together. Beyond this limit publishers are refused. Raised to the size of six files.
    pub max_bytes: u64,
    /// The bytes of memory that the bodies of messages may use while they wait for sessions, in all shards. Beyond this limit bodies are on
    /// disk alone until they are sent. 0: all bodies stay in memory.
    pub body_bytes: u64,
}

/// Until when an acknowledgement waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Until the message is synced to disk: nothing is lost.
    Always,
    /// Until the system has the message, which is synced to disk within [`StoreConfig::interval_ms`]. A crash of the gateway loses nothing. A crash
    /// of the system or a loss of power loses messages that were acknowledged within that time.
    Interval,
    /// Until the system has the message. A crash of the gateway loses nothing. A crash of the system or a loss of power loses all messages that the
    /// system had not written yet: half a minute of them is usual, and there is no bound.
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
    /// The addresses where the gateway answers; none by default. Port 0 lets the system choose a port.
    pub listen: Vec<ListenAddress>,
    /// Host names that requests may name, besides IP addresses and `localhost`. A request for any other host gets the status 421.
    pub host_names: Vec<String>,
    /// Whether other machines get an answer without proof of who they are. This machine always gets one.
    pub allow_anonymous: bool,
}

/// The port of MQTT without TLS.
pub const DEFAULT_PORT: u16 = 1883;

/// The largest number of shards.
pub const MAX_SHARDS: u16 = 256;

/// The cores that this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// As many shards as are worth their cost on the cores that this process may use.
pub(crate) fn shards_for_cores() -> u16 {
    shards_for(cores())
}

/// One shard for each core but one, and at least one. The last core is busy with the sockets of the system, the thread of the store, and
/// clients or other programs on the same machine. A further shard would take as much time from them as it uses well, and each message from
/// one shard to another costs more. `tests/bench/NOTES.md` has the measurements.
fn shards_for(cores: usize) -> u16 {
    u16::try_from(cores.saturating_sub(1)).unwrap_or(MAX_SHARDS).clamp(1, MAX_SHARDS)
}

impl Default for Config {
    fn default() -> Self {
        Self {
            // Some programs take `localhost` for the IPv4 address, others for the IPv6 address.
            listeners: vec![
                Listener::new((Ipv4Addr::LOCALHOST, DEFAULT_PORT).into()),
                Listener::new((Ipv6Addr::LOCALHOST, DEFAULT_PORT).into()),
            ],
            authentication: AuthenticationConfig::default(),
            shards: 0,
            data_dir: None,
            memory_only: false,
            memory_max: MemoryMax::Auto,
            store: StoreConfig::default(),
            http: HttpConfig::default(),
            permissions: None,
            dynamic_security: None,
            sys_interval_s: 10,
            log: None,
            capacity: CapacityLimits::default(),
            unfinished_connections: 4096,
            broker: goldcrest_core::Config::gateway(0),
        }
    }
}

/// How many messages may wait for one durable Session, if the configuration does not say. A million such messages need about a hundred
/// megabytes of memory.
const DURABLE_QUEUED_MESSAGES: u32 = 500_000;
/// If the configuration does not say, the bytes of one queue in the store are at most `max_bytes` divided by this.
const DURABLE_QUEUED_SHARE: u64 = 4;

impl Config {
    /// The directory of the store; `None` if everything is in memory alone.
    pub(crate) fn store_dir(&self) -> Option<&PathBuf> {
        self.data_dir.as_ref().filter(|_| !self.memory_only)
    }

    /// The limits of each shard's broker, if there is a store. A queue in the store may then be longer than a queue in memory, unless the
    /// configuration changes the limits for queues in memory and does not set those for queues in the store.
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

    /// Whether some listener has more between the bytes of the system and those of MQTT than TCP.
    pub(crate) fn has_layers(&self) -> bool {
        self.listeners.iter().any(|listener| listener.tls.is_some() || listener.websocket.is_some())
    }

    /// Whether some listener accepts connections on threads of its own.
    pub(crate) fn has_doorsteps(&self) -> bool {
        self.has_layers() || self.listeners.iter().any(|listener| !listener.proxy_protocol.is_empty())
    }

    /// Whether it names files that are read anew while the gateway runs.
    pub(crate) fn names_files(&self) -> bool {
        let has_own = self.authentication.names_files() || self.permissions.is_some();
        has_own || self.listeners.iter().any(|listener| listener.tls.is_some())
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
        // Some editors write a byte order mark, which means nothing in UTF-8.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let document: Document = toml::from_str(text).map_err(|error| ConfigError::new(path, text, &error))?;
        document.apply(&mut config);
        Ok(config)
    }
}

/// Clamps a number to the 32 bits of a limit of the core.
fn clamp(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
