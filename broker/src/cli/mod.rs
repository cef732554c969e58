//! The command line of `goldcrest`: without a subcommand it serves.

use args::{name_of, number, once, path, text, value};

mod args;
mod budget;
mod client;
mod heap;
mod store;

use crate::config::{
    Config, ListenAddress, Listener, MAX_SHARDS, default_data_dir, host_of, listen_addresses, shards_for_cores,
};
use crate::output::BackgroundWriter;
use lexopt::prelude::{Long, Short, Value};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

const HELP: &str = "\
Goldcrest, an MQTT broker

Usage: goldcrest [OPTIONS]         serve clients
       goldcrest sub [OPTIONS]     subscribe and print messages; see goldcrest sub --help
       goldcrest pub [OPTIONS]     publish messages; see goldcrest pub --help
       goldcrest store COMMAND     check, repair, dump, back up and restore what is on disk; see goldcrest store --help
       goldcrest budget [OPTIONS]  print what the memory costs at worst; see goldcrest budget --help

Options:
      --config FILE        read the configuration from a TOML file
      --listen ADDR        listen on an IP address and port, like 127.0.0.1:1883 or [::1]:1883; port 0 picks one.
                           localhost:1883 or 1883 are 127.0.0.1 and ::1 (where there is IPv6), *:1883 all addresses.
                           May be repeated; replaces the listeners of the file [default: localhost:1883]
      --allow-anonymous    let anybody connect on each --listen, not from this machine alone
      --http ADDR          answer /live, /ready, /metrics and /sessions over HTTP on a loopback address and port, like
                           127.0.0.1:9883, localhost:9883 or 9883. May be repeated; replaces those of the file
                           [default: nowhere]
      --data-dir DIR       keep sessions and messages there across restarts [default: $STATE_DIRECTORY,
                           or goldcrest in $XDG_STATE_HOME, or ~/.local/state/goldcrest]
      --memory-only        keep nothing on disk: a stop or a crash loses what was acknowledged
      --shards N           worker threads; auto is one for each core [default: as many as the store was made for,
                           and auto where there is none yet]
      --log LEVEL          off, error, warn, info, debug or trace, or a list like info,goldcrest::listener=debug
  -h, --help               print this
  -V, --version            print the version
";

/// The exit code for a command line that makes no sense.
const USAGE: u8 = 2;

