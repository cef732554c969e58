//! Who may do what, by the rules of a file: over TCP, with one shard and with several, before and after the file has changed.

use crate::support::{Client, connect_packet, local, message, runtime};
use goldcrest::access::{AccessRequest, Decision, Reply};
use goldcrest::{Access, Config, Gateway, HttpConfig, PermissionSource, StartError};
use goldcrest_core::codec::{
    AckKind, Connect, Filters, Packet, PacketId, Properties, Property, Publish, QoS, ReasonCode, Subscribe,
    SubscriptionOptions, Version, Will,
};
use goldcrest_core::{Principal, Shard};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// A gateway whose clients are who they say, and may do what a file says.
pub(crate) struct Ruled {
    pub(crate) gateway: Gateway,
    pub(crate) runtime: tokio::runtime::Runtime,
    pub(crate) file: RuleFile,
    shards: u16,
    /// How often the rules were changed.
    changes: u32,
}

/// A file that is removed when this value is dropped.
pub(crate) struct RuleFile(PathBuf);

impl RuleFile {
    fn new(name: &str, rules: &str) -> Self {
        let thread = std::thread::current().name().unwrap_or_default().replace("::", "-");
        let path = std::env::temp_dir().join(format!("goldcrest-{thread}-{}-{name}", std::process::id()));
        let file = Self(path);
        file.write(rules);
        file
    }

    /// Exchanges the file as a whole, as careful programs do.
    fn write(&self, rules: &str) {
        let new = self.0.with_extension("new");
        std::fs::write(&new, rules).unwrap();
        std::fs::rename(&new, &self.0).unwrap();
    }
}

impl Drop for RuleFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Everything that all tests allow besides: the probe finds out when rules are in force.
fn with_probe(rules: &str, change: u32) -> String {
    format!("{rules}\n[user.probe]\nrules = [{{ allow = \"publish\", filter = \"probe/{change}\" }}]\n")
}

impl Ruled {
    fn start(shards: u16, rules: &str, change: impl FnOnce(&mut Config)) -> Self {
        let file = RuleFile::new("permissions.toml", &with_probe(rules, 0));
        let http = HttpConfig { listen: vec!["127.0.0.1:0".parse().unwrap()], ..HttpConfig::default() };
        let mut config = Config { shards, http, ..local() };
        config.permissions = Some(PermissionSource::Toml(file.0.clone()));
        change(&mut config);
        let principals = Arc::new(OnceLock::<Arc<goldcrest::access::Principals>>::new());
        let known = principals.clone();
        let decide = move |request: AccessRequest, reply: Reply| {
            let user = request.connect.and_then(|connect| connect.user_name);
            let principal = user.map_or(Principal::ANONYMOUS, |user| known.get().unwrap().principal(&user).unwrap());
            reply.send(Decision::accept(principal));
        };
        let gateway = Gateway::start_with(&config, Access::new().decided_by(decide)).unwrap();
        principals.set(gateway.principals().clone()).unwrap();
        Self { gateway, runtime: runtime(), file, shards, changes: 0 }
    }

    /// Makes other rules hold, and waits until they hold on all shards.
    pub(crate) fn change(&mut self, rules: &str) {
        self.changes += 1;
        self.file.write(&with_probe(rules, self.changes));
        self.gateway.reload_files();
        // The last shard is told of new rules last.
        let id = self.client_id("probe", self.shards - 1);
        let topic = format!("probe/{}", self.changes);
        let until = Instant::now() + Duration::from_secs(20);
        let mut probe = self.client(Some("probe"), &id);
        while probe.publish(&topic, QoS::AtLeastOnce) == ReasonCode::NotAuthorized {
            assert!(Instant::now() < until, "the rules don't change");
            std::thread::sleep(Duration::from_millis(1));
        }
        self.runtime.block_on(self.gateway.counters()).unwrap();
    }

