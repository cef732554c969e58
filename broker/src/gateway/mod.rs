//! The gateway as a library: starting and stopping all shards, and requests of the embedding program while they run.
//!
//! ```text
//! client    a client within the embedding program
//! control   counters, another configuration, other permissions
//! control_topics  the requests of administrators that come by MQTT
//! failure   why a gateway does not start, or ends unasked
//! listening  which threads accept connections on which listeners
//! permissions  the rules of all shards, from a file
//! security  the rules of all shards that administrators change
//! settings  the configuration of all shards' brokers
//! users     who decides about clients
//! watch     reads files anew when they have changed
//! ```

mod client;
mod control;
mod control_topics;
mod failure;
mod listening;
mod memory;
mod permissions;
mod security;
mod settings;
mod users;
mod watch;

pub use client::{LocalClient, LocalClientError, ReceivedMessage};
pub use control::ReloadError;
pub use failure::{Failed, StartError};

use self::control_topics::ControlTopics;
use self::failure::refuse_mistakes;
use self::listening::{Listening, Opened};
use self::memory::MemoryPlan;
pub(crate) use self::memory::other_bytes;
use self::permissions::{OpenRules, RuleSources};
use self::settings::BrokerSettings;
pub(crate) use self::watch::FileReload;
use crate::access::{Access, Authenticator, Principals};
use crate::admin::Admin;
use crate::config::{Config, ListenAddress, MemoryBound, cores, shards_for_cores};
use crate::net::descriptors;
use crate::net::{
    Accepting, Admission, AwaitedAddresses, ClientSocket, ListenSocket, MemoryStream, SocketPath, open_all,
};
use crate::shard::{self, Clock, EventSender, EventStream, Mailboxes, OpenStore, ShardPlan, event_channel};
use goldcrest_core::MemoryCeiling;
use goldcrest_store::{Answer, Committer};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// A gateway that serves clients on threads of its own, until it is shut down or dropped.
#[derive(Debug)]
pub struct Gateway {
    /// `None` if the configuration names no file of dynamic security. Stands first: its client goes before the shards do.
    control_topics: Option<ControlTopics>,
    addresses: Box<[SocketAddr]>,
    /// The place in the configuration of the listener of each of `addresses`.
    listeners: Box<[usize]>,
    /// The paths of Unix sockets, each with the place of its listener in the configuration.
    paths: Vec<(usize, SocketPath)>,
    http_addresses: Box<[SocketAddr]>,
    missing: AwaitedAddresses,
    listening: Listening,
    mailboxes: ShutDownOnDrop,
    admission: Arc<Admission>,
    /// Counts connections from within this process, each of which is handed to the next shard.
    next_shard: AtomicUsize,
    /// One message from each thread when it ends.
    ended: UnboundedReceiver<Failed>,
    running: usize,
    store: Option<Committer>,
    principals: Arc<Principals>,
    /// `None` if the configuration names no source of users, or the embedding program decides.
    authenticator: Option<Arc<Authenticator>>,
    /// The events of all shards; `None` once the program has taken the stream.
    events: Option<EventStream>,
    /// The settings of the shards' brokers. The lock is held while the shards get other settings.
    settings: Box<tokio::sync::Mutex<BrokerSettings>>,
    /// The most memory that the gateway may take.
    memory: MemoryBound,
    rules: RuleSources,
    /// `None` if the configuration wants neither HTTP nor `$SYS` topics.
    admin: Option<Admin>,
}

