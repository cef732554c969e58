//! The Goldcrest gateway: `goldcrest-core`, the whole MQTT broker, served over TCP.
//!
//! The gateway knows sockets, threads, clocks and files, and neither the layout of a packet nor a rule of QoS. Each worker thread, a shard, has a
//! core broker of its own:
//!
//! ```text
//! output      text for standard error and standard output, which nobody waits for
//! config      the configuration, and the file that it is read from
//! net         listeners, admission, sockets: bytes in and out, of which only the length of a packet is known
//! access      who clients are
//! shard       the thread with its core broker: event loop, mailbox, records for the store
//! store       the data that survive a restart, on disk
//! admin       for operators: $SYS topics, metrics, health, sessions
//! gateway     starts and stops all of it
//! cli         the command line: serving, clients, looking after a store, what the memory costs at worst
//! ```
//!
//! [`run`] serves clients until it is told to stop. A program that does more with its gateway starts a [`Gateway`]; the example `embedded` shows it whole:
//!
//! ```
//! use goldcrest::access::{AccessRequest, Decision, Reply};
//! use goldcrest::{Access, Config, Gateway, Listener};
//! use goldcrest_core::{EventSet, Principal, codec::QoS};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let mut config = Config { listeners: vec![Listener::new("127.0.0.1:0".parse()?)], ..Config::default() };
//! config.broker.events = EventSet::CONNECTED;
//! let decide = |_: AccessRequest, reply: Reply| reply.send(Decision::accept(Principal(1)));
//! let mut gateway = Gateway::start_with(&config, Access::new().decided_by(decide))?;
//!
//! let mut client = gateway.client("program").await?;
//! client.subscribe("t/#", QoS::AtLeastOnce).await?;
//! client.publish("t/a", b"hello", QoS::AtLeastOnce, false).await?;
//! assert_eq!(client.next().await?.payload, b"hello");
//!
//! let mut events = gateway.take_events().expect("nobody has taken them");
//! assert_eq!(events.next().await.and_then(|event| event.client_id).as_deref(), Some("program"));
//! assert_eq!(gateway.counters().await?.connected, 1);
//!
//! config.broker.limits.queued_messages = 50;
//! gateway.reload(&config).await?;
//! gateway.shut_down().await;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod access;
mod admin;
pub mod cli;
pub mod config;
mod gateway;
mod net;
mod output;
mod shard;
#[cfg(test)]
mod testing;

pub use access::Access;
pub use config::{
    AuthenticationConfig, AuthenticationSource, BanLimits, CapacityLimits, ClientCertificates, Config, ConfigError,
    GoAuthResponse, HookDialect, HookParams, HttpConfig, HttpHookConfig, JwtAlgorithm, JwtConfig, JwtKeys,
    ListenAddress, Listener, ListenerAddress, MemoryMax, Network, PermissionSource, SecretSource, TlsConfig,
    TlsVersion, UnixAddress, UserNameFrom, WebSocketConfig,
};
pub use gateway::{Failed, Gateway, LocalClient, LocalClientError, ReceivedMessage, ReloadError, StartError};
pub use net::descriptors::TooFewDescriptors;
pub use net::{ClientCertificate, MemoryStream, TlsError};
pub use shard::{EventStream, GatewayEvent, Happened, NoAnswer};

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::task::spawn_blocking;

/// For fuzzing: takes any bytes for those of a WebSocket client, which come in pieces of so many bytes.
///
/// # Panics
/// The decoder has a fault.
#[doc(hidden)]
pub fn check_websocket(bytes: &[u8], piece: usize) {
    net::check_websocket(bytes, piece);
}

/// For fuzzing: takes any bytes for a file of permissions.
///
/// # Panics
/// What the file allows and what it grants do not agree.
#[doc(hidden)]
pub fn check_permissions(bytes: &[u8]) {
    access::check_permissions(bytes);
}

/// For fuzzing: takes any bytes for the header that a proxy sends ahead of those of its client.
///
/// # Panics
/// The decoder has a fault.
#[doc(hidden)]
pub fn check_proxy_header(bytes: &[u8]) {
    net::check_proxy_header(bytes);
}

/// For fuzzing: takes any bytes for a JSON Web Token, and for the contents of files with keys.
///
/// # Panics
/// The reader of tokens or keys has a fault.
#[doc(hidden)]
pub fn check_token(bytes: &[u8]) {
    access::check_token(bytes);
}

/// Serves clients until `shutdown` is ready, then stops in order. If the gateway is still starting then, the start is given up. `started` is called
/// with the gateway once it serves.
///
/// ```
/// # use goldcrest::{Config, Listener, run};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let config = Config { listeners: vec![Listener::new("127.0.0.1:0".parse().unwrap())], ..Config::default() };
/// let shutdown = std::future::ready(());
/// run(&config, shutdown, |gateway| println!("{:?}", gateway.addresses())).await.unwrap();
/// # });
/// ```
///
/// # Errors
/// The gateway cannot start, or one of its shards fails.
pub async fn run(
    config: &Config,
    shutdown: impl Future<Output = ()>,
    started: impl FnOnce(&Gateway),
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut shutdown = pin!(shutdown);
    let gives_up = GivesUp(Arc::default());
    let (config, flag) = (config.clone(), gives_up.0.clone());
    let mut starting = spawn_blocking(move || Gateway::start_unless(&config, Access::new(), &flag));
    let started_first = tokio::select! {
        gateway = &mut starting => Some(gateway),
        () = &mut shutdown => None,
    };
    let Some(gateway) = started_first else {
        drop(gives_up);
        return match starting.await? {
            Ok(gateway) => {
                gateway.shut_down().await;
                Ok(())
            }
            Err(StartError::GivenUp) => Ok(()),
            Err(error) => Err(error.into()),
        };
    };
    let mut gateway = gateway??;
    started(&gateway);
    let failure = tokio::select! {
        () = shutdown => None,
        failure = gateway.failed() => Some(failure),
    };
    gateway.shut_down().await;
    failure.map_or(Ok(()), |failure| Err(failure.into()))
}

/// Makes the gateway give up its start when this value is dropped.
struct GivesUp(Arc<AtomicBool>);

impl Drop for GivesUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
