//! Dynamic security over TCP: administrators change users, groups and roles while clients are connected, with one shard and with several.

use crate::support::folder::Folder;
use crate::support::{Client, connect_as, local, message, runtime};
use goldcrest::{Config, Gateway, StartError};
use goldcrest_core::codec::{
    Filters, Packet, PacketId, Properties, Publish, QoS, ReasonCode, Subscribe, SubscriptionOptions,
};
use serde_json::{Value, json};
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

const REQUEST: &str = "$CONTROL/dynamic-security/v1";
const RESPONSE: &str = "$CONTROL/dynamic-security/v1/response";

/// A gateway with dynamic security, in a folder of its own.
struct Secured {
    gateway: Gateway,
    config: Config,
    folder: Folder,
}

impl Secured {
    fn start(shards: u16) -> Self {
        let folder = Folder::made("security");
        let mut config = Config { shards, ..local() };
        config.dynamic_security = Some(folder.path().join("security.json"));
        config.listeners[0].allow_anonymous = Some(false);
        Self { gateway: Gateway::start(&config).unwrap(), config, folder }
    }

    /// The same after a stop and a start.
    fn again(self) -> Self {
        let Self { gateway, config, folder } = self;
        runtime().block_on(gateway.shut_down());
        Self { gateway: Gateway::start(&config).unwrap(), config, folder }
    }

    fn address(&self) -> SocketAddr {
        self.gateway.addresses()[0]
    }

    fn file(&self) -> PathBuf {
        self.config.dynamic_security.clone().unwrap()
    }

    /// The administrator that the gateway has made, with answers awaited.
    fn admin(&self) -> Admin {
        let line = fs::read_to_string(self.folder.path().join("security.json.pw")).unwrap();
        let (user, password) = line.trim_end().split_once(' ').unwrap();
        let (mut client, code) = connect_as(self.address(), "admin", Some(user), Some(password));
        assert_eq!(code, ReasonCode::Success);
        client.subscribe(RESPONSE, QoS::AtLeastOnce);
        Admin(client)
    }

    fn code(&self, id: &str, user: &str, password: &str) -> ReasonCode {
        connect_as(self.address(), id, Some(user), Some(password)).1
    }

    fn client(&self, user: &str) -> Client {
        let (client, code) = connect_as(self.address(), user, Some(user), Some("secret"));
        assert_eq!(code, ReasonCode::Success);
        client
    }
}

/// Publishes with QoS 1. Returns the Reason Code of the PUBACK.
fn publish(client: &mut Client, topic: &str, payload: &[u8]) -> ReasonCode {
    client.send(Packet::Publish(message(topic, payload, QoS::AtLeastOnce)));
    client.receive(|packet| match packet {
        Packet::PubAck(ack) => ack.code,
        other => panic!("PUBACK was expected, not {other:?}"),
    })
}

/// Subscribes with QoS 0. Returns the Reason Code of the SUBACK.
fn subscribe(client: &mut Client, filter: &str) -> ReasonCode {
    let filters = [(filter, SubscriptionOptions::with_qos(QoS::AtMostOnce))];
    let (properties, filters) = (Properties::EMPTY, Filters::new(&filters));
    client.send(Packet::Subscribe(Subscribe { packet_id: PacketId::MIN, properties, filters }));
    client.receive(|packet| match packet {
        Packet::SubAck(ack) => ack.codes.into_iter().next().unwrap(),
        other => panic!("SUBACK was expected, not {other:?}"),
    })
}

struct Admin(Client);

impl Admin {
    /// Sends a request, and returns the answer. PUBACK and answer may come in either order.
    fn ask_bytes(&mut self, request: &[u8]) -> Value {
        self.0.send(Packet::Publish(message(REQUEST, request, QoS::AtLeastOnce)));
        let (mut answer, mut is_acknowledged) = (None, false);
        while answer.is_none() || !is_acknowledged {
            self.0.receive(|packet| match packet {
                Packet::PubAck(ack) => {
                    assert!(!ack.code.is_error(), "{:?}", ack.code);
                    is_acknowledged = true;
                }
                Packet::Publish(publish) => {
                    assert_eq!((publish.topic, publish.retain), (RESPONSE, false));
                    answer = Some(serde_json::from_slice(publish.payload).unwrap());
                }
                other => panic!("{other:?} was not expected"),
            });
        }
        answer.unwrap()
    }

