//! Commands and their answers.

mod files;
mod rules;

use super::command::Effects;
use super::request::{MOST_COMMANDS, answer_request_with};
use super::security_document::SecurityDocument;
use super::stored_password::StoredPassword;
use serde_json::{Value, json};

/// A document, on which commands are tried. Hashes are cheap here, and tell the password.
#[derive(Default)]
struct Tried {
    document: SecurityDocument,
    effects: Effects,
}

fn cheap(password: &str) -> Result<StoredPassword, getrandom::Error> {
    Ok(StoredPassword::encoded(&format!("hash of {password}")))
}

impl Tried {
    fn ask(&mut self, request: &Value) -> Value {
        let (answer, effects) = answer_request_with(&mut self.document, request, &cheap);
        self.effects = effects;
        serde_json::from_slice(&answer.to_json()).unwrap()
    }

    /// Does one command, which succeeds. Returns its data.
    fn ok(&mut self, command: &str, fields: Value) -> Value {
        let response = self.respond(command, fields);
        assert!(response.get("error").is_none(), "{response}");
        response.get("data").cloned().unwrap_or(Value::Null)
    }

    /// Does one command, which fails and changes nothing. Returns the error.
    fn error(&mut self, command: &str, fields: Value) -> String {
        let before = self.document.clone();
        let response = self.respond(command, fields);
        assert!(self.document == before && self.effects == Effects::default(), "{command} changed something");
        response["error"].as_str().unwrap_or_else(|| panic!("{command} succeeded")).to_owned()
    }

    fn respond(&mut self, command: &str, mut fields: Value) -> Value {
        fields["command"] = json!(command);
        let answer = self.ask(&json!({"commands": [fields]}));
        assert_eq!(answer["responses"][0]["command"], command);
        answer["responses"][0].clone()
    }

    fn closed(&self) -> Vec<&str> {
        self.effects.closed.iter().map(String::as_str).collect()
    }
}

/// A document with the clients ann and bob, the groups staff and guests, and the roles reader and writer.
fn furnished() -> Tried {
    let mut tried = Tried::default();
    for role in ["reader", "writer"] {
        tried.ok("createRole", json!({"rolename": role}));
    }
    for group in ["staff", "guests"] {
        tried.ok("createGroup", json!({"groupname": group}));
    }
    for client in ["ann", "bob"] {
        tried.ok("createClient", json!({"username": client, "password": "secret"}));
    }
    tried
}

#[test]
fn a_request_is_answered_command_by_command_with_the_correlation_data() {
    let mut tried = Tried::default();
    let answer = tried.ask(&json!({"commands": [
        {"command": "createRole", "rolename": "r", "correlationData": "1"},
        {"command": "createRole", "rolename": "r", "correlationData": "2"},
        {"command": "LISTROLES"},
        {"command": "dance"},
    ]}));
    let expected = json!({"responses": [
        {"command": "createRole", "correlationData": "1"},
        {"command": "createRole", "correlationData": "2", "error": "Role already exists"},
        {"command": "LISTROLES", "data": {"totalCount": 1, "roles": ["r"]}},
        {"command": "dance", "error": "Unknown command"},
    ]});
    assert_eq!(answer, expected);
    assert!(tried.effects.has_changed);
}

#[test]
fn requests_that_make_no_sense_are_answered_with_an_error() {
    let mut tried = Tried::default();
    let nameless = |error: &str| json!({"responses": [{"command": "Unknown command", "error": error}]});
    for request in [json!({}), json!([]), json!(7), json!({"commands": {}})] {
        assert_eq!(tried.ask(&request), nameless("Invalid/missing commands"));
    }
    assert_eq!(tried.ask(&json!({"commands": [7]})), nameless("Command not an object"));
    assert_eq!(tried.ask(&json!({"commands": [{"command": 7}]})), nameless("Missing command"));
    let create = json!({"command": "createRole", "rolename": "r", "correlationData": 7});
    let answer = tried.ask(&json!({"commands": [create, {"command": "listRoles"}]}));
    let response = json!({"command": "createRole", "error": "Invalid correlationData data type."});
    assert_eq!(answer, json!({"responses": [response]}));
    assert!(!tried.effects.has_changed);
}

