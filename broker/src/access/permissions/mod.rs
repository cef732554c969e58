//! What clients may do, by rules from a file.
//!
//! ```text
//! toml_file        our file: roles with rules, users with roles
//! acl_file         Mosquitto's file
//! rule_set         all rules of a gateway, from either file
//! rule             one rule
//! rule_list        the rules of one user in their order, and what they decide
//! rule_filter      the Topic Filter of a rule, with %c and %u
//! filter_sets      which Topic Filters lie within others
//! fuzzing          any bytes as one of these files
//! separate_rules   rules about subscriptions apart from those about their messages
//! rule_authorizer  answers the questions of the core by the rules
//! denials          counts and notes what was denied
//! permission_file  reads the file, and reads it anew
//! ```
//!
//! Both files become a [`RuleSet`], which never changes. A shard asks it through its own [`RuleAuthorizer`]. Other rules are another set and
//! other authorizers, and the core checks then what it granted so far. So no question is answered by a part of a file.

mod acl_file;
mod denials;
mod filter_sets;
mod fuzzing;
mod permission_file;
#[cfg(test)]
mod random_tests;
mod rule;
mod rule_authorizer;
mod rule_filter;
mod rule_list;
mod rule_set;
mod separate_rules;
#[cfg(test)]
mod tests;
mod toml_file;

pub(crate) use denials::{Denial, DenialCounts, Denials};
pub(crate) use filter_sets::contains;
pub(crate) use fuzzing::check_permissions;
pub(crate) use permission_file::PermissionFile;
pub(crate) use rule::{Rule, RuleAction};
pub(crate) use rule_authorizer::{RuleAuthorizer, RulesInUse};
pub(crate) use rule_filter::{Placeholders, RuleFilter};
pub(crate) use rule_list::RuleList;
pub(crate) use rule_set::{ListId, RuleSet};
pub(crate) use separate_rules::{RuleDefaults, SeparateRules, SubscribeRule, SubscribeScope};