    fn ask(&mut self, commands: &[Value]) -> Vec<Value> {
        let answer = self.ask_bytes(json!({ "commands": commands }).to_string().as_bytes());
        answer["responses"].as_array().unwrap().clone()
    }

    /// Does one command, which succeeds. Returns its data.
    fn ok(&mut self, command: &str, mut fields: Value) -> Value {
        fields["command"] = json!(command);
        let response = self.ask(&[fields]).remove(0);
        assert_eq!(response["error"], Value::Null, "{command}");
        response["data"].clone()
    }
}

fn add_acl(kind: &str, topic: &str) -> Value {
    json!({"rolename": "r", "acltype": kind, "topic": topic, "allow": true})
}

const NOT_ALLOWED: ReasonCode = ReasonCode::NotAuthorized;
const NOBODY_ELSE: ReasonCode = ReasonCode::NoMatchingSubscribers;

/// Whether a PUBLISH was permitted, with or without somebody who receives it.
fn is_permitted(code: ReasonCode) -> bool {
    assert!([ReasonCode::Success, NOBODY_ELSE, NOT_ALLOWED].contains(&code), "{code:?}");
    code != NOT_ALLOWED
}

#[test]
fn what_an_administrator_changes_holds_when_the_answer_comes_and_after_a_restart() {
    for shards in [1, 3] {
        let secured = Secured::start(shards);
        let mut admin = secured.admin();
        assert_eq!(secured.code("ann", "ann", "secret"), ReasonCode::BadUserNameOrPassword);
        admin.ok("createRole", json!({"rolename": "r"}));
        admin.ok("createClient", json!({"username": "ann", "password": "secret", "roles": [{"rolename": "r"}]}));
        let mut ann = secured.client("ann");
        assert_eq!(publish(&mut ann, "a", b"m"), NOT_ALLOWED);
        assert_eq!(subscribe(&mut ann, "a"), NOT_ALLOWED);
        admin.ok("addRoleACL", add_acl("publishClientSend", "a/#"));
        assert!(is_permitted(publish(&mut ann, "a/b", b"m")), "it holds at once");
        assert!(ann.is_gone_within(Duration::from_secs(10)), "clients with other rights are closed");
        let mut ann = secured.client("ann");
        admin.ok("addRoleACL", add_acl("subscribePattern", "a/#"));
        assert_eq!(subscribe(&mut ann, "a/#"), ReasonCode::Success);
        drop(ann);
        admin.ok("setClientPassword", json!({"username": "ann", "password": "other"}));
        assert_eq!(secured.code("ann", "ann", "secret"), ReasonCode::BadUserNameOrPassword);
        assert_eq!(secured.code("ann", "ann", "other"), ReasonCode::Success);
        admin.ok("setClientPassword", json!({"username": "ann", "password": "secret"}));

        let secured = secured.again();
        let mut ann = secured.client("ann");
        assert!(is_permitted(publish(&mut ann, "a/b", b"m")));
        assert_eq!(publish(&mut ann, "b", b"m"), NOT_ALLOWED);
        let mut admin = secured.admin();
        admin.ok("disableClient", json!({"username": "ann"}));
        assert!(ann.is_gone_within(Duration::from_secs(10)));
        assert_eq!(secured.code("ann", "ann", "secret"), ReasonCode::BadUserNameOrPassword);
        admin.ok("enableClient", json!({"username": "ann"}));
        let mut ann = secured.client("ann");
        admin.ok("deleteClient", json!({"username": "ann"}));
        assert!(ann.is_gone_within(Duration::from_secs(10)));
        assert_eq!(secured.code("ann", "ann", "secret"), ReasonCode::BadUserNameOrPassword);
    }
}

