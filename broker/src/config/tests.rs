use super::*;
use goldcrest_core::codec::QoS;
use goldcrest_core::{Overflow, ResendExpired, ShareStrategy};

fn read(text: &str) -> Result<Config, String> {
    Config::from_toml(Path::new("gateway.toml"), text).map_err(|error| error.to_string())
}

fn mistake(text: &str) -> String {
    read(text).expect_err("the configuration has a mistake")
}

#[test]
fn an_empty_configuration_file_gives_the_defaults() {
    let config = read("").unwrap();
    // Some programs take `localhost` for the IPv4 address, others for the IPv6 address.
    let loopbacks = ["127.0.0.1:1883", "[::1]:1883"];
    assert_eq!(config.listeners, loopbacks.map(|address| Listener::new(address.parse().unwrap())));
    assert_eq!(config.broker.limits, Limits::GATEWAY);
    // The value 0 means: as many shards as the store was made for.
    assert_eq!(config.shards, 0);
}

/// A file with every key. No value is the default.
const ALL_KEYS: &str = r#"
shards = 3
data_dir = "/var/lib/goldcrest"
memory_only = true
[memory]
max = "100MiB"
[log]
level = "info,goldcrest=debug"
[store]
sync = "interval"
interval_ms = 20
longest_downtime_days = 7
segment_bytes = "2MiB"
max_bytes = "1GiB"
body_bytes = 0
[[listener]]
address = "127.0.0.1:1884"
[[listener]]
address = "[::]:1883"
allow_anonymous = true
[authentication]
password_file = "/etc/goldcrest/passwords"
adopt_anonymous_sessions = true
ban_after = 20
ban_minutes = 60
[http]
listen = ["127.0.0.1:9883", "[::1]:0"]
host_names = ["broker.example"]
allow_anonymous = true
[sys]
interval_s = 60
[limits]
unfinished_connections = 5
packet_bytes = "2MiB"
receive_maximum = 20
topic_aliases_in = 1
topic_aliases_out = 2
inflight = 3
inflight_v3 = 30
queued_messages = 4
queued_bytes = 4096
durable_queued_messages = 40
durable_queued_bytes = 40960
durable_group_messages = 60
group_messages = 6
subscriptions = 7
topic_levels = 8
filter_cost = 26
properties = 9
retained_messages = 1_000
owed_replies = 11
[capacity]
connections = 21
sessions = 22
subscriptions = 23
topic_levels = 24
messages = 25
deliveries = 26
bytes = "2GiB"
[session]
connect_timeout_ms = 1000
keep_alive_max_s = 60
expiry_max_s = 3600
will_grace_s = 30
maximum_qos = 1
retain_available = false
allow_control_characters = true
no_matching_subscribers = false
resend_expired = "never"
response_information = "reply/here"
[permissions]
file = "/etc/goldcrest/permissions.toml"
denied_publish = "close"
[dynamic_security]
file = "/var/lib/goldcrest/dynamic-security.json"
[overflow]
default = "drop_oldest"
[[overflow.rule]]
filter = "alarm/#"
policy = "refuse"
[shared]
strategy = "sticky"
[[shared.rule]]
group = "workers"
strategy = "hash_topic"
"#;

#[test]
fn permissions_come_from_one_file() {
    let config = read(ALL_KEYS).unwrap();
    assert_eq!(config.permissions, Some(PermissionSource::Toml("/etc/goldcrest/permissions.toml".into())));
    assert!(config.broker.closes_denied_publishers);
    let security = config.dynamic_security.as_deref();
    assert_eq!(security, Some(std::path::Path::new("/var/lib/goldcrest/dynamic-security.json")));
    let config = read("[permissions]\nacl_file = \"acl\"").unwrap();
    assert_eq!(config.permissions, Some(PermissionSource::AclFile("acl".into())));
    assert!(!config.broker.closes_denied_publishers);
    assert_eq!(read("[permissions]\ndenied_publish = \"acknowledge\"").unwrap().permissions, None);
    let twice = mistake("[permissions]\nfile = \"a\"\nacl_file = \"b\"");
    assert!(twice.contains(":1: permissions: file and acl_file: the permissions come from one of them"), "{twice}");
}

