//! What the commands have in common: names, priorities, and lists of them.

use super::command::CommandValue;
use super::document_json::{is_acl_topic, read_acls};
use super::json_fields::{JsonFields, is_utf8_of_mqtt};
use super::security_document::{AclKind, NO_PRIORITY, Priorities, RoleEntry, SecurityDocument, Texts, clamped};
use std::borrow::Cow;

/// The user name in a command.
pub(super) fn name_of_client<'v>(fields: JsonFields<'v>) -> CommandValue<&'v str> {
    let name = fields.text("username").map_err(|_| "Invalid/missing username")?;
    is_utf8_of_mqtt(name).then_some(name).ok_or(Cow::Borrowed("Username not valid UTF-8"))
}

/// The name of the group in a command.
pub(super) fn name_of_group<'v>(fields: JsonFields<'v>) -> CommandValue<&'v str> {
    let name = fields.text("groupname").map_err(|_| "Invalid/missing groupname")?;
    is_utf8_of_mqtt(name).then_some(name).ok_or(Cow::Borrowed("Group name not valid UTF-8"))
}

/// The name of the role in a command.
pub(super) fn name_of_role<'v>(fields: JsonFields<'v>) -> CommandValue<&'v str> {
    let name = fields.text("rolename").map_err(|_| "Invalid/missing rolename")?;
    is_utf8_of_mqtt(name).then_some(name).ok_or(Cow::Borrowed("Role name not valid UTF-8"))
}

/// The name of a client and that of a group, which both have to be there.
pub(super) fn client_and_group<'v>(
    document: &SecurityDocument,
    fields: JsonFields<'v>,
) -> CommandValue<(&'v str, &'v str)> {
    let (client, group) = (name_of_client(fields)?, name_of_group(fields)?);
    if !document.clients.contains_key(client) {
        return Err("Client not found".into());
    }
    if !document.groups.contains_key(group) {
        return Err("Group not found".into());
    }
    Ok((client, group))
}

/// The name of a group and that of a role, which both have to be there.
pub(super) fn group_and_role<'v>(
    document: &SecurityDocument,
    fields: JsonFields<'v>,
) -> CommandValue<(&'v str, &'v str)> {
    let (group, role) = (name_of_group(fields)?, name_of_role(fields)?);
    if !document.groups.contains_key(group) {
        return Err("Group not found".into());
    }
    if !document.roles.contains_key(role) {
        return Err("Role not found".into());
    }
    Ok((group, role))
}

/// The priority in a command.
pub(super) fn priority(fields: JsonFields<'_>) -> i32 {
    clamped(fields.number_or("priority", NO_PRIORITY))
}

/// The texts of a new entry.
pub(super) fn optional_texts(fields: JsonFields<'_>) -> CommandValue<Texts> {
    let name = fields.optional_text("textname").map_err(|_| "Invalid/missing textname")?;
    let description = fields.optional_text("textdescription").map_err(|_| "Invalid/missing textdescription")?;
    Ok(Texts { name: name.map(str::to_owned), description: description.map(str::to_owned) })
}

impl Texts {
    /// Takes the texts of a command that has any.
    pub(super) fn change(&mut self, fields: JsonFields<'_>) {
        for (text, name) in [(&mut self.name, "textname"), (&mut self.description, "textdescription")] {
            if let Ok(new) = fields.text(name) {
                *text = Some(new.to_owned());
            }
        }
    }
}

/// The roles in a command that says which roles a client or a group has; `None` if it does not say.
pub(super) fn roles_in(document: &SecurityDocument, fields: JsonFields<'_>) -> CommandValue<Option<Priorities>> {
    const INVALID: &str = "'roles' not an array or missing/invalid rolename";
    let Some(roles) = fields.optional_list("roles").map_err(|_| INVALID)? else { return Ok(None) };
    let mut found = Priorities::default();
    for role in roles {
        let role = JsonFields::of(role).ok_or(INVALID)?;
        let name = role.text("rolename").map_err(|_| INVALID)?;
        if !document.roles.contains_key(name) {
            return Err("Role not found".into());
        }
        found.add(name, priority(role));
    }
    Ok(Some(found))
}

/// The groups in a command that says which groups a client is in, with their priorities; `None` if it does not say.
pub(super) fn groups_in<'v>(
    document: &SecurityDocument,
    fields: JsonFields<'v>,
    unknown: &'static str,
) -> CommandValue<Option<Vec<(&'v str, i32)>>> {
    let Ok(Some(groups)) = fields.optional_list("groups") else { return Ok(None) };
    let mut found = Vec::new();
    for group in groups.iter().filter_map(JsonFields::of) {
        let invalid = "'groups' contains an object with an invalid 'groupname'";
        let name = group.text("groupname").map_err(|_| invalid)?;
        if !document.groups.contains_key(name) {
            return Err(unknown.into());
        }
        found.push((name, priority(group)));
    }
    Ok(Some(found))
}

/// The members in a command that says who is in a group; `None` if it does not say.
pub(super) fn members_in(document: &SecurityDocument, fields: JsonFields<'_>) -> CommandValue<Option<Priorities>> {
    let Ok(Some(clients)) = fields.optional_list("clients") else { return Ok(None) };
    let mut members = Priorities::default();
    for client in clients.iter().filter_map(JsonFields::of) {
        let invalid = "'clients' contains an object with an invalid 'username'";
        let name = client.text("username").map_err(|_| invalid)?;
        if !document.clients.contains_key(name) {
            return Err("'clients' contains an object with a 'username' that does not exist".into());
        }
        members.add(name, priority(client));
    }
    Ok(Some(members))
}

/// The ACLs in a command, as a role without anything else; `None` if it has none. Mosquitto leaves out what makes no sense.
pub(super) fn acls_in(fields: JsonFields<'_>) -> CommandValue<Option<RoleEntry>> {
    if !matches!(fields.optional_list("acls"), Ok(Some(_))) {
        return Ok(None);
    }
    let (role, _) = read_acls(fields, "").map_err(|fault| format!("Invalid ACL: {fault}"))?;
    Ok(Some(role))
}

/// The kind and topic of the ACL in a command.
pub(super) fn acl_in<'v>(fields: JsonFields<'v>) -> CommandValue<(AclKind, &'v str)> {
    let kind = fields.text("acltype").map_err(|_| "Invalid/missing acltype")?;
    let kind = AclKind::of(kind).ok_or("Unknown acltype")?;
    let topic = fields.text("topic").map_err(|_| "Invalid/missing topic")?;
    if !is_utf8_of_mqtt(topic) {
        return Err("Topic not valid UTF-8".into());
    }
    is_acl_topic(topic).then_some((kind, topic)).ok_or(Cow::Borrowed("Invalid ACL topic"))
}
