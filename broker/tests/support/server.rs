//! The `goldcrest` command in a process of its own.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

pub(crate) fn goldcrest(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_goldcrest"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).env_remove("RUST_LOG");
    // A test that does not name a directory gets none, and not that of the user who runs it.
    command.env_remove("STATE_DIRECTORY").env("XDG_STATE_HOME", "/dev/null");
    command
}

pub(crate) fn run(args: &[&str]) -> Output {
    goldcrest(args).output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A running gateway.
pub(crate) struct Server {
    pub(crate) child: Child,
    out: BufReader<ChildStdout>,
    /// The output before the gateway was ready.
    pub(crate) greeting: String,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts a gateway with nothing on disk.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::run(&mut goldcrest(&[&["--memory-only"], args].concat()))
    }

    pub(crate) fn run(command: &mut Command) -> Self {
        let mut child = command.args(["--listen", "127.0.0.1:0"]).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut greeting = String::new();
        while !greeting.contains("listening on ") {
            assert!(out.read_line(&mut greeting).unwrap() > 0, "it ended: {greeting}");
        }
        let address = greeting.lines().last().unwrap().strip_prefix("listening on ").unwrap().parse().unwrap();
        Self { child, out, greeting, address }
    }

    pub(crate) fn port(&self) -> String {
        self.address.port().to_string()
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Waits for the end. Returns the rest of the output, and the exit code.
    pub(crate) fn wait(mut self) -> (String, Option<i32>) {
        self.out.read_to_string(&mut self.greeting).unwrap();
        (std::mem::take(&mut self.greeting), self.child.wait().unwrap().code())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
