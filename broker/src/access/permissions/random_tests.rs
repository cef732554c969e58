//! Random rules, filters and topics: what a broker delivers and accepts is compared with a model that knows nothing of the code beside it.

use super::denials::{DenialCounts, Denials};
use super::rule_authorizer::{RuleAuthorizer, RulesInUse};
use super::rule_set::RuleSet;
use super::{acl_file, toml_file};
use crate::access::Principals;
use goldcrest_core::codec::{QoS, ReasonCode};
use goldcrest_core::{
    Authentication, Broker, Capacity, Config, Instant, Limits, LocalClient, LocalEvent, LocalPublish, Memory,
    Principal, Shard, TopicFilter, TopicName,
};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

/// Numbers that look random, and are the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % bound
    }

    fn one_of<'t>(&mut self, choices: &[&'t str]) -> &'t str {
        choices[self.below(choices.len())]
    }

    fn text(&mut self, first: &[&str], levels: &[&str]) -> String {
        let mut text = self.one_of(first).to_owned();
        for _ in 0..self.below(3) {
            if text == "#" || text.ends_with("/#") {
                break;
            }
            text = format!("{text}/{}", self.one_of(levels));
        }
        text
    }

    fn topic(&mut self) -> String {
        self.text(&["a", "b", "ann", "c1", "$x"], &["a", "b", "", "ann", "c1", "$x"])
    }

    fn filter(&mut self) -> String {
        self.text(&["a", "b", "+", "#", "ann", "$x", "c1"], &["a", "b", "", "+", "#", "ann", "c1"])
    }
}

const NAMES: [&str; 7] = ["ann", "c1", "a", "+", "#", "a/b", "$x"];

/// A rule of the model.
#[derive(Clone, Debug)]
struct ModelRule {
    allows: bool,
    publish: bool,
    receive: bool,
    filter: String,
    is_pattern: bool,
}

/// Whether levels of a filter match levels of a topic, one level after the other.
fn match_levels(filter: &[String], topic: &[&str]) -> bool {
    match (filter, topic) {
        ([rest], _) if rest == "#" => true,
        ([], []) => true,
        ([one, filter @ ..], [level, topic @ ..]) => (one == "+" || one == level) && match_levels(filter, topic),
        _ => false,
    }
}

fn is_match(filter: &str, topic: &str) -> bool {
    let starts_with_wildcard = filter.starts_with(['+', '#']);
    let levels: Vec<String> = filter.split('/').map(str::to_owned).collect();
    !(topic.starts_with('$') && starts_with_wildcard) && match_levels(&levels, &topic.split('/').collect::<Vec<_>>())
}

impl ModelRule {
    fn matches(&self, topic: &str, (user, client_id): (Option<&str>, &str)) -> bool {
        let has_wildcard = |name: &str| name.contains(['+', '#']);
        if self.is_pattern && (user.is_some_and(has_wildcard) || has_wildcard(client_id)) {
            return false;
        }
        let mut levels: Vec<String> = Vec::new();
        for (at, level) in self.filter.split('/').enumerate() {
            let name = match level {
                "%u" => match user {
                    Some(user) => user,
                    None => return false,
                },
                "%c" => client_id,
                level => {
                    levels.push(level.to_owned());
                    continue;
                }
            };
            if at == 0 && topic.starts_with('$') {
                return false;
            }
            if name.contains(['+', '#', '/']) {
                if self.allows {
                    return false;
                }
                levels.push("#".to_owned());
                break;
            }
            levels.push(name.to_owned());
        }
        let starts_with_wildcard = matches!(levels[0].as_str(), "+" | "#");
        !(topic.starts_with('$') && starts_with_wildcard)
            && match_levels(&levels, &topic.split('/').collect::<Vec<_>>())
    }
}

/// The rules of the user u and of anonymous clients, in the order in which they count.
struct Model {
    rules: Vec<ModelRule>,
    is_covered: bool,
}

impl Model {
    fn may(&self, is_publish: bool, topic: &str, who: (Option<&str>, &str)) -> bool {
        let mut about = self.rules.iter().filter(|rule| if is_publish { rule.publish } else { rule.receive });
        about.find(|rule| rule.matches(topic, who)).is_some_and(|rule| rule.allows)
    }
}

fn random_rules(dice: &mut Dice) -> Vec<ModelRule> {
    let rule = |dice: &mut Dice| ModelRule {
        allows: dice.below(3) > 0,
        publish: dice.below(2) == 0,
        receive: true,
        filter: dice.text(&["a", "b", "+", "#", "%u", "%c", "$x"], &["a", "b", "+", "#", "%u", "%c", ""]),
        is_pattern: false,
    };
    (0..dice.below(6)).map(|_| rule(dice)).collect()
}

