//! The brokers that are compared: how each is started for a run, in its fastest setting.

use crate::packet::Version;
use crate::process::Process;
use crate::scenario::{Scenario, Work};
use crate::traffic::Target;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[derive(Clone, Debug)]
pub struct Broker {
    pub name: String,
    pub kind: Kind,
    pub program: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Relay,
    /// With rules each client may do what ten rules say.
    Goldcrest {
        shards: u16,
        has_rules: bool,
    },
    FlashMq,
    Mosquitto,
    Nats,
    Rumqttd,
    Aedes,
}

impl Kind {
    pub fn is_goldcrest(self) -> bool {
        matches!(self, Self::Goldcrest { .. })
    }

    /// The reason why this broker cannot take part, if there is one.
    pub fn cannot(self, scenario: &Scenario) -> Option<&'static str> {
        let is_traffic = matches!(scenario.work, Work::Traffic(_) | Work::Table { .. });
        let is_shared = scenario.name.starts_with("shared");
        let is_large = matches!(scenario.work, Work::Table { subscriptions, .. } if subscriptions > 10_000);
        match self {
            Self::Relay if !is_traffic => Some("the relay has no Sessions"),
            Self::Relay if scenario.durable => Some("the relay has no store"),
            Self::Nats if scenario.version == Version::V5 => Some("speaks MQTT 3.1.1 only"),
            Self::Nats if scenario.qos > 0 && !scenario.durable => Some("stores all QoS 1 and 2 on disk"),
            Self::Nats if matches!(scenario.work, Work::Retained(_)) => Some("stores what is retained on disk"),
            Self::Nats if is_shared => Some("has no shared subscriptions"),
            Self::Aedes if scenario.version == Version::V5 => Some("speaks MQTT 3.1.1 only"),
            Self::Aedes if is_shared => Some("has no shared subscriptions"),
            Self::Aedes if scenario.durable => Some("has no store here"),
            Self::Rumqttd if is_large => Some("opens a log for each filter"),
            Self::Rumqttd if scenario.durable => Some("has no store"),
            _ => None,
        }
    }

    /// Starts the broker and waits until it listens.
    pub fn start(self, program: &Path, scenario: &Scenario) -> Result<Running, String> {
        let port = free_port()?;
        let dir = std::env::temp_dir().join(format!("goldcrest-bench-{}-{port}", std::process::id()));
        fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let mut command = Command::new(program);
        let config = dir.join("config");
        let text = match self {
            Self::Relay => {
                command.args(["relay", &port.to_string()]);
                String::new()
            }
            Self::Goldcrest { shards, has_rules } => {
                let listen = format!("127.0.0.1:{port}");
                command.args(["--log", "error", "--shards", &shards.to_string(), "--listen", &listen]);
                if scenario.durable {
                    command.arg("--data-dir").arg(dir.join("data"));
                } else {
                    command.arg("--memory-only");
                }
                command.arg("--config").arg(&config);
                // As many messages in flight as the other brokers are configured for.
                let limits = "[limits]\ninflight_v3 = 256\n".to_owned();
                if has_rules {
                    let file = dir.join("permissions");
                    fs::write(&file, RULES).map_err(|error| format!("{}: {error}", file.display()))?;
                    format!("{limits}[permissions]\nfile = {file:?}\n")
                } else {
                    limits
                }
            }
            Self::FlashMq => {
                command.arg("--config-file").arg(&config);
                flashmq(port, &dir)
            }
            Self::Mosquitto => {
                command.arg("-c").arg(&config);
                mosquitto(port, &dir, scenario.durable)
            }
            Self::Nats => {
                command.arg("-c").arg(&config);
                nats(port, free_port()?, &dir)
            }
            Self::Rumqttd => {
                command.arg("-c").arg(dir.join("config.toml")).arg("-q");
                rumqttd(port, scenario.version)
            }
            Self::Aedes => {
                // The program is a script that starts Node.js, which runs the broker on one thread.
                command.arg(port.to_string());
                String::new()
            }
        };
        let written = fs::write(&config, &text).and_then(|()| fs::write(dir.join("config.toml"), &text));
        written.map_err(|error| format!("{}: {error}", config.display()))?;
        let log = fs::File::create(dir.join("log")).map_err(|error| error.to_string())?;
        let error_log = log.try_clone().map_err(|error| error.to_string())?;
        let child = command.current_dir(&dir).stdin(Stdio::null()).stdout(log).stderr(error_log).spawn();
        let child = child.map_err(|error| format!("cannot start {}: {error}", program.display()))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let target = Target { address, process: Process(child.id()), is_relay: self == Self::Relay };
        let mut running = Running { child, dir, target };
        running.wait_until_it_listens()?;
        Ok(running)
    }
}

