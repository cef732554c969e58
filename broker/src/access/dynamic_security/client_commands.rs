//! The commands about clients.

use super::command::{CommandContext, CommandResult, CommandValue, part_of};
use super::command_fields::{groups_in, name_of_client, name_of_role, optional_texts, priority, roles_in};
use super::document_json::ClientJson;
use super::json_fields::{JsonFields, is_utf8_of_mqtt};
use super::security_document::{ClientEntry, SecurityDocument};
use crate::access::Principals;
use serde_json::{Value, json};
use std::borrow::Cow;

fn find<'d>(document: &'d mut SecurityDocument, name: &str) -> CommandValue<&'d mut ClientEntry> {
    document.clients.get_mut(name).ok_or(Cow::Borrowed("Client not found"))
}

/// The Client Identifier in a command; `missing` says that it is none. An empty one stands for none.
fn client_id_in<'v>(fields: JsonFields<'v>, missing: &'static str) -> CommandValue<Option<&'v str>> {
    let client_id = fields.optional_text("clientid").map_err(|_| missing)?;
    if client_id.is_some_and(|client_id| !is_utf8_of_mqtt(client_id)) {
        return Err("Client ID not valid UTF-8".into());
    }
    Ok(client_id.filter(|client_id| !client_id.is_empty()))
}

pub(super) fn create(context: &mut CommandContext<'_>, fields: JsonFields<'_>) -> CommandResult {
    let name = name_of_client(fields)?;
    if name.is_empty() {
        return Err("Empty username".into());
    }
    if name.len() > Principals::NAME_BYTES {
        return Err(format!("Username too long: it has at most {} bytes", Principals::NAME_BYTES).into());
    }
    let password = fields.optional_text("password").map_err(|_| "Invalid/missing password")?;
    let client_id = client_id_in(fields, "Invalid/missing client id")?.map(str::to_owned);
    let texts = optional_texts(fields)?;
    if context.document.clients.contains_key(name) {
        return Err("Client already exists".into());
    }
    let roles = roles_in(context.document, fields)?.unwrap_or_default();
    let groups = groups_in(context.document, fields, "Group not found")?.unwrap_or_default();
    let password = password.map(|password| (context.hash)(password)).transpose().map_err(|_| "Internal error")?;
    let client = ClientEntry { client_id, texts, is_disabled: false, password, roles };
    context.document.clients.insert(name.to_owned(), client);
    join(context.document, name, &groups);
    context.changed();
    Ok(None)
}

/// Makes a client a member of groups that are there.
fn join(document: &mut SecurityDocument, name: &str, groups: &[(&str, i32)]) {
    for (group, priority) in groups {
        if let Some(group) = document.groups.get_mut(*group) {
            group.clients.add(name, *priority);
        }
    }
}

fn leave_all(document: &mut SecurityDocument, name: &str) {
    document.groups.values_mut().for_each(|group| {
        group.clients.remove(name);
    });
}

pub(super) fn delete(context: &mut CommandContext<'_>, fields: JsonFields<'_>) -> CommandResult {
    let name = fields.text("username").map_err(|_| "Invalid/missing username")?;
    if context.document.clients.remove(name).is_none() {
        return Err("Client not found".into());
    }
    leave_all(context.document, name);
    context.changed();
    context.close(name);
    Ok(None)
}

pub(super) fn enable(context: &mut CommandContext<'_>, fields: JsonFields<'_>) -> CommandResult {
    find(context.document, name_of_client(fields)?)?.is_disabled = false;
    context.changed();
    Ok(None)
}

pub(super) fn disable(context: &mut CommandContext<'_>, fields: JsonFields<'_>) -> CommandResult {
    let name = name_of_client(fields)?;
    find(context.document, name)?.is_disabled = true;
    context.changed();
    context.close(name);
    Ok(None)
}