impl Gateway {
    /// Opens all listeners and starts all shards. Meanwhile the system refuses connections of clients; HTTP is answered.
    ///
    /// # Errors
    /// The gateway cannot start. No part of it is left running then.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        Self::start_with(config, Access::new())
    }

    /// As [`Gateway::start`], with `access` deciding about clients from the first one on.
    ///
    /// # Errors
    /// The gateway cannot start. No part of it is left running then.
    pub fn start_with(config: &Config, access: Access) -> Result<Self, StartError> {
        Self::start_unless(config, access, &Arc::default())
    }

    /// As [`Gateway::start_with`], which takes long if the store is large: if `gives_up` becomes true meanwhile, the start ends with
    /// [`StartError::GivenUp`].
    ///
    /// # Errors
    /// The gateway cannot start. No part of it is left running then.
    pub fn start_unless(config: &Config, access: Access, gives_up: &Arc<AtomicBool>) -> Result<Self, StartError> {
        refuse_mistakes(config, &access)?;
        let rules = OpenRules::read(config, &access)?;
        descriptors::check(config).map_err(StartError::Descriptors)?;
        let missing = AwaitedAddresses::default();
        let Opened { setups, sockets: listeners, paths } = listening::open(config, &missing, &access)?;
        let http = open_http(config, &missing)?;
        let (addresses, http_addresses) =
            (listeners.iter().filter_map(ClientSocket::address).collect(), addresses_of(&http));
        // From here on health can be asked for: restoring a large store takes long.
        let admin = start_admin(config, http, &missing)?;
        let open_store = OpenStore::open(config, gives_up)?;
        let shards = open_store.as_ref().map_or_else(|| shards_in_memory(config.shards), OpenStore::shards);
        let principals = open_store.as_ref().map(OpenStore::principals).unwrap_or_default();
        let memory = config.memory_max.bound();
        let memory_plan = memory::plan(memory, shards, config.has_doorsteps())?;
        let ceiling = memory_plan.ceiling.clone();
        let (end, ended) = unbounded_channel();
        let mailboxes = Arc::new(Mailboxes::new(shards));
        let admission = admission(config, shards, open_store.is_some(), &ceiling)?;
        let (access, authenticator) =
            users::decide_for(access, config, rules.users(), &principals, &ceiling, &mailboxes)?;
        let (event_sender, events) = event_channel();
        let rules = rules.in_use(&principals, &mailboxes, authenticator.as_ref());
        let settings = settings_of(config, &access, shards, open_store.is_some())?;
        let mut gateway = Self {
            control_topics: None,
            listeners: listeners.iter().filter(|it| it.address().is_some()).map(ClientSocket::index).collect(),
            addresses,
            paths,
            admission,
            next_shard: AtomicUsize::new(0),
            http_addresses,
            missing,
            listening: Listening::default(),
            mailboxes: ShutDownOnDrop(mailboxes.clone()),
            ended,
            running: 0,
            store: None,
            principals,
            authenticator,
            events: Some(events),
            settings: Box::new(tokio::sync::Mutex::new(settings)),
            memory,
            rules,
            admin,
        };
        let (plans, to_accept) = gateway.plans(&memory_plan, open_store.as_ref(), &access, &event_sender, gives_up);
        gateway.start_shards(plans, &end, gives_up)?;
        let health = open_store.as_ref().map(OpenStore::health);
        gateway.run_store(open_store, &end)?;
        if let Some(admin) = &gateway.admin {
            admin.serving(mailboxes, health, ceiling);
        }
        gateway.serve_control_topics().map_err(StartError::Thread)?;
        // The gateway does not listen earlier: a health check that connects must not find the gateway ready before it is.
        gateway.listening = listening::begin(&gateway, listeners, &setups, to_accept, &end)?;
        Ok(gateway)
    }

    /// Starts the thread of the store, if there is a store.
    fn run_store(&mut self, store: Option<OpenStore>, end: &UnboundedSender<Failed>) -> Result<(), StartError> {
        let Some(open_store) = store else { return Ok(()) };
        let watch = self.admin.as_ref().map(Admin::store_watch);
        self.store = Some(start_store(open_store, self.mailboxes.0.clone(), watch, end.clone())?);
        Ok(())
    }

    /// From now on requests of administrators are done, if there is dynamic security.
    fn serve_control_topics(&mut self) -> io::Result<()> {
        let (mailboxes, admission) = (self.mailboxes.0.clone(), self.admission.clone());
        let start = |security| ControlTopics::start(security, mailboxes, admission);
        self.control_topics = self.rules.security.clone().map(start).transpose()?;
        Ok(())
    }

    /// The plan that each shard is started with, and the channels on which the shards get their listeners.
    fn plans(
        &mut self,
        memory: &MemoryPlan,
        open_store: Option<&OpenStore>,
        access: &Access,
        events: &EventSender,
        gives_up: &Arc<AtomicBool>,
    ) -> (Vec<ShardPlan>, Vec<oneshot::Sender<Vec<Accepting>>>) {
        let settings = self.settings.get_mut();
        let capacity = settings.config.capacity.below(self.memory.bytes);
        let mut of_shards = self.rules.of_shards().map(IntoIterator::into_iter);
        let mounts: Arc<[_]> = settings.config.listeners.iter().map(|listener| listener.mount.clone()).collect();
        let plan = |index| {
            let (to_accept, listeners) = oneshot::channel();
            let rules = of_shards.as_mut().and_then(Iterator::next);
            let plan = ShardPlan {
                config: settings.of_shard(index),
                capacity,
                ceiling: memory.ceiling.clone(),
                spare_bytes: memory.spare_bytes,
                clock: open_store.map_or_else(|| Clock::start_at(0), |open_store| open_store.clock),
                mailboxes: self.mailboxes.0.clone(),
                admission: self.admission.clone(),
                access: access.clone(),
                mounts: mounts.clone(),
                rules,
                events: events.clone(),
                store: open_store.map(OpenStore::for_shard),
                principals: self.principals.clone(),
                listeners,
                gives_up: gives_up.clone(),
            };
            (plan, to_accept)
        };
        (0..settings.shards).map(plan).unzip()
    }

    /// Starts all shards at once, and waits until all are restored.
    fn start_shards(
        &mut self,
        plans: Vec<ShardPlan>,
        end: &UnboundedSender<Failed>,
        gives_up: &AtomicBool,
    ) -> Result<(), StartError> {
        let mut failure = None;
        let starting: Vec<_> = plans.into_iter().map(|plan| start_shard(plan, end.clone())).collect();
        for started in starting {
            let started =
                started.and_then(|started| started.recv().unwrap_or_else(|_| Err(io::Error::other("it panicked"))));
            match started {
                Ok(()) => self.running += 1,
                Err(error) => {
                    failure.get_or_insert(error);
                }
            }
        }
        match failure {
            Some(_) if gives_up.load(Ordering::Relaxed) => Err(StartError::GivenUp),
            Some(error) => Err(StartError::Thread(error)),
            None => Ok(()),
        }
    }

    /// The addresses that the gateway has listened on since it started, in the order of [`Config::listeners`]; ports that the system chose
    /// are filled in. Addresses that did not exist at the start are missing.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The same with the place in [`Config::listeners`] of the listener of each address, counted from 0.
    pub fn addresses_of_listeners(&self) -> impl Iterator<Item = (usize, SocketAddr)> {
        self.listeners.iter().copied().zip(self.addresses.iter().copied())
    }

    /// The paths of the Unix sockets that the gateway listens on, each with the place of its listener in [`Config::listeners`]. They are removed at the end.
    pub fn paths_of_listeners(&self) -> impl Iterator<Item = (usize, &Path)> {
        self.paths.iter().map(|(index, path)| (*index, path.path()))
    }

    /// The addresses where the gateway has answered HTTP since it started, in the order of
    /// [`HttpConfig::listen`](crate::HttpConfig::listen).
    pub fn http_addresses(&self) -> &[SocketAddr] {
        &self.http_addresses
    }

    /// The ceiling on memory, in bytes: what [`Config::memory_max`] is on this machine.
    pub fn memory_max(&self) -> u64 {
        self.memory.bytes
    }

    /// The same in words, with where it comes from.
    pub(crate) fn memory_bound(&self) -> MemoryBound {
        self.memory
    }

    /// The names of principals and their numbers. With a store, names and numbers are the same after a restart.
    pub fn principals(&self) -> &Arc<Principals> {
        &self.principals
    }

    /// The events of the gateway, of the kinds that `broker.events` in its [`Config`] names; `None` from the second call on. Events wait
    /// in the stream from the start of the gateway on.
    pub fn take_events(&mut self) -> Option<EventStream> {
        self.events.take()
    }

    /// A line with the reason for each address that does not exist yet. The gateway listens on an address once it exists.
    pub fn awaited(&self) -> Vec<String> {
        self.missing.reasons()
    }

    /// Connects a client in this process to the broker, without a network between them. The bytes in the stream are MQTT, as over TCP,
    /// from CONNECT on; the limits and rules are those of any client. If a client does not read, the broker stops sending once 64 KiB wait
    /// in the stream, and keeps the client's queue.
    ///
    /// # Errors
    /// The number of open connections has reached the bound of `connections` in [`Config::capacity`] or of the system.
    pub fn connect(&self) -> io::Result<MemoryStream> {
        let mailboxes = &self.mailboxes.0;
        let shard = self.next_shard.fetch_add(1, Ordering::Relaxed) % usize::from(mailboxes.shards());
        control_topics::connect(mailboxes, &self.admission, shard as u16)
    }

    /// Waits until a shard or the store fails. Never ready while all is well.
    pub async fn failed(&mut self) -> Failed {
        match self.ended.recv().await {
            Some(failed) => {
                self.running -= usize::from(matches!(failed, Failed::Shard(_)));
                failed
            }
            None => std::future::pending().await,
        }
    }

    /// Stops the gateway: no connection is accepted any more. Clients are told (0x8B Server shutting down in MQTT 5.0) and have two
    /// seconds to leave.
    pub async fn shut_down(mut self) {
        if let Some(admin) = &self.admin {
            admin.stopping();
        }
        self.listening = Listening::default();
        self.paths.clear();
        self.control_topics = None;
        self.mailboxes.0.shut_down();
        let all_ended = async {
            while self.running > 0
                && let Some(ended) = self.ended.recv().await
            {
                self.running -= usize::from(matches!(ended, Failed::Shard(_)));
            }
        };
        if timeout(shard::SHUTDOWN_TIME + Duration::from_secs(1), all_ended).await.is_err() {
            tracing::error!("a shard did not stop in time");
        }
        // The store is closed on another thread: a disk may hang, and a caller that gives up waiting must be able to go on.
        if let Some(store) = self.store.take()
            && let Ok(Err(failure)) = spawn_blocking(|| store.close()).await
        {
            tracing::error!("the store was not closed in order: {failure}");
        }
    }
}