#[test]
fn keys_of_the_gateway_and_its_store_set_their_fields() {
    let config = read(ALL_KEYS).unwrap();
    assert_eq!(config.shards, 3);
    assert_eq!(config.data_dir, Some(PathBuf::from("/var/lib/goldcrest")));
    assert!(config.memory_only);
    assert_eq!(config.memory_max, MemoryMax::Bytes(100 << 20));
    assert_eq!(config.log.as_deref(), Some("info,goldcrest=debug"));
    assert_eq!(
        config.store,
        StoreConfig {
            sync: Sync::Interval,
            interval_ms: 20,
            longest_downtime_days: 7,
            segment_bytes: 2 << 20,
            max_bytes: 1 << 30,
            body_bytes: 0,
        }
    );
}

#[test]
fn keys_of_listeners_http_and_sys_topics_set_their_fields() {
    let config = read(ALL_KEYS).unwrap();
    assert_eq!(config.listeners.len(), 2);
    assert_eq!(config.listeners[1].address.to_string(), "[::]:1883");
    assert_eq!((config.listeners[0].allow_anonymous, config.listeners[1].allow_anonymous), (None, Some(true)));
    assert_eq!(
        config.http.listen,
        ["127.0.0.1:9883", "[::1]:0"].map(|address| address.parse::<ListenAddress>().unwrap())
    );
    let passwords = config.authentication.password_file.as_deref();
    assert!(passwords == Some(Path::new("/etc/goldcrest/passwords")) && config.authentication.adopt_anonymous_sessions);
    assert_eq!(config.authentication.bans, BanLimits { failures: 20, minutes: 60 });
    assert!(config.http.allow_anonymous);
    assert_eq!(config.http.host_names, ["broker.example"]);
    assert_eq!(config.sys_interval_s, 60);
}

#[test]
fn keys_of_limits_and_capacity_set_their_fields() {
    let config = read(ALL_KEYS).unwrap();
    assert_eq!(config.unfinished_connections, 5);
    assert_eq!(
        config.capacity,
        CapacityLimits {
            connections: Some(21),
            sessions: Some(22),
            subscriptions: Some(23),
            topic_levels: Some(24),
            messages: Some(25),
            deliveries: Some(26),
            bytes: Some(2 << 30),
        }
    );
    let broker = &config.broker;
    assert_eq!(
        broker.limits,
        Limits::GATEWAY.with(|limits| {
            limits.packet_bytes = 2 * 1024 * 1024;
            limits.receive_maximum = 20;
            limits.topic_aliases_in = 1;
            limits.topic_aliases_out = 2;
            limits.inflight = 3;
            limits.inflight_v3 = 30;
            limits.queued_messages = 4;
            limits.queued_bytes = 4096;
            limits.durable_queued_messages = 40;
            limits.durable_queued_bytes = 40_960;
            limits.durable_group_messages = 60;
            limits.group_messages = 6;
            limits.subscriptions = 7;
            limits.topic_levels = 8;
            limits.filter_cost = 26;
            limits.properties = 9;
            limits.retained_messages = 1000;
            limits.owed_replies = 11;
        })
    );
}

#[test]
fn keys_of_sessions_overflow_and_shared_subscriptions_set_their_fields() {
    let config = read(ALL_KEYS).unwrap();
    let broker = &config.broker;
    assert_eq!((broker.connect_timeout_ms, broker.keep_alive_max, broker.session_expiry_max), (1000, 60, 3600));
    assert_eq!(broker.will_grace_secs, 30);
    assert_eq!((broker.maximum_qos, broker.retain_available), (QoS::AtLeastOnce, false));
    assert!(broker.allow_control_characters);
    assert_eq!(broker.response_information.as_deref(), Some("reply/here"));
    assert!(!broker.no_matching_subscribers);
    assert_eq!(broker.resend_expired, ResendExpired::Never);
    assert_eq!(broker.overflow, Overflow::DropOldest);
    assert_eq!(broker.overflow_rules.len(), 1);
    assert_eq!(broker.overflow_rules[0].filter().as_str(), "alarm/#");
    assert_eq!(broker.overflow_rules[0].policy(), Overflow::Refuse);
    assert_eq!(broker.share_strategy, ShareStrategy::Sticky);
    assert_eq!((&*broker.share_rules[0].group, broker.share_rules[0].strategy), ("workers", ShareStrategy::HashTopic));
}

