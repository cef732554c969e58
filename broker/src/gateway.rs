//! Starting and stopping all shards.

use crate::config::{self, Config};
use crate::descriptors;
use crate::kept::Kept;
use crate::listener::{self, Lobby};
use crate::mesh::Mesh;
use crate::operations::Operations;
use crate::shard::{self, Plan};
use crate::store::{Answer, Committer, OpenError};
use crate::turn::Clock;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

/// A gateway that serves clients on threads of its own, until it is shut down or dropped.
#[derive(Debug)]
pub struct Gateway {
    addresses: Vec<SocketAddr>,
    http_addresses: Vec<SocketAddr>,
    mesh: MeshHandle,
    /// One message from each thread when it ends.
    ended: UnboundedReceiver<Failed>,
    running: usize,
    store: Option<Committer>,
    /// Unless nobody is to see anything.
    operations: Option<Operations>,
}

/// Why a gateway could not start.
#[derive(Debug)]
pub enum StartError {
    /// Somebody else may have the port, or the address is not one of this machine.
    Listen(SocketAddr, io::Error),
    /// The listener would let anybody in who reaches it, and nobody said that this is meant.
    OpenToAll(SocketAddr),
    /// The same of an address for HTTP.
    HttpOpenToAll(SocketAddr),
    /// The system refuses a thread or what it needs.
    Thread(io::Error),
    /// The store in this directory cannot be used.
    Store(PathBuf, Box<dyn std::error::Error + Send + Sync>),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(address, error) => write!(f, "cannot listen on {address}: {error}"),
            Self::OpenToAll(address) => write!(
                f,
                "will not listen on {address}: there are no users yet, so anybody who reaches it could publish and subscribe; \
                 if that is meant, say --allow-anonymous, or allow_anonymous = true in its [[listener]] table"
            ),
            Self::HttpOpenToAll(address) => write!(
                f,
                "will not answer HTTP on {address}: anybody who reaches it could read metrics and Client Identifiers; \
                 if that is meant, say allow_anonymous = true in the table [http] of the configuration"
            ),
            Self::Thread(error) => write!(f, "cannot start a shard: {error}"),
            Self::Store(path, error) => {
                write!(f, "cannot use the store in {}: {error}", path.display())?;
                // What a newer program or a backup has left there is wanted; another directory is not the way out.
                match error.downcast_ref() {
                    Some(OpenError::Newer { .. } | OpenError::Unfinished) => Ok(()),
                    _ => write!(
                        f,
                        "; --data-dir DIR takes another directory, --memory-only keeps nothing across restarts"
                    ),
                }
            }
        }
    }
}

impl std::error::Error for StartError {}

/// What ended though nobody asked it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// The thread of the shard with this index: a bug, and the panic that told of it is on standard error.
    Shard(u16),
    /// The store: the log says why. Nothing is acknowledged that it has not kept.
    Store,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shard(index) => write!(f, "shard {index} failed"),
            Self::Store => write!(f, "the store failed; a start anew serves what it really holds"),
        }
    }
}

impl std::error::Error for Failed {}