/// Stops the shards when the gateway is dropped.
struct ShutDownOnDrop(Arc<Mailboxes>);

impl Drop for ShutDownOnDrop {
    fn drop(&mut self) {
        self.0.shut_down();
    }
}

impl fmt::Debug for ShutDownOnDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} shards", self.0.shards())
    }
}

/// Opens the addresses for HTTP, and listens on them.
fn open_http(config: &Config, missing: &AwaitedAddresses) -> Result<Vec<ListenSocket>, StartError> {
    let failed = |(address, error): (ListenAddress, io::Error)| StartError::Listen(address.into(), error);
    let http = open_all(config.http.listen.iter().copied(), missing).map_err(failed)?;
    http.into_iter().map(ListenSocket::listen).collect::<Result<_, _>>().map_err(failed)
}

/// Starts HTTP and `$SYS` topics, if the configuration wants either.
fn start_admin(
    config: &Config,
    http: Vec<ListenSocket>,
    missing: &AwaitedAddresses,
) -> Result<Option<Admin>, StartError> {
    let interval = Duration::from_secs(config.sys_interval_s.into());
    if config.http.listen.is_empty() && interval.is_zero() {
        return Ok(None);
    }
    let admin = Admin::start(http, config.http.host_names.clone(), missing.clone(), interval);
    admin.map(Some).map_err(StartError::Thread)
}

