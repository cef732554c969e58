//! The rules of one user in their order, and what they say about a topic or a filter.

use super::filter_sets::{contains, intersect, intersection};
use super::rule::{Rule, RuleAction};
use super::rule_filter::{SubjectNames, TopicStart, head_of};
use super::separate_rules::SeparateRules;
use goldcrest_core::Subscribable;
use std::borrow::Cow;

/// When a subscription is granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SubscribeMode {
    /// If each topic that its filter matches may be read: nobody is granted what is never delivered.
    #[default]
    Covered,
    /// If one topic that its filter matches may be read. Messages of other topics are held back one by one.
    Overlap,
}

/// The rules of one user, or of several users with the same rules. The first rule that matches decides. Where no rule matches nothing is
/// permitted.
#[derive(Clone, Debug, Default)]
pub(crate) struct RuleList {
    publish: OrderedRules,
    /// About subscriptions and their messages.
    receive: OrderedRules,
    mode: SubscribeMode,
    /// If there are any, these decide about subscriptions instead of `mode`, and where no rule matches.
    separate: Option<Box<SeparateRules>>,
    needs_client_id: bool,
}

/// Rules about one action.
#[derive(Clone, Debug, Default)]
struct OrderedRules {
    /// How topics begin that the rules match, at the same places. They stand close together, because each question looks at them.
    starts: Box<[TopicStart]>,
    rules: Box<[Rule]>,
}

impl FromIterator<Rule> for OrderedRules {
    fn from_iter<I: IntoIterator<Item = Rule>>(rules: I) -> Self {
        let rules: Box<[Rule]> = rules.into_iter().collect();
        Self { starts: rules.iter().map(|rule| rule.filter.start()).collect(), rules }
    }
}

/// A decision of a list, with the rule that decided; `None`: no rule matched, so it is a denial.
pub(crate) type Decided<'l> = Option<&'l Rule>;

impl RuleList {
    /// A list of these rules.
    pub(crate) fn new(mode: SubscribeMode, rules: &[(RuleAction, Rule)]) -> Self {
        let of = |wanted: RuleAction| {
            rules.iter().filter(move |(action, _)| *action == wanted).map(|(_, rule)| rule.clone())
        };
        let is_client_id = |rule: &Rule| rule.filter.has_client_id() || rule.is_for_plain_names;
        Self {
            publish: of(RuleAction::Publish).collect(),
            receive: of(RuleAction::Receive).collect(),
            mode,
            separate: None,
            needs_client_id: rules.iter().any(|(_, rule)| is_client_id(rule)),
        }
    }

    /// A list of these rules about messages, with others about subscriptions.
    pub(crate) fn with_separate(rules: &[(RuleAction, Rule)], separate: SeparateRules) -> Self {
        Self { separate: Some(Box::new(separate)), ..Self::new(SubscribeMode::Overlap, rules) }
    }

    /// Whether decisions depend on the Client Identifier.
    pub(crate) fn needs_client_id(&self) -> bool {
        self.needs_client_id
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.publish.rules.is_empty() && self.receive.rules.is_empty() && self.separate.is_none()
    }

    fn of(&self, action: RuleAction) -> &OrderedRules {
        match action {
            RuleAction::Publish => &self.publish,
            RuleAction::Receive => &self.receive,
        }
    }

