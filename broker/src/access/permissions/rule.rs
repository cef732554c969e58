//! One rule.

use super::rule_filter::{RuleFilter, SubjectNames};
use std::borrow::Cow;
use std::sync::Arc;

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RuleAction {
    /// To publish to a topic.
    Publish,
    /// To be sent messages of a topic, and to subscribe to it.
    Receive,
}

/// One rule. Which action it is about stands beside it.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) allows: bool,
    pub(crate) filter: RuleFilter,
    /// The rule is not about clients whose user name or Client Identifier has a `+` or `#`.
    pub(crate) is_for_plain_names: bool,
    /// Where the rule stands, for the log.
    pub(crate) origin: Arc<str>,
}

impl Rule {
    pub(super) fn matches(&self, topic: &str, names: &SubjectNames<'_>) -> bool {
        self.filter.matches(topic, names, !self.allows) && (!self.is_for_plain_names || are_plain(names))
    }

    /// The filter of this rule for a client with these names; `None` if the rule is not about any topic then.
    pub(super) fn filter_for(&self, names: &SubjectNames<'_>) -> Option<Cow<'_, str>> {
        if self.is_for_plain_names && !are_plain(names) {
            return None;
        }
        self.filter.with_names(names, !self.allows)
    }
}

fn are_plain(names: &SubjectNames<'_>) -> bool {
    let is_plain = |name: &[u8]| !name.contains(&b'+') && !name.contains(&b'#');
    is_plain(names.client_id) && names.user.is_none_or(is_plain)
}