/// The number of shards of a gateway without a store. If `configured` is 0, the number of cores decides.
fn shards_in_memory(configured: u16) -> u16 {
    let (shards, why) = match configured {
        0 => (shards_for_cores(), format!("for the cores that may be used ({})", cores())),
        configured => (configured, "as configured".to_owned()),
    };
    tracing::info!("shards: {shards}, {why}");
    shards
}

/// Starts the thread of the store. Its answers go to the shards' mailboxes; `watch` is called when the store becomes full, has room again,
/// or fails.
fn start_store(
    open_store: OpenStore,
    mailboxes: Arc<Mailboxes>,
    watch: Option<impl Fn() + Send + 'static>,
    end: UnboundedSender<Failed>,
) -> Result<Committer, StartError> {
    let answer = move |shard, answer| {
        if matches!(answer, Answer::Failed) {
            let _ = end.send(Failed::Store);
        }
        let changed = matches!(answer, Answer::Failed | Answer::Full(_));
        mailboxes.answer(shard, answer);
        if let Some(watch) = watch.as_ref().filter(|_| changed) {
            watch();
        }
    };
    Ok(open_store.start(answer)?)
}

fn addresses_of(openings: &[ListenSocket]) -> Box<[SocketAddr]> {
    openings.iter().filter_map(ListenSocket::address).collect()
}