/// Rules as a TOML file gives them to a user and to anonymous clients.
fn random_toml(dice: &mut Dice, user: &str) -> (RuleSet, Model) {
    let rules = random_rules(dice);
    let is_covered = dice.below(2) == 0;
    let mut text = format!("subscribe = \"{}\"\n[role.r]\nrules = [\n", if is_covered { "covered" } else { "overlap" });
    for rule in &rules {
        let effect = if rule.allows { "allow" } else { "deny" };
        let actions = if rule.publish { "[\"publish\", \"subscribe\"]" } else { "\"subscribe\"" };
        let _ = writeln!(text, "{{ {effect} = {actions}, filter = \"{}\" }},", rule.filter);
    }
    let _ = writeln!(text, "]\n[user.\"{user}\"]\nroles = [\"r\"]\n[anonymous]\nroles = [\"r\"]");
    let set = toml_file::read(Path::new("p"), &text).unwrap_or_else(|error| panic!("{error}: {text}"));
    (set, Model { rules, is_covered })
}

/// Rules as an `acl_file` gives them to a user.
fn random_acl(dice: &mut Dice, user: &str) -> (RuleSet, Model) {
    let mut text = format!("user {user}\n");
    let mut lists: [Vec<ModelRule>; 4] = Default::default();
    for mut rule in random_rules(dice) {
        rule.is_pattern = dice.below(2) == 0;
        if !rule.is_pattern && rule.filter.contains('%') {
            continue;
        }
        if !rule.allows {
            rule.publish = true;
        }
        let access = match (rule.allows, rule.publish) {
            (false, _) => "deny",
            (true, true) => "readwrite",
            (true, false) => "read",
        };
        let keyword = if rule.is_pattern { "pattern" } else { "topic" };
        let _ = writeln!(text, "{keyword} {access} {}", rule.filter);
        lists[2 * usize::from(rule.is_pattern) + usize::from(rule.allows)].push(rule);
    }
    let set = acl_file::read(Path::new("p"), text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"));
    (set, Model { rules: lists.concat(), is_covered: false })
}

const NOW: Instant = Instant::from_millis(1);

struct Scene {
    broker: Broker<'static>,
    principals: Arc<Principals>,
}

impl Scene {
    fn authorizer(set: RuleSet, principals: &Arc<Principals>) -> Arc<RuleAuthorizer> {
        let denials = Arc::new(Denials::new(Arc::<DenialCounts>::default()));
        Arc::new(RuleAuthorizer::new(Arc::new(RulesInUse::new(set, principals.clone())), denials))
    }

    fn new(set: RuleSet) -> Self {
        let principals = Arc::<Principals>::default();
        let memory = Memory::owned(&Capacity::GATEWAY, &Limits::GATEWAY, Shard::ONLY);
        let config = Config { authentication: Authentication::Ask, ..Config::gateway(1) };
        let broker = Broker::new(memory, config, Self::authorizer(set, &principals));
        Self { broker, principals }
    }

    fn change(&mut self, set: RuleSet) {
        self.broker.set_authorize(NOW, Self::authorizer(set, &self.principals));
    }

    /// Publishes as the server, whom nobody asks for a permission.
    fn publish(&mut self, topic: &str) {
        let topic = TopicName::new(topic).unwrap();
        let message = LocalPublish { topic, payload: b"", qos: QoS::AtMostOnce, retain: false, expiry_secs: None };
        self.broker.publish(NOW, message).unwrap();
    }
}

/// The answer to a request, and the topics of the messages that come.
fn poll(client: &mut LocalClient<'_>, broker: &mut Broker<'static>) -> (Option<ReasonCode>, Vec<String>) {
    let (mut answer, mut topics) = (None, Vec::new());
    while let Some(event) = client.poll(broker, NOW) {
        match event {
            LocalEvent::Message(publish) => topics.push(publish.topic.to_owned()),
            LocalEvent::Answer { code, .. } => answer = Some(code),
            other => panic!("{other:?}"),
        }
    }
    (answer, topics)
}

/// One triple: the client subscribes, messages come, and rules change meanwhile.
fn try_one(
    dice: &mut Dice,
    (scene, model): (&mut Scene, &Model),
    client: &mut LocalClient<'_>,
    who: (Option<&str>, &str),
) -> bool {
    let (text, topic) = (dice.filter(), dice.topic());
    let whole = if dice.below(8) == 0 { format!("$share/g/{text}") } else { text.clone() };
    let filter = TopicFilter::new(&whole).unwrap();
    client.subscribe(&mut scene.broker, NOW, filter, QoS::AtMostOnce).unwrap();
    let (code, _) = poll(client, &mut scene.broker);
    let is_granted = code == Some(ReasonCode::Success);
    assert!(is_granted || code == Some(ReasonCode::NotAuthorized), "{code:?}");
    let may_read = |topic: &str| is_match(&text, topic) && model.may(false, topic, who);
    let story = format!("{who:?} {whole} {topic} {:?} {}", model.rules, model.is_covered);
    if !text.contains(['+', '#']) {
        assert_eq!(is_granted, may_read(&text), "{story}");
    }
    let topics: Vec<String> = [topic.clone()].into_iter().chain((0..20).map(|_| dice.topic())).collect();
    if !model.is_covered && topics.iter().any(|topic| may_read(topic)) {
        assert!(is_granted, "{story}");
    }
    for topic in &topics {
        scene.publish(topic);
        let (_, came) = poll(client, &mut scene.broker);
        let comes = is_granted && may_read(topic);
        let expected: &[&String] = if comes { &[topic] } else { &[] };
        assert_eq!(came.iter().collect::<Vec<_>>(), expected, "{topic}: {story}");
        if model.is_covered && is_granted {
            assert_eq!(comes, is_match(&text, topic), "{topic} was granted and does not come: {story}");
        }
    }
    let name = TopicName::new(&topic).unwrap();
    let message = LocalPublish { topic: name, payload: b"", qos: QoS::AtLeastOnce, retain: false, expiry_secs: None };
    client.publish(&mut scene.broker, NOW, message).unwrap();
    let (code, _) = poll(client, &mut scene.broker);
    assert_eq!(code != Some(ReasonCode::NotAuthorized), model.may(true, &topic, who), "{story}");
    client.unsubscribe(&mut scene.broker, NOW, filter).unwrap();
    poll(client, &mut scene.broker);
    is_granted
}

/// A subscription that was granted under other rules: the message of that moment comes only if the present rules allow that.
fn change_between(dice: &mut Dice, scene: &mut Scene, client: &mut LocalClient<'_>, who: (Option<&str>, &str)) {
    let user = who.0.unwrap_or("nobody");
    let all = "subscribe = \"overlap\"\n[role.r]\nrules = [{ allow = \"subscribe\", filter = [\"#\", \"$x/#\"] }]\n";
    let all = format!("{all}[user.\"{user}\"]\nroles = [\"r\"]\n[anonymous]\nroles = [\"r\"]\n");
    scene.change(toml_file::read(Path::new("p"), &all).unwrap());
    let (text, topic) = (dice.filter(), dice.topic());
    let filter = TopicFilter::new(&text).unwrap();
    client.subscribe(&mut scene.broker, NOW, filter, QoS::AtMostOnce).unwrap();
    assert_eq!(poll(client, &mut scene.broker).0, Some(ReasonCode::Success));
    let (set, model) = random_toml(dice, user);
    scene.publish(&topic);
    scene.change(set);
    scene.publish(&topic);
    let (_, came) = poll(client, &mut scene.broker);
    let comes = is_match(&text, &topic) && model.may(false, &topic, who);
    assert_eq!(came.len(), if comes { 2 } else { 0 }, "{who:?} {text} {topic} {:?}", model.rules);
}

#[test]
fn random_rules_filters_and_topics_are_judged_as_the_model_judges() {
    const ROUNDS: usize = 1_000;
    const TRIPLES: usize = 10;
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut granted = 0;
    for _ in 0..ROUNDS {
        let (user, client_id) = (dice.one_of(&NAMES), dice.one_of(&NAMES));
        let is_acl = dice.below(3) == 0;
        let (set, model) = if is_acl { random_acl(&mut dice, user) } else { random_toml(&mut dice, user) };
        let is_anonymous = !is_acl && dice.below(4) == 0;
        let who = ((!is_anonymous).then_some(user), client_id);
        let mut scene = Scene::new(set);
        let principal = who.0.map_or(Principal::ANONYMOUS, |user| scene.principals.principal(user).unwrap());
        let (mut incoming, mut outgoing) = ([0; 1024], [0; 1024]);
        let mut client = LocalClient::new(client_id, &mut incoming, &mut outgoing).with_principal(principal);
        client.connect(&mut scene.broker, NOW).unwrap();
        for _ in 0..TRIPLES {
            granted += usize::from(try_one(&mut dice, (&mut scene, &model), &mut client, who));
        }
        change_between(&mut dice, &mut scene, &mut client, who);
    }
    let share = granted * 100 / (ROUNDS * TRIPLES);
    assert!((10..90).contains(&share), "{share} % of the subscriptions were granted: the rules are too simple");
}
