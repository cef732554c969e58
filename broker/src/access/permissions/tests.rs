//! Both files, from their text to the answers of the core's questions.

use super::denials::{DenialCounts, Denials};
use super::rule_authorizer::{RuleAuthorizer, RulesInUse};
use super::rule_set::RuleSet;
use super::{acl_file, toml_file};
use crate::access::Principals;
use goldcrest_core::codec::QoS;
use goldcrest_core::{Authorize, Principal, Subject, Subscribable, TopicFilter, TopicName};
use std::path::Path;
use std::sync::Arc;

/// A shard that has rules.
struct Bench {
    authorizer: RuleAuthorizer,
    principals: Arc<Principals>,
    denials: Arc<Denials>,
    counts: Arc<DenialCounts>,
}

impl Bench {
    fn new(set: RuleSet) -> Self {
        let (principals, counts) = (Arc::<Principals>::default(), Arc::<DenialCounts>::default());
        let denials = Arc::new(Denials::new(counts.clone()));
        let rules = Arc::new(RulesInUse::new(set, principals.clone()));
        Self { authorizer: RuleAuthorizer::new(rules, denials.clone()), principals, denials, counts }
    }

    fn toml(text: &str) -> Self {
        Self::new(toml_file::read(Path::new("permissions.toml"), text).unwrap())
    }

    fn acl(text: &str) -> Self {
        Self::new(acl_file::read(Path::new("acl"), text.as_bytes()).unwrap())
    }

    /// Asks as this user, or as a client without a name.
    fn ask<R>(&self, (user, client_id): Who<'_>, ask: impl FnOnce(&RuleAuthorizer, &Subject<'_>) -> R) -> R {
        let principal = user.map_or(Principal::ANONYMOUS, |user| self.principals.principal(user).unwrap());
        ask(&self.authorizer, &Subject::new(principal, client_id))
    }

    fn publishes(&self, who: Who<'_>, topic: &str) -> bool {
        self.ask(who, |it, who| it.publish(who, TopicName::new(topic).unwrap(), QoS::AtMostOnce, false))
    }

    fn receives(&self, who: Who<'_>, topic: &str) -> bool {
        self.ask(who, |it, who| it.receive(who, TopicName::new(topic).unwrap()))
    }

    fn subscribes(&self, who: Who<'_>, filter: &str) -> Subscribable {
        self.ask(who, |it, who| it.subscribe(who, TopicFilter::new(filter).unwrap(), QoS::AtMostOnce))
    }

    fn reasons(&self) -> Vec<(&'static str, &'static str, u64)> {
        let all = self.counts.all().into_iter();
        all.filter(|(_, _, count)| *count > 0).collect()
    }
}

type Who<'a> = (Option<&'a str>, &'a str);

const ANN: Who<'_> = (Some("ann"), "c1");
const BOB: Who<'_> = (Some("bob"), "c2");
const NOBODY: Who<'_> = (None, "c3");

const ROLES: &str = r#"
[role.sensor]
rules = [
  { allow = "publish", filter = ["sensors/%c/#", "state/%u"] },
  { allow = "subscribe", filter = "commands/%c/#" },
]
[role.reader]
rules = [
  { deny = ["publish", "subscribe"], filter = "sensors/+/secret" },
  { allow = "subscribe", filter = "sensors/#" },
]
[user.ann]
roles = ["sensor"]
[user.bob]
roles = ["reader", "sensor"]
rules = [{ allow = ["publish", "subscribe"], filter = "own/%u/#" }]
[user.eve]
[anonymous]
roles = ["reader"]
"#;

