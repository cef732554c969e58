//! For fuzzing: any bytes as a file of permissions.

use super::rule::RuleAction;
use super::rule_filter::SubjectNames;
use super::rule_list::RuleList;
use super::rule_set::RuleSet;
use super::{acl_file, toml_file};
use goldcrest_core::{Subscribable, TopicFilter, TopicName};
use std::path::Path;

/// Reads the bytes behind the first as a file, of the kind that the first byte says. Asks what clients may do with filters and topics from the file
/// itself, and checks that the answers agree.
///
/// # Panics
/// They do not.
pub(crate) fn check_permissions(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(bytes);
    let set = if kind % 2 == 0 {
        acl_file::read(Path::new("acl"), bytes)
    } else {
        toml_file::read(Path::new("permissions.toml"), &text)
    };
    let Ok(set) = set else { return };
    let words: Vec<&str> =
        text.split(['"', ' ', '\n', '\t', '\r', '[', ']']).filter(|it| !it.is_empty()).take(24).collect();
    let more = ["#", "+/a", "a/b", "$SYS/#", "$SYS/x"];
    for user in [None, Some("ann"), Some("a+")].into_iter().chain(words.first().copied().map(Some)) {
        for client_id in ["c", "a/b", "#"] {
            let names = SubjectNames { user: user.map(str::as_bytes), client_id: client_id.as_bytes() };
            let list = list_of(&set, user);
            for text in words.iter().chain(&more) {
                check_filter(list, text, &names, words.iter().chain(&more));
            }
        }
    }
}

fn list_of<'s>(set: &'s RuleSet, user: Option<&str>) -> &'s RuleList {
    set.list(user.map_or(set.anonymous(), |user| set.of_user(user)))
}

/// A subscription that is granted as a whole may read each topic that matches, and one that is refused none.
fn check_filter<'w>(list: &RuleList, text: &str, names: &SubjectNames<'_>, topics: impl Iterator<Item = &'w &'w str>) {
    let Ok(filter) = TopicFilter::new(text) else { return };
    let (answer, _) = list.subscribe(filter.proper(), names);
    for topic in topics.filter_map(|topic| TopicName::new(topic).ok()).filter(|topic| filter.matches(*topic)) {
        let decided = list.decide(RuleAction::Receive, topic.as_str(), names);
        let may = decided.is_some_and(|rule| rule.allows);
        assert!(may || answer != Subscribable::Wholly, "{text} is granted wholly, and {topic} denied to {names:?}");
        let is_exact = filter.proper() == topic.as_str();
        assert!(!(may && is_exact && answer == Subscribable::No), "{text} is refused, and allowed to {names:?}");
    }
}