#[test]
fn the_error_for_an_unknown_key_names_file_line_key_and_allowed_keys() {
    assert_eq!(
        mistake("shards = 1\n\n[overflow]\ndefualt = \"refuse\"\n"),
        "gateway.toml:4: overflow.defualt: unknown key; allowed here: default, rule; did you mean default?"
    );
    assert!(
        mistake("[limit]\n").starts_with(
            "gateway.toml:1: limit: unknown key; allowed here: shards, data_dir, memory_only, memory, log"
        )
    );
    assert_eq!(
        mistake("[[listener]]\naddress = \"127.0.0.1:1\"\n[[listener]]\naddress = \"127.0.0.1:2\"\ntls = true"),
        "gateway.toml:5: listener.tls: unknown key; allowed here: address, allow_anonymous, authentication, user_name_from, transport, certificate, key, client_ca, \
         client_certificate, crl, crl_depth, min_version, record_bytes, origins, proxy_protocol, socket_mode, socket_group, alpn, \
         max_connections, max_connections_per_address, handshakes_per_address, mount"
    );
}

/// The crate toml gives the keys to serde in alphabetical order.
#[test]
fn the_error_for_several_unknown_keys_names_the_first_in_the_file() {
    assert!(mistake("zeal = 1\nalpha = 2").starts_with("gateway.toml:1: zeal: unknown key"));
    // In this file the header [limits] is missing.
    let mistake = mistake("[sys]\ninterval_s = 5\npacket_bytes = 2048\ninflight = 1");
    assert_eq!(mistake, "gateway.toml:3: sys.packet_bytes: unknown key; allowed here: interval_s");
}

#[test]
fn the_error_for_a_wrong_value_says_what_is_allowed() {
    assert_eq!(
        mistake("[memory]\nmax = \"8MiB\""),
        format!("gateway.toml:2: memory.max: \"8MiB\" is not allowed; allowed: {}", MemoryMax::ALLOWED)
    );
    assert_eq!(
        mistake("[limits]\nreceive_maximum = 65536"),
        "gateway.toml:2: limits.receive_maximum: 65536 is not allowed; allowed: an integer from 1 to 65535"
    );
    assert_eq!(
        mistake("[limits]\ninflight = \"many\""),
        "gateway.toml:2: limits.inflight: \"many\" is not allowed; allowed: an integer from 1 to 65535"
    );
    assert_eq!(
        mistake("shards = 0"),
        "gateway.toml:1: shards: 0 is not allowed; allowed: an integer from 1 to 256, or \"auto\""
    );
    assert_eq!(
        mistake("[overflow]\ndefault = \"drop\""),
        "gateway.toml:2: overflow.default: \"drop\" is not allowed; \
         allowed: one of \"drop_newest\", \"drop_oldest\", \"keep_latest\", \"refuse\""
    );
    assert!(mistake("[[listener]]\naddress = \"localhost\"").starts_with(
        "gateway.toml:2: listener.address: \"localhost\" is not allowed; allowed: an IP address and a port up to 65535, like \"127.0.0.1:1883\" or"
    ));
    assert!(mistake("[limits]\npacket_bytes = \"1TB\"").contains("bytes from 1024 to 268435460"));
    assert!(mistake("[limits]\npacket_bytes = \"5GiB\"").contains("bytes from 1024 to 268435460"));
    assert!(mistake("limits = 3").contains("gateway.toml:1: limits: 3 is not allowed; allowed: a table: [limits]"));
    assert!(mistake("listener = 3").contains("allowed: a list of tables: [[listener]]"));
    assert_eq!(
        mistake("[http]\nlisten = [\"127.0.0.1:1\",\n \"here\"]"),
        "gateway.toml:3: http.listen: \"here\" is not allowed; \
         allowed: a list of IP addresses and ports up to 65535, like [\"127.0.0.1:9883\"]; \"localhost:9883\" or \"9883\" are the \
         loopback addresses of this machine"
    );
    assert!(mistake("http.listen = \"127.0.0.1:1\"").contains("a list of IP addresses"));
    assert!(mistake("listener = [3]").contains("gateway.toml:1: listener: 3 is not allowed"));
    assert!(mistake("[[overflow.rule]]\nfilter = \"a/#/b\"\npolicy = \"refuse\"").contains("a Topic Filter"));
    assert!(mistake("[log]\nlevel = \"loud\"").contains("off, error, warn, info, debug or trace"));
}

