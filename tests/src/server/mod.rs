//! A gateway that a test talks to over TCP.
//!
//! A gateway with the default configuration runs in the process of the test, on a port of its own. There may be many at a time, and they
//! share nothing. A gateway with another configuration is a process of its own, which reads a configuration file, as a user's gateway
//! does.
//!
//! If `GOLDCREST_TRANSPORT` is `tls`, `ws`, `wss` or `unix`, the gateway is talked to over that.

mod library;
mod process;
mod transport;

use goldcrest_core::Config;
use library::Library;
use process::Process;
use std::net::TcpStream;
use transport::Transport;

/// A running gateway. Dropping it ends it.
pub struct Server(Kind);

enum Kind {
    Library(Box<Library>),
    Process(Process),
}

impl Server {
    /// Starts a gateway on a free port, with the configuration of the test, or with the defaults. If `GOLDCREST_BIN` is in the
    /// environment, the gateway is always that program, in a process of its own.
    pub fn start(shards: u16, config: Option<&Config<'static>>) -> Self {
        let of_environment = std::env::var_os(process::PROGRAM).is_some();
        Self(match config {
            Some(config) => Kind::Process(Process::start(shards, config)),
            None if of_environment => Kind::Process(Process::start(shards, &Config::gateway(0))),
            None => Kind::Library(Box::new(Library::start(shards))),
        })
    }

    /// A new connection to the gateway.
    pub fn connect(&self) -> TcpStream {
        let place = match &self.0 {
            Kind::Library(gateway) => gateway.place(),
            Kind::Process(process) => process.place(),
        };
        Transport::of_environment().connect(&place).expect("the server listens")
    }

    /// The log so far.
    pub fn log(&self) -> String {
        match &self.0 {
            Kind::Library(gateway) => gateway.log(),
            Kind::Process(process) => process.log(),
        }
    }

    /// Whether the gateway runs: no shard has ended.
    pub fn is_alive(&mut self) -> bool {
        match &mut self.0 {
            Kind::Library(gateway) => gateway.is_alive(),
            Kind::Process(process) => process.is_alive(),
        }
    }
}