/// The settings of the shards' brokers.
fn settings_of(config: &Config, access: &Access, shards: u16, is_durable: bool) -> Result<BrokerSettings, StartError> {
    let (config, seed, asks) = (config.clone(), draw_seed()?, access.decider.is_some());
    let asks = asks || config.listeners.iter().any(|listener| listener.mount.is_some());
    Ok(BrokerSettings { config, seed, shards, is_durable, asks })
}

/// A seed from the system's random generator, with as many bits as the core uses.
fn draw_seed() -> Result<u128, StartError> {
    let mut seed = [0; 16];
    getrandom::fill(&mut seed).map_err(StartError::Random)?;
    Ok(u128::from_ne_bytes(seed))
}

/// The bounds on connections, as far as the limit of open files allows.
fn admission(
    config: &Config,
    shards: u16,
    has_store: bool,
    ceiling: &Arc<MemoryCeiling>,
) -> Result<Arc<Admission>, StartError> {
    let needed = descriptors::needed(shards, has_store);
    let allowed = descriptors::raise_limit(needed).map_err(StartError::Descriptors)?;
    let connections =
        config.capacity.below(ceiling.bytes() as u64).connections.saturating_mul(shards.into()).min(allowed);
    descriptors::make_room(connections);
    let connect_timeout = Duration::from_millis(config.broker.connect_timeout_ms.into());
    let connect_bytes = config.broker.limits.packet_bytes.min(goldcrest_core::Limits::OTHER_PACKET_BYTES);
    let admission = Admission::new(connections, config.unfinished_connections, connect_timeout, connect_bytes);
    Ok(Arc::new(admission.under(ceiling)))
}

/// Starts the thread of a shard. The channel yields one result once the shard is restored.
fn start_shard(plan: ShardPlan, end: UnboundedSender<Failed>) -> io::Result<Receiver<io::Result<()>>> {
    let index = plan.config.shard.index;
    let (started, has_started) = sync_channel(1);
    thread::Builder::new().name(format!("shard-{index}")).spawn(move || {
        let _ending = Ending { index, end };
        shard::run(plan, &started);
    })?;
    Ok(has_started)
}

/// Reports the end of the shard's thread when this value is dropped, also after a panic.
struct Ending {
    index: u16,
    end: UnboundedSender<Failed>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.end.send(Failed::Shard(self.index));
    }
}