impl Gateway {
    /// Opens all listeners and starts all shards.
    ///
    /// # Errors
    /// Nothing is left running then.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        let mut listeners: Vec<TcpListener> = Vec::new();
        for listener in &config.listeners {
            if listener.is_open_by_mistake() {
                return Err(StartError::OpenToAll(listener.address));
            }
            let bound = listener::bind(listener.address);
            listeners.push(bound.map_err(|error| StartError::Listen(listener.address, error))?);
        }
        let addresses = addresses_of(&listeners)?;
        let mut http = Vec::new();
        for &address in &config.http.listen {
            if !config.http.allow_anonymous && !config::is_of_this_machine(address) {
                return Err(StartError::HttpOpenToAll(address));
            }
            http.push(listener::bind(address).map_err(|error| StartError::Listen(address, error))?);
        }
        let http_addresses = addresses_of(&http)?;
        // From here on health can be asked for: restoring a large store takes a while.
        let interval = Duration::from_secs(config.sys_interval_s.into());
        let is_seen = !http.is_empty() || !interval.is_zero();
        let operations = is_seen.then(|| Operations::start(http, interval)).transpose().map_err(StartError::Thread)?;
        let kept = Kept::open(config)?;
        let shards = kept.as_ref().map_or(config.shards.max(1), Kept::shards);
        let (end, ended) = unbounded_channel();
        let mesh = Arc::new(Mesh::new(shards));
        let mut gateway = Self {
            addresses,
            http_addresses,
            mesh: MeshHandle(mesh.clone()),
            ended,
            running: 0,
            store: None,
            operations,
        };
        let mut plans = plans(config, mesh.clone(), kept.as_ref());
        for (index, listener) in listeners.into_iter().enumerate() {
            plans[index % usize::from(shards)].listeners.push(listener);
        }
        for plan in plans {
            start_shard(plan, end.clone()).map_err(StartError::Thread)?;
            gateway.running += 1;
        }
        let vitals = kept.as_ref().map(Kept::vitals);
        if let Some(kept) = kept {
            let (mesh, watch) = (mesh.clone(), gateway.operations.as_ref().map(Operations::store_watch));
            let answer = move |shard, answer| {
                if matches!(answer, Answer::Failed) {
                    let _ = end.send(Failed::Store);
                }
                let changed = matches!(answer, Answer::Failed | Answer::Full(_));
                mesh.answer(shard, answer);
                if let Some(watch) = watch.as_ref().filter(|_| changed) {
                    watch();
                }
            };
            gateway.store = Some(kept.start(answer)?);
        }
        if let Some(operations) = &gateway.operations {
            operations.serving(mesh, vitals);
        }
        Ok(gateway)
    }

    /// Where it listens, in the order of [`Config::listeners`]; ports that the system chose are filled in.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where it answers HTTP, in the order of [`HttpConfig::listen`](crate::HttpConfig::listen).
    pub fn http_addresses(&self) -> &[SocketAddr] {
        &self.http_addresses
    }

    /// Waits until a shard or the store fails. Never ready while all is well.
    pub async fn failed(&mut self) -> Failed {
        match self.ended.recv().await {
            Some(failed) => {
                self.running -= usize::from(failed != Failed::Store);
                failed
            }
            None => std::future::pending().await,
        }
    }

    /// Stops: no connection is accepted any more, clients are told (0x8B in MQTT 5.0) and have two seconds to leave.
    pub async fn shut_down(mut self) {
        if let Some(operations) = &self.operations {
            operations.stopping();
        }
        self.mesh.0.shut_down();
        let all_ended = async {
            while self.running > 0
                && let Some(ended) = self.ended.recv().await
            {
                self.running -= usize::from(ended != Failed::Store);
            }
        };
        if timeout(shard::SHUTDOWN_TIME + Duration::from_secs(1), all_ended).await.is_err() {
            tracing::error!("a shard did not stop in time");
        }
        if let Some(Err(failure)) = self.store.take().map(Committer::close) {
            tracing::error!("the store was not closed in order: {failure}");
        }
    }
}

/// The shards of a gateway that was dropped stop too.
struct MeshHandle(Arc<Mesh>);

impl Drop for MeshHandle {
    fn drop(&mut self) {
        self.0.shut_down();
    }
}

impl fmt::Debug for MeshHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} shards", self.0.shards())
    }
}

fn addresses_of(listeners: &[TcpListener]) -> Result<Vec<SocketAddr>, StartError> {
    listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>().map_err(StartError::Thread)
}

fn plans(config: &Config, mesh: Arc<Mesh>, kept: Option<&Kept>) -> Vec<Plan> {
    let seats = config.capacity.connections.saturating_mul(config.shards.into());
    let seats = seats.min(descriptors::raise_limit());
    descriptors::make_room(seats);
    let connect_timeout = Duration::from_millis(config.broker.connect_timeout_ms.into());
    let packet_bytes = config.broker.limits.packet_bytes;
    let lobby = Arc::new(Lobby::new(seats, config.unfinished_connections, connect_timeout, packet_bytes));
    let clock = kept.map_or_else(|| Clock::start_at(0), |kept| kept.clock);
    // The standard library draws the keys of its hash tables at random from the system.
    let seed = RandomState::new().hash_one(0);
    let count = mesh.shards();
    let plan = |index| Plan {
        config: goldcrest_core::Config {
            seed,
            shard: goldcrest_core::Shard { index, count },
            durable: kept.is_some(),
            body_budget: body_budget(config.store.body_bytes, count),
            ..config.broker.clone()
        },
        capacity: config.capacity,
        clock,
        mesh: mesh.clone(),
        lobby: lobby.clone(),
        store: kept.map(Kept::for_shard),
        listeners: Vec::new(),
    };
    (0..count).map(plan).collect()
}

/// The share of a shard. 0 means that there is no bound.
pub(crate) fn body_budget(bytes: u64, shards: u16) -> usize {
    usize::try_from(bytes.div_ceil(shards.into())).unwrap_or(usize::MAX)
}

fn start_shard(plan: Plan, end: UnboundedSender<Failed>) -> io::Result<()> {
    let index = plan.config.shard.index;
    let (started, has_started) = sync_channel(1);
    thread::Builder::new().name(format!("shard-{index}")).spawn(move || {
        let _ending = Ending { index, end };
        shard::run(plan, &started);
    })?;
    has_started.recv().unwrap_or_else(|_| Err(io::Error::other("it panicked")))
}

/// Tells that the thread ends, also when it panics.
struct Ending {
    index: u16,
    end: UnboundedSender<Failed>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.end.send(Failed::Shard(self.index));
    }
}
