//! Why a gateway does not start, or ends though nobody asked it to.

use crate::access::{Access, KeyFileError, PasswordFileError, RecordError, ServiceError};
use crate::config::{AuthenticationSource, Config, ConfigError, ListenAddress, ListenerAddress};
use crate::net::TlsError;
use crate::net::descriptors::TooFewDescriptors;
use crate::shard::StoreStartError;
use goldcrest_core::Authentication;
use goldcrest_store::OpenError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a gateway could not start.
#[derive(Debug)]
pub enum StartError {
    /// The gateway cannot listen on the address: another process may have the port. An address that does not exist yet is no
    /// error: the gateway waits for it.
    Listen(ListenerAddress, io::Error),
    /// The files for the TLS of this listener can't be used.
    Tls(ListenerAddress, TlsError),
    /// The file with the permissions can't be used. A gateway without them would be open.
    Permissions(ConfigError),
    /// The configuration names a file of permissions, and [`Access::authorized_by`] says that the program decides.
    PermissionsTwice,
    /// The configuration names a file of dynamic security, and users come from a password file or the embedding program, too.
    UsersTwice,
    /// There is no listener, so no client could ever connect.
    NoListener,
    /// Everybody who reaches the listener would get in without proof of who they are, and the configuration does not allow
    /// that.
    OpenToAll(ListenerAddress),
    /// Nobody could connect through the listener: no source of users is configured, and anonymous clients are not allowed.
    NobodyMayConnect(ListenerAddress),
    /// The listener is to ask this source, and the configuration does not say what the source needs to know.
    NoSource(ListenerAddress, AuthenticationSource),
    /// The password file can't be used.
    Passwords(PasswordFileError),
    /// The keys for tokens can't be used.
    Tokens(KeyFileError),
    /// What is needed to ask the web service that knows the users can't be used.
    Service(ServiceError),
    /// Everybody who reaches this address for HTTP would be answered, and the configuration does not allow that.
    HttpOpenToAll(ListenAddress),
    /// `broker.authentication` makes each CONNECT wait for a verdict, but no decider is set: see [`Access::decided_by`].
    NobodyToAsk,
    /// This field of the configuration is 0, so no client could ever connect.
    NobodyGetsIn(&'static str),
    /// The start was given up by the caller. The store is unchanged.
    GivenUp,
    /// The system refuses a thread or something that a thread needs.
    Thread(io::Error),
    /// The limit of open files leaves no room for any connection.
    Descriptors(TooFewDescriptors),
    /// So many shards take so many bytes before a client comes, and too little of the most that may be taken is left.
    Memory {
        /// The bytes that may be taken.
        max: u64,
        /// How many shards there are.
        shards: u16,
        /// The bytes that they and the program take.
        other: u64,
    },
    /// The system has no random numbers, and without them clients could make the broker's tables slow.
    Random(getrandom::Error),
    /// The store in this directory cannot be used, for this reason.
    Store(PathBuf, Box<dyn std::error::Error + Send + Sync>),
}

const OPEN: &str = "will not listen on ADDRESS: nobody is asked who they are, so anybody who reaches it could publish and subscribe; \
     for users and passwords say password_file in [authentication], and if anybody is meant --allow-anonymous, or allow_anonymous = true in its \
     [[listener]] table";
const NOBODY: &str = "nobody could connect to ADDRESS: allow_anonymous is false, and nothing says how users prove who they are; \
     say password_file in [authentication], or user_name_from for certificates of clients";

/// What a source of users lacks.
fn missing(source: AuthenticationSource) -> &'static str {
    match source {
        AuthenticationSource::Certificate => "\"certificate\", and there are none",
        AuthenticationSource::Jwt => "\"jwt\", and no keys are known: say which in [authentication.jwt]",
        AuthenticationSource::Password => {
            "\"password\", and there are no passwords: say password_file in [authentication]"
        }
        AuthenticationSource::Http => "\"http\", and no web service is known: say which in [authentication.http]",
    }
}

const RULES_TWICE: &str = "only one of these may say who may do what: a file in permissions, one in dynamic_security, the program that embeds \
     the gateway";