#[test]
fn an_administrator_who_changes_its_own_password_gets_the_answer_before_it_is_closed() {
    let secured = Secured::start(2);
    for round in 0..3 {
        let mut admin = secured.admin();
        admin.ok("modifyClient", json!({"username": "admin", "textname": format!("round {round}")}));
        assert!(admin.0.is_gone_within(Duration::from_secs(10)));
    }
}

#[test]
fn a_client_identifier_of_a_user_is_the_only_one_it_may_have() {
    let secured = Secured::start(1);
    let mut admin = secured.admin();
    admin.ok("createClient", json!({"username": "ann", "password": "secret", "clientid": "own"}));
    assert_eq!(secured.code("own", "ann", "secret"), ReasonCode::Success);
    for other in ["ann", "Own", "own "] {
        assert_eq!(secured.code(other, "ann", "secret"), ReasonCode::BadUserNameOrPassword, "{other}");
    }
    // Credentials that were found right before are known at once, and don't help either.
    assert_eq!(secured.code("own", "ann", "secret"), ReasonCode::Success);
    assert_eq!(secured.code("ann", "ann", "secret"), ReasonCode::BadUserNameOrPassword);
    admin.ok("setClientId", json!({"username": "ann"}));
    assert_eq!(secured.code("ann", "ann", "secret"), ReasonCode::Success);
}