#[test]
fn users_may_do_what_their_roles_allow() {
    let bench = Bench::toml(ROLES);
    assert!(bench.publishes(ANN, "sensors/c1/t") && bench.publishes(ANN, "state/ann"));
    assert!(!bench.publishes(ANN, "sensors/c2/t") && !bench.publishes(ANN, "state/bob"));
    assert_eq!(bench.subscribes(ANN, "commands/c1/#"), Subscribable::Wholly);
    assert_eq!(bench.subscribes(ANN, "commands/#"), Subscribable::No);
    assert!(bench.publishes(BOB, "own/bob/x") && bench.receives(BOB, "own/bob"));
    assert!(bench.publishes(BOB, "sensors/c2/t") && !bench.publishes(BOB, "sensors/c2/secret"));
    assert!(bench.receives(NOBODY, "sensors/x") && !bench.receives(NOBODY, "sensors/x/secret"));
    assert_eq!(bench.subscribes(NOBODY, "sensors/x/+"), Subscribable::No);
    assert_eq!(bench.subscribes(NOBODY, "sensors/x/t"), Subscribable::Wholly);
    assert_eq!(bench.subscribes(NOBODY, "$share/g/sensors/x/t"), Subscribable::Wholly);
    assert_eq!(bench.subscribes(NOBODY, "$share/g/sensors/x/secret"), Subscribable::No);
}

#[test]
fn who_has_no_rules_may_do_nothing() {
    let bench = Bench::toml(ROLES);
    for who in [(Some("eve"), "c1"), (Some("stranger"), "c1")] {
        for topic in ["sensors/c1/t", "a", "$SYS/x"] {
            assert!(!bench.publishes(who, topic) && !bench.receives(who, topic));
            assert_eq!(bench.subscribes(who, topic), Subscribable::No);
        }
    }
    let nameless = Subject::new(Principal(77), "c1");
    assert!(!bench.authorizer.receive(&nameless, TopicName::new("sensors/x").unwrap()), "a number without a name");
    for empty in ["", "# nothing", "[role.r]\nrules = []\n[anonymous]\nroles = [\"r\"]"] {
        let bench = Bench::toml(empty);
        assert!(!bench.publishes(NOBODY, "a") && bench.subscribes(ANN, "a") == Subscribable::No);
    }
}

#[test]
fn users_that_the_file_does_not_name_have_the_rules_of_other_users() {
    let bench = Bench::toml("[other_users]\nrules = [{ allow = \"publish\", filter = \"d/%u/#\" }]\n[user.ann]\n");
    assert!(bench.publishes(BOB, "d/bob/t") && !bench.publishes(BOB, "d/ann/t"));
    assert!(!bench.publishes(ANN, "d/ann/t"), "she has rules of her own, which are none");
    assert!(!bench.publishes(NOBODY, "d/x"));
}

#[test]
fn a_name_that_a_principal_gets_later_counts() {
    let bench = Bench::toml(ROLES);
    let topic = TopicName::new("state/ann").unwrap();
    assert!(!bench.authorizer.publish(&Subject::new(Principal(1), "c1"), topic, QoS::AtMostOnce, false));
    assert_eq!(bench.principals.principal("ann"), Ok(Principal(1)));
    assert!(bench.publishes(ANN, "state/ann"));
    bench.principals.reserve_up_to(Principal(u32::MAX - 2));
    let late = (Some("bob"), "c1");
    assert!(bench.publishes(late, "own/bob/x") && !bench.publishes(late, "own/ann/x"), "a number beyond the blocks");
}

#[test]
fn denials_are_counted_by_reason_and_noted_with_their_rule() {
    let bench = Bench::toml(ROLES);
    assert!(bench.denials.take().is_empty());
    bench.publishes(ANN, "sensors/c2/t");
    bench.publishes(BOB, "sensors/c2/secret");
    bench.subscribes((Some("eve"), "c9"), "#");
    bench.receives(NOBODY, "x");
    assert!(bench.publishes(ANN, "state/ann"), "no denial");
    let expected =
        [("publish", "rule", 1), ("publish", "no_rule", 1), ("subscribe", "no_rules", 1), ("receive", "no_rule", 1)];
    assert_eq!(bench.reasons(), expected);
    let notes = bench.denials.take();
    let rules: Vec<_> = notes.iter().map(|note| note.rule.as_deref()).collect();
    assert_eq!(rules, [None, Some("rule 1 of role reader"), None, None]);
    assert_eq!((notes[1].user.as_deref(), &*notes[1].client_id), (Some("bob"), "c2"));
    assert!(bench.denials.take().is_empty(), "they are told once");
    for _ in 0..1000 {
        bench.publishes(ANN, &"x".repeat(60_000));
    }
    let notes = bench.denials.take();
    assert!(notes.len() <= 16 && notes.iter().all(|note| note.topic.len() <= 1024), "notes are bounded");
}

