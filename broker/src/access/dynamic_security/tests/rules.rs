//! What users may do by a document.

use super::super::document_json::read_document;
use super::super::request::answer_request_with;
use super::super::security_rules::rules_of;
use super::super::service::DynamicSecurity;
use super::cheap;
use crate::access::Principals;
use crate::access::permissions::{Denials, RulesInUse};
use goldcrest_core::codec::QoS;
use goldcrest_core::{Authorize as _, Principal, Subject, Subscribable, TopicFilter, TopicName};
use serde_json::json;
use std::sync::Arc;

/// Asks what users may do by a document.
struct Asked {
    authorizer: super::super::control_authorizer::ControlAuthorizer,
    principals: Arc<Principals>,
}

impl Asked {
    fn of(document: &serde_json::Value) -> Self {
        let (document, remarks) = read_document(document.to_string().as_bytes()).unwrap();
        assert_eq!(remarks, [""; 0]);
        let principals = Arc::<Principals>::default();
        let rules = Arc::new(RulesInUse::new(rules_of(&document), principals.clone()));
        let authorizer = DynamicSecurity::authorizer(&rules, &Arc::new(Denials::new(Arc::default())));
        Self { authorizer, principals }
    }

    fn principal(&self, user: Option<&str>) -> Principal {
        user.map_or(Principal::ANONYMOUS, |user| self.principals.principal(user).unwrap())
    }

    fn publishes(&self, user: Option<&str>, topic: &str) -> bool {
        let who = Subject::new(self.principal(user), "c1");
        self.authorizer.publish(&who, TopicName::new(topic).unwrap(), QoS::AtMostOnce, false)
    }

    fn receives(&self, user: Option<&str>, topic: &str) -> bool {
        self.authorizer.receive(&Subject::new(self.principal(user), "c1"), TopicName::new(topic).unwrap())
    }

    fn subscribes(&self, user: Option<&str>, filter: &str) -> Subscribable {
        let who = Subject::new(self.principal(user), "c1");
        self.authorizer.subscribe(&who, TopicFilter::new(filter).unwrap(), QoS::AtMostOnce)
    }
}

const ANN: Option<&str> = Some("ann");

fn acl(kind: &str, topic: &str, priority: i32, allow: bool) -> serde_json::Value {
    json!({"acltype": kind, "topic": topic, "priority": priority, "allow": allow})
}

/// A document of one client, ann, with these roles and groups.
fn document(
    roles: &[(&str, serde_json::Value)],
    own: serde_json::Value,
    groups: serde_json::Value,
) -> serde_json::Value {
    let roles: Vec<_> = roles.iter().map(|(name, acls)| json!({"rolename": name, "acls": acls})).collect();
    json!({"roles": roles, "clients": [{"username": "ann", "roles": own}], "groups": groups})
}

#[test]
fn roles_of_the_client_come_before_groups_and_each_by_priority() {
    let send = |topic: &str, allow: bool| json!([acl("publishClientSend", topic, 0, allow)]);
    let roles = [
        ("a-low", send("own/#", false)),
        ("z-high", send("own/1", true)),
        ("group-low", send("g/#", false)),
        ("group-high", send("g/1", true)),
        ("first-group", send("g/2", true)),
        ("any", send("own/2", true)),
    ];
    let own = json!([{"rolename": "a-low", "priority": 1}, {"rolename": "z-high", "priority": 2}]);
    let member = |priority: i32| json!([{"username": "ann", "priority": priority}]);
    let groups = json!([
        {"groupname": "a", "clients": member(1), "roles": [
            {"rolename": "group-low", "priority": 1}, {"rolename": "group-high", "priority": 9}, {"rolename": "any"}]},
        {"groupname": "z", "clients": member(5), "roles": [{"rolename": "first-group", "priority": -5}]},
    ]);
    let asked = Asked::of(&document(&roles, own, groups));
    for (topic, expected) in [
        ("own/1", true),
        ("own/2", false),
        ("own/3", false),
        ("g/1", true),
        ("g/2", true),
        ("g/3", false),
        ("other", false),
    ] {
        assert_eq!(asked.publishes(ANN, topic), expected, "{topic}");
    }
}

#[test]
fn roles_without_a_priority_come_by_name_and_acls_of_one_priority_as_they_stand() {
    let roles = [
        ("b", json!([acl("publishClientSend", "x", 0, false)])),
        ("a", json!([acl("publishClientSend", "x", 0, true)])),
        ("c", json!([acl("publishClientSend", "y/#", 0, true), acl("publishClientSend", "y/1", 0, false)])),
        ("d", json!([acl("publishClientSend", "z/#", 0, true), acl("publishClientSend", "z/1", 1, false)])),
    ];
    let own = json!([{"rolename": "d"}, {"rolename": "c"}, {"rolename": "b"}, {"rolename": "a"}]);
    let asked = Asked::of(&document(&roles, own, json!([])));
    for (topic, expected) in [("x", true), ("y/1", true), ("z/1", false), ("z/2", true)] {
        assert_eq!(asked.publishes(ANN, topic), expected, "{topic}");
    }
}

