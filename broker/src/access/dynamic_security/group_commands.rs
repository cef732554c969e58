//! The commands about groups.

use super::command::{CommandContext, CommandResult, CommandValue, part_of};
use super::command_fields::{
    client_and_group, group_and_role, members_in, name_of_group, optional_texts, priority, roles_in,
};
use super::document_json::GroupJson;
use super::json_fields::JsonFields;
use super::security_document::{GroupEntry, Priorities, SecurityDocument};
use serde_json::{Value, json};
use std::borrow::Cow;

fn find<'d>(document: &'d mut SecurityDocument, name: &str) -> CommandValue<&'d mut GroupEntry> {
    document.groups.get_mut(name).ok_or(Cow::Borrowed("Group not found"))
}

pub(super) fn create(context: &mut CommandContext<'_>, fields: JsonFields<'_>) -> CommandResult {
    let name = name_of_group(fields)?;
    if name.is_empty() {
        return Err("Empty groupname".into());
    }
    let texts = optional_texts(fields)?;
    if context.document.groups.contains_key(name) {
        return Err("Group already exists".into());
    }
    let roles = roles_in(context.document, fields)?.unwrap_or_default();
    let group = GroupEntry { texts, roles, clients: Priorities::default() };
    context.document.groups.insert(name.to_owned(), group);
    context.changed();
    Ok(None)
}

pub(super) fn delete(context: &mut CommandContext<'_>, fields: JsonFields<'_>) -> CommandResult {
    let name = name_of_group(fields)?;
    find(context.document, name)?;
    if context.document.anonymous_group.as_deref() == Some(name) {
        return Err("Deleting the anonymous group is forbidden".into());
    }
    context.close_group(name);
    context.document.groups.remove(name);
    context.changed();
    Ok(None)
}

pub(super) fn get(context: &mut CommandContext<'_>, fields: JsonFields<'_>) -> CommandResult {
    let name = name_of_group(fields)?;
    let group = find(context.document, name)?;
    Ok(Some(json!({"group": GroupJson::of(name, group)})))
}

pub(super) fn list(context: &mut CommandContext<'_>, fields: JsonFields<'_>) -> CommandResult {
    let groups = &context.document.groups;
    let is_verbose = fields.bool_or("verbose", false);
    let describe = |(name, group): (&String, &GroupEntry)| {
        if is_verbose { json!(GroupJson::of(name, group)) } else { json!(name) }
    };
    let listed: Vec<Value> = part_of(fields, groups.iter()).map(describe).collect();
    Ok(Some(json!({"totalCount": groups.len(), "groups": listed})))
}

pub(super) fn modify(context: &mut CommandContext<'_>, fields: JsonFields<'_>) -> CommandResult {
    let name = name_of_group(fields)?;
    find(context.document, name)?;
    let roles = roles_in(context.document, fields)?;
    let clients = members_in(context.document, fields)?;
    context.close_group(name);
    let group = find(context.document, name)?;
    group.texts.change(fields);
    group.roles = roles.unwrap_or(std::mem::take(&mut group.roles));
    group.clients = clients.unwrap_or(std::mem::take(&mut group.clients));
    context.changed();
    context.close_group(name);
    Ok(None)
}

pub(super) fn add_client(context: &mut CommandContext<'_>, fields: JsonFields<'_>) -> CommandResult {
    let (client, group) = client_and_group(context.document, fields)?;
    if !find(context.document, group)?.clients.add(client, priority(fields)) {
        return Err("Client is already in this group".into());
    }
    context.changed();
    context.close(client);
    Ok(None)
}

pub(super) fn remove_client(context: &mut CommandContext<'_>, fields: JsonFields<'_>) -> CommandResult {
    let (client, group) = client_and_group(context.document, fields)?;
    find(context.document, group)?.clients.remove(client);
    context.changed();
    context.close(client);
    Ok(None)
}

pub(super) fn add_role(context: &mut CommandContext<'_>, fields: JsonFields<'_>) -> CommandResult {
    let (group, role) = group_and_role(context.document, fields)?;
    if !find(context.document, group)?.roles.add(role, priority(fields)) {
        return Err("Group is already in this role".into());
    }
    context.changed();
    context.close_group(group);
    Ok(None)
}

pub(super) fn remove_role(context: &mut CommandContext<'_>, fields: JsonFields<'_>) -> CommandResult {
    let (group, role) = group_and_role(context.document, fields)?;
    find(context.document, group)?.roles.remove(role);
    context.changed();
    context.close_group(group);
    Ok(None)
}

pub(super) fn set_anonymous(context: &mut CommandContext<'_>, fields: JsonFields<'_>) -> CommandResult {
    let name = name_of_group(fields)?;
    find(context.document, name)?;
    context.document.anonymous_group = Some(name.to_owned());
    context.changed();
    context.effects.closes_anonymous = true;
    Ok(None)
}

pub(super) fn get_anonymous(context: &mut CommandContext<'_>, _: JsonFields<'_>) -> CommandResult {
    let name = context.document.anonymous_group.as_deref().unwrap_or("");
    Ok(Some(json!({"group": {"groupname": name}})))
}
