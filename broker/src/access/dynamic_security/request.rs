//! A request with its commands, and the answer to it.
//!
//! ```json
//! {"commands": [{"command": "createClient", "username": "ann", "correlationData": "1"}]}
//! {"responses": [{"command": "createClient", "correlationData": "1"}]}
//! ```
//!
//! Each command has its own response, with `data` or `error` where there is one. A command that fails changes nothing, and the others of its
//! request are done all the same.

use super::command::{CommandContext, CommandResult, Effects};
use super::json_fields::JsonFields;
use super::security_document::{DefaultAccess, SecurityDocument};
use super::stored_password::StoredPassword;
use super::{client_commands, group_commands, role_commands};
use serde::Serialize;
use serde_json::{Value, json};
use std::borrow::Cow;

/// The longest request, in bytes.
pub(crate) const MOST_REQUEST_BYTES: usize = 256 * 1024;
/// The most commands in one request.
pub(crate) const MOST_COMMANDS: usize = 256;

/// The answer to a request.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Answer {
    pub(super) responses: Vec<Response>,
}

/// The answer to one command.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Response {
    pub(super) command: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<Cow<'static, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_data: Option<String>,
}

/// Does the commands of a request in their order.
pub(crate) fn answer_request(document: &mut SecurityDocument, request: &Value) -> (Answer, Effects) {
    answer_request_with(document, request, &StoredPassword::new)
}

/// As [`answer_request`], with another way to hash passwords.
pub(super) fn answer_request_with(
    document: &mut SecurityDocument,
    request: &Value,
    hash: &dyn Fn(&str) -> Result<StoredPassword, getrandom::Error>,
) -> (Answer, Effects) {
    let commands = JsonFields::of(request).and_then(|fields| fields.get("commands")).and_then(Value::as_array);
    let Some(commands) = commands else { return (Answer::refusal("Invalid/missing commands"), Effects::default()) };
    if commands.len() > MOST_COMMANDS {
        let refusal = Answer::refusal(format!("Too many commands: a request has at most {MOST_COMMANDS}"));
        return (refusal, Effects::default());
    }
    let mut context = CommandContext { document, effects: Effects::default(), hash };
    let mut responses = Vec::with_capacity(commands.len());
    for command in commands {
        let (response, goes_on) = respond(&mut context, command);
        responses.push(response);
        // Mosquitto leaves out what follows a command without a name.
        if !goes_on {
            break;
        }
    }
    (Answer { responses }, context.effects)
}

impl Answer {
    /// The answer to a request that has no commands, or cannot be done.
    pub(crate) fn refusal(error: impl Into<Cow<'static, str>>) -> Self {
        Self { responses: vec![Response::nameless(error)] }
    }

    /// The answer to the same request if the changes could not be saved.
    pub(crate) fn unsaved(self, error: &str) -> Self {
        let error = format!("Nothing was changed: {error}");
        let fail = |response: Response| Response { error: Some(error.clone().into()), data: None, ..response };
        Self { responses: self.responses.into_iter().map(fail).collect() }
    }

    /// The answer as JSON.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts, numbers and lists are JSON")
    }

    /// The names of the commands that were done, for the log.
    pub(crate) fn done(&self) -> impl Iterator<Item = &str> {
        self.responses.iter().filter(|response| response.error.is_none()).map(|response| &*response.command)
    }
}

impl Response {
    fn nameless(error: impl Into<Cow<'static, str>>) -> Self {
        Self { command: "Unknown command".to_owned(), error: Some(error.into()), data: None, correlation_data: None }
    }
}

/// Does one command. Returns whether the commands behind it are done.
fn respond(context: &mut CommandContext<'_>, command: &Value) -> (Response, bool) {
    let Some(fields) = JsonFields::of(command) else { return (Response::nameless("Command not an object"), false) };
    let Ok(name) = fields.text("command") else { return (Response::nameless("Missing command"), false) };
    let response = |result: CommandResult, correlation_data: Option<&str>| {
        let (data, error) = result.map_or_else(|error| (None, Some(error)), |data| (data, None));
        Response { command: name.to_owned(), error, data, correlation_data: correlation_data.map(str::to_owned) }
    };
    match fields.optional_text("correlationData") {
        Ok(correlation) => (response(run(context, name, fields), correlation), true),
        Err(_) => (response(Err("Invalid correlationData data type.".into()), None), false),
    }
}

