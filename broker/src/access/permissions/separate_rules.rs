//! Rules about subscriptions apart from those about their messages, and what holds without a rule: as Mosquitto's dynamic security has them.

use super::filter_sets::contains;
use super::rule::{Rule, RuleAction};
use super::rule_filter::SubjectNames;

/// The topics below this are permitted by rules alone.
const CONTROL: &str = "$CONTROL";

/// Rules about subscriptions alone, and what is permitted where no rule matches.
#[derive(Clone, Debug)]
pub(crate) struct SeparateRules {
    /// The first one that matches decides.
    pub(crate) subscribe: Box<[SubscribeRule]>,
    pub(crate) defaults: RuleDefaults,
    /// Stands for the defaults where they permit something.
    pub(crate) default_rule: Rule,
}

/// A rule about subscriptions.
#[derive(Clone, Debug)]
pub(crate) struct SubscribeRule {
    pub(crate) scope: SubscribeScope,
    pub(crate) rule: Rule,
}

/// Which subscriptions a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SubscribeScope {
    /// Those whose filter has the text of the rule's filter.
    Same,
    /// Those whose filter lies within that of the rule.
    Within,
    /// Those whose filter has a wildcard.
    Wildcards,
}

/// What is permitted where no rule matches, but for topics that begin with `$CONTROL`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RuleDefaults {
    pub(crate) publish: bool,
    pub(crate) receive: bool,
    pub(crate) subscribe: bool,
}

impl SeparateRules {
    /// What decides about an action where no rule matches.
    pub(super) fn default_for(&self, action: RuleAction, topic: &str) -> Option<&Rule> {
        let permits = match action {
            RuleAction::Publish => self.defaults.publish,
            RuleAction::Receive => self.defaults.receive,
        };
        self.default_if(permits, topic)
    }

    fn default_if(&self, permits: bool, topic: &str) -> Option<&Rule> {
        (permits && !topic.starts_with(CONTROL)).then_some(&self.default_rule)
    }

    /// What decides about a subscription to `filter`, which has no `$share/group/`.
    pub(super) fn decide(&self, filter: &str, names: &SubjectNames<'_>) -> Option<&Rule> {
        let matches = |it: &&SubscribeRule| match it.scope {
            SubscribeScope::Same => it.rule.filter.as_str() == filter,
            SubscribeScope::Within => it.rule.filter_for(names).is_some_and(|of_rule| contains(&of_rule, filter)),
            SubscribeScope::Wildcards => filter.contains(['+', '#']),
        };
        let decided = self.subscribe.iter().find(matches).map(|it| &it.rule);
        decided.or_else(|| self.default_if(self.defaults.subscribe, filter))
    }
}
