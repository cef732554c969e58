//! Opening the store when the gateway starts.

use super::damage::describe_damage;
use super::redistribute::{Refused, redistribute};
use crate::access::Principals;
use crate::config::{Config, Sync, cores, shards_for_cores};
use crate::shard::clock::{Clock, WallClock, downtime};
use goldcrest_store::{
    self, Answer, Committer, Directory, Handle, LogStore, OpenError, Options, Pending, Report, StoreHealth,
};
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Why the store could not be opened.
pub(crate) enum StoreStartError {
    /// The start was given up by the caller.
    GivenUp,
    /// The store in this directory cannot be used.
    Unusable(PathBuf, Box<dyn Error + Send + std::marker::Sync>),
}

/// An open store that shards are restored from.
pub(crate) struct OpenStore {
    path: PathBuf,
    log: Arc<LogStore>,
    handle: Handle,
    pending: Pending,
    shards: u16,
    principals: Arc<Principals>,
    /// The gateway's clock, which goes on from the last write to the store.
    pub(crate) clock: Clock,
}

impl OpenStore {
    /// Opens the store, if the configuration wants one, unless `gives_up` becomes true meanwhile.
    pub(crate) fn open(config: &Config, gives_up: &Arc<AtomicBool>) -> Result<Option<Self>, StoreStartError> {
        let Some(path) = config.store_dir() else { return Ok(None) };
        let opened = Self::open_in(path, config, gives_up);
        opened.map(Some).map_err(|error| match error.downcast_ref() {
            Some(OpenError::GivenUp) => StoreStartError::GivenUp,
            _ => StoreStartError::Unusable(path.clone(), error),
        })
    }

    fn open_in(
        path: &Path,
        config: &Config,
        gives_up: &Arc<AtomicBool>,
    ) -> Result<Self, Box<dyn Error + Send + std::marker::Sync>> {
        let directory = Directory::take(path).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => OpenError::InUse,
            _ => OpenError::Io("the directory".to_owned(), error),
        })?;
        if directory.is_open_to_others().unwrap_or(false) {
            tracing::warn!("others may enter {}, where messages are kept: chmod 700 keeps them out", path.display());
        }
        let started = std::time::Instant::now();
        let (mut log, report) = LogStore::open(Arc::new(directory), options(config, gives_up.clone()))?;
        tell(&report, started.elapsed());
        let (handle, pending) = goldcrest_store::requests();
        // Names are restored before the gateway writes anything: records of a newer program must stay as they are.
        let principals = Arc::new(Principals::restore(&log, handle.clone())?);
        let clock =
            Clock::start_at(report.instant_ms.saturating_add(downtime_ms(&report, config.store.longest_downtime())));
        let time: goldcrest_store::TimeSource = Arc::new(move || (clock.now().as_millis(), WallClock::now_ms()));
        let (mut shards, wanted) = numbers_of_shards(report.shards, config.shards);
        log.use_for(shards, time.clone());
        if shards != wanted {
            match redistribute(&mut log, (shards, wanted), config, gives_up) {
                Ok(()) => {
                    tracing::info!("the store of {shards} shards is one of {wanted} from now on");
                    shards = wanted;
                    log.use_for(shards, time);
                }
                Err(Refused::GivenUp) => return Err(OpenError::GivenUp.into()),
                Err(error) => {
                    tracing::warn!("there are {shards} shards, as the store has been made for, not {wanted}: {error}");
                }
            }
        }
        Ok(Self { path: path.to_owned(), log: Arc::new(log), handle, pending, shards, principals, clock })
    }

    pub(crate) fn shards(&self) -> u16 {
        self.shards
    }

    pub(crate) fn principals(&self) -> Arc<Principals> {
        self.principals.clone()
    }

    pub(crate) fn for_shard(&self) -> (Arc<LogStore>, Handle) {
        (self.log.clone(), self.handle.clone())
    }

    pub(crate) fn health(&self) -> Arc<StoreHealth> {
        self.handle.health().clone()
    }

    /// Starts the thread of the store, after all shards are restored. From then on the thread serves the shards.
    pub(crate) fn start(self, answer: impl Fn(u16, Answer) + Send + 'static) -> Result<Committer, StoreStartError> {
        let Self { path, log, handle, pending, shards, .. } = self;
        let started = match Arc::into_inner(log) {
            Some(log) => Committer::start((handle, pending), Box::new(log), shards, answer),
            None => Err(io::Error::other("a shard still reads it")),
        };
        started.map_err(|error| StoreStartError::Unusable(path, error.into()))
    }
}