#[test]
fn a_request_with_too_many_commands_is_refused_as_a_whole() {
    let mut tried = Tried::default();
    let create = |number: usize| json!({"command": "createRole", "rolename": format!("r{number}")});
    let commands = |count| json!({"commands": (0..count).map(create).collect::<Vec<_>>()});
    let answer = tried.ask(&commands(MOST_COMMANDS + 1));
    assert_eq!(answer["responses"][0]["error"], "Too many commands: a request has at most 256");
    assert_eq!(tried.ok("listRoles", json!({}))["totalCount"], 0);
    tried.ask(&commands(MOST_COMMANDS));
    assert_eq!(tried.ok("listRoles", json!({}))["totalCount"], 256);
}

#[test]
fn clients_are_made_changed_and_deleted() {
    let mut tried = furnished();
    tried.ok(
        "createClient",
        json!({
            "username": "eve", "password": "secret", "clientid": "e1", "textname": "Eve", "textdescription": "a sensor",
            "roles": [{"rolename": "reader"}, {"rolename": "writer", "priority": 5}],
            "groups": [{"groupname": "staff"}, {"groupname": "guests", "priority": 2}],
        }),
    );
    assert!(tried.effects.closed.is_empty());
    let client = tried.ok("getClient", json!({"username": "eve"}));
    let expected = json!({"client": {
        "username": "eve", "clientid": "e1", "textname": "Eve", "textdescription": "a sensor",
        "roles": [{"rolename": "writer", "priority": 5}, {"rolename": "reader"}],
        "groups": [{"groupname": "guests", "priority": 2}, {"groupname": "staff"}],
    }});
    assert_eq!(client, expected);
    let listed = tried.ok("listClients", json!({"verbose": true, "offset": 2}));
    assert_eq!(listed, json!({"totalCount": 3, "clients": [expected["client"]]}));
    let change =
        json!({"username": "eve", "textname": "E", "clientid": "", "groups": [], "roles": [{"rolename": "reader"}]});
    tried.ok("modifyClient", change);
    assert_eq!(tried.closed(), ["eve"]);
    let client = tried.ok("getClient", json!({"username": "eve"}));
    let expected = json!({"client": {
        "username": "eve", "textname": "E", "textdescription": "a sensor", "roles": [{"rolename": "reader"}], "groups": [],
    }});
    assert_eq!(client, expected);
    tried.ok("addGroupClient", json!({"username": "eve", "groupname": "staff"}));
    tried.ok("deleteClient", json!({"username": "eve"}));
    assert_eq!(tried.closed(), ["eve"]);
    assert_eq!(tried.ok("getGroup", json!({"groupname": "staff"}))["group"]["clients"], json!([]));
    assert_eq!(tried.error("getClient", json!({"username": "eve"})), "Client not found");
}

#[test]
fn a_client_gets_another_password_another_identifier_and_is_disabled_and_enabled() {
    let mut tried = furnished();
    let hash = |tried: &Tried| tried.document.clients["ann"].password.as_ref().unwrap().as_str().to_owned();
    tried.ok("setClientPassword", json!({"username": "ann", "password": "other"}));
    assert_eq!((&*hash(&tried), tried.closed()), ("hash of other", vec!["ann"]));
    tried.ok("modifyClient", json!({"username": "ann", "password": "third"}));
    assert_eq!(hash(&tried), "hash of third");
    tried.ok("modifyClient", json!({"username": "ann", "password": ""}));
    assert_eq!(hash(&tried), "hash of third");
    tried.ok("setClientId", json!({"username": "ann", "clientid": "a1"}));
    assert_eq!(tried.closed(), ["ann"]);
    assert_eq!(tried.ok("getClient", json!({"username": "ann"}))["client"]["clientid"], "a1");
    tried.ok("setClientId", json!({"username": "ann"}));
    assert_eq!(tried.ok("getClient", json!({"username": "ann"}))["client"]["clientid"], Value::Null);
    tried.ok("disableClient", json!({"username": "ann"}));
    assert_eq!(tried.closed(), ["ann"]);
    assert_eq!(tried.ok("getClient", json!({"username": "ann"}))["client"]["disabled"], true);
    tried.ok("enableClient", json!({"username": "ann"}));
    assert!(tried.closed().is_empty());
    assert_eq!(tried.ok("getClient", json!({"username": "ann"}))["client"]["disabled"], Value::Null);
}