    /// The rule that decides about a topic.
    #[inline]
    pub(crate) fn decide(&self, action: RuleAction, topic: &str, names: &SubjectNames<'_>) -> Decided<'_> {
        let (head, list) = (head_of(topic.as_bytes()), self.of(action));
        let near = list.starts.iter().enumerate().filter(|(_, start)| start.is_at(head));
        let decided = near.filter_map(|(at, _)| list.rules.get(at)).find(|rule| rule.matches(topic, names));
        decided.or_else(|| self.separate.as_ref()?.default_for(action, topic))
    }

    /// Decides about a subscription to `filter`, which has no `$share/group/`; with the rule that denies it, if one does.
    pub(crate) fn subscribe(&self, filter: &str, names: &SubjectNames<'_>) -> (Subscribable, Decided<'_>) {
        if let Some(separate) = &self.separate {
            return match separate.decide(filter, names) {
                Some(rule) if rule.allows => (self.readable(filter, names, separate), Some(rule)),
                decided => (Subscribable::No, decided),
            };
        }
        match self.mode {
            SubscribeMode::Covered => self.covered(filter, names),
            SubscribeMode::Overlap => self.overlap(filter, names),
        }
    }

    /// Which messages of a subscription that is granted may be read.
    fn readable(&self, filter: &str, names: &SubjectNames<'_>, separate: &SeparateRules) -> Subscribable {
        for rule in &self.receive.rules {
            let Some(of_rule) = rule.filter_for(names) else { continue };
            if rule.allows && contains(&of_rule, filter) {
                return Subscribable::Wholly;
            }
            if !rule.allows && intersect(&of_rule, filter) {
                return Subscribable::Partly;
            }
        }
        match separate.default_for(RuleAction::Receive, filter) {
            Some(_) => Subscribable::Wholly,
            None => Subscribable::Partly,
        }
    }

    fn covered(&self, filter: &str, names: &SubjectNames<'_>) -> (Subscribable, Decided<'_>) {
        for rule in &self.receive.rules {
            let Some(of_rule) = rule.filter_for(names) else { continue };
            if rule.allows && contains(&of_rule, filter) {
                return (Subscribable::Wholly, Some(rule));
            }
            if !rule.allows && intersect(&of_rule, filter) {
                return (Subscribable::No, Some(rule));
            }
        }
        (Subscribable::No, None)
    }

    fn overlap(&self, filter: &str, names: &SubjectNames<'_>) -> (Subscribable, Decided<'_>) {
        let mut denied: Vec<(Cow<'_, str>, &Rule)> = Vec::new();
        let mut granted = None;
        for rule in &self.receive.rules {
            let Some(of_rule) = rule.filter_for(names) else { continue };
            let is_all = contains(&of_rule, filter);
            if rule.allows && is_all {
                let answer = if denied.is_empty() { Subscribable::Wholly } else { Subscribable::Partly };
                return (answer, Some(rule));
            }
            if rule.allows {
                let common = intersection(&of_rule, filter);
                let is_left = |common: &String| !denied.iter().any(|(denied, _)| contains(denied, common));
                granted = granted.or(common.filter(is_left).map(|_| rule));
            } else if is_all {
                denied.insert(0, (of_rule, rule));
                break;
            } else if intersect(&of_rule, filter) {
                denied.push((of_rule, rule));
            }
        }
        match granted {
            Some(rule) => (Subscribable::Partly, Some(rule)),
            None => (Subscribable::No, denied.first().map(|(_, rule)| *rule)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rule_filter::{Placeholders, RuleFilter};
    use super::*;

    fn list(mode: SubscribeMode, rules: &[&str]) -> RuleList {
        let rule = |text: &&str| {
            let mut words = text.splitn(3, ' ');
            let (effect, action, filter) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
            let action = if action == "publish" { RuleAction::Publish } else { RuleAction::Receive };
            let filter = RuleFilter::new(filter, Placeholders::WholeLevels).unwrap();
            let origin = (*text).into();
            (action, Rule { allows: effect == "allow", filter, is_for_plain_names: false, origin })
        };
        RuleList::new(mode, &rules.iter().map(rule).collect::<Vec<_>>())
    }

    const ANN: SubjectNames<'_> = SubjectNames { user: Some(b"ann"), client_id: b"c1" };

    #[test]
    fn the_first_rule_that_matches_decides_and_without_one_nothing_is_permitted() {
        let list = list(
            SubscribeMode::Covered,
            &["deny publish a/secret", "allow publish a/#", "deny publish a/b", "allow subscribe s/#"],
        );
        let may = |action, topic| list.decide(action, topic, &ANN).is_some_and(|rule| rule.allows);
        assert!(!may(RuleAction::Publish, "a/secret"));
        assert!(may(RuleAction::Publish, "a/b"), "an earlier rule allows it");
        assert!(!may(RuleAction::Publish, "s/x") && !may(RuleAction::Receive, "a/x"), "other actions");
        assert!(may(RuleAction::Receive, "s/x"));
        assert!(RuleList::default().decide(RuleAction::Publish, "a", &ANN).is_none());
    }

    #[test]
    fn a_subscription_is_granted_if_it_lies_within_what_is_granted() {
        let list = list(
            SubscribeMode::Covered,
            &["deny subscribe a/secret", "allow subscribe a/#", "allow subscribe own/%u/+", "allow subscribe b/c"],
        );
        let answer = |filter| list.subscribe(filter, &ANN).0;
        for granted in ["a/b", "a/b/#", "a/+/x", "own/ann/x", "own/ann/+", "b/c", "a"] {
            assert_eq!(answer(granted), Subscribable::Wholly, "{granted}");
        }
        for refused in ["a/secret", "a/+", "a/#", "#", "+/b", "own/+/x", "own/bob/x", "own/ann/#", "b/#", "b/+"] {
            assert_eq!(answer(refused), Subscribable::No, "{refused}");
        }
        assert_eq!(list.subscribe("a/+", &ANN).1.map(|rule| &*rule.origin), Some("deny subscribe a/secret"));
    }

    #[test]
    fn with_overlap_a_subscription_is_granted_if_one_topic_may_be_read() {
        let list = list(
            SubscribeMode::Overlap,
            &["deny subscribe a/secret/#", "allow subscribe a/#", "allow subscribe own/%u/+", "allow subscribe b/c"],
        );
        let answer = |filter| list.subscribe(filter, &ANN).0;
        for (filter, expected) in [
            ("a/b", Subscribable::Wholly),
            ("own/ann/x", Subscribable::Wholly),
            ("b/c", Subscribable::Wholly),
            ("a/#", Subscribable::Partly),
            ("#", Subscribable::Partly),
            ("+/+", Subscribable::Partly),
            ("b/#", Subscribable::Partly),
            ("own/+/x", Subscribable::Partly),
            ("a/secret", Subscribable::No),
            ("a/secret/#", Subscribable::No),
            ("+/d", Subscribable::Partly),
            ("c/d", Subscribable::No),
            ("own/bob/x", Subscribable::No),
            ("$SYS/#", Subscribable::No),
        ] {
            assert_eq!(answer(filter), expected, "{filter}");
        }
    }

    #[test]
    fn an_allowance_that_a_denial_before_it_covers_grants_nothing() {
        let list = list(SubscribeMode::Overlap, &["deny subscribe a/#", "allow subscribe a/+", "deny subscribe #"]);
        assert_eq!(list.subscribe("+/b", &ANN).0, Subscribable::No);
        assert_eq!(list.subscribe("#", &ANN).0, Subscribable::No);
    }

    #[test]
    fn names_with_wildcards_grant_no_subscription_and_deny_more() {
        let list = list(
            SubscribeMode::Covered,
            &["deny subscribe in/%c/keys", "allow subscribe in/#", "allow subscribe out/%c/#"],
        );
        let answer = |client_id: &str, filter| {
            let names = SubjectNames { client_id: client_id.as_bytes(), ..ANN };
            list.subscribe(filter, &names).0
        };
        assert_eq!(answer("c1", "out/c1/x"), Subscribable::Wholly);
        assert_eq!(answer("c1", "in/c2/keys"), Subscribable::Wholly);
        assert_eq!(answer("c1", "in/c1/keys"), Subscribable::No);
        for client_id in ["+", "#", "c1/x", "a\0"] {
            for filter in ["out/c1/x", "out/+/x", "out/#", "out/c1/x/y", "in/c2/keys"] {
                assert_eq!(answer(client_id, filter), Subscribable::No, "{client_id:?} and {filter}");
            }
        }
    }
}