#[test]
fn the_errors_for_a_missing_key_and_for_broken_toml_name_the_line() {
    // The line of a missing key is the line of its table.
    assert_eq!(
        mistake("\n[[listener]]\nallow_anonymous = true"),
        "gateway.toml:2: listener.address: missing; this table needs it"
    );
    assert_eq!(
        mistake("[overflow]\nrule = [\n {filter = \"a\", policy = \"refuse\"},\n {filter = \"b\"}]"),
        "gateway.toml:4: overflow.rule.policy: missing; this table needs it"
    );
    assert!(mistake("shards = 1\nshards = = 2").starts_with("gateway.toml:2: "));
    // If a required key is mistyped, the error names the mistyped key, and does not say that the required one is missing.
    let mistyped = mistake("[[listener]]\nadress = \"127.0.0.1:1883\"");
    assert!(
        mistyped.starts_with("gateway.toml:2: listener.adress: unknown key; allowed here: address, "),
        "{mistyped}"
    );
}

#[test]
fn the_error_for_a_mistyped_key_suggests_a_similar_key() {
    for (text, suggested) in [
        ("shard = 1", "shards"),
        ("[limit]", "limits"),
        ("[limits]\nqueue_messages = 1", "queued_messages"),
        ("session = { will_grace = 1 }", "will_grace_s"),
        ("limits.infligth = 1", "inflight"),
        ("[[overflow.rule]]\npolcy = \"refuse\"", "policy"),
        ("[[listener]]\nadress = \"1883\"", "address"),
    ] {
        let mistake = mistake(text);
        assert!(mistake.ends_with(&format!("; did you mean {suggested}?")), "{mistake}");
    }
    for text in ["nonsense = 1", "[limits]\nnonsense = 1", "\"\" = 1", "[capacity]\n\"`\" = 1"] {
        let mistake = mistake(text);
        assert!(mistake.contains(": unknown key; allowed here: ") && !mistake.contains("did you mean"), "{mistake}");
    }
}

