//! `goldcrest` without a command: serving clients until a signal comes.

use super::args::{any, number, path, text};
use super::greeting::{Places, greeting};
use super::{Failure, LAST_WORDS, NO_DATA_DIR, read_config};
use crate::config::{
    Config, ListenAddress, Listener, ListenerAddress, MAX_SHARDS, MemoryMax, default_data_dir, listen_addresses,
    listener_addresses, shards_for_cores,
};
use crate::gateway::FileReload;
use crate::output::BackgroundWriter;
use std::path::PathBuf;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What the command line says about serving.
#[allow(rustdoc::broken_intra_doc_links, reason = "clap shows these texts, and their brackets are no links")]
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub(super) struct ServeOptions {
    /// Read the configuration from a TOML file
    #[arg(long, value_name = "FILE", value_parser = path())]
    config: Option<PathBuf>,
    /// Listen on an IP address and port, like 127.0.0.1:1883 or [::1]:1883; port 0 picks one. localhost:1883 or 1883 are 127.0.0.1 and
    /// ::1 (where there is IPv6), *:1883 all addresses, unix:/PATH a Unix socket. May be repeated; replaces the listeners of the file [default: localhost:1883]
    #[arg(long, value_name = "ADDR", value_parser = text(listener_addresses))]
    listen: Vec<ListenerAddresses>,
    /// Let anybody connect on each --listen, not from this machine alone
    #[arg(long, overrides_with = "allow_anonymous")]
    allow_anonymous: bool,
    /// Answer /live, /ready, /metrics and /sessions over HTTP on a loopback address and port, like 127.0.0.1:9883, localhost:9883 or
    /// 9883. May be repeated; replaces those of the file [default: nowhere]
    #[arg(long, value_name = "ADDR", value_parser = text(listen_addresses))]
    http: Vec<Addresses>,
    /// Keep sessions and messages in this directory across restarts [default: $STATE_DIRECTORY, or goldcrest in $XDG_STATE_HOME, or
    /// ~/.local/state/goldcrest]
    #[arg(long, value_name = "DIR", value_parser = path())]
    data_dir: Option<PathBuf>,
    /// Keep nothing on disk: a stop or a crash loses what was acknowledged
    #[arg(long, overrides_with = "memory_only")]
    memory_only: bool,
    /// Worker threads; auto is one for each core but one [default: as many as the store was made for, and auto where there is none yet]
    #[arg(long, value_name = "N", value_parser = text(shards))]
    shards: Option<u16>,
    /// The most memory that the process takes, like 256MiB; auto is half of what its cgroup or the machine has, at least 32MiB [default: auto]
    #[arg(long, value_name = "BYTES", value_parser = text(MemoryMax::parse))]
    memory_max: Option<MemoryMax>,
    /// Write these log lines to standard error: off, error, warn, info, debug or trace, or a list like info,goldcrest::shard=debug
    /// [default: $RUST_LOG, or info]
    #[arg(long, value_name = "LEVEL", value_parser = text(any))]
    log: Option<String>,
}

/// The addresses that one `--listen` stands for: two for `localhost` and `*`. Through the alias clap does not see that this is a list:
/// otherwise clap would take each address for a value of its own.
type Addresses = Vec<ListenAddress>;
/// The same for clients.
type ListenerAddresses = Vec<ListenerAddress>;

pub(super) fn shards(text: &str) -> Result<u16, String> {
    match text {
        "auto" => Ok(shards_for_cores()),
        _ => number(text, 1..=MAX_SHARDS).map_err(|wanted| format!("{wanted}, or auto")),
    }
}

impl ServeOptions {
    /// Checks which options go together. clap could check that too, but would not say why.
    ///
    /// # Errors
    /// Two options contradict each other.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.allow_anonymous && self.listen.is_empty() {
            return Err("--allow-anonymous is about --listen, which is missing".to_owned());
        }
        if self.memory_only && self.data_dir.is_some() {
            return Err("--memory-only keeps nothing in --data-dir; say one of them".to_owned());
        }
        Ok(())
    }

    fn into_config(self) -> Result<Config, crate::ConfigError> {
        let mut config = self.config.as_deref().map_or_else(|| Ok(Config::default()), read_config)?;
        if !self.listen.is_empty() {
            let allow_anonymous = self.allow_anonymous.then_some(true);
            let listener = |address: ListenerAddress| Listener { allow_anonymous, ..Listener::at(address) };
            config.listeners = self.listen.into_iter().flatten().map(listener).collect();
        }
        if !self.http.is_empty() {
            config.http.listen = self.http.into_iter().flatten().collect();
        }
        config.memory_only = self.memory_only || (config.memory_only && self.data_dir.is_none());
        config.data_dir = self.data_dir.or(config.data_dir);
        config.shards = self.shards.unwrap_or(config.shards);
        config.memory_max = self.memory_max.unwrap_or(config.memory_max);
        config.log = self.log.or(config.log);
        Ok(config)
    }
}