#[test]
fn commands_about_clients_that_fail_say_why_as_mosquitto_does() {
    let mut tried = furnished();
    for command in [
        "createClient",
        "deleteClient",
        "getClient",
        "modifyClient",
        "setClientPassword",
        "setClientId",
        "addClientRole",
        "removeClientRole",
        "enableClient",
        "disableClient",
        "addGroupClient",
        "removeGroupClient",
    ] {
        assert_eq!(tried.error(command, json!({})), "Invalid/missing username", "{command}");
        let name = json!({"username": "nobody", "password": "x", "rolename": "reader", "groupname": "staff"});
        if command != "createClient" {
            assert_eq!(tried.error(command, name), "Client not found", "{command}");
        }
    }
    for (fields, expected) in [
        (json!({"username": "ann"}), "Client already exists"),
        (json!({"username": ""}), "Empty username"),
        (json!({"username": "a\u{1}"}), "Username not valid UTF-8"),
        (json!({"username": "x".repeat(257)}), "Username too long: it has at most 256 bytes"),
        (json!({"username": "eve", "password": 7}), "Invalid/missing password"),
        (json!({"username": "eve", "clientid": 7}), "Invalid/missing client id"),
        (json!({"username": "eve", "clientid": "\u{1}"}), "Client ID not valid UTF-8"),
        (json!({"username": "eve", "textname": 7}), "Invalid/missing textname"),
        (json!({"username": "eve", "textdescription": 7}), "Invalid/missing textdescription"),
        (json!({"username": "eve", "roles": [{"rolename": "no"}]}), "Role not found"),
        (json!({"username": "eve", "roles": 7}), "'roles' not an array or missing/invalid rolename"),
        (json!({"username": "eve", "roles": [{}]}), "'roles' not an array or missing/invalid rolename"),
        (json!({"username": "eve", "groups": [{"groupname": "no"}]}), "Group not found"),
    ] {
        assert_eq!(tried.error("createClient", fields), expected);
    }
}

#[test]
fn changes_of_clients_that_fail_say_why_as_mosquitto_does() {
    let mut tried = furnished();
    for (fields, expected) in [
        (json!({"roles": [{"rolename": "no"}]}), "Role not found"),
        (
            json!({"groups": [{"groupname": "no"}]}),
            "'groups' contains an object with a 'groupname' that does not exist",
        ),
        (json!({"groups": [{"groupname": 7}]}), "'groups' contains an object with an invalid 'groupname'"),
    ] {
        let mut fields = fields;
        fields["username"] = json!("ann");
        assert_eq!(tried.error("modifyClient", fields), expected);
    }
    let password = |password: Value| json!({"username": "ann", "password": password});
    assert_eq!(tried.error("setClientPassword", password(json!(""))), "Empty password is not allowed");
    assert_eq!(tried.error("setClientPassword", password(json!(7))), "Invalid/missing password");
    assert_eq!(tried.error("setClientId", json!({"username": "ann", "clientid": 7})), "Invalid/missing client ID");
    for command in ["addClientRole", "removeClientRole"] {
        assert_eq!(tried.error(command, json!({"username": "ann"})), "Invalid/missing rolename");
        assert_eq!(tried.error(command, json!({"username": "ann", "rolename": "no"})), "Role not found");
    }
    let reader = json!({"username": "ann", "rolename": "reader"});
    tried.ok("addClientRole", reader.clone());
    assert_eq!(tried.error("addClientRole", reader), "Internal error");
}