#[test]
fn mistakes_in_a_permission_file_are_told_with_line_and_key() {
    let mistake = |text: &str| toml_file::read(Path::new("p.toml"), text).unwrap_err().to_string();
    let cases = [
        ("[role.a]\nrule = []", "p.toml:2: role.a.rule: unknown key; allowed here: rules; did you mean rules?"),
        ("[role.a]", "p.toml:1: role.a.rules: missing; this table needs it"),
        (
            "[role.sensor]\nrules = []\n[user.ann]\nroles = [\n\"senser\"]",
            "p.toml:5: user.ann.roles: there is no role \"senser\"; roles are tables [role.NAME]; did you mean sensor?",
        ),
        (
            "[anonymous]\nrules = [{ allow = \"publsh\", filter = \"a\" }]",
            "p.toml:2: anonymous.rules.allow: \"publsh\" is not allowed; allowed: one of \"publish\", \"subscribe\"",
        ),
        (
            "[anonymous]\nrules = [{ allow = \"publish\", filter = \"a/#/b\" }]",
            "p.toml:2: anonymous.rules.filter: \"a/#/b\" is not allowed: '+' fills a level and '#' is the whole last level",
        ),
        (
            "[anonymous]\nrules = [{ allow = \"publish\", filter = \"x%u\" }]",
            "p.toml:2: anonymous.rules.filter: \"x%u\" is not allowed: %c and %u each fill a whole level, as in \"sensors/%c/temperature\"",
        ),
        (
            "[anonymous]\nrules = [{ allow = \"subscribe\", filter = \"$share/g/a\" }]",
            "p.toml:2: anonymous.rules.filter: a rule has the Topic Filter without $share/group/",
        ),
        ("[anonymous]\nrules = [{ filter = \"a\" }]", "p.toml:2: anonymous.rules.allow: missing; this table needs it"),
        (
            "[anonymous]\nrules = [{ allow = \"publish\", deny = \"publish\", filter = \"a\" }]",
            "p.toml:2: anonymous.rules: allow and deny: a rule has one of them",
        ),
        (
            "subscribe = \"all\"",
            "p.toml:1: subscribe: \"all\" is not allowed; allowed: one of \"covered\", \"overlap\"",
        ),
        ("[user.ann]\n[user.ann]", "p.toml:2: user.ann: duplicate key"),
    ];
    for (text, expected) in cases {
        assert_eq!(mistake(text), expected, "{text}");
    }
}

#[test]
fn an_acl_file_is_read_as_mosquitto_reads_it() {
    let bench = Bench::acl(
        "# comment\n\
         topic read public/#\r\n\
         \n\
         user ann\n\
         topic write a/w\n\
         topic  read   a/r\t\n\
         topic a/both\n\
         topic readwrite with space\n\
         topic deny a/both/not\n\
         topic a/both/#\n\
         topic read\n\
         topic %u/x\n\
         pattern write p/%c/%u-x\n\
         user bob smith\n\
         topic read b\n\
         user ann\n\
         topic read second\n\
         pattern deny p/no/#\n\
         pattern read p/#\n",
    );
    assert!(bench.receives(NOBODY, "public/x") && !bench.publishes(NOBODY, "public/x"));
    assert!(bench.publishes(ANN, "a/w") && !bench.receives(ANN, "a/w"));
    assert!(bench.receives(ANN, "a/r") && !bench.publishes(ANN, "a/r"));
    for topic in ["a/both", "with space", "a/both/x", "read", "%u/x"] {
        assert!(bench.receives(ANN, topic) && bench.publishes(ANN, topic), "{topic}");
    }
    assert!(!bench.receives(ANN, "a/both/not") && !bench.publishes(ANN, "a/both/not"), "denials come first");
    assert!(!bench.receives(ANN, "ann/x") && !bench.receives(ANN, "public/x"));
    assert!(bench.receives(ANN, "second"));
    let smith = (Some("bob smith"), "c2");
    assert!(bench.receives(smith, "b") && !bench.receives(smith, "a/r"));
    assert!(bench.publishes(ANN, "p/c1/ann-x") && !bench.publishes(ANN, "p/c2/ann-x"));
    for who in [ANN, smith, NOBODY, (Some("stranger"), "s")] {
        assert!(bench.receives(who, "p/x") && !bench.receives(who, "p/no/x"), "patterns are for all");
        assert!(!bench.receives(who, "$SYS/x"));
    }
    assert!(!bench.publishes(NOBODY, "p/c3/ann-x") && !bench.publishes(NOBODY, "p/c3/-x"));
}

