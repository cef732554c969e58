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
    runtime: tokio::runtime::Runtime,
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
    fn change(&mut self, rules: &str) {
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
    fn client_id(&self, name: &str, shard: u16) -> String {
        let shard = shard.min(self.shards - 1);
        let is_home = |id: &String| Shard::home_of(id.as_bytes(), self.shards) == shard;
        (0..).map(|number| format!("{name}{number}")).find(is_home).unwrap()
    }

    fn client(&self, user: Option<&str>, client_id: &str) -> Client {
        self.client_with(Connect { user_name: user, ..connect_packet(client_id) }).0
    }

    /// A client of a Session that outlives its connection; whether it was there.
    fn lasting(&self, user: Option<&str>, client_id: &str, window: u16) -> (Client, bool) {
        let lasts = [Property::SessionExpiryInterval(600), Property::ReceiveMaximum(window)];
        let properties = Properties::new(&lasts);
        self.client_with(Connect { user_name: user, clean_start: false, properties, ..connect_packet(client_id) })
    }

    fn client_with(&self, connect: Connect<'_>) -> (Client, bool) {
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

    fn denied(&self, action: &str, reason: &str) -> f64 {
        let name = format!("goldcrest_denied_total{{action=\"{action}\",reason=\"{reason}\"}}");
        crate::operations::metric(&self.gateway, &name)
    }

    fn stop(self) {
        self.runtime.block_on(self.gateway.shut_down());
    }
}

fn each(rules: &str, test: impl Fn(Ruled)) {
    for shards in [1, 3] {
        test(Ruled::start(shards, rules, |_| {}));
    }
}

impl Client {
    /// Publishes, and returns the Reason Code of PUBACK or PUBREC.
    fn publish(&mut self, topic: &str, qos: QoS) -> ReasonCode {
        self.send(Packet::Publish(message(topic, b"x", qos)));
        self.receive(|packet| match packet {
            Packet::PubAck(ack) | Packet::PubRec(ack) => ack.code,
            other => panic!("an acknowledgement was expected, not {other:?}"),
        })
    }

    fn retain(&mut self, topic: &str) {
        self.send(Packet::Publish(Publish { retain: true, ..message(topic, b"x", QoS::AtLeastOnce) }));
        self.receive(|packet| assert!(matches!(packet, Packet::PubAck(ack) if !ack.code.is_error())));
    }

    /// Subscribes with QoS 2, and returns the Reason Code of SUBACK. Retained messages may follow.
    fn try_subscribe(&mut self, filter: &str) -> ReasonCode {
        let filters = [(filter, SubscriptionOptions::with_qos(QoS::ExactlyOnce))];
        let (properties, filters) = (Properties::EMPTY, Filters::new(&filters));
        self.send(Packet::Subscribe(Subscribe { packet_id: PacketId::MIN, properties, filters }));
        self.receive(|packet| match packet {
            Packet::SubAck(ack) => ack.codes.into_iter().next().unwrap(),
            other => panic!("SUBACK was expected, not {other:?}"),
        })
    }

    /// The topics of all messages up to the answer to a PINGREQ, which are acknowledged.
    fn topics(&mut self) -> Vec<String> {
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

    fn expect_not_authorized(&mut self) {
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

/// What the user s may read, before and after a permission is taken away.
fn reading(deny: bool) -> String {
    let denial = if deny { "{ deny = \"subscribe\", filter = \"a/secret/#\" }," } else { "" };
    format!(
        "subscribe = \"overlap\"\n\
         [user.s]\nrules = [{denial} {{ allow = \"subscribe\", filter = \"a/#\" }}]\n\
         [user.p]\nrules = [{{ allow = \"publish\", filter = \"#\" }}]\n"
    )
}

#[test]
fn a_revoked_permission_holds_for_messages_queued_and_in_flight() {
    for stays_connected in [false, true] {
        each(&reading(false), |mut ruled| {
            let (id, other) = (ruled.client_id("s", 0), ruled.client_id("p", 2));
            let (mut s, _) = ruled.lasting(Some("s"), &id, 1);
            assert_eq!(s.try_subscribe("a/+/+"), ReasonCode::GrantedQoS2);
            assert_eq!(s.try_subscribe("a/open"), ReasonCode::GrantedQoS2);
            let mut p = ruled.client(Some("p"), &other);
            for topic in ["a/secret/flying", "a/secret/queued", "a/open"] {
                assert_eq!(p.publish(topic, QoS::AtLeastOnce), ReasonCode::Success);
            }
            let number = s.receive(|packet| match packet {
                Packet::Publish(publish) => publish.packet_id.unwrap(),
                other => panic!("{other:?}"),
            });
            if stays_connected {
                ruled.change(&reading(true));
                s.acknowledge(AckKind::PubAck, number);
            } else {
                drop(s);
                ruled.change(&reading(true));
                let (again, is_present) = ruled.lasting(Some("s"), &id, 10);
                assert!(is_present);
                s = again;
            }
            assert_eq!(s.topics(), ["a/open"]);
            assert!(ruled.denied("receive", "rule") > 0.0);
            ruled.stop();
        });
    }
}

/// After PUBREC the client has the message, and only the handshake is left. Before, it is not sent again.
#[test]
fn a_revoked_permission_holds_for_half_done_messages_of_qos_2() {
    each(&reading(false), |mut ruled| {
        let (id, other) = (ruled.client_id("s", 0), ruled.client_id("p", 2));
        let (mut s, _) = ruled.lasting(Some("s"), &id, 10);
        assert_eq!(s.try_subscribe("a/#"), ReasonCode::GrantedQoS2);
        let mut p = ruled.client(Some("p"), &other);
        for topic in ["a/secret/received", "a/secret/sent", "a/open"] {
            assert_eq!(p.publish(topic, QoS::ExactlyOnce), ReasonCode::Success);
            p.acknowledge(AckKind::PubRel, PacketId::MIN);
            p.receive(|packet| assert!(matches!(packet, Packet::PubComp(_))));
        }
        let mut number = || {
            s.receive(|packet| match packet {
                Packet::Publish(publish) => publish.packet_id.unwrap(),
                other => panic!("{other:?}"),
            })
        };
        let numbers = [number(), number(), number()];
        s.acknowledge(AckKind::PubRec, numbers[0]);
        s.receive(|packet| assert!(matches!(packet, Packet::PubRel(_))));
        drop(s);
        ruled.change(&reading(true));
        let (mut s, is_present) = ruled.lasting(Some("s"), &id, 10);
        assert!(is_present);
        s.receive(|packet| assert!(matches!(packet, Packet::PubRel(ack) if ack.packet_id == numbers[0]), "{packet:?}"));
        s.acknowledge(AckKind::PubComp, numbers[0]);
        assert_eq!(s.topics(), ["a/open"]);
        ruled.stop();
    });
}

#[test]
fn a_revoked_permission_holds_for_retained_messages() {
    each(&reading(false), |mut ruled| {
        let mut p = ruled.client(Some("p"), "p");
        for topic in ["a/secret/kept", "a/open", "a/secret/more", "a/x"] {
            p.retain(topic);
        }
        let mut s = ruled.client(Some("s"), "s");
        assert_eq!(s.try_subscribe("a/#"), ReasonCode::GrantedQoS2);
        assert_eq!(s.topics().len(), 4);
        ruled.change(&reading(true));
        assert_eq!(s.try_subscribe("a/#"), ReasonCode::GrantedQoS2);
        let mut topics = s.topics();
        topics.sort();
        assert_eq!(topics, ["a/open", "a/x"]);
        ruled.stop();
    });
}

#[test]
fn a_revoked_permission_holds_for_the_queue_of_a_shared_subscription() {
    each(&reading(false), |mut ruled| {
        let (ids, other) = ([ruled.client_id("s", 0), ruled.client_id("t", 2)], ruled.client_id("p", 1));
        for id in &ids {
            let (mut s, _) = ruled.lasting(Some("s"), id, 10);
            assert_eq!(s.try_subscribe("$share/g/a/#"), ReasonCode::GrantedQoS2);
        }
        // Both members are away.
        let until = Instant::now() + Duration::from_secs(10);
        while ruled.runtime.block_on(ruled.gateway.counters()).unwrap().connected > 0 {
            assert!(Instant::now() < until);
        }
        let mut p = ruled.client(Some("p"), &other);
        for topic in ["a/secret/1", "a/1", "a/secret/2", "a/2"] {
            assert_eq!(p.publish(topic, QoS::AtLeastOnce), ReasonCode::Success);
        }
        ruled.change(&reading(true));
        let mut topics: Vec<String> = Vec::new();
        for id in &ids {
            topics.extend(ruled.lasting(Some("s"), id, 10).0.topics());
        }
        topics.sort();
        assert_eq!(topics, ["a/1", "a/2"]);
        ruled.stop();
    });
}

#[test]
fn subscriptions_that_are_not_permitted_any_more_end_and_their_clients_are_told() {
    let rules = |filters: &str| {
        format!(
            "[user.s]\nrules = [{{ allow = \"subscribe\", filter = [{filters}] }}]\n\
             [user.p]\nrules = [{{ allow = \"publish\", filter = \"#\" }}]\n"
        )
    };
    each(&rules("\"a/#\", \"b/#\""), |mut ruled| {
        let ids = [ruled.client_id("s", 0), ruled.client_id("t", 2)];
        let mut clients: Vec<Client> = Vec::new();
        for (id, version) in ids.iter().zip([Version::V5, Version::V3_1_1]) {
            let lasts = [Property::SessionExpiryInterval(600)];
            let properties = if version.is_v5() { Properties::new(&lasts) } else { Properties::EMPTY };
            let connect =
                Connect { version, user_name: Some("s"), clean_start: false, properties, ..connect_packet(id) };
            let mut client = ruled.client_with(connect).0;
            for filter in ["a/x", "b/x", "$share/g/a/x"] {
                assert_eq!(client.try_subscribe(filter), ReasonCode::GrantedQoS2);
            }
            clients.push(client);
        }
        let mut unharmed = ruled.client(Some("s"), "unharmed");
        assert_eq!(unharmed.try_subscribe("b/x"), ReasonCode::GrantedQoS2);
        ruled.change(&rules("\"b/#\""));
        let mut clients = clients.into_iter();
        clients.next().unwrap().expect_not_authorized();
        clients.next().unwrap().expect_end();
        let mut p = ruled.client(Some("p"), "p");
        for topic in ["a/x", "b/x"] {
            p.publish(topic, QoS::AtLeastOnce);
        }
        assert_eq!(unharmed.topics(), ["b/x"]);
        for id in &ids {
            let (mut client, is_present) = ruled.lasting(Some("s"), id, 10);
            assert!(is_present);
            assert_eq!(client.topics(), ["b/x"], "the other subscription is left");
        }
        ruled.stop();
    });
}

/// Each message is sent under some rules, and may be delivered only if rules that held between its PUBLISH and its delivery allow that.
#[test]
fn rules_that_change_a_hundred_times_under_load_lose_nothing_and_let_nothing_slip() {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    const CHANGES: u32 = 100;
    let rules = |change: u32| {
        let both = format!("filter = [\"always/#\", \"only/{change}\"]");
        format!(
            "subscribe = \"overlap\"\n[user.s]\nrules = [{{ allow = \"subscribe\", {both} }}]\n\
             [user.p]\nrules = [{{ allow = \"publish\", {both} }}]\n"
        )
    };
    each(&rules(0), |mut ruled| {
        let (asked, holds, ends) = (AtomicU32::new(0), AtomicU32::new(0), AtomicBool::new(false));
        let mut s = ruled.client(Some("s"), &ruled.client_id("s", 0));
        let mut p = ruled.client(Some("p"), &ruled.client_id("p", 2));
        for filter in ["always/+", "only/+"] {
            assert_eq!(s.try_subscribe(filter), ReasonCode::GrantedQoS2);
        }
        std::thread::scope(|scope| {
            let publisher = scope.spawn(|| {
                let mut sent = 0_u32;
                while !ends.load(Ordering::SeqCst) {
                    let before = holds.load(Ordering::SeqCst);
                    let number = before + sent % 3;
                    let payload = before.to_le_bytes();
                    for topic in [format!("always/{sent}"), format!("only/{number}")] {
                        p.send(Packet::Publish(message(&topic, &payload, QoS::AtLeastOnce)));
                        let code = p.receive(|packet| match packet {
                            Packet::PubAck(ack) => ack.code,
                            other => panic!("{other:?}"),
                        });
                        let after = asked.load(Ordering::SeqCst);
                        let is_denied = code == ReasonCode::NotAuthorized;
                        if topic.starts_with("always") {
                            assert_eq!(code, ReasonCode::Success);
                        } else if !is_denied {
                            assert!(
                                (before..=after).contains(&number),
                                "{topic} was accepted from {before} to {after}"
                            );
                        } else {
                            assert!((before, after) != (number, number), "{topic} was refused");
                        }
                    }
                    sent += 1;
                }
                p.send(Packet::Publish(message("always/end", b"\0\0\0\0", QoS::AtLeastOnce)));
                sent
            });
            let subscriber = scope.spawn(|| {
                let (mut always, mut only) = (0_u32, 0_u32);
                loop {
                    let (topic, before, id) = s.receive(|packet| match packet {
                        Packet::Publish(publish) => {
                            let before = u32::from_le_bytes(publish.payload.try_into().unwrap());
                            (publish.topic.to_owned(), before, publish.packet_id.unwrap())
                        }
                        other => panic!("{other:?}"),
                    });
                    s.acknowledge(AckKind::PubAck, id);
                    if topic == "always/end" {
                        return (always, only);
                    }
                    match topic.strip_prefix("only/") {
                        Some(number) => {
                            let after = asked.load(Ordering::SeqCst);
                            assert!((before..=after).contains(&number.parse().unwrap()), "{topic}: {before}, {after}");
                            only += 1;
                        }
                        None => {
                            assert_eq!(topic, format!("always/{always}"), "in order, none lost, none twice");
                            always += 1;
                        }
                    }
                }
            });
            for change in 1..=CHANGES {
                asked.store(change, Ordering::SeqCst);
                ruled.change(&rules(change));
                holds.store(change, Ordering::SeqCst);
                // Some messages are sent while the rules are settled.
                std::thread::sleep(Duration::from_millis(2));
            }
            ends.store(true, Ordering::SeqCst);
            let sent = publisher.join().unwrap();
            let (always, only) = subscriber.join().unwrap();
            assert_eq!(always, sent);
            assert!(sent > CHANGES && only > CHANGES / 2, "{sent} and {only} messages are no load");
        });
        ruled.stop();
    });
}