    /// A Client Identifier whose home is this shard, or the last one if there are fewer.
    pub(crate) fn client_id(&self, name: &str, shard: u16) -> String {
        let shard = shard.min(self.shards - 1);
        let is_home = |id: &String| Shard::home_of(id.as_bytes(), self.shards) == shard;
        (0..).map(|number| format!("{name}{number}")).find(is_home).unwrap()
    }

    pub(crate) fn client(&self, user: Option<&str>, client_id: &str) -> Client {
        self.client_with(Connect { user_name: user, ..connect_packet(client_id) }).0
    }

    /// A client of a Session that outlives its connection; whether it was there.
    pub(crate) fn lasting(&self, user: Option<&str>, client_id: &str, window: u16) -> (Client, bool) {
        let lasts = [Property::SessionExpiryInterval(600), Property::ReceiveMaximum(window)];
        let properties = Properties::new(&lasts);
        self.client_with(Connect { user_name: user, clean_start: false, properties, ..connect_packet(client_id) })
    }

    pub(crate) fn client_with(&self, connect: Connect<'_>) -> (Client, bool) {
        let mut client = Client::open(self.gateway.addresses()[0]);
        client.speaks(connect.version);
        client.send(Packet::Connect(connect));
        let present = client.receive_connack(|ack| {
            assert_eq!(ack.code, ReasonCode::Success);
            ack.session_present
        });
        (client, present)
    }

    fn get(&self, path: &str) -> String {
        crate::operations::get(&self.gateway, path).1
    }

    pub(crate) fn denied(&self, action: &str, reason: &str) -> f64 {
        let name = format!("goldcrest_denied_total{{action=\"{action}\",reason=\"{reason}\"}}");
        crate::operations::metric(&self.gateway, &name)
    }

    pub(crate) fn stop(self) {
        self.runtime.block_on(self.gateway.shut_down());
    }
}

pub(crate) fn each(rules: &str, test: impl Fn(Ruled)) {
    for shards in [1, 3] {
        test(Ruled::start(shards, rules, |_| {}));
    }
}

impl Client {
    /// Publishes, and returns the Reason Code of PUBACK or PUBREC.
    pub(crate) fn publish(&mut self, topic: &str, qos: QoS) -> ReasonCode {
        self.send(Packet::Publish(message(topic, b"x", qos)));
        self.receive(|packet| match packet {
            Packet::PubAck(ack) | Packet::PubRec(ack) => ack.code,
            other => panic!("an acknowledgement was expected, not {other:?}"),
        })
    }

    pub(crate) fn retain(&mut self, topic: &str) {
        self.send(Packet::Publish(Publish { retain: true, ..message(topic, b"x", QoS::AtLeastOnce) }));
        self.receive(|packet| assert!(matches!(packet, Packet::PubAck(ack) if !ack.code.is_error())));
    }

    /// Subscribes with QoS 2, and returns the Reason Code of SUBACK. Retained messages may follow.
    pub(crate) fn try_subscribe(&mut self, filter: &str) -> ReasonCode {
        let filters = [(filter, SubscriptionOptions::with_qos(QoS::ExactlyOnce))];
        let (properties, filters) = (Properties::EMPTY, Filters::new(&filters));
        self.send(Packet::Subscribe(Subscribe { packet_id: PacketId::MIN, properties, filters }));
        self.receive(|packet| match packet {
            Packet::SubAck(ack) => ack.codes.into_iter().next().unwrap(),
            other => panic!("SUBACK was expected, not {other:?}"),
        })
    }