pub(super) fn set_id(context: &mut CommandContext<'_>, fields: JsonFields<'_>) -> CommandResult {
    let name = name_of_client(fields)?;
    let client_id = client_id_in(fields, "Invalid/missing client ID")?;
    find(context.document, name)?.client_id = client_id.map(str::to_owned);
    context.changed();
    context.close(name);
    Ok(None)
}

pub(super) fn set_password(context: &mut CommandContext<'_>, fields: JsonFields<'_>) -> CommandResult {
    let name = name_of_client(fields)?;
    let password = fields.text("password").map_err(|_| "Invalid/missing password")?;
    if password.is_empty() {
        return Err("Empty password is not allowed".into());
    }
    let client = find(context.document, name)?;
    client.password = Some((context.hash)(password).map_err(|_| "Internal error")?);
    context.changed();
    context.close(name);
    Ok(None)
}

pub(super) fn modify(context: &mut CommandContext<'_>, fields: JsonFields<'_>) -> CommandResult {
    let name = name_of_client(fields)?;
    find(context.document, name)?;
    // What is of another type is left as it is, as in Mosquitto.
    let client_id = fields.text("clientid").ok();
    let password = fields.text("password").ok().filter(|password| !password.is_empty());
    let roles = roles_in(context.document, fields)?;
    let no_group = "'groups' contains an object with a 'groupname' that does not exist";
    let groups = groups_in(context.document, fields, no_group)?;
    let password = password.map(|password| (context.hash)(password)).transpose().map_err(|_| "Internal error")?;
    let client = find(context.document, name)?;
    client.password = password.or(client.password.take());
    client.roles = roles.unwrap_or(std::mem::take(&mut client.roles));
    client.texts.change(fields);
    if let Some(client_id) = client_id {
        client.client_id = (!client_id.is_empty()).then(|| client_id.to_owned());
    }
    if let Some(groups) = groups {
        leave_all(context.document, name);
        join(context.document, name, &groups);
    }
    context.changed();
    context.close(name);
    Ok(None)
}

pub(super) fn get(context: &mut CommandContext<'_>, fields: JsonFields<'_>) -> CommandResult {
    let name = name_of_client(fields)?;
    let document = &*context.document;
    let client = document.clients.get(name).ok_or("Client not found")?;
    Ok(Some(json!({"client": ClientJson::in_answer(name, client, &document.groups_of(name))})))
}

pub(super) fn list(context: &mut CommandContext<'_>, fields: JsonFields<'_>) -> CommandResult {
    let document = &*context.document;
    let clients: Vec<Value> = if fields.bool_or("verbose", false) {
        let groups = document.groups_of_all();
        let describe = |(name, client): (&String, &ClientEntry)| {
            let groups = groups.get(name.as_str()).map_or(&[][..], Vec::as_slice);
            json!(ClientJson::in_answer(name, client, groups))
        };
        part_of(fields, document.clients.iter()).map(describe).collect()
    } else {
        part_of(fields, document.clients.keys()).map(|name| json!(name)).collect()
    };
    Ok(Some(json!({"totalCount": document.clients.len(), "clients": clients})))
}

pub(super) fn add_role(context: &mut CommandContext<'_>, fields: JsonFields<'_>) -> CommandResult {
    let (name, role) = (name_of_client(fields)?, name_of_role(fields)?);
    let has_role = context.document.roles.contains_key(role);
    let client = find(context.document, name)?;
    if !has_role {
        return Err("Role not found".into());
    }
    // Mosquitto says no more than this if the client has the role already.
    if !client.roles.add(role, priority(fields)) {
        return Err("Internal error".into());
    }
    context.changed();
    context.close(name);
    Ok(None)
}

pub(super) fn remove_role(context: &mut CommandContext<'_>, fields: JsonFields<'_>) -> CommandResult {
    let (name, role) = (name_of_client(fields)?, name_of_role(fields)?);
    let has_role = context.document.roles.contains_key(role);
    let client = find(context.document, name)?;
    if !has_role {
        return Err("Role not found".into());
    }
    client.roles.remove(role);
    context.changed();
    context.close(name);
    Ok(None)
}