#[test]
fn groups_have_members_and_roles() {
    let mut tried = furnished();
    tried.ok("addGroupClient", json!({"groupname": "staff", "username": "ann", "priority": 3}));
    assert_eq!(tried.closed(), ["ann"]);
    tried.ok("addGroupRole", json!({"groupname": "staff", "rolename": "reader", "priority": 200_000}));
    assert_eq!(tried.closed(), ["ann"]);
    let group = tried.ok("getGroup", json!({"groupname": "staff"}));
    let expected = json!({"group": {
        "groupname": "staff", "clients": [{"username": "ann", "priority": 3}],
        "roles": [{"rolename": "reader", "priority": 100_000}],
    }});
    assert_eq!(group, expected);
    assert_eq!(tried.ok("listGroups", json!({"verbose": true}))["groups"][1], expected["group"]);
    assert_eq!(tried.ok("listGroups", json!({})), json!({"totalCount": 2, "groups": ["guests", "staff"]}));
    tried.ok("modifyGroup", json!({"groupname": "staff", "clients": [{"username": "bob"}], "textname": "Staff"}));
    assert_eq!(tried.closed(), ["ann", "bob"], "the members before and after");
    tried.ok("removeGroupRole", json!({"groupname": "staff", "rolename": "reader"}));
    assert_eq!(tried.closed(), ["bob"]);
    tried.ok("removeGroupClient", json!({"groupname": "staff", "username": "bob"}));
    assert_eq!(tried.closed(), ["bob"]);
    let expected = json!({"group": {"groupname": "staff", "textname": "Staff", "clients": [], "roles": []}});
    assert_eq!(tried.ok("getGroup", json!({"groupname": "staff"})), expected);
    tried.ok("deleteGroup", json!({"groupname": "staff"}));
    assert_eq!(tried.ok("listGroups", json!({}))["groups"], json!(["guests"]));
}

#[test]
fn the_anonymous_group_can_be_set_and_not_deleted() {
    let mut tried = furnished();
    assert_eq!(tried.ok("getAnonymousGroup", json!({})), json!({"group": {"groupname": ""}}));
    tried.ok("setAnonymousGroup", json!({"groupname": "guests"}));
    assert!(tried.effects.closes_anonymous && tried.closed().is_empty());
    assert_eq!(tried.ok("getAnonymousGroup", json!({})), json!({"group": {"groupname": "guests"}}));
    assert_eq!(tried.error("deleteGroup", json!({"groupname": "guests"})), "Deleting the anonymous group is forbidden");
    tried.ok("addGroupRole", json!({"groupname": "guests", "rolename": "reader"}));
    assert!(tried.effects.closes_anonymous);
    tried.ok("addRoleACL", json!({"rolename": "reader", "acltype": "subscribePattern", "topic": "a"}));
    assert!(tried.effects.closes_anonymous);
    tried.ok("addGroupRole", json!({"groupname": "staff", "rolename": "reader"}));
    assert!(!tried.effects.closes_anonymous);
}

#[test]
fn commands_about_groups_that_fail_say_why_as_mosquitto_does() {
    let mut tried = furnished();
    for command in ["createGroup", "deleteGroup", "getGroup", "modifyGroup", "addGroupRole", "setAnonymousGroup"] {
        assert_eq!(tried.error(command, json!({})), "Invalid/missing groupname", "{command}");
        assert_eq!(tried.error(command, json!({"groupname": "\u{1}"})), "Group name not valid UTF-8", "{command}");
        if command != "createGroup" {
            let fields = json!({"groupname": "no", "rolename": "reader"});
            assert_eq!(tried.error(command, fields), "Group not found", "{command}");
        }
    }
    assert_eq!(tried.error("createGroup", json!({"groupname": ""})), "Empty groupname");
    assert_eq!(tried.error("createGroup", json!({"groupname": "staff"})), "Group already exists");
    let role = json!({"groupname": "new", "roles": [{"rolename": "no"}]});
    assert_eq!(tried.error("createGroup", role), "Role not found");
    let no_client = json!({"groupname": "staff", "clients": [{"username": "no"}]});
    assert_eq!(
        tried.error("modifyGroup", no_client),
        "'clients' contains an object with a 'username' that does not exist"
    );
    assert_eq!(
        tried.error("modifyGroup", json!({"groupname": "staff", "clients": [{}]})),
        "'clients' contains an object with an invalid 'username'"
    );
    for command in ["addGroupRole", "removeGroupRole"] {
        assert_eq!(tried.error(command, json!({"groupname": "staff"})), "Invalid/missing rolename");
        assert_eq!(tried.error(command, json!({"groupname": "staff", "rolename": "no"})), "Role not found");
    }
    for command in ["addGroupClient", "removeGroupClient"] {
        assert_eq!(tried.error(command, json!({"username": "ann"})), "Invalid/missing groupname");
        assert_eq!(tried.error(command, json!({"username": "ann", "groupname": "no"})), "Group not found");
    }
    tried.ok("addGroupRole", json!({"groupname": "staff", "rolename": "reader"}));
    let again = json!({"groupname": "staff", "rolename": "reader"});
    assert_eq!(tried.error("addGroupRole", again), "Group is already in this role");
    tried.ok("addGroupClient", json!({"groupname": "staff", "username": "ann"}));
    let again = json!({"groupname": "staff", "username": "ann"});
    assert_eq!(tried.error("addGroupClient", again), "Client is already in this group");
}