#[test]
fn names_stand_for_levels_and_never_for_more() {
    let acls = json!([
        acl("publishClientSend", "dev/%c/up", 0, true),
        acl("publishClientSend", "user/%u/#", 0, true),
        acl("publishClientSend", "text%c", 0, true),
        acl("subscribePattern", "user/%u/#", 0, true),
    ]);
    let role = json!([{"rolename": "r"}]);
    let mut document = document(&[("r", acls)], role.clone(), json!([]));
    let odd: Vec<_> = ["+", "#", "a/b"].iter().map(|name| json!({"username": name, "roles": role})).collect();
    document["clients"].as_array_mut().unwrap().extend(odd);
    let asked = Asked::of(&document);
    for (topic, expected) in [
        ("dev/c1/up", true),
        ("dev/c2/up", false),
        ("user/ann/x", true),
        ("user/ben/x", false),
        ("text%c", true),
        ("textc1", false),
    ] {
        assert_eq!(asked.publishes(ANN, topic), expected, "{topic}");
    }
    assert_ne!(asked.subscribes(ANN, "user/ann/#"), Subscribable::No);
    assert_eq!(asked.subscribes(ANN, "user/+/#"), Subscribable::No);
    for name in ["+", "#", "a/b"] {
        assert!(!asked.publishes(Some(name), "user/ann/x") && !asked.publishes(Some(name), "user/a/b"));
        for filter in ["user/+/#", "user/#", "user/ann/#", "user/a/b"] {
            assert_eq!(asked.subscribes(Some(name), filter), Subscribable::No, "{name} {filter}");
        }
    }
}

#[test]
fn subscriptions_have_acls_of_their_own_and_messages_theirs() {
    let acls = json!([
        acl("subscribeLiteral", "a/#", 0, false),
        acl("subscribeLiteral", "lit/%c", 0, true),
        acl("subscribePattern", "a/#", 0, true),
        acl("subscribePattern", "all/#", 0, true),
        acl("publishClientReceive", "all/secret/#", 5, false),
        acl("publishClientReceive", "all/#", 0, true),
        acl("publishClientReceive", "a/+", 0, true),
    ]);
    let asked = Asked::of(&document(&[("r", acls)], json!([{"rolename": "r"}]), json!([])));
    for (filter, expected) in [
        // The literal is asked before patterns, and about this text alone.
        ("a/#", Subscribable::No),
        ("a/b", Subscribable::Wholly),
        ("a/+", Subscribable::Wholly),
        ("a/b/c", Subscribable::Partly),
        ("lit/%c", Subscribable::Partly),
        ("lit/c1", Subscribable::No),
        ("all/#", Subscribable::Partly),
        ("all/x/#", Subscribable::Wholly),
        ("all/secret/x", Subscribable::Partly),
        ("$share/g/all/x", Subscribable::Wholly),
        ("$share/g/b", Subscribable::No),
        ("#", Subscribable::No),
        ("b", Subscribable::No),
    ] {
        assert_eq!(asked.subscribes(ANN, filter), expected, "{filter}");
    }
    for (topic, expected) in [("all/x", true), ("all/secret/x", false), ("a/b", true), ("a/b/c", false), ("b", false)] {
        assert_eq!(asked.receives(ANN, topic), expected, "{topic}");
    }
}

#[test]
fn a_role_without_wildcards_denies_filters_that_have_one() {
    let mut document = document(
        &[
            ("r", json!([acl("subscribePattern", "a/#", 0, true)])),
            ("s", json!([acl("subscribePattern", "b/#", 0, true)])),
        ],
        json!([{"rolename": "s", "priority": 2}, {"rolename": "r", "priority": 1}]),
        json!([]),
    );
    document["roles"][0]["allowwildcardsubs"] = json!(false);
    document["defaultACLAccess"] = json!({"publishClientReceive": true});
    let asked = Asked::of(&document);
    for (filter, expected) in [
        ("a/b", Subscribable::Wholly),
        ("a/+", Subscribable::No),
        ("a/#", Subscribable::No),
        ("b/#", Subscribable::Wholly),
    ] {
        assert_eq!(asked.subscribes(ANN, filter), expected, "{filter}");
    }
}