#[test]
fn the_error_for_a_value_of_the_wrong_type_shows_the_value_as_written() {
    for (text, told) in [
        ("shards = 1.5", "1: shards: 1.5 is not allowed; allowed: an integer from 1 to 256, or \"auto\""),
        ("[shards]", "1: shards: [shards] is not allowed; allowed: an integer from 1 to 256, or \"auto\""),
        ("data_dir = 3", "1: data_dir: 3 is not allowed; allowed: a path"),
        ("memory_only = \"yes\"", "1: memory_only: \"yes\" is not allowed; allowed: true or false"),
        ("[store]\nsync = 1979-05-27", "2: store.sync: 1979-05-27 is not allowed; allowed: one of \"always\""),
        ("store.sync = { always = 1 }", "1: store.sync: { always = 1 } is not allowed; allowed: one of \"always\""),
        ("[store]\nmax_bytes = \"4 XB\"", "2: store.max_bytes: \"4 XB\" is not allowed; allowed: bytes from 67108864"),
        ("[store]\nmax_bytes = -1", "2: store.max_bytes: -1 is not allowed; allowed: bytes from 67108864"),
        (
            "limits.inflight = 0x10000",
            "1: limits.inflight: 0x10000 is not allowed; allowed: an integer from 1 to 65535",
        ),
        (
            "limits.inflight = 99999999999999999999",
            "1: limits.inflight: 99999999999999999999 is not allowed; allowed: ",
        ),
        ("limits.inflight = [1,\n 2]", "1: limits.inflight: [1, is not allowed; allowed: an integer from 1 to 65535"),
        // Without a check serde would take the items of the list for the values of the keys.
        ("sys = [1]", "1: sys: [1] is not allowed; allowed: a table: [sys]"),
        ("listener = [[\"1883\"]]", "1: listener: [\"1883\"] is not allowed; allowed: a list of tables: [[listener]]"),
        ("http = []", "1: http: [] is not allowed; allowed: a table: [http]"),
        (
            "http.host_names = [\"a\", \"a:1\"]",
            "1: http.host_names: \"a:1\" is not allowed; allowed: a list of host names",
        ),
        ("session.maximum_qos = 3", "1: session.maximum_qos: 3 is not allowed; allowed: an integer from 0 to 2"),
        ("[overflow]\nrule = 1", "2: overflow.rule: 1 is not allowed; allowed: a list of tables: [[overflow.rule]]"),
        ("[[shared.rule]]\ngroup = \"a/b\"", "2: shared.rule.group: \"a/b\" is not allowed; allowed: a ShareName"),
    ] {
        let mistake = mistake(text);
        assert!(mistake.starts_with(&format!("gateway.toml:{told}")), "{mistake}");
    }
}

#[test]
fn sizes_may_have_a_unit_and_integers_any_base() {
    let bytes = |value: &str| read(&format!("[store]\nmax_bytes = {value}")).unwrap().store.max_bytes;
    for value in
        ["\"64 MiB\"", "\"64MiB\"", "\"65536KiB\"", "\"67108864 B\"", "\"67108864\"", "67_108_864", "0x400_0000"]
    {
        assert_eq!(bytes(value), 64 << 20, "{value}");
    }
}

/// The parser's own message speaks of quoted strings.
#[test]
fn a_key_without_a_value_is_reported_as_such() {
    for text in [
        "[limits]\ninflight =",
        "[limits]\ninflight = \n",
        "[limits]\r\ninflight =\r\n",
        "[limits]\ninflight = # 5\nx = 1",
    ] {
        assert_eq!(mistake(text), "gateway.toml:2: limits.inflight: a value is missing after =", "{text:?}");
    }
    assert_eq!(mistake("limits = { inflight = }"), "gateway.toml:1: limits: a value is missing after =");
    assert!(mistake("data_dir = \"\"").contains("data_dir: \"\" is not allowed; allowed: a path"));
}

#[test]
fn the_error_for_a_missing_file_names_the_file() {
    let error = Config::from_file(Path::new("/does/not/exist.toml")).unwrap_err().to_string();
    assert!(error.starts_with("/does/not/exist.toml: No such file"), "{error}");
}

#[test]
fn only_loopback_listeners_are_open_by_default() {
    let open = |address: &str| Config::default().is_open_by_mistake(&Listener::new(address.parse().unwrap()));
    assert!(
        !open("127.0.0.1:1883") && !open("127.1.2.3:1883") && !open("[::1]:1883") && !open("[::ffff:127.0.0.1]:1883")
    );
    assert!(open("0.0.0.0:1883") && open("[::]:1883") && open("192.168.0.1:1883"));
}

#[test]
fn one_address_in_the_file_may_stand_for_ipv4_and_ipv6() {
    for (address, first, second) in [
        ("localhost:1883", "127.0.0.1:1883", "[::1]:1883"),
        ("1883", "127.0.0.1:1883", "[::1]:1883"),
        (":1883", "0.0.0.0:1883", "[::]:1883"),
        ("*:1883", "0.0.0.0:1883", "[::]:1883"),
    ] {
        let config = read(&format!("[http]\nlisten = [\"{address}\"]\n[[listener]]\naddress = \"{address}\"")).unwrap();
        let listeners: Vec<_> = config.listeners.iter().map(|listener| listener.address.to_string()).collect();
        assert_eq!(listeners, [first, second], "{address}");
        assert_eq!(config.http.listen.iter().map(ToString::to_string).collect::<Vec<_>>(), [first, second]);
    }
    assert!(mistake("[[listener]]\naddress = 1883").contains("1883 is not allowed; allowed: an IP address"));
}