pub(super) fn serve(options: ServeOptions) -> Result<(), Failure> {
    super::heap::keep_freed_memory();
    let mut config = options.into_config()?;
    // The descriptors are checked first, because the log and the runtime open some themselves.
    crate::net::descriptors::check(&config)?;
    crate::output::log::init(config.log.as_deref())?;
    if config.memory_only {
        tracing::warn!(
            "memory only: a stop or a crash loses sessions, retained and queued messages, though acknowledged"
        );
    } else if config.data_dir.is_none() {
        config.data_dir = Some(default_data_dir().ok_or(NO_DATA_DIR)?);
    }
    // A pipe that nobody reads must not keep the process from handling signals.
    let out = BackgroundWriter::open("greeting", std::io::stdout())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(async {
        // From here on no signal kills the process: not even one that comes while the gateway starts.
        let mut termination = Termination::listen()?;
        const NO_RELOAD: &str = "nothing is reloaded before the next start; SIGTERM stops";
        let hangup = if config.names_files() {
            Some(signal(SignalKind::hangup())?)
        } else {
            ignore(SignalKind::hangup(), "SIGHUP", NO_RELOAD)?;
            None
        };
        ignore(SignalKind::user_defined1(), "SIGUSR1", NO_RELOAD)?;
        ignore(SignalKind::user_defined2(), "SIGUSR2", NO_RELOAD)?;
        // Without a handler the system would kill the process at the limit of file sizes (`ulimit -f`). With a handler a write fails, as on
        // a full disk.
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
            if let Some((hangup, reload)) = hangup.zip(gateway.file_reload()) {
                tokio::spawn(reload_at(hangup, reload));
            }
            let text = greeting(&config, &Places::of(gateway), &gateway.awaited(), gateway.memory_bound());
            out.write(text.as_bytes());
        })
        .await
    });
    out.flush(LAST_WORDS);
    crate::output::log::flush(LAST_WORDS);
    served
}

/// Has files read anew at each signal.
async fn reload_at(mut hangup: Signal, reload: FileReload) {
    while hangup.recv().await.is_some() {
        reload.ask();
    }
}

/// The signals SIGTERM and SIGINT.
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

/// Ignores a signal that does not ask for the end of the process.
fn ignore(kind: SignalKind, name: &'static str, why: &'static str) -> std::io::Result<()> {
    let mut ignored = signal(kind)?;
    tokio::spawn(async move {
        ignored.recv().await;
        tracing::warn!("{name} is ignored, now and later: {why}");
        while ignored.recv().await.is_some() {}
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{mistake, read};
    use super::*;

    fn options(args: &[&str]) -> ServeOptions {
        read(args).expect("the command line is right").serve
    }

    #[test]
    fn options_for_serving_are_parsed() {
        assert_eq!(options(&[]), ServeOptions::default());
        let all =
            ["--config", "a.toml", "--listen", "127.0.0.1:0", "--listen=[::1]:1884", "--data-dir", "d", "--shards=2"];
        assert_eq!(
            options(
                &[&all[..], &["--log", "debug", "--allow-anonymous", "--http=[::1]:9883", "--memory-max=64MiB"]]
                    .concat()
            ),
            ServeOptions {
                config: Some("a.toml".into()),
                listen: ["127.0.0.1:0", "[::1]:1884"].map(|it| listener_addresses(it).unwrap()).into(),
                allow_anonymous: true,
                http: vec![vec!["[::1]:9883".parse().unwrap()]],
                data_dir: Some("d".into()),
                memory_only: false,
                shards: Some(2),
                memory_max: Some(MemoryMax::Bytes(64 << 20)),
                log: Some("debug".to_owned()),
            }
        );
    }

    #[test]
    fn mistakes_in_options_for_serving_say_what_is_wanted() {
        assert!(mistake(&["--listen", "localhost"]).contains("like 127.0.0.1:1883"));
        assert!(mistake(&["--shards", "0"]).contains("\"0\" of --shards: a number from 1 to 256"));
        assert!(mistake(&["--shards", "all"]).contains("or auto"));
        assert!(mistake(&["--memory-max", "1MiB"]).contains("\"1MiB\" of --memory-max: auto, or bytes from 16MiB on"));
        assert!(mistake(&["--shards"]).contains("--shards"));
        assert_eq!(mistake(&["--lisen", "x"]), "--lisen is no option; did you mean --listen?");
        assert!(
            mistake(&["serve"]).contains("\"serve\" is no subcommand; there are sub, pub, store, passwd, budget, ")
        );
        assert!(mistake(&["--log", "info", "budget"]).contains("the subcommand budget cannot be used with --log"));
        assert!(mistake(&["--allow-anonymous"]).contains("--listen"));
        assert!(mistake(&["--memory-only", "--data-dir", "d"]).contains("say one of them"));
    }

    #[test]
    fn flags_may_be_repeated() {
        let twice =
            options(&["--memory-only", "--memory-only", "--listen=1", "--allow-anonymous", "--allow-anonymous"]);
        assert!(twice.memory_only && twice.allow_anonymous);
    }

    #[test]
    fn an_option_may_stand_for_an_ipv4_and_an_ipv6_address() {
        let config = options(&["--listen", "localhost:0", "--http", "9883"]).into_config().unwrap();
        let address = |text: &str| ListenAddress::from(text.parse::<std::net::SocketAddr>().unwrap());
        let listeners: Vec<_> = config.listeners.iter().map(|listener| listener.address.clone()).collect();
        assert_eq!(listeners, [address("127.0.0.1:0"), address("[::1]:0")].map(ListenerAddress::from));
        assert_eq!(config.http.listen, [address("127.0.0.1:9883"), address("[::1]:9883")]);
        assert_eq!(options(&["--shards", "auto"]).shards, Some(shards_for_cores()));
    }

    #[test]
    fn options_override_the_defaults() {
        let args = ["--listen", "0.0.0.0:7", "--allow-anonymous", "--shards", "5", "--http", "127.0.0.1:8"];
        let config = options(&args).into_config().unwrap();
        assert_eq!(
            config.listeners,
            [Listener { allow_anonymous: Some(true), ..Listener::new("0.0.0.0:7".parse().unwrap()) }]
        );
        assert_eq!(config.shards, 5);
        // The option --allow-anonymous is about listeners for clients, and does not open HTTP.
        let http = crate::HttpConfig {
            listen: vec!["127.0.0.1:8".parse().unwrap()],
            allow_anonymous: false,
            ..Default::default()
        };
        assert_eq!(config.http, http);
    }
}