#[test]
fn requests_reach_the_gateway_alone_and_only_from_who_may_send_them() {
    for shards in [1, 3] {
        let secured = Secured::start(shards);
        let mut admin = secured.admin();
        admin.ok("createClient", json!({"username": "ann", "password": "secret", "roles": [{"rolename": "client"}]}));
        admin.ok(
            "setDefaultACLAccess",
            json!({"acls": [
            {"acltype": "publishClientSend", "allow": true}, {"acltype": "subscribe", "allow": true}]}),
        );
        let mut ann = secured.client("ann");
        assert_eq!(
            publish(&mut ann, REQUEST, br#"{"commands":[{"command":"deleteClient","username":"admin"}]}"#),
            NOT_ALLOWED
        );
        for filter in [REQUEST, RESPONSE, "$CONTROL/#", "$share/g/$CONTROL/#"] {
            assert_eq!(subscribe(&mut ann, filter), NOT_ALLOWED, "{filter}");
        }
        assert_eq!(subscribe(&mut ann, "#"), ReasonCode::Success);

        // Another administrator sees answers, and no requests, whose passwords are nobody's business.
        admin.ok(
            "createClient",
            json!({"username": "eve", "password": "secret", "roles": [{"rolename": "super-admin"}]}),
        );
        let mut eve = secured.client("eve");
        for filter in [REQUEST, "$CONTROL/#"] {
            assert_eq!(subscribe(&mut eve, filter), ReasonCode::Success, "{filter}");
        }
        admin.ok("setClientPassword", json!({"username": "ann", "password": "hidden"}));
        eve.receive(|packet| match packet {
            Packet::Publish(publish) => assert_eq!(publish.topic, RESPONSE),
            other => panic!("{other:?}"),
        });
        let retained = Publish { retain: true, ..message(REQUEST, b"{}", QoS::AtLeastOnce) };
        eve.send(Packet::Publish(retained));
        let code = eve.receive(|packet| match packet {
            Packet::PubAck(ack) => ack.code,
            other => panic!("{other:?}"),
        });
        assert_eq!(code, NOT_ALLOWED);
    }
}

#[test]
fn requests_that_make_no_sense_or_are_too_large_are_answered_with_an_error() {
    let secured = Secured::start(2);
    let mut admin = secured.admin();
    let mut error = |request: &[u8]| admin.ask_bytes(request)["responses"][0]["error"].as_str().unwrap().to_owned();
    assert_eq!(error(b"{"), "Payload not valid JSON");
    assert_eq!(error(b"\xff\xfe"), "Payload not valid JSON");
    assert_eq!(error(&[b'['; 1000]), "Payload not valid JSON");
    assert_eq!(error(b"{}"), "Invalid/missing commands");
    assert_eq!(error(&vec![b' '; 1 << 20]), "Request too long: it has at most 262144 bytes");
    let commands = vec![json!({"command": "listClients"}); 1000];
    let many = json!({ "commands": commands }).to_string();
    assert_eq!(error(many.as_bytes()), "Too many commands: a request has at most 256");
    assert_eq!(admin.ok("listClients", json!({}))["clients"], json!(["admin"]));
}

#[test]
fn a_change_that_cannot_be_saved_is_answered_with_an_error_and_changes_nothing() {
    let secured = Secured::start(2);
    let mut admin = secured.admin();
    let saved = fs::read(secured.file()).unwrap();
    // A folder that is not empty stands where the new file would be written first.
    let blocked = secured.folder.path().join(".security.json.new/x");
    fs::create_dir_all(&blocked).unwrap();
    let create = json!({"command": "createClient", "username": "ann", "password": "secret", "correlationData": "7"});
    let responses = admin.ask(&[create.clone(), json!({"command": "listClients"})]);
    assert_eq!(responses[0]["correlationData"], "7");
    for response in &responses {
        let error = response["error"].as_str().unwrap();
        assert!(error.starts_with("Nothing was changed: ") && response["data"] == Value::Null, "{response}");
    }
    assert_eq!(admin.ok("listClients", json!({}))["clients"], json!(["admin"]));
    assert_eq!(secured.code("ann", "ann", "secret"), ReasonCode::BadUserNameOrPassword);
    assert_eq!(fs::read(secured.file()).unwrap(), saved);
    fs::remove_dir_all(blocked.parent().unwrap()).unwrap();
    assert_eq!(admin.ask(&[create])[0]["error"], Value::Null);
    assert_eq!(secured.code("ann", "ann", "secret"), ReasonCode::Success);
}

#[test]
fn clients_without_a_name_get_what_the_anonymous_group_may() {
    let folder = Folder::made("security-anonymous");
    let mut config = local();
    config.dynamic_security = Some(folder.path().join("security.json"));
    let secured = Secured { gateway: Gateway::start(&config).unwrap(), config, folder };
    let mut nobody = Client::connect(secured.address(), "nobody");
    assert_eq!(publish(&mut nobody, "a", b"m"), NOT_ALLOWED);
    let mut admin = secured.admin();
    admin.ok("addGroupRole", json!({"groupname": "unauthenticated", "rolename": "client"}));
    assert!(nobody.is_gone_within(Duration::from_secs(10)));
    let mut nobody = Client::connect(secured.address(), "nobody");
    assert!(is_permitted(publish(&mut nobody, "a", b"m")));
    assert_eq!(publish(&mut nobody, REQUEST, b"{}"), NOT_ALLOWED);
}

#[test]
fn a_file_that_makes_no_sense_and_two_sources_of_users_or_rules_are_refused() {
    let folder = Folder::made("security-refused");
    let file = folder.path().join("security.json");
    fs::write(&file, r#"{"clients": [{"username": 7}]}"#).unwrap();
    let config = || Config { dynamic_security: Some(file.clone()), ..local() };
    let error = Gateway::start(&config()).unwrap_err();
    assert!(error.to_string().contains("security.json: clients[0].username: a text is needed"), "{error}");
    let mut twice = config();
    twice.authentication.password_file = Some(file.clone());
    assert!(matches!(Gateway::start(&twice), Err(StartError::UsersTwice)));
    let twice = Config { permissions: Some(goldcrest::PermissionSource::Toml(file.clone())), ..config() };
    assert!(matches!(Gateway::start(&twice), Err(StartError::PermissionsTwice)));
    let nowhere = Config { dynamic_security: Some(folder.path().join("no/security.json")), ..local() };
    assert!(matches!(Gateway::start(&nowhere), Err(StartError::Permissions(_))));
}