#[test]
fn own_rules_of_an_acl_file_outrank_patterns_that_deny() {
    let bench = Bench::acl("pattern deny a/#\nuser ann\ntopic a/x\n");
    assert!(bench.publishes(ANN, "a/x") && !bench.publishes(ANN, "a/y"));
}

#[test]
fn an_acl_file_without_rules_for_a_client_denies_everything() {
    for text in ["", "# nothing\n", "user bob\ntopic a\n"] {
        let bench = Bench::acl(text);
        for who in [ANN, NOBODY] {
            assert!(!bench.publishes(who, "a") && !bench.receives(who, "a"), "{text:?}");
            assert_eq!(bench.subscribes(who, "a"), Subscribable::No);
        }
    }
}

#[test]
fn names_with_wildcards_are_denied_all_patterns_of_an_acl_file() {
    let bench = Bench::acl("pattern open/#\npattern own/%u/%c\nuser a+\ntopic mine\n");
    assert!(bench.publishes(ANN, "open/x") && bench.publishes(ANN, "own/ann/c1"));
    for who in [(Some("a+"), "c"), (Some("#"), "c"), (Some("a"), "+"), (None, "#")] {
        assert!(!bench.publishes(who, "open/x"), "{who:?}");
        assert_eq!(bench.subscribes(who, "open/x"), Subscribable::No, "{who:?}");
        assert_eq!(
            bench.subscribes(who, "#"),
            if who.0 == Some("a+") { Subscribable::Partly } else { Subscribable::No }
        );
    }
    assert!(bench.publishes((Some("a+"), "c"), "mine"));
    let slash = (Some("ann"), "c/1");
    assert!(bench.publishes(slash, "open/x") && !bench.publishes(slash, "own/ann/c/1"));
}

#[test]
fn with_an_acl_file_clients_may_subscribe_to_more_than_they_may_read() {
    let bench = Bench::acl("user ann\ntopic read a/#\ntopic deny a/secret\ntopic write w\n");
    assert_eq!(bench.subscribes(ANN, "#"), Subscribable::Partly);
    assert_eq!(bench.subscribes(ANN, "a/b"), Subscribable::Wholly);
    for refused in ["a/secret", "w", "b/#", "$SYS/#"] {
        assert_eq!(bench.subscribes(ANN, refused), Subscribable::No, "{refused}");
    }
}

#[test]
fn mistakes_in_an_acl_file_are_told_with_their_line() {
    let mistake = |text: &[u8]| acl_file::read(Path::new("acl"), text).unwrap_err().to_string();
    let cases: [(&[u8], &str); 10] = [
        (b"topic a\nuser", "acl:2: the name of the user is missing"),
        (b"user \t", "acl:1: the name of the user is missing"),
        (b"topic", "acl:1: a topic is missing"),
        (b"pattern  ", "acl:1: a topic is missing"),
        (b"topic reed a", "acl:1: \"reed\" is not allowed; allowed: read, write, readwrite, deny"),
        (b"topic a b", "acl:1: \"a\" is not allowed; allowed: read, write, readwrite, deny"),
        (
            b"topics a",
            "acl:1: \"topics\" is not allowed; a line begins with topic, pattern, user, or # in the first column",
        ),
        (b"  # x", "acl:1: \"#\" is not allowed; a line begins with topic, pattern, user, or # in the first column"),
        (b"topic a/#/b", "acl:1: \"a/#/b\" is no Topic Filter"),
        (b"\n\ntopic \xff", "acl:3: it is not UTF-8 text without bytes 0 here"),
    ];
    for (text, expected) in cases {
        assert_eq!(mistake(text), expected);
    }
}
