//! A gateway in the process of the test.

use super::transport::{Place, Transport};
use goldcrest::{Config, Gateway};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::pin::pin;
use std::sync::{Mutex, Once, PoisonError};
use std::task::{Context, Waker};
use std::time::Instant;

/// A running gateway. Dropping it ends its threads.
pub(crate) struct Library {
    gateway: Gateway,
    started: Instant,
}

impl Library {
    /// Starts a gateway with the default configuration, in memory only.
    pub(crate) fn start(shards: u16) -> Self {
        static LOGS: Once = Once::new();
        LOGS.call_once(|| {
            let lines = tracing_subscriber::fmt().with_writer(|| Line).with_ansi(false).with_target(false);
            lines.try_init().expect("nobody else takes the log of a test");
        });
        let started = Instant::now();
        let listeners = vec![Transport::of_environment().listener((Ipv4Addr::LOCALHOST, 0).into())];
        let config = Config { listeners, shards, memory_only: true, ..Config::default() };
        let gateway = Gateway::start(&config).unwrap_or_else(|error| panic!("{error}"));
        Self { gateway, started }
    }

    /// Where the gateway listens.
    pub(crate) fn place(&self) -> Place {
        match self.gateway.paths_of_listeners().next() {
            Some((_, path)) => Place::Unix(path.to_owned()),
            None => Place::Tcp(self.gateway.addresses()[0]),
        }
    }

    /// Whether all shards run.
    pub(crate) fn is_alive(&mut self) -> bool {
        let failed = pin!(self.gateway.failed());
        failed.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// The log since this gateway was started, with the lines of other gateways in this process.
    pub(crate) fn log(&self) -> String {
        let lines = LOG.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(|(when, _)| *when >= self.started).map(|(_, line)| line.as_str()).collect()
    }
}

/// The newest log lines of all gateways in this process, each with its time.
static LOG: Mutex<VecDeque<(Instant, String)>> = Mutex::new(VecDeque::new());

/// How many log lines are kept at most.
const MOST_LINES: usize = 10_000;

/// Collects one log line, which is written whole by one call.
struct Line;

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut lines = LOG.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == MOST_LINES {
            lines.pop_front();
        }
        lines.push_back((Instant::now(), String::from_utf8_lossy(line).into_owned()));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
