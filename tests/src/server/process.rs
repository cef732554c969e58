//! The program `goldcrest` as a process of its own, which reads its configuration from a file.

use super::transport::{Place, Transport};
use goldcrest_core::{Config, Limits, Overflow, ResendExpired};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// A running `goldcrest`, which is killed when this value is dropped.
pub(crate) struct Process {
    process: Child,
    place: Place,
    files: Files,
}

/// The configuration file and the log file.
struct Files {
    config: PathBuf,
    log: PathBuf,
}

impl Process {
    /// Starts a process that listens on a free port.
    pub(crate) fn start(shards: u16, config: &Config<'static>) -> Self {
        let files = Files::new();
        let listener = Transport::of_environment().table();
        std::fs::write(&files.config, to_toml(config) + &listener).expect("a writable temporary directory");
        let log = std::fs::File::create(&files.log).expect("a writable temporary directory");
        let mut process = Command::new(program())
            .args(["--memory-only", "--shards", &shards.to_string(), "--config"])
            .arg(&files.config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program().display()));
        let mut output = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut said = String::new();
        let place = loop {
            let start = said.len();
            if output.read_line(&mut said).unwrap_or(0) == 0 {
                let log = std::fs::read_to_string(&files.log).unwrap_or_default();
                panic!("{} ended before it listened:\n{said}{log}", program().display());
            }
            if let Some(address) = said[start..].trim().strip_prefix("listening on ") {
                break Place::of_greeting(address);
            }
        };
        // Reads the output to its end: a full pipe would stop the process.
        std::thread::spawn(move || output.read_to_end(&mut Vec::new()));
        Self { process, place, files }
    }

    /// Where the process listens.
    pub(crate) fn place(&self) -> Place {
        self.place.clone()
    }

    /// The log so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.files.log).unwrap_or_default()
    }

    /// Whether the process runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        // It was killed, and could not remove its socket.
        if let Place::Unix(path) = &self.place {
            let _ = std::fs::remove_file(path);
        }
        let _ = std::fs::remove_file(&self.files.config);
        let _ = std::fs::remove_file(&self.files.log);
    }
}

impl Files {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let file = |end| std::env::temp_dir().join(format!("goldcrest-test-{}-{number}.{end}", std::process::id()));
        Self { config: file("toml"), log: file("log") }
    }
}

/// The environment variable that names the program under test.
pub(super) const PROGRAM: &str = "GOLDCREST_BIN";

/// The program under test: the one named in the environment, or the one that cargo built with this test. The latter has the `main` of
/// `goldcrest` and a name of its own: a test that builds `goldcrest` itself would build the whole gateway again, with other features of
/// its dependencies.
fn program() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match std::env::var_os(PROGRAM) {
        Some(path) => path.into(),
        None => {
            let test = std::env::current_exe().expect("the path of this test");
            // Tests are built into `target/PROFILE/deps/TEST`.
            let profile = test.parent().and_then(Path::parent).expect("tests are built into target/PROFILE/deps");
            profile.join("goldcrest-under-test").with_extension(std::env::consts::EXE_EXTENSION)
        }
    })
}

/// The part of `config` that a configuration file can say. Tests that need another configuration run in memory.
fn to_toml(config: &Config<'static>) -> String {
    let Limits {
        packet_bytes,
        receive_maximum,
        topic_aliases_in,
        topic_aliases_out,
        inflight,
        inflight_v3,
        queued_messages,
        queued_bytes,
        durable_queued_messages,
        durable_queued_bytes,
        group_messages,
        durable_group_messages,
        subscriptions,
        topic_levels,
        filter_cost,
        properties,
        retained_messages,
        owed_replies,
        ..
    } = config.limits;
    let mut text = format!(
        "[limits]\npacket_bytes = {packet_bytes}\nreceive_maximum = {receive_maximum}\n\
         topic_aliases_in = {topic_aliases_in}\ntopic_aliases_out = {topic_aliases_out}\ninflight = {inflight}\n\
         inflight_v3 = {inflight_v3}\n\
         queued_messages = {queued_messages}\nqueued_bytes = {queued_bytes}\ngroup_messages = {group_messages}\n\
         subscriptions = {subscriptions}\ntopic_levels = {topic_levels}\nfilter_cost = {filter_cost}\n\
         properties = {properties}\nretained_messages = {retained_messages}\nowed_replies = {owed_replies}\n\
         [session]\nconnect_timeout_ms = {}\nkeep_alive_max_s = {}\nexpiry_max_s = {}\nwill_grace_s = {}\n\
         maximum_qos = {}\nretain_available = {}\nallow_control_characters = {}\nno_matching_subscribers = {}\n\
         resend_expired = \"{}\"\n",
        config.connect_timeout_ms,
        config.keep_alive_max,
        config.session_expiry_max,
        config.will_grace_secs,
        config.maximum_qos.bits(),
        config.retain_available,
        config.allow_control_characters,
        config.no_matching_subscribers,
        match config.resend_expired {
            ResendExpired::Always => "always",
            ResendExpired::Qos2 => "qos2",
            ResendExpired::Never => "never",
        },
    );
    // A limit of 0 can't be written: without the key the gateway chooses its own default.
    let limits = [
        ("durable_queued_messages", durable_queued_messages),
        ("durable_queued_bytes", durable_queued_bytes),
        ("durable_group_messages", durable_group_messages),
    ];
    for (key, limit) in limits.into_iter().filter(|(_, limit)| *limit > 0) {
        text = text.replacen("[session]", &format!("{key} = {limit}\n[session]"), 1);
    }
    if let Some(information) = &config.response_information {
        let _ = writeln!(text, "response_information = {information:?}");
    }
    let policy = match config.overflow {
        Overflow::DropNewest => "drop_newest",
        Overflow::DropOldest => "drop_oldest",
        Overflow::KeepLatest => "keep_latest",
        Overflow::Refuse => "refuse",
    };
    let denied = if config.closes_denied_publishers { "close" } else { "acknowledge" };
    let _ = writeln!(text, "[overflow]\ndefault = \"{policy}\"\n[permissions]\ndenied_publish = \"{denied}\"");
    let read = goldcrest::Config::from_toml(Path::new("of the test"), &text).expect("it has keys that there are");
    assert_eq!(read.broker.limits, config.limits, "each limit has its line");
    text
}