    /// The topics of all messages up to the answer to a PINGREQ, which are acknowledged.
    pub(crate) fn topics(&mut self) -> Vec<String> {
        let mut topics = Vec::new();
        // A message may be on its way from another shard.
        let until = Instant::now() + Duration::from_millis(300);
        while Instant::now() < until {
            self.send(Packet::PingReq);
            loop {
                let got = self.receive(|packet| match packet {
                    Packet::Publish(Publish { topic, qos: QoS::AtMostOnce, .. }) => {
                        Some((Some(topic.to_owned()), None))
                    }
                    Packet::Publish(publish) => {
                        let is_qos_1 = publish.qos == QoS::AtLeastOnce;
                        let answer = if is_qos_1 { AckKind::PubAck } else { AckKind::PubRec };
                        Some((Some(publish.topic.to_owned()), publish.packet_id.map(|id| (answer, id))))
                    }
                    Packet::PubRel(ack) => Some((None, Some((AckKind::PubComp, ack.packet_id)))),
                    Packet::PingResp => None,
                    other => panic!("{other:?}"),
                });
                let Some((topic, answer)) = got else { break };
                if let Some((kind, id)) = answer {
                    self.acknowledge(kind, id);
                }
                topics.extend(topic);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        topics
    }

    pub(crate) fn expect_not_authorized(&mut self) {
        self.receive(|packet| match packet {
            Packet::Disconnect(disconnect) => assert_eq!(disconnect.code, ReasonCode::NotAuthorized),
            other => panic!("DISCONNECT was expected, not {other:?}"),
        });
    }
}

const HOUSE: &str = r#"
[role.device]
rules = [
  { allow = "publish", filter = "house/%c/#" },
  { allow = "subscribe", filter = "commands/%c" },
]
[role.display]
rules = [
  { deny = "subscribe", filter = "house/+/secret" },
  { allow = "subscribe", filter = ["house/+/temperature", "house/+/light/#", "$SYS/broker/uptime"] },
]
[user.ann]
roles = ["display"]
[user.lamp]
roles = ["device"]
[anonymous]
rules = [{ allow = ["publish", "subscribe"], filter = "lobby/#" }]
"#;

#[test]
fn a_denied_publish_gets_not_authorized_and_reaches_nobody() {
    each(HOUSE, |ruled| {
        let mut display = ruled.client(Some("ann"), "display");
        assert_eq!(display.try_subscribe("house/+/temperature"), ReasonCode::GrantedQoS2);
        let mut lamp = ruled.client(Some("lamp"), "lamp1");
        for (topic, qos, code) in [
            ("house/lamp1/temperature", QoS::AtLeastOnce, ReasonCode::Success),
            ("house/lamp2/temperature", QoS::AtLeastOnce, ReasonCode::NotAuthorized),
            ("house/lamp2/temperature", QoS::ExactlyOnce, ReasonCode::NotAuthorized),
            ("commands/lamp1", QoS::AtLeastOnce, ReasonCode::NotAuthorized),
            ("lobby/x", QoS::AtLeastOnce, ReasonCode::NotAuthorized),
            ("$SYS/x", QoS::AtLeastOnce, ReasonCode::NotAuthorized),
        ] {
            assert_eq!(lamp.publish(topic, qos), code, "{topic}");
        }
        lamp.send(Packet::Publish(message("house/lamp2/temperature", b"x", QoS::AtMostOnce)));
        assert_eq!(display.topics(), ["house/lamp1/temperature"]);
        assert_eq!(display.publish("house/lamp1/temperature", QoS::AtLeastOnce), ReasonCode::NotAuthorized);
        assert_eq!(ruled.denied("publish", "no_rule"), 6.0);
        ruled.stop();
    });
}

#[test]
fn a_denied_subscription_gets_not_authorized_in_each_version() {
    each(HOUSE, |ruled| {
        for version in [Version::V3_1_1, Version::V5] {
            let denied = if version.is_v5() { ReasonCode::NotAuthorized } else { ReasonCode::UnspecifiedError };
            let connect = Connect { version, user_name: Some("ann"), ..connect_packet("display") };
            let mut display = ruled.client_with(connect).0;
            for filter in ["house/#", "house/+/secret", "#", "+/+/temperature", "lobby/x", "$SYS/#", "$share/g/house/#"]
            {
                assert_eq!(display.try_subscribe(filter), denied, "{filter}");
            }
            for filter in ["house/a/temperature", "house/+/light/#", "$share/g/house/a/light", "$SYS/broker/uptime"] {
                assert_eq!(display.try_subscribe(filter), ReasonCode::GrantedQoS2, "{filter}");
            }
        }
        assert_eq!(ruled.denied("subscribe", "rule") + ruled.denied("subscribe", "no_rule"), 14.0);
        ruled.stop();
    });
}

#[test]
fn clients_without_rules_may_do_nothing() {
    each(HOUSE, |ruled| {
        let mut stranger = ruled.client(Some("stranger"), "s");
        assert_eq!(stranger.publish("lobby/x", QoS::AtLeastOnce), ReasonCode::NotAuthorized);
        assert_eq!(stranger.try_subscribe("lobby/x"), ReasonCode::NotAuthorized);
        assert_eq!(ruled.denied("publish", "no_rules"), 1.0);
        let mut guest = ruled.client(None, "guest");
        assert_eq!(guest.try_subscribe("lobby/#"), ReasonCode::GrantedQoS2);
        assert_eq!(guest.try_subscribe("house/a/temperature"), ReasonCode::NotAuthorized);
        let within = ruled.runtime.block_on(async {
            let mut within = ruled.gateway.client("within").await.unwrap();
            within.publish("house/x", b"", QoS::AtLeastOnce, false).await
        });
        assert!(within.is_err(), "a client in the process without a name is anonymous, too: {within:?}");
        ruled.stop();
    });
}

/// [MQTT-3.3.5-2] of MQTT 3.1.1 allows both.
#[test]
fn a_denied_publisher_of_an_older_version_is_acknowledged_or_closed() {
    for closes in [false, true] {
        let ruled = Ruled::start(3, HOUSE, |config| config.broker.closes_denied_publishers = closes);
        let mut display = ruled.client(Some("ann"), "display");
        assert_eq!(display.try_subscribe("house/+/temperature"), ReasonCode::GrantedQoS2);
        for version in [Version::V3_1, Version::V3_1_1] {
            let lamp = || ruled.client_with(Connect { version, user_name: Some("lamp"), ..connect_packet("lamp1") }).0;
            for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
                let mut lamp = lamp();
                if closes {
                    lamp.send(Packet::Publish(message("house/lamp2/temperature", b"x", qos)));
                    lamp.expect_end();
                } else {
                    assert_eq!(lamp.publish("house/lamp2/temperature", qos), ReasonCode::Success);
                    if qos == QoS::ExactlyOnce {
                        lamp.acknowledge(AckKind::PubRel, PacketId::MIN);
                        lamp.receive(|packet| assert!(matches!(packet, Packet::PubComp(_)), "{packet:?}"));
                    }
                    assert_eq!(lamp.publish("house/lamp1/temperature", QoS::AtLeastOnce), ReasonCode::Success);
                }
            }
        }
        let expected = if closes { 0 } else { 4 };
        assert_eq!(display.topics().len(), expected);
        assert_eq!(ruled.denied("publish", "no_rule"), 4.0);
        ruled.stop();
    }
}

#[test]
fn a_will_is_checked_when_it_is_set_and_when_it_is_published() {
    each(HOUSE, |mut ruled| {
        let will = |topic| Will {
            properties: Properties::EMPTY,
            topic,
            payload: b"gone",
            qos: QoS::AtLeastOnce,
            retain: false,
        };
        let connect = |topic| Connect { user_name: Some("lamp"), will: Some(will(topic)), ..connect_packet("lamp1") };
        let mut lamp = Client::open(ruled.gateway.addresses()[0]);
        lamp.send(Packet::Connect(connect("house/lamp2/temperature")));
        lamp.receive_connack(|ack| assert_eq!(ack.code, ReasonCode::NotAuthorized));
        let mut display = ruled.client(Some("ann"), "display");
        assert_eq!(display.try_subscribe("house/+/temperature"), ReasonCode::GrantedQoS2);
        drop(ruled.client_with(connect("house/lamp1/temperature")));
        assert_eq!(display.topics(), ["house/lamp1/temperature"]);
        let lamp = ruled.client_with(connect("house/lamp1/temperature"));
        ruled.change(
            &HOUSE.replace("allow = \"publish\", filter = \"house/%c/#\"", "deny = \"publish\", filter = \"#\""),
        );
        drop(lamp);
        assert_eq!(display.topics(), [""; 0], "the permission was taken away meanwhile");
        ruled.stop();
    });
}

#[test]
fn a_gateway_does_not_start_without_its_permissions() {
    let start = |source| {
        let config = Config { permissions: Some(source), ..local() };
        match Gateway::start(&config) {
            Err(StartError::Permissions(error)) => error.to_string(),
            other => panic!("{other:?}"),
        }
    };
    let missing = PathBuf::from("/does/not/exist");
    for source in [PermissionSource::Toml(missing.clone()), PermissionSource::AclFile(missing)] {
        assert!(start(source).starts_with("/does/not/exist: No such file"));
    }
    let broken = RuleFile::new("broken", "[role.a]\nrule = []");
    let message = start(PermissionSource::Toml(broken.0.clone()));
    assert!(message.ends_with(":2: role.a.rule: unknown key; allowed here: rules; did you mean rules?"), "{message}");
    let message = start(PermissionSource::AclFile(broken.0.clone()));
    assert!(message.contains(":1: \"[role.a]\" is not allowed"), "{message}");
    let config = Config { permissions: Some(PermissionSource::Toml(broken.0.clone())), ..local() };
    let access = Access::new().authorized_by(&goldcrest_core::AllowAll);
    assert!(matches!(Gateway::start_with(&config, access), Err(StartError::PermissionsTwice)));
}

#[test]
fn an_empty_file_of_permissions_denies_everything() {
    let empty: [fn(PathBuf) -> PermissionSource; 2] = [PermissionSource::Toml, PermissionSource::AclFile];
    for source in empty {
        let file = RuleFile::new("empty", "# nothing\n");
        let config = Config { permissions: Some(source(file.0.clone())), ..local() };
        let gateway = Gateway::start(&config).unwrap();
        let mut client = Client::connect(gateway.addresses()[0], "c");
        assert_eq!(client.publish("a", QoS::AtLeastOnce), ReasonCode::NotAuthorized);
        assert_eq!(client.try_subscribe("a"), ReasonCode::NotAuthorized);
        runtime().block_on(gateway.shut_down());
    }
}

#[test]
fn a_file_that_becomes_unusable_leaves_the_old_rules_in_force_and_says_so() {
    each(HOUSE, |mut ruled| {
        let mut guest = ruled.client(None, "guest");
        for broken in ["[role", "[user.ann]\nroles = [\"displya\"]", "", "# all gone"] {
            ruled.file.write(broken);
            ruled.gateway.reload_files();
            let until = Instant::now() + Duration::from_secs(20);
            while !ruled.get("/ready").contains("permissions.toml") {
                assert!(Instant::now() < until, "{}", ruled.get("/ready"));
            }
            assert!(ruled.get("/ready").contains("the old ones stay in use"), "{}", ruled.get("/ready"));
            assert!(ruled.get("/metrics").contains("goldcrest_permissions_fault 1"));
            assert_eq!(guest.publish("lobby/x", QoS::AtLeastOnce), ReasonCode::NoMatchingSubscribers);
            assert_eq!(guest.publish("house/x", QoS::AtLeastOnce), ReasonCode::NotAuthorized);
            ruled.change(HOUSE);
            assert!(ruled.get("/metrics").contains("goldcrest_permissions_fault 0"));
        }
        std::fs::remove_file(path_of(&ruled)).unwrap();
        ruled.gateway.reload_files();
        let until = Instant::now() + Duration::from_secs(20);
        while !ruled.get("/ready").contains("No such file") {
            assert!(Instant::now() < until, "{}", ruled.get("/ready"));
        }
        assert_eq!(guest.publish("house/x", QoS::AtLeastOnce), ReasonCode::NotAuthorized);
        assert_eq!(guest.publish("lobby/x", QoS::AtLeastOnce), ReasonCode::NoMatchingSubscribers);
        ruled.stop();
    });
}

fn path_of(ruled: &Ruled) -> &Path {
    &ruled.file.0
}

/// A client can choose its identifier and its topics, so neither may break a line of the log, nor fill the log.
#[test]
fn what_was_denied_has_a_line_in_the_log_and_signals_change_the_rules() {
    use crate::connection_ends::Server;
    let file = RuleFile::new("p.toml", "[anonymous]\nrules = [{ deny = \"publish\", filter = \"secret/#\" }]\n");
    let config = RuleFile::new(
        "c.toml",
        &format!("[session]\nallow_control_characters = true\n[permissions]\nfile = {:?}\n", file.0),
    );
    let mut server = Server::start_with(&["--config", config.0.to_str().unwrap()]);
    let mut client = Client::connect(server.address, "a\nERROR faked");
    let address = client.stream.local_addr().unwrap().to_string();
    for _ in 0..100 {
        assert_eq!(client.publish("secret/\n\u{1b}[31m", QoS::AtLeastOnce), ReasonCode::NotAuthorized);
    }
    assert_eq!(client.try_subscribe("open/#"), ReasonCode::NotAuthorized);
    let lines = server.lines(&["denied to subscribe: open/#: no rule allows it", "a\\nERROR faked", &address]);
    assert_eq!(lines.len(), 1);
    let rule = "rule=rule 1 of anonymous";
    let lines = server.lines(&["denied to publish: secret/\\n\\u{1b}[31m: a rule denies it", rule, &address]);
    assert_eq!(lines.len(), 1, "one line for each client and rule");
    file.write("[anonymous]\nrules = [{ allow = [\"publish\", \"subscribe\"], filter = \"open/#\" }]\n");
    let signal = |server: &Server| {
        let pid = server.child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-s", "HUP", &pid]).status().unwrap().success());
    };
    signal(&server);
    server.lines(&["the permissions in", "were read anew"]);
    let until = Instant::now() + Duration::from_secs(20);
    while client.publish("open/x", QoS::AtLeastOnce) == ReasonCode::NotAuthorized {
        assert!(Instant::now() < until, "the rules don't change");
    }
    file.write("[anonymous]\nrules = [{ alow = \"publish\", filter = \"#\" }]\n");
    signal(&server);
    server.lines(&[
        "ERROR",
        "can't be read anew, and the old ones stay in use",
        ":2: anonymous.rules.alow: unknown key",
    ]);
    assert_eq!(client.publish("x", QoS::AtLeastOnce), ReasonCode::NotAuthorized);
    let _ = server.child.kill();
}

/// What brokers got wrong: who the client is, what it does, and what it gets. A message for it would be told by its topic.
#[test]
fn what_other_brokers_let_slip_is_denied() {
    const RULES: &str = r##"
[role.own]
rules = [
  { deny = ["publish", "subscribe"], filter = ["inbox/%u/keys", "inbox/%c/keys"] },
  { allow = ["publish", "subscribe"], filter = ["own/%u/#", "id/%c/#", "%u/x", "inbox/#"] },
]
[role.all]
rules = [
  { deny = "subscribe", filter = "secret/#" },
  { allow = ["publish", "subscribe"], filter = "#" },
]
[user.all]
roles = ["all"]
[other_users]
roles = ["own"]
"##;
    enum Does {
        Publishes,
        Subscribes,
        SetsWill,
    }
    use Does::{Publishes, SetsWill, Subscribes};
    let cases: &[(&str, &str, Does, &str, bool)] = &[
        ("ann", "c", Publishes, "own/ann/x", true),
        ("ann", "c", Subscribes, "own/ann/#", true),
        ("ann", "c", Subscribes, "own/+/#", false),
        // A name as a wildcard.
        ("+", "c", Subscribes, "own/+/#", false),
        ("+", "c", Subscribes, "own/bob/x", false),
        ("#", "c", Subscribes, "own/#", false),
        ("#", "c", Publishes, "own/bob/x", false),
        ("ann", "+", Subscribes, "id/+/#", false),
        ("ann", "#", Subscribes, "id/#", false),
        ("ann", "#", Publishes, "id/bob/x", false),
        // A name of several levels.
        ("ann/sub", "c", Publishes, "own/ann/sub/x", false),
        ("ann", "c/d", Subscribes, "id/c/d/#", false),
        ("/", "c", Subscribes, "own///#", false),
        // A denial for a name that can't stand in a level does not vanish.
        ("ann", "c", Publishes, "inbox/bob/keys", true),
        ("ann", "c", Publishes, "inbox/ann/keys", false),
        ("ann", "a/b", Publishes, "inbox/bob/keys", false),
        ("a+", "c", Subscribes, "inbox/bob/keys", false),
        // A name that begins with a dollar sign opens no topic of the server.
        ("$SYS", "c", Subscribes, "$SYS/x", false),
        ("$SYS", "c", Publishes, "$SYS/x", false),
        // Topics of the server and others that begin with a dollar sign.
        ("all", "c", Subscribes, "$SYS/#", false),
        ("all", "c", Subscribes, "$share/g/$SYS/#", false),
        ("all", "c", Subscribes, "$dlq/#", false),
        ("all", "c", Subscribes, "+/broker/uptime", false),
        ("all", "c", Publishes, "$dlq/x", false),
        ("all", "c", SetsWill, "$dlq/x", false),
        ("all", "c", SetsWill, "$SYS/x", false),
        ("all", "c", SetsWill, "any/x", true),
        // A shared subscription is one to the filter behind the group.
        ("all", "c", Subscribes, "secret/x", false),
        ("all", "c", Subscribes, "$share/g/secret/x", false),
        ("all", "c", Subscribes, "$share/g/secret/#", false),
        ("all", "c", Subscribes, "$share/secret/open", true),
        // What a grant would not deliver is not granted.
        ("all", "c", Subscribes, "#", false),
        ("all", "c", Subscribes, "+/x", false),
        ("all", "c", Subscribes, "open/#", true),
        ("all", "c", Subscribes, "open/+/x", true),
        ("all", "c", Publishes, "secret/x", true),
    ];
    let ruled = Ruled::start(3, RULES, |_| {});
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        for (user, client_id, does, topic, is_allowed) in cases {
            let connect = Connect { version, user_name: Some(user), ..connect_packet(client_id) };
            let story = format!("{version:?}: {user} as {client_id}, {topic}");
            if matches!(does, SetsWill) {
                let will =
                    Will { properties: Properties::EMPTY, topic, payload: b"", qos: QoS::AtMostOnce, retain: false };
                let mut client = Client::open(ruled.gateway.addresses()[0]);
                client.speaks(version);
                client.send(Packet::Connect(Connect { will: Some(will), ..connect }));
                client.receive_connack(|ack| assert_eq!(ack.code == ReasonCode::Success, *is_allowed, "{story}"));
                continue;
            }
            let mut client = ruled.client_with(connect).0;
            match does {
                Subscribes => {
                    let is_granted = !client.try_subscribe(topic).is_error();
                    assert_eq!(is_granted, *is_allowed, "{story}");
                }
                // Older versions are not told.
                _ if version.is_v5() => {
                    let code = client.publish(topic, QoS::AtLeastOnce);
                    assert_eq!(code != ReasonCode::NotAuthorized, *is_allowed, "{story}");
                }
                _ => {
                    let refused = || ruled.runtime.block_on(ruled.gateway.counters()).unwrap().publish_refused;
                    let before = refused();
                    client.publish(topic, QoS::AtLeastOnce);
                    assert_eq!(refused() == before, *is_allowed, "{story}");
                }
            }
        }
    }
    ruled.stop();
}