const USERS_TWICE: &str = "only one of these may have the users: a file in dynamic_security, password_file in [authentication], the program that \
     embeds the gateway";

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(address, error) => write!(f, "cannot listen on {address}: {error}"),
            Self::Tls(address, error) => write!(f, "cannot speak TLS on {address}: {error}"),
            Self::Permissions(error) => write!(f, "cannot use the permissions: {error}"),
            Self::PermissionsTwice => f.write_str(RULES_TWICE),
            Self::UsersTwice => f.write_str(USERS_TWICE),
            Self::NoListener => {
                write!(
                    f,
                    "there is no listener, so nobody could connect; leave the list out for the loopback addresses"
                )
            }
            Self::NobodyToAsk => write!(
                f,
                "broker.authentication = Ask: each CONNECT would wait for a verdict that a gateway has nobody to give, and \
                 be refused; Open is what there is"
            ),
            Self::NobodyGetsIn(field) => write!(f, "{field} = 0: no client would ever get in; at least 1 is wanted"),
            Self::GivenUp => write!(f, "the start was given up"),
            Self::OpenToAll(address) => write!(f, "{}", OPEN.replace("ADDRESS", &address.to_string())),
            Self::NobodyMayConnect(address) => write!(f, "{}", NOBODY.replace("ADDRESS", &address.to_string())),
            Self::NoSource(address, source) => write!(f, "authentication of {address} has {}", missing(*source)),
            Self::Passwords(error) => write!(f, "cannot use the passwords in {error}"),
            Self::Tokens(error) => write!(f, "cannot use the keys for tokens: {error}"),
            Self::Service(error) => write!(f, "cannot ask the web service that knows the users: {error}"),
            Self::HttpOpenToAll(address) => write!(
                f,
                "will not answer HTTP on {address}: anybody who reaches it could read metrics and Client Identifiers; \
                 if that is meant, say allow_anonymous = true in the table [http] of the configuration"
            ),
            Self::Thread(error) => write!(f, "cannot start a shard: {error}"),
            Self::Descriptors(error) => write!(f, "{error}"),
            Self::Memory { max, shards, other } => write!(
                f,
                "{shards} shards take {} MiB before a client comes, and max in [memory] allows {} MiB in all: say fewer --shards, or more \
                 --memory-max",
                other >> 20,
                max >> 20
            ),
            Self::Random(error) => write!(f, "the system gives no random numbers: {error}"),
            Self::Store(path, error) => write_store_error(f, path, &**error),
        }
    }
}

/// The user wants the data that a newer program or a backup has left in the directory, so another directory is no solution. Nor does another directory
/// help against a lack of descriptors.
fn write_store_error(
    f: &mut fmt::Formatter<'_>,
    path: &Path,
    error: &(dyn std::error::Error + Send + Sync + 'static),
) -> fmt::Result {
    write!(f, "cannot use the store in {}: {error}", path.display())?;
    match error.downcast_ref() {
        Some(OpenError::Newer { .. } | OpenError::Older { .. } | OpenError::Unfinished) => Ok(()),
        Some(error) if error.lacks_descriptors() => Ok(()),
        _ if error.is::<RecordError>() => Ok(()),
        _ => write!(f, "; --data-dir DIR takes another directory, --memory-only keeps nothing across restarts"),
    }
}

impl std::error::Error for StartError {}

impl From<StoreStartError> for StartError {
    fn from(error: StoreStartError) -> Self {
        match error {
            StoreStartError::GivenUp => Self::GivenUp,
            StoreStartError::Unusable(path, error) => Self::Store(path, error),
        }
    }
}

/// The part of a gateway that ended though nobody asked it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// The thread of the shard with this index panicked, which is a bug. Standard error has the panic's message.
    Shard(u16),
    /// A thread that accepts connections with TLS panicked, which is a bug, or all its listeners were lost.
    Listeners,
    /// The store failed: the log says why. No message is acknowledged that the store has not kept.
    Store,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shard(index) => write!(f, "shard {index} failed"),
            Self::Listeners => f.write_str("a thread that accepts connections with TLS failed"),
            Self::Store => write!(f, "the store failed; a start anew serves what it really holds"),
        }
    }
}

impl std::error::Error for Failed {}

/// Refuses to start a gateway that would be of no use, or that would be open to strangers by mistake.
pub(super) fn refuse_mistakes(config: &Config, access: &Access) -> Result<(), StartError> {
    if config.listeners.is_empty() {
        return Err(StartError::NoListener);
    }
    let is_decided = access.decider.is_some();
    if !is_decided {
        refuse_mistakes_about_users(config)?;
    }
    if !config.http.allow_anonymous
        && let Some(&open) = config.http.listen.iter().find(|address| !address.is_of_this_machine())
    {
        return Err(StartError::HttpOpenToAll(open));
    }
    if config.broker.authentication == Authentication::Ask && !is_decided {
        return Err(StartError::NobodyToAsk);
    }
    // The configuration file allows no 0 here; only users of the library can set it.
    let (capacity, broker) = (&config.capacity, &config.broker);
    let fields = [
        ("capacity.connections", capacity.connections.unwrap_or(1)),
        ("capacity.sessions", capacity.sessions.unwrap_or(1)),
        ("unfinished_connections", config.unfinished_connections as usize),
        ("broker.connect_timeout_ms", broker.connect_timeout_ms as usize),
        ("broker.limits.packet_bytes", broker.limits.packet_bytes as usize),
    ];
    if let Some((field, _)) = fields.into_iter().find(|(_, value)| *value == 0) {
        return Err(StartError::NobodyGetsIn(field));
    }
    Ok(())
}

/// Refuses listeners that are open to all by mistake, and those that are closed to all.
fn refuse_mistakes_about_users(config: &Config) -> Result<(), StartError> {
    for listener in &config.listeners {
        if config.is_open_by_mistake(listener) {
            return Err(StartError::OpenToAll(listener.address.clone()));
        }
        if config.is_closed_to_all(listener) {
            return Err(StartError::NobodyMayConnect(listener.address.clone()));
        }
        if let Some(source) = config.sources_of(listener).into_iter().find(|source| !config.has_source(*source)) {
            return Err(StartError::NoSource(listener.address.clone(), source));
        }
    }
    Ok(())
}
