//! Mosquitto's `acl_file`, read as Mosquitto reads it.
//!
//! ```text
//! # comment, in the first column
//! topic read public/#            for clients without a user name, as long as no user was named
//! user ann
//! topic [read|write|readwrite|deny] FILTER
//! pattern [read|write|readwrite|deny] FILTER      for everybody; %c is the Client Identifier, %u the user name
//! ```
//!
//! A user's denials come before its other rules, and those before all patterns, of which the denials come first, too. A rule without
//! `read`, `write`, `readwrite` or `deny` is `readwrite`. Several blocks of one user count as one. A `+` or `#` in the user name or Client
//! Identifier of a client makes all patterns deny. SUBSCRIBE is not what is checked, but each message, so many clients subscribe to
//! more than they may read: see [`SubscribeMode::Overlap`].
//!
//! In two points this differs from Mosquitto. A name with a slash stands in no pattern: there it makes several levels of one. And a subscription
//! that can never get a message is refused.

use super::rule::{Rule, RuleAction};
use super::rule_filter::{Placeholders, RuleFilter};
use super::rule_list::{RuleList, SubscribeMode};
use super::rule_set::RuleSet;
use crate::config::ConfigError;
use std::collections::BTreeMap;
use std::path::Path;

/// Reads the bytes of a file, which stands at `path`.
///
/// # Errors
/// A line makes no sense. Mosquitto refuses the whole file then, too.
pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<RuleSet, ConfigError> {
    let mut lines = AclLines::default();
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    for (number, line) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
        lines.take(number, line).map_err(|fault| ConfigError {
            file: path.to_owned(),
            line: number,
            key: String::new(),
            message: fault.in_words(),
        })?;
    }
    Ok(lines.rules())
}

/// Why a line makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
enum AclFault {
    NotText,
    Keyword(String),
    Access(String),
    NoTopic,
    NoUser,
    Filter(String),
}

impl AclFault {
    fn in_words(&self) -> String {
        match self {
            Self::NotText => "it is not UTF-8 text without bytes 0 here".to_owned(),
            Self::Keyword(word) => {
                format!("{word:?} is not allowed; a line begins with topic, pattern, user, or # in the first column")
            }
            Self::Access(word) => format!("{word:?} is not allowed; allowed: read, write, readwrite, deny"),
            Self::NoTopic => "a topic is missing".to_owned(),
            Self::NoUser => "the name of the user is missing".to_owned(),
            Self::Filter(filter) => format!("{filter:?} is no Topic Filter"),
        }
    }
}

/// The rules of one user, or the patterns.
#[derive(Clone, Debug, Default)]
struct AclRules {
    denials: Vec<(RuleAction, Rule)>,
    others: Vec<(RuleAction, Rule)>,
}

impl AclRules {
    fn in_order(&self) -> impl Iterator<Item = &(RuleAction, Rule)> {
        self.denials.iter().chain(&self.others)
    }
}

#[derive(Debug, Default)]
struct AclLines {
    /// The user of the lines that follow; `None`: clients without a user name.
    user: Option<String>,
    users: BTreeMap<Option<String>, AclRules>,
    patterns: AclRules,
}

impl AclLines {
    fn take(&mut self, number: usize, line: &[u8]) -> Result<(), AclFault> {
        let line = str::from_utf8(line).ok().filter(|line| !line.contains('\0')).ok_or(AclFault::NotText)?;
        let line = line.trim_end_matches(is_space);
        if line.starts_with('#') {
            return Ok(());
        }
        let Some((keyword, rest)) = first_word(line) else { return Ok(()) };
        match keyword {
            "topic" | "pattern" => self.rule(number, keyword == "pattern", rest),
            "user" => {
                let name = rest.trim_matches(is_space);
                self.user = Some((!name.is_empty()).then(|| name.to_owned()).ok_or(AclFault::NoUser)?);
                Ok(())
            }
            _ => Err(AclFault::Keyword(keyword.to_owned())),
        }
    }

    fn rule(&mut self, number: usize, is_pattern: bool, rest: &str) -> Result<(), AclFault> {
        let (access, topic) = first_word(rest).ok_or(AclFault::NoTopic)?;
        // One word alone is the topic, even if it is called "read".
        const BOTH: &[RuleAction] = &[RuleAction::Publish, RuleAction::Receive];
        let (allows, actions, topic) = match (access, topic.trim_matches(is_space)) {
            (topic, "") => (true, BOTH, topic),
            ("read", topic) => (true, &[RuleAction::Receive][..], topic),
            ("write", topic) => (true, &[RuleAction::Publish][..], topic),
            ("readwrite", topic) => (true, BOTH, topic),
            ("deny", topic) => (false, BOTH, topic),
            _ => return Err(AclFault::Access(access.to_owned())),
        };
        let placeholders = if is_pattern { Placeholders::Anywhere } else { Placeholders::Nowhere };
        let filter = RuleFilter::new(topic, placeholders).map_err(|_| AclFault::Filter(topic.to_owned()))?;
        let rules = if is_pattern { &mut self.patterns } else { self.users.entry(self.user.clone()).or_default() };
        let rules = if allows { &mut rules.others } else { &mut rules.denials };
        let rule = Rule { allows, filter, is_for_plain_names: is_pattern, origin: format!("line {number}").into() };
        rules.extend(actions.iter().map(|action| (*action, rule.clone())));
        Ok(())
    }

    fn rules(self) -> RuleSet {
        let mut set = RuleSet::default();
        let list = |own: Option<&AclRules>| {
            let own = own.into_iter().flat_map(AclRules::in_order);
            // What was read is about messages. A subscription is granted if some of its messages are.
            let all: Vec<(RuleAction, Rule)> = own.chain(self.patterns.in_order()).cloned().collect();
            RuleList::new(SubscribeMode::Overlap, &all)
        };
        for (user, rules) in &self.users {
            let id = set.add(list(Some(rules)));
            match user {
                Some(name) => set.set_user(name, id),
                None => set.set_anonymous(id),
            }
        }
        let id = set.add(list(None));
        set.set_other_users(id);
        if !self.users.contains_key(&None) {
            set.set_anonymous(id);
        }
        set
    }
}

/// The first word of a line, which spaces separate from the rest, as `strtok` does it; `None` if there is none.
fn first_word(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start_matches(' ');
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    (!word.is_empty()).then_some((word, rest))
}

/// What `isspace` of C takes for one.
fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\u{b}' | '\u{c}' | '\r')
}