/// Runs the command that this process was started with.
pub fn main() -> ExitCode {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    let subcommand = args
        .get(1)
        .and_then(|arg| arg.to_str())
        .filter(|arg| matches!(*arg, "sub" | "pub" | "budget" | "store"))
        .map(str::to_owned);
    let parsed = match subcommand.as_deref() {
        Some(subcommand) => {
            args.remove(1);
            let parser = lexopt::Parser::from_iter(args);
            match subcommand {
                "budget" => budget::command(parser).map(Command::Print),
                "store" => store::parse(parser).map(Command::Store),
                _ => client::command(subcommand, parser).map(Command::Client),
            }
        }
        None => parse(lexopt::Parser::from_iter(args)),
    };
    let done = match parsed {
        Ok(Command::Serve(flags)) => serve(flags),
        Ok(Command::Client(command)) => command.run(),
        Ok(Command::Store(command)) => match command.run() {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Ok(Command::Print(text)) => print(&text).map_err(Failure::from),
        Err(error) => {
            let help = subcommand.map_or(String::new(), |subcommand| format!(" {subcommand}"));
            complain(&format!("goldcrest: {error}\nTry goldcrest{help} --help.\n"));
            return ExitCode::from(USAGE);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("goldcrest: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

enum Command {
    Serve(Flags),
    Client(client::Command),
    Store(store::Command),
    Print(String),
}

/// What the command line says about serving.
#[derive(Debug, Default, PartialEq, Eq)]
struct Flags {
    config: Option<PathBuf>,
    listen: Vec<ListenAddress>,
    allow_anonymous: bool,
    http: Vec<ListenAddress>,
    data_dir: Option<PathBuf>,
    memory_only: bool,
    shards: Option<u16>,
    log: Option<String>,
}

fn parse(mut parser: lexopt::Parser) -> Result<Command, lexopt::Error> {
    let mut flags = Flags::default();
    while let Some(arg) = parser.next()? {
        let name = name_of(&arg);
        match arg {
            Long("config") => once(&mut flags.config, &name, path(&mut parser, &name)?)?,
            Long("listen") => flags.listen.extend(value(&mut parser, &name, listen_addresses)?),
            Long("allow-anonymous") => flags.allow_anonymous = true,
            Long("http") => flags.http.extend(value(&mut parser, &name, listen_addresses)?),
            Long("data-dir") => once(&mut flags.data_dir, &name, path(&mut parser, &name)?)?,
            Long("memory-only") => flags.memory_only = true,
            Long("shards") => once(&mut flags.shards, &name, value(&mut parser, &name, parse_shards)?)?,
            Long("log") => once(&mut flags.log, &name, text(&mut parser, &name)?)?,
            Short('h') | Long("help") => return Ok(Command::Print(HELP.to_owned())),
            Short('V') | Long("version") => return Ok(Command::Print(format!("goldcrest {VERSION}\n"))),
            Value(word) => {
                return Err(format!(
                    "{word:?} is no subcommand; there are sub, pub, store and budget, and without one it serves"
                )
                .into());
            }
            _ => return Err(arg.unexpected()),
        }
    }
    if flags.allow_anonymous && flags.listen.is_empty() {
        return Err("--allow-anonymous is about --listen, which is missing".into());
    }
    if flags.memory_only && flags.data_dir.is_some() {
        return Err("--memory-only keeps nothing in --data-dir; say one of them".into());
    }
    Ok(Command::Serve(flags))
}

pub(crate) fn parse_shards(text: &str) -> Result<u16, String> {
    match text {
        "auto" => Ok(shards_for_cores()),
        _ => number(1..=MAX_SHARDS)(text).map_err(|wanted| format!("{wanted}, or auto")),
    }
}

impl Flags {
    fn into_config(self) -> Result<Config, crate::ConfigError> {
        let mut config = self.config.as_deref().map_or_else(|| Ok(Config::default()), read_config)?;
        if !self.listen.is_empty() {
            let allow_anonymous = self.allow_anonymous;
            config.listeners = self.listen.into_iter().map(|address| Listener { address, allow_anonymous }).collect();
        }
        if !self.http.is_empty() {
            config.http.listen = self.http;
        }
        config.memory_only = self.memory_only || (config.memory_only && self.data_dir.is_none());
        config.data_dir = self.data_dir.or(config.data_dir);
        config.shards = self.shards.unwrap_or(config.shards);
        config.log = self.log.or(config.log);
        Ok(config)
    }
}

/// Reads the configuration, and says so where that takes its time: a pipe may have nobody who writes it.
pub(crate) fn read_config(path: &Path) -> Result<Config, crate::ConfigError> {
    const PATIENCE: Duration = Duration::from_secs(1);
    let (done, is_done) = sync_channel::<()>(0);
    let name = path.display().to_string();
    std::thread::spawn(move || {
        if is_done.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            complain(&format!("goldcrest: waits for the configuration: nobody has written {name} to its end yet\n"));
        }
    });
    let config = Config::from_file(path);
    drop(done);
    config
}

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

fn serve(flags: Flags) -> Result<(), Failure> {
    heap::keep_freed_memory();
    let mut config = flags.into_config()?;
    // Checked first, because the log and the runtime open descriptors themselves.
    crate::net::descriptors::check(&config)?;
    crate::output::log::init(config.log.as_deref())?;
    if config.memory_only {
        tracing::warn!(
            "memory only: a stop or a crash loses sessions, retained and queued messages, though acknowledged"
        );
    } else if config.data_dir.is_none() {
        config.data_dir = Some(default_data_dir().ok_or(NO_DATA_DIR)?);
    }
    // A pipe that nobody reads must not keep signals from being handled.
    let out = BackgroundWriter::open("greeting", std::io::stdout())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(async {
        // From here on no signal kills: not even one that comes while the gateway starts.
        let mut termination = Termination::listen()?;
        const NO_RELOAD: &str = "nothing is reloaded before the next start; SIGTERM stops";
        ignore(SignalKind::hangup(), "SIGHUP", NO_RELOAD)?;
        ignore(SignalKind::user_defined1(), "SIGUSR1", NO_RELOAD)?;
        ignore(SignalKind::user_defined2(), "SIGUSR2", NO_RELOAD)?;
        // A file that may not grow (`ulimit -f`) is an error like a full disk.
        let too_large = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
        ignore(too_large, "SIGXFSZ", "a file would be larger than the limit of the system, ulimit -f")?;
        let shutdown = async {
            termination.next().await;
            tracing::info!("stopping; a second signal ends at once");
            tokio::spawn(async move {
                termination.next().await;
                crate::output::log::flush(LAST_WORDS / 10);
                std::process::exit(1);
            });
        };
        crate::run(&config, shutdown, |gateway| {
            let text = greeting(&config, gateway.addresses(), gateway.http_addresses(), &gateway.awaited());
            out.write(text.as_bytes());
        })
        .await
    });
    out.flush(LAST_WORDS);
    crate::output::log::flush(LAST_WORDS);
    served
}

/// How long the process waits at its end for somebody to read what it has written.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Writes to standard error.
fn complain(text: &str) {
    crate::output::log::write(text);
    crate::output::log::flush(LAST_WORDS);
}

pub(crate) const NO_DATA_DIR: &str = "there is no home directory to keep sessions and messages in; \
                           --data-dir DIR says where, --memory-only keeps nothing across restarts";

/// SIGTERM and SIGINT.
struct Termination {
    terminate: Signal,
    interrupt: Signal,
}

impl Termination {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Lets a signal pass that would kill without an order: the terminal was closed, a service manager or logrotate means a reload.
fn ignore(kind: SignalKind, name: &'static str, why: &'static str) -> std::io::Result<()> {
    let mut ignored = signal(kind)?;
    tokio::spawn(async move {
        ignored.recv().await;
        tracing::warn!("{name} is ignored, now and later: {why}");
        while ignored.recv().await.is_some() {}
    });
    Ok(())
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a newcomer reads first. The lines `listening on ADDRESS` are for programs too.
fn greeting(config: &Config, addresses: &[SocketAddr], http: &[SocketAddr], awaited: &[String]) -> String {
    let mut text = format!("Goldcrest {VERSION}\n");
    for address in http {
        let _ = writeln!(text, "health, metrics and sessions on http://{}/", authority(*address));
    }
    for reason in awaited {
        let _ = writeln!(text, "{reason}");
    }
    for address in addresses {
        let _ = writeln!(text, "listening on {}", place(*address));
    }
    text += if config.listeners.iter().any(|it| it.allow_anonymous && !it.address.is_of_this_machine()) {
        "anybody who reaches it may publish and subscribe: there are no users yet\n"
    } else {
        "clients of this machine may publish and subscribe, without a password\n"
    };
    match config.store_dir() {
        Some(data_dir) => {
            let _ = writeln!(text, "sessions, retained and queued messages are kept in {}", data_dir.display());
        }
        None => {
            text += "sessions, retained and queued messages are kept in memory alone, and gone after a stop: \
                     --memory-only or memory_only = true\n";
        }
    }
    if let Some(address) = addresses.first() {
        let at = reach(*address);
        let program = quoted(std::env::args().next().unwrap_or_else(|| "goldcrest".to_owned()));
        let _ = write!(
            text,
            "try it from two other terminals:\n\
             \x20 {program} sub {at} -v -t 'demo/#'\n\
             \x20 {program} pub {at} -t demo/room -m 21.5\n\
             or:\n\
             \x20 mosquitto_sub {at} -v -t 'demo/#'\n\
             \x20 mosquitto_pub {at} -t demo/room -m 21.5\n"
        );
    }
    text
}

/// Options of the clients to reach `address` from this machine.
fn reach(address: SocketAddr) -> String {
    let host = match address.ip() {
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.to_string(),
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
        _ => host_of(address),
    };
    format!("-h {host} -p {}", address.port())
}

/// `address` as `--listen` takes it, with the name of its interface.
fn place(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(_) => address.to_string(),
        SocketAddr::V6(_) => format!("[{}]:{}", host_of(address), address.port()),
    }
}

/// `address` as it stands in a URL, where `%` has to be escaped (RFC 6874).
fn authority(address: SocketAddr) -> String {
    place(address).replace('%', "%25")
}

/// A word as a shell takes it.
fn quoted(word: String) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,".contains(c);
    if word.chars().all(is_plain) { word } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// Prints to standard output; that nobody reads on is no failure.
pub(crate) fn print(text: &str) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write standard output: {error}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(args: &[&str]) -> Result<Flags, String> {
        match parse(lexopt::Parser::from_args(args)) {
            Ok(Command::Serve(flags)) => Ok(flags),
            Ok(_) => Err("it does not serve".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn flags_arrive() {
        assert_eq!(flags(&[]), Ok(Flags::default()));
        let all =
            ["--config", "a.toml", "--listen", "127.0.0.1:0", "--listen=[::1]:1884", "--data-dir", "d", "--shards=2"];
        assert_eq!(
            flags(&[&all[..], &["--log", "debug", "--allow-anonymous", "--http=[::1]:9883"]].concat()),
            Ok(Flags {
                config: Some("a.toml".into()),
                listen: vec!["127.0.0.1:0".parse().unwrap(), "[::1]:1884".parse().unwrap()],
                allow_anonymous: true,
                http: vec!["[::1]:9883".parse().unwrap()],
                data_dir: Some("d".into()),
                memory_only: false,
                shards: Some(2),
                log: Some("debug".to_owned()),
            })
        );
    }

    #[test]
    fn mistakes_say_what_is_wanted() {
        assert!(flags(&["--listen", "localhost"]).unwrap_err().contains("like 127.0.0.1:1883"));
        assert!(flags(&["--shards", "0"]).unwrap_err().contains("\"0\" of --shards: a number from 1 to 256"));
        assert!(flags(&["--shards", "all"]).unwrap_err().contains("or auto"));
        assert!(flags(&["--shards"]).unwrap_err().contains("--shards"));
        assert!(flags(&["--lisen", "x"]).unwrap_err().contains("--lisen"));
        assert!(flags(&["serve"]).unwrap_err().contains("sub, pub, store and budget"));
        assert!(flags(&["--allow-anonymous"]).unwrap_err().contains("--listen"));
        assert!(flags(&["--memory-only", "--data-dir", "d"]).unwrap_err().contains("say one of them"));
    }

    #[test]
    fn addresses_may_be_of_both_families() {
        let config = flags(&["--listen", "localhost:0", "--http", "9883"]).unwrap().into_config().unwrap();
        let address = |text: &str| ListenAddress::from(text.parse::<SocketAddr>().unwrap());
        let listeners: Vec<_> = config.listeners.iter().map(|listener| listener.address).collect();
        assert_eq!(listeners, [address("127.0.0.1:0"), address("[::1]:0")]);
        assert_eq!(config.http.listen, [address("127.0.0.1:9883"), address("[::1]:9883")]);
        assert_eq!(flags(&["--shards", "auto"]).unwrap().shards, Some(shards_for_cores()));
    }

    /// The commands that it shows are pasted as they stand.
    #[test]
    fn the_greeting_reaches_what_is_behind_an_interface() {
        let local = "[fe80::1%1]:1883".parse().unwrap();
        let text = greeting(&Config::default(), &[local], &[local], &["it does not listen on x yet: y".to_owned()]);
        assert!(text.contains("listening on [fe80::1%lo]:1883\n"), "{text}");
        assert!(text.contains(" sub -h fe80::1%lo -p 1883 "), "{text}");
        assert!(text.contains("http://[fe80::1%25lo]:1883/\n"), "{text}");
        assert!(text.contains("\nit does not listen on x yet: y\n"), "{text}");
        assert_eq!(quoted("/opt/my programs/it's".to_owned()), r"'/opt/my programs/it'\''s'");
    }

    #[test]
    fn flags_override_the_defaults() {
        let args = ["--listen", "0.0.0.0:7", "--allow-anonymous", "--shards", "5", "--http", "127.0.0.1:8"];
        let config = flags(&args).unwrap().into_config().unwrap();
        assert_eq!(config.listeners, [Listener { address: "0.0.0.0:7".parse().unwrap(), allow_anonymous: true }]);
        assert_eq!(config.shards, 5);
        // Nor does --allow-anonymous open what is not for clients.
        let http = crate::HttpConfig {
            listen: vec!["127.0.0.1:8".parse().unwrap()],
            allow_anonymous: false,
            ..Default::default()
        };
        assert_eq!(config.http, http);
    }

    #[test]
    fn the_greeting_names_real_ports_and_says_what_is_kept() {
        let config = Config { data_dir: Some("/data".into()), ..Config::default() };
        let text = greeting(&config, &["[::]:41234".parse().unwrap()], &["[::1]:9".parse().unwrap()], &[]);
        assert!(text.contains("sessions on http://[::1]:9/\n"), "{text}");
        assert!(text.contains("\nlistening on [::]:41234\n"), "{text}");
        assert!(text.contains("mosquitto_sub -h ::1 -p 41234 "), "{text}");
        assert!(text.contains("messages are kept in /data\n"), "{text}");
        let text = greeting(&Config { memory_only: true, ..config }, &[], &[], &[]);
        assert!(text.contains("messages are kept in memory alone, and gone after a stop: --memory-only"), "{text}");
    }
}