#[test]
fn the_default_access_decides_where_no_acl_does_but_never_below_control() {
    let mut document = document(
        &[("r", json!([acl("publishClientSend", "no", 0, false), acl("publishClientReceive", "no", 0, false)]))],
        json!([{"rolename": "r"}]),
        json!([]),
    );
    document["clients"].as_array_mut().unwrap().push(json!({"username": "off", "disabled": true}));
    for permits in [true, false] {
        document["defaultACLAccess"] =
            json!({"publishClientSend": permits, "publishClientReceive": permits, "subscribe": permits});
        let asked = Asked::of(&document);
        for user in [ANN, None] {
            assert_eq!(asked.publishes(user, "yes"), permits);
            assert_eq!(asked.receives(user, "yes"), permits);
            let answer = if permits { Subscribable::Wholly } else { Subscribable::No };
            assert_eq!(asked.subscribes(user, "yes/#"), answer);
            for topic in [
                "$CONTROL/dynamic-security/v1",
                "$CONTROL/broker/v1",
                "$CONTROL",
                "$CONTROL/dynamic-security/v1/response",
            ] {
                assert!(!asked.publishes(user, topic) && !asked.receives(user, topic), "{topic}");
                assert_eq!(asked.subscribes(user, topic), Subscribable::No, "{topic}");
            }
            assert_eq!(asked.subscribes(user, "$CONTROL/#"), Subscribable::No);
        }
        assert!(!asked.publishes(ANN, "no") && !asked.receives(ANN, "no"));
        for stranger in ["off", "nobody"] {
            assert!(!asked.publishes(Some(stranger), "yes") && !asked.receives(Some(stranger), "yes"), "{stranger}");
            assert_eq!(asked.subscribes(Some(stranger), "yes"), Subscribable::No, "{stranger}");
        }
    }
}

#[test]
fn clients_without_a_name_have_the_roles_of_the_anonymous_group() {
    let mut document = document(
        &[("r", json!([acl("publishClientSend", "open/#", 0, true), acl("publishClientSend", "%u", 0, true)]))],
        json!([]),
        json!([{"groupname": "g", "roles": [{"rolename": "r"}], "clients": []}]),
    );
    assert!(!Asked::of(&document).publishes(None, "open/x"));
    document["anonymousGroup"] = json!("g");
    let asked = Asked::of(&document);
    assert!(asked.publishes(None, "open/x") && !asked.publishes(None, "%u") && !asked.publishes(ANN, "open/x"));
}

#[test]
fn requests_are_received_by_the_gateway_alone_and_never_retained() {
    let all = |kind: &str| acl(kind, "$CONTROL/#", 0, true);
    let kinds = ["publishClientSend", "publishClientReceive", "subscribePattern"].map(all);
    let asked = Asked::of(&document(&[("admin", json!(kinds))], json!([{"rolename": "admin"}]), json!([])));
    let (request, response) = ("$CONTROL/dynamic-security/v1", "$CONTROL/dynamic-security/v1/response");
    assert!(asked.publishes(ANN, request) && asked.receives(ANN, response) && !asked.receives(ANN, request));
    for filter in ["$CONTROL/#", "$CONTROL/+/v1", "$CONTROL/dynamic-security/v1/#", request] {
        assert_eq!(asked.subscribes(ANN, filter), Subscribable::Partly, "{filter}");
    }
    assert_eq!(asked.subscribes(ANN, response), Subscribable::Wholly);
    let who = Subject::new(asked.principal(ANN), "c1");
    assert!(!asked.authorizer.publish(&who, TopicName::new(request).unwrap(), QoS::AtMostOnce, true));
    let gateway = Subject::new(Principals::GATEWAY, "own");
    let publishes = |topic| asked.authorizer.publish(&gateway, TopicName::new(topic).unwrap(), QoS::AtMostOnce, false);
    assert!(publishes(response) && !publishes(request) && !publishes("a"));
    let subscribes = |filter| asked.authorizer.subscribe(&gateway, TopicFilter::new(filter).unwrap(), QoS::AtMostOnce);
    assert_eq!((subscribes(request), subscribes("#")), (Subscribable::Wholly, Subscribable::No));
}

/// The document that a gateway without one makes lets its administrator administer, and nothing else.
#[test]
fn the_first_administrator_may_do_what_mosquitto_permits() {
    let made = super::super::initial_document::initial_document().unwrap();
    let text = super::super::document_json::write_document(&made.document);
    let asked = Asked::of(&serde_json::from_slice(&text).unwrap());
    let admin = Some("admin");
    assert!(asked.publishes(admin, "$CONTROL/dynamic-security/v1") && !asked.publishes(admin, "a"));
    assert_ne!(asked.subscribes(admin, "$SYS/#"), Subscribable::No);
    assert_ne!(asked.subscribes(admin, "#"), Subscribable::No);
    assert!(!asked.publishes(None, "a") && asked.subscribes(None, "a") == Subscribable::No);
    // What mosquitto_ctrl does with it works.
    let mut document = made.document;
    let request = json!({"commands": [{"command": "createClient", "username": "x"}]});
    assert!(answer_request_with(&mut document, &request, &cheap).1.has_changed);
}
