//! The permissions of a gateway as a TOML file: roles with rules, and users with roles.

use super::rule::{Rule, RuleAction};
use super::rule_filter::{Placeholders, RuleFilter};
use super::rule_list::{RuleList, SubscribeMode};
use super::rule_set::{ListId, RuleSet};
use crate::config::values::{Fault, Keys, OneOf, Table, Value as _, Word, list, string};
use crate::config::{ConfigError, line_of, suggestion};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;
use toml::Spanned;

/// Reads the text of a file, which stands at `path`.
///
/// # Errors
/// The text is no TOML, or has a key or value that is not allowed, or a user has a role that does not exist.
pub(super) fn read(path: &Path, text: &str) -> Result<RuleSet, ConfigError> {
    let document: PermissionsDocument = toml::from_str(text).map_err(|error| ConfigError::new(path, text, &error))?;
    document.rules().map_err(|unknown| unknown.in_file(path, text))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PermissionsDocument {
    subscribe: Option<OneOf<SubscribeMode>>,
    role: Option<Named<RoleKeys>>,
    user: Option<Named<HolderKeys>>,
    anonymous: Option<Table<HolderKeys>>,
    other_users: Option<Table<HolderKeys>>,
}

impl Word for SubscribeMode {
    const WORDS: &'static [(&'static str, Self)] = &[("covered", Self::Covered), ("overlap", Self::Overlap)];
}

/// The keys of a role.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleKeys {
    #[serde(deserialize_with = "rules")]
    rules: Vec<Table<RuleKeys>>,
}

impl Keys for RoleKeys {
    const ALLOWED: &'static str = "a table: [role.NAME]";
}

/// The keys of who has roles.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HolderKeys {
    #[serde(default, deserialize_with = "role_names")]
    roles: Vec<Spanned<RoleName>>,
    #[serde(default, deserialize_with = "rules")]
    rules: Vec<Table<RuleKeys>>,
}

impl Keys for HolderKeys {
    const ALLOWED: &'static str =
        "a table with roles = [...] or rules = [...]: [user.NAME], [anonymous] or [other_users]";
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleKeys {
    allow: Option<OneOrMore<OneOf<FileAction>>>,
    deny: Option<OneOrMore<OneOf<FileAction>>>,
    filter: OneOrMore<FilterText>,
}

impl Keys for RuleKeys {
    const ALLOWED: &'static str = RULES;

    fn check(&self) -> Result<(), Fault> {
        match (&self.allow, &self.deny) {
            (Some(_), None) | (None, Some(_)) => Ok(()),
            (Some(_), Some(_)) => Err(Fault::Other("allow and deny: a rule has one of them".to_owned())),
            (None, None) => Err(Fault::Missing("allow")),
        }
    }
}

const RULES: &str = "a list of tables, like [{ allow = \"publish\", filter = \"sensors/%c/#\" }]";

fn rules<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Table<RuleKeys>>, D::Error> {
    list(from, RULES)
}

/// What a rule of the file is about. To subscribe is to be sent messages, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileAction {
    Publish,
    Subscribe,
}

impl Word for FileAction {
    const WORDS: &'static [(&'static str, Self)] = &[("publish", Self::Publish), ("subscribe", Self::Subscribe)];
}

impl From<FileAction> for RuleAction {
    fn from(action: FileAction) -> Self {
        match action {
            FileAction::Publish => Self::Publish,
            FileAction::Subscribe => Self::Receive,
        }
    }
}

#[derive(Clone, Debug)]
struct FilterText(RuleFilter);

impl<'de> Deserialize<'de> for FilterText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        const ALLOWED: &str =
            "a Topic Filter, like \"sensors/%c/#\", where %c is the Client Identifier and %u the user name";
        let text = string(from, ALLOWED, |text| Some(text.to_owned()))?;
        if text.starts_with("$share/") {
            return Err(D::Error::custom("a rule has the Topic Filter without $share/group/"));
        }
        let filter = RuleFilter::new(&text, Placeholders::WholeLevels);
        filter.map(Self).map_err(|error| D::Error::custom(format!("{text:?} is not allowed: {}", error.in_words())))
    }
}

#[derive(Clone, Debug)]
struct RoleName(String);

impl<'de> Deserialize<'de> for RoleName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        string(from, ROLE_NAMES, |name| Some(Self(name.to_owned())))
    }
}

const ROLE_NAMES: &str = "a list of names of roles, like [\"sensor\"]";

fn role_names<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Spanned<RoleName>>, D::Error> {
    list(from, ROLE_NAMES)
}

/// A value, or a list of at least one.
#[derive(Debug)]
struct OneOrMore<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMore<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = OneOrMore<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, or a list of at least one")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(OneOrMore(vec![T::deserialize(serde::de::value::StrDeserializer::new(text))?]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                let items: Vec<T> = list(SeqAccessDeserializer::new(seq), "a list of strings")?;
                if items.is_empty() { Err(A::Error::invalid_length(0, &self)) } else { Ok(OneOrMore(items)) }
            }
        }

        from.deserialize_any(Either(PhantomData))
    }
}

