//! A gateway that a test talks to over TCP.
//!
//! A gateway with the default configuration runs in the process of the test, on a port of its own: there may be many at a time, they
//! share nothing, and none has to be started by the system. What a test configures goes through a configuration file to the program,
//! in a process of its own, as with users.

mod library;
mod process;

use goldcrest_core::Config;
use library::Library;
use process::Process;
use std::net::TcpStream;

/// A running gateway. It ends when it is dropped.
pub struct Server(Kind);

enum Kind {
    Library(Library),
    Process(Process),
}

impl Server {
    /// Starts one on a free port, with the configuration that the test made, or the defaults. With `GOLDCREST_BIN` in the environment it
    /// is always that program in a process of its own.
    pub fn start(shards: u16, config: Option<&Config<'static>>) -> Self {
        let of_environment = std::env::var_os(process::PROGRAM).is_some();
        Self(match config {
            Some(config) => Kind::Process(Process::start(shards, config)),
            None if of_environment => Kind::Process(Process::start(shards, &Config::gateway(0))),
            None => Kind::Library(Library::start(shards)),
        })
    }

    /// A new connection to it.
    pub fn connect(&self) -> TcpStream {
        let address = match &self.0 {
            Kind::Library(gateway) => gateway.address(),
            Kind::Process(process) => process.address(),
        };
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_nodelay(true).expect("a TCP socket");
        stream
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        match &self.0 {
            Kind::Library(gateway) => gateway.log(),
            Kind::Process(process) => process.log(),
        }
    }

    /// Whether it runs: no shard has ended.
    pub fn is_alive(&mut self) -> bool {
        match &mut self.0 {
            Kind::Library(gateway) => gateway.is_alive(),
            Kind::Process(process) => process.is_alive(),
        }
    }
}
