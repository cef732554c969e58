//! The commands about roles.

use super::command::{CommandContext, CommandResult, CommandValue, part_of};
use super::command_fields::{acl_in, acls_in, name_of_role, optional_texts};
use super::document_json::RoleJson;
use super::json_fields::JsonFields;
use super::security_document::{AclEntry, RoleEntry, SecurityDocument, clamped};
use serde_json::{Value, json};
use std::borrow::Cow;

fn find<'d>(document: &'d mut SecurityDocument, name: &str) -> CommandValue<&'d mut RoleEntry> {
    document.roles.get_mut(name).ok_or(Cow::Borrowed("Role not found"))
}

pub(super) fn create(context: &mut CommandContext<'_>, fields: JsonFields<'_>) -> CommandResult {
    let name = name_of_role(fields)?;
    if name.is_empty() {
        return Err("Empty rolename".into());
    }
    let texts = optional_texts(fields)?;
    let allows_wildcards = fields.optional_bool("allowwildcardsubs").map_err(|_| "Invalid allowwildcardsubs")?;
    if context.document.roles.contains_key(name) {
        return Err("Role already exists".into());
    }
    let acls = acls_in(fields)?.unwrap_or_default();
    let role = RoleEntry { texts, allows_wildcards: allows_wildcards.unwrap_or(true), ..acls };
    context.document.roles.insert(name.to_owned(), role);
    context.changed();
    Ok(None)
}

/// Closes the connections of all clients that have a role, by themselves or by a group.
fn close_all(context: &mut CommandContext<'_>, role: &str) {
    let clients = context.document.clients.iter();
    let with_role = clients.filter(|(_, client)| client.roles.get(role).is_some()).map(|(name, _)| name.clone());
    let with_role: Vec<_> = with_role.collect();
    context.effects.closed.extend(with_role);
    let groups = context.document.groups.iter();
    let groups: Vec<_> =
        groups.filter(|(_, group)| group.roles.get(role).is_some()).map(|(name, _)| name.clone()).collect();
    groups.iter().for_each(|name| context.close_group(name));
}

pub(super) fn delete(context: &mut CommandContext<'_>, fields: JsonFields<'_>) -> CommandResult {
    let name = name_of_role(fields)?;
    find(context.document, name)?;
    close_all(context, name);
    let document = &mut *context.document;
    document.roles.remove(name);
    let of_clients = document.clients.values_mut().map(|client| &mut client.roles);
    of_clients.chain(document.groups.values_mut().map(|group| &mut group.roles)).for_each(|roles| {
        roles.remove(name);
    });
    context.changed();
    Ok(None)
}

pub(super) fn get(context: &mut CommandContext<'_>, fields: JsonFields<'_>) -> CommandResult {
    let name = name_of_role(fields)?;
    let role = find(context.document, name)?;
    Ok(Some(json!({"role": RoleJson::of(name, role)})))
}

pub(super) fn list(context: &mut CommandContext<'_>, fields: JsonFields<'_>) -> CommandResult {
    let roles = &context.document.roles;
    let is_verbose = fields.bool_or("verbose", false);
    let describe =
        |(name, role): (&String, &RoleEntry)| if is_verbose { json!(RoleJson::of(name, role)) } else { json!(name) };
    let listed: Vec<Value> = part_of(fields, roles.iter()).map(describe).collect();
    Ok(Some(json!({"totalCount": roles.len(), "roles": listed})))
}

pub(super) fn modify(context: &mut CommandContext<'_>, fields: JsonFields<'_>) -> CommandResult {
    let name = name_of_role(fields)?;
    if !context.document.roles.contains_key(name) {
        return Err("Role does not exist".into());
    }
    let acls = acls_in(fields)?;
    let role = find(context.document, name)?;
    let allows_wildcards = fields.bool_or("allowwildcardsubs", role.allows_wildcards);
    let permits_other = acls.is_some() || allows_wildcards != role.allows_wildcards;
    role.allows_wildcards = allows_wildcards;
    role.texts.change(fields);
    if let Some(acls) = acls {
        role.acls = acls.acls;
    }
    context.changed();
    if permits_other {
        close_all(context, name);
    }
    Ok(None)
}

pub(super) fn add_acl(context: &mut CommandContext<'_>, fields: JsonFields<'_>) -> CommandResult {
    let name = name_of_role(fields)?;
    let role = find(context.document, name)?;
    let (kind, topic) = acl_in(fields)?;
    let priority = clamped(fields.number_or("priority", 0));
    let acl = AclEntry { topic: topic.to_owned(), priority, allows: fields.bool_or("allow", false) };
    if !role.add_acl(kind, acl) {
        return Err("ACL with this topic already exists".into());
    }
    context.changed();
    close_all(context, name);
    Ok(None)
}

pub(super) fn remove_acl(context: &mut CommandContext<'_>, fields: JsonFields<'_>) -> CommandResult {
    let name = name_of_role(fields)?;
    let role = find(context.document, name)?;
    let (kind, topic) = acl_in(fields)?;
    if !role.remove_acl(kind, topic) {
        return Err("ACL not found".into());
    }
    context.changed();
    close_all(context, name);
    Ok(None)
}