#[test]
fn roles_have_acls_sorted_by_kind_and_priority() {
    let mut tried = furnished();
    tried.ok("addClientRole", json!({"username": "ann", "rolename": "reader"}));
    tried.ok("addGroupClient", json!({"username": "bob", "groupname": "staff"}));
    tried.ok("addGroupRole", json!({"groupname": "staff", "rolename": "reader"}));
    for (kind, topic, priority) in [
        ("subscribePattern", "b", Some(1)),
        ("publishClientSend", "low", None),
        ("publishclientsend", "high", Some(200_000)),
        ("publishClientSend", "low too", Some(0)),
        ("subscribePattern", "a/#", Some(2)),
    ] {
        let mut acl = json!({"rolename": "reader", "acltype": kind, "topic": topic, "allow": topic != "low"});
        if let Some(priority) = priority {
            acl["priority"] = json!(priority);
        }
        tried.ok("addRoleACL", acl);
        assert_eq!(tried.closed(), ["ann", "bob"]);
    }
    let acl = |kind: &str, topic: &str, priority: i32| json!({"acltype": kind, "topic": topic, "priority": priority, "allow": topic != "low"});
    let expected = json!({"role": {"rolename": "reader", "allowwildcardsubs": true, "acls": [
        acl("publishClientSend", "high", 100_000),
        acl("publishClientSend", "low", 0),
        acl("publishClientSend", "low too", 0),
        acl("subscribePattern", "a/#", 2),
        acl("subscribePattern", "b", 1),
    ]}});
    assert_eq!(tried.ok("getRole", json!({"rolename": "reader"})), expected);
    assert_eq!(tried.ok("listRoles", json!({"verbose": true, "count": 1}))["roles"], json!([expected["role"]]));
    tried.ok("removeRoleACL", json!({"rolename": "reader", "acltype": "subscribePattern", "topic": "b"}));
    assert_eq!(tried.closed(), ["ann", "bob"]);
    tried.ok("modifyRole", json!({"rolename": "reader", "textname": "R"}));
    assert!(tried.closed().is_empty(), "nobody may do anything else");
    tried.ok("modifyRole", json!({"rolename": "reader", "allowwildcardsubs": false, "acls": []}));
    assert_eq!(tried.closed(), ["ann", "bob"]);
    let expected = json!({"role": {"rolename": "reader", "textname": "R", "allowwildcardsubs": false, "acls": []}});
    assert_eq!(tried.ok("getRole", json!({"rolename": "reader"})), expected);
    tried.ok("deleteRole", json!({"rolename": "reader"}));
    assert_eq!(tried.closed(), ["ann", "bob"]);
    assert_eq!(tried.ok("getClient", json!({"username": "ann"}))["client"]["roles"], json!([]));
    assert_eq!(tried.ok("getGroup", json!({"groupname": "staff"}))["group"]["roles"], json!([]));
}