/// Ten rules about publishing and ten about subscribing. Those that allow what the scenarios do come last.
const RULES: &str = r#"
[anonymous]
rules = [
  { deny = "publish", filter = ["admin/#", "+/config"] },
  { allow = "publish", filter = ["own/%c/#", "state/+/on", "sensors/#", "log/%c", "plant/#", "hall/#", "line/#", "bench/#"] },
  { allow = "subscribe", filter = ["own/%c/#", "commands/%c/#", "state/#", "log/#", "news/+", "sensors/#", "plant/#", "hall/#"] },
  { allow = "subscribe", filter = ["bench/#", "+/+/+/+"] },
]
"#;

/// The process of a broker, which is killed when this value is dropped.
pub struct Running {
    child: Child,
    dir: PathBuf,
    pub target: Target,
}

impl Running {
    fn wait_until_it_listens(&mut self) -> Result<(), String> {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(10) {
            if let Ok(Some(status)) = self.child.try_wait() {
                let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
                return Err(format!("ended with {status}: {}", log.trim()));
            }
            if TcpStream::connect(self.target.address).is_ok() {
                std::thread::sleep(Duration::from_millis(100));
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err("does not listen".into())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
    listener.local_addr().map(|address| address.port()).map_err(|error| error.to_string())
}

fn mosquitto(port: u16, dir: &Path, durable: bool) -> String {
    let persistence = if durable {
        // As often as Mosquitto can: it writes its snapshot once a second, and not before each acknowledgement.
        format!("persistence true\npersistence_location {}/\nautosave_interval 1\n", dir.display())
    } else {
        "persistence false\n".into()
    };
    format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nmax_queued_messages 0\n\
         max_inflight_messages 256\nlog_type error\nuser root\n{persistence}"
    )
}

fn flashmq(port: u16, dir: &Path) -> String {
    format!(
        "allow_anonymous true\nthread_count 1\nlog_level error\nstorage_dir {}\n\
         listen {{\n protocol mqtt\n port {port}\n inet4_bind_address 127.0.0.1\n inet_protocol ip4\n tcp_nodelay true\n}}\n",
        dir.display()
    )
}

fn nats(port: u16, client_port: u16, dir: &Path) -> String {
    format!(
        "server_name: bench\nlisten: \"127.0.0.1:{client_port}\"\nmax_connections: 70000\n\
         jetstream {{ store_dir: \"{}\" }}\nmqtt {{ host: \"127.0.0.1\", port: {port} }}\n",
        dir.display()
    )
}

fn rumqttd(port: u16, version: Version) -> String {
    let table = match version {
        Version::V3_1_1 => "v4",
        Version::V5 => "v5",
    };
    format!(
        "id = 0\n[router]\nid = 0\nmax_connections = 20010\nmax_outgoing_packet_count = 200\n\
         max_segment_size = 104857600\nmax_segment_count = 10\n\
         [{table}.1]\nname = \"bench\"\nlisten = \"127.0.0.1:{port}\"\nnext_connection_delay_ms = 0\n\
         [{table}.1.connections]\nconnection_timeout_ms = 60000\nmax_payload_size = 1048576\nmax_inflight_count = 256\n\
         dynamic_filters = true\n"
    )
}
