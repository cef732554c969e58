//! Files of Mosquitto, and hashes of passwords.

use super::super::document_json::{read_document, write_document};
use super::super::stored_password::StoredPassword;
use super::Tried;
use serde_json::{Value, json};

/// What `mosquitto_ctrl dynsec init` of 2.0.11 writes, with a group, a client and names in other case.
const OF_2_0: &str = r##"{
	"clients": [
		{"username": "admin", "textName": "Dynsec admin user", "password": "XyFWJEznJcTF1ljZg3C2IluXxAuWF2FWbRZFQNB3ZZEotxdKIUJ8fXJcthQqovF84+esQTSEHTr7wrtFjejBzg==",
		 "salt": "r4K+fGletZ/B356t", "iterations": 101, "roles": [{"rolename": "admin"}]},
		{"username": "bob", "clientid": "b", "disabled": true, "roles": []}
	],
	"groups": [{"groupname": "g", "roles": [{"rolename": "admin", "priority": 3}], "clients": [{"username": "bob", "priority": 7}]}],
	"anonymousGroup": "g",
	"roles": [{"rolename": "admin", "acls": [
		{"acltype": "publishClientSend", "topic": "$CONTROL/dynamic-security/#", "allow": true},
		{"acltype": "unsubscribePattern", "topic": "#", "priority": -4, "allow": true}
	]}],
	"defaultACLAccess": {"publishClientSend": false, "publishClientReceive": true, "subscribe": false, "unsubscribe": true}
}"##;

/// As 2.1 writes it.
const OF_2_1: &str = r##"{"changeIndex": 12, "defaultACLAccess": {"publishClientSend": true},
	"clients": [{"username": "ann", "textname": "A", "textdescription": "B", "roles": [], "encoded_password": "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0c2FsdA"}],
	"groups": [], "roles": [{"rolename": "r", "textname": "C", "allowwildcardsubs": false, "acls": []}]}"##;

#[test]
fn files_of_both_mosquittos_are_read_and_written_without_a_loss() {
    for text in [OF_2_0, OF_2_1] {
        let (document, remarks) = read_document(text.as_bytes()).unwrap();
        assert_eq!(remarks, [""; 0]);
        let written = write_document(&document);
        assert_eq!(read_document(&written).unwrap(), (document, Vec::new()));
        // What is written has the names and values of the file that was read, apart from defaults.
        let (read, written): (Value, Value) =
            (serde_json::from_str(text).unwrap(), serde_json::from_slice(&written).unwrap());
        for (before, after) in read["clients"].as_array().unwrap().iter().zip(written["clients"].as_array().unwrap()) {
            for (name, value) in before.as_object().unwrap() {
                assert_eq!(after[name.to_lowercase()], *value, "{name}");
            }
        }
    }
    let (document, _) = read_document(OF_2_0.as_bytes()).unwrap();
    let mut tried = Tried { document, ..Tried::default() };
    let bob = tried.ok("getClient", json!({"username": "bob"}));
    let expected = json!({"client": {
        "username": "bob", "clientid": "b", "disabled": true, "roles": [], "groups": [{"groupname": "g", "priority": 7}],
    }});
    assert_eq!(bob, expected);
    assert_eq!(tried.ok("getAnonymousGroup", json!({}))["group"]["groupname"], "g");
}

#[test]
fn a_file_whose_entries_make_no_sense_is_refused_with_the_place() {
    for (text, expected) in [
        ("", "line 1: it is no JSON: EOF while parsing a value at line 1 column 0"),
        ("{\n\"clients\": [}", "line 2: it is no JSON: expected value at line 2 column 13"),
        ("[]", "it is no JSON object"),
        (r#"{"clients": {}}"#, "clients: a list is needed"),
        (r#"{"clients": [7]}"#, "clients[0]: an object is needed"),
        (
            r#"{"clients": [{"username": "a"}, {"user": "b"}]}"#,
            "clients[1].username: a text is needed, which is not empty and has no control characters",
        ),
        (r#"{"clients": [{"username": "a", "disabled": "yes"}]}"#, "clients[0].disabled: true or false is needed"),
        (
            r#"{"roles": [{"rolename": "r", "acls": [{"acltype": "subscribe", "topic": "a"}]}]}"#,
            "roles[0].acls[0].acltype: one of these is needed: publishClientSend, publishClientReceive, subscribeLiteral, subscribePattern, unsubscribeLiteral, unsubscribePattern",
        ),
        (
            r##"{"roles": [{"rolename": "r", "acls": [{"acltype": "subscribePattern", "topic": "a#"}]}]}"##,
            "roles[0].acls[0].topic: a Topic Filter is needed",
        ),
        (r#"{"defaultACLAccess": {"subscribe": 1}}"#, "defaultACLAccess.subscribe: true or false is needed"),
        (
            r#"{"groups": [{"groupname": "g", "roles": [{"rolename": "r", "priority": "high"}]}]}"#,
            "groups[0].roles[0].priority: a number is needed",
        ),
    ] {
        assert_eq!(read_document(text.as_bytes()).unwrap_err().to_string(), expected, "{text}");
    }
}

#[test]
fn what_has_no_effect_in_a_file_is_told() {
    let text = r#"{
        "roles": [{"rolename": "r", "acls": [
            {"acltype": "subscribeLiteral", "topic": "a", "allow": true},
            {"acltype": "subscribeLiteral", "topic": "a", "allow": false}
        ]}],
        "clients": [{"username": "a", "roles": [{"rolename": "no"}]}, {"username": "a"},
            {"username": "b", "password": "x", "salt": "c2FsdA==", "iterations": 101}],
        "groups": [{"groupname": "g", "clients": [{"username": "z"}, {"username": "a"}, {"username": "a"}]}],
        "anonymousGroup": "none"
    }"#;
    let (document, remarks) = read_document(text.as_bytes()).unwrap();
    let expected = [
        "roles[0].acls[1]: the role has an subscribeLiteral with this topic already",
        "clients[0].roles[0]: there is no \"no\"",
        "clients[1]: an earlier entry has this name, and this one is left out",
        "clients[2]: the user can't connect, because of the password: its hash is no Base64",
        "groups[0].clients[0]: there is no \"z\"",
        "groups[0].clients[2]: \"a\" is there already",
        "anonymousGroup: there is no group \"none\"",
    ];
    assert_eq!(remarks, expected);
    assert_eq!(document.clients.keys().collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn passwords_are_hashed_as_mosquitto_2_0_does_and_shown_to_nobody() {
    let (one, two) = (StoredPassword::new("secret").unwrap(), StoredPassword::new("secret").unwrap());
    assert_ne!(one, two, "each has its own salt");
    let verify = |password: &str| one.to_hash().unwrap().verify(password.as_bytes());
    assert!(verify("secret") && !verify("Secret"));
    let (iterations, salt, hash) = one.pbkdf2_parts().unwrap();
    let len = |text: &str| data_encoding::BASE64.decode(text.as_bytes()).unwrap().len();
    assert_eq!((iterations, len(salt), len(hash)), (10_000, 12, 64));
    let mut tried = Tried::default();
    tried.ok("createClient", json!({"username": "ann", "password": "topsecret"}));
    let shown = [
        format!("{:?}", tried.document),
        tried.ok("getClient", json!({"username": "ann"})).to_string(),
        tried.ok("listClients", json!({"verbose": true})).to_string(),
    ];
    assert!(shown.iter().all(|shown| !shown.contains("topsecret")), "{shown:?}");
}