/// The number of shards that the store was made for, and the number to use now. If no number is configured, the store's number is kept: rewriting a
/// large store because fewer cores are available today would take too long.
fn numbers_of_shards(stored: u16, configured: u16) -> (u16, u16) {
    let (advised, cores) = (shards_for_cores(), format!("for the cores that may be used ({})", cores()));
    let (shards, why) = match (stored, configured) {
        (0, 0) => (advised, format!("{cores}; the store is made for {advised}")),
        (0, told) => (told, format!("as configured; the store is made for {told}")),
        (stored, 0) if stored == advised => (stored, format!("as the store is for, and {cores}")),
        (stored, 0) => {
            let instead = format!("and not {advised} {cores}: --shards auto changes that");
            (stored, format!("as the store has been made for, {instead}"))
        }
        (stored, told) if stored == told => (stored, "as the store is for, and as configured".to_owned()),
        (stored, told) => (told, format!("as configured; the store has been made for {stored}, and is written anew")),
    };
    tracing::info!("shards: {shards}, {why}");
    (if stored == 0 { shards } else { stored }, shards)
}

fn options(config: &Config, gives_up: Arc<AtomicBool>) -> Options {
    let store = &config.store;
    let sync = match store.sync {
        Sync::Always => goldcrest_store::Sync::Always,
        Sync::Interval => goldcrest_store::Sync::Interval(Duration::from_millis(store.interval_ms.into())),
        Sync::Never => goldcrest_store::Sync::Never,
    };
    // A message can be a little larger as a record than as a packet.
    const MARGIN: u64 = 64 << 10;
    // With fewer segments than this the reserves would leave little room.
    const SEGMENTS: u64 = 6;
    const MIB: u64 = 1 << 20;
    let margin = MARGIN + Options::segment_overhead(store.max_bytes / store.segment_bytes.max(MIB));
    let largest = u64::from(config.broker.limits.packet_bytes) + margin;
    let segment_bytes = store.segment_bytes.min(store.max_bytes / SEGMENTS / MIB * MIB);
    let segment_bytes = segment_bytes.max(largest.next_multiple_of(MIB)).min(Options::SEGMENT_MAX);
    let max_bytes = store.max_bytes.max(SEGMENTS * segment_bytes);
    let time = Arc::new(|| (0, WallClock::now_ms()));
    Options { sync, segment_bytes, max_bytes, shards: config.shards.max(1), time, thread: true, gives_up }
}

/// The time that has passed for the broker since the store was last written. If the clock cannot tell this time, the log says so.
fn downtime_ms(report: &Report, longest: Duration) -> u64 {
    if report.records == 0 || longest.is_zero() {
        return 0;
    }
    match downtime(report.wall_ms, WallClock::now_ms(), longest) {
        Ok(down) => {
            tracing::info!(?down, "since the store was written last");
            u64::try_from(down.as_millis()).unwrap_or(u64::MAX)
        }
        Err(error) => {
            tracing::warn!(
                "the clock of this machine is not trusted: {error}; nothing expires for the time the gateway was down"
            );
            0
        }
    }
}

/// Logs the state of the store for the operator.
fn tell(report: &Report, took: Duration) {
    if report.records > 0 {
        tracing::info!(records = report.records, segments = report.segments, ?took, "the store was read");
    }
    if report.torn_bytes > 0 {
        tracing::warn!("the end of the store was torn, as by a loss of power, and was cut off");
    }
    if !report.damage.is_none() {
        tracing::error!(
            "the store is damaged: {}; damaged bytes are in its files damaged-*, files that don't belong to it are set aside as \
             *.foreign, and what is sound is served",
            describe_damage(&report.damage)
        );
    }
}