type CommandFunction = fn(&mut CommandContext<'_>, JsonFields<'_>) -> CommandResult;

const COMMANDS: [(&str, CommandFunction); 32] = [
    ("setDefaultACLAccess", set_default_access),
    ("getDefaultACLAccess", get_default_access),
    ("getDetails", get_details),
    ("createClient", client_commands::create),
    ("deleteClient", client_commands::delete),
    ("getClient", client_commands::get),
    ("listClients", client_commands::list),
    ("modifyClient", client_commands::modify),
    ("setClientPassword", client_commands::set_password),
    ("setClientId", client_commands::set_id),
    ("addClientRole", client_commands::add_role),
    ("removeClientRole", client_commands::remove_role),
    ("enableClient", client_commands::enable),
    ("disableClient", client_commands::disable),
    ("createGroup", group_commands::create),
    ("deleteGroup", group_commands::delete),
    ("getGroup", group_commands::get),
    ("listGroups", group_commands::list),
    ("modifyGroup", group_commands::modify),
    ("addGroupClient", group_commands::add_client),
    ("removeGroupClient", group_commands::remove_client),
    ("addGroupRole", group_commands::add_role),
    ("removeGroupRole", group_commands::remove_role),
    ("setAnonymousGroup", group_commands::set_anonymous),
    ("getAnonymousGroup", group_commands::get_anonymous),
    ("createRole", role_commands::create),
    ("deleteRole", role_commands::delete),
    ("getRole", role_commands::get),
    ("listRoles", role_commands::list),
    ("modifyRole", role_commands::modify),
    ("addRoleACL", role_commands::add_acl),
    ("removeRoleACL", role_commands::remove_acl),
];

fn run(context: &mut CommandContext<'_>, name: &str, fields: JsonFields<'_>) -> CommandResult {
    match COMMANDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
        Some((_, command)) => command(context, fields),
        None => Err("Unknown command".into()),
    }
}

fn set_default_access(context: &mut CommandContext<'_>, fields: JsonFields<'_>) -> CommandResult {
    let Ok(Some(acls)) = fields.optional_list("acls") else { return Err("Missing/invalid actions array".into()) };
    for acl in acls.iter().filter_map(JsonFields::of) {
        let (Ok(name), Some(allows)) = (acl.text("acltype"), allows(acl)) else { continue };
        if let Some(default) = context.document.default_access.named_mut(name) {
            *default = allows;
        }
    }
    context.changed();
    Ok(None)
}

/// Whether an ACL of a command allows; `None` if it does not say. mosquitto_ctrl 2.0.11 says `"access": "allow"` and not `"allow": true`, which the
/// plugin of the same version takes for nothing.
fn allows(acl: JsonFields<'_>) -> Option<bool> {
    let in_words = || match acl.text("access").ok()? {
        "allow" => Some(true),
        "deny" => Some(false),
        _ => None,
    };
    acl.optional_bool("allow").ok().flatten().or_else(in_words)
}

fn get_default_access(context: &mut CommandContext<'_>, _: JsonFields<'_>) -> CommandResult {
    let access: DefaultAccess = context.document.default_access;
    let acls = access.named().map(|(name, allows)| json!({"acltype": name, "allow": allows}));
    Ok(Some(json!({ "acls": acls })))
}

fn get_details(context: &mut CommandContext<'_>, _: JsonFields<'_>) -> CommandResult {
    let document = &*context.document;
    Ok(Some(json!({
        "clientCount": document.clients.len(),
        "groupCount": document.groups.len(),
        "roleCount": document.roles.len(),
        "changeIndex": document.change_index,
    })))
}