#[test]
fn commands_about_roles_that_fail_say_why_as_mosquitto_does() {
    let mut tried = furnished();
    for command in ["createRole", "deleteRole", "getRole", "modifyRole", "addRoleACL", "removeRoleACL"] {
        assert_eq!(tried.error(command, json!({})), "Invalid/missing rolename", "{command}");
        assert_eq!(tried.error(command, json!({"rolename": "\u{1}"})), "Role name not valid UTF-8", "{command}");
    }
    for command in ["deleteRole", "getRole", "addRoleACL", "removeRoleACL"] {
        assert_eq!(tried.error(command, json!({"rolename": "no"})), "Role not found", "{command}");
    }
    assert_eq!(tried.error("modifyRole", json!({"rolename": "no"})), "Role does not exist");
    assert_eq!(tried.error("createRole", json!({"rolename": ""})), "Empty rolename");
    assert_eq!(tried.error("createRole", json!({"rolename": "reader"})), "Role already exists");
    let odd = json!({"rolename": "new", "allowwildcardsubs": 7});
    assert_eq!(tried.error("createRole", odd), "Invalid allowwildcardsubs");
    let bad = json!({"rolename": "new", "acls": [{"acltype": "publishClientSend", "topic": "a#", "allow": true}]});
    assert_eq!(tried.error("createRole", bad), "Invalid ACL: acls[0].topic: a Topic Filter is needed");
    for command in ["addRoleACL", "removeRoleACL"] {
        for (fields, expected) in [
            (json!({"topic": "a"}), "Invalid/missing acltype"),
            (json!({"topic": "a", "acltype": "subscribe"}), "Unknown acltype"),
            (json!({"acltype": "publishClientSend"}), "Invalid/missing topic"),
            (json!({"acltype": "publishClientSend", "topic": "a#"}), "Invalid ACL topic"),
            (json!({"acltype": "publishClientSend", "topic": ""}), "Invalid ACL topic"),
            (json!({"acltype": "publishClientSend", "topic": "\u{1}"}), "Topic not valid UTF-8"),
        ] {
            let mut fields = fields;
            fields["rolename"] = json!("reader");
            assert_eq!(tried.error(command, fields), expected);
        }
    }
    let acl = json!({"rolename": "reader", "acltype": "publishClientSend", "topic": "a"});
    assert_eq!(tried.error("removeRoleACL", acl.clone()), "ACL not found");
    tried.ok("addRoleACL", acl.clone());
    assert_eq!(tried.error("addRoleACL", acl), "ACL with this topic already exists");
}

#[test]
fn default_access_is_set_one_by_one() {
    let mut tried = Tried::default();
    let acls = json!([{"acltype": "subscribe", "allow": true}, {"acltype": "publishclientreceive", "allow": true}, {}]);
    tried.ok("setDefaultACLAccess", json!({"acls": acls}));
    let acl = |name: &str, allows: bool| json!({"acltype": name, "allow": allows});
    let expected =
        [("publishClientSend", false), ("publishClientReceive", true), ("subscribe", true), ("unsubscribe", false)];
    let expected: Vec<_> = expected.into_iter().map(|(name, allows)| acl(name, allows)).collect();
    assert_eq!(tried.ok("getDefaultACLAccess", json!({})), json!({"acls": expected}));
    assert_eq!(tried.error("setDefaultACLAccess", json!({})), "Missing/invalid actions array");
    // As mosquitto_ctrl 2.0.11 says it.
    for (access, allows) in [("deny", false), ("allow", true), ("perhaps", true)] {
        tried.ok("setDefaultACLAccess", json!({"acls": [{"acltype": "subscribe", "access": access}]}));
        assert_eq!(tried.ok("getDefaultACLAccess", json!({}))["acls"][2], acl("subscribe", allows));
    }
}

#[test]
fn details_count_entries_and_changes() {
    let mut tried = furnished();
    let expected = json!({"clientCount": 2, "groupCount": 2, "roleCount": 2, "changeIndex": 6});
    assert_eq!(tried.ok("getDetails", json!({})), expected);
    tried.error("createRole", json!({"rolename": "reader"}));
    assert_eq!(tried.ok("getDetails", json!({})), expected, "an error is no change");
}

#[test]
fn lists_come_in_parts() {
    let mut tried = Tried::default();
    for name in ["c", "a", "d", "b"] {
        tried.ok("createClient", json!({"username": name}));
    }
    let mut names =
        |count: i32, offset: i32| tried.ok("listClients", json!({"count": count, "offset": offset}))["clients"].clone();
    assert_eq!(names(-1, 0), json!(["a", "b", "c", "d"]));
    assert_eq!(names(2, 1), json!(["b", "c"]));
    assert_eq!(names(9, 3), json!(["d"]));
    assert_eq!(names(0, 0), json!(["a"]));
    assert_eq!(names(1, 4), json!([]));
    assert_eq!(names(1, -4), json!(["a"]));
}