/// Tables by names that the file chooses.
#[derive(Debug)]
struct Named<T>(BTreeMap<String, Table<T>>);

impl<'de, T: Keys + Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct ByName<T>(PhantomData<T>);

        impl<'de, T: Keys + Deserialize<'de>> Visitor<'de> for ByName<T> {
            type Value = Named<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "tables, each with a name; {}", T::ALLOWED)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Named<T>, A::Error> {
                BTreeMap::deserialize(MapAccessDeserializer::new(map)).map(Named)
            }
        }

        from.deserialize_any(ByName(PhantomData))
    }
}

/// A user has a role that the file does not have.
struct UnknownRole {
    /// The key of the list that names the role.
    key: String,
    role: Spanned<RoleName>,
    known: Vec<String>,
}

impl UnknownRole {
    fn in_file(self, path: &Path, text: &str) -> ConfigError {
        let Self { key, role, known } = self;
        let name = &role.get_ref().0;
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let meant = suggestion(name, &known).map(|it| format!("; did you mean {it}?")).unwrap_or_default();
        let message = format!("there is no role {name:?}; roles are tables [role.NAME]{meant}");
        ConfigError { file: path.to_owned(), line: line_of(text, role.span().start), key, message }
    }
}

impl PermissionsDocument {
    fn rules(self) -> Result<RuleSet, UnknownRole> {
        let mut builder = Builder {
            mode: self.subscribe.map_or(SubscribeMode::Covered, OneOf::get),
            roles: HashMap::new(),
            lists: HashMap::new(),
            set: RuleSet::default(),
        };
        for (name, Table(role)) in self.role.map(|all| all.0).unwrap_or_default() {
            let rules = rules_of(role.rules, &format!("role {name}"));
            builder.roles.insert(name, rules);
        }
        for (name, Table(user)) in self.user.map(|all| all.0).unwrap_or_default() {
            let list = builder.list(user, &format!("user.{name}"), &format!("user {name}"))?;
            builder.set.set_user(&name, list);
        }
        if let Some(Table(anonymous)) = self.anonymous {
            let list = builder.list(anonymous, "anonymous", "anonymous")?;
            builder.set.set_anonymous(list);
        }
        if let Some(Table(others)) = self.other_users {
            let list = builder.list(others, "other_users", "other_users")?;
            builder.set.set_other_users(list);
        }
        Ok(builder.set)
    }
}

/// Makes lists of the rules of roles.
struct Builder {
    mode: SubscribeMode,
    roles: HashMap<String, Vec<(RuleAction, Rule)>>,
    /// The lists that were made of roles alone, which many users may share.
    lists: HashMap<Vec<String>, ListId>,
    set: RuleSet,
}

impl Builder {
    /// The list of who has these roles and rules: first the own rules, then those of the roles in their order.
    fn list(&mut self, holder: HolderKeys, key: &str, name: &str) -> Result<ListId, UnknownRole> {
        let mut rules = rules_of(holder.rules, name);
        let has_own = !rules.is_empty();
        for role in &holder.roles {
            let Some(of_role) = self.roles.get(&role.get_ref().0) else {
                let mut known: Vec<String> = self.roles.keys().cloned().collect();
                known.sort_unstable();
                return Err(UnknownRole { key: format!("{key}.roles"), role: role.clone(), known });
            };
            rules.extend(of_role.iter().cloned());
        }
        if rules.is_empty() {
            return Ok(ListId::NOTHING);
        }
        let names: Vec<String> = holder.roles.into_iter().map(|role| role.into_inner().0).collect();
        if let Some(known) = self.lists.get(&names).filter(|_| !has_own) {
            return Ok(*known);
        }
        let id = self.set.add(RuleList::new(self.mode, &rules));
        if !has_own {
            self.lists.insert(names, id);
        }
        Ok(id)
    }
}

/// The rules of the internal form. `of` says whose they are, for the log.
fn rules_of(tables: Vec<Table<RuleKeys>>, of: &str) -> Vec<(RuleAction, Rule)> {
    let mut rules = Vec::new();
    for (number, Table(keys)) in (1..).zip(tables) {
        let allows = keys.allow.is_some();
        let origin: Arc<str> = format!("rule {number} of {of}").into();
        for action in keys.allow.or(keys.deny).into_iter().flat_map(|actions| actions.0) {
            for FilterText(filter) in &keys.filter.0 {
                let (filter, origin) = (filter.clone(), origin.clone());
                rules.push((action.get().into(), Rule { allows, filter, is_for_plain_names: false, origin }));
            }
        }
    }
    rules
}