#[test]
fn the_number_of_shards_may_follow_the_cores() {
    assert_eq!(read("shards = \"auto\"").unwrap().shards, shards_for_cores());
    let shards = [0, 1, 2, 3, 4, 257, 258, usize::MAX].map(shards_for);
    assert_eq!(shards, [1, 1, 1, 2, 3, MAX_SHARDS, MAX_SHARDS, MAX_SHARDS]);
    assert!(
        mistake("shards = \"all\"").contains("\"all\" is not allowed; allowed: an integer from 1 to 256, or \"auto\"")
    );
}

/// Without a listener nobody could connect, though the gateway would say that clients may publish.
#[test]
fn an_empty_list_of_listeners_is_refused() {
    let mistake = mistake("shards = 1\nlistener = []");
    assert!(mistake.starts_with("gateway.toml:2: listener: [] is not allowed; allowed: "), "{mistake}");
}

#[test]
fn a_syntax_error_is_reported_with_the_key_at_which_parsing_stopped() {
    for (text, begins) in [
        ("shards = ", "gateway.toml:1: shards: "),
        ("[overflow]\ndefault = drop\n", "gateway.toml:2: overflow.default: "),
        ("[limits]\n# of all\ninflight = 1 2\n", "gateway.toml:3: limits.inflight: "),
        ("[log]\nlevel = \"info\n[limits]\n", "gateway.toml:2: log.level: "),
        ("[[listener]]\naddress \"127.0.0.1:1\"\n", "gateway.toml:2: listener"),
        ("shards = 1\nshards = 2\n", "gateway.toml:2: shards: "),
        ("[limits\ninflight = 1\n", "gateway.toml:1: limits: "),
        ("[http]\nlisten = [\n \"127.0.0.1:1\"\n \"127.0.0.1:2\"]\n", "gateway.toml:4: http.listen: "),
        ("=", "gateway.toml:1: "),
    ] {
        let mistake = mistake(text);
        assert!(mistake.starts_with(begins) && !mistake.contains('\n'), "{text:?}: {mistake}");
    }
}

/// A queue in the store may be longer than one in memory, unless the configuration sets the length of queues.
#[test]
fn queues_in_the_store_are_longer_than_in_memory_by_default() {
    let limits = |text: &str| {
        let limits = read(text).unwrap().limits_with_store();
        let [messages, bytes] = [limits.durable_queued_messages, limits.durable_queued_bytes];
        (messages, bytes, limits.durable_group_messages)
    };
    assert_eq!(limits(""), (500_000, 1 << 30, 500_000));
    assert_eq!(limits("[limits]\nqueued_messages = 10000"), (500_000, 1 << 30, 500_000));
    assert_eq!(limits("[store]\nmax_bytes = \"64MiB\""), (500_000, 16 << 20, 500_000));
    assert_eq!(limits("[store]\nmax_bytes = \"64GiB\""), (500_000, u32::MAX, 500_000));
    assert_eq!(limits("[limits]\nqueued_messages = 9999"), (0, 0, 500_000));
    assert_eq!(limits("[limits]\nqueued_bytes = 9999\ngroup_messages = 1"), (0, 0, 0));
    assert_eq!(limits("[limits]\nqueued_messages = 9999\ndurable_queued_messages = 10000"), (10_000, 0, 500_000));
    assert_eq!(limits("[limits]\ndurable_queued_messages = 7\ndurable_queued_bytes = 10240"), (7, 10_240, 500_000));
    // With 0 all bodies stay in memory.
    assert_eq!(limits("[store]\nbody_bytes = 0"), (0, 0, 0));
}
