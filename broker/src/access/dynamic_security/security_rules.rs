//! The document as rules: what each user may do.
//!
//! The roles of a client come first, by priority, and then those of its groups, by the priorities of the groups and of the roles within each.
//! Within a role the ACLs are asked by priority. The first one that matches decides, and without one the default access.
//!
//! In three points this is stricter than Mosquitto. A disabled client may not do anything at once, not only once its connection is closed. A
//! name with `+`, `#` or a slash stands for no level of a topic. And the ACLs of subscriptions are asked about the filter of a
//! shared subscription without `$share/group/`. Nobody is denied to unsubscribe.

use super::security_document::{AclEntry, AclKind, DefaultAccess, Priorities, RoleEntry, SecurityDocument};
use crate::access::permissions::{
    ListId, Placeholders, Rule, RuleAction, RuleDefaults, RuleFilter, RuleList, RuleSet, SeparateRules, SubscribeRule,
    SubscribeScope,
};
use std::collections::HashMap;
use std::sync::Arc;

/// The rules of all users of a document.
pub(super) fn rules_of(document: &SecurityDocument) -> RuleSet {
    let mut set = RuleSet::default();
    // Users with the same roles in the same order have one list.
    let mut lists: HashMap<Vec<&str>, ListId> = HashMap::new();
    let mut list_of = |set: &mut RuleSet, roles: Vec<&'_ str>| -> ListId {
        let known: Vec<&str> =
            roles.iter().filter_map(|role| document.roles.get_key_value(*role)).map(|it| it.0.as_str()).collect();
        *lists.entry(known).or_insert_with_key(|roles| set.add(list(document, roles)))
    };
    let groups = document.groups_of_all();
    for (name, client) in document.clients.iter().filter(|(_, client)| !client.is_disabled) {
        let mut roles = names(&client.roles);
        for (group, _) in groups.get(name.as_str()).into_iter().flatten() {
            roles.extend(document.groups.get(*group).into_iter().flat_map(|group| names(&group.roles)));
        }
        let id = list_of(&mut set, roles);
        set.set_user(name, id);
    }
    let anonymous = document.anonymous_group.as_ref().and_then(|name| document.groups.get(name));
    let id = list_of(&mut set, anonymous.map_or_else(Vec::new, |group| names(&group.roles)));
    set.set_anonymous(id);
    set
}

fn names(roles: &Priorities) -> Vec<&str> {
    roles.in_order().into_iter().map(|(name, _)| name).collect()
}

/// The rules of these roles in their order.
fn list(document: &SecurityDocument, roles: &[&str]) -> RuleList {
    let roles: Vec<_> = roles.iter().filter_map(|name| document.roles.get_key_value(*name)).collect();
    let of_kind = |action: RuleAction, kind: AclKind| {
        roles.iter().flat_map(move |(name, role)| {
            let rule = move |acl| (action, rule(name, kind, acl, Placeholders::WholeLevelsOrText));
            role.acls(kind).iter().map(rule)
        })
    };
    let messages: Vec<_> = of_kind(RuleAction::Publish, AclKind::PublishSend)
        .chain(of_kind(RuleAction::Receive, AclKind::PublishReceive))
        .collect();
    let DefaultAccess { publish_send, publish_receive, subscribe, unsubscribe: _ } = document.default_access;
    let separate = SeparateRules {
        subscribe: roles.iter().flat_map(|(name, role)| subscribe_rules(name, role)).collect(),
        defaults: RuleDefaults { publish: publish_send, receive: publish_receive, subscribe },
        default_rule: made_rule("#", Placeholders::Nowhere, true, "default access"),
    };
    RuleList::with_separate(&messages, separate)
}

/// The rules of a role about subscriptions.
fn subscribe_rules(name: &str, role: &RoleEntry) -> Vec<SubscribeRule> {
    let mut rules = Vec::new();
    if !role.allows_wildcards {
        let rule = made_rule("#", Placeholders::Nowhere, false, &format!("role {name}, allowwildcardsubs"));
        rules.push(SubscribeRule { scope: SubscribeScope::Wildcards, rule });
    }
    for (kind, scope, placeholders) in [
        (AclKind::SubscribeLiteral, SubscribeScope::Same, Placeholders::Nowhere),
        (AclKind::SubscribePattern, SubscribeScope::Within, Placeholders::WholeLevelsOrText),
    ] {
        let rule = |acl| SubscribeRule { scope, rule: rule(name, kind, acl, placeholders) };
        rules.extend(role.acls(kind).iter().map(rule));
    }
    rules
}

fn rule(role: &str, kind: AclKind, acl: &AclEntry, placeholders: Placeholders) -> Rule {
    let origin = format!("role {role}, {} {}", kind.name(), acl.topic);
    made_rule(&acl.topic, placeholders, acl.allows, &origin)
}

fn made_rule(topic: &str, placeholders: Placeholders, allows: bool, origin: &str) -> Rule {
    let filter = RuleFilter::new(topic, placeholders);
    // The document has valid filters alone. If one were not, the rule would deny everything, as it does in Mosquitto.
    let (filter, allows) = match filter {
        Ok(filter) => (filter, allows),
        Err(_) => (RuleFilter::new("#", Placeholders::Nowhere).expect("# is a filter"), false),
    };
    Rule { allows, filter, is_for_plain_names: false, origin: Arc::from(origin) }
}
